"""The sample data's plan: people, devices, gaps and troubles, from a seed and an end in time alone."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from demo_kit import DAY_S, NOON, the_last

from session_core.demo.fill import plan_last
from session_core.demo.incidents import HOURS, SHAPES, Incident, draw_incidents
from session_core.demo.kits import KITS
from session_core.demo.plan import AFTER, BEFORE, STRETCH_S_MAX, Plan, Stay, scene
from session_core.errors import ConfigError
from session_core.sim.steps import Verb
from session_core.store import TimeRange

MONTH = the_last(30, users=7)


def stays(plan: Plan = MONTH, *, stretch: int = 0) -> list[Stay]:
    return [stay for stay in plan.stays() if stay.stretch.number == stretch]


def test_the_stretches_tile_the_time_up_to_now_and_the_switch_is_in_the_middle() -> None:
    """None is longer than a few days, so that what is in memory does not grow with the time."""
    stretches = MONTH.stretches()
    assert (stretches[0].from_s, stretches[-1].until_s) == (NOON - 30 * DAY_S, NOON)
    assert [one.until_s for one in stretches[:-1]] == [one.from_s for one in stretches[1:]]
    assert max(one.until_s - one.from_s for one in stretches) <= STRETCH_S_MAX
    assert {one.release for one in stretches if one.until_s <= NOON - 15 * DAY_S} == {BEFORE}
    assert {one.release for one in stretches if one.from_s >= NOON - 15 * DAY_S} == {AFTER}
    assert [one.is_last for one in stretches] == [False] * 5 + [True]


@pytest.mark.parametrize("days", [1, 2, 3, 7, 11, 61, 366])
def test_any_number_of_days_is_split_so(days: int) -> None:
    """Also one that leaves odd halves."""
    stretches = the_last(days, users=1, seed=3, until_s=NOON + 0.123).stretches()
    assert stretches[-1].until_s == NOON + 0.123
    assert [one.number for one in stretches] == list(range(len(stretches)))
    assert sum(one.until_s - one.from_s for one in stretches) == pytest.approx(days * DAY_S)


def test_before_and_after_meet_the_same_troubles_of_the_provider() -> None:
    """Or the comparison would be one of luck."""
    before, after = (Counter(one.shape.name for one in half) for half in incident_halves(MONTH))
    assert before == after
    assert before.keys() == {shape.name for shape in SHAPES}


def incident_halves(plan: Plan) -> list[list[Incident]]:
    return [[incident for release, incident in plan.incidents() if release == half] for half in (BEFORE, AFTER)]


def test_incidents_come_when_people_work_and_one_after_another() -> None:
    """What nobody meets shows in no chart."""
    for seed in range(20):
        incidents = draw_incidents(NOON - 15 * DAY_S, NOON, seed=seed)
        begins = [datetime.fromtimestamp(incident.begins_s, UTC) for incident in incidents]
        assert all(at.weekday() < 5 and HOURS[0] <= at.hour + at.minute / 60 < HOURS[1] for at in begins)
        assert begins == sorted(begins)


def test_no_incident_is_under_way_at_the_end_of_a_half() -> None:
    """Neither at the switch nor now: what goes wrong today is not what the sample data is about."""
    for seed in range(50):
        [incident] = draw_incidents(NOON - 7_200, NOON, seed=seed)
        assert NOON - 7_200 <= incident.begins_s < incident.ends_s <= NOON


def test_a_time_without_a_working_hour_has_its_incident_all_the_same() -> None:
    """Twelve hours of a night, and a Sunday."""
    sunday = datetime(2026, 6, 7, tzinfo=UTC).timestamp()
    [incident] = draw_incidents(sunday, sunday + DAY_S / 2, seed=1)
    assert sunday <= incident.begins_s < sunday + DAY_S / 2


def test_a_few_people_have_every_kind_of_device() -> None:
    """Several of each kind."""
    assert [stay.kit for stay in stays()] == list(KITS)
    kinds = Counter(kit.name.partition("-")[0] for kit in KITS)
    assert kinds.keys() == {"laptop", "phone", "desktop"}
    assert min(kinds.values()) > 1


def test_a_scene_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    """Nothing else has a part in it."""
    first, again = (scene(stays()[0]) for _ in range(2))
    assert first == again
    other = scene(stays(the_last(30, users=7, seed=2))[0])
    assert first != other
    assert scene(stays()[0]) != scene(stays()[6])


@pytest.mark.parametrize("stay", [*stays(stretch=0), *stays(stretch=5)], ids=lambda stay: stay.name)
def test_people_use_devices_that_are_awake_inside_their_stretch(stay: Stay) -> None:
    """Whoever would act on one that sleeps would not be seen to act."""
    planned = scene(stay)
    assert planned is not None
    scenario = planned.scenario
    assert stay.stretch.from_s <= planned.begins_s
    assert planned.begins_s + scenario.duration_s == pytest.approx(stay.stretch.until_s)
    asleep = [(step.at_s, step.at_s + (step.for_s or 1e9)) for step in scenario.timeline if step.do is Verb.SUSPEND]
    acts = scenario.users.times_s
    assert acts[0] == 0.0
    assert not [act for act in acts for since, until in asleep if since <= act < until]
    assert bool(asleep) is (stay.kit.sleeps_after_s is not None)


def test_gaps_are_those_of_the_idle_model() -> None:
    """Bursts of seconds, breaks of hours and whole nights: never an even beat."""
    gaps = [
        later - earlier
        for stay in stays()
        if (planned := scene(stay)) is not None
        for earlier, later in zip(planned.scenario.users.times_s, planned.scenario.users.times_s[1:], strict=False)
    ]
    assert sum(gap < 60 for gap in gaps) / len(gaps) > 0.3
    assert sum(gap > 900 for gap in gaps) / len(gaps) > 0.05
    assert max(gaps) > 8 * 3_600


def test_everyone_signs_out_before_the_next_stretch_and_nobody_before_now() -> None:
    """Sessions that are open now are what the app shows as open."""
    for stay in stays(stretch=4):
        planned = scene(stay)
        assert planned is not None
        last = [step for step in planned.scenario.timeline if step.do is Verb.SIGN_OUT][-1]
        assert last.at_s > planned.scenario.users.times_s[-1]
    open_now = [scene(stay) for stay in stays(stretch=5)]
    assert any(Verb.SIGN_OUT not in {step.do for step in planned.scenario.timeline} for planned in open_now if planned)


def test_an_incident_reaches_everyone_at_its_own_time() -> None:
    """Whenever their stay began; who came in the middle meets what is left of it, and who came later nothing."""
    [incident] = [one for release, one in MONTH.incidents() if release == BEFORE and one.shape == SHAPES[0]]
    [stretch] = [one for one in MONTH.stretches() if one.from_s <= incident.begins_s < one.until_s]
    [phase, *_] = incident.shape.phases
    reached = 0
    for stay in stays(stretch=stretch.number):
        planned = scene(stay)
        assert planned is not None
        steps = [step for step in planned.scenario.timeline if step.fault == phase.fault]
        assert len(steps) == (planned.begins_s < incident.ends_s)
        for step in steps:
            reached += 1
            assert planned.begins_s + step.at_s == pytest.approx(max(incident.begins_s, planned.begins_s))
            assert planned.begins_s + step.at_s + (step.for_s or 0) == pytest.approx(incident.ends_s)
    assert reached > 1


def test_who_used_nothing_has_no_scene() -> None:
    """A short time at night, say."""
    night = datetime(2026, 6, 10, 4, tzinfo=UTC).timestamp()
    desktop = the_last(1, users=7, until_s=night).stays()[9]
    assert desktop.kit.name == "desktop-1"
    assert scene(desktop) is None


@pytest.mark.parametrize("wrong", [{"users": 0}, {"users": 2_001}, {"days": 0}, {"days": 367}, {"days": float("nan")}])
def test_what_cannot_be_planned_is_refused(wrong: dict[str, float]) -> None:
    """With the bounds."""
    with pytest.raises(ConfigError, match=r"set it between|must be a number"):
        plan_last(**{"users": 1, "days": 1, "seed": 1, "now_s": NOON} | wrong)


def test_it_begins_where_a_page_begins_that_shows_as_many_days() -> None:
    """Or its first hours would be all that the month is compared with."""
    plan = plan_last(30, users=1, seed=1, now_s=NOON + 1_234.5)
    assert plan.until_s == NOON + 1_234.5
    assert plan.from_s == TimeRange.last(30 * DAY_S, NOON + 1_234.5).start_s
    assert 29 < (plan.until_s - plan.from_s) / DAY_S <= 30
