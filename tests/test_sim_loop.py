"""The virtual loop: asyncio as it is, without the waiting."""

from __future__ import annotations

import asyncio
import contextvars
import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from heapq import heappush
from itertools import count
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tries import tries

from session_core.sim.failures import (
    DeadlockError,
    LivelockError,
    NotInSimulationError,
    TimeLimitError,
    UnretrievedError,
)
from session_core.sim.housekeeping import TASKS_MIN
from session_core.sim.loop import CANCELLED_TIMERS_MIN, VirtualLoop, run_virtual, running_loop


def now_s() -> float:
    return asyncio.get_running_loop().time()


# Time


def test_450_virtual_hours_need_no_waiting() -> None:
    """Time jumps: a heartbeat every five minutes for 450 hours ends at the exact float."""

    async def main() -> float:
        for _ in range(450 * 12):
            await asyncio.sleep(300)
        return now_s()

    assert run_virtual(main()) == 1_620_000.0


def test_time_is_exactly_what_was_asked_for() -> None:
    """No clock resolution, no rounding: the sum of the floats that were slept."""

    async def main() -> list[float]:
        seen = [now_s()]
        for delay_s in (0.1, 0.2, 1e-9, 2.0**25, 0.125):
            await asyncio.sleep(delay_s)
            seen.append(now_s())
        return seen

    assert run_virtual(main()) == [0.0, 0.1, 0.1 + 0.2, 0.1 + 0.2 + 1e-9, 2.0**25 + (0.3 + 1e-9), 33554432.425000001]


def test_timers_of_one_instant_fire_in_the_order_they_were_set() -> None:
    """Ties are kept in order, however they came about."""

    async def main() -> list[str]:
        loop, order = running_loop(), list[str]()
        loop.call_at(5.0, order.append, "at")
        loop.call_later(5.0, order.append, "later")
        loop.call_at(4.0, loop.call_later, 1.0, order.append, "set at 4")
        loop.call_at(5.0, order.append, "at again")
        loop.call_at(4.5, order.append, "before")
        await asyncio.sleep(5.0)
        return order

    assert run_virtual(main()) == ["before", "at", "later", "at again", "set at 4"]


def test_a_timer_in_the_past_fires_now() -> None:
    """Time never goes back."""

    async def main() -> list[float]:
        loop, seen = running_loop(), list[float]()
        await asyncio.sleep(10)
        loop.call_at(3.0, lambda: seen.append(now_s()))
        loop.call_later(-1.0, lambda: seen.append(now_s()))
        await asyncio.sleep(1)
        return seen

    assert run_virtual(main()) == [10.0, 10.0]


@pytest.mark.parametrize("verb", ["call_at", "call_later"])
def test_a_timer_for_nan_is_refused(verb: str) -> None:
    """NaN would spoil the order of all timers."""

    async def main() -> None:
        getattr(running_loop(), verb)(nan, print)

    with pytest.raises(ValueError, match="NaN"):
        run_virtual(main())


def test_a_timer_for_infinity_never_fires() -> None:
    """Sleeping for ever is waiting for nothing."""
    with pytest.raises(DeadlockError, match="Task-1 waits in sleep"):
        run_virtual(asyncio.sleep(inf))


# Cancelled timers


def test_a_cancelled_timer_never_fires_and_moves_no_time() -> None:
    """The run ends at the last live timer."""

    async def main() -> float:
        timer = running_loop().call_later(3.0, pytest.fail, "it fired")
        running_loop().call_soon(pytest.fail, "it ran").cancel()
        timer.cancel()
        timer.cancel()
        assert timer.cancelled()
        await asyncio.sleep(2.0)
        await asyncio.sleep(2.0)
        return now_s()

    assert run_virtual(main()) == 4.0


def test_cancelled_timers_are_cleared_away_in_bulk() -> None:
    """A timeout around each of many calls leaves no mountain of dead timers, and the living survive."""

    async def main() -> tuple[int, float]:
        loop = running_loop()
        alive = [loop.call_later(number, lambda: None) for number in range(5)]
        for _ in range(1_000):
            async with asyncio.timeout(60.0):
                await asyncio.sleep(0)
        left = len(loop._timers)
        assert loop._cancelled_timers == sum(timer.cancelled() for _, _, timer in loop._timers)
        await asyncio.sleep(10)
        assert not any(timer.cancelled() for timer in alive)
        return left, now_s()

    left, end_s = run_virtual(main())
    assert left <= 2 * CANCELLED_TIMERS_MIN
    assert end_s == 10.0


def test_cancelling_a_timer_due_at_the_same_instant_stops_it() -> None:
    """Of two timers due together the first may still call off the second."""

    async def main() -> None:
        loop, timers = running_loop(), list[asyncio.TimerHandle]()
        loop.call_later(1.0, lambda: [timer.cancel() for timer in timers])
        timers.append(loop.call_later(1.0, pytest.fail, "it fired"))
        await asyncio.sleep(2.0)

    run_virtual(main())


# The same order as asyncio


class NullSelector(selectors.DefaultSelector):
    """Never waits; remembers how long it would have."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "the stock loop would wait for ever"
        self.waited_s += timeout
        return []


class RankedTimer(asyncio.TimerHandle):
    """The stock heap leaves the order of ties open; this closes it."""

    rank: int

    def __lt__(self, other: asyncio.TimerHandle) -> bool:
        assert isinstance(other, RankedTimer)
        return (self.when(), self.rank) < (other.when(), other.rank)


class StockLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop; only its clock and its selector are replaced, and its timers ranked."""

    _scheduled: list[RankedTimer]

    def __init__(self) -> None:
        self._null = NullSelector()
        self._ranks = count()
        super().__init__(self._null)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> RankedTimer:
        timer = RankedTimer(when, callback, args, self, context)
        timer.rank = next(self._ranks)
        timer._scheduled = True  # type: ignore[attr-defined]
        heappush(self._scheduled, timer)
        return timer

    def time(self) -> float:
        return self._null.waited_s


def run_stock(main: Coroutine[Any, Any, list[object]]) -> list[object]:
    with asyncio.Runner(loop_factory=StockLoop) as runner:
        return runner.run(main)


class Program:
    """Tasks over shared asyncio primitives; every wait is bounded, every step is logged with its time."""

    def __init__(self, stories: list[list[tuple[str, int]]]) -> None:
        self.stories = stories
        self.log: list[object] = []

    async def run(self) -> list[object]:
        self.queue = asyncio.Queue[int](maxsize=2)
        self.lock, self.semaphore = asyncio.Lock(), asyncio.Semaphore(2)
        self.event, self.condition, self.barrier = asyncio.Event(), asyncio.Condition(), asyncio.Barrier(2)
        async with asyncio.TaskGroup() as group:
            self.group = group
            self.tasks = [group.create_task(self.tell(number)) for number in range(len(self.stories))]
        return self.log

    async def tell(self, number: int) -> None:
        for verb, amount in self.stories[number]:
            try:
                async with asyncio.timeout((amount + 3) / 8):
                    await getattr(self, verb)(number, amount)
            except (TimeoutError, asyncio.CancelledError, asyncio.BrokenBarrierError) as error:
                self.note(number, type(error).__name__)
            self.note(number, verb)

    def note(self, *facts: object) -> None:
        self.log.append((now_s(), *facts))

    async def sleep(self, _number: int, amount: int) -> None:
        await asyncio.sleep(amount / 8)

    async def put(self, number: int, _amount: int) -> None:
        await self.queue.put(number)

    async def get(self, number: int, _amount: int) -> None:
        self.note(number, "got", await self.queue.get())

    async def work(self, _number: int, amount: int) -> None:
        async with self.lock:
            await asyncio.sleep(amount / 8)

    async def enter(self, number: int, amount: int) -> None:
        async with self.semaphore:
            await self.later(number, amount)

    async def later(self, number: int, amount: int) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(amount / 8, self.note, number, "later")
        loop.call_later(0, self.note, number, "at once")
        loop.call_soon(loop.call_soon, self.note, number, "soon")
        await asyncio.sleep(0)

    async def set(self, _number: int, _amount: int) -> None:
        self.event.set()
        self.event.clear()

    async def wait(self, _number: int, _amount: int) -> None:
        await self.event.wait()

    async def meet(self, _number: int, _amount: int) -> None:
        async with self.barrier:
            pass

    async def notify(self, _number: int, amount: int) -> None:
        async with self.condition:
            self.condition.notify(amount)
            await self.condition.wait()

    async def cancel(self, _number: int, amount: int) -> None:
        self.tasks[amount % len(self.tasks)].cancel()

    async def shield(self, number: int, amount: int) -> None:
        await asyncio.shield(self.group.create_task(self.sleep(number, amount)))

    async def both(self, number: int, amount: int) -> None:
        await asyncio.gather(self.sleep(number, amount), self.later(number, amount), return_exceptions=True)

    async def bound(self, number: int, amount: int) -> None:
        await asyncio.wait_for(self.sleep(number, amount + 1), amount / 8)


VERBS = [name for name in vars(Program) if name not in {"run", "tell", "note"} and not name.startswith("_")]
stories = st.lists(st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 5)), max_size=8), min_size=1, max_size=5)


@settings(max_examples=tries(300, in_ci=120), deadline=None)
@given(stories=stories)
def test_every_program_runs_as_on_the_stock_loop(stories: list[list[tuple[str, int]]]) -> None:
    """Sleeps, queues, locks, timeouts and cancellation: the same steps, in the same order, at the same times."""
    assert run_virtual(Program(stories).run()) == run_stock(Program(stories).run())


def test_as_completed_wait_and_async_generators_work() -> None:
    """The rest of asyncio's toolbox."""

    async def after(delay_s: float) -> float:
        await asyncio.sleep(delay_s)
        return delay_s

    async def ticks() -> AsyncIterator[float]:
        while True:
            await asyncio.sleep(1)
            yield now_s()

    async def main() -> list[object]:
        seen: list[object] = [await first for first in asyncio.as_completed([after(3), after(1)])]
        done, pending = await asyncio.wait(
            [asyncio.create_task(after(1)), asyncio.create_task(after(9))], return_when=asyncio.FIRST_COMPLETED
        )
        seen += [len(done), len(pending)]
        async for tick in ticks():
            seen.append(tick)
            if tick > 5:
                break
        return seen

    assert run_virtual(main()) == [1, 3, 1, 1, 5.0, 6.0]


def test_context_variables_follow_tasks_and_callbacks() -> None:
    """A task sees what was set where it was made; an explicit context wins."""
    name = contextvars.ContextVar("name", default="nobody")

    async def main() -> list[str]:
        loop, seen = running_loop(), list[str]()

        async def tell() -> None:
            seen.append(name.get())

        name.set("ada")
        other = contextvars.Context()
        task, stranger = loop.create_task(tell(), name="teller"), loop.create_task(tell(), context=other)
        loop.call_soon(lambda: seen.append(name.get()))
        loop.call_soon(lambda: seen.append(name.get()), context=other)
        loop.call_later(1, lambda: seen.append(name.get()))
        loop.call_at(1, lambda: seen.append(name.get()), context=other)
        name.set("bob")
        assert task.get_name() == "teller"
        await asyncio.gather(task, stranger)
        await asyncio.sleep(2)
        return seen

    assert run_virtual(main()) == ["ada", "nobody", "ada", "nobody", "ada", "nobody"]


def test_task_factories_are_honoured() -> None:
    """A factory makes the tasks until it is taken away."""

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(options)
        return asyncio.Task(coro, loop=loop, **options)

    made: list[dict[str, Any]] = []

    async def main() -> None:
        loop = running_loop()
        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        context = contextvars.Context()
        named = loop.create_task(asyncio.sleep(1), name="named", context=context)
        assert named.get_name() == "named"
        await asyncio.gather(named, loop.create_task(asyncio.sleep(1)))
        loop.set_task_factory(None)
        await loop.create_task(asyncio.sleep(1))
        assert len(made) == 2
        assert made[0]["context"] is context

    run_virtual(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_run_at_once() -> None:
    """The eager task factory works unchanged."""

    async def main() -> list[str]:
        seen = list[str]()

        async def eager() -> None:
            seen.append("first")
            await asyncio.sleep(1)
            seen.append("last")

        running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        task = asyncio.create_task(eager())
        seen.append("then")
        await task
        return seen

    assert run_virtual(main()) == ["first", "then", "last"]


def test_it_serves_asyncio_runner() -> None:
    """The loop is a loop for asyncio's own Runner too."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(asyncio.sleep(3_600, "done")) == "done"


# Getting stuck


async def take_what_never_comes(queue: asyncio.Queue[int]) -> None:
    await queue.get()


def test_a_deadlock_names_who_waits_and_where() -> None:
    """Each waiting task with its coroutine, its line and what it waits for."""

    async def main() -> None:
        await asyncio.sleep(2)
        worker = asyncio.create_task(take_what_never_comes(asyncio.Queue()), name="worker")
        await asyncio.shield(worker)

    line = take_what_never_comes.__code__.co_firstlineno + 1
    with pytest.raises(DeadlockError) as told:
        run_virtual(main())
    assert str(told.value).splitlines() == [
        "At 2.0 s nothing is left that could wake anyone:",
        f"  Task-1 waits in {main.__qualname__} (test_sim_loop.py:{main.__code__.co_firstlineno + 3})",
        f"  worker waits in take_what_never_comes (test_sim_loop.py:{line}) for Queue.get",
    ]


def test_a_deadlock_of_many_is_told_in_short() -> None:
    """Twenty are named, the others counted."""

    async def main() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(29)))

    with pytest.raises(DeadlockError, match=r"Event\.wait .*\n  and 10 more$"):
        run_virtual(main())


class Opaque(Coroutine[Any, Any, None]):
    """A coroutine that shows no frames, as compiled ones do."""

    def send(self, _value: object) -> Any:
        future = asyncio.get_running_loop().create_future()
        future._asyncio_future_blocking = True
        return future

    def throw(self, *error: Any) -> Any:
        raise error[0]

    def close(self) -> None: ...

    def __await__(self) -> Any: ...

    def __repr__(self) -> str:
        return "<opaque>"


def test_a_deadlock_names_what_shows_no_frames() -> None:
    """The task's own words, where there is no line to tell."""

    async def main() -> None:
        await asyncio.create_task(Opaque(), name="compiled")

    with pytest.raises(DeadlockError, match="compiled waits in <opaque>"):
        run_virtual(main())


def test_a_callback_that_calls_itself_is_a_livelock() -> None:
    """Time that stands still while callbacks go on is reported, not sat out."""

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(LivelockError, match=r"1000 callbacks ran at 0\.0 s without time moving\.\n  Task-1 waits in"):
        run_virtual(main(), instant_callbacks_max=1_000)


def test_a_long_run_is_no_livelock() -> None:
    """Only callbacks at one instant count."""

    async def main() -> None:
        for _ in range(1_000):
            await asyncio.sleep(0)
            await asyncio.sleep(1)

    run_virtual(main(), instant_callbacks_max=20)


def test_a_run_ends_by_its_limit() -> None:
    """What is due at the limit still happens; what comes after is refused with the names of those who wait."""
    assert run_virtual(asyncio.sleep(60, "on time"), until_s=60.0) == "on time"
    with pytest.raises(TimeLimitError, match=r"was to end by 60\.0 s and goes on:\n  Task-1 waits in sleep"):
        run_virtual(asyncio.sleep(60.5), until_s=60.0)


# Closed doors


async def connect() -> None:
    await asyncio.open_connection("127.0.0.1", 80)


async def listen() -> None:
    await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)


async def spawn() -> None:
    await asyncio.create_subprocess_exec("true")


async def look_up() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def receive() -> None:
    mine, yours = socket.socketpair()
    with mine, yours:
        await asyncio.get_running_loop().sock_recv(mine, 1)


async def use_a_thread() -> None:
    await asyncio.to_thread(print)


async def handle_a_signal() -> None:
    asyncio.get_running_loop().add_signal_handler(15, print)


@pytest.mark.parametrize(
    ("outside", "what"),
    [
        (connect, "sockets"),
        (listen, "sockets"),
        (look_up, "name look-ups"),
        (receive, "sockets"),
        (spawn, "subprocesses"),
        (use_a_thread, "threads"),
        (handle_a_signal, "signal handlers"),
    ],
)
def test_the_outside_world_is_refused_in_a_sentence(
    outside: Callable[[], Coroutine[Any, Any, None]], what: str
) -> None:
    """What would leave the simulation says so and names what to do instead."""
    with pytest.raises(NotInSimulationError, match=f"^A simulated run has no .*{what}.*; .*\\.$"):
        run_virtual(outside())


def test_another_thread_cannot_reach_in() -> None:
    """call_soon_threadsafe works from the run's own thread only."""
    refused: list[str] = []

    async def main() -> list[str]:
        loop, seen = running_loop(), list[str]()

        def reach_in(verb: Callable[..., object]) -> None:
            try:
                verb(seen.append, "from outside")
            except NotInSimulationError as error:
                refused.append(str(error))

        loop.call_soon_threadsafe(seen.append, "from inside")
        loop.set_debug(True)
        for verb in (loop.call_soon_threadsafe, loop.call_soon):
            thread = threading.Thread(target=reach_in, args=(verb,))
            thread.start()
            thread.join()
        await asyncio.sleep(1)
        return seen

    assert run_virtual(main()) == ["from inside"]
    assert refused == ["A simulated run has one thread; another one asked it to run a callback."] * 2


# Ending a run


def test_what_is_left_over_is_cancelled_in_order() -> None:
    """As asyncio.run does; and the order is that of creation, in every run."""
    ended: list[int] = []

    async def linger(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            ended.append(number)

    async def main() -> str:
        left = [asyncio.create_task(linger(number)) for number in range(50)]
        await asyncio.sleep(0)
        return f"{len(left)} left"

    assert run_virtual(main()) == "50 left"
    assert ended == list(range(50))


def test_a_task_that_refuses_to_end_is_reported() -> None:
    """Clean-up has an hour of virtual time."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        left = asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(90)
        assert not left.done()

    with pytest.raises(TimeLimitError, match=r"was to end by 3690\.0 s and goes on:\n  stubborn waits in"):
        run_virtual(main())


def test_an_unfinished_async_generator_is_closed() -> None:
    """Its finally block runs before the loop ends, and what fails there is reported."""
    closed: list[float] = []

    async def ticks() -> AsyncIterator[float]:
        try:
            while True:
                await asyncio.sleep(1)
                yield now_s()
        finally:
            await asyncio.sleep(1)
            closed.append(now_s())

    async def main() -> AsyncIterator[float]:
        ticking = ticks()
        await anext(ticking)
        return ticking

    run_virtual(main())
    assert closed == [2.0]


def test_a_forgotten_async_generator_is_closed_at_once() -> None:
    """When the last reference goes, the loop closes it."""
    closed: list[str] = []

    async def ticks() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append("closed")

    async def main() -> list[str]:
        await anext(ticks())
        await asyncio.sleep(1)
        return list(closed)

    assert run_virtual(main()) == ["closed"]


def test_an_async_generator_that_outlives_its_loop_is_left_alone() -> None:
    """A closed loop closes nothing any more."""

    async def ticks() -> AsyncIterator[int]:
        yield 1

    async def first_of(ticking: AsyncIterator[int]) -> int:
        return await anext(ticking)

    loop, ticking = VirtualLoop(), ticks()
    assert loop.run_until_complete(first_of(ticking)) == 1
    loop.close()
    del ticking


def test_an_async_generator_that_fails_to_close_fails_the_run() -> None:
    """Its exception is not lost."""

    async def ticks() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise OSError("disk full")

    async def main() -> AsyncIterator[int]:
        ticking = ticks()
        await anext(ticking)
        return ticking

    with pytest.raises(UnretrievedError, match="OSError: disk full"):
        run_virtual(main())


async def fail(words: str) -> None:
    raise ValueError(words)


def test_a_failed_task_nobody_looked_at_fails_the_run() -> None:
    """Held on to or forgotten, its exception surfaces, with itself as the cause."""
    kept: list[asyncio.Task[None]] = []

    async def main() -> None:
        kept.append(asyncio.create_task(fail("kept")))
        asyncio.create_task(fail("forgotten"))  # noqa: RUF006 - the mistake under test
        await asyncio.sleep(1)

    with pytest.raises(UnretrievedError) as told:
        run_virtual(main())
    assert [str(error) for _, error in told.value.failures] == ["kept", "forgotten"]
    assert isinstance(told.value.__cause__, ValueError)


def test_a_failed_callback_fails_the_run_and_stops_nothing() -> None:
    """The others still run."""

    async def main() -> None:
        loop = running_loop()
        loop.call_soon(int, "seven")
        await asyncio.sleep(1)

    with pytest.raises(UnretrievedError, match="invalid literal for int"):
        run_virtual(main())


def test_an_exception_somebody_looked_at_is_no_failure() -> None:
    """Awaited and handled is handled, also among many tasks."""

    async def main() -> None:
        tasks = [asyncio.create_task(fail("expected")) for _ in range(2 * TASKS_MIN)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, ValueError) for result in results)

    run_virtual(main())


def test_finished_tasks_are_let_go() -> None:
    """A long run keeps its failures, not its history."""

    async def main() -> int:
        failed = asyncio.create_task(fail("early"))
        for _ in range(10 * TASKS_MIN):
            await asyncio.create_task(asyncio.sleep(0))
        assert len(running_loop()._tasks) <= TASKS_MIN + 1
        return hash(failed)

    with pytest.raises(UnretrievedError, match="early"):
        run_virtual(main())


def test_the_mains_own_exception_comes_first() -> None:
    """What else went wrong is noted on it."""

    async def main() -> None:
        asyncio.create_task(fail("besides"))  # noqa: RUF006 - the mistake under test
        await asyncio.sleep(1)
        raise LookupError("main")

    with pytest.raises(LookupError, match="main") as told:
        run_virtual(main())
    assert "ValueError: besides" in told.value.__notes__[0]


@pytest.mark.parametrize("urgent", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_ends_the_run_and_cleans_up(urgent: type[BaseException]) -> None:
    """It is raised at once, and what is left is cancelled."""
    ended: list[str] = []

    async def other() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("other")

    async def main() -> None:
        left = asyncio.create_task(other())
        await asyncio.sleep(1)
        assert not left.done()
        raise urgent

    with pytest.raises(urgent):
        run_virtual(main())
    assert ended == ["other"]


def test_a_run_inside_a_run_is_refused() -> None:
    """One loop at a time, as in asyncio."""

    async def main() -> None:
        run_virtual(asyncio.sleep(1))

    with pytest.raises(RuntimeError, match="cannot be called from a running loop"):
        run_virtual(main())


def test_code_that_needs_a_simulation_says_so() -> None:
    """running_loop is for simulated code."""
    with asyncio.Runner() as runner, pytest.raises(AssertionError, match="only in a simulation"):
        runner.run(_ask_for_the_loop())


async def _ask_for_the_loop() -> None:
    running_loop()


# The loop by itself


def test_a_loop_is_stopped_closed_and_then_refuses() -> None:
    """The life of a loop, in asyncio's words."""
    loop = VirtualLoop()
    seen: list[str] = []
    loop.call_soon(seen.append, "one")
    loop.call_later(1.0, seen.append, "not yet")
    loop.stop()
    loop.run_forever()
    assert seen == ["one"]
    assert not loop.is_running()
    loop.call_later(0.5, loop.stop)
    with pytest.raises(RuntimeError, match="stopped before its main task was done"):
        loop.run_until_complete(loop.create_future())
    assert repr(loop) == "<VirtualLoop at 0.5 s, 0 ready, 1 timers>"
    loop.close()
    assert loop.is_closed()
    for use in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print), loop.run_forever):
        with pytest.raises(RuntimeError, match="closed"):
            use()


def test_a_running_loop_is_not_closed_or_run_again() -> None:
    """Mistakes are refused."""

    async def main() -> None:
        loop = running_loop()
        assert loop.is_running()
        with pytest.raises(RuntimeError, match="running"):
            loop.close()
        with pytest.raises(RuntimeError, match="running"):
            loop.run_forever()

    run_virtual(main())


def test_failures_go_to_the_handler_that_was_set() -> None:
    """And a handler that fails is a failure itself."""

    async def main() -> None:
        loop, seen = running_loop(), list[str]()

        def keep(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            seen.append(str(context["exception"]))

        def stumble(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            raise LookupError("no handler for it")

        loop.set_exception_handler(keep)
        assert loop.get_exception_handler() is keep
        loop.call_soon(int, "kept")
        await asyncio.sleep(1)
        assert len(seen) == 1
        loop.set_exception_handler(stumble)
        loop.call_soon(int, "lost")
        await asyncio.sleep(1)
        loop.set_exception_handler(None)

    with pytest.raises(UnretrievedError) as told:
        run_virtual(main())
    assert [type(error) for _, error in told.value.failures] == [ValueError, LookupError]


def test_an_urgent_exception_passes_the_handler() -> None:
    """Ctrl-C while a failure is handled is still Ctrl-C."""

    def interrupt(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        running_loop().set_exception_handler(interrupt)
        running_loop().call_soon(int, "seven")
        await asyncio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main())


def test_what_fails_after_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A closed loop has nobody to tell but the log."""
    loop = VirtualLoop()
    future = loop.create_future()
    future.set_exception(ValueError("too late"))
    loop.close()
    del future
    assert "ValueError: too late" in caplog.text


def test_debug_checks_what_is_called() -> None:
    """In debug mode a coroutine or a thing that cannot be called is refused at once."""

    async def main() -> None:
        loop = running_loop()
        loop.set_debug(True)
        assert loop.get_debug()
        for schedule in (loop.call_soon, partial(loop.call_later, 1), partial(loop.call_at, 1)):
            with pytest.raises(TypeError, match="a callable was expected, not 7"):
                schedule(7)
        await asyncio.sleep(1)
        loop.call_soon(print).cancel()
        loop.set_debug(False)

    loop = VirtualLoop()
    loop.set_debug(True)
    depth = sys.get_coroutine_origin_tracking_depth()
    loop.run_until_complete(main())
    assert sys.get_coroutine_origin_tracking_depth() == depth
    loop.close()


def test_handles_tell_what_they_are() -> None:
    """For whoever debugs a scenario."""
    loop = VirtualLoop()
    timer, handle = loop.call_later(2.0, print), loop.call_soon(print)
    assert "when=2.0 print()" in repr(timer).replace("<built-in function print>", "print")
    assert timer.when() == 2.0
    handle.cancel()
    assert repr(handle) == "<VirtualHandle cancelled>"
    loop.close()


# The same in every process


SEEDED = """
import asyncio, random
from session_core.sim.loop import run_virtual

log = []

async def linger(number):
    try:
        await asyncio.sleep(1_000)
    finally:
        log.append(number)

async def fail():
    await asyncio.sleep(5)
    raise ValueError

async def main():
    ballast = [bytes(random.Random().randrange(500)) for _ in range(10_000)]
    del ballast[:: random.Random().randrange(2, 9)]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(linger(number))
            group.create_task(fail())
    except* ValueError:
        pass
    waiting = {asyncio.create_task(linger(f"w{number}")) for number in range(40)}
    await asyncio.wait(waiting, timeout=1)
    for task in waiting:
        log.append(task.get_name())

run_virtual(main())
run_virtual(main())
print(log[:len(log) // 2] == log[len(log) // 2:], log)
"""


def test_two_processes_run_alike_under_two_hash_seeds() -> None:
    """Even where asyncio goes through a set of tasks, as a TaskGroup does when it gives up."""

    def run_in_a_process(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent.parent)}
        return subprocess.run(
            [sys.executable, "-c", SEEDED], env=environment, check=True, capture_output=True, text=True
        ).stdout

    first, second = run_in_a_process("1"), run_in_a_process("2")
    assert first.startswith("True")
    assert first == second
