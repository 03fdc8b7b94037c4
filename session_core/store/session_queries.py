"""Questions about single sessions: finding them, and what happened to one."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa

from session_core.events import Event, Origin
from session_core.store.asking import asked
from session_core.store.event_store import EventStore
from session_core.store.rollups import event_of
from session_core.store.selection import EVERYTHING, Filters, TimeRange

SESSIONS_MAX = 500
EVENTS_MAX = 20_000


def sessions(
    store: EventStore,
    span: TimeRange,
    filters: Filters = EVERYTHING,
    *,
    search: str = "",
    only: str = "all",
    rows_max: int = SESSIONS_MAX,
) -> pd.DataFrame:
    """The sessions of the range, the worst first and then the latest, `rows_max` at most.

    session_id, user_id, device, source, policy, app_version, scenario, run_id, first_at, last_at, events, requests,
    interruptions (avoidable ones), visible_errors, refreshes_ok, refreshes_failed, retries, sign_outs, state, band,
    end_reason, and found: how many there are altogether. `search` is part of a session's, user's or device's name;
    `only` is all, interrupted, errors or ended.
    """
    assert only in _ONLY, f"{only} is none of {', '.join(_ONLY)}"
    question = asked(span, filters)
    searched, given = (_SEARCHED, {"search": search}) if search else ("true", {})
    text = _SESSIONS.format(grain=question.grain, rows=question.rows, only=_ONLY[only], searched=searched)
    answer: pd.DataFrame = store.read(text, {**question.given, **given, "rows_max": rows_max}).to_pandas()
    return answer


def session_events(store: EventStore, session_id: str, *, events_max: int = EVENTS_MAX) -> list[Event]:
    """The latest events of one session, in the order in which they happened."""
    # Putting them in order takes SQL several times as long as finding them.
    found = store.read(_EVENTS, {"session_id": session_id})
    if found.num_rows > events_max:
        found = store.read(_LATEST_EVENTS, {"session_id": session_id, "events_max": events_max})
    return _in_order(_told(found))


def run_events(store: EventStore, run_id: str) -> list[Event]:
    """Every event of one simulated run, by boot second."""
    return _told(store.read(_RUN_EVENTS, {"run_id": run_id}))


def session_log(store: EventStore, session_id: str, *, lines_max: int = 200) -> pd.DataFrame:
    """The latest events of one session, newest first: happened_at, seq, kind, fact (a dict with its `kind`)."""
    parameters = {"session_id": session_id, "lines_max": lines_max}
    lines: pd.DataFrame = store.read(_SESSION_LOG, parameters).to_pandas()
    return lines.assign(fact=lines["fact"].map(msgspec.json.decode).astype("object"))


def session_health(store: EventStore, session_id: str, span: TimeRange) -> pd.DataFrame:
    """Each health check of one session: happened_at, health (0–100), band, lowest, state, left_s (of the token)."""
    return _ask_one(store, _SESSION_HEALTH, session_id, span)


def session_states(store: EventStore, session_id: str, span: TimeRange) -> pd.DataFrame:
    """The path of one session: started_at, ended_at, state, signal, seconds.

    A stretch is listed where it began inside the range; the last one ends with the session or with the range.
    """
    return _ask_one(store, _SESSION_STATES, session_id, span)


def _ask_one(store: EventStore, sql: str, session_id: str, span: TimeRange) -> pd.DataFrame:
    given = {"session_id": session_id, "start": span.start_us, "end": span.end_us}
    answer: pd.DataFrame = store.read(sql, given).to_pandas()
    return answer


def _told(rows: pa.Table) -> list[Event]:
    columns = (column.to_pylist() for column in rows.columns)
    origins: dict[tuple[Any, ...], Origin] = {}
    return [event_of(row, origins) for row in zip(*columns, strict=True)]


def _in_order(events: Iterable[Event]) -> list[Event]:
    """Within a stream the number is the order; streams lie beside each other by the latest moment that each has reached."""
    reached: dict[str, float] = {}
    placed: list[tuple[float, str, int, Event]] = []
    for event in sorted(events, key=attrgetter("seq")):
        stream_id = event.origin.stream_id
        reached[stream_id] = max(event.happened_at, reached.get(stream_id, event.happened_at))
        placed.append((reached[stream_id], stream_id, event.seq, event))
    return [event for *_, event in sorted(placed, key=itemgetter(0, 1, 2))]


# A condition on all that is known of a session.
_ONLY = {
    "all": "true",
    "interrupted": "sum(interruptions) > 0",
    "errors": "sum(visible_errors) > 0",
    "ended": "arg_max(end_reason, edge_at) NOT IN ('', 'stopped')",
}
_SEARCHED = """
(contains(session_id, $search) OR contains(any_value(user_id), $search) OR contains(arg_max(device, last_at), $search))
"""

# What decides the order is asked of all sessions; the rest, which costs most, only of those that are shown.
_SESSIONS = """
WITH listed AS MATERIALIZED (
    SELECT session_id, CAST(sum(interruptions) AS BIGINT) AS interruptions,
        CAST(sum(visible_errors) AS BIGINT) AS visible_errors, max(last_at) AS last_at
    FROM (
        SELECT session_id, user_id, device, end_reason, edge_at, last_at, visible_errors, 0::BIGINT AS interruptions
        FROM all_sessions_{grain}
        WHERE {rows} AND user_id <> ''
        UNION ALL
        SELECT session_id, NULL, NULL, NULL, NULL, NULL, 0, forced_sign_ins + surfaced_401s
        FROM all_ux_{grain}
        WHERE {rows} AND forced_sign_ins + surfaced_401s <> 0
    )
    GROUP BY session_id
    HAVING max(last_at) IS NOT NULL AND {only} AND {searched}
), shown AS MATERIALIZED (
    FROM listed ORDER BY interruptions DESC, visible_errors DESC, last_at DESC, session_id LIMIT $rows_max
), told AS (
    SELECT session_id, any_value(user_id) AS user_id, arg_max(device, last_at) AS device, any_value(source) AS source,
        max(policy) AS policy, max(app_version) AS app_version, any_value(scenario) AS scenario,
        any_value(run_id) AS run_id, min(first_at) AS first_at,
        CAST(sum(events) AS BIGINT) AS events, CAST(sum(requests) AS BIGINT) AS requests,
        CAST(sum(refreshes_ok) AS BIGINT) AS refreshes_ok, CAST(sum(refreshes_failed) AS BIGINT) AS refreshes_failed,
        CAST(sum(retries) AS BIGINT) AS retries, CAST(sum(sign_outs) AS BIGINT) AS sign_outs,
        arg_max(state, state_at) AS state, arg_max(band, band_at) AS band,
        nullif(arg_max(end_reason, edge_at), '') AS end_reason
    FROM all_sessions_{grain}
    WHERE {rows} AND user_id <> '' AND session_id IN (SELECT session_id FROM shown)
    GROUP BY session_id
)
SELECT session_id, user_id, device, source, policy, app_version, scenario, run_id, first_at, last_at, events, requests,
    interruptions, visible_errors, refreshes_ok, refreshes_failed, retries, sign_outs, state, band, end_reason,
    (SELECT count(*) FROM listed) AS found
FROM shown JOIN told USING (session_id)
ORDER BY interruptions DESC, visible_errors DESC, last_at DESC, session_id
"""

_TOLD = """
SELECT session_id, stream_id, user_id, device, source, policy, app_version, run_id, scenario,
    seq, epoch_us(happened_at) AS moment, monotonic, boot, fact
FROM events
"""

_RUN_EVENTS = f"{_TOLD} WHERE run_id = $run_id ORDER BY boot, stream_id, seq"

_EVENTS = f"""{_TOLD}
WHERE session_key = key_of($session_id) AND session_id = $session_id
"""

_LATEST_EVENTS = f"""{_EVENTS}
ORDER BY max(happened_at) OVER (PARTITION BY stream_id ORDER BY seq) DESC, stream_id DESC, seq DESC
LIMIT $events_max
"""

_SESSION_LOG = """
SELECT happened_at, seq, kind, fact
FROM events
WHERE session_key = key_of($session_id) AND session_id = $session_id
ORDER BY happened_at DESC, seq DESC
LIMIT $lines_max
"""

_OF_SESSION = """
FROM events
WHERE session_key = key_of($session_id) AND session_id = $session_id
    AND happened_at >= make_timestamptz(CAST($start AS BIGINT)) AND happened_at < make_timestamptz(CAST($end AS BIGINT))
"""

_SESSION_HEALTH = f"""
SELECT happened_at, health, band, fact ->> 'lowest' AS lowest, state, CAST(fact -> 'left_s' AS DOUBLE) AS left_s
{_OF_SESSION} AND kind = 'HeartbeatBeat'
ORDER BY happened_at, seq
"""

_SESSION_STATES = f"""
SELECT happened_at AS started_at,
    coalesce(lead(happened_at) OVER history, make_timestamptz($end)) AS ended_at,
    state,
    signal,
    epoch_us(coalesce(lead(happened_at) OVER history, make_timestamptz($end))) / 1e6 - epoch_us(happened_at) / 1e6
        AS seconds
FROM (
    SELECT happened_at, seq, kind, state, fact ->> 'signal' AS signal
    {_OF_SESSION} AND kind IN ('StateChanged', 'SessionEnded')
)
WINDOW history AS (ORDER BY happened_at, seq)
QUALIFY kind = 'StateChanged'
ORDER BY happened_at, seq
"""
