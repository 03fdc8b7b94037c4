"""Rules of refreshing: one at a time, never a spent token, never too early and never too often."""

from __future__ import annotations

import math
from collections import deque

from session_core import events as e
from session_core.sim.rules import EDGE_S, TRIES, Events, Finding, Found, Setting, Try, of_kind, sent_at, went_out
from session_core.sim.timelines import TELL_OF_LIVES, Devices, Lives
from session_core.vocabulary import BreakerState, DeviceChange, Outcome, RefreshReason

TRIES_PER_MINUTE_MAX = 8
TRIES_PER_LIFE_MAX = 4.0
TICK_S_MAX = 15.0
"""How long after waking a program may not have noticed it."""


def single_flight(events: Events, _setting: Setting) -> Finding:
    """Of one session, all its processes together, one refresh is under way.

    Unless the store refuses to keep a lease, or a process begins while the others stand still and seem dead to it.
    """
    latest: dict[str, tuple[e.Event, Try]] = {}
    unsaved: set[str] = set()
    latecomers = _Latecomers()
    for event, fact in of_kind(events, e.PersistFailed, e.SessionStarted, e.DeviceChanged, *TRIES):
        session = event.origin.session_id
        latecomers.see(event)
        if isinstance(fact, e.PersistFailed):
            unsaved.add(session)
        if not isinstance(fact, TRIES):
            continue
        if fact.reason is RefreshReason.RECOVERY or not went_out(fact):
            continue
        before = latest.get(session)
        latest[session] = event, fact
        if before is None or sent_at(event, fact) >= before[0].boot - EDGE_S:
            continue
        other_process = before[0].origin.stream_id != event.origin.stream_id
        alone = latecomers.among(event, before[0], at=min(sent_at(event, fact), sent_at(*before)))
        if not (other_process and (alone or session in unsaved)):
            yield Found(event, "two refreshes of one session were under way at the same time")


class _Latecomers:
    """Processes that began while the others of their device stood still."""

    def __init__(self) -> None:
        self._stalled_until: dict[str, float] = {}
        self._alone_until: dict[str, float] = {}

    def see(self, event: e.Event) -> None:
        device, fact = event.origin.device, event.fact
        if isinstance(fact, e.DeviceChanged) and fact.change is DeviceChange.STALLED:
            until = event.boot + fact.seconds
            self._stalled_until[device] = max(until, self._stalled_until.get(device, 0.0))
        elif isinstance(fact, e.SessionStarted) and event.boot < self._stalled_until.get(device, 0.0):
            self._alone_until[event.origin.stream_id] = self._stalled_until[device]

    def among(self, *events: e.Event, at: float) -> bool:
        """Whether one of these is of a process to which the others seemed dead at boot second `at`."""
        return any(at < self._alone_until.get(event.origin.stream_id, 0.0) for event in events)


def no_spent_token(events: Events, _setting: Setting) -> Finding:
    """The provider never sees a spent refresh token outside its grace window.

    Only a store that refuses to write can lead there: what a restart finds in it is older than it can know, and several
    processes have nothing else to agree by.
    """
    store_failed = resumed = False
    for event, fact in of_kind(events, e.ProviderNoted, e.PersistFailed, e.SessionStarted):
        match fact:
            case e.PersistFailed():
                store_failed = True
            case e.SessionStarted():
                resumed = resumed or fact.resumed
            case e.ProviderNoted(what="reuse_detected") if not (resumed and store_failed):
                yield Found(event, "a spent refresh token was sent outside the grace window")


def no_early_refresh(events: Events, setting: Setting) -> Finding:
    """Nobody refreshes ahead of the refresh point, unless asked to, refused with a 401 or trying again."""
    lives = Lives()
    policy = setting.policy.refresh
    for event, fact in of_kind(events, e.RefreshFailed, *TELL_OF_LIVES):
        if isinstance(fact, TRIES):
            lead_s = policy.margin_s(lives.life_s(event, fact.left_s)) * (1 + policy.jitter_share)
            if fact.reason is RefreshReason.DUE and fact.left_s > lead_s + EDGE_S:
                yield Found(event, f"a refresh came {fact.left_s - lead_s:.1f} s before its time")
            if fact.reason in (RefreshReason.EXPIRED, RefreshReason.RESUME) and fact.left_s > EDGE_S:
                yield Found(event, f"a refresh for an expired token came {fact.left_s:.1f} s before the expiry")
        lives.see(event)


def unmoved_rests(events: Events, setting: Setting) -> Finding:
    """A refresh that bought no life is not repeated at once, unless the program insists or a device slept."""
    devices = Devices(events)
    unmoved: dict[str, e.Event] = {}
    for event, fact in of_kind(events, e.TokenFollowed, *TRIES):
        before = unmoved.pop(event.origin.stream_id, None)
        if isinstance(fact, e.TokenFollowed):
            continue
        if before is not None and fact.reason not in (RefreshReason.FORCED, RefreshReason.RECOVERY):
            rest_s = sent_at(event, fact) - before.boot
            slept = devices.still_s(event.origin.device, before.boot - 60, event.boot) > 0
            if rest_s < setting.policy.refresh.unmoved_pause_s - EDGE_S and not slept:
                yield Found(event, f"a refresh that moved nothing was repeated after {rest_s:.1f} s")
        if isinstance(fact, e.TokenRefreshed) and not fact.moved:
            unmoved[event.origin.stream_id] = event


def refreshed_once_for_a_refusal(events: Events, setting: Setting) -> Finding:
    """An API that goes on saying 401 gets one refresh, not one for each of its answers."""
    latest: dict[str, float] = {}
    lives = Lives()
    for event, fact in of_kind(events, e.RefreshFailed, *TELL_OF_LIVES):
        if isinstance(fact, TRIES) and fact.reason is RefreshReason.UNAUTHORIZED:
            at = sent_at(event, fact)
            rest_s = min(setting.policy.refresh.unmoved_pause_s, lives.life_s(event, 0.0) / 5)
            # A second for what may delay the sending of one and not of the other.
            if at - latest.get(event.origin.stream_id, -math.inf) < rest_s - 1.0:
                yield Found(event, "one refusal of the API after another led to one refresh after another")
            latest[event.origin.stream_id] = at
        lives.see(event)


def posts_bounded(events: Events, _setting: Setting) -> Finding:
    """No session asks for tokens, of its own accord, more than a few times in any minute."""
    recent: dict[str, deque[float]] = {}
    lives = Lives()
    for event, fact in of_kind(events, e.RefreshFailed, *TELL_OF_LIVES):
        if isinstance(fact, TRIES) and fact.reason is not RefreshReason.FORCED and went_out(fact):
            times = recent.setdefault(event.origin.stream_id, deque())
            times.append(event.boot)
            while times[0] <= event.boot - 60.0:
                times.popleft()
            if len(times) > max(TRIES_PER_MINUTE_MAX, TRIES_PER_LIFE_MAX * 60.0 / lives.life_s(event, 60.0)):
                yield Found(event, f"{len(times)} refreshes were tried within a minute")
        lives.see(event)


def retries_wait(events: Events, _setting: Setting) -> Finding:
    """A refresh that failed is tried again when it was planned and not before, unless the program insists."""
    devices = Devices(events)
    planned: dict[str, tuple[float, e.RetryScheduled]] = {}
    failed_at: dict[str, float] = {}
    for event, fact in of_kind(events, e.RetryScheduled, e.TokenFollowed, e.SessionStarted, *TRIES):
        stream = event.origin.stream_id
        if isinstance(fact, e.RetryScheduled):
            if fact.call == "token":
                # It counts from the answer, and is told when that has been written down.
                planned[stream] = failed_at.pop(stream, event.boot), fact
            continue
        plan = planned.pop(stream, None)
        failed_at.pop(stream, None)
        if isinstance(fact, e.RefreshFailed):
            failed_at[stream] = event.boot
        if plan is None or not isinstance(fact, TRIES) or fact.reason is RefreshReason.RECOVERY:
            continue
        since, retry = plan
        early_s = since + retry.delay_s - sent_at(event, fact)
        forced = fact.reason is RefreshReason.FORCED
        # A try that slept fails at waking and plans the next; the session notices a little later that it woke.
        still_s = devices.still_s(event.origin.device, since - TICK_S_MAX, event.boot)
        woke = retry.cause == Outcome.OFFLINE and still_s > 0
        if early_s > EDGE_S and sent_at(event, fact) > since - EDGE_S and not (forced or woke):
            yield Found(event, f"a refresh was tried again {early_s:.1f} s before it was planned")


def open_breaker_rests(events: Events, _setting: Setting) -> Finding:
    """While a breaker is open nothing is sent, not even by force: a server that asks for patience gets it."""
    rests: dict[str, tuple[float, float]] = {}
    for event, fact in of_kind(events, e.BreakerChanged, *TRIES):
        stream = event.origin.stream_id
        if isinstance(fact, e.BreakerChanged):
            opens = fact.state_to is BreakerState.OPEN
            rests[stream] = (event.boot, event.boot + fact.cooldown_s if opens else -math.inf)
        elif fact.reason is not RefreshReason.RECOVERY and went_out(fact):
            since, until = rests.get(stream, (0.0, -math.inf))
            early_s = until - sent_at(event, fact)
            # The try that opened it was sent before.
            if early_s > EDGE_S and sent_at(event, fact) > since + EDGE_S:
                yield Found(event, f"a refresh was sent {early_s:.1f} s before the open breaker allowed it")
