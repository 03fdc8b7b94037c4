"""Rollups say what the events say: however these came, folded or not, in one piece or with restarts between."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import msgspec
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_ux_score import FACTS, STARTED, served
from tries import tries

from session_core.events import AnyFact, Event, HeartbeatBeat, Origin
from session_core.store import EventStore, Filters, TimeRange
from session_core.store.rollups import ROLLUPS, TABLES, Retention
from session_core.store.session_queries import session_events
from session_core.store.ux_queries import ux_by, ux_figures, ux_over_time, ux_over_time_by, ux_score
from session_core.ux_inputs import Window, observe
from session_core.ux_score import score
from session_core.vocabulary import Band, State

NOON = 1_800_000_000.0
DAY_S = 86_400.0
DAY = TimeRange(NOON - 12 * 3_600, NOON + 12 * 3_600)
BEFORE_QUARTERS = [f"DROP VIEW all_{table}; DROP TABLE {table}" for table in TABLES if table.endswith("_quarters")]
MONTH = TimeRange(NOON - 15 * DAY_S, NOON + 15 * DAY_S)
BEAT = HeartbeatBeat(state=State.ACTIVE, health=97.0, band=Band.EXCELLENT, lowest="token_age", left_s=9.0)
OF_EVENTS = ("sessions", "counts", "values")


def ordered(events: Sequence[Event]) -> list[Event]:
    """As the score reads them: a stream by its numbers, streams beside each other by the latest moment of each."""
    reached: dict[str, float] = {}
    placed = []
    for event in sorted(events, key=lambda event: event.seq):
        stream = event.origin.stream_id
        reached[stream] = max(reached.get(stream, 0.0), event.happened_at)
        placed.append(((reached[stream], stream, event.seq), event))
    return [event for _, event in sorted(placed, key=lambda pair: pair[0])]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Some sessions of some streams, whose clocks may step back."""
    events = []
    for stream in range(draw(st.integers(1, 4))):
        session = f"s{draw(st.integers(1, 3))}"
        origin = Origin(
            stream_id=f"t{stream}",
            session_id=session,
            user_id=f"user of {session}",
            policy=draw(st.sampled_from(("basic", "professional"))),
        )
        at_s, step_s = draw(st.integers(0, 4_000)), 0.0
        for seq in range(1, draw(st.integers(1, 12)) + 1):
            at_s += draw(st.sampled_from((0, 1, 20, 200, 4_000)))
            step_s += draw(st.sampled_from((0, 0, 0, -100)))
            fact: AnyFact = draw(st.sampled_from((*FACTS, BEAT)))
            events.append(Event(seq, NOON + at_s + step_s, float(at_s), float(at_s), origin, fact))
    return events


def arrive(path: Path, events: Sequence[Event], rng: random.Random, *, mixed: float) -> None:
    """In batches, some twice, some late, with maintenance and restarts between."""
    waiting = [*events, *rng.sample(events, len(events) // 3)]
    waiting.sort(key=lambda event: event.happened_at + rng.uniform(0, mixed))
    store = EventStore(path)
    while waiting:
        batch = [waiting.pop(0) for _ in range(min(len(waiting), rng.randint(1, 8)))]
        store.append_once(batch)
        match rng.randint(0, 5):
            case 0:
                store.maintain()
            case 1:
                store.fold()
            case 2:
                store.close()
                store = EventStore(path)
    while store.maintain():
        pass
    store.close()


@given(events=logs(), rng=st.randoms(use_true_random=False), mixed=st.sampled_from((0.0, 0.0, 500.0)))
@settings(max_examples=tries(25, in_ci=10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rollups_hold_what_the_score_is_made_of(events: list[Event], rng: random.Random, mixed: float) -> None:
    """To the last digit, for the whole and for any window, before they are folded and after."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.duckdb"
        arrive(path, events, rng, mixed=mixed)
        window = Window(NOON, NOON + 3_600)
        store = EventStore(path)
        for _ in range(2):
            assert ux_figures(store, DAY) == observe(ordered(events)).figures
            assert ux_figures(store, MONTH) == observe(ordered(events)).figures
            hour = TimeRange(window.start_s, window.end_s)
            assert ux_figures(store, hour) == observe(ordered(events), window=window).figures
            store.fold()
        store.close()


@given(events=logs(), rng=st.randoms(use_true_random=False))
@settings(max_examples=tries(10, in_ci=6), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_folded_counts_the_same_as_what_is_not(events: list[Event], rng: random.Random) -> None:
    """Every rollup, row by row, beside one that was made of all events at once."""
    with TemporaryDirectory() as folder:
        pieces, whole = EventStore(Path(folder) / "pieces.duckdb"), EventStore(Path(folder) / "whole.duckdb")
        for start in range(0, len(events), 5):
            pieces.append(events[start : start + 5])
            if rng.random() < 0.5:
                pieces.fold()
        whole.append(events)
        for table in OF_EVENTS:
            for grain in ROLLUPS[table]:
                pd.testing.assert_frame_equal(summed(pieces, table, grain), summed(whole, table, grain))
        pieces.close()
        whole.close()


@given(events=logs(), latest=st.integers(1, 9))
@settings(max_examples=tries(10, in_ci=6), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_session_is_told_in_the_order_in_which_it_is_counted(events: list[Event], latest: int) -> None:
    """Whole, or its latest events where there are more than can be shown."""
    with TemporaryDirectory() as folder:
        store = EventStore(Path(folder) / "events.duckdb")
        store.append(events)
        for name in {event.origin.session_id for event in events}:
            told = [event for event in ordered(events) if event.origin.session_id == name]
            assert session_events(store, name) == told
            assert session_events(store, name, events_max=latest) == told[-latest:]
        store.close()


def summed(store: EventStore, table: str, grain: str) -> pd.DataFrame:
    sums = {
        "sessions": "session_id, sum(events), sum(requests), sum(sign_outs), arg_max(state, state_at), arg_max(band, band_at),"
        " arg_max(edge, edge_at), arg_max(end_reason, edge_at), min(first_at), max(last_at)",
        "counts": "policy, kind, outcome, reason, error, status, sum(n)",
        "values": "policy, route, measure, bin, sum(n)",
    }
    asked = f"SELECT bucket, {sums[table]} FROM all_{table}_{grain} GROUP BY ALL ORDER BY ALL"
    return store.read(asked).to_pandas()


def event(seq: int, fact: AnyFact, *, at_s: float, session: str = "s1", policy: str = "professional") -> Event:
    origin = Origin(stream_id="t" + session, session_id=session, user_id="u" + session, policy=policy)
    return Event(seq, NOON + at_s, at_s, at_s, origin, fact)


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "events.duckdb")


def test_scores_over_time_and_by_dimension_are_those_of_their_events(store: EventStore) -> None:
    """Each bucket and each policy as if it were asked alone."""
    calm = [event(n, served(), at_s=60.0 * n) for n in range(1, 10)]
    torn = [event(n, served(401), at_s=3_000.0 * n, session="s2", policy="basic") for n in range(1, 10)]
    store.append([*calm, *torn])
    by_policy = ux_by(store, DAY, dimension="policy").set_index("value")
    assert by_policy.loc["professional", "score"] == score(observe(calm)).score
    assert by_policy.loc["basic", "score"] == score(observe(torn)).score
    over_time = ux_over_time(store, DAY)
    for row in over_time.itertuples():
        start_s = row.bucket.timestamp()
        window = Window(start_s, start_s + DAY.bucket_width_s)
        assert row.score == score(observe([*calm, *torn], window=window)).score
    split = ux_over_time_by(store, DAY, dimension="policy")
    assert set(split["value"]) == {"basic", "professional"}
    only = split[split["value"] == "basic"].drop(columns="value").reset_index(drop=True)
    pd.testing.assert_frame_equal(only, ux_over_time(store, DAY, Filters(policy="basic")))


def test_an_empty_store_has_a_score_of_nothing(store: EventStore) -> None:
    """No rows, the same columns."""
    assert ux_score(store, DAY).sessions == 0
    asked = (ux_over_time, partial(ux_by, dimension="device"), partial(ux_over_time_by, dimension="device"))
    empty = [ask(store, DAY) for ask in asked]
    store.append([event(1, served(), at_s=0)])
    for frame, ask in zip(empty, asked, strict=True):
        assert frame.empty
        assert list(frame.columns) == list(ask(store, DAY).columns)


def test_a_late_event_of_a_closed_hour_is_counted_where_it_belongs(store: EventStore) -> None:
    """The session is counted anew; the others stand as they are."""
    log = [event(n, served(401 if n == 3 else 200), at_s=900.0 * n) for n in range(1, 9)]
    others = [event(n, served(), at_s=900.0 * n, session="s2") for n in range(1, 9)]
    store.append([*(one for one in log if one.seq != 3), *others])
    store.fold()
    store.append([log[2]])
    while store.maintain():
        pass
    assert ux_figures(store, DAY) == observe([*log, *others]).figures


def test_an_append_that_failed_counts_nothing(store: EventStore) -> None:
    """What was counted of it is forgotten, and the next events of the session are counted right."""
    store.append([event(1, served(), at_s=0)])
    bad = msgspec.structs.replace(event(2, served(401), at_s=60), happened_at=1e18)
    with pytest.raises((ValueError, OverflowError)):
        store.append([event(2, served(401), at_s=60), bad])
    again = [event(2, served(), at_s=60), event(3, served(), at_s=120)]
    store.append(again)
    while store.maintain():
        pass
    assert ux_figures(store, DAY) == observe([event(1, served(), at_s=0), *again]).figures


def test_retention_drops_events_and_keeps_what_hours_say(store: EventStore) -> None:
    """Ninety days later the events are gone, the score is not; two years later it is gone too."""
    log = [event(n, served(), at_s=900.0 * n) for n in range(1, 9)]
    store.append(log)
    store.forget_before(NOON + 100 * DAY_S, Retention())
    assert store.read("SELECT count(*) AS n FROM events").column("n")[0].as_py() == 0
    assert ux_figures(store, TimeRange(NOON - 30 * DAY_S, NOON + 30 * DAY_S)) == observe(log).figures
    store.forget_before(NOON + 1_000 * DAY_S, Retention())
    assert ux_figures(store, TimeRange(NOON - 30 * DAY_S, NOON + 30 * DAY_S)).sessions == 0


def test_two_streams_of_a_session_count_in_the_order_of_their_moments(store: EventStore) -> None:
    """A second device's call of a minute ago comes after the first's of now: the pause between them is one pause."""
    here = [event(1, served(), at_s=0), event(2, served(), at_s=400)]
    there = Event(1, NOON + 200, 200.0, 200.0, msgspec.structs.replace(here[0].origin, stream_id="other"), served())
    for one in (*here, there):
        store.append([one])
    while store.maintain():
        pass
    assert ux_figures(store, DAY).active_s == 700.0
    assert ux_figures(store, DAY) == observe([here[0], there, here[1]]).figures


def test_a_day_that_is_over_is_laid_out_by_session_and_says_the_same(store: EventStore) -> None:
    """No event is lost, doubled or changed; the day that goes on is left alone."""
    days = [event(n, served(), at_s=DAY_S * (n % 3) + n, session=f"s{n % 5}", policy="basic") for n in range(1, 31)]
    days.sort(key=lambda one: one.happened_at)
    store.append(days)
    asked = "SELECT stream_id, seq, happened_at, fact FROM events ORDER BY stream_id, seq"
    before = store.read(asked)
    store.fold()
    assert store.read(asked) == before
    laid = store.read("SELECT bucket_of(happened_at, 86400) AS day, session_key FROM events ORDER BY rowid").to_pandas()
    over, going_on = laid[laid["day"] < laid["day"].max()], laid[laid["day"] == laid["day"].max()]
    assert over.equals(over.sort_values(["day", "session_key"], kind="stable"))
    assert not going_on["session_key"].is_monotonic_increasing


def test_what_is_older_than_its_minutes_is_not_counted_twice(store: EventStore) -> None:
    """A session that goes on for months and is counted anew keeps what its old hours say."""
    old = [event(n, served(), at_s=60.0 * n, session="s1") for n in range(1, 9)]
    store.append(old)
    store.forget_before(NOON + 60 * DAY_S, Retention())
    new = [event(n, served(), at_s=50 * DAY_S + 60.0 * n, session="s1") for n in range(11, 19)]
    store.append([one for one in new if one.seq != 13])
    store.fold()
    store.append([new[2]])
    while store.maintain():
        pass
    span = TimeRange(NOON - 60 * DAY_S, NOON + 60 * DAY_S)
    assert ux_figures(store, span).requests == 16
    assert ux_figures(store, span).active_s == observe([*old, *new]).active_s


def test_a_beginning_that_comes_last_after_a_restart_begins_nothing_anew(tmp_path: Path) -> None:
    """The store knows the session although the process does not, and its use is counted once."""
    path = tmp_path / "late.duckdb"
    store = EventStore(path)
    store.append([event(2, served(), at_s=60)])
    store.close()
    store = EventStore(path)
    store.append([event(1, STARTED, at_s=0)])
    while store.maintain():
        pass
    assert ux_figures(store, DAY) == observe([event(1, STARTED, at_s=0), event(2, served(), at_s=60)]).figures


def test_quarters_are_made_of_the_hours_of_a_store_that_had_none(store: EventStore) -> None:
    """Brought up to date it says what it said, in each grain, and goes on from there."""
    log = [event(n, served(401 if n % 5 == 0 else 200), at_s=1_700.0 * n, session=f"s{n % 3}") for n in range(1, 40)]
    store.append(log[:30])
    store.fold()
    said = summed(store, "sessions", "quarters")
    figures = ux_figures(store, MONTH)
    store.close()
    with duckdb.connect(store.path) as connection:
        for statement in (*BEFORE_QUARTERS, "UPDATE schema_version SET version = 6"):
            connection.execute(statement)
    again = EventStore(store.path)
    pd.testing.assert_frame_equal(summed(again, "sessions", "quarters"), said)
    assert ux_figures(again, MONTH) == figures == observe(log[:30]).figures
    again.append(log[30:])
    again.fold()
    assert ux_figures(again, MONTH) == observe(log).figures
    again.close()
