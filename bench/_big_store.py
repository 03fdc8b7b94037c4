"""A store with as many events as asked for: 30 days of sessions, each a few hours long, laid out as a live one would be."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from session_core.events import (
    AnyFact,
    CacheServed,
    Event,
    FallbackTried,
    HeartbeatBeat,
    Origin,
    RefreshFailed,
    RequestServed,
    RetryScheduled,
    SessionEnded,
    SessionStarted,
    StateChanged,
    TokenRefreshed,
    UserActed,
)
from session_core.store import EventStore
from session_core.store.columns import to_table
from session_core.vocabulary import (
    Band,
    EndReason,
    ErrorClass,
    FallbackStep,
    Outcome,
    RefreshReason,
    Served,
    Signal,
    State,
    StepOutcome,
)

DAYS = 30
EVENTS_PER_SESSION = 330
BEGAN_S = 1_790_000_000 // 86_400 * 86_400
ENDS_S = BEGAN_S + DAYS * 86_400
VARIANTS = 64
SLICE_EVENTS = 1_000_000

_SHARES = {
    "served": 45,
    "acted": 15,
    "beat": 15,
    "cached": 12,
    "moved": 6,
    "refreshed": 5,
    "retried": 1,
    "failed": 1,
}


def fill(path: Path, events: int) -> EventStore:
    """A store of about that many events, folded, merged and sorted; an hour of the last day is left unfolded."""
    store = EventStore(path)
    templates = _templates()
    sessions = max(1, events // EVENTS_PER_SESSION)
    slices = max(1, events // SLICE_EVENTS)
    for number in range(slices):
        _write(store, templates, sessions, number, slices)
    store.close()
    store = EventStore(path)
    store.fold()
    store.checkpoint()
    return store


def _templates() -> pa.Table:
    rng = random.Random("templates")
    origin = Origin(stream_id="", session_id="", user_id="")
    made = [(name, variant, fact) for name in (*_SHARES, "started", "ended") for variant, fact in _facts(name, rng)]
    table = to_table([Event(0, 0.0, 0.0, 0.0, origin, fact) for _, _, fact in made])
    own = ("stream_id", "seq", "happened_at", "monotonic", "boot", "session_id", "user_id", "device", "source")
    table = table.drop_columns([*own, "policy", "app_version", "run_id", "scenario"])
    table = table.append_column("name", pa.array([name for name, _, _ in made]))
    return table.append_column("variant", pa.array([variant for _, variant, _ in made], pa.int32()))


def _facts(name: str, rng: random.Random) -> Iterator[tuple[int, AnyFact]]:
    return ((variant, _FACTS[name](rng)) for variant in range(VARIANTS))


def _served(rng: random.Random) -> AnyFact:
    fails = rng.random() < 0.02
    status = rng.choice((500, 503, 401)) if fails else 200
    return RequestServed(
        method="GET",
        route=f"/api/{rng.choice(('echo', 'chat', 'profile', 'orders', 'search'))}",
        status=status,
        served=Served.NETWORK,
        duration_ms=rng.lognormvariate(4.5, 0.6),
        waited_ms=rng.choice((0.0, 0.02, rng.lognormvariate(3, 1))),
        attempts=1,
        error=(ErrorClass.AUTH if status == 401 else ErrorClass.SERVER) if fails else None,
    )


def _acted(rng: random.Random) -> AnyFact:
    return UserActed(action=rng.choice(("click", "chat", "focus")))


def _beat(rng: random.Random) -> AnyFact:
    health = rng.choice((97.0, 92.0, 85.0, 70.0, 55.0))
    band = Band.EXCELLENT if health >= 80 else Band.GOOD if health >= 60 else Band.FAIR
    return HeartbeatBeat(state=State.ACTIVE, health=health, band=band, lowest="token_age", left_s=900.0)


def _cached(rng: random.Random) -> AnyFact:
    return CacheServed(route="/api/profile", served=Served.CACHE, age_s=rng.uniform(0, 90), ttl_s=60.0)


def _moved(rng: random.Random) -> AnyFact:
    state = rng.choice((State.REFRESHING, State.ACTIVE, State.DEGRADED, State.RESUMING))
    return StateChanged(state_from=State.ACTIVE, state_to=state, signal=Signal.WOKE)


def _refreshed(rng: random.Random) -> AnyFact:
    return TokenRefreshed(
        reason=RefreshReason.DUE,
        attempt=rng.choice((1, 1, 1, 2)),
        duration_ms=rng.lognormvariate(5, 0.4),
        waited_s=0.1,
        left_s=rng.uniform(100, 400),
        life_s=3_600.0,
        rotated=True,
        moved=True,
    )


def _retried(rng: random.Random) -> AnyFact:
    cause = rng.choice(("server", "network", "throttled"))
    return RetryScheduled(call="token", attempt=1, delay_s=1.0, cause=cause, told_by_server=False)


def _failed(rng: random.Random) -> AnyFact:
    if rng.random() < 0.3:
        outcome = rng.choice((StepOutcome.OK, StepOutcome.FAILED))
        return FallbackTried(step=FallbackStep.STORED_CREDENTIAL, outcome=outcome, detail="", duration_ms=40.0)
    return RefreshFailed(
        reason=RefreshReason.DUE,
        attempt=1,
        outcome=rng.choice((Outcome.TRANSIENT, Outcome.THROTTLED, Outcome.OFFLINE)),
        status=503,
        error="server_error",
        duration_ms=50.0,
        left_s=200.0,
    )


def _started(_rng: random.Random) -> AnyFact:
    return SessionStarted(resumed=False, life_s=3_600.0, idle_limit_s=None, absolute_limit_s=None)


def _ended(rng: random.Random) -> AnyFact:
    ends = (EndReason.SIGNED_OUT, EndReason.SIGNED_OUT, EndReason.IDLE_LIMIT, EndReason.REFRESH_REJECTED)
    return SessionEnded(reason=rng.choice(ends))


_FACTS: dict[str, Callable[[random.Random], AnyFact]] = {
    "served": _served,
    "acted": _acted,
    "beat": _beat,
    "cached": _cached,
    "moved": _moved,
    "refreshed": _refreshed,
    "retried": _retried,
    "failed": _failed,
    "started": _started,
    "ended": _ended,
}


def _write(store: EventStore, templates: pa.Table, sessions: int, number: int, slices: int) -> None:
    """One slice of the month, its sessions' events ordered by time as they would have come."""
    edges, total = "", 0
    for name, share in _SHARES.items():
        edges += f" WHEN draw < {total + share} THEN '{name}'"
        total += share
    each = EVENTS_PER_SESSION
    given = {
        "first": sessions * number // slices,
        "until": sessions * (number + 1) // slices,
        "sessions": sessions,
        "began_us": BEGAN_S * 1_000_000,
        "span_us": (DAYS * 86_400 - 6 * 3_600) * 1_000_000,
        "flush": number + 1,
    }
    rows = f"""
    INSERT INTO events BY NAME
    SELECT s.* EXCLUDE (name, variant, i, n, draw), t.* EXCLUDE (name, variant)
    FROM (
        SELECT i, n, 'stream-' || i AS stream_id, n + 1 AS seq,
            make_timestamptz(CAST($began_us + ($span_us * i) // $sessions + (n * 60 + hash(i, n) % 45) * 1000000 AS BIGINT)) AS happened_at,
            CAST(n * 60 + hash(i, n) % 45 AS DOUBLE) AS monotonic, monotonic AS boot,
            'session-' || lpad(CAST(i AS VARCHAR), 8, '0') AS session_id,
            'user-' || lpad(CAST(hash(i) % ($sessions // 4 + 1) AS VARCHAR), 7, '0') AS user_id,
            ['laptop', 'phone', 'desktop'][CAST(1 + hash(i, 'device') % 3 AS INTEGER)] AS device,
            'live' AS source,
            CASE WHEN i * 2 < $sessions THEN 'basic' ELSE 'professional' END AS policy,
            CASE WHEN i * 2 < $sessions THEN '1.0' ELSE '2.0' END AS app_version,
            CAST(NULL AS VARCHAR) AS run_id, CAST(NULL AS VARCHAR) AS scenario,
            CAST($flush AS BIGINT) AS flush, key_of(session_id) AS session_key,
            hash(i, n, 'kind') % 100 AS draw,
            CASE WHEN n = 0 THEN 'started' WHEN n = {each - 1} THEN 'ended' {edges} END AS name,
            CAST(hash(i, n, 'variant') % {VARIANTS} AS INTEGER) AS variant
        FROM range($first, $until) AS s(i), range({each}) AS e(n)
    ) AS s JOIN templates AS t USING (name, variant)
    ORDER BY happened_at
    """
    anew = (
        "INSERT INTO ux_anew SELECT 'session-' || lpad(CAST(i AS VARCHAR), 8, '0') FROM range($first, $until) AS s(i)"
    )
    store.write(
        [
            (
                "CREATE OR REPLACE TEMP TABLE templates AS SELECT * FROM (SELECT unnest($rows, recursive := true))",
                {"rows": templates.to_pylist()},
            ),
            (rows, given),
            (anew, {"first": given["first"], "until": given["until"]}),
        ]
    )
