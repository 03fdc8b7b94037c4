"""Visits many members, each at its own deadline, from one heap: what is not due costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from math import ceil, inf
from typing import Generic, TypeVar, cast

import msgspec

from session_core.bounds import require
from session_core.clock import SUSPEND_S_MIN, Clock, ForetellingClock, Gap, Reading, classify_gap, read
from session_core.events import PartCrashed, Record
from session_core.vocabulary import GapKind

TICK_S_MAX = 15.0
RESTART_S = 1.0
REVISIT_S_MIN = 0.01
STALE_MAX = 64
SAME_TICK = 1e-9

T = TypeVar("T")
# Called with a member and the boot second; answers when to be called again, or None for never.
Visit = Callable[[T, float], float | None]


class LoopStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """`last_run_at` is boot seconds; `late_s_max` is how late the latest visit ever came."""

    running: bool
    members: int
    visits: int
    crashes: int
    late_s_max: float
    last_run_at: float | None
    next_due_at: float | None


class _Wait:
    """One wait for a deadline, in ticks: a sleep of the device shows at the first tick after it.

    Where the clock foretells its jumps the ticks are counted and not waited for, until it does: then `began` is the
    tick before that moment and the wait ends at the next, so that what is seen is the same.
    """

    __slots__ = (
        "_alarm",
        "_armed_at",
        "_context",
        "_left_s",
        "_loop",
        "_over",
        "_tick_s",
        "_watched",
        "began",
        "ticks_passed",
    )

    def __init__(self, began: Reading, left_s: float, tick_s: float, context: Context, *, watched: bool) -> None:
        self.began = began
        self.ticks_passed = False
        self._left_s = left_s
        self._tick_s = tick_s
        self._watched = watched
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        self._armed_at = self._loop.time()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def planned_s(self) -> float:
        """How long after `began` it is to end."""
        return min(self._tick_s, self._left_s) if self._watched else self._left_s

    def last_tick_at(self, now: float) -> float:
        """The boot second of the tick before `now`, waited for or only counted."""
        return self.began.boot + (0.0 if self._watched else (now - self.began.boot) // self._tick_s * self._tick_s)

    async def end(self) -> None:
        self._arm()
        try:
            await self._over
        finally:
            if self._alarm is not None:
                self._alarm.cancel()

    def bring_forward(self, due_at: float, clock: Clock) -> None:
        """End it at once if it would end after `due_at`; a later tick will look again."""
        if not self._watched and due_at < self.began.boot + self._left_s:
            self.watch(clock)
        ends_at = self.began.boot + self.planned_s
        # A wake-up that is overdue stood still with the device, and would come later than it was planned.
        if due_at < ends_at or clock.boot() > ends_at:
            self.finish()

    def finish(self) -> None:
        _finish(self._over)

    def watch(self, clock: Clock) -> None:
        """From now on wait for the next tick only."""
        if self._watched or self._over.done():
            return
        # A tick that is due at this very moment has not passed yet.
        passed = max(0, ceil((clock.monotonic() - self.began.monotonic) / self._tick_s - SAME_TICK) - 1)
        passed_s = passed * self._tick_s
        self.ticks_passed = passed > 0
        self.began = Reading(*(moment + passed_s for moment in self.began))
        self._left_s -= passed_s
        self._armed_at += passed_s
        self._watched = True
        self._arm()

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        planned_s = self.planned_s
        if planned_s < inf:
            self._alarm = self._loop.call_at(self._armed_at + planned_s, _finish, self._over, context=self._context)


def _finish(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


class DeadlineLoop(Generic[T]):
    """One task for all members. It wakes for the next deadline, and every `tick_s_max` to notice a sleep of the device."""

    def __init__(
        self,
        *,
        part: str,
        visit: Visit[T],
        clock: Clock,
        record: Record,
        tick_s_max: float = TICK_S_MAX,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> None:
        require("tick_s_max", tick_s_max, 0.01, TICK_S_MAX)
        self._part = part
        self._visit = visit
        self._clock = clock
        self._record = record
        self._tick_s_max = tick_s_max
        self._on_gap = on_gap
        self._heap: list[tuple[float, int, T]] = []
        self._entries: dict[T, int] = {}
        self._serial = 0
        self._foretelling = cast(ForetellingClock, clock) if hasattr(clock, "before_jump") else None
        self._wait: _Wait | None = None
        self._task: asyncio.Task[None] | None = None
        self._visits = self._crashes = self._late_ticks = 0
        self._late_s_max = 0.0
        self._last_run_at: float | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, member: T) -> bool:
        return member in self._entries

    def members(self) -> tuple[T, ...]:
        return tuple(self._entries)

    def schedule(self, member: T, due_at: float) -> None:
        """Visit `member` at boot second `due_at`, and not when it was planned before."""
        self._serial += 1
        self._entries[member] = self._serial
        heapq.heappush(self._heap, (due_at, self._serial, member))
        self._drop_stale()
        if self._wait is not None:
            self._wait.bring_forward(due_at, self._clock)

    def remove(self, member: T) -> None:
        if self._entries.pop(member, None) is not None:
            self._drop_stale()

    def start(self) -> None:
        """Begin; nothing happens if it has begun. Must be called on the loop it is to run on."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=self._part)
            if self._foretelling is not None:
                self._foretelling.before_jump.append(self._watch)

    async def stop(self) -> None:
        """End; nothing happens if it has not begun. No visit is cut short."""
        task, self._task = self._task, None
        if task is not None:
            if self._foretelling is not None:
                self._foretelling.before_jump.remove(self._watch)
            task.cancel()
            await asyncio.wait({task})

    def statistics(self) -> LoopStatistics:
        return LoopStatistics(
            running=self._task is not None,
            members=len(self._entries),
            visits=self._visits,
            crashes=self._crashes,
            late_s_max=self._late_s_max,
            last_run_at=self._last_run_at if self._wait is None else self._wait.last_tick_at(self._clock.boot()),
            next_due_at=self._next_due_at(),
        )

    async def _run(self) -> None:
        while True:
            try:
                await self._turn_for_ever()
            except Exception as crash:  # noqa: BLE001 - logged, and the loop goes on: members depend on it
                self._note_crash(crash)
                await asyncio.sleep(RESTART_S)

    async def _turn_for_ever(self) -> None:
        before, context = read(self._clock), copy_context()
        while True:
            self._visit_due(before.boot)
            next_due_at = self._next_due_at()
            left_s = inf if next_due_at is None else max(0.0, next_due_at - self._clock.boot())
            watched = self._foretelling is None or not self._foretelling.steady
            wait = self._wait = _Wait(before, left_s, self._tick_s_max, context, watched=watched)
            try:
                await wait.end()
            finally:
                self._wait = None
            after = read(self._clock)
            if wait.ticks_passed:
                self._late_ticks = 0
            self._observe(wait.began, after, wait.planned_s)
            before = after

    def overslept(self) -> bool:
        """Whether the device has slept in this wait, and it does not show yet. Any thread may ask."""
        wait, clock = self._wait, self._clock
        if wait is None:
            return False
        began = wait.began
        return (clock.boot() - began.boot) - (clock.monotonic() - began.monotonic) >= SUSPEND_S_MIN

    def notice(self) -> None:
        """Name the gap now and not at the next tick: somebody is about to act."""
        wait = self._wait
        if wait is not None and self.overslept():
            before, wait.began = wait.began, read(self._clock)
            self._observe(before, wait.began, wait.planned_s)
            wait.finish()

    def _watch(self) -> None:
        if self._wait is not None:
            self._wait.watch(self._clock)

    def _observe(self, before: Reading, after: Reading, planned_s: float) -> None:
        gap = classify_gap(before, after, planned_s=planned_s, late_ticks=self._late_ticks)
        if gap is not None and gap.kind in (GapKind.STALL, GapKind.THROTTLE):
            self._late_ticks += 1
        elif after.boot - before.boot >= planned_s:
            # Woken before its time, a wait says nothing of timers.
            self._late_ticks = 0
        if gap is not None and self._on_gap is not None:
            self._on_gap(gap)

    def _drop_stale(self) -> None:
        if len(self._heap) > 2 * len(self._entries) + STALE_MAX:
            self._heap = [entry for entry in self._heap if self._entries.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def _next_due_at(self) -> float | None:
        heap = self._heap
        while heap and self._entries.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _visit_due(self, now: float) -> None:
        self._last_run_at = now
        # What is planned from here on waits for the next turn: a visit that plans itself must not go round for ever.
        planned = self._serial
        due_at = self._next_due_at()
        while due_at is not None and due_at <= now and self._heap[0][1] <= planned:
            self._late_s_max = max(self._late_s_max, now - due_at)
            _, serial, member = heapq.heappop(self._heap)
            next_at = self._visit_one(member, now)
            # A visit may itself have planned or removed the member; that stands.
            if self._entries.get(member) == serial:
                if next_at is None:
                    self._entries[member] = 0
                else:
                    self.schedule(member, max(next_at, now + REVISIT_S_MIN))
            due_at = self._next_due_at()

    def _visit_one(self, member: T, now: float) -> float | None:
        self._visits += 1
        try:
            return self._visit(member, now)
        except Exception as crash:  # noqa: BLE001 - one member's mistake must not stop the others
            self._note_crash(crash)
            return now + RESTART_S

    @contextlib.contextmanager
    def crashes_noted(self) -> Iterator[None]:
        """One member's mistake inside is counted and logged, and stops nobody else."""
        try:
            yield
        except Exception as crash:  # noqa: BLE001 - logged below; the next member has its turn
            self._note_crash(crash)

    def _note_crash(self, crash: Exception) -> None:
        self._crashes += 1
        # Where the log itself is what fails there is only the count, and members still depend on the loop.
        with contextlib.suppress(Exception):
            self._record(PartCrashed(part=self._part, error=type(crash).__name__))
