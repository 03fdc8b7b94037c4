"""Visits many members, each at its own deadline, from one heap: what is not due costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from session_core.bounds import require
from session_core.clock import Clock, Gap, Reading, classify_gap, read
from session_core.events import PartCrashed, Record
from session_core.vocabulary import GapKind

TICK_S_MAX = 15.0
RESTART_S = 1.0
REVISIT_S_MIN = 0.01
STALE_MAX = 64

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
        self._sooner = asyncio.Event()
        self._wakes_at = float("inf")
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
        # A wake-up that is overdue stood still with the device, and would come later than it was planned.
        if due_at < self._wakes_at or self._clock.boot() > self._wakes_at:
            self._sooner.set()

    def remove(self, member: T) -> None:
        if self._entries.pop(member, None) is not None:
            self._drop_stale()

    def start(self) -> None:
        """Begin; nothing happens if it has begun. Must be called on the loop it is to run on."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=self._part)

    async def stop(self) -> None:
        """End; nothing happens if it has not begun. No visit is cut short."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def statistics(self) -> LoopStatistics:
        return LoopStatistics(
            running=self._task is not None,
            members=len(self._entries),
            visits=self._visits,
            crashes=self._crashes,
            late_s_max=self._late_s_max,
            last_run_at=self._last_run_at,
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
        before = read(self._clock)
        while True:
            self._visit_due(before.boot)
            next_due_at = self._next_due_at()
            wait_s = self._tick_s_max
            if next_due_at is not None:
                wait_s = min(wait_s, max(0.0, next_due_at - self._clock.boot()))
            await self._wait(wait_s)
            after = read(self._clock)
            self._observe(before, after, wait_s)
            before = after

    async def _wait(self, wait_s: float) -> None:
        self._wakes_at = self._clock.boot() + wait_s
        self._sooner.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._sooner.wait()
        except TimeoutError:
            pass
        finally:
            self._wakes_at = float("-inf")

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
