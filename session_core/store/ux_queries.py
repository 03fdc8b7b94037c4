"""What the UX score is made of, from rollups: of a range, over time, or by a dimension; and from the events themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pandas as pd

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
    found = _figures(store, question, f"{{'value': {dimension}, 'bucket': {bucket}}}")
    rows = {(key["value"], key["bucket"]): figures for key, figures in found.items() if key["value"]}
    frame = _scored("key", rows)
    frame.insert(0, "value", [value for value, _ in frame["key"]])
    frame["key"] = pd.Series([bucket for _, bucket in frame["key"]], dtype="datetime64[us, UTC]")
    return frame.rename(columns={"key": "bucket"})


def _figures(store: EventStore, question: Asked, key: str) -> dict[Any, UxFigures]:
    """The figures by the value of an expression over the rollup's columns, in its order."""
    names = {"key": key, "grain": question.grain, "rows": question.rows}
    counts = store.read(_COUNTS.format(**names), question.given).to_pylist()
    values = store.read(_VALUES.format(**names), question.given).to_pylist()
    histograms: dict[Any, dict[str, dict[int, int]]] = {}
    for row in values:
        of_key = histograms.setdefault(_hashable(row["key"]), {})
        of_key.setdefault(row["measure"], {})[row["bin"]] = int(row["n"])
    return dict(_together(counts, histograms))


class _Key(dict[str, Any]):
    """A key of several columns."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


def _hashable(key: Any) -> Any:
    return _Key(key) if isinstance(key, dict) else key


def _together(
    counts: list[dict[str, Any]], histograms: Mapping[Any, Mapping[str, Mapping[int, int]]]
) -> Iterator[tuple[Any, UxFigures]]:
    for row in counts:
        key = _hashable(row.pop("key"))
        if row["sessions"] == 0 and not any(row.values()):
            continue
        felt = {name: Histogram.from_counts(bins) for name, bins in histograms.get(key, {}).items()}
        yield key, msgspec.convert({name: int(value) for name, value in row.items()} | felt, UxFigures)


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


_COUNTS = """
SELECT {key} AS "key",
    count(DISTINCT session_id) FILTER (used) AS sessions,
    count(DISTINCT session_id) FILTER (forced_sign_ins + surfaced_401s > 0) AS interrupted_sessions,
    count(DISTINCT user_id) FILTER (used) AS users,
    count(DISTINCT user_id) FILTER (forced_sign_ins + surfaced_401s > 0) AS interrupted_users,
    sum(active_us) AS active_us,
    sum(forced_sign_ins) AS forced_sign_ins,
    sum(surfaced_401s) AS surfaced_401s,
    sum(excused_ends) AS excused_ends,
    sum(requests) AS requests,
    sum(auth_errors) AS auth_errors,
    sum(answers) AS answers,
    sum(reuse_revocations) AS reuse_revocations,
    sum(uses_after_revocation) AS uses_after_revocation
FROM all_ux_{grain}
WHERE {rows}
GROUP BY ALL
ORDER BY ALL
"""

_VALUES = """
SELECT {key} AS "key", measure, bin, sum(n) AS n
FROM all_ux_values_{grain}
WHERE {rows}
GROUP BY ALL
HAVING sum(n) <> 0
"""
