"""Visits many members, each at its own deadline, from one heap: what is not due costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Iterator
from contextvars import copy_context
from math import ceil, inf
from typing import Generic, TypeVar, cast

import msgspec

from session_core.bounds import require
from session_core.clock import SUSPEND_S_MIN, Clock, ForetellingClock, Gap, Reading, classify_gap, reader
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
    """The wait for the next deadline, in ticks: a sleep of the device shows at the first tick after it.

    Where the clock foretells its jumps the ticks are counted and not waited for, until it does: then `began` is the
    tick before that moment and the wait ends at the next, so that what is seen is the same. One serves a loop for
    ever, wait after wait; `over` is called at the end of each.
    """

    __slots__ = (
        "_alarm",
        "_armed_at",
        "_context",
        "_left_s",
        "_loop",
        "_over",
        "_tick_s",
        "began",
        "ending",
        "ticks_passed",
        "under_way",
        "watched",
    )

    def __init__(self, tick_s: float, over: Callable[[], None]) -> None:
        self.began = Reading(0.0, 0.0, 0.0)
        self.under_way = self.ending = self.ticks_passed = False
        self._left_s = inf
        self._tick_s = tick_s
        self.watched = True
        self._over = over
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._armed_at = 0.0
        self._alarm: asyncio.Handle | None = None

    @property
    def planned_s(self) -> float:
        """How long after `began` it is to end."""
        return min(self._tick_s, self._left_s) if self.watched else self._left_s

    def last_tick_at(self, now: float) -> float:
        """The boot second of the tick before `now`, waited for or only counted."""
        return self.began.boot + (0.0 if self.watched else (now - self.began.boot) // self._tick_s * self._tick_s)

    def begin(self, began: Reading, left_s: float, *, watched: bool) -> None:
        self.began = began
        self.under_way, self.ending, self.ticks_passed = True, False, False
        self._left_s = left_s
        self.watched = watched
        self._armed_at = self._loop.time()
        self._arm(self.planned_s if watched else left_s)

    def finish(self) -> None:
        """End it at the loop's next turn."""
        if not self.ending:
            self.ending = True
            self.call_off()
            self._alarm = self._loop.call_soon(self._over, context=self._context)

    def rest(self, seconds: float, then: Callable[[], None]) -> None:
        """Wait for `seconds`, whatever is due."""
        self._alarm = self._loop.call_later(seconds, then, context=self._context)

    def call_off(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def bring_forward(self, due_at: float, clock: Clock) -> None:
        """End it at once if it would end after `due_at`; a later tick will look again."""
        if not self.watched and due_at < self.began.boot + self._left_s:
            if due_at <= clock.boot():
                self.finish()
                return
            self.watch(clock)
        ends_at = self.began.boot + self.planned_s
        # A wake-up that is overdue stood still with the device, and would come later than it was planned.
        if due_at < ends_at or clock.boot() > ends_at:
            self.finish()

    def watch(self, clock: Clock) -> None:
        """From now on wait for the next tick only."""
        if self.watched:
            return
        # A tick that is due at this very moment has not passed yet.
        passed = max(0, ceil((clock.monotonic() - self.began.monotonic) / self._tick_s - SAME_TICK) - 1)
        passed_s = passed * self._tick_s
        self.ticks_passed = passed > 0
        self.began = Reading(*(moment + passed_s for moment in self.began))
        self._left_s -= passed_s
        self._armed_at += passed_s
        self.watched = True
        if not self.ending:
            self.call_off()
            self._arm(self.planned_s)

    def _arm(self, planned_s: float) -> None:
        ends_at = self._armed_at + planned_s
        self._alarm = None if ends_at == inf else self._loop.call_at(ends_at, self._over, context=self._context)


class DeadlineLoop(Generic[T]):
    """One timer for all members. It wakes for the next deadline, and every `tick_s_max` to notice a sleep of the device."""

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
        self._read = reader(clock)
        self._record = record
        self._tick_s_max = tick_s_max
        self._on_gap = on_gap
        self._heap: list[tuple[float, int, T]] = []
        self._entries: dict[T, int] = {}
        self._serial = 0
        self._foretelling = cast(ForetellingClock, clock) if hasattr(clock, "before_jump") else None
        # Both while it runs; what is under way is a wait, except while members are visited.
        self._wait: _Wait | None = None
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
        wait = self._wait
        if wait is not None and wait.under_way:
            wait.bring_forward(due_at, self._clock)

    def remove(self, member: T) -> None:
        if self._entries.pop(member, None) is not None:
            self._drop_stale()

    def start(self) -> None:
        """Begin; nothing happens if it has begun. Must be called on the loop it is to run on."""
        if self._wait is None:
            self._wait = _Wait(self._tick_s_max, self._wake)
            self._wait.rest(0.0, self._begin)
            if self._foretelling is not None:
                self._foretelling.before_jump.append(self._watch)

    async def stop(self) -> None:
        """End; nothing happens if it has not begun. No visit is cut short."""
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.call_off()
            if self._foretelling is not None:
                self._foretelling.before_jump.remove(self._watch)

    def statistics(self) -> LoopStatistics:
        wait = self._wait
        return LoopStatistics(
            running=wait is not None,
            members=len(self._entries),
            visits=self._visits,
            crashes=self._crashes,
            late_s_max=self._late_s_max,
            last_run_at=wait.last_tick_at(self._clock.boot()) if wait and wait.under_way else self._last_run_at,
            next_due_at=self._next_due_at(),
        )

    def _begin(self) -> None:
        self._turn(self._read())

    def _wake(self) -> None:
        """A wait is over: name what happened in it, then visit who is due."""
        wait = self._wait
        assert wait is not None, "a loop that was stopped is not woken"
        now = self._read()
        wait.under_way = False
        if wait.ticks_passed or not wait.watched:
            self._late_ticks = 0
        try:
            if wait.watched:
                self._observe(wait.began, now, wait.planned_s)
        except Exception as crash:  # noqa: BLE001 - logged, and the loop goes on: members depend on it
            self._note_crash(crash)
            wait.rest(RESTART_S, self._begin)
        else:
            self._turn(now)

    def _turn(self, now: Reading) -> None:
        next_due_at = self._visit_due(now.boot)
        wait, foretelling = self._wait, self._foretelling
        if wait is not None:
            left_s = inf if next_due_at is None else max(0.0, next_due_at - self._clock.boot())
            wait.begin(now, left_s, watched=foretelling is None or not foretelling.steady)

    def overslept(self) -> bool:
        """Whether the device has slept in this wait, and it does not show yet. Any thread may ask."""
        wait, clock = self._wait, self._clock
        if wait is None or not wait.under_way or not wait.watched:
            return False
        began = wait.began
        return (clock.boot() - began.boot) - (clock.monotonic() - began.monotonic) >= SUSPEND_S_MIN

    def notice(self) -> None:
        """Name the gap now and not at the next tick: somebody is about to act."""
        wait = self._wait
        if wait is not None and self.overslept():
            before, wait.began = wait.began, self._read()
            self._observe(before, wait.began, wait.planned_s)
            wait.finish()

    def _watch(self) -> None:
        if self._wait is not None and self._wait.under_way:
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
            self._heap[:] = [entry for entry in self._heap if self._entries.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def _next_due_at(self) -> float | None:
        heap = self._heap
        while heap and self._entries.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _visit_due(self, now: float) -> float | None:
        """Visit who is due; when the next is."""
        self._last_run_at = now
        heap, entries = self._heap, self._entries
        # What is planned from here on waits for the next turn: a visit that plans itself must not go round for ever.
        planned = self._serial
        while heap:
            visited = due_at, serial, member = heap[0]
            if entries.get(member) == serial:
                if due_at > now or serial > planned:
                    return due_at
                self._late_s_max = max(self._late_s_max, now - due_at)
                next_at = self._visit_one(member, now)
                # A visit may itself have planned or removed the member; that stands.
                if entries.get(member) == serial:
                    self._plan_again(visited, next_at, now)
            else:
                heapq.heappop(heap)
        return None

    def _plan_again(self, visited: tuple[float, int, T], next_at: float | None, now: float) -> None:
        """Where the member that was just visited stands next."""
        member = visited[2]
        if next_at is None:
            self._entries[member] = 0
            return
        self._entries[member] = self._serial = serial = self._serial + 1
        entry = max(next_at, now + REVISIT_S_MIN), serial, member
        if self._heap[0] is visited:
            heapq.heapreplace(self._heap, entry)
        else:
            heapq.heappush(self._heap, entry)

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
