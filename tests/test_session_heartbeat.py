"""The heartbeat checks every session in its turn, spread over the interval."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from session_core.errors import ConfigError
from session_core.events import AnyFact, PartCrashed
from session_core.session_heartbeat import SessionHeartbeat
from session_core.sim.clock import VirtualClock
from session_core.sim.loop import run_virtual, running_loop


class Heart:
    def __init__(self, *, fails: int = 0) -> None:
        self.beats: list[float] = []
        self.fails = fails

    def beat(self, now: float) -> None:
        self.beats.append(now)
        if len(self.beats) <= self.fails:
            raise RuntimeError("the-secret-token")


def make_heartbeat(facts: list[AnyFact], interval_s: float = 300.0) -> SessionHeartbeat:
    clock = VirtualClock(running_loop().world_time)
    return SessionHeartbeat(interval_s=interval_s, clock=clock, rng=random.Random(1), record=facts.append)


def test_hearts_beat_every_five_minutes_and_not_as_one() -> None:
    """The first beats of a fleet are spread over the interval; after that each keeps its time."""
    hearts = [Heart() for _ in range(200)]

    async def main() -> None:
        heartbeat = make_heartbeat([])
        heartbeat.start()
        for heart in hearts:
            heartbeat.add(heart)
        await asyncio.sleep(3600)
        assert heartbeat.statistics().members == 200
        await heartbeat.stop()

    run_virtual(main())
    firsts = sorted(heart.beats[0] for heart in hearts)
    assert 0 <= firsts[0] < 15
    assert 285 < firsts[-1] <= 300
    assert sum(first < 150 for first in firsts) in range(70, 131)
    for heart in hearts:
        assert len(heart.beats) == 12
        assert all(later - earlier == pytest.approx(300) for earlier, later in pairwise(heart.beats))


def test_a_heart_that_was_removed_is_still() -> None:
    """And removing a stranger is no mistake."""
    heart = Heart()

    async def main() -> None:
        heartbeat = make_heartbeat([])
        heartbeat.start()
        heartbeat.add(heart)
        await asyncio.sleep(700)
        heartbeat.remove(heart)
        heartbeat.remove(Heart())
        beats = len(heart.beats)
        await asyncio.sleep(3600)
        assert len(heart.beats) == beats >= 2
        await heartbeat.stop()

    run_virtual(main())


def test_a_heart_that_fails_is_asked_again_and_the_others_beat_on() -> None:
    """The log has the kind of the error and nothing of its message."""
    facts: list[AnyFact] = []
    bad, good = Heart(fails=2), Heart()

    async def main() -> None:
        heartbeat = make_heartbeat(facts)
        heartbeat.start()
        heartbeat.start()
        heartbeat.add(bad)
        heartbeat.add(good)
        await asyncio.sleep(1000)
        found = heartbeat.statistics()
        assert (found.running, found.crashes) == (True, 2)
        await heartbeat.stop()
        assert not heartbeat.statistics().running

    run_virtual(main())
    assert facts == [PartCrashed(part="heartbeat", error="RuntimeError")] * 2
    assert bad.beats[2] - bad.beats[0] == pytest.approx(2)
    assert len(good.beats) >= 3


@pytest.mark.parametrize("interval_s", [0.049, 86_401])
def test_an_interval_out_of_range_is_refused(interval_s: float) -> None:
    """From a twentieth of a second to a day."""

    async def main() -> None:
        for value in (0.05, 86_400):
            assert make_heartbeat([], value).interval_s == value
        with pytest.raises(ConfigError, match=r"heartbeat_s is .*; set it between 0\.05 and 86400\."):
            make_heartbeat([], interval_s)

    run_virtual(main())
