"""The sample data in a store: marked, in order, replaced by the next, and telling the story it is there to tell."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pytest
from demo_kit import DAY_S, NOON, the_last

from session_core.config import PROFESSIONAL
from session_core.dashboard import lanes
from session_core.demo.fill import fill
from session_core.demo.plan import RUN_ID, Stay, scene
from session_core.demo.play import Played, play
from session_core.events import (
    DeviceChanged,
    Event,
    NetworkChanged,
    Origin,
    ProviderSaw,
    SessionEnded,
    SessionStarted,
    UserActed,
    UserSaw,
)
from session_core.lab import run_sweep
from session_core.lab_jobs import plan as plan_runs
from session_core.sim.clock import EPOCH_S
from session_core.sim.scenario import read_catalogue
from session_core.store import EventStore, Filters, TimeRange, queries
from session_core.vocabulary import EndReason, Source, State

FEW = the_last(4, users=2)
WHOLE = TimeRange(NOON - 5 * DAY_S, NOON + DAY_S)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = EventStore(tmp_path / "events.duckdb")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    """A store with the sample data of FEW, to be looked at only."""
    opened = EventStore(tmp_path_factory.mktemp("demo") / "events.duckdb")
    fill(opened, FEW, processes=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def played() -> dict[tuple[str, str], list[Event]]:
    """A week of every device under either policy, by both."""
    week = the_last(10, users=7)
    return {(stay.stretch.release.policy.name, stay.kit.name): events_of(play(stay)) for stay in week.stays()}


def events_of(one: Played) -> list[Event]:
    return list(chain.from_iterable(one.events_of(day) for day in range(one.stay.stretch.days)))


def rows(store: EventStore, what: str, where: str = "true") -> list[object]:
    return store.read(f"SELECT {what} AS answer FROM events WHERE {where}").column("answer").to_pylist()


def real(seq: int = 1) -> Event:
    origin = Origin(stream_id="real", session_id="real", user_id="ada")
    return Event(seq, NOON - 3_600, 5.0, 5.0, origin, UserActed(action="click"))


# What one person's stay tells


def test_every_event_wears_the_marks_of_simulated_data(played: dict[tuple[str, str], list[Event]]) -> None:
    """Whoever looks at one can tell where it is from, and which half of the time it belongs to."""
    for (policy, device), events in played.items():
        for event in events:
            origin = event.origin
            assert (origin.source, origin.scenario, origin.run_id) == (Source.SIM, "demo", RUN_ID)
            assert (origin.policy, origin.device) == (policy, device)
            assert origin.app_version == {"basic": "1.0", "professional": "2.0"}[policy]


def test_an_event_has_a_name_of_its_own(played: dict[tuple[str, str], list[Event]]) -> None:
    """Those of everybody together."""
    names = [(event.origin.stream_id, event.seq) for events in played.values() for event in events]
    assert len(names) == len(set(names))


def test_before_the_switch_people_are_signed_out_and_after_it_they_are_not(
    played: dict[tuple[str, str], list[Event]],
) -> None:
    """On every device: this is what the charts are to show."""

    def forced(policy: str, device: str) -> int:
        ends = [event.fact for event in played[policy, device] if isinstance(event.fact, SessionEnded)]
        return sum(end.reason is not EndReason.SIGNED_OUT for end in ends)

    devices = {device for _, device in played}
    assert min(forced("basic", device) for device in devices) > 5
    assert {forced("professional", device) for device in devices} == {0}


def test_the_log_of_a_session_tells_of_its_device(played: dict[tuple[str, str], list[Event]]) -> None:
    """Sleep, network and what the user saw belong to the session that was open then, so that it can be explained."""
    events = played["basic", "laptop-1"]
    started: list[str] = []
    for event in events:
        if isinstance(event.fact, SessionStarted):
            started.append(event.origin.session_id)
        if isinstance(event.fact, DeviceChanged | NetworkChanged | UserSaw) and started:
            assert event.origin.session_id == started[-1]
            assert event.origin.user_id == "demo-user-000"
    assert len(set(started)) == len(started) > 5


def test_only_a_simulated_provider_could_tell_what_is_left_out(played: dict[tuple[str, str], list[Event]]) -> None:
    """It would be a fifth of the log."""
    assert not [event for events in played.values() for event in events if isinstance(event.fact, ProviderSaw)]


def test_a_stay_is_moved_in_time_as_a_whole() -> None:
    """All three clocks by the same, so that what lies between two events stays what it was, and drawn where it belongs."""
    [stay, *_] = FEW.stays()
    events = events_of(play(stay))
    planned = scene(stay)
    assert planned is not None
    assert {round(event.happened_at - event.boot, 3) for event in events} == {EPOCH_S}
    assert all(lanes.when(event) == pytest.approx(event.happened_at, abs=0.001) for event in events)
    assert planned.begins_s - 15 <= events[0].happened_at <= planned.begins_s + 60
    assert stay.stretch.from_s - 15 <= events[0].happened_at
    assert max(event.happened_at for event in events) <= stay.stretch.until_s


def test_a_stay_is_played_the_same_again_and_at_another_time_under_other_names() -> None:
    """The seed decides what happens; sessions of two fillings are never taken for each other."""
    [stay, *_] = FEW.stays()
    assert play(stay) == play(stay)
    [later, *_] = the_last(4, users=2, until_s=NOON + 7 * DAY_S).stays()
    sessions = {event.origin.session_id for event in events_of(play(stay)) if event.origin.user_id}
    others = {event.origin.session_id for event in events_of(play(later)) if event.origin.user_id}
    assert sessions
    assert sessions.isdisjoint(others)


def test_who_used_nothing_tells_nothing() -> None:
    """No event, and no failure."""
    night = datetime(2026, 6, 10, 4, tzinfo=UTC).timestamp()
    desktop = the_last(1, users=7, until_s=night).stays()[9]
    assert play(desktop).days == {}


# What is in the store


def test_a_store_is_filled_up_to_now(store: EventStore) -> None:
    """And not a moment beyond, nor much earlier than asked for."""
    filled = fill(store, FEW, processes=1)
    moments = rows(store, "epoch(happened_at)")
    assert len(moments) == filled.events > 1_000
    assert NOON - DAY_S / 2 < max(moments) <= NOON
    assert FEW.from_s - 15 <= min(moments) < FEW.from_s + DAY_S
    assert (filled.days, filled.is_stopped) == (4.0, False)


def test_it_ends_with_sessions_that_are_open(full: EventStore) -> None:
    """The app shows people at work, as it would."""
    states = queries.sessions_by_state(full, TimeRange(NOON - 3_600, NOON), Filters(source=Source.SIM))
    assert states["sessions"].sum() > 0


def test_a_networks_state_is_never_taken_for_a_sessions(full: EventStore) -> None:
    """Both are in the log of the same session."""
    assert rows(full, "count(*)", "kind = 'NetworkChanged' AND user_id <> ''")[0]
    assert set(queries.sessions_by_state(full, WHOLE)["state"]) <= set(State)


def test_the_questions_tell_the_switch(full: EventStore) -> None:
    """From the rollups, as the pages ask."""
    measures = queries.headline(full, TimeRange(NOON - 2 * DAY_S, NOON), Filters(source=Source.SIM))
    after, before = (measures.set_index("measure")[name] for name in ("value", "previous"))
    assert after["ux_score"] > 80
    assert before["ux_score"] < 60
    assert after["interruption_free_percent"] == 100
    assert before["interruption_free_percent"] < 50
    assert after["refreshes_ok"] > 0 == before["refreshes_ok"]


def test_each_incident_is_told_once_for_everyone(full: EventStore) -> None:
    """With its beginning and its end, in words that can stand on a chart."""
    [told] = rows(full, "list(kind || ' ' || (fact ->> 'fault') ORDER BY happened_at)", "device = 'provider'")
    names = [incident.shape.name for _, incident in FEW.incidents()]
    assert told == list(chain.from_iterable((f"FaultOrdered {name}", f"FaultEnded {name}") for name in names))


def test_filling_again_replaces_and_does_not_double(store: EventStore) -> None:
    """Also with another seed, and fewer people."""
    fill(store, FEW, processes=1)
    again = fill(store, the_last(2, users=1, seed=9, until_s=NOON + 60), processes=1)
    assert rows(store, "count(*)") == [again.events]
    assert len(set(rows(store, "user_id", "user_id <> ''"))) == 1
    headline = queries.headline(store, WHOLE, Filters(source=Source.SIM)).set_index("measure")
    assert headline["value"]["requests"] == rows(store, "count(*)", "kind = 'RequestServed'")[0]


def test_nothing_else_is_touched(store: EventStore) -> None:
    """Neither what really happened nor a tester's runs, even of a scenario that is called like it."""
    store.append([real()])
    night = read_catalogue()["lid-close-overnight"]
    run_sweep(plan_runs([night], [PROFESSIONAL], [1]), store=store, processes=1)
    before = rows(store, "count(*)", f"run_id IS DISTINCT FROM '{RUN_ID}'")
    for _ in range(2):
        fill(store, FEW, processes=1)
    assert rows(store, "count(*)", f"run_id IS DISTINCT FROM '{RUN_ID}'") == before
    assert rows(store, "count(*)", "source = 'live'") == [1]
    assert len(queries.runs(store)) == 1


def test_it_is_the_same_in_one_process_and_in_two(store: EventStore, tmp_path: Path) -> None:
    """However the parts come back."""
    other = EventStore(tmp_path / "other.duckdb")
    assert fill(store, FEW, processes=1) == fill(other, FEW, processes=2)
    everything = "stream_id || seq || epoch_us(happened_at) || session_id || fact::VARCHAR"
    assert sorted(rows(store, everything)) == sorted(rows(other, everything))
    other.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_one_that_is_stopped_keeps_whole_days_and_says_how_many(store: EventStore, processes: int) -> None:
    """Those from the beginning; what is not complete is not there."""
    seen: list[Stay] = []
    stop = threading.Event()

    def count(stay: Stay) -> None:
        seen.append(stay)
        if len(seen) >= 3 and {each.person for each in seen if each.stretch.number == 0} == {0, 1}:
            stop.set()

    plan = the_last(30, users=2)
    filled = fill(store, plan, processes=processes, on_played=count, stop=stop.is_set)
    assert filled.is_stopped
    assert 0 < filled.days < filled.days_planned == 30.0
    latest = rows(store, "max(epoch(happened_at))")[0]
    assert filled.until_s - DAY_S < latest <= filled.until_s


def test_one_that_is_stopped_at_once_leaves_nothing(store: EventStore) -> None:
    """Not even of what was there before."""
    fill(store, FEW, processes=1)
    filled = fill(store, FEW, processes=1, stop=lambda: True)
    assert (filled.events, filled.days, filled.is_stopped) == (0, 0.0, True)
    assert rows(store, "count(*)") == [0]


def test_ctrl_c_keeps_what_is_done(store: EventStore) -> None:
    """In this process; and it is not an error."""
    calls: list[Stay] = []

    def press(stay: Stay) -> None:
        calls.append(stay)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    filled = fill(store, FEW, processes=1, on_played=press)
    assert filled.is_stopped
    assert rows(store, "count(*)") == [filled.events]
    assert filled.events > 0


def test_everybody_is_told_of(store: EventStore) -> None:
    """So that a bar can go on."""
    told: list[Stay] = []
    fill(store, FEW, processes=1, on_played=told.append)
    assert told == list(FEW.stays())


def test_a_day_is_all_that_is_in_memory_at_once(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many days there are: what is written together never spans more than one, and all is in order of time."""
    written: list[list[float]] = []
    append = store.append

    def watched(events: list[Event]) -> None:
        written.append([event.happened_at for event in events])
        append(events)

    monkeypatch.setattr(store, "append", watched)
    fill(store, the_last(12, users=2), processes=1)
    assert len(written) == 12
    assert max(max(day) - min(day) for day in written) <= DAY_S + 15
    moments = list(chain.from_iterable(written))
    assert moments == sorted(moments)
