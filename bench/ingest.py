"""Events through `Recorder.emit()` until they are committed: a steady stream, then bursts beside a plain Arrow insert."""

from __future__ import annotations

import argparse
import gc
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from bench._crowd import Crowd, Step
from session_core import SystemClock
from session_core.events import Event
from session_core.store import EventStore, Recorder
from session_core.store.columns import to_table

P99_MS_BAR = 250.0
RATIO_BAR = 0.5
PRODUCERS = 4
TICK_S = 0.005
PROBE_S = 0.25
BATCH = 20_000
WAIT_S = 600.0

NEWEST = "SELECT max(monotonic) FROM events WHERE happened_at > now() - INTERVAL 10 SECOND"
THERE = "SELECT count(*) AS n, count(DISTINCT (stream_id, seq)) AS d FROM events"


class WatchedStore(EventStore):
    """Notes how long each event took from its making to its commit."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.waited_s: list[np.ndarray[Any, Any]] = []

    def append(self, events: Sequence[Event], *, hurry: bool = False) -> None:
        super().append(events, hurry=hurry)
        self._note(events)

    def append_once(self, events: Sequence[Event]) -> int:
        added = super().append_once(events)
        self._note(events)
        return added

    def _note(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        self.waited_s.append(now - np.array([event.monotonic for event in events]))


@contextmanager
def recording() -> Iterator[tuple[WatchedStore, Recorder]]:
    with tempfile.TemporaryDirectory() as folder:
        store = WatchedStore(Path(folder) / "events.duckdb")
        recorder = Recorder(store, clock=SystemClock())
        recorder.start()
        yield store, recorder
        recorder.stop()
        store.close()


def in_threads(work: Callable[[Sequence[Step]], None], steps: Sequence[Step]) -> None:
    """Each thread has sessions of its own."""
    threads = [threading.Thread(target=work, args=(steps[first::PRODUCERS],)) for first in range(PRODUCERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def stream(steps: Sequence[Step], *, rate: float, seconds: float) -> None:
    """One thread's share of the rate, in turns of a few milliseconds."""
    turns = cycle(steps)
    share = rate / PRODUCERS
    began, done = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * share)
        for step in islice(turns, due - done):
            step()
        done = due
        time.sleep(TICK_S)


def probe(store: EventStore, stopped: threading.Event, behind_s: list[float]) -> None:
    """How old the newest event is that a query sees."""
    while not stopped.wait(PROBE_S):
        asked = time.monotonic()
        newest = store.read(NEWEST).column(0)[0].as_py()
        if newest is not None:
            behind_s.append(asked - newest)


def percentiles_ms(waited_s: np.ndarray[Any, Any]) -> dict[str, float]:
    p50, p99, longest = np.percentile(waited_s, [50, 99, 100])
    return {name: round(float(value) * 1e3, 1) for name, value in {"p50": p50, "p99": p99, "max": longest}.items()}


def steady(rate: float, seconds: float, sessions: int) -> dict[str, Any]:
    """What became of a stream of events that lasts."""
    with recording() as (store, recorder):
        crowd = Crowd(recorder.emit, sessions=sessions, name="steady")
        recorder.flush(WAIT_S)
        before = recorder.statistics()
        store.waited_s.clear()
        stopped, behind_s = threading.Event(), list[float]()
        watcher = threading.Thread(target=probe, args=(store, stopped, behind_s))
        watcher.start()
        began, began_cpu = time.monotonic(), time.process_time()
        in_threads(lambda steps: stream(steps, rate=rate, seconds=seconds), crowd.steps)
        spent_s, spent_cpu_s = time.monotonic() - began, time.process_time() - began_cpu
        stopped.set()
        watcher.join()
        recorder.flush(WAIT_S)
        after, log_bytes = recorder.statistics(), store.statistics().log_bytes
        there = store.read(THERE).to_pylist()[0]
        events = after.acknowledged - before.acknowledged
        return {
            "events": events,
            "events_per_s": round(events / spent_s),
            "waited_ms": percentiles_ms(np.concatenate(store.waited_s)),
            "seen_by_a_query_ms": percentiles_ms(np.array(behind_s)) if behind_s else None,
            "flushes": after.flushes - before.flushes,
            "cpu_us_per_event": round(spent_cpu_s / events * 1e6, 2),
            "log_mb_at_the_end": log_bytes >> 20,
            "lost": after.lost,
            "all_there_once": there["n"] == there["d"] == after.acknowledged,
        }


def burst(store: WatchedStore, recorder: Recorder, crowd: Crowd, turns: int) -> tuple[float, list[tuple[Any, ...]]]:
    """All at once: events a second until all of them are committed, and the same as tuples."""

    def at_once(steps: Sequence[Step]) -> None:
        for _ in range(turns):
            for step in steps:
                step()

    began = time.monotonic()
    in_threads(at_once, crowd.steps)
    done = recorder.flush(WAIT_S)
    spent_s = time.monotonic() - began
    columns = ", ".join(to_table([]).column_names).replace("happened_at", "epoch_us(happened_at)")
    table = store.read(f"SELECT {columns} FROM events WHERE monotonic >= $began", {"began": began})
    if not done or table.num_rows != turns * len(crowd.steps):
        raise SystemExit(f"Of {turns * len(crowd.steps)} events {table.num_rows} are there: {recorder.statistics()}")
    return table.num_rows / spent_s, list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def plain(rows: Sequence[tuple[Any, ...]]) -> float:
    """The same tuples a second without anything around them: Arrow columns, one insert and one commit a batch."""
    schema = to_table([]).schema
    schema = schema.set(schema.get_field_index("happened_at"), pa.field("happened_at", pa.int64()))
    with tempfile.TemporaryDirectory() as folder:
        connection = duckdb.connect(Path(folder) / "plain.duckdb", config={"checkpoint_threshold": "1TB"})
        batch = schema.empty_table()
        connection.register("batch", batch)
        connection.execute("CREATE TABLE plain AS FROM batch")
        began = time.monotonic()
        for first in range(0, len(rows), BATCH):
            columns = zip(*rows[first : first + BATCH], strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            connection.register("batch", pa.table(arrays, schema=schema))
            connection.execute("INSERT INTO plain FROM batch")
        spent_s = time.monotonic() - began
        connection.close()
    return len(rows) / spent_s


def bursts(events: int, rounds: int, sessions: int) -> dict[str, Any]:
    """Bursts and the plain insert by turns; medians."""
    found: list[tuple[float, float]] = []
    with recording() as (store, recorder):
        crowd = Crowd(recorder.emit, sessions=sessions, name="burst")
        recorder.flush(WAIT_S)
        for _ in range(rounds):
            ours, rows = burst(store, recorder, crowd, max(1, events // sessions))
            found.append((ours, plain(rows)))
        statistics = recorder.statistics()
    return {
        "events": len(rows),
        "events_per_s": round(median(ours for ours, _ in found)),
        "plain_per_s": round(median(theirs for _, theirs in found)),
        "ratio": round(median(ours / theirs for ours, theirs in found), 2),
        "lost": statistics.lost,
    }


def costs(turns: int = 100) -> dict[str, float]:
    """CPU microseconds of one event, part by part and one part after another."""
    events: list[Event] = []
    crowd = Crowd(events.append, sessions=1_000, name="costs")
    made = cpu_us(lambda: [step() for step in crowd.steps * turns])
    begun, batches = events[:1_000], [events[first : first + BATCH] for first in range(1_000, len(events), BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        store = EventStore(Path(folder) / "events.duckdb")
        idle = Recorder(store, clock=SystemClock(), queue_max=len(events))
        store.append(begun)
        parts: dict[str, Callable[[], object]] = {
            "emit": lambda: [idle.emit(event) for event in events],
            "columns": lambda: [to_table(batch) for batch in batches],
            "columns and commit": lambda: [store.append(batch, hurry=True) for batch in batches],
            "score and rollups": lambda: store.maintain(idle=False),
            "merging": store.fold,
            "checkpoint": store.checkpoint,
        }
        spent = {"making": made} | {name: cpu_us(part) for name, part in parts.items()}
        store.close()
    return {name: round(value / turns / len(crowd.steps), 2) for name, value in spent.items()}


def cpu_us(part: Callable[[], object]) -> float:
    gc.collect()
    began = time.process_time()
    part()
    return (time.process_time() - began) * 1e6


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench ingest", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the steady stream lasts")
    parser.add_argument("--rate", type=float, default=50_000, help="events a second of the steady stream")
    parser.add_argument("--burst", type=int, default=200_000, help="events of one burst")
    parser.add_argument("--rounds", type=int, default=3, help="bursts, each with a plain insert after it")
    parser.add_argument("--sessions", type=int, default=2_000, help="sessions that the events are of")
    options = parser.parse_args(arguments)
    spent = costs()
    lasting = steady(options.rate, options.seconds, options.sessions)
    crowded = bursts(options.burst, options.rounds, options.sessions)
    return {
        "name": "ingest",
        "value": lasting["waited_ms"]["p99"],
        "unit": f"ms from emit to commit (p99) at {options.rate:,.0f} events a second for {options.seconds:g} s",
        "peers": {"a plain Arrow insert of the same tuples, events a second": crowded["plain_per_s"]},
        "ratio": crowded["ratio"],
        "sessions": options.sessions,
        "steady": lasting,
        "burst": crowded,
        "cpu_us_per_event": spent,
        "bar": {"p99_ms": P99_MS_BAR, "ratio": RATIO_BAR},
        "ok": lasting["waited_ms"]["p99"] < P99_MS_BAR
        and lasting["events_per_s"] > 0.99 * options.rate
        and lasting["all_there_once"]
        and not lasting["lost"] + crowded["lost"]
        and crowded["ratio"] >= RATIO_BAR,
    }
