"""Where an alert stands: one table of states, and two things laid over it, a silence and a freeze. Pure.

    QUIET ──exceeded──▶ FIRING ──acknowledged──▶ ACKNOWLEDGED
                          │ calm                     │ calm
                          └────────▶ RESOLVED ◀──────┘ ──exceeded──▶ FIRING

A silenced alert moves on as it would; nobody is told until the silence is over, and then where it stands. A frozen one,
which cannot be measured, stays where it is: what is not known is neither calm nor resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from session_core.alert_rules import Verdict, Why


class AlertState(StrEnum):
    QUIET = "quiet"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class AlertSignal(StrEnum):
    """What can move an alert. WITHDRAWN: its rule was switched off or removed."""

    EXCEEDED = "exceeded"
    CALM = "calm"
    UNMEASURED = "unmeasured"
    ACKNOWLEDGED = "acknowledged"
    WITHDRAWN = "withdrawn"


class ChangeKind(StrEnum):
    """What is kept and told of an alert. The first four lead into a state, the others lay over it or lift."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    WITHDRAWN = "withdrawn"
    SILENCED = "silenced"
    SILENCE_OVER = "silence_over"
    FROZEN = "frozen"
    THAWED = "thawed"


OPEN = frozenset({AlertState.FIRING, AlertState.ACKNOWLEDGED})


def _table() -> dict[tuple[AlertState, AlertSignal], AlertState]:
    table: dict[tuple[AlertState, AlertSignal], AlertState] = {}
    for state in AlertState:
        table |= {
            (state, AlertSignal.EXCEEDED): AlertState.FIRING,
            (state, AlertSignal.CALM): AlertState.RESOLVED if state in OPEN else state,
            (state, AlertSignal.UNMEASURED): state,
            # Whoever acknowledges what was resolved a moment ago comes too late, and no harm is done.
            (state, AlertSignal.ACKNOWLEDGED): AlertState.ACKNOWLEDGED if state in OPEN else state,
            (state, AlertSignal.WITHDRAWN): AlertState.QUIET,
        }
    return table | {(AlertState.ACKNOWLEDGED, AlertSignal.EXCEEDED): AlertState.ACKNOWLEDGED}


TRANSITIONS: Mapping[tuple[AlertState, AlertSignal], AlertState] = MappingProxyType(_table())
_KINDS: Mapping[AlertState, ChangeKind] = MappingProxyType(
    {
        AlertState.QUIET: ChangeKind.WITHDRAWN,
        AlertState.FIRING: ChangeKind.FIRING,
        AlertState.ACKNOWLEDGED: ChangeKind.ACKNOWLEDGED,
        AlertState.RESOLVED: ChangeKind.RESOLVED,
    }
)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's alert. `since` (wall seconds) is when it came into its state; `frozen` is why it cannot be measured."""

    rule: str
    state: AlertState = AlertState.QUIET
    since: float = 0.0
    silenced_until: float | None = None
    frozen: Why | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def needs_a_person(self) -> bool:
        """It fires, nobody has taken it on, and nobody has asked for silence."""
        return self.state is AlertState.FIRING and self.silenced_until is None


class Change(NamedTuple):
    """One thing that became of an alert, and where it stands since. `told` is whether anyone is to hear of it."""

    kind: ChangeKind
    state: AlertState
    at: float
    told: bool


Stepped = tuple[Alert, tuple[Change, ...]]


def step(alert: Alert, verdict: Verdict, *, now: float) -> Stepped:
    """Where the alert stands after a verdict at wall second `now`, and what changed, in order."""
    spoken, ended = _end_silence(alert, now=now)
    thawed, lifted = _freeze(spoken, verdict.why, now=now)
    moved, changed = _move(thawed, _SIGNALS[verdict.exceeded], now=now)
    return moved, (*ended, *lifted, *changed)


_SIGNALS: Mapping[bool | None, AlertSignal] = MappingProxyType(
    {True: AlertSignal.EXCEEDED, False: AlertSignal.CALM, None: AlertSignal.UNMEASURED}
)


def acknowledge(alert: Alert, *, now: float) -> Stepped:
    """Somebody is at it."""
    return _move(alert, AlertSignal.ACKNOWLEDGED, now=now)


def withdraw(alert: Alert, *, now: float) -> Stepped:
    """Its rule is no longer there to be judged; nobody says that what it found is over."""
    moved, changed = _move(alert, AlertSignal.WITHDRAWN, now=now)
    said = changed if alert.is_open else ()
    return msgspec.structs.replace(moved, silenced_until=None, frozen=None), said


def silence(alert: Alert, *, until: float, now: float) -> Stepped:
    """Nobody is told before `until`; a later silence takes the place of an earlier one."""
    assert until > now, "a silence lasts"
    return msgspec.structs.replace(alert, silenced_until=until), (Change(ChangeKind.SILENCED, alert.state, now, True),)


def end_silence(alert: Alert, *, now: float) -> Stepped:
    """Somebody wants to hear of it again."""
    over = alert.silenced_until is not None
    return _end_silence(msgspec.structs.replace(alert, silenced_until=now if over else None), now=now)


def _end_silence(alert: Alert, *, now: float) -> Stepped:
    if alert.silenced_until is None or now < alert.silenced_until:
        return alert, ()
    spoken = msgspec.structs.replace(alert, silenced_until=None)
    return spoken, (Change(ChangeKind.SILENCE_OVER, alert.state, now, True),)


def _freeze(alert: Alert, why: Why | None, *, now: float) -> Stepped:
    """Of a quiet alert it is shown that it cannot be measured, and nobody is woken for it."""
    changed = (why is None) != (alert.frozen is None)
    kind = ChangeKind.THAWED if why is None else ChangeKind.FROZEN
    told = alert.is_open and alert.silenced_until is None
    frozen = msgspec.structs.replace(alert, frozen=why)
    return frozen, ((Change(kind, alert.state, now, told),) if changed else ())


def _move(alert: Alert, signal: AlertSignal, *, now: float) -> Stepped:
    state = TRANSITIONS[alert.state, signal]
    if state is alert.state:
        return alert, ()
    moved = msgspec.structs.replace(alert, state=state, since=now)
    return moved, (Change(_KINDS[state], state, now, alert.silenced_until is None),)
