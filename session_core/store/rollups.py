"""How events become rollups: folded some time after they came, merged where a key has several rows, kept as long as asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb
import msgspec

from session_core.bounds import require
from session_core.events import AnyFact, Event, Origin
from session_core.ux_inputs import MATTERING
from session_core.vocabulary import Source

_DIMENSIONS = "device, source, policy, app_version, run_id, scenario"
_UX_DIMENSIONS = f"session_id, user_id, {_DIMENSIONS}"

_SESSIONS = f"""
SELECT {{bucket}} AS bucket, {_UX_DIMENSIONS},
    sum(events), sum(requests), sum(visible_errors), sum(refreshes_ok), sum(refreshes_failed), sum(retries),
    sum(fallbacks), sum(sign_outs), sum(stuck), min(first_at), max(last_at),
    arg_max(state, state_at), max(state_at), arg_max(edge, edge_at), max(edge_at), arg_max(end_reason, edge_at),
    arg_max(band, band_at), arg_max(health, band_at), max(band_at)
FROM {{rows}} GROUP BY ALL
"""
_COUNTS = f"""
SELECT {{bucket}} AS bucket, {_DIMENSIONS}, kind, outcome, reason, error, step, served, route, call, cause, status, band, sum(n)
FROM {{rows}} GROUP BY ALL
"""
_VALUES = f"""
SELECT {{bucket}} AS bucket, {_DIMENSIONS}, route, measure, bin, sum(n) FROM {{rows}} GROUP BY ALL
"""
_UX = f"""
SELECT {{bucket}} AS bucket, {_UX_DIMENSIONS}, bool_or(used), sum(active_us), sum(forced_sign_ins), sum(surfaced_401s),
    sum(excused_ends), sum(requests), sum(auth_errors), sum(answers), sum(reuse_revocations), sum(uses_after_revocation)
FROM {{rows}} GROUP BY ALL
"""
_UX_VALUES = f"""
SELECT {{bucket}} AS bucket, {_UX_DIMENSIONS}, measure, bin, sum(n) FROM {{rows}} GROUP BY ALL HAVING sum(n) <> 0
"""
# Only minutes tell whose values theirs are.
_UX_VALUES_COARSE = _UX_VALUES.replace(_UX_DIMENSIONS, _DIMENSIONS)
_MERGED = {"sessions": _SESSIONS, "counts": _COUNTS, "values": _VALUES, "ux": _UX, "ux_values": _UX_VALUES}
_OF_EVENTS = {"sessions": "marks", "counts": "words", "values": "measures"}
_FRESH = ("ux_fresh", "ux_values_fresh")
GRAINS: Mapping[str, int] = {"minutes": 60, "hours": 3600, "quarters": 21_600}

# Hours have few words and bins already, however long the range.
ROLLUPS: Mapping[str, Sequence[str]] = {
    name: ("minutes", "hours") if name in ("counts", "values") else tuple(GRAINS) for name in _MERGED
}
TABLES = tuple(f"{name}_{grain}" for name, grains in ROLLUPS.items() for grain in grains)

Statement = tuple[str, Mapping[str, object]]


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many days each kind of row is kept. What a minute says is still said by its hour."""

    events_days: float = 90.0
    minutes_days: float = 30.0
    hours_days: float = 730.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            require(f"retention.{name}", getattr(self, name), 1, 36_500)


def fold(upto_flush: int) -> Iterator[Statement]:
    """What brings all flushes up to this one into the rollups, in one transaction."""
    given = {"upto": upto_flush}
    for name, (finest, *coarser) in ROLLUPS.items():
        # Of minutes there are far fewer than events, so the coarser are made of them.
        yield f"CREATE OR REPLACE TEMP TABLE folding AS FROM {name}_{finest} LIMIT 0", {}
        yield f"INSERT INTO folding {_unfolded(name, finest)}", given if name in _OF_EVENTS else {}
        yield f"INSERT INTO {name}_{finest} FROM folding", {}
        for grain in coarser:
            yield f"INSERT INTO {name}_{grain} {_merged(name, grain, 'folding')}", {}
    yield "DROP TABLE folding", {}
    yield "INSERT INTO troubles FROM labelled((SELECT unfolded()), $upto)", given
    for table in _FRESH:
        yield f"DELETE FROM {table}", {}
    yield "UPDATE folded SET flush = $upto", given


def merge_since(moment_us: int) -> Iterator[Statement]:
    """What leaves one row for each key from the bucket of this moment on, and from its hour at least; in one transaction."""
    for name, grains in ROLLUPS.items():
        for grain in grains:
            width_us = max(GRAINS[grain], GRAINS["hours"]) * 1_000_000
            given = {"since": moment_us // width_us * width_us}
            table = f"{name}_{grain}"
            kept = f"(FROM {table} WHERE bucket >= make_timestamptz(CAST($since AS BIGINT)))"
            yield f"CREATE OR REPLACE TEMP TABLE merged AS FROM {table} LIMIT 0", {}
            yield f"INSERT INTO merged {_merged(name, grain, kept)}", given
            yield f"DELETE FROM {table} WHERE bucket >= make_timestamptz(CAST($since AS BIGINT))", given
            yield f"INSERT INTO {table} FROM merged ORDER BY bucket", {}
    yield "DROP TABLE IF EXISTS merged", {}


def _unfolded(name: str, grain: str) -> str:
    """One row for each key, of what has yet to be folded."""
    if name in _OF_EVENTS:
        return _merged(name, grain, f"{_OF_EVENTS[name]}((SELECT unfolded()), $upto, {GRAINS[grain]})")
    return _merged(name, grain, f"{name}_fresh")


def _merged(name: str, grain: str, rows: str) -> str:
    """One row for each key of this grain, from rows of this one or a finer."""
    text = _UX_VALUES_COARSE if name == "ux_values" and grain != "minutes" else _MERGED[name]
    return text.format(bucket=f"bucket_of(bucket, {GRAINS[grain]})", rows=rows)


# A day is over once another has begun. A huge one stays as it came: sorting it would keep the writer waiting.
UNSORTED_DAY = """
SELECT epoch_us(day)
FROM (SELECT bucket_of(bucket, 86400) AS day, sum(events) AS events FROM sessions_quarters GROUP BY ALL)
WHERE day < (SELECT bucket_of(max(bucket), 86400) FROM sessions_quarters)
    AND day NOT IN (SELECT day FROM sorted_days) AND events <= $events_max
ORDER BY day
LIMIT 1
"""
_OF_DAY = """
happened_at >= make_timestamptz(CAST($day AS BIGINT)) AND happened_at < make_timestamptz(CAST($day AS BIGINT)) + INTERVAL 1 DAY
"""


def sort_day(day_us: int) -> Iterator[Statement]:
    """What lays the events of a day out session by session, in one transaction."""
    given = {"day": day_us}
    yield f"CREATE OR REPLACE TEMP TABLE of_day AS FROM events WHERE {_OF_DAY}", given
    yield f"DELETE FROM events WHERE {_OF_DAY}", given
    yield "INSERT INTO events FROM of_day ORDER BY session_key, happened_at, seq", {}
    yield "DROP TABLE of_day", {}
    yield "INSERT INTO sorted_days VALUES (make_timestamptz(CAST($day AS BIGINT)))", given


def forget_before(now_s: float, retention: Retention) -> Iterator[Statement]:
    """What drops the rows that are older than they are to be kept. Everything must have been folded before."""

    def before(days: float) -> Mapping[str, object]:
        quarter_s = GRAINS["quarters"]
        return {"before": int(now_s - days * 86_400) // quarter_s * quarter_s * 1_000_000}

    dropped = "< make_timestamptz(CAST($before AS BIGINT))"
    yield f"DELETE FROM events WHERE happened_at {dropped}", before(retention.events_days)
    yield f"DELETE FROM troubles WHERE happened_at {dropped}", before(retention.hours_days)
    for name, grains in ROLLUPS.items():
        for grain in grains:
            days = retention.minutes_days if grain == "minutes" else retention.hours_days
            yield f"DELETE FROM {name}_{grain} WHERE bucket {dropped}", before(days)


def forget_run(run_id: str) -> Iterator[Statement]:
    """What drops every trace of a simulated run; what was let in from elsewhere under its name is no trace of it."""
    given = {"run_id": run_id}
    yield "DELETE FROM runs WHERE run_id = $run_id", given
    for table in ("events", "troubles", *TABLES, *_FRESH):
        yield f"DELETE FROM {table} WHERE run_id = $run_id AND source <> 'import'", given


# As far back as there are both events to count anew and the minutes that say what was counted before.
HORIZON = """
SELECT coalesce(epoch_us(bucket_of(
    greatest((SELECT min(happened_at) FROM events), (SELECT min(bucket) FROM ux_minutes)), 21600)), -62135596800000000)
"""
_OF_SESSIONS = "session_id IN (SELECT unnest($names)) AND bucket >= make_timestamptz(CAST($horizon AS BIGINT))"


def forget_use(names: Sequence[str], horizon_us: int) -> Iterator[Statement]:
    """What drops these sessions' part of the score from the horizon on."""
    given = {"names": names, "horizon": horizon_us}
    yield "DELETE FROM ux_anew WHERE session_id IN (SELECT unnest($names))", {"names": names}
    for grain in ("hours", "quarters"):
        taken_back = _merged("ux_values", grain, f"(FROM ux_values_minutes WHERE {_OF_SESSIONS})")
        yield f"INSERT INTO ux_values_{grain} {taken_back.replace('sum(n)', '-sum(n)')}", given
    for table in (*_FRESH, *(f"ux_{grain}" for grain in GRAINS), "ux_values_minutes"):
        yield f"DELETE FROM {table} WHERE {_OF_SESSIONS}", given


_HAVE_ROWS = """
SELECT DISTINCT session_id
FROM (SELECT session_id FROM ux_fresh UNION ALL SELECT session_id FROM ux_quarters UNION ALL SELECT session_id FROM ux_anew)
WHERE session_id IN (SELECT unnest($names))
"""

# Within a stream the number is the order; streams lie beside each other by the latest moment that each has reached.
_IN_ORDER = """
SELECT session_id, stream_id, user_id, device, source, policy, app_version, run_id, scenario,
    seq, epoch_us(happened_at) AS moment, monotonic, boot, fact
FROM events
WHERE session_id IN (SELECT unnest($names)) AND kind IN (SELECT unnest($kinds))
ORDER BY session_id, max(happened_at) OVER (PARTITION BY session_id, stream_id ORDER BY seq), stream_id, seq
"""
_KINDS = sorted(kind.__name__ for kind in MATTERING)
_decode_fact = msgspec.json.Decoder(AnyFact).decode


def known_sessions(cursor: duckdb.DuckDBPyConnection, names: Sequence[str]) -> list[str]:
    """Those of these sessions of which there are events."""
    return [name for (name,) in cursor.execute(_HAVE_ROWS, {"names": names}).fetchall()]


def felt_events(cursor: duckdb.DuckDBPyConnection, names: Sequence[str]) -> Iterator[tuple[str, Iterator[Event]]]:
    """The events of these sessions that the score heeds, each session's in their order."""
    rows = cursor.execute(_IN_ORDER, {"names": names, "kinds": _KINDS}).fetchall()
    origins: dict[tuple[Any, ...], Origin] = {}
    for name, group in groupby(rows, key=itemgetter(0)):
        yield name, (event_of(row, origins) for row in group)


def event_of(row: tuple[Any, ...], origins: dict[tuple[Any, ...], Origin]) -> Event:
    """From its columns, the nine of its origin first; each origin is made once."""
    origin = origins.get(row[:9])
    if origin is None:
        session_id, stream_id, user_id, device, source, policy, app_version, run_id, scenario = row[:9]
        origin = origins[row[:9]] = Origin(
            stream_id=stream_id,
            session_id=session_id,
            user_id=user_id,
            device=device,
            source=Source(source),
            policy=policy,
            app_version=app_version,
            run_id=run_id,
            scenario=scenario,
        )
    seq, moment, monotonic, boot, fact = row[9:]
    return Event(seq, moment / 1e6, monotonic, boot, origin, _decode_fact(fact))
