"""One function per question. Each takes the store, a span of time and filters, and returns a DataFrame.

A DataFrame of an empty store has the same columns and no rows. Times are UTC; `bucket` is the start of a bucket, whose
width is `TimeRange.bucket_width_s`; buckets in which nothing happened are left out of counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
import pandas as pd

from session_core.store.event_store import EventStore
from session_core.store.selection import EVERYTHING, Filters, TimeRange
from session_core.vocabulary import Band, EndReason, State

# A session that says nothing for this long has died without saying so; its heartbeat comes every few minutes.
SILENCE_S_MAX = 24 * 3_600

# The ends a person did not ask for and no policy wanted.
INTERRUPTIONS = (
    EndReason.REFRESH_REJECTED,
    EndReason.REFRESH_TOKEN_EXPIRED,
    EndReason.REFRESH_AMBIGUOUS,
    EndReason.NO_REFRESH_TOKEN,
)


def sessions_by_state(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """How many sessions are in each state at the end of each bucket: bucket, state, sessions.

    The last state known is carried forward until the session ends, signs out or has been silent for a day.
    """
    return _ask(store, _SESSIONS_BY_STATE, span, filters, lookback_s=SILENCE_S_MAX, signed_out=State.SIGNED_OUT)


def sessions_by_band(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """How many running sessions are in each health band at the end of the range, best band first: band, sessions."""
    return _ask(store, _SESSIONS_BY_BAND, span, filters, lookback_s=SILENCE_S_MAX, bands=list(map(str, Band)))


def refreshes_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Refreshes by what became of them ("ok" or how they failed): bucket, outcome, refreshes."""
    return _ask(store, _REFRESHES, span, filters)


def retries_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Retries by kind of call and cause: bucket, call, cause, retries."""
    return _ask(store, _RETRIES, span, filters)


def fallbacks_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Steps of the fallback chain by outcome, skipped ones too: bucket, step, outcome, tries."""
    return _ask(store, _FALLBACKS, span, filters)


def errors_over_time(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """API calls that met an error by its class, answered from the cache or not: bucket, error, visible, errors.

    `visible` is False where the caller still got an answer.
    """
    return _ask(store, _ERRORS, span, filters)


def headline(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """The counts of the range beside those of the range before, one row per measure: measure, value, previous.

    sessions (with any event), refreshes_ok, refreshes_failed, retries, fallbacks (steps really tried), sign_outs,
    requests, visible_errors, and uninterrupted_percent (NaN without sessions): the share of sessions with neither a
    forced sign-in nor a visible authorization error.
    """
    wide = _ask(store, _HEADLINE, span, filters, interruptions=list(map(str, INTERRUPTIONS)))
    by_period = wide.set_index("period").astype("float64").T
    return by_period[["value", "previous"]].rename_axis("measure", axis=0).rename_axis(None, axis=1).reset_index()


def sign_outs_by_reason(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Ends of sessions by reason in the range and in the one before, most frequent first: reason, value, previous.

    A session that merely stopped being managed here has not signed out.
    """
    return _ask(store, _SIGN_OUTS, span, filters)


def newest_event_at(store: EventStore, filters: Filters = EVERYTHING) -> datetime | None:
    """When the newest event happened, of those that pass the filters; None in an empty store."""
    moment: datetime | None = store.read(_NEWEST, {"filters": _given(filters)}).column("newest")[0].as_py()
    return moment


def session_log(store: EventStore, session_id: str, *, lines_max: int = 200) -> pd.DataFrame:
    """The latest events of one session, newest first: happened_at, seq, kind, fact (a dict with its `kind`)."""
    parameters = {"session_id": session_id, "lines_max": lines_max}
    lines: pd.DataFrame = store.read(_SESSION_LOG, parameters).to_pandas()
    return lines.assign(fact=lines["fact"].map(msgspec.json.decode).astype("object"))


def session_health(store: EventStore, session_id: str, span: TimeRange) -> pd.DataFrame:
    """Each health check of one session: happened_at, health (0–100), band, lowest, state, left_s (of the token)."""
    return _ask(store, _SESSION_HEALTH, span, Filters(session_id=session_id))


def session_states(store: EventStore, session_id: str, span: TimeRange) -> pd.DataFrame:
    """The path of one session: started_at, ended_at, state, signal, seconds.

    A stretch is listed where it began inside the range; the last one ends with the session or with the range.
    """
    return _ask(store, _SESSION_STATES, span, Filters(session_id=session_id))


def runs(store: EventStore, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Simulated runs by scenario, policy and run_id, the newest first: the columns of the table `runs`.

    `failures` and `sign_out_reasons` are arrays of words, `ux_parts` is a dict.
    """
    found: pd.DataFrame = store.read(_RUNS, {"filters": _given(filters)}).to_pandas()
    return found.assign(ux_parts=found["ux_parts"].map(msgspec.json.decode).astype("object"))


def _given(filters: Filters) -> Mapping[str, str | None]:
    return {name: None if value is None else str(value) for name, value in msgspec.structs.asdict(filters).items()}


def _ask(store: EventStore, sql: str, span: TimeRange, filters: Filters, **more: object) -> pd.DataFrame:
    """Answer a question; it gets those of the common parameters that it mentions."""
    common = {
        "start": span.start_us,
        "end": span.end_us,
        "before": span.previous.start_us,
        "width": span.bucket_width_s,
        "filters": _given(filters),
    }
    asked = {name: value for name, value in common.items() if f"${name}" in sql}
    answer: pd.DataFrame = store.read(sql, asked | more).to_pandas()
    return answer


_SESSIONS_BY_STATE = """
WITH heard AS (
    SELECT session_id,
        bucket_of(greatest(happened_at, make_timestamptz($start)), $width) AS bucket,
        last(state ORDER BY happened_at, seq) FILTER (state IS NOT NULL) AS state,
        last(kind ORDER BY happened_at, seq) FILTER (kind IN ('SessionStarted', 'SessionEnded')) AS edge,
        max(happened_at) AS heard_at
    FROM chosen($start - CAST($lookback_s AS BIGINT) * 1000000, $end, $filters)
    GROUP BY ALL
), at_end_of_bucket AS (
    SELECT session_id, bucket, heard_at,
        last_value(state IGNORE NULLS) OVER history AS state,
        last_value(edge IGNORE NULLS) OVER history IS NOT DISTINCT FROM 'SessionEnded' AS ended
    FROM heard
    WINDOW history AS (PARTITION BY session_id ORDER BY bucket ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
), stretches AS (
    SELECT state, ended, bucket,
        least(
            coalesce(lead(bucket) OVER (PARTITION BY session_id ORDER BY bucket), make_timestamptz($end)),
            heard_at + to_seconds($lookback_s)
        ) AS until
    FROM at_end_of_bucket
)
SELECT b.bucket, state, count(*) AS sessions
FROM stretches, unnest(range(stretches.bucket, until, to_seconds($width))) AS b(bucket)
WHERE NOT ended AND state <> $signed_out
GROUP BY ALL
ORDER BY ALL
"""

_SESSIONS_BY_BAND = """
SELECT band, count(*) AS sessions
FROM (
    SELECT
        last(band ORDER BY happened_at, seq) FILTER (band IS NOT NULL) AS band,
        last(kind ORDER BY happened_at, seq) FILTER (kind IN ('SessionStarted', 'SessionEnded')) AS edge
    FROM chosen($end - CAST($lookback_s AS BIGINT) * 1000000, $end, $filters)
    GROUP BY session_id
)
WHERE band IS NOT NULL AND edge IS DISTINCT FROM 'SessionEnded'
GROUP BY band
ORDER BY list_position($bands, band)
"""

_REFRESHES = """
SELECT bucket_of(happened_at, $width) AS bucket, outcome, count(*) AS refreshes
FROM chosen($start, $end, $filters)
WHERE kind IN ('TokenRefreshed', 'RefreshFailed')
GROUP BY ALL
ORDER BY ALL
"""

_RETRIES = """
SELECT bucket_of(happened_at, $width) AS bucket, call, cause, count(*) AS retries
FROM chosen($start, $end, $filters)
WHERE kind = 'RetryScheduled'
GROUP BY ALL
ORDER BY ALL
"""

_FALLBACKS = """
SELECT bucket_of(happened_at, $width) AS bucket, step, outcome, count(*) AS tries
FROM chosen($start, $end, $filters)
WHERE kind = 'FallbackTried'
GROUP BY ALL
ORDER BY ALL
"""

_ERRORS = """
SELECT bucket_of(happened_at, $width) AS bucket, error, served IN ('network', 'nothing') AS visible, count(*) AS errors
FROM chosen($start, $end, $filters)
WHERE kind = 'RequestServed' AND error IS NOT NULL
GROUP BY ALL
ORDER BY ALL
"""

_HEADLINE = """
WITH facts AS (
    SELECT *,
        CASE WHEN happened_at >= make_timestamptz($start) THEN 'value' ELSE 'previous' END AS period,
        kind = 'RequestServed' AND error IS NOT NULL AND served IN ('network', 'nothing') AS visible
    FROM chosen($before, $end, $filters)
    WHERE user_id <> ''
), counted AS (
    SELECT period,
        count(DISTINCT session_id) AS sessions,
        count(*) FILTER (kind = 'TokenRefreshed') AS refreshes_ok,
        count(*) FILTER (kind = 'RefreshFailed') AS refreshes_failed,
        count(*) FILTER (kind = 'RetryScheduled') AS retries,
        count(*) FILTER (kind = 'FallbackTried' AND outcome IN ('ok', 'failed', 'later')) AS fallbacks,
        count(*) FILTER (kind = 'SessionEnded' AND reason <> 'stopped') AS sign_outs,
        count(*) FILTER (kind = 'RequestServed') AS requests,
        count(*) FILTER (visible) AS visible_errors,
        100 - 100 * count(DISTINCT session_id) FILTER (
            (visible AND error = 'auth')
            OR (kind IN ('SessionEnded', 'LoginRequested') AND list_contains($interruptions, reason))
        ) / count(DISTINCT session_id) AS uninterrupted_percent
    FROM facts
    GROUP BY period
)
SELECT period, coalesce(sessions, 0) AS sessions, coalesce(refreshes_ok, 0) AS refreshes_ok,
    coalesce(refreshes_failed, 0) AS refreshes_failed, coalesce(retries, 0) AS retries,
    coalesce(fallbacks, 0) AS fallbacks, coalesce(sign_outs, 0) AS sign_outs, coalesce(requests, 0) AS requests,
    coalesce(visible_errors, 0) AS visible_errors, uninterrupted_percent
FROM (VALUES ('value'), ('previous')) AS periods(period) LEFT JOIN counted USING (period)
"""

_SIGN_OUTS = """
SELECT reason,
    count(*) FILTER (happened_at >= make_timestamptz($start)) AS value,
    count(*) FILTER (happened_at < make_timestamptz($start)) AS previous
FROM chosen($before, $end, $filters)
WHERE kind = 'SessionEnded' AND reason <> 'stopped'
GROUP BY reason
ORDER BY value DESC, previous DESC, reason
"""

_NEWEST = """
SELECT max(happened_at) AS newest
FROM chosen(-9000000000000000, 9000000000000000, $filters)
"""

_SESSION_LOG = """
SELECT happened_at, seq, kind, fact
FROM events
WHERE session_id = $session_id
ORDER BY happened_at DESC, seq DESC
LIMIT $lines_max
"""

_SESSION_HEALTH = """
SELECT happened_at, health, band, fact ->> 'lowest' AS lowest, state, CAST(fact -> 'left_s' AS DOUBLE) AS left_s
FROM chosen($start, $end, $filters)
WHERE kind = 'HeartbeatBeat'
ORDER BY happened_at, seq
"""

_SESSION_STATES = """
SELECT happened_at AS started_at,
    coalesce(lead(happened_at) OVER history, make_timestamptz($end)) AS ended_at,
    state,
    signal,
    epoch_us(coalesce(lead(happened_at) OVER history, make_timestamptz($end))) / 1e6 - epoch_us(happened_at) / 1e6
        AS seconds
FROM (
    SELECT happened_at, seq, kind, state, fact ->> 'signal' AS signal
    FROM chosen($start, $end, $filters)
    WHERE kind IN ('StateChanged', 'SessionEnded')
)
WINDOW history AS (ORDER BY happened_at, seq)
QUALIFY kind = 'StateChanged'
ORDER BY happened_at, seq
"""

_RUNS = """
SELECT *
FROM runs
WHERE (struct_extract($filters, 'scenario') IS NULL OR scenario = struct_extract($filters, 'scenario'))
  AND (struct_extract($filters, 'policy') IS NULL OR policy = struct_extract($filters, 'policy'))
  AND (struct_extract($filters, 'run_id') IS NULL OR run_id = struct_extract($filters, 'run_id'))
ORDER BY finished_at DESC, scenario, policy, seed
"""
