"""Scenario files: what a tester writes is read as meant, written back the same, and refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.errors import ConfigError
from session_core.provider.faults import Fault, FaultKind
from session_core.sim.checks import CHECKS, Check
from session_core.sim.durations import read_duration, write_duration
from session_core.sim.scenario import (
    Acting,
    Family,
    Scenario,
    Users,
    parse_scenario,
    read_catalogue,
    read_scenario,
    to_toml,
)
from session_core.sim.steps import VERBS, Step, Verb

TEXT = """\
name = "lunch"
family = "sleep_and_wake"
what = "Somebody has lunch."
passes_when = "Nobody notices."
duration = "2h"

timeline = [
    # the lid
    { at = "30m", do = "suspend", for = "1h" },
    { at = "1h30m", do = "call" },
]

checks = [
    { check = "sign_outs", equals = 0 },
    { check = "path", includes = ["ACTIVE", "SUSPENDED"] },
]
"""


def test_a_file_says_what_a_person_would_say() -> None:
    """Lengths of time are written as people write them, and mean seconds."""
    scenario = parse_scenario(TEXT)
    assert scenario.duration_s == 7200
    assert scenario.timeline == (
        Step(at_s=1800.0, do=Verb.SUSPEND, for_s=3600.0),
        Step(at_s=5400.0, do=Verb.CALL),
    )
    assert scenario.checks[1] == Check(check="path", includes=("ACTIVE", "SUSPENDED"))


@pytest.mark.parametrize(
    ("was", "wrong", "line", "said"),
    [
        ('do = "call"', 'do = "cal"', 10, "did you mean 'call'?"),
        ('"suspend"', '"susspend"', 9, "did you mean 'suspend'?"),
        ('"sign_outs"', '"signouts"', 14, "did you mean 'sign_outs'?"),
        ('"sleep_and_wake"', '"sleeping"', 2, "Known are sleep_and_wake, network"),
        ('"2h"', '"two hours"', 5, "is not a length of time"),
        ('"2h"', '"-2h"', 5, "set it between"),
        ('"30m"', '"-30m"', 9, "at_s is -1800"),
        ('for = "1h"', 'for = "-1h"', 9, "for_s is -3600"),
        ('"1h30m"', '"20m"', 10, "comes before the step above it, at 30m"),
        ('"1h30m"', '"3h"', 10, "comes after the end at 2h"),
        ('"1h30m", do', '"1h30m", device = 2, do', 10, "names device 2 of 1"),
        ('for = "1h"', 'fr = "1h"', 9, "did you mean 'for'?"),
        ('for = "1h"', "share = 0.5", 9, "share means nothing to suspend"),
        ('do = "call"', 'do = "stall"', 10, "for_s is missing"),
        ('do = "call"', 'do = "fault", fault = { kind = "statos" }', 10, "did you mean 'status'?"),
        ('do = "call"', 'do = "fault", fault = { kind = "status" }', 10, "status is missing"),
        ("equals = 0", "equals = []", 14, "sign_outs is bounded by at_most"),
        ("equals = 0", "", 14, "TOML"),
        ('includes = ["ACTIVE", "SUSPENDED"]', "at_most = 3", 15, "path is bounded by includes"),
        ('duration = "2h"', 'duration = "2h"\ndurations = "2h"', 6, "did you mean 'duration'?"),
        ('name = "lunch"', 'name = "Lunch Break"', 1, "small letters with hyphens"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(was: str, wrong: str, line: int, said: str) -> None:
    """File, line, what is wrong and what is allowed, in one sentence."""
    assert was in TEXT
    with pytest.raises(ConfigError) as caught:
        parse_scenario(TEXT.replace(was, wrong, 1), where="lunch.toml")
    message = str(caught.value)
    assert message.startswith("lunch.toml")
    assert f"line {line}" in message
    assert said in message
    assert message.endswith(".")
    assert "\n" not in message


def test_lines_are_found_in_long_form_too() -> None:
    """Steps written as [[timeline]] tables are counted the same."""
    text = TEXT[: TEXT.index("timeline")] + (
        '[[timeline]]\nat = "30m"\ndo = "call"\n\n[[timeline]]\nat = "40m"\ndo = "cal"\n\n'
        '[[checks]]\ncheck = "sign_outs"\nequals = 0\n'
    )
    with pytest.raises(ConfigError, match=r"line 13: do is 'cal'"):
        parse_scenario(text)


@pytest.mark.parametrize("missing", ["name", "family", "what", "passes_when", "duration", "checks"])
def test_what_is_missing_is_named(missing: str) -> None:
    """The setting that is not there stands in the sentence."""
    start = TEXT.index(f"{missing} = ")
    end = TEXT.index("\n]\n", start) + 3 if missing == "checks" else TEXT.index("\n", start) + 1
    with pytest.raises(ConfigError, match=missing):
        parse_scenario(TEXT[:start] + TEXT[end:])


def test_a_scenario_that_checks_nothing_is_refused() -> None:
    """It would always pass."""
    with pytest.raises(ConfigError, match="checks is empty"):
        parse_scenario(TEXT[: TEXT.index("checks")] + "checks = []\n")


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """The path and the system's reason."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        read_scenario(tmp_path / "none.toml")


def test_a_file_bears_the_name_of_its_scenario(tmp_path: Path) -> None:
    """Who looks for a scenario finds it by its name."""
    (tmp_path / "dinner.toml").write_text(TEXT)
    with pytest.raises(ConfigError, match="bears the name"):
        read_catalogue(tmp_path)


@pytest.mark.parametrize("name", read_catalogue())
def test_every_scenario_is_written_back_the_same(name: str) -> None:
    """What exploration saves is read as what it found."""
    scenario = read_catalogue()[name]
    assert parse_scenario(to_toml(scenario)) == scenario


seconds = st.floats(0, 10**7, allow_nan=False).map(lambda value: round(value, 6))
plain_steps = st.builds(
    Step, at_s=st.just(0.0), do=st.sampled_from([Verb.SUSPEND, Verb.NETWORK_DOWN]), for_s=st.none() | seconds
) | st.builds(Step, at_s=st.just(0.0), do=st.just(Verb.CALL), times=st.none() | st.integers(1, 99), route=st.none())


@given(steps=st.lists(plain_steps, max_size=5), duration_s=st.floats(1, 10**6), text=st.text(max_size=40))
def test_any_scenario_is_written_back_the_same(steps: list[Step], duration_s: float, text: str) -> None:
    """Whatever its times and words."""
    if any("\ud800" <= char <= "\udfff" or char == "\x7f" for char in text):
        return
    scenario = Scenario(
        name="found-1",
        family=Family.RACES,
        what=text,
        passes_when="It holds.",
        duration_s=duration_s,
        users=Users(act=Acting.STEADY, every_s=7.5),
        timeline=(*steps, Step(at_s=0.5, do=Verb.FAULT, fault=Fault(kind=FaultKind.STATUS, status=503))),
        checks=(Check(check="sign_outs", equals=0),),
    )
    assert parse_scenario(to_toml(scenario)) == scenario


@given(st.floats(-(10**8), 10**8, allow_nan=False))
def test_a_length_of_time_survives_being_written(value: float) -> None:
    """To the last bit."""
    assert read_duration(write_duration(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("8h", 28800), ("58m30s", 3510), ("1d12h", 129600), ("250ms", 0.25), ("-2h", -7200), ("10m0.17s", 600.17)],
)
def test_lengths_of_time_read_as_people_mean_them(text: str, value: float) -> None:
    """Days down to milliseconds, in any mix."""
    assert read_duration(text) == pytest.approx(value)


def test_every_verb_and_check_is_explained() -> None:
    """A tester finds out what there is without reading code."""
    assert set(VERBS) == set(Verb)
    assert all(shape.does for shape in VERBS.values())
    assert all(measure.means for measure in CHECKS.values())
    assert all((measure.number is None) is not (measure.words is None) for measure in CHECKS.values())


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ({"act": Acting.STEADY}, "every_s is missing"),
        ({"every_s": 3.0}, "every_s"),
        ({"act": Acting.IDLE_GAP}, "dataset is missing"),
        ({"act": Acting.STEADY, "every_s": 5.0, "times_s": (1.0,)}, "times belongs to"),
        ({"from_s": 10.0, "until_s": 5.0}, "until_s"),
    ],
)
def test_users_that_make_no_sense_are_refused(users: dict[str, object], said: str) -> None:
    """One sentence with the setting in it."""
    with pytest.raises(ConfigError, match=said):
        Users(**users)
