"""Maintenance of many sessions: due refreshes, recovery, stuck states, limits, cache sweeps; and the sleep detector."""

from __future__ import annotations

from typing import Protocol

from session_core.clock import Clock, Gap
from session_core.deadlines import TICK_S_MAX, DeadlineLoop, LoopStatistics
from session_core.events import GapObserved, Record

MAINTENANCE_S_MAX = 60.0


class Maintained(Protocol):
    """What the worker asks of a session."""

    def maintain(self, now: float) -> float | None:
        """Do what is due at boot second `now`; when to be asked again, or None while nothing is planned."""
        ...

    def observe_gap(self, gap: Gap) -> None: ...


class SessionWorker:
    """One for all sessions of a process. A session is visited when something of its own is due, not every minute."""

    def __init__(self, *, clock: Clock, record: Record, tick_s_max: float = TICK_S_MAX) -> None:
        self._clock = clock
        self._record = record
        self._loop: DeadlineLoop[Maintained] = DeadlineLoop(
            part="worker",
            visit=_maintain,
            clock=clock,
            record=record,
            tick_s_max=tick_s_max,
            on_gap=self._tell_all,
        )
        self.overslept = self._loop.overslept
        """Whether the device has slept and no session knows yet. Any thread may ask."""

    def add(self, session: Maintained) -> None:
        """Look after `session` from now on; again on one already there looks at it anew."""
        self._loop.schedule(session, self._clock.boot())

    def touch(self, session: Maintained) -> None:
        """Something about `session` changed: look at it anew, if it is looked after at all."""
        if session in self._loop:
            self._loop.schedule(session, self._clock.boot())

    def remove(self, session: Maintained) -> None:
        self._loop.remove(session)

    def notice(self) -> None:
        """Tell every session of a sleep before anybody acts on it."""
        self._loop.notice()

    def start(self) -> None:
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def statistics(self) -> LoopStatistics:
        return self._loop.statistics()

    def _tell_all(self, gap: Gap) -> None:
        self._record(GapObserved(gap=gap.kind, seconds=gap.seconds))
        for session in self._loop.members():
            # Told or not, it is looked at anew.
            self._loop.schedule(session, self._clock.boot())
            with self._loop.crashes_noted():
                session.observe_gap(gap)


def _maintain(session: Maintained, now: float) -> float | None:
    return session.maintain(now)
