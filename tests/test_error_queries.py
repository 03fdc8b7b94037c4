"""What fails, how often and for whom, on a small history worked out by hand; percentiles and single sessions too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import pandas as pd
import pytest
from test_queries import SPAN, START, History, failed, moved, refreshed, retried, seconds, started, tried
from test_rollups import BEFORE_QUARTERS

from session_core.events import CacheServed, RequestServed, SessionEnded, StuckFound, UserActed
from session_core.store import EventStore, Filters, error_queries, session_queries
from session_core.vocabulary import EndReason, ErrorClass, Outcome, Served, State, StepOutcome

BEFORE_LABELS = (
    "DROP VIEW all_troubles",
    "DROP MACRO TABLE labelled",
    "DROP MACRO label_of",
    "ALTER TABLE troubles DROP COLUMN label",
    "CREATE VIEW all_troubles AS FROM troubles UNION ALL FROM trouble((SELECT unfolded()), 9223372036854775807)",
    *BEFORE_QUARTERS,
    "UPDATE schema_version SET version = 5",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "events.duckdb")
    yield store
    store.close()


@pytest.fixture
def history(store: EventStore) -> History:
    return History(store)


def served(route: str, *, error: ErrorClass | None = None, status: int = 200, ms: float = 100.0) -> RequestServed:
    return RequestServed(
        method="GET",
        route=route,
        status=status,
        served=Served.NETWORK,
        duration_ms=ms,
        waited_ms=0.0,
        attempts=1,
        error=error,
    )


def test_rates_stand_with_their_counts_and_bounds_the_highest_first(store: EventStore, history: History) -> None:
    """One failure of two says less than five of ten, and its bounds say so."""
    for at_s in range(10):
        history.add(at_s, served("/chat", error=ErrorClass.SERVER if at_s < 5 else None))
    history.add(11.0, served("/echo"))
    history.add(12.0, served("/echo", error=ErrorClass.AUTH, status=401))
    history.add(13.0, served("/calm"))
    rates = error_queries.error_rates_by(store, SPAN, dimension="route")
    assert rates["value"].tolist() == ["/chat", "/echo", "/calm"]
    assert rates["percent"].tolist() == [50.0, 50.0, 0.0]
    assert rates["auth_errors"].tolist() == [0, 1, 0]
    width = rates["high_percent"] - rates["low_percent"]
    assert width[1] > width[0]


def test_kinds_of_trouble_say_when_how_often_and_for_whom(store: EventStore, history: History) -> None:
    """First and last seen, users touched, and the latest session as an example; what the user wanted is none."""
    history.add(1.0, served("/chat", error=ErrorClass.SERVER, status=503), "ann")
    history.add(5.0, served("/chat", error=ErrorClass.SERVER, status=503), "bob")
    history.add(6.0, served("/chat"), "bob")
    history.add(7.0, SessionEnded(reason=EndReason.SIGNED_OUT), "bob")
    history.add(8.0, SessionEnded(reason=EndReason.REFRESH_REJECTED), "cid")
    history.add(9.0, tried(StepOutcome.SKIPPED), "cid")
    history.add(9.0, StuckFound(state=State.REFRESHING, stuck_s=9.0), "cid")
    kinds = error_queries.error_kinds(store, SPAN).set_index("kind")
    assert sorted(kinds.index) == ["RequestServed", "SessionEnded", "StuckFound"]
    calls = kinds.loc["RequestServed"]
    assert (calls["what"], calls["where"], calls["visible"]) == ("server", "/chat", True)
    assert (calls["times"], calls["users"], calls["sessions"], calls["example_session"]) == (2, 2, 2, "bob")
    assert calls["per_1000_requests"] == pytest.approx(2000 / 3)
    assert (calls["first_at"].timestamp(), calls["last_at"].timestamp()) == (START + 1, START + 5)


def test_a_flow_says_what_became_of_refreshes(store: EventStore, history: History) -> None:
    """Every failure, retry, fallback and end is on its way once; what merely stopped is not."""
    history.add(1.0, refreshed())
    history.add(2.0, failed(Outcome.TRANSIENT))
    history.add(3.0, retried("server"))
    history.add(4.0, failed(Outcome.THROTTLED))
    history.add(5.0, tried(StepOutcome.OK))
    history.add(6.0, tried(StepOutcome.SKIPPED))
    history.add(7.0, SessionEnded(reason=EndReason.REFRESH_REJECTED))
    history.add(8.0, SessionEnded(reason=EndReason.STOPPED))
    flow = error_queries.refresh_flow(store, SPAN)
    assert set(flow.itertuples(index=False, name=None)) == {
        ("Refresh", "Refreshed", "", 1),
        ("Refresh", "Failed", "transient", 1),
        ("Refresh", "Failed", "throttled", 1),
        ("Failed", "Retried", "server", 1),
        ("Failed", "Fallback", "stored_credential", 1),
        ("Fallback", "Recovered", "stored_credential", 1),
        ("Sessions", "Signed out", "refresh_rejected", 1),
    }


def test_percentiles_are_within_a_bin_of_the_exact_ones(store: EventStore, history: History) -> None:
    """Of a hundred calls from 1 to 100 ms; whatever was measured has a line of its own."""
    for ms in range(1, 101):
        history.add(ms / 10, served("/chat", ms=float(ms)))
    history.add(20.0, refreshed())
    history.add(21.0, CacheServed(route="/chat", served=Served.CACHE, age_s=40.0, ttl_s=60.0))
    found = error_queries.values_of(store, SPAN).set_index("measure")
    assert found.loc["request_ms", ["p50", "p95"]].tolist() == pytest.approx([50.0, 95.0], rel=0.011)
    assert found.loc["age_s", "p50"] == pytest.approx(40.0, rel=0.011)
    assert found.loc["left_s", "p50"] == pytest.approx(9.0, rel=0.011)
    assert found.loc["waited_ms", "p99"] == 0.0
    over_time = error_queries.percentiles_over_time(store, SPAN, measure="request_ms")
    assert seconds(over_time["bucket"]) == [0.0]
    assert over_time["n"].tolist() == [100]


def test_questions_for_one_session_are_answered_from_its_events(store: EventStore, history: History) -> None:
    """Rollups of words do not tell sessions apart; the answer is the same as if they did."""
    history.add(1.0, served("/chat"), "ann")
    history.add(2.0, served("/chat", error=ErrorClass.SERVER), "bob")
    store.fold()
    rates = error_queries.error_rates_by(store, SPAN, Filters(session_id="bob"), dimension="route")
    assert rates[["requests", "errors"]].to_numpy().tolist() == [[1, 1]]
    assert error_queries.values_of(store, SPAN, Filters(user_id="ann"))["n"].tolist() == [1, 1]


def test_sessions_are_listed_the_worst_first_and_found_by_their_names(store: EventStore, history: History) -> None:
    """Each with what it came to; `found` counts those beyond the limit too."""
    history.add(0.0, started(), "ann")
    history.add(1.0, served("/chat"), "ann", device="laptop")
    history.add(2.0, UserActed(action="click"), "bob")
    history.add(3.0, SessionEnded(reason=EndReason.REFRESH_REJECTED), "bob")
    history.add(4.0, moved(State.DEGRADED), "cid")
    history.add(5.0, served("/chat", error=ErrorClass.SERVER), "cid")
    listed = session_queries.sessions(store, SPAN)
    assert listed["session_id"].tolist() == ["bob", "cid", "ann"]
    by_name = listed.set_index("session_id")
    assert by_name.loc["bob", ["interruptions", "end_reason"]].tolist() == [1, "refresh_rejected"]
    assert by_name.loc["cid", ["visible_errors", "state"]].tolist() == [1, "DEGRADED"]
    assert by_name.loc["ann", ["events", "requests", "device"]].tolist() == [2, 1, "laptop"]
    assert session_queries.sessions(store, SPAN, search="lapt")["session_id"].tolist() == ["ann"]
    assert session_queries.sessions(store, SPAN, only="interrupted")["session_id"].tolist() == ["bob"]
    one = session_queries.sessions(store, SPAN, rows_max=1)
    assert (len(one), one["found"].tolist()) == (1, [3])


def test_the_events_of_a_session_come_back_as_they_went_in(store: EventStore, history: History) -> None:
    """In the order in which they happened, whole, and only its own."""
    history.add(1.0, started(), "ann", app_version="2.0")
    history.add(2.0, served("/chat"), "ann", app_version="2.0")
    history.add(2.0, served("/chat"), "bob")
    [first, second] = session_queries.session_events(store, "ann")
    assert (first.fact, second.fact) == (started(), served("/chat"))
    assert (first.happened_at, first.origin.app_version, second.seq) == (START + 1, "2.0", 2)
    assert msgspec.json.encode(second)
    assert session_queries.session_events(store, "nobody") == []


def test_a_store_that_knew_no_labels_says_the_same_once_it_is_brought_up_to_date(
    store: EventStore, history: History
) -> None:
    """What was folded before is labelled, and what comes after joins it."""
    history.add(1.0, served("/chat", error=ErrorClass.SERVER, status=503), "ann")
    history.add(2.0, tried(StepOutcome.FAILED), "bob")
    history.add(3.0, tried(StepOutcome.OK), "bob")
    history.add(4.0, SessionEnded(reason=EndReason.REFRESH_REJECTED), "cid")
    history.add(5.0, SessionEnded(reason=EndReason.SIGNED_OUT), "dan")
    store.fold()
    said = error_queries.error_kinds(store, SPAN)
    store.close()
    with duckdb.connect(store.path) as connection:
        for statement in BEFORE_LABELS:
            connection.execute(statement)
    again = EventStore(store.path)
    pd.testing.assert_frame_equal(error_queries.error_kinds(again, SPAN), said)
    assert said["kind"].tolist() == ["FallbackTried", "RequestServed", "SessionEnded"]
    History(again).add(6.0, served("/chat", error=ErrorClass.SERVER, status=503), "eve")
    assert error_queries.error_kinds(again, SPAN).iloc[0][["kind", "users"]].tolist() == ["RequestServed", 2]
    again.close()
