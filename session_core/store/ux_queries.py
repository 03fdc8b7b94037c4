"""What the UX score is made of, from rollups: of a range, over time, or by a dimension; and from the events themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from session_core.histograms import Histogram
from session_core.store.asking import Asked, asked
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


def ux_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """The score of each bucket in which somebody used a session.

    bucket, sessions, interrupted_sessions, score, interruption_free_percent, active_h, and the value (0–1) of each part:
    continuity, resume, errors, latency, freshness.
    """
    question = asked(span, filters)
    found = _figures(store, question, _BUCKET.format(width_s=question.width_s))
    return _scored("bucket", found).astype({"bucket": "datetime64[us, UTC]"})


def ux_by(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING, *, dimension: str) -> pd.DataFrame:
    """The score by policy, app_version, device, scenario or source, the most used first; columns as over time.

    `value` takes the place of `bucket`. What has no such value is left out.
    """
    assert dimension in DIMENSIONS, f"{dimension} is no dimension of the score"
    found = _figures(store, asked(span, filters), dimension)
    named = {value: figures for value, figures in found.items() if value}
    return _scored("value", named).sort_values("sessions", ascending=False, kind="stable", ignore_index=True)


def ux_over_time_by(
    store: EventStore, span: TimeRange, filters: Filters = EVERYTHING, *, dimension: str
) -> pd.DataFrame:
    """The score of each bucket for each value of the dimension: value, then as over time."""
    assert dimension in DIMENSIONS, f"{dimension} is no dimension of the score"
    question = asked(span, filters)
    bucket = _BUCKET.format(width_s=question.width_s)
    found = _figures(store, question, dimension, bucket)
    frame = _scored("key", {key: figures for key, figures in found.items() if key[0]})
    frame.insert(0, "value", [value for value, _ in frame["key"]])
    frame["key"] = pd.Series([bucket for _, bucket in frame["key"]], dtype="datetime64[us, UTC]")
    return frame.rename(columns={"key": "bucket"})


def _figures(store: EventStore, question: Asked, *keys: str) -> dict[Any, UxFigures]:
    """The figures by the value of an expression over the rollup's columns, or of several, in their order."""
    listed = ", ".join(f'{key} AS "{name}"' for name, key in zip(_KEYS, keys, strict=False))
    # Hours do not tell whose values theirs are.
    values_grain = "minutes" if question.one_by_one else question.grain
    names = {"keys": listed, "grain": question.grain, "values_grain": values_grain, "rows": question.rows}
    counts = store.read(_COUNTS.format(**names), question.given)
    values = store.read(_VALUES.format(**names), question.given)
    histograms: dict[Any, dict[str, Histogram]] = {}
    columns = (values.column(name).to_pylist() for name in ("measure", "bins", "ns"))
    for key, measure, bins, ns in zip(_of_keys(values, len(keys)), *columns, strict=True):
        histograms.setdefault(key, {})[measure] = Histogram(tuple(zip(bins, ns, strict=True)))
    figures = zip(*(counts.column(name).to_pylist() for name in _COUNTED), strict=True)
    return {
        key: UxFigures(**dict(zip(_COUNTED, counted, strict=True)), **histograms.get(key, {}))  # type: ignore[arg-type]
        for key, counted in zip(_of_keys(counts, len(keys)), figures, strict=True)
        if any(counted)
    }


def _of_keys(table: pa.Table, number: int) -> Iterator[Any]:
    """One key for each row: a value, or a tuple of several."""
    columns = [table.column(name).to_pylist() for name in _KEYS[:number]]
    return iter(columns[0]) if number == 1 else zip(*columns, strict=True)


def _scored(key: str, found: Mapping[Any, UxFigures]) -> pd.DataFrame:
    rows = [(value, figures, score(figures)) for value, figures in found.items()]
    columns: dict[str, list[Any]] = {
        key: [value for value, _, _ in rows],
        "sessions": [figures.sessions for _, figures, _ in rows],
        "interrupted_sessions": [figures.interrupted_sessions for _, figures, _ in rows],
        "score": [scored.score for _, _, scored in rows],
        "interruption_free_percent": [_percent(scored) for _, _, scored in rows],
        "active_h": [figures.active_s / 3_600 for _, figures, _ in rows],
    }
    parts = {name: [scored.parts[name].value for _, _, scored in rows] for name in CURVES}
    return pd.DataFrame(columns | parts)


def _percent(scored: UxScore) -> float:
    share = scored.interruption_free_sessions.share
    return float("nan") if share is None else 100.0 * share


_KEYS = ("key", "second_key")
_COUNTED = tuple(
    name for name in UxFigures.__struct_fields__ if name not in ("lost_inputs", "resume_ms", "waited_ms", "stale_ttls")
)

_COUNTS = """
SELECT {keys},
    count(DISTINCT session_id) FILTER (used) AS sessions,
    count(DISTINCT session_id) FILTER (forced_sign_ins + surfaced_401s > 0) AS interrupted_sessions,
    count(DISTINCT user_id) FILTER (used) AS users,
    count(DISTINCT user_id) FILTER (forced_sign_ins + surfaced_401s > 0) AS interrupted_users,
    CAST(coalesce(sum(active_us), 0) AS BIGINT) AS active_us,
    CAST(coalesce(sum(forced_sign_ins), 0) AS BIGINT) AS forced_sign_ins,
    CAST(coalesce(sum(surfaced_401s), 0) AS BIGINT) AS surfaced_401s,
    CAST(coalesce(sum(excused_ends), 0) AS BIGINT) AS excused_ends,
    CAST(coalesce(sum(requests), 0) AS BIGINT) AS requests,
    CAST(coalesce(sum(auth_errors), 0) AS BIGINT) AS auth_errors,
    CAST(coalesce(sum(answers), 0) AS BIGINT) AS answers,
    CAST(coalesce(sum(reuse_revocations), 0) AS BIGINT) AS reuse_revocations,
    CAST(coalesce(sum(uses_after_revocation), 0) AS BIGINT) AS uses_after_revocation
FROM all_ux_{grain}
WHERE {rows}
GROUP BY ALL
ORDER BY ALL
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
