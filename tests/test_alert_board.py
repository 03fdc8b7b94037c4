"""The Alerts page in words and tables: what needs a person comes first, and what is not known is never called well."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pandas as pd
import pytest
from alert_kit import BURN, FEW, NOW, STUCK_RULE
from hypothesis import given, settings
from hypothesis import strategies as st

from session_core.alert_rules import (
    DAY_S,
    DEFAULT_RULES,
    HOUR_S,
    AlertRule,
    AlertSettings,
    Measure,
    Measured,
    Objective,
    Verdict,
    Why,
)
from session_core.alert_states import Alert, AlertState
from session_core.dashboard import alert_board, alert_chart, alert_pictures, alert_rows, theme
from session_core.dashboard.alert_board import Group
from session_core.errors import ConfigError
from session_core.store.alert_desk import Board
from session_core.store.alert_measures import Budget
from session_core.vocabulary import Source

HOT = Verdict(exceeded=True, value=9, short_value=12, sessions=1_000, found=9, as_of=NOW)
COLD = Verdict(exceeded=None, why=Why.FEW_SESSIONS, sessions=3, as_of=NOW)


def burn(state: AlertState = AlertState.QUIET, **more: object) -> Alert:
    return Alert(**({"rule": "Burn", "state": state, "since": NOW - 600} | more))


def board(alert: Alert, verdict: Verdict = HOT, **more: object) -> Board:
    given = {"settings": FEW, "configured": FEW, "looked_at": NOW - 5, "alerts": {"Burn": alert}} | more
    return Board(**given, verdicts={"Burn": verdict, "Stuck": Verdict(exceeded=False, value=0)})


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (board(burn()), "Nothing needs a person."),
        (board(burn(AlertState.FIRING)), "Burn needs a person."),
        (board(burn(AlertState.FIRING, frozen=Why.STALE)), "Burn needs a person."),
        (board(burn(AlertState.ACKNOWLEDGED)), "Somebody is at Burn; nothing else needs a person."),
        (board(burn(AlertState.FIRING, silenced_until=NOW + 9)), "Nothing needs a person."),
        (
            board(burn(frozen=Why.FEW_SESSIONS), COLD),
            "Nothing needs a person, as far as can be seen: 1 of 2 rules cannot be measured.",
        ),
        (
            board(burn(AlertState.ACKNOWLEDGED, frozen=Why.STALE)),
            "Somebody is at Burn; nothing else needs a person, as far as can be seen: 1 of 2 rules cannot be measured.",
        ),
        (
            board(burn(), settings=AlertSettings(rules=())),
            "No rule is switched on, so nothing will ever ask for a person.",
        ),
        (board(burn(), looked_at=None), "The alerts have not been looked at yet."),
    ],
)
def test_the_answer_names_who_is_needed(shown: Board, said: str) -> None:
    """One sentence, whatever is open, silenced or frozen."""
    assert alert_board.answer(shown) == said


def test_nothing_measured_is_not_nothing_needed() -> None:
    """When every rule is frozen nobody knows."""
    frozen = {rule.name: Alert(rule=rule.name, frozen=Why.NO_EVENTS) for rule in FEW.rules}
    said = alert_board.answer(board(burn(), alerts=frozen))
    assert said == "Nobody knows whether a person is needed: nothing can be measured."


def test_many_alerts_are_named_in_short() -> None:
    """Three by name, of more the first two."""
    firing = {rule.name: Alert(rule=rule.name, state=AlertState.FIRING) for rule in DEFAULT_RULES}
    said = alert_board.answer(board(burn(), alerts=firing, settings=AlertSettings()))
    assert said == "Fast burn, Steady burn and 5 others need a person."
    three = dict(list(firing.items())[:3])
    said = alert_board.answer(board(burn(), alerts=three, settings=AlertSettings()))
    assert said == "Fast burn, Steady burn and Slow burn need a person."


@pytest.mark.parametrize(
    ("alert", "group", "marks"),
    [
        (burn(), Group.QUIET, ["Quiet"]),
        (burn(AlertState.RESOLVED), Group.QUIET, ["Resolved"]),
        (burn(AlertState.FIRING), Group.NEEDED, ["Fires"]),
        (burn(AlertState.ACKNOWLEDGED), Group.ACKNOWLEDGED, ["Acknowledged"]),
        (burn(frozen=Why.STORE), Group.UNKNOWN, ["Frozen"]),
        (burn(AlertState.FIRING, frozen=Why.STORE), Group.NEEDED, ["Fires", "Frozen"]),
        (burn(AlertState.FIRING, silenced_until=NOW + 9), Group.SILENCED, ["Fires", "Silenced"]),
        (burn(silenced_until=NOW + 9), Group.SILENCED, ["Silenced"]),
    ],
)
def test_an_alert_stands_where_it_belongs(alert: Alert, group: Group, marks: list[str]) -> None:
    """Its state, a freeze and a silence each have a word."""
    line = next(line for line in alert_board.lines(board(alert), NOW) if line.rule == "Burn")
    assert (line.group, [mark.word for mark in line.marks]) == (group, marks)
    assert line.can_acknowledge is (alert.state is AlertState.FIRING)


def test_a_frozen_open_alert_says_that_it_fired() -> None:
    """What is not known now was known before."""
    line = alert_board.lines(board(burn(AlertState.FIRING, frozen=Why.FEW_SESSIONS), COLD), NOW)[0]
    assert line.said == (
        "Cannot be measured, because 3 sessions within 1 h are too few; 4 are needed. It fired when it was measured last."
    )
    assert (
        line.when == "Fires when the error budget burns more than 6 × too fast over 1 h and 5 min · firing for 10 min"
    )


def test_the_most_pressing_comes_first() -> None:
    """In the order of the groups."""
    alerts = {"Burn": burn(), "Stuck": Alert(rule="Stuck", state=AlertState.FIRING)}
    assert [line.rule for line in alert_board.lines(board(burn(), alerts=alerts), NOW)] == ["Stuck", "Burn"]


@pytest.mark.parametrize(
    ("left", "measured", "said", "shown"),
    [
        (0.68, Measured(30 * DAY_S, 10_000, 3), "3 of 10,000 sessions were interrupted; 10 may be.", "68 %"),
        (-4.2, Measured(30 * DAY_S, 2_100, 11), "11 of 2,100 sessions were interrupted; 2.1 may be.", "−420 %"),
        (None, Measured(30 * DAY_S, 0, 0), "No session was in use.", "–"),
    ],
)
def test_the_budget_is_said_with_its_counts(left: float | None, measured: Measured, said: str, shown: str) -> None:
    """A share never stands alone."""
    at = board(burn(), budget=Budget(left=left, measured=measured, as_of=NOW))
    assert alert_board.budget_sentence(at).endswith(said)
    assert alert_board.budget_left(at) == shown
    assert alert_board.budget_left(board(burn())) == alert_board.uninterrupted(board(burn())) == "–"


def test_the_webhook_is_named_by_its_host_only() -> None:
    """And it is said when there is none."""
    assert alert_board.looked_at(board(burn(), told_to="hooks.example"), NOW) == (
        "Looked at 5 s ago · changes are told to hooks.example"
    )
    assert alert_board.looked_at(board(burn(), looked_at=None), NOW) == "Not looked at yet · no webhook is set"


def test_the_chart_holds_every_window_of_every_burn_rule() -> None:
    """Red past its threshold and green before it, hatched where it cannot be judged; its words say the same."""
    table = alert_board.burns(board(burn(AlertState.FIRING)))
    assert table["Window"].tolist() == ["1 h", "5 min"]
    figure = alert_chart.burn_rates(table)
    assert figure.data[0].marker.color == (theme.FAILURE, theme.FAILURE)
    assert list(figure.data[1].text) == ["9 × of 6 ×", "12 × of 6 ×"]
    assert alert_board.burns_alt(table) == "Burn rates: Burn over 1 h 9 × of 6 ×, Burn over 5 min 12 × of 6 ×."
    frozen = alert_chart.burn_rates(alert_board.burns(board(burn(frozen=Why.STALE))))
    assert frozen.data[0].marker.color == (theme.NEUTRAL, theme.NEUTRAL)
    assert set(frozen.data[0].marker.pattern.shape) == {"/"}


def test_burn_rates_are_drawn_once_until_something_changes() -> None:
    """For everybody, and however often they are looked at meanwhile."""
    first, later = board(burn()), board(burn(), looked_at=NOW)
    assert alert_pictures.burns(first) is alert_pictures.burns(later)
    for changed in (
        board(burn(frozen=Why.STALE)),
        board(burn(), COLD),
        board(burn(), settings=AlertSettings(rules=(STUCK_RULE,))),
    ):
        assert alert_pictures.burns(changed) is not alert_pictures.burns(first)


def test_without_a_rate_there_is_a_sentence() -> None:
    """Nothing to draw is said, not drawn."""
    assert alert_board.burns_alt(alert_board.burns(board(burn(), COLD))) == "No burn rate could be measured."
    none = alert_board.burns(board(burn(), settings=AlertSettings(rules=(STUCK_RULE,))))
    assert alert_board.burns_alt(none) == "No rule on the error budget is switched on."
    assert not alert_board.has_burns(none)


def test_what_happened_says_who_was_told() -> None:
    """In the reader's time, with why a message did not arrive."""
    kept = pd.DataFrame(
        {
            "changed_at": pd.to_datetime([NOW, NOW], unit="s", utc=True),
            "sentence": ["Burn fires.", "Burn is resolved."],
            "delivery": ["delivered", "given_up"],
            "trouble": ["", "The webhook answered with status 404."],
        }
    )
    table = alert_board.history(kept, "Europe/Berlin")
    assert table["Webhook"].tolist() == ["✓ Told", "✕ Given up The webhook answered with status 404."]
    assert [f"{moment:%H:%M}" for moment in table["Time"]] == ["01:00", "01:00"]


# The rules as a table.


def read(table: pd.DataFrame, **more: object) -> AlertSettings:
    given: Mapping[str, object] = {"target_percent": 99.9, "source": Source.LIVE, "settings": AlertSettings()} | more
    return alert_rows.read(table, **given)


def test_rules_go_through_the_table_unchanged() -> None:
    """What nobody edited is what it was."""
    assert read(alert_rows.to_table(AlertSettings())) == AlertSettings()
    assert read(alert_rows.to_table(AlertSettings(rules=()))) == AlertSettings(rules=())


@settings(max_examples=40)
@given(
    st.lists(
        st.builds(
            AlertRule,
            name=st.text("abc ", min_size=1, max_size=9).filter(str.strip).map(str.strip),
            measure=st.sampled_from([Measure.STUCK, Measure.RAISED, Measure.REUSE]),
            threshold=st.integers(1, 1_000).map(float),
            window_s=st.integers(60, 90 * 86_400).map(float),
            sessions_min=st.integers(0, 9_999),
            urgent=st.booleans(),
            enabled=st.booleans(),
        ),
        max_size=4,
        unique_by=lambda rule: rule.name,
    ),
    st.sampled_from(Source),
)
def test_any_rules_go_through_the_table_unchanged(rules: list[AlertRule], source: Source) -> None:
    """To the second and to the last digit."""
    given_rules = AlertSettings(rules=tuple(rules), source=source, objective=Objective(target=0.95))
    assert read(alert_rows.to_table(given_rules), target_percent=95.0, source=source) == given_rules


def test_a_new_row_needs_little() -> None:
    """What was left out is as by default, and a row that was only added is none."""
    table = alert_rows.to_table(AlertSettings(rules=(BURN,)))
    blank = dict.fromkeys(table.columns)
    new = blank | {alert_rows.NAME: "Mine", alert_rows.MEASURE: "Poor health", alert_rows.THRESHOLD: 0.5}
    table = pd.concat([table, pd.DataFrame([new | {alert_rows.WINDOW: "2 h"}, blank])], ignore_index=True)
    assert read(table).rules == (
        BURN,
        AlertRule(name="Mine", measure=Measure.HEALTH, threshold=0.5, window_s=2 * HOUR_S, sessions_min=1),
    )


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (alert_rows.THRESHOLD, 0.0, "Burn: threshold is 0; set it between 0.1 and 10000."),
        (alert_rows.THRESHOLD, None, "Burn: give a threshold."),
        (alert_rows.MEASURE, None, "Burn: choose what it looks at."),
        (alert_rows.NAME, None, "needs a name"),
        (alert_rows.NAME, "Stuck", "Two rules are called 'Stuck'"),
        (alert_rows.WINDOW, "soon", "Burn: window is 'soon'; write a length of time such as 5 min, 6 h or 3 d."),
        (alert_rows.WINDOW, None, "Burn: window is ''"),
        (alert_rows.SHORT, "2 h", "Burn: short_window_s is 7200; set it between 60 and 3600."),
        (alert_rows.SHORT, None, "needs a short window too"),
        (alert_rows.SESSIONS, 0, "Burn: sessions_min is 0"),
    ],
)
def test_a_wrong_cell_is_named(column: str, value: object, said: str) -> None:
    """By its rule, with what is allowed."""
    table = alert_rows.to_table(FEW).astype({column: "object"})
    table.loc[0, column] = value
    with pytest.raises(ConfigError) as caught:
        read(table)
    assert said in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("5 min", 300), ("3d", 259_200), ("1.5 h", 5_400), (" 90 s ", 90)])
def test_lengths_of_time_are_read_as_people_write_them(text: str, seconds: float) -> None:
    """With or without a space."""
    assert alert_rows.read_length(text, "window") == seconds


@given(st.integers(1, 90 * 86_400))
def test_a_length_of_time_is_read_again_to_the_second(seconds: int) -> None:
    """Whatever unit it was written in."""
    assert alert_rows.read_length(alert_rows.length(float(seconds)), "window") == seconds


def test_settings_that_the_table_does_not_hold_stay() -> None:
    """How old data may be, and the objective's window."""
    before = AlertSettings(stale_s=120, objective=Objective(target=0.9, window_s=7 * DAY_S), rules=())
    kept = read(alert_rows.to_table(before), target_percent=99.0, settings=before)
    assert kept == msgspec.structs.replace(before, objective=Objective(target=0.99, window_s=7 * DAY_S))
