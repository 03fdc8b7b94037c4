"""What is counted later counts the same: written in a hurry, in the middle of folding, before a crash or a failed commit."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_rollups import DAY, DAY_S, NOON, logs, ordered
from test_ux_score import served
from tries import tries

from session_core.errors import EventStoreError
from session_core.events import Event, Origin
from session_core.store import EventStore, TimeRange, rollups, upkeep, ux_ledger
from session_core.store.ux_queries import ux_figures
from session_core.ux_inputs import observe

WAIT_S = 20.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "events.duckdb")
    yield store
    store.close()


def calls(number: int, *, sessions: int = 3) -> list[Event]:
    """One call after another, of several sessions by turns."""
    origins = [
        Origin(stream_id=f"t{place}", session_id=f"s{place}", user_id=f"user of s{place}") for place in range(sessions)
    ]
    return [
        Event(1 + turn // sessions, NOON + turn, float(turn), float(turn), origins[turn % sessions], served())
        for turn in range(number)
    ]


def crash(store: EventStore) -> EventStore:
    """The store as the next process finds it: everything committed, nothing else."""
    store._database._drop()
    return EventStore(store.path)


def count_of(store: EventStore, what: str) -> int:
    number: int = store.read(f"SELECT count(*) AS n FROM {what}").column("n")[0].as_py()
    return number


@given(events=logs(), rng=st.randoms(use_true_random=False))
@settings(max_examples=tries(25, in_ci=10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_in_a_hurry_counts_the_same(events: list[Event], rng: random.Random) -> None:
    """To the last digit, whatever comes between: calm flushes, maintenance, a closing, a crash."""
    with TemporaryDirectory() as folder:
        store = EventStore(Path(folder) / "events.duckdb")
        waiting = sorted(events, key=lambda event: event.happened_at)
        while waiting:
            batch = [waiting.pop(0) for _ in range(min(len(waiting), rng.randint(1, 8)))]
            store.append(batch, hurry=rng.random() < 0.6)
            match rng.randint(0, 6):
                case 0:
                    store.maintain()
                case 1:
                    store.fold()
                case 2:
                    store.close()
                    store = EventStore(store.path)
                case 3:
                    store = crash(store)
        while store.maintain():
            pass
        assert ux_figures(store, DAY) == observe(ordered(events)).figures
        store.close()


def test_a_hurry_leaves_only_the_score_for_later(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are there at once; what they add to the score, and to that of calm ones after them, with `maintain`."""
    monkeypatch.setattr(upkeep, "OWED_EVENTS", 6)
    events = calls(9)
    store.append(events[:3])
    store.append(events[3:6], hurry=True)
    store.append(events[6:])
    assert count_of(store, "events") == 9
    assert ux_figures(store, DAY) == observe(events[:3]).figures
    assert store.maintain(idle=False)
    assert ux_figures(store, DAY) == observe(events).figures
    assert not store.maintain(idle=False)
    assert count_of(store, "owed") == 0


def test_while_events_pour_they_are_counted_many_at_a_time(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """For it costs nearly as much for a few; when it is calm the rest is counted."""
    monkeypatch.setattr(upkeep, "OWED_EVENTS", 6)
    events = calls(15)
    store.append(events, hurry=True)
    assert [store.maintain(idle=False) for _ in range(3)] == [True, True, False]
    assert ux_figures(store, DAY) == observe(events[:12]).figures
    assert store.maintain()
    assert ux_figures(store, DAY) == observe(events).figures


def test_while_events_pour_counting_gives_way(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes does not wait until all is counted; when it is calm nobody has to be let by."""
    ways: list[int] = []
    monkeypatch.setattr(ux_ledger, "GIVE_WAY_EVENTS", 3)
    monkeypatch.setattr(upkeep, "OWED_EVENTS", 6)
    monkeypatch.setattr(store._upkeep, "_give_way", lambda: ways.append(len(ways)))
    store.append(calls(15), hurry=True)
    assert store.maintain()
    assert ways == []
    store.append(calls(30)[15:], hurry=True)
    assert store.maintain(idle=False)
    assert ways


def test_events_are_committed_while_a_checkpoint_runs(store: EventStore) -> None:
    """Only what does more than add rows waits for its end."""
    added, altered = threading.Event(), threading.Event()

    def write() -> None:
        store.append(calls(3), hurry=True)
        added.set()
        store.write([("DELETE FROM events", {})])
        altered.set()

    writer = threading.Thread(target=write, daemon=True)
    with store._upkeep.checkpointing():
        writer.start()
        assert added.wait(WAIT_S)
        assert count_of(store, "events") == 3
        assert not altered.is_set()
    assert altered.wait(WAIT_S)
    assert count_of(store, "events") == 0


def test_closing_counts_what_was_left_for_later(store: EventStore) -> None:
    """The next opening has nothing to make up for."""
    events = calls(6)
    store.append(events, hurry=True)
    store.close()
    reopened = EventStore(store.path)
    assert count_of(reopened, "owed") == count_of(reopened, "ux_anew") == 0
    assert ux_figures(reopened, DAY) == observe(events).figures
    reopened.close()


def test_more_than_memory_should_hold_is_counted_from_the_store(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd that does not end costs no memory without end."""
    monkeypatch.setattr(upkeep, "OWED_EVENTS_MAX", 10)
    events = calls(30)
    store.append(events[:3])
    store.append(events[3:], hurry=True)
    assert store.maintain(idle=False)
    assert len(store._upkeep._owed) == 0
    while store.maintain(idle=False):
        pass
    assert ux_figures(store, DAY) == observe(events).figures


class FailingCommit:
    """A cursor whose commit fails, before or after the deed."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, *, done: bool) -> None:
        self._cursor = cursor
        self._done = done

    def __getattr__(self, name: str) -> object:
        return getattr(self._cursor, name)

    def commit(self) -> None:
        if self._done:
            self._cursor.commit()
        raise duckdb.IOException("Could not write file: No space left on device")


def fail_next_commit(store: EventStore, monkeypatch: pytest.MonkeyPatch, *, done: bool) -> None:
    real = store._database.cursor

    @contextmanager
    def failing() -> Iterator[FailingCommit]:
        monkeypatch.setattr(store._database, "cursor", real)
        with real() as cursor:
            yield FailingCommit(cursor, done=done)

    monkeypatch.setattr(store._database, "cursor", failing)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("hurry", [False, True])
def test_a_commit_that_fails_leaves_no_count_wrong(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, *, done: bool, hurry: bool
) -> None:
    """Whether it took place or not, the events are written once and count once."""
    events = calls(12)
    store.append(events[:3], hurry=hurry)
    fail_next_commit(store, monkeypatch, done=done)
    with pytest.raises(EventStoreError):
        store.append(events[3:6], hurry=hurry)
    assert store.append_once(events[3:6]) == (0 if done else 3)
    store.append(events[6:], hurry=hurry)
    while store.maintain(idle=False):
        pass
    assert count_of(store, "events") == 12
    assert ux_figures(store, DAY) == observe(events).figures


@pytest.mark.parametrize("done", [False, True])
def test_counting_later_may_fail_too(store: EventStore, monkeypatch: pytest.MonkeyPatch, *, done: bool) -> None:
    """It is then counted from the store."""
    events = calls(9)
    store.append(events[:3])
    store.append(events[3:], hurry=True)
    fail_next_commit(store, monkeypatch, done=done)
    with pytest.raises(EventStoreError):
        store.maintain()
    while store.maintain():
        pass
    assert ux_figures(store, DAY) == observe(events).figures


def test_a_commit_that_fails_meanwhile_is_not_forgotten(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events may be in the store; that the queue is empty does not mean that all is counted."""
    events = calls(12)
    store.append(events[:6], hurry=True)
    count = store._upkeep._count

    def count_and_meet(cursor: duckdb.DuckDBPyConnection, counted: Sequence[Event], *args: Any) -> None:
        count(cursor, counted, *args)
        monkeypatch.setattr(store._upkeep, "_count", count)
        fail_next_commit(store, monkeypatch, done=True)
        with pytest.raises(EventStoreError):
            store.append(events[6:], hurry=True)

    monkeypatch.setattr(store._upkeep, "_count", count_and_meet)
    assert store.maintain()
    while store.maintain(idle=False):
        pass
    assert ux_figures(store, DAY) == observe(events).figures


@pytest.mark.parametrize("work", ["fold", "merge_since", "sort_day"])
def test_events_do_not_wait_for_upkeep(store: EventStore, monkeypatch: pytest.MonkeyPatch, work: str) -> None:
    """They are committed in the middle of it, and nothing is missing afterwards."""
    events = [
        msgspec.structs.replace(each, happened_at=each.happened_at + DAY_S * (each.seq % 2)) for each in calls(60)
    ]
    for start in (0, 10, 20):
        store.append(events[start : start + 10])
        store._upkeep._fold()
    real = getattr(rollups, work)
    committed: list[bool] = []

    def with_events(*given: Any) -> Iterator[rollups.Statement]:
        writer = threading.Thread(target=store.append, args=(events[30:],))
        writer.start()
        writer.join(WAIT_S)
        committed.append(not writer.is_alive())
        monkeypatch.setattr(rollups, work, real)
        yield from real(*given)

    monkeypatch.setattr(rollups, work, with_events)
    store.fold()
    assert committed == [True]
    store.fold()
    assert count_of(store, "events") == 60
    assert store.read("SELECT sum(events)::BIGINT AS n FROM sessions_hours").to_pylist() == [{"n": 60}]
    assert ux_figures(store, TimeRange(NOON - DAY_S, NOON + 2 * DAY_S)) == observe(ordered(events)).figures


def test_folding_and_counting_go_on_while_events_come(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads, one that writes and one that keeps up: afterwards nothing is missing and nothing is there twice."""
    monkeypatch.setattr(upkeep, "FOLD_EVENTS", 50)
    monkeypatch.setattr(upkeep, "OWED_EVENTS", 40)
    events = calls(3_000, sessions=7)
    failed: list[BaseException] = []
    done = threading.Event()

    def keep_up() -> None:
        try:
            while not done.is_set():
                store.maintain(idle=False)
                store.checkpoint()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failed.append(error)

    keeper = threading.Thread(target=keep_up)
    keeper.start()
    batches: Sequence[Sequence[Event]] = [events[start : start + 25] for start in range(0, len(events), 25)]
    for number, batch in enumerate(batches):
        store.append(batch, hurry=number % 3 > 0)
    done.set()
    keeper.join()
    assert not failed
    store.fold()
    assert ux_figures(store, DAY) == observe(events).figures
    assert store.read("SELECT sum(events)::BIGINT AS n FROM sessions_hours").to_pylist() == [{"n": len(events)}]
    assert store.read("SELECT sum(n)::BIGINT AS n FROM counts_minutes").to_pylist() == [{"n": len(events)}]
