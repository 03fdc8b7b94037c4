"""An alert walks its table; silence keeps it quiet without blinding it, and what is not known changes nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.alert_rules import OUT_OF_REACH, Verdict, Why
from session_core.alert_states import (
    OPEN,
    TRANSITIONS,
    Alert,
    AlertSignal,
    AlertState,
    Change,
    ChangeKind,
    acknowledge,
    end_silence,
    silence,
    step,
    withdraw,
)

HOT, CALM = Verdict(exceeded=True), Verdict(exceeded=False)
UNKNOWN = Verdict(exceeded=None, why=Why.FEW_SESSIONS)
QUIET = Alert(rule="Burn")
FIRING = Alert(rule="Burn", state=AlertState.FIRING, since=1.0)

verdicts = st.sampled_from([HOT, CALM, UNKNOWN, OUT_OF_REACH])
alerts = st.builds(
    Alert,
    rule=st.just("Burn"),
    state=st.sampled_from(AlertState),
    since=st.floats(0, 100),
    silenced_until=st.none() | st.floats(0, 200),
    frozen=st.none() | st.sampled_from(Why),
)


def kinds(changes: tuple[Change, ...]) -> list[ChangeKind]:
    return [change.kind for change in changes]


def test_the_table_knows_every_state_and_signal() -> None:
    """So that no order of events is a mistake."""
    assert set(TRANSITIONS) == {(state, signal) for state in AlertState for signal in AlertSignal}


def test_an_alert_fires_is_acknowledged_and_resolved() -> None:
    """The whole way, each step once however often it is looked at, and back to firing."""
    alert, seen = QUIET, []
    for now, act in enumerate([step, step, acknowledge, step, step, step, step], start=10):
        verdict = HOT if now < 14 or now == 16 else CALM
        alert, changes = act(alert, now=now) if act is acknowledge else act(alert, verdict, now=now)
        seen += [(change.kind, change.at, change.told) for change in changes]
    assert seen == [
        (ChangeKind.FIRING, 10, True),
        (ChangeKind.ACKNOWLEDGED, 12, True),
        (ChangeKind.RESOLVED, 14, True),
        (ChangeKind.FIRING, 16, True),
    ]
    assert (alert.state, alert.since) == (AlertState.FIRING, 16)


@pytest.mark.parametrize("state", AlertState)
def test_what_cannot_be_measured_stays_where_it_is(state: AlertState) -> None:
    """Least of all is it resolved; it says why, and says so when it can be measured again."""
    alert = Alert(rule="Burn", state=state, since=1.0)
    frozen, changes = step(alert, UNKNOWN, now=2.0)
    assert (frozen.state, frozen.since, frozen.frozen) == (state, 1.0, Why.FEW_SESSIONS)
    assert kinds(changes) == [ChangeKind.FROZEN]
    other, again = step(frozen, OUT_OF_REACH, now=3.0)
    assert (other.state, other.frozen, again) == (state, Why.STORE, ())
    thawed, changes = step(other, HOT if state in OPEN else CALM, now=4.0)
    assert (thawed.state, thawed.frozen) == (state, None)
    assert kinds(changes) == [ChangeKind.THAWED]


def test_only_a_frozen_open_alert_is_told() -> None:
    """A quiet night without sessions wakes nobody; an open alert that nobody can see any more does."""
    assert [change.told for change in step(QUIET, UNKNOWN, now=2.0)[1]] == [False]
    assert [change.told for change in step(FIRING, UNKNOWN, now=2.0)[1]] == [True]


def test_a_silenced_alert_sees_and_says_nothing() -> None:
    """It fires and is resolved in silence, and tells where it stands when the silence is over."""
    alert, changes = silence(QUIET, until=100.0, now=10.0)
    assert [(change.kind, change.told) for change in changes] == [(ChangeKind.SILENCED, True)]
    alert, changes = step(alert, HOT, now=99.9)
    assert [(change.kind, change.told) for change in changes] == [(ChangeKind.FIRING, False)]
    assert not alert.needs_a_person
    alert, changes = step(alert, HOT, now=100.0)
    assert changes == (Change(ChangeKind.SILENCE_OVER, AlertState.FIRING, 100.0, True),)
    assert alert.needs_a_person


def test_a_freeze_outlasts_a_silence() -> None:
    """What fired before it and cannot be measured since still fires when the silence is over."""
    alert, _ = silence(FIRING, until=50.0, now=10.0)
    alert, _ = step(alert, UNKNOWN, now=20.0)
    alert, changes = step(alert, UNKNOWN, now=50.0)
    assert kinds(changes) == [ChangeKind.SILENCE_OVER]
    assert (alert.state, alert.frozen) == (AlertState.FIRING, Why.FEW_SESSIONS)


def test_a_silence_can_be_ended() -> None:
    """Once; where there is none nothing happens."""
    alert, changes = end_silence(silence(FIRING, until=50.0, now=10.0)[0], now=20.0)
    assert (kinds(changes), alert) == ([ChangeKind.SILENCE_OVER], FIRING)
    assert end_silence(alert, now=21.0) == (alert, ())


def test_to_acknowledge_what_is_over_does_no_harm() -> None:
    """The alert was resolved between the look and the click."""
    resolved, _ = step(FIRING, CALM, now=2.0)
    assert acknowledge(resolved, now=3.0) == (resolved, ())


@pytest.mark.parametrize(("alert", "said"), [(FIRING, [ChangeKind.WITHDRAWN]), (QUIET, [])])
def test_a_rule_that_goes_takes_its_alert_with_it(alert: Alert, said: list[ChangeKind]) -> None:
    """An open one is said to be withdrawn, not resolved."""
    gone, changes = withdraw(alert, now=5.0)
    assert (gone.state, kinds(changes)) == (AlertState.QUIET, said)


@given(alerts, verdicts)
def test_a_second_look_changes_nothing(alert: Alert, verdict: Verdict) -> None:
    """So that an evaluation that was stored and repeated tells nobody twice."""
    once, _ = step(alert, verdict, now=300.0)
    assert step(once, verdict, now=300.0) == (once, ())


@given(alerts, verdicts, st.floats(0, 300))
def test_only_a_measurement_moves_an_alert(alert: Alert, verdict: Verdict, now: float) -> None:
    """Into firing only what exceeds, out of open only what is calm; and each move is one change."""
    after, changes = step(alert, verdict, now=now)
    if verdict.exceeded is None:
        assert after.state is alert.state
    if after.is_open and not alert.is_open:
        assert verdict.exceeded is True
    if alert.is_open and not after.is_open:
        assert verdict.exceeded is False
        assert after.state is AlertState.RESOLVED
    moves = [change for change in changes if change.kind in (ChangeKind.FIRING, ChangeKind.RESOLVED)]
    assert len(moves) == (after.state is not alert.state)
    assert all(change.at == now for change in changes)
    assert (after.frozen is None) is (verdict.why is None)


@given(alerts, st.lists(verdicts, max_size=12))
def test_silence_is_kept(alert: Alert, seen: list[Verdict]) -> None:
    """Whatever happens before its end, nobody is told of it."""
    alert = msgspec.structs.replace(alert, silenced_until=1_000.0)
    for now, verdict in enumerate(seen):
        alert, changes = step(alert, verdict, now=float(now))
        assert not any(change.told for change in changes)


@given(st.lists(st.tuples(verdicts, st.sampled_from(["", "acknowledge", "silence", "speak"])), max_size=25))
def test_what_was_told_says_where_an_alert_stands(story: list[tuple[Verdict, str]]) -> None:
    """Whoever heard every message knows, once no silence holds, whether the alert is open."""
    alert, heard = QUIET, AlertState.QUIET
    for now, (verdict, act) in enumerate(story, start=1):
        acts = {
            "": lambda alert: (alert, ()),
            "acknowledge": lambda alert, now=now: acknowledge(alert, now=now),
            "silence": lambda alert, now=now: silence(alert, until=now + 3.0, now=now),
            "speak": lambda alert, now=now: end_silence(alert, now=now),
        }
        alert, said = acts[act](alert)
        alert, more = step(alert, verdict, now=float(now))
        heard = next((change.state for change in reversed((*said, *more)) if change.told), heard)
        if alert.silenced_until is None:
            assert heard in OPEN if alert.is_open else heard not in OPEN
