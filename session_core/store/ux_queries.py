"""What the UX score is made of, from rollups: of a range, over time, or by a dimension; and from the events themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from session_core.histograms import Histogram
from session_core.store.asking import NOW, Asked, asked, asked_with_previous
from session_core.store.event_store import EventStore
from session_core.store.selection import EVERYTHING, Filters, TimeRange
from session_core.ux_score import CURVES, UxFigures, UxScore, score

DIMENSIONS = ("policy", "app_version", "device", "scenario", "source")
_BUCKET = "bucket_of(bucket, {width_s})"


def ux_figures(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> UxFigures:
    """All that the score of the range is made of."""
    return next(iter(_figures(store, asked(span, filters), "true").values()), UxFigures())


def ux_score(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> UxScore:
    return score(ux_figures(store, span, filters))


def ux_score_and_previous(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> tuple[UxScore, UxScore]:
    """That of the range and that of the one before."""
    found = _figures(store, asked_with_previous(span.aligned, filters), NOW)
    return score(found.get(True, UxFigures())), score(found.get(False, UxFigures()))


def ux_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """The score of each bucket in which somebody used a session.

    bucket, sessions, interrupted_sessions, score, interruption_free_percent, active_h, and the value (0–1) of each part:
    continuity, resume, errors, latency, freshness.
    """
    question = asked(span, filters)
    found = _figures(store, question, _BUCKET.format(width_s=question.width_s), users=False)
    return _scored("bucket", found).astype({"bucket": "datetime64[us, UTC]"})


def ux_by(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING, *, dimension: str) -> pd.DataFrame:
    """The score by policy, app_version, device, scenario or source, the most used first; columns as over time.

    `value` takes the place of `bucket`. What has no such value is left out.
    """
    assert dimension in DIMENSIONS, f"{dimension} is no dimension of the score"
    found = _figures(store, asked(span, filters), dimension, users=False)
    named = {value: figures for value, figures in found.items() if value}
    return _scored("value", named).sort_values("sessions", ascending=False, kind="stable", ignore_index=True)


def ux_over_time_by(
    store: EventStore, span: TimeRange, filters: Filters = EVERYTHING, *, dimension: str
) -> pd.DataFrame:
    """The score of each bucket for each value of the dimension: value, then as over time."""
    assert dimension in DIMENSIONS, f"{dimension} is no dimension of the score"
    question = asked(span, filters)
    bucket = _BUCKET.format(width_s=question.width_s)
    found = _figures(store, question, dimension, bucket, users=False)
    frame = _scored("key", {key: figures for key, figures in found.items() if key[0]})
    frame.insert(0, "value", [value for value, _ in frame["key"]])
    frame["key"] = pd.Series([bucket for _, bucket in frame["key"]], dtype="datetime64[us, UTC]")
    return frame.rename(columns={"key": "bucket"})


def _figures(store: EventStore, question: Asked, *keys: str, users: bool = True) -> dict[Any, UxFigures]:
    """The figures by the value of an expression over the rollup's columns, or of several, in their order.

    Telling users apart takes as long as the rest; without it there are none.
    """
    listed = ", ".join(f"{key} AS {name}" for name, key in zip(_KEYS, keys, strict=False))
    # Hours do not tell whose values theirs are.
    values_grain = "minutes" if question.one_by_one else question.grain
    named = ", ".join(_KEYS[: len(keys)])
    names = {
        "keys": listed,
        "named": named,
        "people": (_USERS if users else _SESSIONS).format(named=named),
        "grain": question.grain,
        "values_grain": values_grain,
        "rows": question.rows,
    }
    counted = _COUNTED if users else tuple(name for name in _COUNTED if name not in _OF_USERS)
    counts = store.read(_COUNTS.format(**names), question.given)
    values = store.read(_VALUES.format(**names), question.given)
    histograms: dict[Any, dict[str, Histogram]] = {}
    columns = (values.column(name).to_pylist() for name in ("measure", "bins", "ns"))
    for key, measure, bins, ns in zip(_of_keys(values, len(keys)), *columns, strict=True):
        histograms.setdefault(key, {})[measure] = Histogram(tuple(bins), tuple(ns))
    rows = zip(*(counts.column(name).to_pylist() for name in counted), strict=True)
    return {
        key: UxFigures(**dict(zip(counted, row, strict=True)), **histograms.get(key, {}))  # type: ignore[arg-type]
        for key, row in zip(_of_keys(counts, len(keys)), rows, strict=True)
        if any(row)
    }


def _of_keys(table: pa.Table, number: int) -> Iterator[Any]:
    """One key for each row: a value, or a tuple of several."""
    columns = [table.column(name).to_pylist() for name in _KEYS[:number]]
    return iter(columns[0]) if number == 1 else zip(*columns, strict=True)


def _scored(key: str, found: Mapping[Any, UxFigures]) -> pd.DataFrame:
    rows = [(value, *_row(figures)) for value, figures in found.items()]
    columns = zip(*rows, strict=True) if rows else [()] * (1 + len(_COLUMNS))
    return pd.DataFrame(dict(zip((key, *_COLUMNS), map(list, columns), strict=True)))


def _row(figures: UxFigures) -> tuple[float, ...]:
    """Only numbers outlive a score: thousands of objects that lived as long as the answer would be searched for garbage."""
    scored = score(figures)
    parts = (scored.parts[name].value for name in CURVES)
    felt = (scored.score, _percent(scored), figures.active_s / 3_600)
    return (figures.sessions, figures.interrupted_sessions, *felt, *parts)


def _percent(scored: UxScore) -> float:
    share = scored.interruption_free_sessions.share
    return float("nan") if share is None else 100.0 * share


_COLUMNS = ("sessions", "interrupted_sessions", "score", "interruption_free_percent", "active_h", *CURVES)
_KEYS = ("first_key", "second_key")
_OF_USERS = ("users", "interrupted_users")
_COUNTED = tuple(
    name for name in UxFigures.__struct_fields__ if name not in ("lost_inputs", "resume_ms", "waited_ms", "stale_ttls")
)

_USERS = """
    SELECT {named},
        CAST(sum(sessions) AS BIGINT) AS sessions,
        CAST(sum(interrupted_sessions) AS BIGINT) AS interrupted_sessions,
        count(*) FILTER (sessions > 0) AS users,
        count(*) FILTER (interrupted_sessions > 0) AS interrupted_users
    FROM (
        SELECT {named}, user_id,
            count(*) FILTER (used) AS sessions,
            count(*) FILTER (interrupted) AS interrupted_sessions
        FROM of_sessions
        GROUP BY {named}, user_id
    )
    GROUP BY {named}
"""

_SESSIONS = """
    SELECT {named}, count(*) FILTER (used) AS sessions, count(*) FILTER (interrupted) AS interrupted_sessions
    FROM of_sessions
    GROUP BY {named}
"""

# Counting distinct names beside sums would keep a set of names for each sum's group; grouping twice does not.
_COUNTS = """
WITH of_sessions AS (
    SELECT {keys}, session_id, any_value(user_id) AS user_id, bool_or(used) AS used,
        bool_or(forced_sign_ins + surfaced_401s > 0) AS interrupted
    FROM all_ux_{grain}
    WHERE {rows}
    GROUP BY {named}, session_id
), people AS ({people}), sums AS (
    SELECT {keys},
        CAST(sum(active_us) AS BIGINT) AS active_us,
        CAST(sum(forced_sign_ins) AS BIGINT) AS forced_sign_ins,
        CAST(sum(surfaced_401s) AS BIGINT) AS surfaced_401s,
        CAST(sum(excused_ends) AS BIGINT) AS excused_ends,
        CAST(sum(requests) AS BIGINT) AS requests,
        CAST(sum(auth_errors) AS BIGINT) AS auth_errors,
        CAST(sum(answers) AS BIGINT) AS answers,
        CAST(sum(reuse_revocations) AS BIGINT) AS reuse_revocations,
        CAST(sum(uses_after_revocation) AS BIGINT) AS uses_after_revocation
    FROM all_ux_{grain}
    WHERE {rows}
    GROUP BY {named}
)
SELECT * FROM people JOIN sums USING ({named}) ORDER BY {named}
"""

_VALUES = """
SELECT * EXCLUDE (bin, n), list(bin ORDER BY bin) AS bins, list(n ORDER BY bin) AS ns
FROM (
    SELECT {keys}, measure, bin, CAST(sum(n) AS BIGINT) AS n
    FROM all_ux_values_{values_grain}
    WHERE {rows}
    GROUP BY ALL
    HAVING sum(n) <> 0
)
GROUP BY ALL
"""
