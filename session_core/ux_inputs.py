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
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import msgspec

from session_core.events import (
    CacheServed,
    Event,
    FallbackTried,
    Origin,
    RefreshFailed,
    RequestServed,
    SessionEnded,
    SessionStarted,
    StateChanged,
    TokenFollowed,
    TokenRefreshed,
    UserActed,
)
from session_core.histograms import SMALLEST, Histogram, bin_of
from session_core.ux_figures import UxInputs, merge
from session_core.vocabulary import EndReason, ErrorClass, Outcome, Served, Signal, State, StepOutcome

ACTIVE_PAUSE_S = 300.0
_PAUSE_US = 300_000_000
SAME_INTERRUPTION_S = 60.0
FOCUS = "focus"
NOT_PENALISED = frozenset(
    {
        EndReason.SIGNED_OUT,
        EndReason.SIGNED_OUT_ELSEWHERE,
        EndReason.SIGNED_OUT_AT_PROVIDER,
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


def observe(events: Iterable[Event], *, window: Window = ALWAYS) -> UxInputs:
    """One pass over events, each session's in the order in which they happened; sessions may be interleaved."""
    observer = UxObserver(window)
    for event in events:
        observer.add(event)
    return observer.inputs()


class Tally(msgspec.Struct, gc=False):
    """What one session adds to one stretch of time; where it had added too much, the difference is negative."""

    used: bool = False
    active_us: int = 0
    forced_sign_ins: int = 0
    surfaced_401s: int = 0
    excused_ends: int = 0
    requests: int = 0
    auth_errors: int = 0
    answers: int = 0
    reuse_revocations: int = 0
    uses_after_revocation: int = 0
    resume_ms: dict[int, int] = {}
    waited_ms: dict[int, int] = {}
    stale_ttls: dict[int, int] = {}


class Tallies(Protocol):
    """Where what happens is added up: a place for each moment and origin, and the tally kept there."""

    def at(self, wall: float, origin: Origin) -> Any: ...

    def tally(self, place: Any) -> Tally: ...


class _Window:
    """A tally for what is inside, and another for the rest, which nobody reads."""

    __slots__ = ("inside", "outside", "window")

    def __init__(self, window: Window) -> None:
        self.window, self.inside, self.outside = window, Tally(), Tally()

    def at(self, wall: float, _origin: Origin) -> Tally:
        return self.inside if self.window.start_s <= wall < self.window.end_s else self.outside

    def tally(self, place: Tally) -> Tally:
        return place


class UxObserver:
    """Takes events one at a time, so that a simulation can be scored without keeping its log."""

    __slots__ = ("_sessions", "_window")

    def __init__(self, window: Window = ALWAYS) -> None:
        self._window = window
        self._sessions: dict[str, tuple[UxSession, _Window]] = {}

    def add(self, event: Event) -> None:
        if not matters(event):
            return
        known = self._sessions.get(event.origin.session_id)
        if known is None:
            tallies = _Window(self._window)
            known = UxSession(event.origin.user_id, tallies), tallies
            self._sessions[event.origin.session_id] = known
        known[0].add(event)

    def inputs(self) -> UxInputs:
        return merge(_inputs(name, session, tallies.inside) for name, (session, tallies) in self._sessions.items())


def _inputs(session_id: str, session: UxSession, tally: Tally) -> UxInputs:
    session.project()
    sessions, users = frozenset({session_id}), frozenset({session.user_id})
    interrupted = tally.forced_sign_ins + tally.surfaced_401s > 0
    return UxInputs(
        sessions=sessions if tally.used else frozenset(),
        interrupted_sessions=sessions if interrupted else frozenset(),
        users=users if tally.used else frozenset(),
        interrupted_users=users if interrupted else frozenset(),
        active_us=tally.active_us,
        forced_sign_ins=tally.forced_sign_ins,
        surfaced_401s=tally.surfaced_401s,
        excused_ends=tally.excused_ends,
        resume_ms=Histogram.from_counts(tally.resume_ms),
        requests=tally.requests,
        auth_errors=tally.auth_errors,
        waited_ms=Histogram.from_counts(tally.waited_ms),
        answers=tally.answers,
        stale_ttls=Histogram.from_counts(tally.stale_ttls),
        reuse_revocations=tally.reuse_revocations,
        uses_after_revocation=tally.uses_after_revocation,
    )


def matters(event: Event) -> bool:
    """Whether the score heeds this kind of event at all."""
    return type(event.fact) in _SEEN


class UxSession:
    """What has been seen of one session, whose events are added in the order in which they happened.

    Time is boot seconds, joined by wall time where a new journal begins. What may yet turn out otherwise (the use after
    the last sign, a resume that still waits) is put down by `project` and taken back by the next event.
    """

    __slots__ = (
        "_projected",
        "_tallies",
        "asked_at",
        "barred",
        "ended_at",
        "interrupted_at",
        "limit_passed",
        "maybe_spent",
        "now",
        "offset_s",
        "place",
        "rotates",
        "sign_at",
        "sign_place",
        "stream_id",
        "triggered_at",
        "user_id",
        "waited_until",
        "wall",
    )

    def __init__(self, user_id: str, tallies: Tallies) -> None:
        self.user_id = user_id
        self._tallies = tallies
        self._projected: tuple[Any, Any, int | None] | None = None
        self.place: Any = None
        self.stream_id = ""
        self.offset_s = self.wall = self.now = 0.0
        self.sign_at = self.interrupted_at = self.waited_until = -math.inf
        self.sign_place: Any = None
        self.barred = self.limit_passed = self.rotates = self.maybe_spent = False
        self.ended_at: float | None = None
        self.triggered_at: float | None = None
        self.asked_at: float | None = None

    def add(self, event: Event) -> None:
        """Heed an event that matters."""
        self._retract()
        # As the store keeps it, so that what is read again comes to the same.
        wall, stream_id = round(event.happened_at * 1e6) / 1e6, event.origin.stream_id
        if stream_id != self.stream_id:
            if self.stream_id:
                self.offset_s = self.now + max(0.0, wall - self.wall) - event.boot
            self.stream_id = stream_id
        self.now, self.wall = event.boot + self.offset_s, wall
        self.place = self._tallies.at(wall, event.origin)
        _SEEN[type(event.fact)](self, event.fact)

    @property
    def tally(self) -> Tally:
        return self._tallies.tally(self.place)

    def project(self) -> None:
        """Count what would be so if nothing more came."""
        if self._projected is None:
            self._projected = self.sign_place, self.place, self.resuming_bin()
            self._count(*self._projected, 1)

    def _retract(self) -> None:
        if self._projected is not None:
            self._count(*self._projected, -1)
            self._projected = None

    def _count(self, sign_place: Any, place: Any, resume_bin: int | None, times: int) -> None:
        if sign_place is not None:
            self._tallies.tally(sign_place).active_us += times * _PAUSE_US
        if resume_bin is not None:
            _put(self._tallies.tally(place).resume_ms, resume_bin, times)

    def sign(self) -> None:
        """Somebody uses the session now; the time since the last sign goes to the window of that one."""
        if self.sign_place is not None:
            used_s = min(max(self.now - self.sign_at, 0.0), ACTIVE_PAUSE_S)
            self._tallies.tally(self.sign_place).active_us += round(used_s * 1e6)
        self.sign_at, self.sign_place = self.now, self.place
        self.tally.used = True

    def interrupts(self) -> bool:
        """Whether this is an interruption of its own, to be counted."""
        self.sign()
        if self.now - self.interrupted_at < SAME_INTERRUPTION_S:
            return False
        self.interrupted_at = self.now
        return True

    def begin_resume(self) -> None:
        self.conclude_resume()
        if not self.barred:
            self.triggered_at = self.now

    def conclude_resume(self) -> None:
        waited = self.resuming_bin()
        if waited is not None:
            _put(self.tally.resume_ms, waited, 1)
        self.triggered_at = self.asked_at = None

    def resuming_bin(self) -> int | None:
        """How long somebody has waited for the session to be back; None if nobody has."""
        if self.asked_at is None:
            return None
        return bin_of(max(0.0, self.waited_until - self.asked_at) * 1000)

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


def _put(counts: dict[int, int], number: int, count: int) -> None:
    counts[number] = counts.get(number, 0) + count


def _see_start(session: UxSession, fact: SessionStarted) -> None:
    session.barred = session.limit_passed = False
    session.ended_at = None
    if not fact.resumed:
        session.maybe_spent = False
        session.sign()


def _see_end(session: UxSession, fact: SessionEnded) -> None:
    session.ended_at = session.now
    if session.barred or session.limit_passed or fact.reason in NOT_PENALISED:
        session.barred = True
        session.conclude_resume()
        session.tally.excused_ends += 1
    elif session.interrupts():
        session.tally.forced_sign_ins += 1


def _see_state(session: UxSession, fact: StateChanged) -> None:
    if fact.state_to is State.LOCKED:
        session.barred = True
        session.conclude_resume()
    elif fact.state_to is State.SUSPENDED or fact.state_to is State.OFFLINE:
        session.conclude_resume()
    elif fact.signal is Signal.WOKE or fact.signal is Signal.NETWORK_BACK:
        session.begin_resume()


def _see_user(session: UxSession, fact: UserActed) -> None:
    session.sign()
    if fact.action == FOCUS:
        session.begin_resume()


def _see_request(session: UxSession, fact: RequestServed) -> None:
    ended_at = session.ended_at
    if ended_at is not None and fact.served is Served.NETWORK:
        begun_at = session.now - fact.duration_ms / 1000
        session.tally.uses_after_revocation += begun_at > ended_at + _IN_FLIGHT_S
    if session.barred:
        return
    session.sign()
    error, tally = fact.error, session.tally
    tally.requests += 1
    if fact.waited_ms >= SMALLEST:
        _put(tally.waited_ms, bin_of(fact.waited_ms), 1)
    if error is None:
        tally.answers += fact.served is Served.NETWORK
    elif error is ErrorClass.AUTH:
        tally.auth_errors += 1
    if fact.status == 401 and session.interrupts():
        tally.surfaced_401s += 1
    if session.triggered_at is not None:
        session.wait(fact, session.triggered_at)


def _see_cache(session: UxSession, fact: CacheServed) -> None:
    tally = session.tally
    tally.answers += 1
    stale_ttls = (fact.age_s - fact.ttl_s) / max(fact.ttl_s, 1.0)
    if stale_ttls >= SMALLEST:
        _put(tally.stale_ttls, bin_of(stale_ttls), 1)


def _see_refresh(session: UxSession, fact: TokenRefreshed) -> None:
    session.maybe_spent = False
    session.rotates = session.rotates or fact.rotated


def _see_another_s_refresh(session: UxSession, _fact: TokenFollowed) -> None:
    session.maybe_spent = False


def _see_refusal(session: UxSession, fact: RefreshFailed) -> None:
    if fact.outcome is Outcome.AMBIGUOUS:
        session.maybe_spent = True
    elif fact.outcome is Outcome.REJECTED:
        session.tally.reuse_revocations += session.rotates and session.maybe_spent
        session.maybe_spent = False


def _see_fallback(session: UxSession, fact: FallbackTried) -> None:
    if fact.outcome is StepOutcome.SKIPPED and fact.detail == "limit":
        session.limit_passed = True


_SEEN: Mapping[type, Callable[[UxSession, Any], None]] = MappingProxyType(
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
MATTERING = frozenset(_SEEN)
"""The kinds of fact that the score heeds."""
