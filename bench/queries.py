"""Every question a page asks, on 10 million events: p95 beside the limit, and the raw aggregate that it replaces."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench._big_store import BEGAN_S, ENDS_S, fill
from session_core.store import EventStore, Filters, TimeRange, error_queries, queries, session_queries, ux_queries
from session_core.store.query_filters import filter_values

BAR_MS, ONE_SESSION_BAR_MS = 100.0, 20.0
PERCENT_OFF_MAX = 3.0
DAY_S = 86_400.0
MONTH = TimeRange(float(BEGAN_S), float(ENDS_S))
SPANS = {
    "30 d": MONTH,
    "7 d": TimeRange(ENDS_S - 8 * DAY_S, ENDS_S - DAY_S),
    "24 h": TimeRange(ENDS_S - 3 * DAY_S, ENDS_S - 2 * DAY_S),
    "1 h": TimeRange(ENDS_S - 2 * DAY_S, ENDS_S - 2 * DAY_S + 3_600),
}
PROFESSIONAL = Filters(policy="professional")

Ask = Callable[[EventStore, TimeRange], Any]


class Question(NamedTuple):
    """`raw` is what would answer it from the events alone."""

    ask: Ask
    raw: str = ""


_WHEN = "happened_at >= make_timestamptz({start}) AND happened_at < make_timestamptz({end})"

QUESTIONS: dict[str, Question] = {
    "headline": Question(
        queries.headline,
        "SELECT count(DISTINCT session_id), count(DISTINCT user_id), count(*) FILTER (kind = 'RequestServed') FROM events WHERE {when}",
    ),
    "sessions_by_state": Question(
        queries.sessions_by_state,
        "SELECT session_id, time_bucket(INTERVAL 6 HOUR, happened_at), last(state ORDER BY happened_at) FROM events WHERE {when} AND state IS NOT NULL GROUP BY ALL",
    ),
    "sessions_by_band": Question(queries.sessions_by_band),
    "refreshes": Question(queries.refreshes_over_time),
    "retries": Question(queries.retries_over_time),
    "fallbacks": Question(queries.fallbacks_over_time),
    "sign_outs": Question(queries.sign_outs_by_reason),
    "releases": Question(queries.releases),
    "incidents": Question(queries.incidents),
    "filter_values": Question(filter_values),
    "newest_event": Question(lambda store, _span: queries.newest_event_at(store)),
    "ux_over_time": Question(ux_queries.ux_over_time),
    "ux_over_time, filtered": Question(lambda store, span: ux_queries.ux_over_time(store, span, PROFESSIONAL)),
    "ux_by policy": Question(lambda store, span: ux_queries.ux_by(store, span, dimension="policy")),
    "ux_over_time_by device": Question(lambda store, span: ux_queries.ux_over_time_by(store, span, dimension="device")),
    "errors_over_time": Question(
        error_queries.errors_over_time,
        "SELECT time_bucket(INTERVAL 6 HOUR, happened_at), error, count(*) FROM events WHERE {when} AND kind = 'RequestServed' GROUP BY ALL",
    ),
    "error_rates_by route": Question(lambda store, span: error_queries.error_rates_by(store, span, dimension="route")),
    "error_kinds": Question(
        error_queries.error_kinds,
        "SELECT kind, error, count(*), count(DISTINCT user_id), min(happened_at) FROM events WHERE {when} AND (error IS NOT NULL OR reason IS NOT NULL) GROUP BY ALL",
    ),
    "refresh_flow": Question(error_queries.refresh_flow),
    "values": Question(
        error_queries.values_of,
        "SELECT quantile_cont(duration_ms, [0.5, 0.75, 0.95, 0.99]) FROM events WHERE {when} AND kind = 'RequestServed'",
    ),
    "percentiles_over_time": Question(
        lambda store, span: error_queries.percentiles_over_time(store, span, measure="request_ms")
    ),
    "sessions": Question(
        session_queries.sessions,
        "SELECT session_id, min(happened_at), max(happened_at), count(*) FROM events WHERE {when} GROUP BY ALL ORDER BY ALL LIMIT 500",
    ),
    "sessions, searched": Question(
        lambda store, span: session_queries.sessions(store, span, search="0042", only="interrupted")
    ),
}


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench queries", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--store", type=Path, help="keep the filled store here, and use it again")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = given.store or Path(folder) / "events.duckdb"
        store = EventStore(path) if path.exists() else fill(path, given.events)
        try:
            return _measured(store, given.rounds)
        finally:
            store.close()


def _measured(store: EventStore, rounds: int) -> dict[str, Any]:
    events = store.read("SELECT count(*) AS n FROM events").column("n")[0].as_py()
    print(f"{events:,} events; milliseconds, p50 and p95 of {rounds}")
    print(f"{'question':<26}" + "".join(f"{name:>16}" for name in SPANS) + f"{'raw, 30 d':>14}")
    slowest: dict[str, float] = {}
    for name, question in QUESTIONS.items():
        shown, worst = "", 0.0
        for span in SPANS.values():
            p50, p95 = _timed(lambda ask=question.ask, span=span: ask(store, span), rounds)
            shown, worst = shown + f"{p50:8.1f}{p95:8.1f}", max(worst, p95)
        raw = _raw(store, question.raw, rounds)
        print(f"{name:<26}{shown}{raw:>14}")
        slowest[name] = round(worst, 1)
    drill = _drill_down(store, rounds)
    print(f"{'one session':<26}{drill[0]:8.1f}{drill[1]:8.1f}")
    off = _percent_off(store)
    print(f"percentiles off by {off:.2f} % at most; limit {PERCENT_OFF_MAX} %")
    over = sorted(name for name, p95 in slowest.items() if p95 >= BAR_MS)
    raw = {name: _raw(store, question.raw, rounds) for name, question in QUESTIONS.items() if question.raw}
    return {
        "name": "queries",
        "value": max(slowest.values()),
        "unit": "ms, p95 of the slowest question",
        "peers": {f"{name}, from the events": f"{ms} ms" for name, ms in raw.items()},
        "ratio": round(max(slowest.values()) / BAR_MS, 2),
        "bar": BAR_MS,
        "ok": not over and drill[1] < ONE_SESSION_BAR_MS and off < PERCENT_OFF_MAX,
        "events": events,
        "p95_ms": slowest,
        "over_limit": over,
        "one_session_p95_ms": round(drill[1], 1),
        "percentiles_off_percent": round(off, 2),
    }


def _timed(ask: Callable[[], object], rounds: int) -> tuple[float, float]:
    """p50 and p95, in milliseconds; the first time is not counted."""
    ask()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began) * 1e3)
    taken.sort()
    return taken[len(taken) // 2], taken[max(0, -(-len(taken) * 95 // 100) - 1)]


def _raw(store: EventStore, sql: str, rounds: int) -> str:
    if not sql:
        return ""
    text = sql.format(when=_WHEN.format(start=MONTH.start_us, end=MONTH.end_us))
    return f"{_timed(lambda: store.read(text), min(rounds, 5))[0]:.0f}"


def _drill_down(store: EventStore, rounds: int) -> tuple[float, float]:
    """Another session each time, from all over the month."""
    found = store.read(
        "SELECT DISTINCT session_id FROM sessions_hours ORDER BY hash(session_id) LIMIT $n", {"n": rounds}
    )
    names = iter(found.column("session_id").to_pylist() * 2)
    return _timed(lambda: session_queries.session_events(store, next(names)), rounds)


def _percent_off(store: EventStore) -> float:
    """How far the histogram's percentiles are from exact ones, at worst."""
    sql = "SELECT quantile_disc(duration_ms, [0.5, 0.75, 0.95, 0.99]) AS q FROM events WHERE kind = 'RequestServed'"
    exact = store.read(sql).column("q")[0].as_py()
    row = error_queries.values_of(store, MONTH).set_index("measure").loc["request_ms"]
    return max(
        abs(float(row[name]) / truth - 1) * 100 for name, truth in zip(("p50", "p75", "p95", "p99"), exact, strict=True)
    )
