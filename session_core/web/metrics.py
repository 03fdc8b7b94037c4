"""What the sessions of this process do, for Prometheus: counted as it happens, told at `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from session_core import events as e
from session_core.retry_manager import Call
from session_core.store import RecorderStatistics
from session_core.vocabulary import (
    EndReason,
    ErrorClass,
    FallbackStep,
    Outcome,
    RefreshReason,
    Served,
    State,
    StepOutcome,
)
from session_core.web.tallies import Counts, Spread

ALERTS = ("client_misconfigured",)
FROM_CACHE = (Served.CACHE, Served.STALE, Served.STALE_IF_ERROR)
# From what nobody notices to what nobody waits for.
CALL_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LEAD_S = (0.0, 1.0, 10.0, 30.0, 60.0, 120.0, 240.0, 300.0, 330.0, 360.0, 600.0, 1_800.0)
AGE_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)

See = Callable[[Any], None]


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """What is not counted but looked at when asked: sessions by state, the recorder, the store's bytes."""

    states: Mapping[str, int]
    recorder: RecorderStatistics
    file_bytes: int
    log_bytes: int


NOTHING_YET = Now(
    states={},
    recorder=RecorderStatistics(
        running=False,
        queued=0,
        spilled=0,
        acknowledged=0,
        written=0,
        lost=0,
        flushes=0,
        flush_ms=None,
        newest_event_at=None,
        last_error=None,
    ),
    file_bytes=0,
    log_bytes=0,
)


class Metrics:
    """Counts every event that passes `observe`, in any thread. No label holds an id, an address or other open words."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests = Counts(
            "session_core_requests",
            "Calls of the API, by where the answer came from and the trouble they met.",
            served=Served,
            error=(None, *ErrorClass),
        )
        self._refreshes = Counts(
            "session_core_refreshes",
            "Refreshes tried, by what became of them and why they were tried.",
            outcome=Outcome,
            reason=RefreshReason,
        )
        self._retries = Counts(
            "session_core_retries",
            "Retries planned, by kind of call and what went wrong before.",
            call=Call,
            cause=dict.fromkeys(map(str, (*Outcome, *ErrorClass))),
        )
        self._fallbacks = Counts(
            "session_core_fallback_steps",
            "Steps of the fallback chain, by what became of them.",
            step=FallbackStep,
            outcome=StepOutcome,
        )
        self._started = Counts(
            "session_core_sessions_started",
            "Sessions that began, or were taken up again from the session store.",
            resumed=("no", "yes"),
        )
        self._ended = Counts("session_core_sessions_ended", "Sessions that ended, by reason.", reason=EndReason)
        self._cache = Counts(
            "session_core_cache_answers", "Answers out of the cache, by how good they were.", served=FROM_CACHE
        )
        self._alerts = Counts(
            "session_core_alerts_raised", "What no retry mends and a person must look at.", alert=ALERTS
        )
        self._stuck = Counts(
            "session_core_stuck_found", "Sessions found stuck, by the state they stood in.", state=State
        )
        self._request_s = Spread(
            "session_core_request_duration_seconds", "From a call of the API to its answer or its error.", CALL_S
        )
        self._waited_s = Spread(
            "session_core_request_wait_seconds", "The part of it that session_core added, as by a refresh.", WAIT_S
        )
        self._refresh_s = Spread(
            "session_core_refresh_duration_seconds", "From the request of a refresh to its answer or failure.", CALL_S
        )
        self._lead_s = Spread(
            "session_core_refresh_lead_seconds",
            "What the old token had left when a new one was there; 0 where it had expired.",
            LEAD_S,
        )
        self._age_s = Spread("session_core_cache_age_seconds", "The age of answers out of the cache.", AGE_S)
        self._seen: Mapping[type[e.Fact], See] = {
            e.RequestServed: self._see_request,
            e.TokenRefreshed: self._see_refresh,
            e.RefreshFailed: self._see_failure,
            e.RetryScheduled: lambda fact: self._retries.add(fact.call, fact.cause),
            e.FallbackTried: lambda fact: self._fallbacks.add(fact.step, fact.outcome),
            e.SessionStarted: lambda fact: self._started.add("yes" if fact.resumed else "no"),
            e.SessionEnded: lambda fact: self._ended.add(fact.reason),
            e.CacheServed: self._see_cache,
            e.AlertRaised: lambda fact: self._alerts.add(fact.alert),
            e.StuckFound: lambda fact: self._stuck.add(fact.state),
        }
        self._counts = (
            *(self._requests, self._refreshes, self._retries, self._fallbacks, self._started, self._ended),
            *(self._cache, self._alerts, self._stuck),
        )
        self._spreads = (self._request_s, self._waited_s, self._refresh_s, self._lead_s, self._age_s)

    def observe(self, event: e.Event) -> None:
        """Count it; returns at once."""
        fact = event.fact
        see = self._seen.get(type(fact))
        if see is not None:
            with self._lock:
                see(fact)

    def told(self, now: Now, *, accept: str = "") -> tuple[bytes, str]:
        """Everything in the format that `accept` asks for, and the name of that format."""
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(self.families(now)))
        return encode(registry), content_type

    def families(self, now: Now) -> tuple[Metric, ...]:
        with self._lock:
            counted = [tally.family() for tally in (*self._counts, *self._spreads)]
        return (*counted, *_looked_at(now))

    def _see_request(self, fact: e.RequestServed) -> None:
        self._requests.add(fact.served, fact.error)
        self._request_s.add(fact.duration_ms / 1000)
        self._waited_s.add(fact.waited_ms / 1000)

    def _see_refresh(self, fact: e.TokenRefreshed) -> None:
        self._refreshes.add(Outcome.OK, fact.reason)
        self._refresh_s.add(fact.duration_ms / 1000)
        self._lead_s.add(max(0.0, fact.left_s))

    def _see_failure(self, fact: e.RefreshFailed) -> None:
        self._refreshes.add(fact.outcome, fact.reason)
        self._refresh_s.add(fact.duration_ms / 1000)

    def _see_cache(self, fact: e.CacheServed) -> None:
        self._cache.add(fact.served)
        self._age_s.add(fact.age_s)


class _Collected:
    """What a registry asks."""

    def __init__(self, families: tuple[Metric, ...]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _looked_at(now: Now) -> Iterator[Metric]:
    sessions = GaugeMetricFamily("session_core_sessions", "Sessions in this process, by state.", labels=["state"])
    for state in State:
        sessions.add_metric([state], now.states.get(state, 0))
    yield sessions
    recorder = now.recorder
    yield GaugeMetricFamily("session_core_recorder_queued_events", "Events that wait in memory.", recorder.queued)
    yield GaugeMetricFamily("session_core_recorder_spilled_events", "Events that wait on disk.", recorder.spilled)
    for name, means, value in (
        ("stored", "Events that are safe in the store.", recorder.acknowledged),
        ("lost", "Events that could not be kept at all.", recorder.lost),
    ):
        yield CounterMetricFamily(f"session_core_recorder_{name}_events", means, value)
    store = GaugeMetricFamily(
        "session_core_store_bytes", "The event store on disk: its file and its log.", labels=["part"]
    )
    for part, count in (("file", now.file_bytes), ("log", now.log_bytes)):
        store.add_metric([part], count)
    yield store
