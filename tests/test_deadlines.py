"""Visits at their deadlines on virtual time: exact, in order, cheap, and not stopped by anyone's mistake."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_core.clock import Gap
from session_core.deadlines import RESTART_S, REVISIT_S_MIN, TICK_S_MAX, DeadlineLoop
from session_core.errors import ConfigError
from session_core.events import AnyFact, PartCrashed
from session_core.sim.clock import VirtualClock
from session_core.sim.device import Device
from session_core.sim.loop import run_virtual, running_loop
from session_core.vocabulary import GapKind

Play = Callable[["Bench"], Awaitable[None]]


class Bench:
    """A loop whose members are names; what a visit answers is kept in `plan`, by name."""

    def __init__(self, *, tick_s_max: float = TICK_S_MAX, device: Device | None = None) -> None:
        self.clock = device.clock if device else VirtualClock(running_loop().world_time)
        self.device = device
        self.plan: dict[str, Callable[[float], float | None]] = {}
        self.visits: list[tuple[float, str]] = []
        self.gaps: list[Gap] = []
        self.facts: list[AnyFact] = []
        self.on_gap: Callable[[Gap], None] = self.gaps.append
        self.loop: DeadlineLoop[str] = DeadlineLoop(
            part="bench",
            visit=self._visit,
            clock=self.clock,
            record=self.facts.append,
            tick_s_max=tick_s_max,
            on_gap=self._observe,
        )

    def _observe(self, gap: Gap) -> None:
        self.on_gap(gap)

    def _visit(self, member: str, now: float) -> float | None:
        self.visits.append((now, member))
        plan = self.plan.get(member)
        return plan(now) if plan else None


def play(scene: Play, *, tick_s_max: float = TICK_S_MAX, on_device: bool = False) -> Bench:
    benches: list[Bench] = []

    async def main() -> None:
        device = Device(running_loop(), "phone") if on_device else None
        benches.append(bench := Bench(tick_s_max=tick_s_max, device=device))
        if device is not None:
            device.call(bench.loop.start)
        else:
            bench.loop.start()
        await scene(bench)
        await bench.loop.stop()

    run_virtual(main(), until_s=1e7)
    return benches[0]


def test_a_member_is_visited_exactly_at_its_deadline() -> None:
    """Also between two ticks, and far beyond one."""

    async def scene(bench: Bench) -> None:
        for name, due_at in (("a", 3.25), ("b", 16.5), ("c", 1000.125)):
            bench.loop.schedule(name, due_at)
        await asyncio.sleep(2000)

    assert play(scene).visits == [(3.25, "a"), (16.5, "b"), (1000.125, "c")]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 500), min_size=1, max_size=40))
def test_members_are_visited_in_the_order_of_their_deadlines(deadlines: list[float]) -> None:
    """Each once, none early, none late; those of one instant in the order they were planned."""
    names = {f"m{number}": due_at for number, due_at in enumerate(deadlines)}

    async def scene(bench: Bench) -> None:
        for name, due_at in names.items():
            bench.loop.schedule(name, due_at)
        await asyncio.sleep(501)

    visits = play(scene).visits
    assert [name for _, name in visits] == sorted(names, key=lambda name: names[name])
    assert all(abs(at - names[name]) < 1e-9 for at, name in visits)


def test_the_latest_plan_stands_whether_earlier_or_later() -> None:
    """A sooner deadline wakes the loop; a later one does not leave the old visit behind."""

    async def scene(bench: Bench) -> None:
        bench.loop.schedule("sooner", 100)
        bench.loop.schedule("later", 10)
        await asyncio.sleep(1)
        bench.loop.schedule("sooner", 5)
        bench.loop.schedule("later", 50)
        await asyncio.sleep(200)

    assert play(scene).visits == [(5.0, "sooner"), (50.0, "later")]


def test_a_deadline_gone_by_is_met_at_once() -> None:
    """And told as late."""

    async def scene(bench: Bench) -> None:
        await asyncio.sleep(7)
        bench.loop.schedule("a", 3)
        await asyncio.sleep(1)
        assert bench.loop.statistics().late_s_max == 4

    assert play(scene).visits == [(7.0, "a")]


def test_a_removed_member_is_not_visited_again() -> None:
    """Removed while it waits, removed by its own visit, or never there."""

    async def scene(bench: Bench) -> None:
        def leave(now: float) -> float:
            bench.loop.remove("self")
            return now + 1

        bench.plan["self"] = leave
        bench.loop.schedule("waits", 10)
        bench.loop.schedule("self", 5)
        bench.loop.remove("waits")
        bench.loop.remove("never")
        assert "self" in bench.loop
        await asyncio.sleep(100)
        assert "self" not in bench.loop
        assert len(bench.loop) == 0

    assert play(scene).visits == [(5.0, "self")]


def test_a_visit_may_plan_its_own_member_and_others() -> None:
    """What it planned itself stands over what it answers."""

    async def scene(bench: Bench) -> None:
        def plan(now: float) -> float:
            if now < 10:
                bench.loop.schedule("a", 30)
                bench.loop.schedule("b", 20)
            return now + 1000

        bench.plan["a"] = plan
        bench.loop.schedule("a", 5)
        await asyncio.sleep(50)

    assert play(scene).visits == [(5.0, "a"), (20.0, "b"), (30.0, "a")]


def test_a_visit_that_asks_for_itself_at_once_does_not_hold_up_the_world() -> None:
    """Everyone else has a turn in between."""

    async def scene(bench: Bench) -> None:
        def again(now: float) -> float:
            if len(bench.visits) > 1000:
                raise AssertionError("the loop went round without letting go")
            bench.loop.schedule("greedy", now)
            return now

        bench.plan["greedy"] = again
        bench.loop.schedule("greedy", 1)
        bench.loop.schedule("other", 1)
        await asyncio.sleep(1)
        for _ in range(20):
            await asyncio.sleep(0)
        bench.loop.remove("greedy")

    bench = play(scene)
    assert (1.0, "other") in bench.visits
    assert bench.facts == []


def test_an_answer_in_the_past_is_kept_apart_by_a_hundredth() -> None:
    """A member that always wants to be asked at once is asked a hundred times a second, not for ever."""

    async def scene(bench: Bench) -> None:
        bench.plan["a"] = lambda _now: 0.0
        bench.loop.schedule("a", 1)
        await asyncio.sleep(1.1)
        bench.loop.remove("a")

    times = [at for at, _ in play(scene).visits]
    assert 9 <= len(times) <= 12
    assert times[1] == pytest.approx(1 + REVISIT_S_MIN)


def test_a_member_without_plans_stays_and_can_be_planned_again() -> None:
    """None means: nothing for now."""

    async def scene(bench: Bench) -> None:
        bench.loop.schedule("a", 1)
        await asyncio.sleep(100)
        assert "a" in bench.loop
        assert bench.loop.members() == ("a",)
        assert bench.loop.statistics().next_due_at is None
        bench.loop.schedule("a", 150)
        assert bench.loop.statistics().next_due_at == 150
        await asyncio.sleep(100)

    assert play(scene).visits == [(1.0, "a"), (150.0, "a")]


def test_one_members_mistake_stops_nobody() -> None:
    """It is visited again after a moment; the log has the error's type and not its message."""

    async def scene(bench: Bench) -> None:
        def fail(now: float) -> float:
            if now < 10:
                raise ValueError("the-secret-token")
            return now + 1000

        bench.plan["bad"] = fail
        bench.loop.schedule("bad", 9)
        bench.loop.schedule("good", 9)
        await asyncio.sleep(20)
        assert bench.loop.statistics().crashes == 1

    bench = play(scene)
    assert bench.visits == [(9.0, "bad"), (9.0, "good"), (9 + RESTART_S, "bad")]
    assert bench.facts == [PartCrashed(part="bench", error="ValueError")]


def test_a_listener_of_gaps_that_fails_does_not_end_the_loop() -> None:
    """The loop is started again after a moment, and visits go on."""

    async def scene(bench: Bench) -> None:
        def fail(_gap: Gap) -> None:
            raise ValueError("no")

        bench.on_gap = fail
        bench.loop.schedule("a", 100)
        await asyncio.sleep(1)
        bench.clock.step_wall(3600)
        await asyncio.sleep(200)
        assert bench.loop.statistics().running

    bench = play(scene)
    assert bench.visits == [(100.0, "a")]
    assert bench.facts == [PartCrashed(part="bench", error="ValueError")]


def test_starting_and_stopping_twice_is_the_same_as_once() -> None:
    """And it can be started again; what was planned is kept."""

    async def scene(bench: Bench) -> None:
        bench.loop.schedule("a", 50)
        bench.loop.start()
        await asyncio.sleep(10)
        await bench.loop.stop()
        await bench.loop.stop()
        assert not bench.loop.statistics().running
        await asyncio.sleep(100)
        assert bench.visits == []
        bench.loop.start()
        await asyncio.sleep(1)
        assert bench.loop.statistics().running

    assert play(scene).visits == [(110.0, "a")]


def test_a_loop_that_was_never_started_stops_quietly() -> None:
    """Nothing has begun, nothing ends."""

    async def main() -> None:
        bench = Bench()
        bench.loop.schedule("a", 1)
        await bench.loop.stop()
        await asyncio.sleep(10)
        assert bench.visits == []

    run_virtual(main())


def test_a_log_that_fails_stops_no_visits() -> None:
    """Where even the crash cannot be logged it is still counted, and the member is visited again."""

    async def main() -> None:
        visits: list[float] = []

        def record(_fact: AnyFact) -> None:
            raise OSError("disk full")

        def visit(_member: str, now: float) -> float:
            visits.append(now)
            if now < 3:
                raise ValueError("no")
            return now + 10

        loop: DeadlineLoop[str] = DeadlineLoop(
            part="bench", visit=visit, clock=VirtualClock(running_loop().world_time), record=record
        )
        loop.start()
        loop.schedule("a", 1)
        await asyncio.sleep(15)
        assert visits == [1.0, 2.0, 3.0, 13.0]
        assert loop.statistics().crashes == 2
        await loop.stop()

    run_virtual(main())


def test_ten_thousand_members_with_nothing_due_cost_only_ticks() -> None:
    """An hour of 10,000 sleeping sessions is 240 turns and no visit."""

    async def scene(bench: Bench) -> None:
        for number in range(10_000):
            bench.loop.schedule(f"m{number}", 1e6 + number)
        await asyncio.sleep(3600)
        last_run_at = bench.loop.statistics().last_run_at
        assert last_run_at is not None
        assert last_run_at >= 3600 - TICK_S_MAX
        assert bench.loop.statistics().visits == 0
        assert bench.loop.statistics().members == 10_000

    assert play(scene).visits == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_the_heap_stays_in_proportion_to_its_members(seed: int) -> None:
    """However often members are planned anew or leave."""

    async def main() -> None:
        rng = random.Random(seed)
        bench = Bench()
        for _ in range(3000):
            name = f"m{rng.randrange(50)}"
            if rng.random() < 0.3:
                bench.loop.remove(name)
            else:
                bench.loop.schedule(name, rng.uniform(0, 1e6))
            assert len(bench.loop._heap) <= 2 * len(bench.loop) + 65
        for name in bench.loop.members():
            bench.loop.remove(name)
        assert len(bench.loop._heap) <= 64

    run_virtual(main())


def test_members_that_left_are_not_held_in_memory() -> None:
    """A thousand sessions that ended are forgotten, not kept until a deadline in thirty days."""

    async def main() -> None:
        bench = Bench()
        for number in range(1000):
            bench.loop.schedule(f"m{number}", 1e6)
        for number in range(1000):
            bench.loop.remove(f"m{number}")
        assert len(bench.loop._heap) <= 64

    run_virtual(main())


def test_the_statistics_say_what_happened() -> None:
    """Counts, lateness, and what comes next."""

    async def scene(bench: Bench) -> None:
        fresh = bench.loop.statistics()
        assert (fresh.members, fresh.visits, fresh.crashes, fresh.late_s_max) == (0, 0, 0, 0.0)
        bench.plan["a"] = lambda now: now + 100
        bench.loop.schedule("a", 1)
        await asyncio.sleep(10)
        found = bench.loop.statistics()
        assert (found.running, found.members, found.visits, found.late_s_max) == (True, 1, 1, 0.0)
        assert (found.last_run_at, found.next_due_at) == (1.0, 101.0)

    play(scene)


# Gaps


def test_a_closed_lid_is_named_and_what_came_due_is_visited_on_waking() -> None:
    """At the first tick after the lid opens, not a night later."""

    async def scene(bench: Bench) -> None:
        assert bench.device is not None
        bench.loop.schedule("a", 100)
        await asyncio.sleep(20)
        bench.device.suspend()
        await asyncio.sleep(28_800)
        bench.device.resume()
        await asyncio.sleep(20)

    bench = play(scene, on_device=True)
    assert [(gap.kind, round(gap.seconds)) for gap in bench.gaps] == [(GapKind.SUSPEND, 28_800)]
    assert [name for _, name in bench.visits] == ["a"]
    assert 28_820 <= bench.visits[0][0] <= 28_820 + TICK_S_MAX


def test_a_plan_made_just_after_waking_is_kept_and_ends_the_sleep_at_once() -> None:
    """The tick that stood still is overdue by the boot clock, so the loop does not wait for it."""

    async def scene(bench: Bench) -> None:
        assert bench.device is not None
        await asyncio.sleep(16)
        bench.device.suspend()
        await asyncio.sleep(1000)
        bench.device.resume()
        bench.device.call(bench.loop.schedule, "a", 1018.0)
        await asyncio.sleep(0.5)
        assert [gap.kind for gap in bench.gaps] == [GapKind.SUSPEND]
        await asyncio.sleep(20)

    assert play(scene, on_device=True).visits == [(1018.0, "a")]


def test_a_stopped_process_is_one_stall_and_one_visit() -> None:
    """Ten minutes of missed ticks come as one."""

    async def scene(bench: Bench) -> None:
        assert bench.device is not None
        bench.plan["a"] = lambda now: now + 60
        bench.loop.schedule("a", 60)
        await asyncio.sleep(50)
        bench.device.stall(600)
        await asyncio.sleep(605)

    bench = play(scene, on_device=True)
    assert [gap.kind for gap in bench.gaps] == [GapKind.STALL]
    assert bench.visits == [(650.0, "a")]


def test_timers_that_are_late_again_and_again_are_called_throttled() -> None:
    """The third in a row; one on time begins the count anew."""

    async def scene(bench: Bench) -> None:
        assert bench.device is not None
        bench.device.throttle(60)
        await asyncio.sleep(300)
        bench.device.throttle(None)
        await asyncio.sleep(100)
        bench.device.throttle(60)
        await asyncio.sleep(100)

    kinds = [gap.kind for gap in play(scene, on_device=True).gaps]
    stall, throttle = GapKind.STALL, GapKind.THROTTLE
    assert kinds == [stall, stall, throttle, throttle, throttle, stall, stall]


def test_being_woken_between_throttled_ticks_does_not_hide_the_throttle() -> None:
    """A wait that something ended early says nothing of timers."""

    async def scene(bench: Bench) -> None:
        assert bench.device is not None
        bench.device.throttle(60)
        for _ in range(6):
            await asyncio.sleep(50)
            bench.device.call(bench.loop.schedule, "a", running_loop().world_time())

    kinds = [gap.kind for gap in play(scene, on_device=True).gaps]
    assert kinds[:4] == [GapKind.STALL, GapKind.STALL, GapKind.THROTTLE, GapKind.THROTTLE]


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_wall_clock_that_steps_is_named_and_moves_no_visit(seconds: float) -> None:
    """Deadlines are kept on the boot clock."""

    async def scene(bench: Bench) -> None:
        bench.loop.schedule("a", 100)
        await asyncio.sleep(20)
        bench.clock.step_wall(seconds)
        await asyncio.sleep(100)

    bench = play(scene)
    assert bench.gaps == [Gap(GapKind.CLOCK_STEP, seconds)]
    assert bench.visits == [(100.0, "a")]


@pytest.mark.parametrize("tick_s", [0.009, 15.001])
def test_a_tick_out_of_range_is_refused(tick_s: float) -> None:
    """A longer one would notice a sleep too late."""

    async def main() -> None:
        for value in (0.01, 15):
            Bench(tick_s_max=value)
        with pytest.raises(ConfigError, match=r"tick_s_max is .*; set it between 0\.01 and 15\."):
            Bench(tick_s_max=tick_s)

    run_virtual(main())
