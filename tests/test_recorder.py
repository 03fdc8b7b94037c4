"""The recorder loses nothing: not in a crowd of threads, not on a full disk, not when it is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tries import tries

import session_core
from session_core.clock import SystemClock
from session_core.errors import EventStoreError, StoreFullError, StoreHeldError
from session_core.events import Event, Origin, UserActed, encode
from session_core.store import EventStore, Recorder
from session_core.store.recorder import (
    BEHIND_FACTOR,
    CHECKPOINT_BYTES,
    CHECKPOINT_CROWDED_BYTES,
    MEMORY_FACTOR,
)
from session_core.store.spill import Spill

ROOT = Path(session_core.__file__).parents[1]
NOON = 1_700_000_000.0
WAIT_S = 20.0
NEVER_S = 3_600.0


def event(seq: int, *, stream_id: str = "stream", action: str = "clicked", at: float | None = None) -> Event:
    origin = Origin(stream_id=stream_id, session_id="session", user_id="user")
    return Event(seq, NOON + seq if at is None else at, float(seq), float(seq), origin, UserActed(action=action))


class ListStore:
    """A store in memory that refuses while `trouble` is set, and says when it has been asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: EventStoreError | None = None
        self.commits_before_trouble = False
        self.events: list[Event] = []
        self.looked_up = 0
        self.checkpoints: list[int] = []
        self.maintained: list[bool] = []
        self.hurried: list[bool] = []
        self.due = 0
        self.tended = threading.Semaphore(0)
        self.upkeep_trouble: EventStoreError | None = None
        self.asked = threading.Semaphore(0)

    @property
    def seqs(self) -> list[int]:
        return [event.seq for event in self.events]

    def append(self, events: Sequence[Event], *, hurry: bool = False) -> None:
        assert events
        self.hurried.append(hurry)
        if self.trouble is None or self.commits_before_trouble:
            self.events += events
        self.asked.release()
        if self.trouble is not None:
            raise self.trouble

    def append_once(self, events: Sequence[Event]) -> int:
        self.looked_up += len(events)
        known = set(self.seqs)
        new = [event for event in events if event.seq not in known]
        if new:
            self.append(new)
        return len(new)

    def checkpoint(self, *, log_bytes_min: int) -> bool:
        if self.upkeep_trouble is not None:
            raise self.upkeep_trouble
        self.checkpoints.append(log_bytes_min)
        return False

    def maintain(self, *, idle: bool) -> bool:
        self.maintained.append(idle)
        if self.due:
            self.due -= 1
            return True
        self.tended.release()
        return False


@pytest.fixture
def store(tmp_path: Path) -> ListStore:
    return ListStore(tmp_path / "events.duckdb")


@pytest.fixture
def real_store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "events.duckdb")
    yield store
    store.close()


def recorder_of(store: ListStore | EventStore, *, flush_s: float = 0.01, **sizes: int) -> Recorder:
    return Recorder(store, clock=SystemClock(), flush_s=flush_s, **sizes)


def spill_of(store: ListStore | EventStore) -> Path:
    return store.path.with_name("events.duckdb.spill.jsonl")


def seqs_in(store: EventStore) -> list[int]:
    seqs: list[int] = store.read("SELECT seq FROM events ORDER BY rowid").column("seq").to_pylist()
    return seqs


def wait_attempt(store: ListStore) -> None:
    """Until the store has been asked twice more: the first of these may have been under way already."""
    assert store.asked.acquire(timeout=WAIT_S)
    assert store.asked.acquire(timeout=WAIT_S)


def test_flushed_events_are_in_the_store_in_order(real_store: EventStore) -> None:
    """After flush everything emitted before is there, and the statistics say so."""
    recorder = recorder_of(real_store)
    recorder.start()
    for seq in range(1, 2_001):
        recorder.emit(event(seq))
    assert recorder.flush(WAIT_S)
    assert seqs_in(real_store) == list(range(1, 2_001))
    statistics = recorder.statistics()
    recorder.stop()
    assert (statistics.queued, statistics.spilled, statistics.lost) == (0, 0, 0)
    assert statistics.acknowledged == statistics.written == 2_000
    assert statistics.newest_event_at == NOON + 2_000
    assert statistics.last_error is None
    assert statistics.running
    assert statistics.flushes >= 1
    assert statistics.flush_ms is not None


def test_events_of_many_threads_arrive_exactly_once(real_store: EventStore) -> None:
    """Every thread's events arrive, each once and in that thread's order."""
    recorder = recorder_of(real_store)
    recorder.start()

    def emit(stream_id: str) -> None:
        for seq in range(500):
            recorder.emit(event(seq, stream_id=stream_id))

    threads = [threading.Thread(target=emit, args=(f"stream-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.stop()
    question = "SELECT stream_id, list(seq ORDER BY rowid) AS seqs FROM events GROUP BY stream_id"
    streams = real_store.read(question).to_pylist()
    assert len(streams) == 8
    assert all(stream["seqs"] == list(range(500)) for stream in streams)


def test_a_full_batch_does_not_wait_for_the_clock(store: ListStore) -> None:
    """The event that fills a batch wakes the writer; one less does not."""
    recorder = recorder_of(store, flush_s=NEVER_S, flush_events=10)
    recorder.start()
    assert recorder.flush(WAIT_S)
    for seq in range(9):
        recorder.emit(event(seq))
    assert not recorder._wake.is_set()
    recorder.emit(event(9))
    assert store.asked.acquire(timeout=WAIT_S)
    recorder.stop()
    assert store.seqs == list(range(10))


def test_a_lone_event_is_written_when_the_time_is_up(store: ListStore) -> None:
    """Nobody has to ask for it."""
    recorder = recorder_of(store)
    recorder.start()
    recorder.emit(event(1))
    assert store.asked.acquire(timeout=WAIT_S)
    recorder.stop()
    assert store.seqs == [1]


def test_one_transaction_holds_at_most_a_batch(store: ListStore) -> None:
    """A backlog is taken in several bites."""
    recorder = recorder_of(store, batch_max=10)
    for seq in range(95):
        recorder.emit(event(seq))
    recorder.start()
    recorder.stop()
    assert store.seqs == list(range(95))
    assert recorder.statistics().flushes == 10


def test_upkeep_waits_until_no_crowd_does(store: ListStore) -> None:
    """While a full batch waits the log may grow and nothing is folded; then both are seen to, gently while events pour."""
    recorder = recorder_of(store, batch_max=25, flush_events=10)
    for seq in range(60):
        recorder.emit(event(seq))
    for _ in range(4):
        recorder._step()
        recorder._tend()
    assert store.checkpoints == [CHECKPOINT_CROWDED_BYTES, CHECKPOINT_BYTES, CHECKPOINT_BYTES, CHECKPOINT_BYTES]
    assert store.maintained == [False, False, True]


def test_only_full_flushes_leave_the_score_for_later(store: ListStore) -> None:
    """When it is calm a flush brings everything with it."""
    recorder = recorder_of(store, flush_events=10)
    for size in (9, 10):
        for seq in range(size):
            recorder.emit(event(seq))
        recorder._step()
    assert store.hurried == [False, True]


def test_upkeep_goes_on_until_nothing_is_due(store: ListStore) -> None:
    """Piece by piece, so that a crowd in between would be seen."""
    recorder = recorder_of(store)
    store.due = 5
    recorder.start()
    assert store.tended.acquire(timeout=WAIT_S)
    recorder.stop()
    assert store.due == 0


def test_upkeep_that_fails_is_said_and_tried_again(store: ListStore) -> None:
    """Events are recorded meanwhile."""
    recorder = recorder_of(store)
    store.upkeep_trouble = StoreFullError("The disk is full.")
    assert not recorder._tend()
    assert recorder.statistics().last_error == "The disk is full."
    recorder.emit(event(1))
    assert recorder._step()
    assert store.seqs == [1]
    store.upkeep_trouble = None
    recorder._tend()
    assert recorder.statistics().last_error is None


def test_events_that_pour_in_are_gathered_for_a_moment(store: ListStore) -> None:
    """After a full flush it takes more events to wake the writer, but it does not wait for long."""
    recorder = recorder_of(store, flush_s=NEVER_S, flush_events=10)
    recorder.start()
    for seq in range(10):
        recorder.emit(event(seq))
    assert store.asked.acquire(timeout=WAIT_S)
    recorder.emit(event(10))
    assert store.asked.acquire(timeout=WAIT_S)
    recorder.stop()
    assert store.seqs == list(range(11))


def test_gathering_ends_with_ten_flushes_together(store: ListStore) -> None:
    """Ten events are reason enough for a flush when it is calm, a hundred when they pour."""
    recorder = recorder_of(store, flush_events=10)
    for seq in range(10):
        recorder.emit(event(seq))
    assert recorder._wake.is_set()
    recorder._wake.clear()
    recorder._step()
    recorder._rest()
    for seq in range(10, 109):
        recorder.emit(event(seq))
    assert not recorder._wake.is_set()
    recorder.emit(event(109))
    assert recorder._wake.is_set()


@pytest.mark.parametrize("error", [StoreFullError("The disk is full."), StoreHeldError("Another process has it.")])
def test_what_a_store_refuses_waits_and_is_said(store: ListStore, error: EventStoreError) -> None:
    """While the store refuses, the sentence is in the statistics and the events wait; then they arrive in order."""
    store.trouble = error
    recorder = recorder_of(store)
    recorder.start()
    for seq in range(5):
        recorder.emit(event(seq))
    wait_attempt(store)
    statistics = recorder.statistics()
    assert (statistics.queued, statistics.acknowledged, statistics.last_error) == (5, 0, str(error))
    assert not recorder.flush(0.0)
    store.trouble = None
    assert recorder.flush(WAIT_S)
    assert store.seqs == list(range(5))
    assert recorder.statistics().last_error is None
    recorder.stop()


def test_a_full_queue_goes_to_disk_and_comes_back_in_order(store: ListStore) -> None:
    """What is too much for memory waits in the spill file, is replayed first, and the file is gone afterwards."""
    store.trouble = StoreFullError("The disk is full.")
    recorder = recorder_of(store, queue_max=20, batch_max=7, flush_events=5)
    recorder.start()
    for seq in range(50):
        recorder.emit(event(seq))
    wait_attempt(store)
    recorder.emit(event(50))
    wait_attempt(store)
    assert recorder.statistics().spilled >= 20
    assert spill_of(store).exists()
    store.trouble = None
    assert recorder.flush(WAIT_S)
    recorder.stop()
    assert store.seqs == list(range(51))
    assert not spill_of(store).exists()


def test_a_store_that_is_only_behind_is_given_time(store: ListStore) -> None:
    """A crowd that would go to disk if the store refused it stays in memory, up to twelve times as many."""
    recorder = recorder_of(store, queue_max=20, batch_max=7)
    for seq in range(20 * BEHIND_FACTOR - 1):
        recorder.emit(event(seq))
    assert recorder._step()
    assert not spill_of(store).exists()
    for seq in range(20 * BEHIND_FACTOR - 1, 20 * BEHIND_FACTOR + 7):
        recorder.emit(event(seq))
    assert recorder._step()
    assert recorder.statistics().queued == 0
    assert recorder.statistics().spilled == 20 * BEHIND_FACTOR - 7
    recorder.start()
    assert recorder.flush(WAIT_S)
    recorder.stop()
    assert store.seqs == list(range(20 * BEHIND_FACTOR + 7))


def test_only_what_may_be_stored_already_is_looked_up(store: ListStore) -> None:
    """What this process spilled, and never tried, is simply written; after a refused replay it is looked up."""
    recorder = recorder_of(store, queue_max=2, batch_max=10)
    for seq in range(30):
        recorder.emit(event(seq))
    assert recorder._step()
    assert (recorder.statistics().spilled, store.looked_up) == (20, 0)
    store.trouble = StoreFullError("The disk filled up after the commit.")
    store.commits_before_trouble = True
    assert not recorder._step()
    store.trouble = None
    assert recorder._step()
    assert recorder._step()
    assert (recorder.statistics().spilled, store.looked_up) == (0, 20)
    assert store.seqs == list(range(30))


def test_a_mark_that_was_spilled_is_released_when_its_events_are_stored(store: ListStore) -> None:
    """flush() does not count the spill file as the store."""
    store.trouble = StoreFullError("The disk is full.")
    recorder = recorder_of(store, queue_max=5)
    recorder.start()
    for seq in range(4):
        recorder.emit(event(seq))
    flushed = threading.Thread(target=lambda: results.append(recorder.flush(WAIT_S)))
    results: list[bool] = []
    flushed.start()
    wait_attempt(store)
    for seq in range(4, 12):
        recorder.emit(event(seq))
    wait_attempt(store)
    assert not results
    store.trouble = None
    flushed.join()
    recorder.stop()
    assert results == [True]
    assert store.seqs == list(range(12))


def test_a_commit_that_only_seemed_to_fail_counts_once(store: ListStore) -> None:
    """An error after the commit makes the recorder look before it writes again."""
    store.trouble = StoreFullError("The disk filled up after the commit.")
    store.commits_before_trouble = True
    recorder = recorder_of(store)
    recorder.emit(event(1))
    recorder.start()
    assert store.asked.acquire(timeout=WAIT_S)
    assert recorder.flush(WAIT_S)
    recorder.stop()
    assert store.seqs == [1]
    statistics = recorder.statistics()
    assert (statistics.acknowledged, statistics.written) == (1, 0)


def test_a_batch_in_doubt_counts_once_whether_it_was_spilled_or_not(store: ListStore) -> None:
    """It is looked up from the spill file, and from memory when the disk had no room for it either."""

    class SmallDisk(Spill):
        pieces_left = 0

        def add(self, lines: Sequence[bytes]) -> None:
            if not self.pieces_left:
                raise OSError(28, "No space left on device")
            self.pieces_left -= 1
            super().add(lines)

    for pieces in (0, 1, 2):
        store.events.clear()
        store.trouble = StoreFullError("The disk filled up after the commit.")
        store.commits_before_trouble = True
        recorder = recorder_of(store, queue_max=6, batch_max=5)
        recorder._spill = disk = SmallDisk(spill_of(store))
        disk.pieces_left = pieces
        for seq in range(5):
            recorder.emit(event(seq))
        assert not recorder._step()
        assert store.seqs == list(range(5))
        for seq in range(5, 12):
            recorder.emit(event(seq))
        store.trouble = None
        while recorder._backlog(1):
            assert recorder._step()
        assert store.seqs == list(range(12))


def test_what_could_not_be_stored_is_replayed_at_the_next_start(store: ListStore) -> None:
    """Stopping with a store that refuses leaves the events on disk; the next recorder brings them in."""
    store.trouble = StoreFullError("The disk is full.")
    recorder = recorder_of(store)
    recorder.start()
    for seq in range(3):
        recorder.emit(event(seq))
    recorder.stop()
    assert recorder.statistics().spilled == 3
    assert len(spill_of(store).read_bytes().splitlines()) == 3
    store.trouble = None
    successor = recorder_of(store)
    successor.start()
    successor.emit(event(3))
    successor.stop()
    assert store.seqs == [0, 1, 2, 3]
    assert not spill_of(store).exists()


def test_a_replay_after_a_crash_counts_no_event_twice(real_store: EventStore) -> None:
    """A spill file whose events had already been committed adds nothing but what is new."""
    real_store.append([event(1), event(2)])
    spill_of(real_store).write_bytes(b"".join(encode(event(seq)) + b"\n" for seq in (1, 2, 2, 3)))
    recorder = recorder_of(real_store)
    recorder.start()
    assert recorder.flush(WAIT_S)
    recorder.stop()
    assert sorted(seqs_in(real_store)) == [1, 2, 3]
    assert (recorder.statistics().acknowledged, recorder.statistics().written) == (4, 1)


def test_a_half_written_last_line_is_cut_off(store: ListStore) -> None:
    """A process killed in the middle of a line had not acknowledged it."""
    spill_of(store).write_bytes(encode(event(1)) + b"\n" + encode(event(2))[:20])
    recorder = recorder_of(store)
    recorder.start()
    recorder.stop()
    assert store.seqs == [1]
    assert recorder.statistics().lost == 0


def test_a_line_that_is_no_event_is_set_aside_and_said(store: ListStore) -> None:
    """The good lines around it arrive; the bad one can be looked at."""
    spill_of(store).write_bytes(encode(event(1)) + b'\n{"seq": "two"}\n' + encode(event(3)) + b"\n")
    recorder = recorder_of(store)
    recorder.start()
    recorder.stop()
    assert store.seqs == [1, 3]
    aside = spill_of(store).with_name(spill_of(store).name + ".unreadable")
    assert aside.read_bytes() == b'{"seq": "two"}\n'
    statistics = recorder.statistics()
    assert statistics.lost == 1
    assert str(aside) in str(statistics.last_error)


def test_an_event_that_cannot_be_stored_does_not_keep_the_others_out(real_store: EventStore) -> None:
    """It is counted and named; its neighbours arrive."""
    recorder = recorder_of(real_store)
    recorder.start()
    for item in (event(1), event(2, action="\udc80"), event(1 << 70), event(3)):
        recorder.emit(item)
    assert recorder.flush(WAIT_S)
    recorder.stop()
    assert sorted(seqs_in(real_store)) == [1, 3]
    statistics = recorder.statistics()
    assert (statistics.acknowledged, statistics.lost) == (2, 2)
    assert "UserActed" in str(statistics.last_error)


def test_one_event_that_cannot_be_stored_costs_few_commits(store: ListStore) -> None:
    """It is found by halves, not one by one."""

    class Picky(ListStore):
        def append(self, events: Sequence[Event], *, hurry: bool = False) -> None:
            if any(event.seq == 700 for event in events):
                self.asked.release()
                raise ValueError("no table holds it")
            super().append(events, hurry=hurry)

    picky = Picky(store.path)
    recorder = recorder_of(picky)
    for seq in range(1_000):
        recorder.emit(event(seq))
    assert recorder._step()
    assert sorted(picky.seqs) == [seq for seq in range(1_000) if seq != 700]
    assert recorder.statistics().lost == 1
    assert picky.asked._value < 25


def test_a_clock_that_steps_back_loses_and_doubles_nothing(real_store: EventStore) -> None:
    """Events keep the order of their numbers, and are known again by number and time when they come a second time."""
    steps = [event(seq, at=NOON - 3_600.0 * (seq // 10) + seq) for seq in range(40)]
    real_store.append(steps[:25])
    spill_of(real_store).write_bytes(b"".join(encode(each) + b"\n" for each in steps[5:35]))
    recorder = recorder_of(real_store)
    recorder.start()
    for each in steps[35:]:
        recorder.emit(each)
    assert recorder.flush(WAIT_S)
    recorder.stop()
    assert seqs_in(real_store) == list(range(40))
    assert recorder.statistics().newest_event_at == NOON + 9


def test_an_event_that_cannot_be_written_down_does_not_stop_the_spill(store: ListStore) -> None:
    """The others reach the disk."""
    store.trouble = StoreFullError("The disk is full.")
    recorder = recorder_of(store)
    recorder.start()
    for item in (event(1), event(2, action="\udc80"), event(3)):
        recorder.emit(item)
    recorder.stop()
    assert recorder.statistics().spilled == 2
    assert recorder.statistics().lost == 1


def test_memory_has_a_limit_and_passing_it_is_said(tmp_path: Path) -> None:
    """Where neither store nor disk take anything, the newest events are refused, counted and explained."""
    (tmp_path / "file").touch()
    store = ListStore(tmp_path / "file" / "events.duckdb")
    store.trouble = StoreFullError("The disk is full.")
    recorder = recorder_of(store, queue_max=10, batch_max=4)
    room = 10 * MEMORY_FACTOR
    for seq in range(room + 5):
        recorder.emit(event(seq))
    statistics = recorder.statistics()
    assert (statistics.queued, statistics.lost) == (room, 5)
    assert str(statistics.last_error).startswith("5 events could not be recorded")
    recorder._step()
    assert recorder.statistics().last_error == "The disk is full."
    store.trouble = None
    recorder.start()
    assert recorder.flush(WAIT_S)
    recorder.stop()
    assert store.seqs == list(range(room))


def test_a_spill_file_that_cannot_be_written_keeps_the_order_in_memory(store: ListStore) -> None:
    """The events go back to where they were, and arrive in order when the store is well again."""
    spill_of(store).mkdir()
    store.trouble = StoreFullError("The disk is full.")
    recorder = recorder_of(store, queue_max=10, batch_max=4)
    for seq in range(15):
        recorder.emit(event(seq))
    recorder._step()
    recorder._step()
    store.trouble = None
    while recorder.statistics().queued:
        assert recorder._step()
    assert store.seqs == list(range(15))
    assert "Is a directory" in str(recorder.statistics().last_error)


def test_a_spill_file_that_cannot_be_read_is_said_at_the_start(store: ListStore) -> None:
    """Starting fails with a sentence rather than in the background."""
    spill_of(store).mkdir()
    with pytest.raises(EventStoreError, match="Is a directory"):
        recorder_of(store).start()


def test_a_spill_file_that_turns_unreadable_is_said(store: ListStore) -> None:
    """The writer goes on trying and names the file."""
    spill_of(store).write_bytes(encode(event(1)) + b"\n")
    recorder = recorder_of(store)
    recorder._spill.recover()
    spill_of(store).unlink()
    spill_of(store).mkdir()
    assert not recorder._step()
    assert str(spill_of(store)) in str(recorder.statistics().last_error)


def test_a_spill_file_removed_while_running_is_said(store: ListStore) -> None:
    """What was in it is counted as lost, and the rest is recorded."""
    spill_of(store).write_bytes(encode(event(1)) + b"\n")
    recorder = recorder_of(store)
    recorder._spill.recover()
    spill_of(store).unlink()
    recorder.emit(event(2))
    assert recorder._step()
    assert recorder._step()
    assert store.seqs == [2]
    statistics = recorder.statistics()
    assert (statistics.lost, statistics.spilled) == (1, 0)
    assert "someone removed" in str(statistics.last_error)


def test_starting_and_stopping_twice_is_harmless(store: ListStore) -> None:
    """Each takes effect once, a recorder can be started again, and a stopped one does not pretend to flush."""
    recorder = recorder_of(store)
    recorder.stop()
    assert not recorder.flush(0.0)
    recorder.start()
    threads = recorder._threads
    recorder.start()
    assert recorder._threads is threads
    recorder.stop()
    recorder.stop()
    assert not recorder.statistics().running
    recorder.emit(event(1))
    recorder.start()
    recorder.stop()
    assert store.seqs == [1]


def test_someone_who_goes_on_emitting_cannot_keep_it_from_stopping(store: ListStore) -> None:
    """Stop ends while events keep coming; those that came too late are in the spill file."""
    recorder = recorder_of(store, batch_max=3)
    emitted = 0

    class Endless(ListStore):
        def append(self, events: Sequence[Event], *, hurry: bool = False) -> None:
            nonlocal emitted
            super().append(events, hurry=hurry)
            for _ in range(4):
                emitted += 1
                recorder.emit(event(emitted))

    endless = Endless(store.path)
    recorder = recorder_of(endless, batch_max=3, queue_max=100_000)
    recorder.emit(event(0))
    recorder.start()
    assert endless.asked.acquire(timeout=WAIT_S)
    recorder.stop()
    statistics = recorder.statistics()
    assert statistics.acknowledged + statistics.spilled == emitted + 1
    assert statistics.queued == 0


PREAMBLE = """
import os, resource, sys
from session_core.clock import SystemClock
from session_core.events import Event, Origin, UserActed
from session_core.store import EventStore, Recorder
def event(seq, action="clicked", stream_id="stream"):
    origin = Origin(stream_id=stream_id, session_id="session", user_id="user")
    return Event(seq, 1_700_000_000.0 + seq, float(seq), float(seq), origin, UserActed(action=action))
store = EventStore(sys.argv[1])
"""

FULL_DISK = """
def limit_files_to(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
recorder = Recorder(store, clock=SystemClock(), flush_s=0.01, queue_max=500, flush_events=50)
recorder.start()
limit_files_to(1 << 20)
seq = 0
while recorder.statistics().spilled == 0 or recorder.statistics().queued < 2_000:
    for _ in range(20):
        seq += 1
        recorder.emit(event(seq, "x" * 500))
    recorder.flush(0.02)
print(recorder.statistics().last_error)
limit_files_to(resource.RLIM_INFINITY)
print(recorder.flush(30.0))
recorder.stop()
statistics = recorder.statistics()
print(statistics.lost, statistics.spilled, statistics.queued, statistics.acknowledged == seq, statistics.last_error)
rows = store.read("SELECT count(*) AS n, count(DISTINCT seq) AS d FROM events").to_pylist()[0]
print(rows["n"] == rows["d"] == seq)
"""


def test_a_really_full_disk_loses_nothing(tmp_path: Path) -> None:
    """The store's file, then the spill file too can grow no further; with room again every event is there once."""
    path = tmp_path / "events.duckdb"
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.stdout.splitlines() == [
        f"The disk with the event store {path} is full; free some space and recording goes on by itself.",
        "True",
        "0 0 0 True None",
        "True",
    ], done.stderr


KILLED = """
from session_core.store import recorder as recording
queue_max, batch_max, crowd, recording.CHECKPOINT_BYTES = map(int, sys.argv[3:])
recorder = Recorder(store, clock=SystemClock(), flush_s=0.002, queue_max=queue_max, batch_max=batch_max)
recorder.start()
seq = 0
while True:
    for _ in range(crowd):
        seq += 1
        recorder.emit(event(seq, stream_id=sys.argv[2]))
    if recorder.flush(30.0):
        print(seq, flush=True)
"""


@pytest.mark.parametrize(
    ("queue_max", "batch_max", "crowd", "flushes_max", "checkpoint_bytes"),
    [
        (4, 40, 60, 40, CHECKPOINT_BYTES),
        (20_000, 40, 60, 40, CHECKPOINT_BYTES),
        (150, 1_000, 3_000, 8, CHECKPOINT_BYTES),
        (20_000, 20_000, 3_000, 8, CHECKPOINT_BYTES),
        (20_000, 20_000, 300, 40, 1_000),
    ],
    ids=["spilling", "calm", "crowded and spilling", "crowded", "checkpointing"],
)
def test_kill_9_loses_no_acknowledged_event(
    tmp_path: Path, queue_max: int, batch_max: int, crowd: int, flushes_max: int, checkpoint_bytes: int
) -> None:
    """Killed at random moments, calm or crowded, all that was acknowledged is there once, and once in the rollups."""
    path = tmp_path / "events.duckdb"
    moments, rounds = random.Random(queue_max + crowd), tries(4, in_ci=2)
    sizes = [str(size) for size in (queue_max, batch_max, crowd, checkpoint_bytes)]
    acknowledged: dict[str, int] = {}
    for number in range(rounds):
        stream_id = f"round-{number}"
        command = [sys.executable, "-c", PREAMBLE + KILLED, str(path), stream_id, *sizes]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
            assert writer.stdout is not None
            for _ in range(moments.randint(1, flushes_max)):
                acknowledged[stream_id] = int(writer.stdout.readline())
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(moments.uniform(0.0, 0.02))
            os.kill(writer.pid, signal.SIGKILL)
            for line in writer.stdout.read().splitlines(keepends=True):
                if line.endswith("\n"):
                    acknowledged[stream_id] = int(line)
    store = EventStore(path)
    recorder = recorder_of(store)
    recorder.start()
    assert recorder.flush(WAIT_S)
    recorder.stop()
    question = "SELECT stream_id, list(seq ORDER BY seq) AS seqs FROM events GROUP BY stream_id"
    found = {row["stream_id"]: row["seqs"] for row in store.read(question).to_pylist()}
    store.fold()
    counted = store.read("SELECT sum(n)::BIGINT AS n FROM counts_hours").to_pylist()
    store.close()
    assert counted == [{"n": sum(map(len, found.values()))}]
    assert len(acknowledged) == rounds
    for stream_id, last in acknowledged.items():
        assert found[stream_id][:last] == list(range(1, last + 1))
        assert len(set(found[stream_id])) == len(found[stream_id])
