"""A device in the simulated world: it may sleep, stall, be throttled and believe in a wrong time.

Code belongs to the device whose `create_task` or `call` started it, and so does all that this code starts in its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from math import ceil, inf
from typing import Any, TypeVar

from session_core.sim.clock import EPOCH_S, VirtualClock
from session_core.sim.handles import GATE, VirtualHandle, VirtualTimer
from session_core.sim.loop import VirtualLoop

T = TypeVar("T")

SAME_TICK = 1e-9
"""A time this close, in intervals, to a throttled tick is that tick."""


class Device:
    """One device. Its code sees `loop.time()` as the device's monotonic clock, as asyncio does on Linux.

    While it is suspended or stalled none of its callbacks run: answers that arrive wait in order for the device, its
    timers become late (stall) or stand still (suspend). The world, and every other device, goes on.
    """

    def __init__(self, loop: VirtualLoop, name: str, *, epoch_s: float = EPOCH_S, wall_skew_s: float = 0.0) -> None:
        self.name = name
        self.clock = VirtualClock(loop.world_time, epoch_s=epoch_s, wall_skew_s=wall_skew_s)
        self.local_time = self.clock.monotonic
        self.world_time = self.clock.boot_when
        self._loop = loop
        self._base = copy_context()
        self._base.run(GATE.set, self)
        self._stalled_until = -inf
        self._throttle_s: float | None = None
        self._arrived: list[VirtualHandle] = []
        self._late: list[VirtualTimer] = []
        self._alarm: VirtualTimer | None = None

    def __repr__(self) -> str:
        return f"<Device {self.name}{' suspended' if self.clock.suspended else ''}{' stalled' if self.stalled else ''}>"

    # The code of the device

    def create_task(self, code: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        return self._loop.create_task(code, name=name, context=self._context())

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Run `function` now, as code of this device."""
        return self._context().run(function, *args)

    def _context(self) -> Context:
        """A context of its own for each; what else it holds is as when this device was made."""
        return self._base.copy()

    # Hardships

    @property
    def stalled(self) -> bool:
        return self._loop.world_time() < self._stalled_until

    def suspend(self) -> None:
        """Close the lid: `monotonic` and the timers stand still, nothing runs."""
        self.clock.suspend()
        self._shut()

    def resume(self) -> None:
        """Open the lid: what arrived meanwhile runs first, then the timers go on where they stood."""
        self.clock.resume()
        self._open_if_well()

    def stall(self, seconds: float) -> None:
        """Run nothing for `seconds` while all clocks go on; timers that come due then fire late."""
        assert seconds >= 0, "a stall lasts at least no time"
        self.clock.foretell()
        self._stalled_until = max(self._stalled_until, self._loop.world_time() + seconds)
        self._shut()
        self._loop.call_at(self._stalled_until, self._open_if_well, context=Context())

    def throttle(self, interval_s: float | None) -> None:
        """Let timers fire only at multiples of `interval_s` on the monotonic clock; None ends it."""
        assert interval_s is None or interval_s > 0, "a throttle needs an interval"
        self.clock.foretell()
        self.clock.steady = interval_s is None
        self._throttle_s = interval_s
        self._loop.mind_gates()
        self._open_if_well()

    def step_wall(self, seconds: float) -> None:
        self.clock.step_wall(seconds)

    # The gate

    def hold(self, handle: VirtualHandle) -> None:
        self._arrived.append(handle)

    def route(self, timer: VirtualTimer) -> None:
        """A timer's place in the heap is the earliest it can fire; what happened since then may have put it off."""
        now = self._loop.world_time()
        due_s = self.world_time(timer.when())
        if self.clock.suspended or now < self._stalled_until:
            self._late.append(timer)
        elif due_s > now:
            self._loop.set_timer(timer)
        elif self._throttle_s is not None and (tick_s := self._tick_s(timer.when(), self._throttle_s)) > now:
            self._late.append(timer)
            self._set_alarm(tick_s)
        else:
            self._loop.admit(timer)

    def release(self) -> None:
        self._stalled_until = -inf
        self.resume()

    def _shut(self) -> None:
        self._loop.mind_gates()
        self._loop.shut(self)

    def _open_if_well(self) -> None:
        if self.clock.suspended or self.stalled:
            return
        self._loop.open(self)
        for handle in self._arrived:
            self._loop.admit(handle)
        self._arrived.clear()
        self._route_late()

    def _route_late(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        late, self._late = self._late, []
        for timer in late:
            if not timer.cancelled():
                self.route(timer)

    def _tick_s(self, due_s: float, interval_s: float) -> float:
        """When a throttle lets a timer fire that is due at `due_s` on the monotonic clock."""
        tick_s = ceil(due_s / interval_s - SAME_TICK) * interval_s
        is_due_on_it = tick_s - due_s <= SAME_TICK * interval_s
        return self.world_time(due_s if is_due_on_it else tick_s)

    def _set_alarm(self, tick_s: float) -> None:
        # One is enough: all that wait for a tick wait for the same one, and every change routes them anew.
        if self._alarm is None:
            self._alarm = self._loop.call_at(tick_s, self._route_late, context=Context())
