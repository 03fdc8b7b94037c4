"""Where a session stands: one table of transitions, and the machine that walks it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from session_core.clock import Clock
from session_core.errors import IllegalTransitionError
from session_core.events import Record, StateChanged, StuckFound
from session_core.vocabulary import Signal, State

_LIVE = (
    State.ACTIVE,
    State.REFRESHING,
    State.DEGRADED,
    State.OFFLINE,
    State.SUSPENDED,
    State.RESUMING,
    State.RECOVERING,
)
_HELD = (State.LOCKED, State.EXPIRED, State.SIGNED_OUT)
# What may still be reported from before a sign-in began while the user is at it.
_BACKGROUND = frozenset(Signal) - {
    Signal.SIGN_IN_STARTED,
    Signal.SIGNED_IN,
    Signal.SIGN_IN_FAILED,
    Signal.SIGNED_OUT,
    Signal.STUCK,
}


def _table() -> dict[tuple[State, Signal], State]:
    """Rows common to several states first; the particular rows below them win."""
    table: dict[tuple[State, Signal], State] = {}
    for state in _LIVE:
        table |= {
            (state, Signal.REFRESH_STARTED): state,
            (state, Signal.REFRESH_SUCCEEDED): State.ACTIVE,
            (state, Signal.REFRESH_FAILED): State.DEGRADED,
            (state, Signal.NETWORK_LOST): State.OFFLINE,
            (state, Signal.NETWORK_BACK): state,
            (state, Signal.SUSPENDED): State.SUSPENDED,
            (state, Signal.WOKE): state,
            (state, Signal.RESUMED): State.ACTIVE,
            (state, Signal.FALLBACK_STARTED): State.RECOVERING,
            (state, Signal.FALLBACK_SUCCEEDED): State.ACTIVE,
            (state, Signal.FALLBACK_EXHAUSTED): State.EXPIRED,
            (state, Signal.IDLE_LIMIT_REACHED): State.LOCKED,
            (state, Signal.ABSOLUTE_LIMIT_REACHED): State.EXPIRED,
            (state, Signal.PERSIST_FAILED): State.DEGRADED,
            (state, Signal.PERSIST_RECOVERED): state,
            (state, Signal.SIGN_IN_STARTED): state,
            (state, Signal.SIGNED_IN): State.ACTIVE,
            (state, Signal.SIGNED_OUT): State.SIGNED_OUT,
        }
    for state in _HELD:
        # A refresh that was under way when the session was locked or ended reports to nobody.
        table |= {(state, signal): state for signal in Signal if signal is not Signal.STUCK}
        table[state, Signal.SIGN_IN_STARTED] = State.AUTHENTICATING
        table[state, Signal.SIGNED_IN] = State.ACTIVE
        table[state, Signal.SIGNED_OUT] = State.SIGNED_OUT
    for signal in _BACKGROUND:
        table[State.AUTHENTICATING, signal] = State.AUTHENTICATING
    return table | {
        (State.AUTHENTICATING, Signal.SIGNED_IN): State.ACTIVE,
        (State.AUTHENTICATING, Signal.SIGN_IN_FAILED): State.SIGNED_OUT,
        (State.AUTHENTICATING, Signal.SIGNED_OUT): State.SIGNED_OUT,
        (State.AUTHENTICATING, Signal.STUCK): State.SIGNED_OUT,
        (State.ACTIVE, Signal.REFRESH_STARTED): State.REFRESHING,
        (State.REFRESHING, Signal.STUCK): State.DEGRADED,
        (State.DEGRADED, Signal.PERSIST_RECOVERED): State.ACTIVE,
        (State.OFFLINE, Signal.NETWORK_BACK): State.RESUMING,
        (State.SUSPENDED, Signal.WOKE): State.RESUMING,
        (State.RESUMING, Signal.STUCK): State.DEGRADED,
        (State.RECOVERING, Signal.STUCK): State.DEGRADED,
        (State.LOCKED, Signal.ABSOLUTE_LIMIT_REACHED): State.EXPIRED,
        # The lock came while the fallback was at work, which found that nothing is left to unlock.
        (State.LOCKED, Signal.FALLBACK_EXHAUSTED): State.EXPIRED,
    }


TRANSITIONS: Mapping[tuple[State, Signal], State] = MappingProxyType(_table())

# Longer than the slowest honest refresh or fallback; staying past it is "stuck".
DEADLINE_S: Mapping[State, float] = MappingProxyType(
    {State.REFRESHING: 60.0, State.RESUMING: 60.0, State.RECOVERING: 120.0, State.AUTHENTICATING: 600.0}
)


def step(state: State, signal: Signal) -> State:
    try:
        return TRANSITIONS[state, signal]
    except KeyError:
        raise IllegalTransitionError(state, signal) from None


def stuck_at(state: State, since: float) -> float | None:
    """The boot second from which `state`, entered at `since`, counts as stuck."""
    deadline_s = DEADLINE_S.get(state)
    return None if deadline_s is None else since + deadline_s


class SessionStateMachine:
    """The current state, since when, and the short path that led there."""

    __slots__ = ("_clock", "_record", "path", "since", "state")

    def __init__(self, *, clock: Clock, record: Record, state: State = State.SIGNED_OUT) -> None:
        self._clock = clock
        self._record = record
        self.state = state
        self.since = clock.boot()
        self.path: tuple[State, ...] = (state,)

    def fire(self, signal: Signal) -> State:
        """Move, and say so if the state changed. Raises IllegalTransitionError on a signal the table does not know."""
        before, after = self.state, step(self.state, signal)
        if after is not before:
            self.state = after
            self.since = self._clock.boot()
            self.path = (*self.path[-7:], after)
            self._record(StateChanged(state_from=before, state_to=after, signal=signal))
        return after

    def force_on(self, now: float) -> bool:
        """Push a stuck state onward; whether it was stuck."""
        at = stuck_at(self.state, self.since)
        if at is None or now < at:
            return False
        self._record(StuckFound(state=self.state, stuck_s=now - at))
        self.fire(Signal.STUCK)
        return True
