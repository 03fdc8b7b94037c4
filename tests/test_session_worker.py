"""The worker visits sessions when something of theirs is due, and tells them all of a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from session_core.clock import Gap
from session_core.events import AnyFact, GapObserved, PartCrashed
from session_core.session_worker import SessionWorker
from session_core.sim.clock import VirtualClock
from session_core.sim.loop import run_virtual, running_loop
from session_core.vocabulary import GapKind


class Patient:
    """A session as far as the worker can see: asks for a visit every `every_s`, or for none."""

    def __init__(self, every_s: float | None = None, *, fails_at_gaps: bool = False) -> None:
        self.every_s = every_s
        self.fails_at_gaps = fails_at_gaps
        self.visits: list[float] = []
        self.gaps: list[Gap] = []

    def maintain(self, now: float) -> float | None:
        self.visits.append(now)
        return None if self.every_s is None else now + self.every_s

    def observe_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)
        if self.fails_at_gaps:
            raise ValueError("the-secret-token")


Scene = Callable[[SessionWorker, VirtualClock], Awaitable[None]]


def play(scene: Scene) -> list[AnyFact]:
    facts: list[AnyFact] = []

    async def main() -> None:
        clock = VirtualClock(running_loop().world_time)
        worker = SessionWorker(clock=clock, record=facts.append)
        worker.start()
        await scene(worker, clock)
        await worker.stop()

    run_virtual(main())
    return facts


def test_a_new_session_is_looked_at_at_once_and_then_as_it_asks() -> None:
    """Not every minute: a session that asks for nothing costs nothing."""
    busy, calm = Patient(40), Patient()

    async def scene(worker: SessionWorker, _clock: VirtualClock) -> None:
        await asyncio.sleep(5)
        worker.add(busy)
        worker.add(calm)
        await asyncio.sleep(100)
        assert worker.statistics().visits == 4

    assert play(scene) == []
    assert busy.visits == [5.0, 45.0, 85.0]
    assert calm.visits == [5.0]


def test_a_touch_looks_at_a_session_anew_if_it_is_looked_after() -> None:
    """A stranger's touch does not make it a member."""
    known, unknown = Patient(), Patient()

    async def scene(worker: SessionWorker, _clock: VirtualClock) -> None:
        worker.add(known)
        await asyncio.sleep(10)
        worker.touch(known)
        worker.touch(unknown)
        await asyncio.sleep(10)
        worker.remove(known)
        worker.touch(known)
        await asyncio.sleep(10)
        assert worker.statistics().members == 0

    play(scene)
    assert known.visits == [0.0, 10.0]
    assert unknown.visits == []


def test_a_gap_is_logged_once_told_to_all_and_followed_by_a_look() -> None:
    """Every session hears of it, and none waits for its own deadline."""
    patients = [Patient(1000), Patient(), Patient(5000)]

    async def scene(worker: SessionWorker, clock: VirtualClock) -> None:
        for patient in patients:
            worker.add(patient)
        await asyncio.sleep(1)
        clock.step_wall(3600)
        await asyncio.sleep(30)

    assert play(scene) == [GapObserved(gap=GapKind.CLOCK_STEP, seconds=3600)]
    for patient in patients:
        assert patient.gaps == [Gap(GapKind.CLOCK_STEP, 3600)]
        assert patient.visits == [0.0, 15.0]


def test_a_session_that_fails_at_a_gap_does_not_keep_it_from_the_others() -> None:
    """Its crash is logged without its message; the next one is told, and it is looked at like the rest."""
    before, bad, after = Patient(), Patient(fails_at_gaps=True), Patient()

    async def scene(worker: SessionWorker, clock: VirtualClock) -> None:
        for patient in (before, bad, after):
            worker.add(patient)
        await asyncio.sleep(1)
        clock.step_wall(3600)
        await asyncio.sleep(30)
        assert worker.statistics().crashes == 1

    assert play(scene) == [
        GapObserved(gap=GapKind.CLOCK_STEP, seconds=3600),
        PartCrashed(part="worker", error="ValueError"),
    ]
    for patient in (before, bad, after):
        assert len(patient.gaps) == 1
        assert patient.visits == [0.0, 15.0]


def test_a_session_may_leave_while_it_is_told_of_a_gap() -> None:
    """What ends in its sleep is not looked at again."""

    class Leaver(Patient):
        worker: SessionWorker

        def observe_gap(self, gap: Gap) -> None:
            super().observe_gap(gap)
            self.worker.remove(self)

    leaver = Leaver()

    async def scene(worker: SessionWorker, clock: VirtualClock) -> None:
        leaver.worker = worker
        worker.add(leaver)
        await asyncio.sleep(1)
        clock.step_wall(-3600)
        await asyncio.sleep(30)
        assert worker.statistics().members == 0

    play(scene)
    assert leaver.visits == [0.0]


def test_starting_and_stopping_are_told_by_the_statistics() -> None:
    """Twice is once, and what was added is kept meanwhile."""
    patient = Patient(10)

    async def scene(worker: SessionWorker, _clock: VirtualClock) -> None:
        worker.start()
        assert worker.statistics().running
        worker.add(patient)
        await asyncio.sleep(1)
        await worker.stop()
        await worker.stop()
        assert not worker.statistics().running
        await asyncio.sleep(100)
        assert patient.visits == [0.0]
        worker.start()
        await asyncio.sleep(1)

    play(scene)
    assert patient.visits == [0.0, 101.0]


def test_ten_thousand_sessions_with_nothing_due_are_visited_once_each() -> None:
    """An hour later nobody has been looked at again."""
    patients = [Patient() for _ in range(10_000)]

    async def scene(worker: SessionWorker, _clock: VirtualClock) -> None:
        for patient in patients:
            worker.add(patient)
        await asyncio.sleep(3600)
        assert worker.statistics().visits == 10_000

    play(scene)
