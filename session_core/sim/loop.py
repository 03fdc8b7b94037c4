"""An asyncio event loop on virtual time: nobody waits, time jumps to the next timer.

Callbacks run in the order asyncio's own loops run them; timers due at the same instant run in the order they were set.
"""
# ruff: noqa: SLF001 - a loop reads its handles and tasks under the names asyncio gave them.

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf, isnan
from typing import Any, NoReturn, TypeVar, TypeVarTuple, cast

from session_core.sim.failures import (
    DeadlockError,
    LivelockError,
    NotInSimulationError,
    TimeLimitError,
    UnretrievedError,
    tell_failure,
    tell_waiting,
)
from session_core.sim.handles import GATE, Gate, VirtualHandle, VirtualTimer
from session_core.sim.housekeeping import Housekeeping

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

INSTANT_CALLBACKS_MAX = 10_000_000
"""Callbacks at one instant before it is called a livelock; ten times what a fleet of 10,000 needs."""
CLEANUP_S_MAX = 3_600.0
"""How much virtual time cancelled tasks may take to end."""
ENDING_ROUNDS_MAX = 10
CANCELLED_TIMERS_MIN = 64
DEBUG_STACK_DEPTH = 10


def run_virtual(
    main: Coroutine[Any, Any, T], *, until_s: float = inf, instant_callbacks_max: int = INSTANT_CALLBACKS_MAX
) -> T:
    """As asyncio.run, on virtual time: cancels what is left over, and fails when something failed and nobody looked."""
    if asyncio._get_running_loop() is not None:
        main.close()
        raise RuntimeError("run_virtual cannot be called from a running loop")
    loop = VirtualLoop(until_s=until_s, instant_callbacks_max=instant_callbacks_max)
    try:
        result = _run_to_the_end(loop, main)
    except BaseException as error:
        for failure in loop.collect_failures():
            error.add_note(f"Besides, nobody looked at this: {tell_failure(*failure)}")
        raise
    finally:
        failures = loop.collect_failures()
        loop.close()
    if failures:
        raise UnretrievedError(failures) from failures[0][1]
    return result


def _run_to_the_end(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    try:
        return loop.run_until_complete(main)
    finally:
        loop.end_tasks()


def running_loop() -> VirtualLoop:
    """The virtual loop this code runs on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "this code runs only in a simulation"
    return loop


class VirtualLoop(Housekeeping):
    """Time starts at 0 and moves only when nothing is ready, straight to the next timer."""

    def __init__(self, *, until_s: float = inf, instant_callbacks_max: int = INSTANT_CALLBACKS_MAX) -> None:
        super().__init__()
        self.until_s = until_s
        self._instant_callbacks_max = instant_callbacks_max
        self._now = 0.0
        self._ready: deque[VirtualHandle] = deque()
        self._timers: list[tuple[float, int, VirtualHandle]] = []
        self._serials = count()
        self._cancelled_timers = 0
        self._gated = False
        self._shut: dict[Gate, None] = {}
        self._thread_id: int | None = None
        self._stopping = False

    def __repr__(self) -> str:
        return f"<VirtualLoop at {self._now} s, {len(self._ready)} ready, {len(self._timers)} timers>"

    # Time

    def time(self) -> float:
        """Seconds since the run began; for code of a device, by its own monotonic clock."""
        if self._gated and (gate := GATE.get()) is not None:
            return gate.local_time()
        return self._now

    def world_time(self) -> float:
        """Seconds since the run began, suspended or not."""
        return self._now

    # Scheduling

    # What these return is asyncio's handle in all but its class.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> VirtualHandle:
        if self._careful:
            self._check_call(callback)
        handle = VirtualHandle((callback, *args), copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> VirtualHandle:
        self._check_thread()
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> VirtualTimer:
        if context is None:
            context = copy_context()
        if self._careful:
            self._check_call(callback)
        gate = context.get(GATE) if self._gated else None
        if gate is None:
            when = due = self._now + delay
        else:
            when = gate.local_time() + delay
            due = gate.world_time(when)
        if not due > self._now:
            _refuse_nan(due)
        serial = next(self._serials)
        timer = VirtualTimer((callback, *args), context, self, when, serial)
        heappush(self._timers, (due, serial, timer))
        return timer

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> VirtualTimer:
        """Run `callback` at `when`, in the time of the device that `context` belongs to."""
        if self._careful:
            self._check_call(callback)
        if context is None:
            context = copy_context()
        gate = context.get(GATE) if self._gated else None
        due = when if gate is None else gate.world_time(when)
        if not due > self._now:
            _refuse_nan(due)
        serial = next(self._serials)
        timer = VirtualTimer((callback, *args), context, self, when, serial)
        heappush(self._timers, (due, serial, timer))
        return timer

    def call_in_world(self, seconds: float, call: tuple[Any, ...], context: Context) -> None:
        """As `call_later` for what nobody cancels and no device has a part in: `context` belongs to none."""
        heappush(self._timers, (self._now + seconds, next(self._serials), VirtualHandle(call, context)))

    def set_timer(self, timer: VirtualTimer) -> None:
        """Put a timer in its place, for the first time or again; its rank among ties stays."""
        gate = timer._context.get(GATE) if self._gated else None
        due = timer._when if gate is None else gate.world_time(timer._when)
        _refuse_nan(due)
        timer._loop = self
        heappush(self._timers, (due, timer._serial, timer))

    def admit(self, handle: VirtualHandle) -> None:
        """Let a callback run in the next round."""
        self._ready.append(handle)

    def mind_gates(self) -> None:
        """From now on ask devices about their timers; before, no device had a time of its own."""
        self._gated = True

    def shut(self, gate: Gate) -> None:
        """From now on hand every ready callback of this device to its gate."""
        self._shut[gate] = None

    def open(self, gate: Gate) -> None:
        self._shut.pop(gate, None)

    def timer_cancelled(self) -> None:
        self._cancelled_timers += 1
        if self._cancelled_timers > CANCELLED_TIMERS_MIN and self._cancelled_timers * 2 > len(self._timers):
            self._timers[:] = [entry for entry in self._timers if entry[2]._call]
            heapify(self._timers)
            self._cancelled_timers = 0

    def _check_call(self, callback: object) -> None:
        self._check_open()
        if asyncio.iscoroutine(callback) or not callable(callback):
            raise TypeError(f"a callable was expected, not {callback!r}")
        self._check_thread()

    def _check_thread(self) -> None:
        if self._thread_id not in {None, threading.get_ident()}:
            raise NotInSimulationError("A simulated run has one thread; another one asked it to run a callback.")

    # Running

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        self._check_startable()
        main = asyncio.ensure_future(cast(Awaitable[T], future), loop=self)
        main.add_done_callback(_stop_loop)
        try:
            self.run_forever()
        except BaseException:
            if main.done() and not main.cancelled():
                main.exception()
            raise
        finally:
            main.remove_done_callback(_stop_loop)
        if not main.done():
            raise RuntimeError("the loop was stopped before its main task was done")
        return main.result()

    def run_forever(self) -> None:
        self._check_startable()
        hooks = sys.get_asyncgen_hooks()
        origin_depth = sys.get_coroutine_origin_tracking_depth()
        sys.set_asyncgen_hooks(firstiter=self._note_asyncgen, finalizer=self._finalize_asyncgen)
        if self._debug:
            sys.set_coroutine_origin_tracking_depth(DEBUG_STACK_DEPTH)
        self._thread_id = threading.get_ident()
        asyncio._set_running_loop(self)
        try:
            self._run()
        finally:
            asyncio._set_running_loop(None)
            self._thread_id = None
            self._stopping = False
            sys.set_coroutine_origin_tracking_depth(origin_depth)
            sys.set_asyncgen_hooks(*hooks)

    def _run(self) -> None:  # noqa: C901, PLR0912 - in one piece, because each call in it would cost every timer
        ready = self._ready
        timers = self._timers
        instant_callbacks = 0
        while True:
            if not ready and not self._stopping:
                due = timers[0][0] if timers and timers[0][2]._call else self._next_due()
                if due > self._now:
                    if not due <= self.until_s or due == inf:
                        self._refuse_to_jump(due)
                    self._now = due
                    instant_callbacks = 0
            now = self._now
            while timers and timers[0][0] <= now:
                timer = heappop(timers)[2]
                if timer._loop is not None:
                    timer._loop = None
                if self._gated or not timer._call:
                    self._route(timer)
                else:
                    ready.append(timer)
            # As in asyncio, what these callbacks schedule runs in the next round, after timers that are due by then.
            left = len(ready)
            instant_callbacks += left
            if instant_callbacks > self._instant_callbacks_max:
                self._report_livelock()
            while left:
                left -= 1
                handle = ready.popleft()
                call = handle._call
                if not call or (self._shut and self._held(handle)):
                    continue
                try:
                    handle._context.run(*call)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio: a failed callback is reported, the rest go on
                    self.call_exception_handler({"message": f"{call[0]!r} failed", "exception": error})
            if self._stopping:
                return

    def _next_due(self) -> float:
        """When the first timer is due that was not cancelled."""
        timers = self._timers
        while timers and not timers[0][2]._call:
            heappop(timers)
            self._cancelled_timers -= 1
        return timers[0][0] if timers else inf

    def _route(self, timer: VirtualHandle) -> None:
        """Drop, hand to its device or let in a timer that left the heap."""
        if not timer._call:
            self._cancelled_timers -= 1
        elif isinstance(timer, VirtualTimer) and (gate := timer._context.get(GATE)) is not None:
            gate.route(timer)
        else:
            self._ready.append(timer)

    def _held(self, handle: VirtualHandle) -> bool:
        gate = handle._context.get(GATE)
        if gate is None or gate not in self._shut:
            return False
        gate.hold(handle)
        return True

    def _report_livelock(self) -> NoReturn:
        raise LivelockError(
            f"{self._instant_callbacks_max} callbacks ran at {self._now} s without time moving.\n"
            + tell_waiting(self.pending_tasks())
        )

    def _refuse_to_jump(self, when: float) -> NoReturn:
        waiting = tell_waiting(self.pending_tasks())
        if when < inf:
            raise TimeLimitError(f"The run was to end by {self.until_s} s and goes on:\n{waiting}")
        asleep = "".join(f"\n  device {gate.name} is suspended" for gate in self._shut)
        raise DeadlockError(f"At {self._now} s nothing is left that could wake anyone:\n{waiting}{asleep}")

    def stop(self) -> None:
        self._stopping = True

    def is_running(self) -> bool:
        return self._thread_id is not None

    def close(self) -> None:
        if self.is_running():
            raise RuntimeError("a running loop cannot be closed")
        self._closed = self._careful = True
        self._ready.clear()
        self._timers.clear()
        self._tasks.clear()

    def _check_startable(self) -> None:
        self._check_open()
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("a loop cannot be run inside a running loop")

    # Ending

    def end_tasks(self) -> None:
        """Cancel what is left, in order of creation, and give it some time to end."""
        for gate in list(self._shut):
            gate.release()
        self.until_s = self._now + CLEANUP_S_MAX
        for _ in range(ENDING_ROUNDS_MAX):
            # What is cancelled may begin something on its way out, and so may a late timer of a device let go of here.
            if left := self.pending_tasks():
                for task in left:
                    task.cancel()
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            else:
                self.run_until_complete(self.shutdown_asyncgens())
                if not self.pending_tasks():
                    break


def _refuse_nan(when: float) -> None:
    if isnan(when):
        raise ValueError("a timer was set for NaN, which never comes")


def _stop_loop(main: asyncio.Future[Any]) -> None:
    # Those two have stopped the loop already, and must not stop it again while it cleans up.
    if main.cancelled() or not isinstance(main.exception(), (SystemExit, KeyboardInterrupt)):
        main.get_loop().stop()
