"""What rules look at is counted by when it happened, in windows that end at the newest event."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alert_kit import (
    ACTED,
    FORCED_OUT,
    NOW,
    RAISED,
    ROTATED,
    SIGNED_OUT,
    STARTED,
    STUCK,
    History,
    beat,
    refused,
)

from session_core.alert_rules import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    AlertRule,
    AlertSettings,
    Measure,
    Measured,
    Objective,
    Observation,
)
from session_core.store import EventStore
from session_core.store.alert_measures import budget_of, error_budget, measure
from session_core.vocabulary import Outcome, Source


def rule(of: Measure, window_s: float = HOUR_S) -> AlertRule:
    short_s = 5 * MINUTE_S if of is Measure.BURN else None
    threshold = 0.2 if of is Measure.HEALTH else 1
    return AlertRule(
        name=of, measure=of, threshold=threshold, window_s=window_s, short_window_s=short_s, sessions_min=1
    )


EACH = AlertSettings(rules=tuple(rule(of) for of in Measure))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "events.duckdb")
    yield store
    store.close()


@pytest.fixture
def history(store: EventStore) -> History:
    return History(store)


def counted(store: EventStore, of: Measure, window_s: float = HOUR_S, *, now: float = NOW) -> tuple[int, int]:
    """Sessions and those found, whether or not the events have been folded into the rollups."""
    settings = AlertSettings(rules=(rule(of, window_s),))
    found = measure(store, settings, now=now).measured[of, window_s]
    store.fold()
    assert measure(store, settings, now=now).measured[of, window_s] == found
    return found.sessions, found.found


def test_an_empty_store_measures_nothing(store: EventStore) -> None:
    """And says so by having no newest event."""
    assert measure(store, EACH, now=NOW) == Observation(None)
    assert error_budget(store, EACH, now=NOW).left is None


def test_every_window_that_is_needed_is_measured(store: EventStore, history: History) -> None:
    """Those of each rule, and the budget's."""
    history.used(3, NOW)
    seen = measure(store, EACH, now=NOW)
    assert seen.as_of == NOW
    windows = {(of, HOUR_S) for of in Measure} | {(Measure.BURN, 5 * MINUTE_S), (Measure.BURN, 30 * DAY_S)}
    assert dict(seen.measured) == {
        (of, window_s): Measured(window_s, 3, 0) for of, window_s in windows - {(Measure.HEALTH, HOUR_S)}
    } | {(Measure.HEALTH, HOUR_S): Measured(HOUR_S, 0, 0)}


def test_a_forced_sign_in_interrupts_its_session_once(store: EventStore, history: History) -> None:
    """The user's own sign-out does not; nor does a session count that nobody uses."""
    history.used(5, NOW - 600)
    history.used(2, NOW - 500, FORCED_OUT)
    history.add("s3", NOW - 400, SIGNED_OUT)
    history.add("idle", NOW, beat(90))
    assert counted(store, Measure.BURN) == (5, 2)


@pytest.mark.parametrize(("age_s", "found"), [(0, 1), (HOUR_S - 60, 1), (HOUR_S, 1), (HOUR_S + 60, 0)])
def test_a_window_ends_at_the_newest_event(store: EventStore, history: History, age_s: float, found: int) -> None:
    """An hour back to the minute, however much later somebody looks."""
    history.used(1, NOW - age_s, FORCED_OUT, name="old")
    history.used(1, NOW, name="new")
    assert counted(store, Measure.BURN, now=NOW + 7 * HOUR_S)[1] == found


def test_a_window_of_days_is_counted_by_the_hour(store: EventStore, history: History) -> None:
    """What is past its first hour is not in it."""
    for name, age_s in (("in", 3 * DAY_S), ("out", 3 * DAY_S + HOUR_S)):
        history.used(1, NOW - age_s, FORCED_OUT, name=name)
    history.used(1, NOW, name="new")
    assert counted(store, Measure.BURN, 3 * DAY_S) == (2, 1)


def test_events_from_the_future_wait(store: EventStore, history: History) -> None:
    """A device whose clock is a day ahead moves nobody's windows."""
    history.used(2, NOW, FORCED_OUT)
    history.used(9, NOW + DAY_S, name="ahead")
    assert measure(store, EACH, now=NOW).as_of == NOW
    assert counted(store, Measure.BURN) == (2, 2)


def test_a_late_event_counts_where_it_happened(store: EventStore, history: History) -> None:
    """It comes after newer ones, and is not taken for news of now."""
    history.used(2, NOW)
    history.used(1, NOW - 2 * HOUR_S, FORCED_OUT, name="late")
    assert counted(store, Measure.BURN) == (2, 0)
    assert counted(store, Measure.BURN, 6 * HOUR_S) == (3, 1)


def test_only_one_source_is_watched(store: EventStore, history: History) -> None:
    """Simulated trouble is nobody's trouble, and simulated freshness is none either."""
    history.used(2, NOW - 60)
    history.used(5, NOW, FORCED_OUT, STUCK, RAISED, beat(5), name="sim", source=Source.SIM)
    seen = measure(store, EACH, now=NOW)
    assert seen.as_of == NOW - 60
    assert all(measured.found == 0 for measured in seen.measured.values())
    simulated = AlertSettings(source=Source.SIM, rules=EACH.rules)
    assert measure(store, simulated, now=NOW).measured[Measure.STUCK, HOUR_S].found == 5


def test_health_is_the_latest_of_each_running_session(store: EventStore, history: History) -> None:
    """Poor and critical are unwell; what got better, or ended, is not."""
    for session, scores in {"poor": (90, 39), "critical": (90, 0), "better": (10, 40), "fine": (90, 90)}.items():
        for place, score in enumerate(scores):
            history.add(session, NOW - 60 + place, beat(score))
    history.add("over", NOW - 60, beat(5), SIGNED_OUT)
    history.add("old", NOW - HOUR_S - 1, beat(5))
    history.add("new", NOW, ACTED)
    assert counted(store, Measure.HEALTH) == (4, 2)


def test_stuck_and_raised_count_sessions(store: EventStore, history: History) -> None:
    """One that gets stuck again and again is one; what the service itself reports counts too."""
    history.used(3, NOW)
    history.add("s0", NOW - 20, STUCK, STUCK)
    history.add("s1", NOW - 10, STUCK)
    history.add("old", NOW - HOUR_S - 1, STUCK, RAISED)
    history.add("service", NOW, RAISED, user="")
    assert counted(store, Measure.STUCK) == (3, 2)
    assert counted(store, Measure.RAISED) == (3, 1)


def test_reuse_is_what_the_ux_score_takes_for_it(store: EventStore, history: History) -> None:
    """A refusal after an answer that was lost, of tokens that rotate; not any other refusal."""
    told = {
        "reused": (ROTATED, refused(Outcome.AMBIGUOUS), refused(Outcome.REJECTED)),
        "refreshed": (ROTATED, refused(Outcome.AMBIGUOUS), ROTATED, refused(Outcome.REJECTED)),
        "refused": (ROTATED, refused(Outcome.REJECTED)),
        "lost": (ROTATED, refused(Outcome.AMBIGUOUS)),
    }
    for session, facts in told.items():
        history.add(session, NOW, STARTED, ACTED, *facts)
    assert counted(store, Measure.REUSE) == (4, 1)


def test_the_budget_is_what_the_objective_s_window_leaves(store: EventStore, history: History) -> None:
    """Of 20 sessions one was interrupted; a tenth may be, so half is left."""
    settings = AlertSettings(objective=Objective(target=0.9), rules=())
    history.used(1, NOW - 29 * DAY_S, FORCED_OUT, name="bad")
    history.used(19, NOW)
    history.used(9, NOW - 31 * DAY_S, FORCED_OUT, name="long_ago")
    budget = error_budget(store, settings, now=NOW)
    assert (budget.left, budget.measured, budget.as_of) == (pytest.approx(0.5), Measured(30 * DAY_S, 20, 1), NOW)
    assert budget_of(settings, measure(store, settings, now=NOW)) == budget
