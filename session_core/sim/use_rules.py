"""Rules of using tokens and of ending: nothing expired, nothing afterwards, limits kept, no end without a reason."""

from __future__ import annotations

import math

from session_core import events as e
from session_core.provider.faults import FaultKind
from session_core.sim.rules import EDGE_S, TRIES, Events, Finding, Found, Setting, asked_at, of_kind, sent_at
from session_core.sim.timelines import TELL_OF_LIVES, Devices, Lives
from session_core.vocabulary import (
    EndReason,
    FallbackStep,
    Limit,
    NetworkState,
    Outcome,
    RefreshReason,
    Served,
    Sight,
    State,
)

AWAKE_S_MAX = 25.0
"""How long a program that runs freely may take to notice what is due: its tick, a second try, and some air."""
ATTEMPTS_PER_CALL_MAX = 6
_WORKS = (e.TokenRefreshed, e.TokenFollowed, e.RefreshFailed, e.CacheServed, e.HeartbeatBeat)
OVER = (State.SIGNED_OUT, State.EXPIRED)
HELD = (*OVER, State.LOCKED)


def attempts_bounded(events: Events, _setting: Setting) -> Finding:
    """A call of the user's costs a few requests at most, however it fails."""
    for event, fact in of_kind(events, e.RequestServed):
        if fact.attempts > ATTEMPTS_PER_CALL_MAX:
            yield Found(event, f"one call was tried {fact.attempts} times")


def no_expired_token(events: Events, _setting: Setting) -> Finding:
    """No request goes out with a token that is known to have expired: on its second is too late."""
    lives = Lives()
    for event, fact in of_kind(events, e.RequestServed, *TELL_OF_LIVES):
        lives.see(event)
        if isinstance(fact, e.RequestServed) and fact.served is Served.NETWORK and fact.attempts == 1:
            at = asked_at(event, fact)
            expires_at = lives.expires_at(event, at)
            # A call that was answered 401 asked before it waited, and once more with what it had waited for.
            waited_for = fact.waited_ms > 0 and lives.expires_at(event, event.boot) > expires_at
            if at >= expires_at - EDGE_S and not waited_for:
                yield Found(event, f"a request went out {at - expires_at:.1f} s after its token's expiry")


def refused_for_a_cause(events: Events, setting: Setting) -> Finding:
    """The API refuses no token that was not revoked, unless one expired on its way there, or the way was slow."""
    lives = Lives()
    excused = False
    for event, fact in of_kind(
        events, e.ProviderNoted, e.NetworkChanged, e.FaultOrdered, e.ProviderSaw, *TELL_OF_LIVES
    ):
        lives.see(event)
        match fact:
            case e.ProviderNoted(what=what):
                excused = excused or what in ("access_token_revoked", "family_revoked")
            case e.NetworkChanged(state=state):
                excused = excused or state is NetworkState.SLOW
            case e.FaultOrdered(fault=fault):
                excused = excused or fault == FaultKind.CLOCK_OFFSET
            case e.ProviderSaw(endpoint="api", outcome="invalid_token") if not excused:
                if not lives.one_expired(event.boot - setting.latency_s / 2 + EDGE_S, event.boot + EDGE_S):
                    yield Found(event, "the API was sent a token that did not work any more")


def nothing_after_the_end(events: Events, _setting: Setting) -> Finding:
    """Once a session has ended in a process, that process neither calls, refreshes, serves nor beats for it."""
    ended: dict[str, float] = {}
    for event, fact in of_kind(events, e.SessionEnded, e.SessionStarted, e.RequestServed, *_WORKS):
        if not ended and not isinstance(fact, e.SessionEnded):
            continue
        stream = event.origin.stream_id
        match fact:
            case e.SessionStarted():
                ended.pop(stream, None)
            case e.SessionEnded():
                ended[stream] = event.boot
            case e.RequestServed():
                once = fact.served is Served.NETWORK and fact.attempts == 1 and fact.status != 401
                if once and asked_at(event, fact) > ended.get(stream, math.inf) + EDGE_S:
                    yield Found(event, "a request went out after the session had ended")
            case _ if stream in ended:
                yield Found(event, f"{event.kind} came after the session had ended")


def refused_for_good(events: Events, _setting: Setting) -> Finding:
    """A process that was told that its refresh token is refused does not send it again."""
    rejected: set[str] = set()
    for event, fact in of_kind(events, e.SessionStarted, e.TokenFollowed, *TRIES):
        stream = event.origin.stream_id
        if not isinstance(fact, e.RefreshFailed):
            rejected.discard(stream)
            continue
        if stream in rejected:
            yield Found(event, "a refresh token that was refused for good was tried again")
        if fact.outcome is Outcome.REJECTED:
            rejected.add(stream)


def served_to_its_end(events: Events, _setting: Setting) -> Finding:
    """No trouble with refreshing ends a session, or refuses its user a token, while its access token still works.

    Where a session has ended in one process it ends in all of them, whatever token each holds.
    """
    lives = Lives()
    refused: set[str] = set()
    over: set[tuple[str, EndReason]] = set()
    for event, fact in of_kind(events, e.RefreshFailed, e.SessionEnded, e.UserSaw, *TELL_OF_LIVES):
        stream = event.origin.stream_id
        match fact:
            case e.RefreshFailed(reason=RefreshReason.UNAUTHORIZED, outcome=Outcome.REJECTED):
                refused.add(stream)
            case e.SessionEnded(reason=reason) if reason.startswith(("refresh_", "no_refresh")):
                left_s = lives.expires_at(event, event.boot) - event.boot
                followed = (event.origin.session_id, reason) in over
                over.add((event.origin.session_id, reason))
                if EDGE_S < left_s < math.inf and stream not in refused and not followed:
                    yield Found(event, f"it ended by {reason} with {left_s:.0f} s of the access token left")
            case e.UserSaw(sight=Sight.ERROR, left_s=left, detail=detail) if detail.startswith("token_unavailable"):
                if left is not None and left > EDGE_S:
                    yield Found(event, f"a user was refused a token that had {left:.0f} s left")
        lives.see(event)


def cache_keeps_to_its_user(events: Events, _setting: Setting) -> Finding:
    """Nobody is ever served what belongs to somebody else."""
    for event, fact in of_kind(events, e.UserSaw):
        if fact.sight is Sight.FOREIGN_ANSWER:
            yield Found(event, "a user was served another user's answer")


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
