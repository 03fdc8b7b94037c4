"""Timers per CPU-second on the virtual loop, beside asyncio's own loop with its time and its selector replaced."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Sequence
from statistics import median
from typing import Any

from session_core.sim.loop import run_virtual

TIMERS = 100_000
SLEEPERS = 100
ROUNDS = 5
BAR = 1.3


class NullSelector(selectors.DefaultSelector):
    """Never waits; says how long it would have."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.waited_s += timeout or 0.0
        return []


class PlainLoop(asyncio.SelectorEventLoop):
    """What a virtual clock costs most people: the stock loop, patched."""

    def __init__(self) -> None:
        self._null = NullSelector()
        super().__init__(self._null)

    def time(self) -> float:
        return self._null.waited_s


async def sleepers() -> None:
    async def sleep_on(every_s: float) -> None:
        for _ in range(TIMERS // SLEEPERS):
            await asyncio.sleep(every_s)

    async with asyncio.TaskGroup() as group:
        for number in range(SLEEPERS):
            group.create_task(sleep_on(1.0 + number / SLEEPERS))


async def callbacks() -> None:
    loop = asyncio.get_running_loop()
    left = TIMERS
    done = loop.create_future()

    def tick(every_s: float) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            loop.call_later(every_s, tick, every_s)
        elif not done.done():
            done.set_result(None)

    for number in range(SLEEPERS):
        loop.call_later(0.0, tick, 1.0 + number / SLEEPERS)
    await done


def run_plain(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=PlainLoop) as runner:
        runner.run(main)


def timers_per_s(
    run: Callable[[Coroutine[Any, Any, None]], None], load: Callable[[], Coroutine[Any, Any, None]]
) -> float:
    began = time.process_time()
    run(load())
    return TIMERS / (time.process_time() - began)


def measure(_arguments: Sequence[str]) -> dict[str, object]:
    """Both loops by turns, so that a busy machine slows both."""
    peers: dict[str, float] = {}
    ratios: dict[str, float] = {}
    values: dict[str, float] = {}
    for load in (sleepers, callbacks):
        rounds = [(timers_per_s(run_virtual, load), timers_per_s(run_plain, load)) for _ in range(ROUNDS)]
        values[load.__name__] = round(median(ours for ours, _ in rounds))
        peers[f"SelectorEventLoop, null selector, {load.__name__}"] = round(median(plain for _, plain in rounds))
        ratios[load.__name__] = round(median(ours / plain for ours, plain in rounds), 2)
    return {
        "name": "virtual_loop",
        "value": values["sleepers"],
        "unit": "timers per CPU-second (asyncio.sleep in coroutines)",
        "callbacks_value": values["callbacks"],
        "peers": peers,
        "ratio": ratios["sleepers"],
        "callbacks_ratio": ratios["callbacks"],
        "bar": BAR,
        "ok": min(ratios.values()) >= BAR,
    }
