"""Sessions that go well or badly at wall seconds of a test's choice, and a clock to look at them by."""

from __future__ import annotations

from session_core.alert_rules import HOUR_S, MINUTE_S, AlertRule, AlertSettings, Measure
from session_core.events import (
    AlertRaised,
    AnyFact,
    Event,
    HeartbeatBeat,
    Origin,
    RefreshFailed,
    SessionEnded,
    SessionStarted,
    StuckFound,
    TokenRefreshed,
    UserActed,
)
from session_core.session_health import band
from session_core.store import EventStore
from session_core.vocabulary import EndReason, Outcome, RefreshReason, Source, State

NOW = 1_700_006_430.0  # Half a minute past a full hour.

STARTED = SessionStarted(resumed=False, life_s=3_600, idle_limit_s=None, absolute_limit_s=None)
ACTED = UserActed(action="clicked")
FORCED_OUT = SessionEnded(reason=EndReason.REFRESH_REJECTED)
SIGNED_OUT = SessionEnded(reason=EndReason.SIGNED_OUT)
STUCK = StuckFound(state=State.REFRESHING, stuck_s=3.0)
RAISED = AlertRaised(alert="client_misconfigured", error="invalid_client")
ROTATED = TokenRefreshed(
    reason=RefreshReason.DUE, attempt=1, duration_ms=9, waited_s=0, left_s=60, life_s=600, rotated=True, moved=True
)

BURN = AlertRule(
    name="Burn", measure=Measure.BURN, threshold=6, window_s=HOUR_S, short_window_s=5 * MINUTE_S, sessions_min=4
)
STUCK_RULE = AlertRule(name="Stuck", measure=Measure.STUCK, threshold=2)
FEW = AlertSettings(rules=(BURN, STUCK_RULE))


class Clock:
    """Stands where it is put."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now

    monotonic = boot = wall


def refused(outcome: Outcome) -> RefreshFailed:
    return RefreshFailed(
        reason=RefreshReason.DUE, attempt=1, outcome=outcome, status=400, error="x", duration_ms=9, left_s=60
    )


def beat(health: float) -> HeartbeatBeat:
    return HeartbeatBeat(state=State.ACTIVE, health=health, band=band(health), lowest="token_age", left_s=60)


class History:
    """Writes facts of sessions, each session's numbered in turn."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._seqs: dict[str, int] = {}

    def add(self, session: str, at: float, *facts: AnyFact, source: Source = Source.LIVE, user: str = "ann") -> None:
        origin = Origin(stream_id=session, session_id=session, user_id=user, source=source)
        events = []
        for fact in facts:
            self._seqs[session] = seq = self._seqs.get(session, 0) + 1
            events.append(Event(seq, at, at, at, origin, fact))
        self._store.append(events)

    def used(self, count: int, at: float, *facts: AnyFact, name: str = "s", source: Source = Source.LIVE) -> None:
        """So many sessions that somebody uses at that moment, with these facts in each."""
        for number in range(count):
            known = f"{name}{number}" in self._seqs
            self.add(f"{name}{number}", at, *(() if known else (STARTED,)), ACTED, *facts, source=source)
