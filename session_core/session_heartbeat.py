"""A health check of every session, five minutes apart unless told otherwise."""

from __future__ import annotations

import random
from math import floor
from typing import Protocol

from session_core.bounds import require
from session_core.clock import Clock
from session_core.deadlines import TICK_S_MAX, DeadlineLoop, LoopStatistics
from session_core.events import Record

MOMENTS = 20
"""At so many moments of an interval sessions beat, 15 s apart where it is 300 s."""


class Beating(Protocol):
    """What the heartbeat asks of a session."""

    def beat(self, now: float) -> None:
        """Check and log the health at boot second `now`. Never counts as the user's activity."""
        ...


class SessionHeartbeat:
    """One for all sessions of a process; the first beats are spread so that a fleet does not beat as one."""

    def __init__(
        self,
        *,
        interval_s: float,
        clock: Clock,
        rng: random.Random,
        record: Record,
        tick_s_max: float = TICK_S_MAX,
    ) -> None:
        require("heartbeat_s", interval_s, 0.05, 86_400)
        self.interval_s = interval_s
        self._moment_s = interval_s / MOMENTS
        self._clock = clock
        self._rng = rng
        self._loop: DeadlineLoop[Beating] = DeadlineLoop(
            part="heartbeat", visit=self._beat, clock=clock, record=record, tick_s_max=tick_s_max
        )

    def add(self, session: Beating) -> None:
        self._loop.schedule(session, self._shared(self._clock.boot() + self._rng.uniform(0, self.interval_s)))

    def remove(self, session: Beating) -> None:
        self._loop.remove(session)

    def start(self) -> None:
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def statistics(self) -> LoopStatistics:
        return self._loop.statistics()

    def _shared(self, due_at: float) -> float:
        """The nearest of few moments: sessions that beat at the same one cost the process one wake-up."""
        return (floor(due_at / self._moment_s) + 0.5) * self._moment_s

    def _beat(self, session: Beating, now: float) -> float:
        session.beat(now)
        return self._shared(now + self.interval_s)
