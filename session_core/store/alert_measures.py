"""What alert rules look at, counted from the rollups over windows that end at the newest event.

Each counts sessions. Those that were used, and what interrupts them, are the UX score's own (see ux_inputs); of the
window's first minute all counts, and of the first hour where a window is longer than a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from session_core.alert_rules import DAY_S, AlertSettings, Measure, Measured, Observation, budget_left, needs
from session_core.store.columns import micros
from session_core.store.event_store import EventStore
from session_core.vocabulary import Band, Source

UNWELL = (Band.POOR, Band.CRITICAL)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The objective's window: `left` is 1 when untouched, less than 0 when overdrawn, None without a session."""

    left: float | None
    measured: Measured
    as_of: float | None


def measure(store: EventStore, settings: AlertSettings, *, now: float) -> Observation:
    """Everything the rules and the budget need; what is dated after wall second `now` waits until it gets there."""
    as_of = _newest(store, settings.source, now=now)
    if as_of is None:
        return Observation(None)
    asked: dict[tuple[Measure, str], list[float]] = {}
    for what, window_s in sorted(needs(settings)):
        asked.setdefault((what, "hours" if window_s > DAY_S else "minutes"), []).append(window_s)
    counted: dict[tuple[Measure, float], Measured] = {}
    for (what, grain), windows_s in asked.items():
        for measured in _count(store, settings.source, what, grain, as_of, windows_s):
            counted[what, measured.window_s] = measured
    return Observation(as_of, counted)


def budget_of(settings: AlertSettings, seen: Observation) -> Budget:
    """What is left of the error budget, from an observation of the same settings."""
    window_s = settings.objective.window_s
    measured = seen.measured.get((Measure.BURN, window_s), Measured(window_s, 0, 0))
    return Budget(left=budget_left(settings.objective, measured), measured=measured, as_of=seen.as_of)


def error_budget(store: EventStore, settings: AlertSettings, *, now: float) -> Budget:
    """The same for a page that asks for nothing else."""
    return budget_of(settings, measure(store, msgspec.structs.replace(settings, rules=()), now=now))


def _newest(store: EventStore, source: Source, *, now: float) -> float | None:
    asked = {"now": micros(now), "source": str(source)}
    newest: float | None = store.read(_NEWEST, asked).column("newest")[0].as_py()
    return newest


def _count(
    store: EventStore, source: Source, what: Measure, grain: str, as_of: float, windows_s: Sequence[float]
) -> list[Measured]:
    starts = {micros(as_of) - micros(window_s): window_s for window_s in windows_s}
    asked = {
        "starts": list(starts),
        "first": min(starts),
        "end": micros(as_of),
        "width": 3_600 if grain == "hours" else 60,
        "source": str(source),
        "measure": str(what),
        "unwell": list(map(str, UNWELL)),
    }
    sql = _COUNTS[what].format(grain=grain)
    given = {name: value for name, value in asked.items() if f"${name}" in sql}
    rows = store.read(sql, given).to_pylist()
    return [Measured(starts[row["start_us"]], row["sessions"], row["found"]) for row in rows]


_NEWEST = """
SELECT epoch_us(max(happened_at)) / 1e6 AS newest
FROM events
WHERE source = $source AND happened_at <= make_timestamptz(CAST($now AS BIGINT))
"""

_USED = """
WITH used AS (
    SELECT session_id,
        max(bucket) FILTER (used) AS seen_at,
        max(bucket) FILTER (
            CASE $measure
                WHEN 'burn' THEN forced_sign_ins + surfaced_401s > 0
                WHEN 'reuse' THEN reuse_revocations > 0
            END
        ) AS found_at
    FROM all_ux_{grain}
    WHERE source = $source
        AND bucket BETWEEN bucket_of(make_timestamptz(CAST($first AS BIGINT)), $width)
            AND make_timestamptz(CAST($end AS BIGINT))
    GROUP BY session_id
)
SELECT start_us,
    count(*) FILTER (seen_at >= bucket_of(make_timestamptz(start_us), $width)) AS sessions,
    count(*) FILTER (found_at >= bucket_of(make_timestamptz(start_us), $width)) AS found
FROM unnest($starts) AS windows(start_us) LEFT JOIN used ON true
GROUP BY start_us
"""

# A session that has ended is not unwell any more.
_UNWELL = """
WITH beating AS (
    SELECT arg_max(band, band_at) AS band, make_timestamptz(max(band_at) // 1024) AS beat_at
    FROM all_sessions_{grain}
    WHERE source = $source
        AND bucket BETWEEN bucket_of(make_timestamptz(CAST($first AS BIGINT)), $width)
            AND make_timestamptz(CAST($end AS BIGINT))
    GROUP BY session_id
    HAVING max(band_at) IS NOT NULL AND arg_max(edge, edge_at) IS DISTINCT FROM 'SessionEnded'
)
SELECT start_us,
    count(*) FILTER (beat_at >= make_timestamptz(start_us)) AS sessions,
    count(*) FILTER (beat_at >= make_timestamptz(start_us) AND list_contains($unwell, band)) AS found
FROM unnest($starts) AS windows(start_us) LEFT JOIN beating ON true
GROUP BY start_us
"""

_TROUBLED = """
WITH sessions AS (
    SELECT max(bucket) AS seen_at, NULL AS found_at
    FROM all_ux_{grain}
    WHERE used AND source = $source
        AND bucket BETWEEN bucket_of(make_timestamptz(CAST($first AS BIGINT)), $width)
            AND make_timestamptz(CAST($end AS BIGINT))
    GROUP BY session_id
    UNION ALL
    SELECT NULL, max(happened_at)
    FROM all_troubles
    WHERE source = $source
        AND kind = CASE $measure WHEN 'stuck' THEN 'StuckFound' WHEN 'raised' THEN 'AlertRaised' END
        AND happened_at BETWEEN make_timestamptz(CAST($first AS BIGINT)) AND make_timestamptz(CAST($end AS BIGINT))
    GROUP BY session_id
)
SELECT start_us,
    count(*) FILTER (seen_at >= bucket_of(make_timestamptz(start_us), $width)) AS sessions,
    count(*) FILTER (found_at >= make_timestamptz(start_us)) AS found
FROM unnest($starts) AS windows(start_us) LEFT JOIN sessions ON true
GROUP BY start_us
"""

_COUNTS: Mapping[Measure, str] = {
    Measure.BURN: _USED,
    Measure.REUSE: _USED,
    Measure.HEALTH: _UNWELL,
    Measure.STUCK: _TROUBLED,
    Measure.RAISED: _TROUBLED,
}
