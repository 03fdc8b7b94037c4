"""Every question has a right answer on a small history worked out by hand, and an empty one on an empty store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.events import (
    AnyFact,
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
from session_core.store import EventStore, Filters, TimeRange, bucket_width_s, error_queries, queries, session_queries
from session_core.store.selection import BUCKETS_MAX, SPAN_S_MAX, WIDTHS_S
from session_core.vocabulary import (
    Band,
    EndReason,
    ErrorClass,
    FallbackStep,
    Outcome,
    RefreshReason,
    Served,
    Signal,
    Source,
    State,
    StepOutcome,
)

START = 1_700_006_400.0  # A full hour.
SPAN = TimeRange(START, START + 600.0)
WIDTH_S = 60
DAY_S = 86_400.0

Question = Callable[[EventStore, TimeRange], pd.DataFrame]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "events.duckdb")
    yield store
    store.close()


class History:
    """Writes facts of sessions at seconds after START."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._seq = 0

    def add(self, at_s: float, fact: AnyFact, session: str = "ann", **origin: object) -> None:
        self._seq += 1
        whole = Origin(**{"stream_id": session, "session_id": session, "user_id": session} | origin)  # type: ignore[arg-type]
        self._store.append([Event(self._seq, START + at_s, 0.0, 0.0, whole, fact)])


@pytest.fixture
def history(store: EventStore) -> History:
    return History(store)


def moved(state_to: State, state_from: State = State.ACTIVE) -> StateChanged:
    return StateChanged(state_from=state_from, state_to=state_to, signal=Signal.REFRESH_FAILED)


def refreshed() -> TokenRefreshed:
    return TokenRefreshed(
        reason=RefreshReason.DUE,
        attempt=1,
        duration_ms=1.0,
        waited_s=0.0,
        left_s=9.0,
        life_s=10.0,
        rotated=True,
        moved=True,
    )


def failed(outcome: Outcome) -> RefreshFailed:
    return RefreshFailed(
        reason=RefreshReason.DUE,
        attempt=1,
        outcome=outcome,
        status=503,
        error="server_error",
        duration_ms=1.0,
        left_s=9.0,
    )


def served(error: ErrorClass | None = None, source: Served = Served.NETWORK, *, status: int = 200) -> RequestServed:
    return RequestServed(
        method="GET", route="/", status=status, served=source, duration_ms=1.0, waited_ms=0.0, attempts=1, error=error
    )


def tried(outcome: StepOutcome) -> FallbackTried:
    return FallbackTried(step=FallbackStep.STORED_CREDENTIAL, outcome=outcome, detail="", duration_ms=1.0)


def beat(health: float, band: Band, state: State = State.ACTIVE) -> HeartbeatBeat:
    return HeartbeatBeat(state=state, health=health, band=band, lowest="token_age", left_s=30.0)


def started() -> SessionStarted:
    return SessionStarted(resumed=False, life_s=600.0, idle_limit_s=None, absolute_limit_s=None)


def retried(cause: str) -> RetryScheduled:
    return RetryScheduled(call="token", attempt=1, delay_s=0.5, cause=cause, told_by_server=False)


def seconds(moments: pd.Series[pd.Timestamp]) -> list[float]:
    return [moment.timestamp() - START for moment in moments]


def counts(frame: pd.DataFrame, *names: str) -> dict[tuple[object, ...], int]:
    """The last column by the seconds after START and the other columns named."""
    keys = zip(seconds(frame["bucket"]), *(frame[name] for name in names), strict=True)
    return dict(zip(keys, frame.iloc[:, -1].tolist(), strict=True))


def states_at(frame: pd.DataFrame, at_s: float) -> dict[str, int]:
    rows = frame[frame["bucket"] == pd.Timestamp(START + at_s, unit="s", tz="UTC")]
    return dict(zip(rows["state"], rows["sessions"], strict=True))


def measure(frame: pd.DataFrame, name: str) -> tuple[float, float]:
    row = frame.set_index("measure").loc[name]
    return float(row["value"]), float(row["previous"])


QUESTIONS: dict[Question, list[str]] = {
    queries.sessions_by_state: ["bucket", "state", "sessions"],
    queries.sessions_by_band: ["band", "sessions", "health"],
    queries.refreshes_over_time: ["bucket", "outcome", "refreshes"],
    queries.retries_over_time: ["bucket", "call", "cause", "retries"],
    queries.fallbacks_over_time: ["bucket", "step", "outcome", "tries"],
    error_queries.errors_over_time: ["bucket", "error", "visible", "errors", "requests", "percent"],
    queries.sign_outs_by_reason: ["reason", "value", "previous"],
    lambda store, span: session_queries.session_health(store, "ann", span): [
        *("happened_at", "health", "band", "lowest", "state", "left_s")
    ],
    lambda store, span: session_queries.session_states(store, "ann", span): [
        *("started_at", "ended_at", "state", "signal", "seconds")
    ],
    lambda store, _span: session_queries.session_log(store, "ann"): ["happened_at", "seq", "kind", "fact"],
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_empty_store_answers_with_the_same_columns_and_no_rows(store: EventStore, question: Question) -> None:
    """A page needs no special case for the first day; a moment is a UTC time even when there is none."""
    frame = question(store, SPAN)
    assert list(frame.columns) == QUESTIONS[question]
    assert frame.empty
    moments = [name for name in frame.columns if name in {"bucket", "happened_at", "started_at", "ended_at"}]
    assert all(str(frame[name].dtype) == "datetime64[us, UTC]" for name in moments)


def test_the_headline_of_an_empty_store_is_zero_and_its_share_unknown(store: EventStore) -> None:
    """Every measure is there; nobody is said to be uninterrupted where nobody was."""
    frame = queries.headline(store, SPAN)
    assert list(frame.columns) == ["measure", "value", "previous"]
    by_measure = frame.set_index("measure")
    unknown = [name for name in by_measure.index if name.endswith("_percent") or name == "ux_score"]
    assert by_measure.loc[unknown].isna().all(axis=None)
    assert (by_measure.drop(unknown) == 0.0).all(axis=None)
    assert queries.newest_event_at(store) is None


@given(st.floats(min_value=0.001, max_value=5e9))
def test_buckets_are_as_narrow_as_their_number_allows(span_s: float) -> None:
    """At most 120 of them up to 840 days, none under a minute, and one width less would be too many."""
    width_s = bucket_width_s(span_s)
    assert width_s in WIDTHS_S
    assert width_s >= 60
    assert span_s <= width_s * BUCKETS_MAX or (span_s > SPAN_S_MAX and width_s == 7 * DAY_S)
    narrower = [other for other in WIDTHS_S if other < width_s]
    assert not narrower or span_s > narrower[-1] * BUCKETS_MAX


@pytest.mark.parametrize(
    ("span_s", "width_s"),
    [
        *((1, 60), (900, 60), (3_600, 60), (7_200, 60), (7_201, 120)),
        *((DAY_S, 900), (7 * DAY_S, 7_200), (30 * DAY_S, 21_600), (120 * DAY_S, DAY_S), (1e9, 7 * DAY_S)),
    ],
)
def test_the_width_follows_from_the_span(span_s: float, width_s: int) -> None:
    """At the boundary itself the narrower width still serves."""
    assert bucket_width_s(span_s) == width_s


def test_a_range_and_the_one_before_it_touch_without_overlap() -> None:
    """A range ends before its end, where the next one starts."""
    assert SPAN.previous == TimeRange(START - 600.0, START)
    with pytest.raises(AssertionError):
        TimeRange(START, START)


@given(st.floats(min_value=0, max_value=4e9), st.floats(min_value=0.001, max_value=SPAN_S_MAX))
def test_an_aligned_range_holds_the_range_in_whole_buckets(start_s: float, length_s: float) -> None:
    """Aligning once is enough, and what stands before it is aligned as well."""
    span = TimeRange(start_s, start_s + max(length_s, 0.001))
    aligned = span.aligned
    width_s = aligned.bucket_width_s
    assert aligned.start_s <= span.start_s < span.end_s <= aligned.end_s
    assert aligned.aligned == aligned
    assert all(at_s % width_s == 0 for at_s in (aligned.start_s, aligned.end_s, aligned.previous.start_s))
    assert aligned.end_s - aligned.start_s < length_s + 2 * width_s


@pytest.mark.parametrize(
    ("length_s", "buckets"), [(900, 15), (3_600, 60), (DAY_S, 96), (7 * DAY_S, 84), (30 * DAY_S, 120)]
)
def test_a_last_range_ends_with_the_bucket_that_holds_now(length_s: float, buckets: int) -> None:
    """It keeps its length, so that what stands before it is as long; a moment on a boundary begins a bucket."""
    width_s = bucket_width_s(length_s)
    for now_s in (START, START + 0.1, START + 7_199.9):
        span = TimeRange.last(length_s, now_s)
        assert span.aligned == span
        assert span.end_s - width_s <= now_s < span.end_s
        assert (span.end_s - span.start_s) / width_s == buckets


def test_a_range_is_half_open_to_the_microsecond(store: EventStore, history: History) -> None:
    """The event at the start counts, the one at the end belongs to the next range."""
    for at_s in (-0.000_001, 0.0, 599.999_999, 600.0):
        history.add(at_s, refreshed())
    assert queries.refreshes_over_time(store, SPAN)["refreshes"].sum() == 2


def test_states_are_carried_forward_until_they_change(store: EventStore, history: History) -> None:
    """A session is counted in every bucket, in the last state it had by the bucket's end."""
    history.add(-50.0, moved(State.ACTIVE, State.AUTHENTICATING))
    history.add(121.0, moved(State.REFRESHING))
    history.add(122.0, moved(State.DEGRADED, State.REFRESHING))
    history.add(240.0, moved(State.ACTIVE, State.DEGRADED))
    history.add(122.0, moved(State.ACTIVE, State.AUTHENTICATING), "bob")
    frame = queries.sessions_by_state(store, SPAN)
    assert states_at(frame, 0.0) == states_at(frame, 60.0) == {"ACTIVE": 1}
    assert states_at(frame, 120.0) == states_at(frame, 180.0) == {"ACTIVE": 1, "DEGRADED": 1}
    assert states_at(frame, 240.0) == states_at(frame, 540.0) == {"ACTIVE": 2}
    assert seconds(frame["bucket"])[-1] == 600.0 - WIDTH_S


def test_an_ended_session_is_no_longer_counted_whatever_order_its_end_was_told_in(
    store: EventStore, history: History
) -> None:
    """The end, a sign-out and a state told after the end all take a session out; a new start brings it back."""
    history.add(1.0, moved(State.ACTIVE), "ann")
    history.add(241.0, SessionEnded(reason=EndReason.IDLE_LIMIT), "ann")
    history.add(242.0, moved(State.LOCKED), "ann")
    history.add(481.0, moved(State.ACTIVE, State.LOCKED), "ann")
    history.add(482.0, started(), "ann")
    history.add(1.0, moved(State.SIGNED_OUT), "bob")
    frame = queries.sessions_by_state(store, SPAN)
    assert states_at(frame, 180.0) == {"ACTIVE": 1}
    assert states_at(frame, 240.0) == states_at(frame, 420.0) == {}
    assert states_at(frame, 480.0) == {"ACTIVE": 1}


def test_a_session_that_fell_silent_is_given_up_after_a_day(store: EventStore, history: History) -> None:
    """A process that died did not end its sessions; a heartbeat counts as a sign of life."""
    history.add(-DAY_S + 120.0, moved(State.ACTIVE), "ann")
    history.add(-DAY_S - 120.0, moved(State.ACTIVE), "bob")
    history.add(-DAY_S - 120.0, moved(State.ACTIVE), "cid")
    history.add(-DAY_S + 300.0, beat(90.0, Band.EXCELLENT, State.DEGRADED), "cid")
    frame = queries.sessions_by_state(store, SPAN)
    assert states_at(frame, 0.0) == {"ACTIVE": 1, "DEGRADED": 1}
    assert states_at(frame, 180.0) == {"DEGRADED": 1}
    assert states_at(frame, 360.0) == {}


def test_bands_are_those_of_the_last_heartbeat_of_running_sessions(store: EventStore, history: History) -> None:
    """The best band comes first; ended sessions and those that never beat are left out."""
    history.add(1.0, beat(10.0, Band.CRITICAL), "ann")
    history.add(2.0, beat(90.0, Band.EXCELLENT), "ann")
    history.add(1.0, beat(50.0, Band.FAIR), "bob")
    history.add(1.0, beat(90.0, Band.EXCELLENT), "cid")
    history.add(2.0, SessionEnded(reason=EndReason.SIGNED_OUT), "cid")
    history.add(1.0, started(), "dan")
    frame = queries.sessions_by_band(store, SPAN)
    assert list(frame.itertuples(index=False, name=None)) == [("excellent", 1, 90.0), ("fair", 1, 50.0)]


def test_refreshes_are_counted_by_bucket_and_outcome(store: EventStore, history: History) -> None:
    """Good ones are "ok", the others say how they failed."""
    for at_s, fact in ((0.0, refreshed()), (59.9, refreshed()), (60.0, refreshed()), (61.0, failed(Outcome.THROTTLED))):
        history.add(at_s, fact)
    frame = queries.refreshes_over_time(store, SPAN)
    assert counts(frame, "outcome") == {(0.0, "ok"): 2, (60.0, "ok"): 1, (60.0, "throttled"): 1}


def test_retries_fallbacks_and_errors_are_counted_by_what_they_were(store: EventStore, history: History) -> None:
    """Each by its own words; an error that the cache covered is marked as not visible."""
    history.add(1.0, retried("network"))
    history.add(2.0, retried("network"))
    history.add(67.0, retried("throttled"))
    history.add(1.0, tried(StepOutcome.SKIPPED))
    history.add(2.0, tried(StepOutcome.OK))
    history.add(1.0, served())
    history.add(2.0, served(ErrorClass.SERVER))
    history.add(3.0, served(ErrorClass.SERVER, Served.STALE_IF_ERROR))
    assert counts(queries.retries_over_time(store, SPAN), "call", "cause") == {
        (0.0, "token", "network"): 2,
        (60.0, "token", "throttled"): 1,
    }
    assert counts(queries.fallbacks_over_time(store, SPAN), "step", "outcome") == {
        (0.0, "stored_credential", "ok"): 1,
        (0.0, "stored_credential", "skipped"): 1,
    }
    errors = error_queries.errors_over_time(store, SPAN)
    assert counts(errors.drop(columns=["requests", "percent"]), "error", "visible") == {
        (0.0, "server", False): 1,
        (0.0, "server", True): 1,
    }
    assert set(errors["requests"]) == {3}
    assert errors["percent"].tolist() == pytest.approx([100 / 3] * 2)


def test_the_headline_counts_the_range_and_the_one_before(store: EventStore, history: History) -> None:
    """What happened before the previous range and after this one does not count."""
    for at_s in (-700.0, -10.0, 10.0, 20.0, 700.0):
        history.add(at_s, refreshed())
    history.add(1.0, failed(Outcome.TRANSIENT), "bob")
    history.add(2.0, retried("server"), "bob")
    history.add(3.0, tried(StepOutcome.SKIPPED), "bob")
    history.add(4.0, tried(StepOutcome.LATER), "bob")
    history.add(5.0, served(), "bob")
    history.add(6.0, served(ErrorClass.SERVER), "bob")
    history.add(7.0, served(ErrorClass.SERVER, Served.STALE_IF_ERROR), "bob")
    history.add(8.0, SessionEnded(reason=EndReason.STOPPED), "bob")
    history.add(9.0, SessionEnded(reason=EndReason.SIGNED_OUT), "cid")
    frame = queries.headline(store, SPAN)
    assert {name: measure(frame, name) for name in frame["measure"]} == {
        "sessions": (3.0, 1.0),
        "refreshes_ok": (2.0, 1.0),
        "refreshes_failed": (1.0, 0.0),
        "retries": (1.0, 0.0),
        "fallbacks": (1.0, 0.0),
        "sign_outs": (1.0, 0.0),
        "requests": (3.0, 0.0),
        "visible_errors": (1.0, 0.0),
        "ux_score": (100.0, pytest.approx(float("nan"), nan_ok=True)),
        "interruption_free_percent": (100.0, pytest.approx(float("nan"), nan_ok=True)),
        "interruption_free_users_percent": (100.0, pytest.approx(float("nan"), nan_ok=True)),
        "error_budget_left_percent": (100.0, pytest.approx(float("nan"), nan_ok=True)),
        "used_sessions": (1.0, 0.0),
        "active_h": (pytest.approx(300.0 / 3_600), 0.0),
    }


@pytest.mark.parametrize(
    ("fact", "percent"),
    [
        (SessionEnded(reason=EndReason.REFRESH_REJECTED), 50.0),
        (served(ErrorClass.AUTH, status=401), 50.0),
        (served(ErrorClass.SERVER), 100.0),
        (SessionEnded(reason=EndReason.SIGNED_OUT), 100.0),
        (SessionEnded(reason=EndReason.IDLE_LIMIT), 100.0),
        (SessionEnded(reason=EndReason.ABSOLUTE_LIMIT), 100.0),
    ],
)
def test_only_what_a_person_did_not_ask_for_interrupts(
    store: EventStore, history: History, fact: AnyFact, percent: float
) -> None:
    """A forced sign-in and a 401 that came through do; other errors, the user's own sign-out and limits do not."""
    history.add(0.0, UserActed(action="click"), "ann")
    history.add(1.0, fact, "ann")
    history.add(2.0, fact, "ann")
    history.add(1.0, UserActed(action="click"), "bob")
    assert measure(queries.headline(store, SPAN), "interruption_free_percent")[0] == percent


def test_sign_outs_are_counted_by_reason(store: EventStore, history: History) -> None:
    """The most frequent first, beside the range before; merely stopping is none."""
    for at_s, reason in (
        (-5.0, EndReason.IDLE_LIMIT),
        (1.0, EndReason.IDLE_LIMIT),
        (2.0, EndReason.SIGNED_OUT),
        (3.0, EndReason.SIGNED_OUT),
        (4.0, EndReason.STOPPED),
    ):
        history.add(at_s, SessionEnded(reason=reason))
    frame = queries.sign_outs_by_reason(store, SPAN)
    assert list(frame.itertuples(index=False, name=None)) == [("signed_out", 2, 0), ("idle_limit", 1, 1)]


@pytest.mark.parametrize(
    "filters",
    [
        Filters(source=Source.SIM),
        Filters(policy="basic"),
        Filters(scenario="lunch"),
        Filters(run_id="run-1"),
        Filters(user_id="someone"),
        Filters(session_id="bob"),
        Filters(device="laptop"),
        Filters(app_version="2.0"),
        Filters(source=Source.SIM, policy="basic"),
    ],
)
def test_filters_let_only_their_own_events_through(store: EventStore, history: History, filters: Filters) -> None:
    """Each filter by itself and together finds the one event that has those values."""
    history.add(1.0, refreshed())
    chosen = {
        "source": Source.SIM,
        "policy": "basic",
        "scenario": "lunch",
        "run_id": "run-1",
        "user_id": "someone",
        "device": "laptop",
        "app_version": "2.0",
    }
    history.add(2.0, refreshed(), "bob", **chosen)
    assert queries.refreshes_over_time(store, SPAN)["refreshes"].sum() == 2
    assert queries.refreshes_over_time(store, SPAN, filters)["refreshes"].sum() == 1
    newest_at = queries.newest_event_at(store, filters)
    assert newest_at is not None
    assert newest_at.timestamp() == START + 2.0


def test_a_filter_is_a_value_and_never_a_piece_of_sql(store: EventStore, history: History) -> None:
    """Quotes and semicolons find nothing and break nothing."""
    history.add(1.0, refreshed())
    hostile = "x'; DROP TABLE events; --"
    assert queries.refreshes_over_time(store, SPAN, Filters(policy=hostile)).empty
    assert session_queries.session_log(store, hostile).empty
    assert len(session_queries.session_log(store, "ann")) == 1


def test_the_log_of_a_session_is_its_latest_events(store: EventStore, history: History) -> None:
    """Newest first, at most as many as asked for, with the whole fact."""
    for at_s in range(5):
        history.add(float(at_s), UserActed(action=f"click {at_s}"))
    history.add(9.0, UserActed(action="another session's"), "bob")
    frame = session_queries.session_log(store, "ann", lines_max=2)
    assert frame["fact"].tolist() == [
        {"kind": "UserActed", "action": "click 4"},
        {"kind": "UserActed", "action": "click 3"},
    ]
    assert seconds(frame["happened_at"]) == [4.0, 3.0]


def test_the_health_of_a_session_is_each_of_its_heartbeats(store: EventStore, history: History) -> None:
    """With the part that decided the score."""
    history.add(1.0, beat(90.0, Band.EXCELLENT))
    history.add(2.0, beat(15.0, Band.CRITICAL, State.DEGRADED))
    frame = session_queries.session_health(store, "ann", SPAN)
    assert frame.drop(columns="happened_at").to_numpy().tolist() == [
        [90.0, "excellent", "token_age", "ACTIVE", 30.0],
        [15.0, "critical", "token_age", "DEGRADED", 30.0],
    ]


def test_the_path_of_a_session_ends_with_the_session_or_the_range(store: EventStore, history: History) -> None:
    """Each stretch lasts until the next begins."""
    history.add(10.0, moved(State.ACTIVE, State.AUTHENTICATING))
    history.add(70.0, moved(State.DEGRADED))
    history.add(100.0, moved(State.ACTIVE), "bob")
    history.add(130.0, SessionEnded(reason=EndReason.SIGNED_OUT))
    frame = session_queries.session_states(store, "ann", SPAN)
    assert frame[["state", "seconds", "signal"]].to_numpy().tolist() == [
        ["ACTIVE", 60.0, "refresh_failed"],
        ["DEGRADED", 60.0, "refresh_failed"],
    ]
    assert seconds(frame["ended_at"]) == [70.0, 130.0]
    assert session_queries.session_states(store, "bob", SPAN)["seconds"].tolist() == [500.0]
