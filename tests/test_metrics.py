"""Metrics: what is counted of each fact, in the words of Prometheus, with labels that are bounded, at little cost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import get_args

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from session_core import events as e
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
from session_core.web.metrics import NOTHING_YET, Metrics, Now
from session_core.web.tallies import Spread

ORIGIN = e.Origin(stream_id="stream-secret", session_id="session-17", user_id="ada")
SERIES_MAX = 500


def served(**changes: object) -> e.RequestServed:
    given = {"method": "GET", "route": "/orders/4711", "status": 200, "served": Served.NETWORK, "duration_ms": 80.0}
    return e.RequestServed(**given | {"waited_ms": 2.0, "attempts": 1} | changes)


def refreshed(**changes: object) -> e.TokenRefreshed:
    given = {"reason": RefreshReason.DUE, "attempt": 1, "duration_ms": 120.0, "waited_s": 0.0, "left_s": 301.0}
    return e.TokenRefreshed(**given | {"life_s": 3600.0, "rotated": True, "moved": True} | changes)


def counted(*facts: e.AnyFact, now: Now = NOTHING_YET) -> dict[tuple[str, ...], float]:
    """What a scrape says after these: values by name and, in the order of the labels' names, their values; no zeros."""
    metrics = Metrics()
    for seq, fact in enumerate(facts, 1):
        metrics.observe(e.Event(seq, 1.0, 1.0, 1.0, ORIGIN, fact))
    return values(metrics, now)


def values(metrics: Metrics, now: Now = NOTHING_YET) -> dict[tuple[str, ...], float]:
    text = metrics.told(now)[0].decode()
    return {
        (sample.name.removeprefix("session_core_"), *sample.labels.values()): sample.value
        for family in plain_text(text)
        for sample in family.samples
        if sample.value
    }


@pytest.mark.parametrize(
    ("fact", "series"),
    [
        (served(), ("requests_total", "none", "network")),
        (served(served=Served.NOTHING, status=0, error=ErrorClass.NETWORK), ("requests_total", "network", "nothing")),
        (refreshed(reason=RefreshReason.RESUME), ("refreshes_total", "ok", "resume")),
        (
            e.RefreshFailed(
                reason=RefreshReason.DUE,
                attempt=1,
                outcome=Outcome.THROTTLED,
                status=429,
                error="slow_down",
                duration_ms=9.0,
                left_s=10.0,
            ),
            ("refreshes_total", "throttled", "due"),
        ),
        (
            e.RetryScheduled(call="api_read", attempt=1, delay_s=1.0, cause="server", told_by_server=False),
            ("retries_total", "api_read", "server"),
        ),
        (
            e.RetryScheduled(call="token", attempt=1, delay_s=1.0, cause="offline", told_by_server=False),
            ("retries_total", "token", "offline"),
        ),
        (
            e.FallbackTried(
                step=FallbackStep.SILENT_REAUTHENTICATION, outcome=StepOutcome.OK, detail="", duration_ms=5.0
            ),
            ("fallback_steps_total", "ok", "silent_reauthentication"),
        ),
        (
            e.SessionStarted(resumed=True, life_s=60.0, idle_limit_s=None, absolute_limit_s=None),
            ("sessions_started_total", "yes"),
        ),
        (e.SessionEnded(reason=EndReason.IDLE_LIMIT), ("sessions_ended_total", "idle_limit")),
        (
            e.CacheServed(route="/orders/4711", served=Served.STALE, age_s=70.0, ttl_s=60.0),
            ("cache_answers_total", "stale"),
        ),
        (
            e.AlertRaised(alert="client_misconfigured", error="invalid_client"),
            ("alerts_raised_total", "client_misconfigured"),
        ),
        (e.StuckFound(state=State.REFRESHING, stuck_s=90.0), ("stuck_found_total", "REFRESHING")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, e.Fact) else "",
)
def test_a_fact_is_counted_where_it_belongs(fact: e.AnyFact, series: tuple[str, ...]) -> None:
    """Once, and nowhere else."""
    found = counted(fact)
    assert found[series] == 1
    assert len([name for name, *_ in found if name.endswith("_total")]) == 1
    assert counted(fact, fact)[series] == 2


def test_times_fall_into_their_buckets() -> None:
    """In seconds; a bucket holds what is as long or shorter, its own bound included."""
    found = counted(served(duration_ms=80.0, waited_ms=2.0), served(duration_ms=100.0, waited_ms=60_000.0))
    assert ("request_duration_seconds_bucket", "0.05") not in found
    assert found["request_duration_seconds_bucket", "0.1"] == 2
    assert found["request_duration_seconds_count",] == 2
    assert found["request_duration_seconds_sum",] == pytest.approx(0.18)
    assert found["request_wait_seconds_bucket", "0.005"] == 1
    assert found["request_wait_seconds_bucket", "30.0"] == 1
    assert found["request_wait_seconds_bucket", "+Inf"] == 2


def test_a_refresh_tells_how_long_before_the_expiry_it_came() -> None:
    """One that came after it is in the first bucket, and takes nothing off the sum."""
    found = counted(refreshed(left_s=301.0), refreshed(left_s=-40.0))
    assert found["refresh_lead_seconds_bucket", "0.0"] == 1
    assert found["refresh_lead_seconds_bucket", "300.0"] == 1
    assert found["refresh_lead_seconds_bucket", "330.0"] == 2
    assert found["refresh_lead_seconds_sum",] == 301.0


def test_what_is_served_from_the_cache_tells_its_age() -> None:
    """In seconds."""
    found = counted(e.CacheServed(route="/r", served=Served.CACHE, age_s=70.0, ttl_s=600.0))
    assert ("cache_age_seconds_bucket", "60.0") not in found
    assert found["cache_age_seconds_bucket", "300.0"] == 1


def test_what_is_looked_at_stands_beside_what_is_counted() -> None:
    """Sessions by state, the recorder and the store's bytes, as they are at that moment."""
    recorder = type(NOTHING_YET.recorder)(
        running=True,
        queued=3,
        spilled=4,
        acknowledged=50,
        written=49,
        lost=2,
        flushes=7,
        flush_ms=1.0,
        newest_event_at=1.0,
        last_error=None,
    )
    now = Now(states={"ACTIVE": 5, "DEGRADED": 1}, recorder=recorder, file_bytes=1_000, log_bytes=20)
    assert counted(now=now) == {
        ("sessions", "ACTIVE"): 5,
        ("sessions", "DEGRADED"): 1,
        ("recorder_queued_events",): 3,
        ("recorder_spilled_events",): 4,
        ("recorder_stored_events_total",): 50,
        ("recorder_lost_events_total",): 2,
        ("store_bytes", "file"): 1_000,
        ("store_bytes", "log"): 20,
    }


def test_everything_is_told_from_the_start() -> None:
    """With 0: a counter that appears at 1 shows no increase to whoever asks for one."""
    text = Metrics().told(NOTHING_YET)[0].decode()
    assert 'session_core_sessions_ended_total{reason="refresh_rejected"} 0.0' in text
    assert 'session_core_sessions{state="LOCKED"} 0.0' in text
    assert "_created" not in text


def test_labels_have_bounds_whatever_is_said() -> None:
    """Words that nobody knew are one series; ids, routes and error texts are in none."""
    metrics = Metrics()
    before = metrics.told(NOTHING_YET)[0].count(b"\n")
    for number in range(1_000):
        for fact in (
            e.RetryScheduled(
                call=f"call-{number}", attempt=1, delay_s=1.0, cause=f"cause-{number}", told_by_server=True
            ),
            e.AlertRaised(alert=f"alert-{number}", error=f"error-{number}"),
            served(route=f"/orders/{number}"),
        ):
            origin = e.Origin(stream_id=f"stream-{number}", session_id=f"session-{number}", user_id=f"user-{number}")
            metrics.observe(e.Event(1, 1.0, 1.0, 1.0, origin, fact))
    text = metrics.told(NOTHING_YET)[0]
    assert text.count(b"\n") == before + 2 < SERIES_MAX
    assert 'session_core_retries_total{call="other",cause="other"} 1000.0' in text.decode()
    for word in (b"session-17", b"user-17", b"stream-17", b"orders", b"cause-17", b"error-17", b"alert-17"):
        assert word not in text


def test_every_kind_of_event_passes() -> None:
    """Those that are not counted as well: no emit may fail for its metrics."""
    known = set(Metrics()._seen)
    assert known < set(get_args(e.AnyFact))
    assert counted(e.UserActed(action="click")) == {}


@pytest.mark.parametrize(
    ("accept", "content_type", "read"),
    [
        ("", "text/plain; version=0.0.4", plain_text),
        ("*/*", "text/plain; version=0.0.4", plain_text),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", "application/openmetrics-text", open_metrics),
    ],
)
def test_both_formats_can_be_read(accept: str, content_type: str, read: object) -> None:
    """By the parsers of the Prometheus project."""
    metrics = Metrics()
    metrics.observe(e.Event(1, 1.0, 1.0, 1.0, ORIGIN, served()))
    text, told = metrics.told(NOTHING_YET, accept=accept)
    assert told.startswith(content_type)
    families = {family.name: family for family in read(text.decode())}  # type: ignore[operator]
    assert len(families) == len(Metrics().families(NOTHING_YET))
    assert all(family.documentation for family in families.values())


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """They take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient_threads")
def test_a_scrape_in_the_middle_of_counting_adds_up() -> None:
    """What one event counts for is there as a whole or not at all, and nothing is lost between threads."""
    metrics = Metrics()
    event = e.Event(1, 1.0, 1.0, 1.0, ORIGIN, served(duration_ms=1_000.0))

    def count() -> None:
        for _ in range(10_000):
            metrics.observe(event)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = values(metrics)
        requests = found.get(("requests_total", "none", "network"), 0)
        assert found.get(("request_duration_seconds_sum",), 0) == requests
        assert found.get(("request_wait_seconds_count",), 0) == requests
    assert values(metrics)["requests_total", "none", "network"] == 30_000


def test_a_value_beyond_every_bound_is_in_the_last_bucket() -> None:
    """And one exactly at a bound is inside it."""
    spread = Spread("some", "Some.", (1.0, 2.0))
    for value in (1.0, 1.5, 2.0, 99.0):
        spread.add(value)
    samples = {sample.labels["le"]: sample.value for sample in spread.family().samples if "le" in sample.labels}
    assert samples == {"1.0": 1, "2.0": 3, "+Inf": 4}
