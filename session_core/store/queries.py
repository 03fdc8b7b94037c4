"""One function per question. Each takes the store, a span of time and filters, and returns a DataFrame.

A DataFrame of an empty store has the same columns and no rows. Times are UTC; `bucket` is the start of a bucket, whose
width is `TimeRange.bucket_width_s`; buckets in which nothing happened are left out of counts. A span is read in whole
buckets (`TimeRange.aligned`). More questions: ux_queries (scores), error_queries, session_queries (single sessions).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pandas as pd

from session_core.store.asking import NOW, asked, asked_with_previous, chosen, moment
from session_core.store.event_store import EventStore
from session_core.store.selection import EVERYTHING, Filters, TimeRange
from session_core.store.ux_queries import ux_score_and_previous
from session_core.ux_score import UxScore
from session_core.vocabulary import Band, State

# A session that says nothing for this long has died without saying so; its heartbeat comes every few minutes.
SILENCE_S_MAX = 24 * 3_600


def sessions_by_state(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """How many sessions are in each state at the end of each bucket: bucket, state, sessions.

    The last state known is carried forward until the session ends, signs out or has been silent for a day.
    """
    span = span.aligned
    given = {
        "signed_out": State.SIGNED_OUT,
        "until": moment(span.end_s),
        "lookback_s": SILENCE_S_MAX,
    }
    return _ask(
        store,
        _SESSIONS_BY_STATE,
        _with_lookback(span),
        filters,
        span.bucket_width_s,
        **given,
        shown_from=moment(span.start_s),
    )


def sessions_by_band(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """How many running sessions are in each health band at the end of the range, best band first.

    band, sessions, and health: the mean of the scores last seen in that band.
    """
    span = span.aligned
    return _ask(store, _SESSIONS_BY_BAND, _with_lookback(span), filters, bands=list(map(str, Band)))


def refreshes_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Refreshes by what became of them ("ok" or how they failed): bucket, outcome, refreshes."""
    return _ask(store, _REFRESHES, span, filters)


def retries_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Retries by kind of call and cause: bucket, call, cause, retries."""
    return _ask(store, _RETRIES, span, filters)


def fallbacks_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Steps of the fallback chain by outcome, skipped ones too: bucket, step, outcome, tries."""
    return _ask(store, _FALLBACKS, span, filters)


def headline(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """The range beside the one before, one row per measure: measure, value, previous.

    sessions (with any event), refreshes_ok, refreshes_failed, retries, fallbacks (steps really tried), sign_outs,
    requests, visible_errors; then from what people felt, NaN where nobody used a session: ux_score,
    interruption_free_percent and _users_percent, error_budget_left_percent, used_sessions, active_h.
    """
    question = asked_with_previous(span.aligned, filters)
    counted = store.read(_HEADLINE.format(now=NOW, **question.names), question.given).to_pandas().set_index("now")
    scored = ux_score_and_previous(store, span, filters)
    columns = {
        name: counted.reindex([now]).fillna(0).iloc[0].astype("float64").to_dict() | _felt(of)
        for name, now, of in zip(("value", "previous"), (True, False), scored, strict=True)
    }
    return pd.DataFrame(columns, dtype="float64").rename_axis("measure").reset_index()


def _felt(scored: UxScore) -> dict[str, float]:
    used = scored.sessions > 0
    free, users = scored.interruption_free_sessions.share, scored.interruption_free_users.share
    return {
        "ux_score": scored.score if used else float("nan"),
        "interruption_free_percent": float("nan") if free is None else 100 * free,
        "interruption_free_users_percent": float("nan") if users is None else 100 * users,
        "error_budget_left_percent": 100 * scored.error_budget_left if used else float("nan"),
        "used_sessions": float(scored.sessions),
        "active_h": scored.parts["continuity"].samples,
    }


def sign_outs_by_reason(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Ends of sessions by reason in the range and in the one before, most frequent first: reason, value, previous.

    A session that merely stopped being managed here has not signed out.
    """
    question = asked_with_previous(span.aligned, filters)
    answer: pd.DataFrame = store.read(_SIGN_OUTS.format(**question.names), question.given).to_pandas()
    return answer


def newest_event_at(store: EventStore, filters: Filters = EVERYTHING) -> datetime | None:
    """When the newest event happened, of those that pass the filters; None in an empty store."""
    rows, given = chosen(filters)
    newest: datetime | None = store.read(_NEWEST.format(rows=rows), given).column("newest")[0].as_py()
    return newest


def releases(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """When each version of the app was first seen, of those first seen in the range: happened_at, app_version."""
    span = span.aligned
    rows, given = chosen(msgspec.structs.replace(filters, app_version=None))
    edges = {"start": moment(span.start_s), "end": moment(span.end_s)}
    answer: pd.DataFrame = store.read(_RELEASES.format(rows=rows), {**given, **edges}).to_pandas()
    return answer


def incidents(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """When the provider was made to misbehave, or an outage was replayed: happened_at, ended_at (or NaT), label.

    They concern everybody, so of the filters only that by source counts.
    """
    span = span.aligned
    rows, given = chosen(Filters(source=filters.source))
    edges = {"start": moment(span.start_s), "end": moment(span.end_s)}
    answer: pd.DataFrame = store.read(_INCIDENTS.format(rows=rows), {**given, **edges}).to_pandas()
    return answer


def runs(store: EventStore, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Simulated runs by scenario, policy and run_id, the newest first: the columns of the table `runs`.

    `failures` and `sign_out_reasons` are arrays of words, `ux_parts` is a dict.
    """
    rows, given = chosen(Filters(scenario=filters.scenario, policy=filters.policy, run_id=filters.run_id))
    found: pd.DataFrame = store.read(_RUNS.format(rows=rows), given).to_pandas()
    return found.assign(ux_parts=found["ux_parts"].map(msgspec.json.decode).astype("object"))


def _with_lookback(span: TimeRange) -> TimeRange:
    """Far enough back to find the last word of every session that is not given up."""
    return TimeRange(span.start_s - SILENCE_S_MAX, span.end_s)


def _ask(
    store: EventStore, sql: str, span: TimeRange, filters: Filters, width_s: int | None = None, **more: Any
) -> pd.DataFrame:
    """Answer a question about whole buckets, as wide as the span has them or as told."""
    question = asked(span, filters, width_s=width_s)
    text = sql.format(**question.names)
    answer: pd.DataFrame = store.read(text, {**question.given, **more}).to_pandas()
    return answer


_SESSIONS_BY_STATE = """
WITH heard AS (
    SELECT session_id,
        greatest(bucket_of(bucket, {width_s}), $shown_from) AS since,
        arg_max(state, state_at) AS state,
        arg_max(edge, edge_at) AS edge,
        max(last_at) AS heard_at
    FROM all_sessions_{grain}
    WHERE {rows}
    GROUP BY ALL
), stretches AS (
    SELECT since,
        last_value(state IGNORE NULLS) OVER history AS state,
        last_value(edge IGNORE NULLS) OVER history IS NOT DISTINCT FROM 'SessionEnded' AS ended,
        least(coalesce(lead(since) OVER history, $until), heard_at + to_seconds($lookback_s)) AS until
    FROM heard
    WINDOW history AS (PARTITION BY session_id ORDER BY since ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
), changes AS (
    SELECT since AS bucket, state, 1 AS step FROM stretches WHERE NOT ended AND state <> $signed_out AND until > since
    UNION ALL
    SELECT CASE WHEN bucket_of(until, {width_s}) < until THEN bucket_of(until, {width_s}) + to_seconds({width_s})
            ELSE until END, state, -1
    FROM stretches WHERE NOT ended AND state <> $signed_out AND until > since
), steps AS (
    SELECT bucket, state, sum(step) AS step FROM changes GROUP BY ALL
), levels AS (
    SELECT bucket, state, sum(step) OVER path AS sessions, lead(bucket, 1, $until) OVER path AS until
    FROM steps
    WINDOW path AS (PARTITION BY state ORDER BY bucket)
)
SELECT b.bucket, state, CAST(sessions AS BIGINT) AS sessions
FROM levels, unnest(range(levels.bucket, least(until, $until), to_seconds({width_s}))) AS b(bucket)
WHERE sessions > 0
ORDER BY ALL
"""

_SESSIONS_BY_BAND = """
SELECT band, count(*) AS sessions, avg(health) AS health
FROM (
    SELECT arg_max(band, band_at) AS band, arg_max(health, band_at) AS health, arg_max(edge, edge_at) AS edge
    FROM all_sessions_{grain}
    WHERE {rows}
    GROUP BY session_id
)
WHERE band IS NOT NULL AND edge IS DISTINCT FROM 'SessionEnded'
GROUP BY band
ORDER BY list_position($bands, band)
"""

_REFRESHES = """
SELECT bucket_of(bucket, {width_s}) AS bucket, outcome, CAST(sum(n) AS BIGINT) AS refreshes
FROM {counts}
WHERE {rows} AND kind IN ('TokenRefreshed', 'RefreshFailed')
GROUP BY ALL
ORDER BY ALL
"""

_RETRIES = """
SELECT bucket_of(bucket, {width_s}) AS bucket, call, cause, CAST(sum(n) AS BIGINT) AS retries
FROM {counts}
WHERE {rows} AND kind = 'RetryScheduled'
GROUP BY ALL
ORDER BY ALL
"""

_FALLBACKS = """
SELECT bucket_of(bucket, {width_s}) AS bucket, step, outcome, CAST(sum(n) AS BIGINT) AS tries
FROM {counts}
WHERE {rows} AND kind = 'FallbackTried'
GROUP BY ALL
ORDER BY ALL
"""

_HEADLINE = """
SELECT {now} AS now,
    count(DISTINCT session_id) AS sessions,
    sum(refreshes_ok) AS refreshes_ok,
    sum(refreshes_failed) AS refreshes_failed,
    sum(retries) AS retries,
    sum(fallbacks) AS fallbacks,
    sum(sign_outs) AS sign_outs,
    sum(requests) AS requests,
    sum(visible_errors) AS visible_errors
FROM all_sessions_{grain}
WHERE {rows} AND user_id <> ''
GROUP BY ALL
"""

_SIGN_OUTS = """
SELECT reason,
    CAST(coalesce(sum(n) FILTER (bucket >= $middle), 0) AS BIGINT) AS value,
    CAST(coalesce(sum(n) FILTER (bucket < $middle), 0) AS BIGINT) AS previous
FROM {counts}
WHERE {rows} AND kind = 'SessionEnded' AND reason <> 'stopped'
GROUP BY reason
ORDER BY value DESC, previous DESC, reason
"""

_NEWEST = "SELECT max(last_at) AS newest FROM all_sessions_quarters WHERE {rows}"

_RELEASES = """
SELECT min(first_at) AS happened_at, app_version
FROM all_sessions_quarters
WHERE {rows} AND app_version <> ''
GROUP BY app_version
HAVING min(first_at) >= $start AND min(first_at) < $end
ORDER BY ALL
"""

_INCIDENTS = """
WITH told AS (
    SELECT happened_at, kind, error AS label
    FROM all_troubles
    WHERE kind IN ('FaultOrdered', 'FaultEnded') AND {rows} AND happened_at >= $start AND happened_at < $end
)
SELECT began.happened_at, min(ended.happened_at) AS ended_at, began.label
FROM told AS began LEFT JOIN told AS ended
    ON ended.kind = 'FaultEnded' AND ended.label = began.label AND ended.happened_at > began.happened_at
WHERE began.kind = 'FaultOrdered'
GROUP BY began.happened_at, began.label
ORDER BY began.happened_at, began.label
"""

_RUNS = """
SELECT *
FROM runs
WHERE {rows}
ORDER BY finished_at DESC, scenario, policy, seed
"""
