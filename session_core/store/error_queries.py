"""Questions about what fails: how often, of how many, by what, and whether anybody noticed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from session_core.histograms import Histogram
from session_core.store.asking import asked
from session_core.store.event_store import EventStore
from session_core.store.selection import EVERYTHING, Filters, TimeRange
from session_core.ux_score import wilson

BREAKDOWNS = ("route", "policy", "device", "app_version", "source", "scenario")
VALUES = ("request_ms", "waited_ms", "refresh_ms", "left_s", "attempts", "age_s", "fallback_ms")
_SHARES = {"p50": 0.50, "p75": 0.75, "p95": 0.95, "p99": 0.99}


def errors_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """API calls that met an error by its class, answered from the cache or not.

    bucket, error, visible (False where the caller still got an answer), errors, requests (all of that bucket),
    percent (of them).
    """
    return _ask(store, _ERRORS, span, filters)


def error_rates_by(
    store: EventStore, span: TimeRange, filters: Filters = EVERYTHING, *, dimension: str
) -> pd.DataFrame:
    """Visible errors of API calls by route, policy, device, app_version, source or scenario, the highest rate first.

    value, requests, errors, auth_errors, percent, and its bounds at 95 %: low_percent, high_percent.
    """
    assert dimension in BREAKDOWNS, f"{dimension} is none of {', '.join(BREAKDOWNS)}"
    found = _ask(store, _ERRORS_BY, span, filters, dimension=dimension)
    rates = [wilson(int(errors), int(total)) for errors, total in zip(found["errors"], found["requests"], strict=True)]
    return found.assign(
        percent=pd.Series([100 * (rate.share or 0.0) for rate in rates], dtype="float64"),
        low_percent=pd.Series([100 * rate.low for rate in rates], dtype="float64"),
        high_percent=pd.Series([100 * rate.high for rate in rates], dtype="float64"),
    ).sort_values(["percent", "requests"], ascending=False, kind="stable", ignore_index=True)


def error_kinds(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Each kind of trouble in the range, the most frequent first.

    kind, what (error, cause, reason or outcome), where (route, call or step), visible, times, per_1000_requests,
    users, sessions, first_at, last_at, example_session.
    """
    return _ask(store, _KINDS, span, filters, time="happened_at")


def refresh_flow(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """What became of refreshes, as a flow whose widths are counts: source, target, label, n.

    From "Refresh" to "Refreshed" and, labelled by outcome, to "Failed"; from "Failed" to "Retried" and, labelled by
    step, to "Fallback"; from there to "Recovered", "Later" and "Failed step"; and from "Sessions" to "Signed out",
    labelled by reason, for what no refresh could prevent.
    """
    return _ask(store, _FLOW, span, filters)


def values_of(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Percentiles of what is measured, at most 1.1 % off: measure, n, p50, p75, p95, p99.

    request_ms, waited_ms (what session_core added), refresh_ms, left_s (of the old token at a refresh, 0 where it had
    expired), attempts (per refresh), age_s (of answers from the cache), fallback_ms.
    """
    rows = _ask(store, _VALUES, span, filters)
    columns: dict[str, list[Any]] = {"measure": [], "n": [], **{name: [] for name in _SHARES}}
    for measure in VALUES:
        of_measure = rows[rows["measure"] == measure]
        histogram = Histogram.from_counts(dict(zip(of_measure["bin"], of_measure["n"], strict=True)))
        if not histogram.total:
            continue
        columns["measure"].append(measure)
        columns["n"].append(histogram.total)
        for name, share in _SHARES.items():
            columns[name].append(histogram.quantile(share))
    return pd.DataFrame(columns)


def percentiles_over_time(
    store: EventStore, span: TimeRange, filters: Filters = EVERYTHING, *, measure: str
) -> pd.DataFrame:
    """Percentiles of one measure for each bucket: bucket, n, p50, p75, p95, p99."""
    assert measure in VALUES, f"{measure} is none of {', '.join(VALUES)}"
    rows = _ask(store, _VALUES_OVER_TIME, span, filters, given={"measure": measure})
    columns: dict[str, list[Any]] = {"bucket": [], "n": [], **{name: [] for name in _SHARES}}
    for bucket, of_bucket in rows.groupby("bucket"):
        histogram = Histogram.from_counts(dict(zip(of_bucket["bin"], of_bucket["n"], strict=True)))
        columns["bucket"].append(bucket)
        columns["n"].append(histogram.total)
        for name, share in _SHARES.items():
            columns[name].append(histogram.quantile(share))
    return pd.DataFrame(columns).astype({"bucket": "datetime64[us, UTC]"})


def fallback_steps(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """What each step of the fallback chain came to: step, outcome, tries."""
    return _ask(store, _STEPS, span, filters)


def _ask(
    store: EventStore,
    sql: str,
    span: TimeRange,
    filters: Filters,
    *,
    time: str = "bucket",
    dimension: str = "",
    given: dict[str, object] | None = None,
) -> pd.DataFrame:
    question = asked(span, filters, time=time)
    counted = asked(span, filters)
    text = sql.format(**question.names, dimension=dimension, rows_of_buckets=counted.rows)
    answer: pd.DataFrame = store.read(text, {**question.given, **(given or {})}).to_pandas()
    return answer


_ERRORS = """
WITH calls AS (
    SELECT bucket_of(bucket, {width_s}) AS bucket, error, served IN ('network', 'nothing') AS visible, sum(n) AS n
    FROM {counts}
    WHERE {rows} AND kind = 'RequestServed'
    GROUP BY ALL
), totals AS (
    SELECT bucket, sum(n) AS requests FROM calls GROUP BY bucket
)
SELECT bucket, error, visible, CAST(n AS BIGINT) AS errors, CAST(requests AS BIGINT) AS requests,
    100.0 * n / requests AS percent
FROM calls JOIN totals USING (bucket)
WHERE error IS NOT NULL
ORDER BY bucket, error, visible
"""

_ERRORS_BY = """
SELECT {dimension} AS value,
    CAST(sum(n) AS BIGINT) AS requests,
    CAST(coalesce(sum(n) FILTER (error IS NOT NULL AND served IN ('network', 'nothing')), 0) AS BIGINT) AS errors,
    CAST(coalesce(sum(n) FILTER (error = 'auth' AND served IN ('network', 'nothing')), 0) AS BIGINT) AS auth_errors
FROM {counts}
WHERE {rows} AND kind = 'RequestServed' AND {dimension} <> ''
GROUP BY ALL
ORDER BY ALL
"""

_KINDS = """
WITH found AS (
    SELECT label, count(*) AS times, count(DISTINCT user_id) AS users, count(DISTINCT session_id) AS sessions,
        min(happened_at) AS first_at, max(happened_at) AS last_at, arg_max(session_id, happened_at) AS example_session
    FROM all_troubles
    WHERE {rows} AND user_id <> '' AND label IS NOT NULL
    GROUP BY label
), calls AS (
    SELECT sum(requests) AS requests FROM all_sessions_{grain} WHERE {rows_of_buckets}
)
SELECT label ->> 0 AS kind, label ->> 1 AS what, label ->> 2 AS "where", CAST(label ->> 3 AS BOOLEAN) AS visible, times,
    1000.0 * times / nullif(requests, 0) AS per_1000_requests, users, sessions, first_at, last_at, example_session
FROM found, calls
ORDER BY times DESC, kind, what, "where"
"""

_FLOW = """
WITH counted AS (
    SELECT kind, outcome, step, reason, cause, call, sum(n) AS n
    FROM {counts}
    WHERE {rows} AND kind IN ('TokenRefreshed', 'RefreshFailed', 'RetryScheduled', 'FallbackTried', 'SessionEnded')
    GROUP BY ALL
), tried AS (
    SELECT step, outcome, n FROM counted WHERE kind = 'FallbackTried' AND outcome IN ('ok', 'failed', 'later')
), flows(origin, target, label, n) AS (
    SELECT 'Refresh', 'Refreshed', '', n FROM counted WHERE kind = 'TokenRefreshed'
    UNION ALL SELECT 'Refresh', 'Failed', outcome, n FROM counted WHERE kind = 'RefreshFailed'
    UNION ALL SELECT 'Failed', 'Retried', cause, n FROM counted WHERE kind = 'RetryScheduled' AND call = 'token'
    UNION ALL SELECT 'Failed', 'Fallback', step, n FROM tried
    UNION ALL SELECT 'Fallback', CASE outcome WHEN 'ok' THEN 'Recovered' WHEN 'later' THEN 'Later' ELSE 'Failed step' END,
        step, n FROM tried
    UNION ALL SELECT 'Sessions', 'Signed out', reason, n FROM counted WHERE kind = 'SessionEnded' AND reason <> 'stopped'
)
SELECT origin AS source, target, label, CAST(sum(n) AS BIGINT) AS n
FROM flows
GROUP BY origin, target, label
ORDER BY list_position(['Refresh', 'Failed', 'Fallback', 'Sessions'], origin), sum(n) DESC, target, label
"""

_VALUES = """
SELECT measure, bin, CAST(sum(n) AS BIGINT) AS n
FROM {values}
WHERE {rows}
GROUP BY ALL
"""

_VALUES_OVER_TIME = """
SELECT bucket_of(bucket, {width_s}) AS bucket, bin, CAST(sum(n) AS BIGINT) AS n
FROM {values}
WHERE {rows} AND measure = $measure
GROUP BY ALL
ORDER BY ALL
"""

_STEPS = """
SELECT step, outcome, CAST(sum(n) AS BIGINT) AS tries
FROM {counts}
WHERE {rows} AND kind = 'FallbackTried'
GROUP BY ALL
ORDER BY ALL
"""
