"""What of its events a session's UX score is made of; ux_score weighs it.

| measure              | from the facts of events.py                                                               |
|----------------------|-------------------------------------------------------------------------------------------|
| active time          | from each sign of use to the next, at most 5 min. Signs: SessionStarted unless resumed,   |
|                      | UserActed, RequestServed, an interruption. What polls is in use as long as it polls       |
| avoidable            | SessionEnded for a reason not in NOT_PENALISED (a forced sign-in), or RequestServed with  |
| interruption         | status 401 (the one fresh start did not help); within 60 s of a counted one it is the same|
| resume               | from StateChanged by `woke` or `network_back`, or UserActed("focus"), or from the begin of|
|                      | the first call after it that goes to the network and finds one, if that is later (nobody  |
|                      | waits before), to the first RequestServed from the network without `error`. If SUSPENDED, |
|                      | OFFLINE, another resume or the end comes first: to the last call made in vain             |
| auth error, requests | RequestServed with error AUTH (a 401, or no token to be had); every RequestServed         |
| added latency        | RequestServed.waited_ms                                                                   |
| staleness, answers   | (age − TTL) / TTL of CacheServed, 0 while fresh, TTL counting as 1 s at least; every      |
|                      | CacheServed, and every RequestServed from the network without error, which is not stale   |
| reuse revocation     | RefreshFailed REJECTED after one that was AMBIGUOUS, with no TokenRefreshed, TokenFollowed|
|                      | or new sign-in between, in a session whose refresh tokens were seen to rotate             |
| use after revocation | RequestServed from the network, begun more than 1 ms after SessionEnded                   |
| excused end          | SessionEnded that is none of the session's fault: see below                               |

Nothing but a use after revocation counts from a LOCKED state or an excused end to the next SessionStarted. An end is
excused for a reason in NOT_PENALISED (the user's own sign-out, here or elsewhere; a limit; the operator stopped the
app), while LOCKED, or once a fallback step was skipped because a limit was reached.

What no event says is told by who knows, with `told`: lost input; an administrator's revocation, which reaches a client
as the same refusal as any other; revocations whose cause only the provider knows. Nothing in the core reports focus: a
page that sees it calls `update_activity("focus")`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from session_core.events import (
    CacheServed,
    Event,
    FallbackTried,
    RefreshFailed,
    RequestServed,
    SessionEnded,
    SessionStarted,
    StateChanged,
    TokenFollowed,
    TokenRefreshed,
    UserActed,
)
from session_core.vocabulary import EndReason, ErrorClass, Outcome, Served, Signal, State, StepOutcome

ACTIVE_PAUSE_S = 300.0
SAME_INTERRUPTION_S = 60.0
FOCUS = "focus"
NOT_PENALISED = frozenset(
    {
        EndReason.SIGNED_OUT,
        EndReason.SIGNED_OUT_ELSEWHERE,
        EndReason.IDLE_LIMIT,
        EndReason.ABSOLUTE_LIMIT,
        EndReason.STOPPED,
    }
)
_IN_FLIGHT_S = 0.001


class Window(NamedTuple):
    """Half-open, in wall seconds. What happened outside is context: it is read and not counted."""

    start_s: float = -math.inf
    end_s: float = math.inf


ALWAYS = Window()


class UxInputs(msgspec.Struct, frozen=True, kw_only=True):
    """All the score is made of. Values of 0 are left out of `waited_ms` and `stale_ttls`; the rest are sorted."""

    sessions: frozenset[str] = frozenset()
    interrupted_sessions: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    interrupted_users: frozenset[str] = frozenset()
    active_s: float = 0.0
    forced_sign_ins: int = 0
    surfaced_401s: int = 0
    lost_inputs: int = 0
    excused_ends: int = 0
    resume_ms: tuple[float, ...] = ()
    requests: int = 0
    auth_errors: int = 0
    waited_ms: tuple[float, ...] = ()
    answers: int = 0
    stale_ttls: tuple[float, ...] = ()
    reuse_revocations: int = 0
    uses_after_revocation: int = 0

    @property
    def interruptions(self) -> int:
        return self.forced_sign_ins + self.surfaced_401s + self.lost_inputs

    @property
    def capped(self) -> bool:
        return bool(self.reuse_revocations or self.uses_after_revocation or self.lost_inputs)


def observe(events: Iterable[Event], *, window: Window = ALWAYS) -> UxInputs:
    """One pass over events, each session's in the order in which they happened; sessions may be interleaved."""
    observer = UxObserver(window)
    for event in events:
        observer.add(event)
    return observer.inputs()


def merge(inputs: Iterable[UxInputs]) -> UxInputs:
    """Those of several sessions, windows or both together: values are pooled, so nothing is ever averaged."""
    pool = (UxInputs(), *inputs)
    return UxInputs(**{name: _together([getattr(one, name) for one in pool]) for name in UxInputs.__struct_fields__})


def _together(values: list[Any]) -> Any:
    match values[0]:
        case frozenset():
            return frozenset().union(*values)
        case tuple():
            return tuple(sorted(chain.from_iterable(values)))
        case float():
            return math.fsum(values)
        case _:
            return sum(values)


def told(
    inputs: UxInputs,
    *,
    lost_inputs: int = 0,
    reuse_revocations: int = 0,
    uses_after_revocation: int = 0,
    administrator_revocations: int = 0,
) -> UxInputs:
    """The inputs with what no event says, from who knows: a page, or a provider that was asked.

    Lost input and an administrator's revocation are told of one session, since they change whether it was interrupted.
    """
    excused = min(administrator_revocations, inputs.forced_sign_ins)
    changed = msgspec.structs.replace(
        inputs,
        lost_inputs=inputs.lost_inputs + lost_inputs,
        reuse_revocations=inputs.reuse_revocations + reuse_revocations,
        uses_after_revocation=inputs.uses_after_revocation + uses_after_revocation,
        forced_sign_ins=inputs.forced_sign_ins - excused,
        excused_ends=inputs.excused_ends + excused,
    )
    if not lost_inputs and not excused:
        return changed
    assert len(inputs.sessions) <= 1, "one session's inputs are told of it before they are merged"
    felt = changed.interruptions > 0
    return msgspec.structs.replace(
        changed,
        interrupted_sessions=inputs.sessions if felt else frozenset(),
        interrupted_users=inputs.users if felt else frozenset(),
    )


class UxObserver:
    """Takes events one at a time, so that a simulation can be scored without keeping its log."""

    __slots__ = ("_sessions", "_window")

    def __init__(self, window: Window = ALWAYS) -> None:
        self._window = window
        self._sessions: dict[str, _Session] = {}

    def add(self, event: Event) -> None:
        see = _SEEN.get(type(event.fact))
        if see is None:
            return
        origin = event.origin
        session = self._sessions.get(origin.session_id)
        if session is None:
            session = self._sessions[origin.session_id] = _Session(self._window, origin.session_id, origin.user_id)
        session.place(event)
        see(session, event.fact)

    def inputs(self) -> UxInputs:
        return merge(session.inputs() for session in self._sessions.values())


class _Session:
    """What has been seen of one session. Time is boot seconds, joined by wall time where a new journal begins."""

    def __init__(self, window: Window, session_id: str, user_id: str) -> None:
        self.window = window
        self.session_id, self.user_id = session_id, user_id
        self.stream_id = ""
        self.offset_s = self.wall = self.now = 0.0
        self.counts = self.used = False
        self.sign_at = self.interrupted_at = self.waited_until = -math.inf
        self.sign_counts = False
        self.barred = self.limit_passed = self.rotates = self.maybe_spent = False
        self.ended_at: float | None = None
        self.triggered_at: float | None = None
        self.asked_at: float | None = None
        self.active_s = 0.0
        self.forced_sign_ins = self.surfaced_401s = self.excused_ends = 0
        self.requests = self.auth_errors = self.answers = 0
        self.reuse_revocations = self.uses_after_revocation = 0
        self.resume_ms: list[float] = []
        self.waited_ms: list[float] = []
        self.stale_ttls: list[float] = []

    def place(self, event: Event) -> None:
        wall = event.happened_at
        if event.origin.stream_id != self.stream_id:
            if self.stream_id:
                self.offset_s = self.now + max(0.0, wall - self.wall) - event.boot
            self.stream_id = event.origin.stream_id
        self.now, self.wall = event.boot + self.offset_s, wall
        self.counts = self.window.start_s <= wall < self.window.end_s

    def inputs(self) -> UxInputs:
        interrupted = self.forced_sign_ins + self.surfaced_401s > 0
        return UxInputs(
            sessions=frozenset({self.session_id} if self.used else ()),
            interrupted_sessions=frozenset({self.session_id} if interrupted else ()),
            users=frozenset({self.user_id} if self.used else ()),
            interrupted_users=frozenset({self.user_id} if interrupted else ()),
            active_s=self.active_s + (ACTIVE_PAUSE_S if self.sign_counts else 0.0),
            forced_sign_ins=self.forced_sign_ins,
            surfaced_401s=self.surfaced_401s,
            excused_ends=self.excused_ends,
            resume_ms=tuple(sorted((*self.resume_ms, *self.resuming_ms()))),
            requests=self.requests,
            auth_errors=self.auth_errors,
            waited_ms=tuple(sorted(self.waited_ms)),
            answers=self.answers,
            stale_ttls=tuple(sorted(self.stale_ttls)),
            reuse_revocations=self.reuse_revocations,
            uses_after_revocation=self.uses_after_revocation,
        )

    def sign(self) -> None:
        """Somebody uses the session now; the time since the last sign goes to the window of that one."""
        if self.sign_counts:
            self.active_s += min(max(self.now - self.sign_at, 0.0), ACTIVE_PAUSE_S)
        self.sign_at, self.sign_counts = self.now, self.counts
        self.used = self.used or self.counts

    def interrupts(self) -> bool:
        """Whether this is an interruption of its own, to be counted."""
        self.sign()
        if self.now - self.interrupted_at < SAME_INTERRUPTION_S:
            return False
        self.interrupted_at = self.now
        return self.counts

    def begin_resume(self) -> None:
        self.conclude_resume()
        if not self.barred:
            self.triggered_at = self.now

    def conclude_resume(self) -> None:
        self.resume_ms.extend(self.resuming_ms())
        self.triggered_at = self.asked_at = None

    def resuming_ms(self) -> tuple[float, ...]:
        """How long somebody has waited for the session to be back; empty if nobody has."""
        if self.asked_at is None or not self.counts:
            return ()
        return (max(0.0, self.waited_until - self.asked_at) * 1000,)

    def wait(self, fact: RequestServed, since: float) -> None:
        """A call that may be the first since a resume began, or bring the answer."""
        if fact.served is Served.CACHE or fact.served is Served.STALE:
            return
        if self.asked_at is None:
            if fact.error is ErrorClass.NETWORK:
                self.triggered_at = self.now
                return
            self.asked_at = max(since, self.now - fact.duration_ms / 1000)
        self.waited_until = self.now
        if fact.error is None and fact.served is Served.NETWORK:
            self.conclude_resume()


def _see_start(session: _Session, fact: SessionStarted) -> None:
    session.barred = session.limit_passed = False
    session.ended_at = None
    if not fact.resumed:
        session.maybe_spent = False
        session.sign()


def _see_end(session: _Session, fact: SessionEnded) -> None:
    session.ended_at = session.now
    if session.barred or session.limit_passed or fact.reason in NOT_PENALISED:
        session.barred = True
        session.conclude_resume()
        session.excused_ends += session.counts
    else:
        session.forced_sign_ins += session.interrupts()


def _see_state(session: _Session, fact: StateChanged) -> None:
    if fact.state_to is State.LOCKED:
        session.barred = True
        session.conclude_resume()
    elif fact.state_to is State.SUSPENDED or fact.state_to is State.OFFLINE:
        session.conclude_resume()
    elif fact.signal is Signal.WOKE or fact.signal is Signal.NETWORK_BACK:
        session.begin_resume()


def _see_user(session: _Session, fact: UserActed) -> None:
    session.sign()
    if fact.action == FOCUS:
        session.begin_resume()


def _see_request(session: _Session, fact: RequestServed) -> None:
    ended_at = session.ended_at
    if ended_at is not None and fact.served is Served.NETWORK:
        begun_at = session.now - fact.duration_ms / 1000
        session.uses_after_revocation += session.counts and begun_at > ended_at + _IN_FLIGHT_S
    if session.barred:
        return
    session.sign()
    error = fact.error
    if session.counts:
        session.requests += 1
        if fact.waited_ms > 0:
            session.waited_ms.append(fact.waited_ms)
        if error is None:
            session.answers += fact.served is Served.NETWORK
        elif error is ErrorClass.AUTH:
            session.auth_errors += 1
    if fact.status == 401:
        session.surfaced_401s += session.interrupts()
    if session.triggered_at is not None:
        session.wait(fact, session.triggered_at)


def _see_cache(session: _Session, fact: CacheServed) -> None:
    if session.counts:
        session.answers += 1
        if fact.age_s > fact.ttl_s:
            session.stale_ttls.append((fact.age_s - fact.ttl_s) / max(fact.ttl_s, 1.0))


def _see_refresh(session: _Session, fact: TokenRefreshed) -> None:
    session.maybe_spent = False
    session.rotates = session.rotates or fact.rotated


def _see_another_s_refresh(session: _Session, _fact: TokenFollowed) -> None:
    session.maybe_spent = False


def _see_refusal(session: _Session, fact: RefreshFailed) -> None:
    if fact.outcome is Outcome.AMBIGUOUS:
        session.maybe_spent = True
    elif fact.outcome is Outcome.REJECTED:
        session.reuse_revocations += session.counts and session.rotates and session.maybe_spent
        session.maybe_spent = False


def _see_fallback(session: _Session, fact: FallbackTried) -> None:
    if fact.outcome is StepOutcome.SKIPPED and fact.detail == "limit":
        session.limit_passed = True


_SEEN: Mapping[type, Callable[[_Session, Any], None]] = MappingProxyType(
    {
        SessionStarted: _see_start,
        SessionEnded: _see_end,
        StateChanged: _see_state,
        UserActed: _see_user,
        RequestServed: _see_request,
        CacheServed: _see_cache,
        TokenRefreshed: _see_refresh,
        TokenFollowed: _see_another_s_refresh,
        RefreshFailed: _see_refusal,
        FallbackTried: _see_fallback,
    }
)
