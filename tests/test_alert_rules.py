"""Alert rules say what is wrong with them, and judge what was measured; what was not measured is not judged."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.alert_rules import (
    DAY_S,
    DEFAULT_RULES,
    HOUR_S,
    MINUTE_S,
    AlertRule,
    AlertSettings,
    Measure,
    Measured,
    Objective,
    Observation,
    Why,
    budget_left,
    judge,
    needs,
    value_of,
)
from session_core.errors import ConfigError

NOW = 1_700_000_000.0
BURN = AlertRule(
    name="Burn", measure=Measure.BURN, threshold=6, window_s=HOUR_S, short_window_s=5 * MINUTE_S, sessions_min=100
)
COUNT = AlertRule(name="Stuck", measure=Measure.STUCK, threshold=5)
SETTINGS = AlertSettings(rules=(BURN, COUNT))


def seen(long: tuple[int, int], short: tuple[int, int] = (50, 50), *, as_of: float | None = NOW) -> Observation:
    """Sessions and interrupted ones over the hour and over five minutes; the first pair counts for the count, too."""
    return Observation(
        as_of,
        {
            (Measure.BURN, HOUR_S): Measured(HOUR_S, *long),
            (Measure.BURN, 5 * MINUTE_S): Measured(5 * MINUTE_S, *short),
            (Measure.STUCK, HOUR_S): Measured(HOUR_S, *long),
        },
    )


def test_the_workbook_s_windows_are_the_defaults() -> None:
    """14.4 × over 1 h and 5 min, 6 × over 6 h and 30 min, 1 × over 3 d and 6 h, of an objective of 99.9 %."""
    burns = [rule for rule in DEFAULT_RULES if rule.measure is Measure.BURN]
    assert [(rule.threshold, *rule.windows_s) for rule in burns] == [
        (14.4, 3_600, 300),
        (6, 21_600, 1_800),
        (1, 259_200, 21_600),
    ]
    assert [rule.urgent for rule in burns] == [True, True, False]
    assert AlertSettings().objective == Objective(target=0.999, window_s=30 * DAY_S)


@pytest.mark.parametrize(("interrupted", "fires"), [(59, False), (60, False), (61, True)])
def test_a_burn_rule_fires_above_its_rate(interrupted: int, fires: bool) -> None:  # noqa: FBT001
    """Of 10,000 sessions 10 may be interrupted, so 60 are 6 × too many, which is not more than 6 ×."""
    verdict = judge(BURN, SETTINGS, seen((10_000, interrupted)), now=NOW)
    assert verdict.exceeded is fires
    assert verdict.value == pytest.approx(interrupted / 10)
    assert verdict.found == interrupted


def test_both_windows_must_exceed() -> None:
    """What is over, or has only begun, wakes nobody."""
    assert judge(BURN, SETTINGS, seen((1_000, 100), (50, 0)), now=NOW).exceeded is False
    assert judge(BURN, SETTINGS, seen((1_000, 0), (50, 50)), now=NOW).exceeded is False
    assert judge(BURN, SETTINGS, seen((1_000, 100), (50, 50)), now=NOW).exceeded is True


@pytest.mark.parametrize(("count", "fires"), [(4, False), (5, True), (6, True)])
def test_a_count_fires_from_its_threshold_on(count: int, fires: bool) -> None:  # noqa: FBT001
    """At least five are five."""
    assert judge(COUNT, SETTINGS, seen((0, count)), now=NOW).exceeded is fires


def test_a_share_of_sessions_in_poor_health_fires_above_its_threshold() -> None:
    """A fifth is not more than a fifth."""
    rule = AlertRule(name="Health", measure=Measure.HEALTH, threshold=0.2, sessions_min=20)
    settings = AlertSettings(rules=(rule,))
    for unwell, fires in ((20, False), (21, True)):
        observation = Observation(NOW, {(Measure.HEALTH, HOUR_S): Measured(HOUR_S, 100, unwell)})
        assert judge(rule, settings, observation, now=NOW).exceeded is fires


@pytest.mark.parametrize(("sessions", "why"), [(99, Why.FEW_SESSIONS), (100, None), (101, None)])
def test_too_few_sessions_prove_nothing(sessions: int, why: Why | None) -> None:
    """Not even when every one of them was interrupted; and neither do they prove that all is well."""
    for interrupted in (0, sessions):
        verdict = judge(BURN, SETTINGS, seen((sessions, interrupted)), now=NOW)
        assert verdict.why is why
        assert (verdict.exceeded is None) is (why is not None)


@pytest.mark.parametrize(("age_s", "why"), [(0, None), (900, None), (900.1, Why.STALE)])
def test_stale_data_are_not_judged(age_s: float, why: Why | None) -> None:
    """Good figures from before the recording stopped would look like good figures of now."""
    assert judge(BURN, SETTINGS, seen((10_000, 0), as_of=NOW - age_s), now=NOW).why is why
    assert judge(COUNT, SETTINGS, seen((10_000, 9), as_of=NOW - age_s), now=NOW).why is why


def test_without_an_event_nothing_is_judged() -> None:
    """No event is not the same as no trouble."""
    verdict = judge(COUNT, SETTINGS, Observation(None), now=NOW)
    assert (verdict.exceeded, verdict.why) == (None, Why.NO_EVENTS)


def test_an_empty_short_window_leaves_open_whether_it_goes_on() -> None:
    """But where the long one is calm, it is calm."""
    assert judge(BURN, SETTINGS, seen((1_000, 100), (0, 0)), now=NOW).why is Why.NOBODY_NOW
    assert judge(BURN, SETTINGS, seen((1_000, 0), (0, 0)), now=NOW).exceeded is False


def test_only_what_a_rule_needs_is_measured() -> None:
    """The budget's window always; nothing for a rule that is switched off."""
    off = msgspec.structs.replace(COUNT, enabled=False)
    assert needs(AlertSettings(rules=(BURN, off))) == {
        (Measure.BURN, HOUR_S),
        (Measure.BURN, 5 * MINUTE_S),
        (Measure.BURN, 30 * DAY_S),
    }


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": " "}, "needs a name"),
        ({"name": "a" * 61}, "needs a name"),
        ({"name": "a\nb"}, "needs a name"),
        ({"threshold": 0}, "Burn: threshold is 0; set it between 0.1 and 10000."),
        ({"threshold": float("nan")}, "must be a number"),
        ({"window_s": 59}, "Burn: window_s is 59; set it between 60"),
        ({"window_s": 91 * DAY_S}, "window_s"),
        ({"short_window_s": 2 * HOUR_S}, "short_window_s is 7200; set it between 60 and 3600."),
        ({"short_window_s": None}, "needs a short window too"),
        ({"sessions_min": 0}, "sessions_min is 0; set it between 1"),
        (
            {"measure": Measure.STUCK, "threshold": 1.5, "short_window_s": None},
            "threshold is 1.5; sessions are counted",
        ),
        ({"measure": Measure.STUCK}, "has one window only"),
        ({"measure": Measure.HEALTH, "short_window_s": None}, "threshold is 6; set it between 0.001 and 0.999."),
    ],
)
def test_a_wrong_rule_is_named_with_its_remedy(changed: dict[str, object], said: str) -> None:
    """One sentence, fit for the page on which it was typed."""
    with pytest.raises(ConfigError, match=said):
        AlertRule(**(msgspec.structs.asdict(BURN) | changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rules": (COUNT, COUNT)}, "Two rules are called 'Stuck'"),
        ({"stale_s": 1}, "stale_s is 1"),
        ({"rules": (msgspec.structs.replace(BURN, threshold=1_000),)}, "could never fire: 1000 × the 0.1 % that"),
    ],
)
def test_settings_that_cannot_work_are_refused(changed: dict[str, object], said: str) -> None:
    """A rule that nothing could ever fire would be a promise that nobody keeps."""
    with pytest.raises(ConfigError, match=said):
        AlertSettings(**changed)


@pytest.mark.parametrize("changed", [{"target": 1.0}, {"target": 0.4}, {"window_s": 60}])
def test_an_objective_leaves_a_budget(changed: dict[str, float]) -> None:
    """100 % is no objective, and half of all sessions is none either."""
    with pytest.raises(ConfigError, match="objective"):
        Objective(**changed)


def test_the_budget_is_spent_by_interruptions() -> None:
    """1 of 1,000 may be: with none all is left, with one nothing, with two as much again is missing."""
    left = [budget_left(Objective(), Measured(30 * DAY_S, 1_000, found)) for found in (0, 1, 2)]
    assert left == [1.0, pytest.approx(0.0), pytest.approx(-1.0)]
    assert budget_left(Objective(), Measured(30 * DAY_S, 0, 0)) is None


def test_settings_survive_json() -> None:
    """As they are kept in the store."""
    settings = AlertSettings(rules=(*DEFAULT_RULES, msgspec.structs.replace(COUNT, enabled=False)))
    assert msgspec.json.decode(msgspec.json.encode(settings), type=AlertSettings) == settings


@given(sessions=st.integers(1, 10**6), share=st.floats(0, 1), more=st.floats(0, 1))
def test_more_interruptions_never_burn_less(sessions: int, share: float, more: float) -> None:
    """And a rule that is exceeded stays so when more go wrong."""
    few, many = sorted((round(share * sessions), round(max(share, more) * sessions)))
    rates = [value_of(Measure.BURN, Measured(HOUR_S, sessions, found), Objective()) for found in (few, many)]
    assert rates[0] <= rates[1]
    verdicts = [judge(BURN, SETTINGS, seen((sessions, found)), now=NOW).exceeded for found in (few, many)]
    assert not (verdicts[0] is True and verdicts[1] is not True)


@given(
    long=st.tuples(st.integers(0, 500), st.integers(0, 500)).map(lambda pair: (max(pair), min(pair))),
    short=st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: (max(pair), min(pair))),
    age_s=st.floats(0, 3_600),
)
def test_a_verdict_is_either_judged_or_says_why_not(
    long: tuple[int, int], short: tuple[int, int], age_s: float
) -> None:
    """Never both, never neither; and a rule that fires had its minimum of fresh sessions."""
    for rule in (BURN, COUNT):
        verdict = judge(rule, SETTINGS, seen(long, short, as_of=NOW - age_s), now=NOW)
        assert (verdict.exceeded is None) is (verdict.why is not None)
        if verdict.exceeded:
            assert verdict.sessions >= rule.sessions_min
            assert age_s <= SETTINGS.stale_s
