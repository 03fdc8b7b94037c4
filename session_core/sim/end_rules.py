"""Rules of ending: limits kept, one reason for each end, and none that was not earned."""

from __future__ import annotations

import math

from session_core import events as e
from session_core.sim.rules import EDGE_S, Events, Finding, Found, Setting, asked_at, of_kind, sent_at
from session_core.sim.timelines import AWAKE_S_MAX, Devices
from session_core.vocabulary import EndReason, FallbackStep, Limit, Outcome, Served, State

OVER = (State.SIGNED_OUT, State.EXPIRED)
HELD = (*OVER, State.LOCKED)


def one_reason_per_end(events: Events, _setting: Setting) -> Finding:
    """A session that began ends once, for one reason, and its state says so in the same moment."""
    alive: set[str] = set()
    untold: dict[str, e.Event] = {}
    for event, fact in of_kind(events, e.SessionStarted, e.SessionEnded, e.StateChanged):
        stream = event.origin.stream_id
        if isinstance(fact, e.SessionStarted):
            alive.add(stream)
        elif isinstance(fact, e.StateChanged):
            if fact.state_to in OVER and stream in alive:
                untold[stream] = event
        else:
            if stream not in alive:
                yield Found(event, f"it ended by {fact.reason} without having begun, or twice")
            if stream not in untold:
                yield Found(event, "it ended, but its state did not")
            alive.discard(stream)
            untold.pop(stream, None)
    for event in untold.values():
        yield Found(event, "its state ended without a reason")


class _Grounds:
    """What has happened to sessions that may end them."""

    LEARNT_FROM = (
        e.SessionEnded,
        e.ProviderNoted,
        e.SessionStarted,
        e.TokenRefreshed,
        e.RefreshFailed,
        e.StuckFound,
        e.PartCrashed,
    )

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._rejected: set[str] = set()
        self._unclear: set[str] = set()
        self._over: set[str] = set()
        self._since: dict[str, float] = {}
        self._revoked = False

    def see(self, event: e.Event) -> None:
        session, fact = event.origin.session_id, event.fact
        match fact:
            case e.ProviderNoted(what="family_revoked"):
                self._revoked = True
            case e.SessionStarted(resumed=resumed):
                self._since.setdefault(session, event.boot)
                if resumed:
                    self._unclear.add(session)
            case e.TokenRefreshed():
                self._since[session] = sent_at(event, fact)
            case e.RefreshFailed(outcome=Outcome.REJECTED):
                self._rejected.add(session)
            case e.RefreshFailed(outcome=Outcome.AMBIGUOUS) | e.StuckFound() | e.PartCrashed():
                self._unclear.add(session)
            case e.SessionEnded():
                self._over.add(session)

    def justify(self, reason: EndReason, event: e.Event) -> bool:
        session, policy = event.origin.session_id, self._setting.policy
        match reason:
            case EndReason.SIGNED_OUT_ELSEWHERE:
                return session in self._over or self._revoked
            case EndReason.REFRESH_REJECTED:
                return session in self._rejected
            case EndReason.NO_REFRESH_TOKEN:
                return session in self._rejected or FallbackStep.REFRESH_TOKEN not in policy.fallback.steps
            case EndReason.REFRESH_AMBIGUOUS:
                return session in self._unclear
            case EndReason.REFRESH_TOKEN_EXPIRED:
                return event.boot >= self._since.get(session, math.inf) + self._setting.refresh_ttl_s - 1.0
            case _:
                return reason in (EndReason.SIGNED_OUT, EndReason.ABSOLUTE_LIMIT)


def ends_are_earned(events: Events, setting: Setting) -> Finding:
    """Only a refusal, a limit, an old or ambiguous refresh token or somebody's wish ends a session."""
    grounds = _Grounds(setting)
    for event, fact in of_kind(events, *_Grounds.LEARNT_FROM):
        if isinstance(fact, e.SessionEnded) and not grounds.justify(fact.reason, event):
            yield Found(event, f"it ended by {fact.reason}, and nothing had happened that would justify it")
        grounds.see(event)


def rejected_by_the_provider(events: Events, _setting: Setting) -> Finding:
    """A refusal is the provider's own word: no silence, outage or guest network is ever taken for one."""
    said = 0
    for event, fact in of_kind(events, e.ProviderSaw, e.RefreshFailed):
        if isinstance(fact, e.ProviderSaw):
            said += fact.endpoint == "token" and fact.outcome in ("invalid_grant", "fault:status")
        elif fact.outcome is Outcome.REJECTED:
            said -= 1
            if said < 0 or fact.status is None:
                yield Found(event, "a refresh counts as refused, and the provider refused none")


def _limit_kept(events: Events, limit: Limit, limit_s: float) -> Finding:
    devices = Devices(events)
    reached_at: dict[str, float] = {}
    states: dict[str, State] = {}
    for event, fact in of_kind(
        events, e.StateChanged, e.RequestServed, e.HeartbeatBeat, e.TokenRefreshed, e.UserActed, e.SessionStarted
    ):
        session, stream = event.origin.session_id, event.origin.stream_id
        due_at = reached_at.get(session, math.inf)
        if isinstance(fact, e.StateChanged):
            states[stream] = fact.state_to
        match fact:
            case _ if event.boot < due_at:
                pass
            case e.RequestServed(attempts=1) if fact.served is not Served.NOTHING:
                late_s = asked_at(event, fact) - due_at
                if late_s >= EDGE_S:
                    yield Found(event, f"a call was served {late_s:.1f} s after the {limit} limit")
            case e.HeartbeatBeat() | e.TokenRefreshed() if states.get(stream) not in HELD:
                if devices.awake_s(event.origin.device, due_at, event.boot) > AWAKE_S_MAX:
                    yield Found(event, f"the session stood {event.boot - due_at:.0f} s after its {limit} limit")
            case e.UserActed() if event.boot >= due_at + EDGE_S:
                yield Found(event, f"the user could go on {event.boot - due_at:.1f} s after the {limit} limit")
        if _counts_anew(fact, limit):
            reached_at[session] = event.boot + limit_s


def _counts_anew(fact: e.Fact, limit: Limit) -> bool:
    begun = isinstance(fact, e.SessionStarted) and not fact.resumed
    return begun or (limit is Limit.IDLE and isinstance(fact, e.UserActed))


def idle_limit_kept(events: Events, setting: Setting) -> Finding:
    """Nothing is served past the idle limit, and nothing but the user's own acts moves it."""
    if setting.policy.limits.idle_s is not None:
        yield from _limit_kept(events, Limit.IDLE, setting.policy.limits.idle_s)


def absolute_limit_kept(events: Events, setting: Setting) -> Finding:
    """Nothing is served past the absolute limit, and nothing at all moves it."""
    if setting.policy.limits.absolute_s is not None:
        yield from _limit_kept(events, Limit.ABSOLUTE, setting.policy.limits.absolute_s)
