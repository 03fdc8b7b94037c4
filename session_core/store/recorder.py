"""The recorder: components emit and never wait; one thread writes, to the store or else to disk, another tends the store."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

import msgspec

from session_core.clock import Clock
from session_core.errors import EventStoreError
from session_core.events import Event, decode, encode
from session_core.store.recording import RecorderStatistics, Sink
from session_core.store.spill import Spill

# A checkpoint keeps commits out for as long as its log is long: 16 MiB are a tenth of a second. Under a crowd the log
# may grow meanwhile; a store that was killed with that much reads it again in a second.
CHECKPOINT_BYTES = 16 << 20
CHECKPOINT_CROWDED_BYTES = 256 << 20
# A commit costs nearly as much for a few events as for many: so many flushes are gathered while they pour, but no longer.
GATHER_FACTOR = 10
GATHER_S = 0.1
# By how many queues a store that takes events may fall behind before they go to disk, and how many fit into memory.
BEHIND_FACTOR = 12
MEMORY_FACTOR = 25


class Recorder:
    """Takes events from any thread and brings them into the store, in order, at most `flush_s` later.

    `emit` costs an append to a deque. `flush_events` waiting events wake the writer before `flush_s` is over; while
    they pour in it gathers more of them, and one transaction holds at most `batch_max`. When `queue_max` wait for a
    store that refuses them, or twelve times as many for one that is behind, they go to the spill file. Twenty-five times
    as many can only pile up when the disk takes nothing at all, and then the newest are refused and counted in `lost`.
    """

    def __init__(
        self,
        store: Sink,
        *,
        clock: Clock,
        spill_path: Path | None = None,
        queue_max: int = 20_000,
        batch_max: int = 20_000,
        flush_events: int = 500,
        flush_s: float = 0.25,
    ) -> None:
        self._store = store
        self._clock = clock
        self._spill = Spill(spill_path or store.path.with_name(store.path.name + ".spill.jsonl"))
        self._queue_max = queue_max
        self._memory_max = queue_max * MEMORY_FACTOR
        self._batch_max = batch_max
        self._flush_events = flush_events
        self._flush_s = flush_s
        self._wake_events = flush_events
        self._pouring = False
        self._queue: deque[Event | threading.Event] = deque()
        self._hand: list[Event | threading.Event] = []
        self._marks: list[threading.Event] = []
        self._wake = threading.Event()
        self._rests = threading.Event()
        self._stopping = threading.Event()
        self._threads: tuple[threading.Thread, ...] = ()
        self._lifecycle = threading.Lock()
        self._lost_lock = threading.Lock()
        # Whether a batch in hand, or something in the spill file, may be in the store already.
        self._doubt = self._spill_doubt = False
        self._acknowledged = self._written = self._lost = self._flushes = 0
        self._flush_ms: float | None = None
        self._newest_event_at: float | None = None
        self._store_trouble: str | None = None
        self._spill_trouble: str | None = None
        self._upkeep_trouble: str | None = None
        self._loss: str | None = None

    def emit(self, event: Event) -> None:
        """Take the event; returns at once, whatever the store is doing."""
        waiting = len(self._queue)
        if waiting >= self._memory_max:
            self._lose("neither the store nor the disk took events and the memory set aside for them is full")
            return
        self._queue.append(event)
        if waiting == self._wake_events - 1:
            self._wake.set()

    def start(self) -> None:
        """Begin to write, first what an earlier process left on disk. Starting twice is harmless."""
        with self._lifecycle:
            if self._threads:
                return
            try:
                self._spill.recover()
            except OSError as error:
                raise EventStoreError(self._spill.sentence(error)) from error
            self._spill_doubt = self._spill.waiting > 0
            self._stopping.clear()
            self._threads = (
                threading.Thread(target=self._run, name="event-recorder", daemon=True),
                threading.Thread(target=self._keep, name="event-keeper", daemon=True),
            )
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Write what waits, or leave it in the spill file for the next start. Stopping twice is harmless."""
        with self._lifecycle:
            self._stopping.set()
            self._wake.set()
            for thread in self._threads:
                thread.join()
            self._threads = ()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything emitted before this call is in the store; whether it came to that."""
        if not self._threads:
            return False
        mark = threading.Event()
        self._queue.append(mark)
        self._wake.set()
        return mark.wait(timeout_s)

    def statistics(self) -> RecorderStatistics:
        return RecorderStatistics(
            running=any(thread.is_alive() for thread in self._threads),
            queued=len(self._queue) + len(self._hand),
            spilled=self._spill.waiting,
            acknowledged=self._acknowledged,
            written=self._written,
            lost=self._lost,
            flushes=self._flushes,
            flush_ms=self._flush_ms,
            newest_event_at=self._newest_event_at,
            last_error=self._store_trouble or self._spill_trouble or self._upkeep_trouble or self._loss,
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            if self._step():
                self._rest()
            else:
                self._wake.wait(self._flush_s)
        # Bounded, so that someone who goes on emitting cannot keep the writer from stopping.
        for _ in range((len(self._queue) + self._spill.waiting) // self._batch_max + 2):
            if not self._backlog(1) or not self._step():
                break
        self._overflow()

    def _rest(self) -> None:
        """Until the next batch is worth a commit or has waited long enough."""
        self._rests.set()
        self._wake_events = self._flush_events * (GATHER_FACTOR if self._pouring else 1)
        if not self._backlog(self._wake_events):
            self._wake.wait(min(GATHER_S, self._flush_s) if self._pouring else self._flush_s)

    def _keep(self) -> None:
        while not self._stopping.wait(self._flush_s):
            while self._tend() and not self._stopping.is_set():
                pass

    def _tend(self) -> bool:
        """Do one thing that the store has to do besides, if no crowd waits; whether there was one."""
        if self._pouring:
            # A checkpoint holds up the flush that meets it: just after one there is the longest time until the next.
            self._rests.clear()
            self._rests.wait(GATHER_S)
        crowded = self._backlog(self._batch_max)
        try:
            self._store.checkpoint(log_bytes_min=CHECKPOINT_CROWDED_BYTES if crowded else CHECKPOINT_BYTES)
            done = not crowded and self._store.maintain(idle=not self._pouring)
        except EventStoreError as error:
            self._upkeep_trouble = str(error)
            return False
        self._upkeep_trouble = None
        return done

    def _backlog(self, events_min: int) -> bool:
        return self._spill.waiting > 0 or len(self._queue) + len(self._hand) >= events_min

    def _step(self) -> bool:
        """Write one batch, the oldest events first; False while store or disk refuse."""
        try:
            if len(self._queue) >= self._queue_max * (1 if self._store_trouble else BEHIND_FACTOR):
                self._overflow()
            before = self._acknowledged
            if self._spill.waiting:
                self._replay()
            else:
                self._drain()
            self._pouring = self._acknowledged - before >= self._flush_events
        except EventStoreError as error:
            self._store_trouble = str(error)
            # Whether the batch was committed before it failed is not known, so it is not simply written again.
            self._doubt = self._spill_doubt = True
            return False
        except OSError as error:
            self._spill_trouble = self._spill.sentence(error)
            return False
        return True

    def _drain(self) -> None:
        if not self._hand:
            self._hand = self._take(self._batch_max)
        events = [item for item in self._hand if isinstance(item, Event)]
        self._write(events, once=self._doubt)
        self._doubt = False
        if len(events) < len(self._hand):
            self._marks += [item for item in self._hand if isinstance(item, threading.Event)]
        self._hand = []
        self._release()

    def _replay(self) -> None:
        lines = self._spill.front(self._batch_max)
        if not lines:
            self._lose(f"someone removed {self._spill.path}", self._spill.waiting)
        self._write([event for event in map(self._event, lines) if event is not None], once=self._spill_doubt)
        self._spill.drop(lines)
        self._spill_doubt = self._spill_doubt and self._spill.waiting > 0
        self._release()

    def _take(self, items_max: int) -> list[Event | threading.Event]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), items_max))]

    def _release(self) -> None:
        if not self._spill.waiting:
            for mark in self._marks:
                mark.set()
            self._marks.clear()

    def _write(self, events: Sequence[Event], *, once: bool) -> None:
        if not events:
            return
        began = self._clock.monotonic()
        self._commit(events, once=once)
        self._flushes += 1
        self._flush_ms = (self._clock.monotonic() - began) * 1e3
        newest_at = max(map(attrgetter("happened_at"), events))
        self._newest_event_at = max(newest_at, self._newest_event_at or newest_at)
        self._store_trouble = None

    def _commit(self, events: Sequence[Event], *, once: bool) -> None:
        """Hand the events to the store; one that no table can hold does not keep the others out."""
        try:
            added = self._store.append_once(events) if once else self._append(events)
        except (ValueError, OverflowError) as error:
            if len(events) == 1:
                self._lose(f"a {events[0].kind} holds a value that cannot be stored ({type(error).__name__})")
                return
            half = len(events) // 2
            self._commit(events[:half], once=True)
            self._commit(events[half:], once=True)
        else:
            self._acknowledged += len(events)
            self._written += added

    def _append(self, events: Sequence[Event]) -> int:
        self._store.append(events, hurry=len(events) >= self._flush_events)
        return len(events)

    def _overflow(self) -> None:
        """Move what waits in memory to disk in pieces; what the disk refuses stays in memory."""
        self._queue.extendleft(reversed(self._hand))
        self._hand = []
        self._spill_doubt = self._spill_doubt or self._doubt
        for _ in range(len(self._queue) // self._batch_max + 1):
            items = self._take(self._batch_max)
            try:
                self._spill.add([line for line in map(self._line, items) if line])
            except OSError as error:
                self._queue.extendleft(reversed(items))
                self._spill_trouble = self._spill.sentence(error)
                return
            self._marks += [item for item in items if isinstance(item, threading.Event)]
        self._spill_trouble = None

    def _line(self, item: Event | threading.Event) -> bytes:
        if isinstance(item, threading.Event):
            return b""
        try:
            return encode(item)
        except (ValueError, OverflowError) as error:
            self._lose(f"a {item.kind} holds a value that cannot be written down ({type(error).__name__})")
            return b""

    def _event(self, line: bytes) -> Event | None:
        try:
            return decode(line)
        except msgspec.DecodeError:
            self._spill.set_aside(line)
            self._lose(f"a line was no event and was moved to {self._spill.unreadable_path}")
            return None

    def _lose(self, why: str, events: int = 1) -> None:
        with self._lost_lock:
            self._lost += events
            self._loss = f"{self._lost} events could not be recorded; the last because {why}."
