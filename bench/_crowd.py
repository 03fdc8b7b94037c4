"""A crowd of sessions whose events are made one by one, as the lifecycle makes them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from session_core import SystemClock
from session_core.events import (
    AnyFact,
    CacheServed,
    Emit,
    GapObserved,
    HeartbeatBeat,
    Journal,
    LimitWarned,
    Origin,
    RefreshFailed,
    RequestServed,
    RetryScheduled,
    SessionStarted,
    StateChanged,
    TokenRefreshed,
    UserActed,
)
from session_core.vocabulary import Band, ErrorClass, GapKind, Limit, Outcome, RefreshReason, Served, Signal, State

LIFE_S = 3600.0
STORY_FACTS = 20_000
ROUTES = tuple(f"/api/things/{number}" for number in range(12))
STARTED = SessionStarted(resumed=False, life_s=LIFE_S, idle_limit_s=3600.0, absolute_limit_s=86_400.0)

Step = Callable[[], None]
Episode = Sequence[AnyFact]


def moved(before: State, after: State, signal: Signal) -> StateChanged:
    return StateChanged(state_from=before, state_to=after, signal=signal)


def call(rng: random.Random, served: Served = Served.NETWORK) -> RequestServed:
    failed = rng.random() < 0.02
    return RequestServed(
        method="GET",
        route=rng.choice(ROUTES),
        status=rng.choice((0, 401, 429, 503)) if failed else 200,
        served=served,
        duration_ms=rng.lognormvariate(3.5, 0.8),
        waited_ms=rng.lognormvariate(-2.0, 1.0),
        attempts=1,
        error=rng.choice(tuple(ErrorClass)) if failed else None,
    )


def called(rng: random.Random) -> Episode:
    return [call(rng)]


def cached(rng: random.Random) -> Episode:
    served = rng.choice((Served.CACHE, Served.STALE))
    return [
        CacheServed(route=rng.choice(ROUTES), served=served, age_s=rng.uniform(0.0, 90.0), ttl_s=60.0),
        call(rng, served),
    ]


def acted(rng: random.Random) -> Episode:
    return [UserActed(action=rng.choice(("click", "type", "scroll")))]


def beaten(rng: random.Random) -> Episode:
    health = rng.uniform(60.0, 100.0)
    band = Band.EXCELLENT if health >= 80.0 else Band.GOOD
    left_s = rng.uniform(300.0, LIFE_S)
    return [HeartbeatBeat(state=State.ACTIVE, health=health, band=band, lowest="token_age", left_s=left_s)]


def renewal(rng: random.Random, reason: RefreshReason) -> TokenRefreshed:
    return TokenRefreshed(
        reason=reason,
        attempt=1,
        duration_ms=rng.lognormvariate(4.0, 0.5),
        waited_s=0.0,
        left_s=rng.uniform(240.0, 360.0),
        life_s=LIFE_S,
        rotated=True,
        moved=True,
    )


def refreshed(rng: random.Random, reason: RefreshReason = RefreshReason.DUE) -> Episode:
    return [
        moved(State.ACTIVE, State.REFRESHING, Signal.REFRESH_STARTED),
        renewal(rng, reason),
        moved(State.REFRESHING, State.ACTIVE, Signal.REFRESH_SUCCEEDED),
    ]


def troubled(rng: random.Random) -> Episode:
    return [
        moved(State.ACTIVE, State.REFRESHING, Signal.REFRESH_STARTED),
        RefreshFailed(
            reason=RefreshReason.DUE,
            attempt=1,
            outcome=Outcome.TRANSIENT,
            status=503,
            error="server_error",
            duration_ms=rng.lognormvariate(4.0, 0.5),
            left_s=rng.uniform(0.0, 300.0),
        ),
        RetryScheduled(call="token", attempt=1, delay_s=rng.uniform(0.0, 8.0), cause="transient", told_by_server=False),
        moved(State.REFRESHING, State.ACTIVE, Signal.REFRESH_FAILED),
        *refreshed(rng, RefreshReason.RETRY),
    ]


def slept(rng: random.Random) -> Episode:
    return [
        moved(State.ACTIVE, State.SUSPENDED, Signal.SUSPENDED),
        GapObserved(gap=GapKind.SUSPEND, seconds=rng.uniform(2.0, 9_000.0)),
        moved(State.SUSPENDED, State.RESUMING, Signal.WOKE),
        moved(State.RESUMING, State.ACTIVE, Signal.RESUMED),
    ]


def warned(_rng: random.Random) -> Episode:
    return [LimitWarned(limit=Limit.IDLE, left_s=60.0)]


# By facts it is nine parts in twenty calls.
EPISODES: dict[Callable[[random.Random], Episode], float] = {
    called: 35.0,
    acted: 18.0,
    beaten: 12.0,
    cached: 12.0,
    refreshed: 4.0,
    troubled: 1.0,
    slept: 0.7,
    warned: 0.5,
}


class Crowd:
    """Sessions that walk round one story, each with a journal of its own and from its own beginning of an episode."""

    def __init__(self, emit: Emit, *, sessions: int, name: str) -> None:
        rng = random.Random(name)
        self._story: list[AnyFact] = []
        begins: list[int] = []
        while len(self._story) < STORY_FACTS:
            begins.append(len(self._story))
            self._story += rng.choices(list(EPISODES), list(EPISODES.values()))[0](rng)
        clock = SystemClock()
        self.steps: list[Step] = []
        for number in range(sessions):
            origin = Origin(
                stream_id=f"{name}-{number:024x}", session_id=f"{name}-{number:016x}", user_id=f"user-{number // 3}"
            )
            journal = Journal(clock=clock, emit=emit, origin=origin)
            journal.record(STARTED)
            self.steps.append(self._walk(journal, rng.choice(begins)).__next__)

    def _walk(self, journal: Journal, place: int) -> Iterator[None]:
        record, story = journal.record, self._story
        while True:
            record(story[place])
            place = (place + 1) % len(story)
            yield
