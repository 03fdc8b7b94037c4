"""Devices in one world: each sleeps, stalls and is throttled alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tries import tries

from session_core.clock import Gap, Reading, classify_gap, read
from session_core.sim.device import Device
from session_core.sim.failures import DeadlockError
from session_core.sim.loop import run_virtual, running_loop
from session_core.vocabulary import GapKind


def now_s() -> float:
    """By the clock of whoever asks."""
    return asyncio.get_running_loop().time()


def world_s() -> float:
    return running_loop().world_time()


async def tick(every_s: float, ticks: list[float]) -> None:
    while True:
        await asyncio.sleep(every_s)
        ticks.append(world_s())


def device(name: str = "phone", **options: float) -> Device:
    return Device(running_loop(), name, **options)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return run_virtual(main, until_s=1e6)


# Suspend


def test_a_suspended_devices_timers_stand_still_while_the_world_goes_on() -> None:
    """Five seconds of a ten-second sleep are left when the lid closes, and when it opens."""

    async def main() -> tuple[list[float], list[float]]:
        asleep, awake = list[float](), list[float]()
        phone, laptop = device("phone"), device("laptop")
        phone.create_task(tick(10, asleep))
        laptop.create_task(tick(10, awake))
        await asyncio.sleep(15)
        phone.suspend()
        await asyncio.sleep(28_800)
        phone.resume()
        await asyncio.sleep(16)
        return asleep, awake[-3:]

    assert run(main()) == ([10.0, 28_820.0, 28_830.0], [28_810.0, 28_820.0, 28_830.0])


def test_the_loop_tells_a_device_its_own_monotonic_time() -> None:
    """As on Linux: a deadline set before the sleep is as far away after it."""

    async def on_the_phone() -> list[float]:
        seen = [now_s()]
        async with asyncio.timeout(10) as timeout:
            await asyncio.sleep(8)
            seen.append(now_s())
        assert timeout.when() == 10.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(12):
                await asyncio.sleep(5)
        return [*seen, now_s(), world_s()]

    async def main() -> list[float]:
        phone = device()
        task = phone.create_task(on_the_phone())
        await asyncio.sleep(3)
        phone.suspend()
        assert phone.clock.suspended
        await asyncio.sleep(100)
        assert now_s() == 103.0
        assert phone.call(now_s) == 3.0
        phone.resume()
        return await task

    assert run(main()) == [0.0, 8.0, 12.0, 112.0]


def test_answers_that_arrive_during_sleep_are_delivered_at_wake() -> None:
    """In the order they arrived, not in the order they were asked for."""

    async def main() -> list[tuple[float, str]]:
        seen = list[tuple[float, str]]()
        phone = device()

        async def ask(answer: asyncio.Future[str]) -> None:
            words = await answer
            seen.append((world_s(), words))

        answers = [running_loop().create_future() for _ in range(2)]
        waiting = [phone.create_task(ask(answer)) for answer in answers]
        await asyncio.sleep(10)
        phone.suspend()
        await asyncio.sleep(5)
        answers[1].set_result("asked last, answered first")
        await asyncio.sleep(5)
        answers[0].set_result("asked first")
        await asyncio.sleep(5)
        phone.resume()
        await asyncio.gather(*waiting)
        return seen

    assert run(main()) == [(25.0, "asked last, answered first"), (25.0, "asked first")]


def test_a_cancelled_task_of_a_sleeping_device_ends_when_it_wakes() -> None:
    """A process that sleeps cannot clean up."""

    async def main() -> list[float]:
        ended = list[float]()

        async def on_the_phone() -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                ended.append(world_s())

        phone = device()
        task = phone.create_task(on_the_phone())
        await asyncio.sleep(1)
        phone.suspend()
        task.cancel()
        await asyncio.sleep(49)
        phone.resume()
        await asyncio.wait([task])
        return ended

    assert run(main()) == [50.0]


def test_timers_cancelled_during_sleep_never_fire() -> None:
    """Cancelled from outside, a late timer stays silent; the run's bookkeeping survives."""

    async def main() -> float:
        phone = device()
        late, waiting = (phone.call(running_loop().call_later, due_s, pytest.fail, "it fired") for due_s in (5.0, 5.0))
        phone.suspend()
        await asyncio.sleep(10)
        late.cancel()
        phone.resume()
        waiting.cancel()
        await asyncio.sleep(100)
        return world_s()

    assert run(main()) == 110.0


def test_ties_keep_their_order_across_a_sleep() -> None:
    """Two timers of one device due together fire in the order they were set, one before and one after the sleep."""

    async def main() -> list[str]:
        order = list[str]()
        phone, loop = device(), running_loop()
        await asyncio.sleep(0.5)
        phone.call(loop.call_at, 20.0, order.append, "first")
        phone.suspend()
        await asyncio.sleep(4)
        phone.resume()
        phone.call(loop.call_at, 20.0, order.append, "second")
        await asyncio.sleep(100)
        return order

    assert run(main()) == ["first", "second"]


def test_a_device_that_suspends_itself_stops_at_its_next_wait() -> None:
    """What it set up in the world wakes it."""

    async def main() -> list[float]:
        phone = device()

        async def on_the_phone() -> list[float]:
            running_loop().call_later(30, phone.resume, context=Context())
            phone.suspend()
            before = world_s()
            await asyncio.sleep(0)
            return [before, world_s(), now_s()]

        await asyncio.sleep(5)
        return await phone.create_task(on_the_phone())

    assert run(main()) == [5.0, 35.0, 5.0]


def test_a_lid_that_never_opens_is_told_in_the_deadlock() -> None:
    """The report names the device."""

    async def main() -> None:
        phone = device("anna's phone")
        task = phone.create_task(asyncio.sleep(5))
        phone.suspend()
        await task

    with pytest.raises(DeadlockError, match=r"device anna's phone is suspended$"):
        run(main())


def test_a_run_that_ends_wakes_its_devices_to_clean_up() -> None:
    """Left-over tasks of a sleeping or stalled device still run their finally blocks."""
    ended: list[str] = []

    async def linger(name: str) -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(name)

    async def main() -> None:
        phone, tablet = device("phone"), device("tablet")
        tasks = [phone.create_task(linger("phone")), tablet.create_task(linger("tablet"))]
        await asyncio.sleep(1)
        phone.suspend()
        tablet.stall(1e5)
        assert len(tasks) == 2

    run(main())
    assert ended == ["phone", "tablet"]


def test_what_a_late_timer_begins_at_the_end_of_a_run_ends_as_well() -> None:
    """No task is left over to be told of when the loop is thrown away."""
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append("begun late")

    async def main() -> None:
        phone = device()
        phone.call(lambda: running_loop().call_later(5, phone.create_task, linger()))
        phone.stall(1e5)
        await asyncio.sleep(10)

    run(main())
    assert ended == ["begun late"]


# Stall


def test_a_stalled_device_is_late_with_all_clocks_together() -> None:
    """Timers that came due fire at the stall's end, and their gap is called a stall."""

    async def main() -> list[object]:
        phone, gaps = device(), list[object]()

        async def beat() -> None:
            for _ in range(4):
                before = read(phone.clock)
                await asyncio.sleep(15)
                gaps.append((world_s(), classify_gap(before, read(phone.clock), planned_s=15)))

        task = phone.create_task(beat())
        await asyncio.sleep(20)
        phone.stall(30)
        assert phone.stalled
        await asyncio.sleep(29)
        assert phone.stalled
        await task
        assert not phone.stalled
        return gaps

    assert run(main()) == [(15.0, None), (50.0, Gap(GapKind.STALL, 20.0)), (65.0, None), (80.0, None)]


def test_after_a_stall_answers_come_before_late_timers() -> None:
    """As a loop that polls its sockets before it looks at its timers."""

    async def main() -> list[str]:
        order, loop, phone = list[str](), running_loop(), device()
        phone.call(loop.call_later, 2, order.append, "due at 2")
        phone.call(loop.call_later, 1, order.append, "due at 1")
        await asyncio.sleep(0.5)
        phone.stall(10)
        await asyncio.sleep(5)
        phone.call(loop.call_soon, order.append, "answer")
        await asyncio.sleep(6)
        return order

    assert run(main()) == ["answer", "due at 1", "due at 2"]


def test_the_longest_stall_counts() -> None:
    """Stalls overlap, they do not add up, and a shorter one ends nothing early."""

    async def main() -> list[float]:
        phone, ticks = device(), list[float]()
        phone.create_task(tick(1, ticks))
        phone.stall(10)
        await asyncio.sleep(2)
        phone.stall(3)
        await asyncio.sleep(9.5)
        return ticks

    # The first wait had begun to no purpose: a stalled device starts nothing.
    assert run(main()) == [11.0]


def test_a_stall_within_a_sleep_ends_with_the_later_of_both() -> None:
    """The lid opens on a device that still hangs; a stall that ends does not open a lid."""

    async def main() -> list[float]:
        hung, asleep = device("hung"), device("asleep")
        ticks = list[float](), list[float]()
        hung.create_task(tick(10, ticks[0]))
        asleep.create_task(tick(10, ticks[1]))
        await asyncio.sleep(5)
        for one in (hung, asleep):
            one.suspend()
            one.stall(20)
        await asyncio.sleep(10)
        hung.resume()
        await asyncio.sleep(15)
        asleep.resume()
        await asyncio.sleep(5)
        return [ticks[0][0], ticks[1][0]]

    assert run(main()) == [25.0, 35.0]


# Throttle


def test_a_throttled_devices_timers_fire_on_the_minute() -> None:
    """A hidden tab: ticks of 15 s come once a minute, together with all else that was due; then as before."""

    async def main() -> list[float]:
        phone, ticks = device(), list[float]()
        phone.create_task(tick(15, ticks))
        await asyncio.sleep(20)
        phone.throttle(60)
        await asyncio.sleep(190)
        phone.throttle(None)
        await asyncio.sleep(40)
        return ticks

    assert run(main()) == [15.0, 60.0, 120.0, 180.0, 210.0, 225.0, 240.0]


def test_timers_of_one_minute_fire_together_in_order() -> None:
    """A throttled browser wakes once for all of them."""

    async def main() -> list[tuple[float, str]]:
        phone, fired = device(), list[tuple[float, str]]()
        phone.throttle(60)
        for due_s in (50, 10, 61):
            phone.call(
                running_loop().call_later, due_s, lambda name: fired.append((world_s(), name)), f"due at {due_s}"
            )
        await asyncio.sleep(200)
        return fired

    assert run(main()) == [(60.0, "due at 10"), (60.0, "due at 50"), (120.0, "due at 61")]


def test_a_timer_due_on_the_minute_is_not_late() -> None:
    """A multiple of the interval is its own tick, also where floats are not exact."""

    async def main() -> list[float]:
        phone, ticks = device(), list[float]()
        phone.throttle(0.1)
        phone.create_task(tick(0.3, ticks))
        await asyncio.sleep(1)
        return ticks

    assert run(main()) == [0.3, 0.6, pytest.approx(0.9)]


def test_a_throttle_counts_on_the_devices_own_clock() -> None:
    """Suspended time moves the minutes along; what arrives from the network is not throttled."""

    async def main() -> list[object]:
        phone, seen = device(), list[object]()
        answer = running_loop().create_future()

        async def ask() -> None:
            await answer
            seen.append(("answer", world_s()))

        tasks = [phone.create_task(tick(50, ticks := list[float]())), phone.create_task(ask())]
        phone.throttle(60)
        await asyncio.sleep(55)
        phone.suspend()
        await asyncio.sleep(100)
        phone.resume()
        await asyncio.sleep(2)
        answer.set_result(None)
        await asyncio.sleep(100)
        assert not tasks[0].done()
        return [*seen, *ticks]

    assert run(main()) == [("answer", 157.0), 160.0, 220.0]


def test_throttles_change_at_once() -> None:
    """What waits for the old minute moves to the new one, and a shorter wait is not held up by a longer."""

    async def main() -> list[float]:
        phone, ticks = device(), list[float]()
        phone.throttle(600)
        phone.create_task(tick(15, ticks))
        await asyncio.sleep(20)
        phone.throttle(30)
        await asyncio.sleep(45)
        return ticks

    assert run(main()) == [30.0, 60.0]


# Belonging


def test_what_a_device_starts_belongs_to_it() -> None:
    """Tasks of tasks, callbacks and timers sleep with the device; those of the world and of others do not."""

    async def main() -> list[str]:
        order, loop = list[str](), running_loop()
        phone, laptop = device("phone"), device("laptop")

        async def nested() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(5)).add_done_callback(lambda _done: order.append("nested"))

        async def cross() -> None:
            laptop.call(loop.call_later, 6, order.append, "laptop from phone")
            await asyncio.sleep(3)

        phone.create_task(nested())
        phone.create_task(cross())
        phone.call(loop.call_later, 4, order.append, "timer")
        laptop.call(phone.call, loop.call_later, 4, order.append, "phone from laptop")
        loop.call_later(4.5, order.append, "world")
        await asyncio.sleep(1)
        phone.suspend()
        await asyncio.sleep(9)
        order.append("wake")
        phone.resume()
        await asyncio.sleep(9)
        return order

    assert run(main()) == ["world", "laptop from phone", "wake", "timer", "phone from laptop", "nested"]


def test_a_device_keeps_context_variables_and_names() -> None:
    """It adds itself to the context and takes nothing away."""
    user: ContextVar[str] = ContextVar("user")

    async def whose() -> str:
        return user.get()

    async def main() -> tuple[str, str]:
        user.set("anna")
        task = device().create_task(whose(), name="whose")
        return task.get_name(), await task

    assert run(main()) == ("whose", "anna")


def test_each_device_has_its_own_wrong_time() -> None:
    """Epoch, skew and steps are a device's own."""

    async def main() -> list[Reading]:
        early, late = device("early", epoch_s=1_000.0, wall_skew_s=-900.0), device("late", epoch_s=1_000.0)
        await asyncio.sleep(10)
        late.step_wall(60.0)
        return [read(early.clock), read(late.clock)]

    assert run(main()) == [Reading(110.0, 10.0, 10.0), Reading(1_070.0, 10.0, 10.0)]


def test_a_device_tells_its_state() -> None:
    """For whoever debugs a scenario."""

    async def main() -> list[str]:
        phone = device()
        told = [repr(phone)]
        phone.suspend()
        phone.stall(1)
        return [*told, repr(phone)]

    assert run(main()) == ["<Device phone>", "<Device phone suspended stalled>"]


@pytest.mark.parametrize("wrong", [lambda: device().stall(-1), lambda: device().throttle(0)])
def test_impossible_hardship_is_our_own_mistake(wrong: Any) -> None:
    """Scenarios are checked where they are read; here it is an assertion."""

    async def main() -> None:
        wrong()

    with pytest.raises(AssertionError):
        run(main())


# Any story


hardships = st.lists(
    st.tuples(
        st.sampled_from(["suspend", "resume", "stall", "throttle", "unthrottle", "wait"]),
        st.floats(0.01, 1_000, allow_nan=False),
    ),
    max_size=12,
)


@settings(max_examples=tries(100, in_ci=40), deadline=None)
@given(story=hardships, every_s=st.floats(0.5, 100, allow_nan=False))
def test_whatever_happens_no_timer_fires_early_or_is_lost(story: list[tuple[str, float]], every_s: float) -> None:
    """On its own clock no wait is shorter than asked; in good times again the device ticks; a neighbour notices nothing."""

    async def main() -> None:
        phone, neighbour = device("phone"), device("neighbour")
        waits, ticks = list[float](), list[float]()

        async def measure() -> None:
            while True:
                deadline_s = now_s() + every_s
                await asyncio.sleep(every_s)
                assert now_s() >= deadline_s
                assert not phone.stalled
                assert not phone.clock.suspended
                waits.append(now_s())

        task = phone.create_task(measure())
        neighbour.create_task(tick(10, ticks))
        for verb, seconds in story:
            match verb:
                case "stall" | "throttle":
                    getattr(phone, verb)(seconds)
                case "unthrottle":
                    phone.throttle(None)
                case "wait":
                    await asyncio.sleep(seconds)
                case _:
                    getattr(phone, verb)()
            await asyncio.sleep(seconds / 7)
        phone.resume()
        phone.throttle(None)
        await asyncio.sleep(1_000)
        waits.clear()
        began_s = world_s()
        await asyncio.sleep(10 * every_s)
        assert 9 <= len(waits) <= 11
        assert world_s() - 10 <= 10 * len(ticks) <= world_s()
        assert phone.clock.boot() - began_s == pytest.approx(10 * every_s)
        assert not task.done()

    run(main())
