"""The plan of the sample data: who uses which device when, and what befalls them. Pure: seed and time are handed in."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil

import msgspec

from session_core.bounds import require
from session_core.cache_rules import RouteTtl
from session_core.config import BASIC, PROFESSIONAL, SessionPolicy
from session_core.demo import DAYS_MAX, USERS_MAX
from session_core.demo.incidents import DAY_S, Incident, draw_incidents
from session_core.demo.kits import HOUR_S, KITS, Kit
from session_core.sim.checks import Check
from session_core.sim.scenario import Acting, Calls, Family, Scenario, Users
from session_core.sim.steps import Step, Verb
from session_core.sim.user import action_times

SCENARIO = "demo"
RUN_ID = "demo/sample"
"""What every event of the sample data is marked with, whatever its seed."""
STRETCH_S_MAX = 5 * DAY_S
"""How long people stay signed in at most, before they sign out of their own accord."""
REFRESH_TTL_S = 14 * DAY_S
NAP_S_MIN = 60.0
"""Nobody closes a lid for less."""
WAKES_S_BEFORE = 3.0
SIGNS_OUT_S_AFTER = 20.0
LATE_NETWORK_SHARE = 0.3
"""How often the network comes back only some seconds after a device has woken."""
PROFILE_SHARE = 0.25
"""How often an act asks for what may be cached."""
GOODBYES_SHARE = 0.2
"""How many people sign out every evening."""
EVENING_S_MIN = 6 * HOUR_S
MONDAY_S = 4 * DAY_S
"""The first Monday of the epoch."""


class Release(msgspec.Struct, frozen=True):
    """What the simulated app ran in one half of the time."""

    app_version: str
    policy: SessionPolicy


BEFORE, AFTER = Release("1.0", BASIC), Release("2.0", PROFESSIONAL)


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Some days, in wall seconds, of which everybody's events are written together."""

    number: int
    from_s: float
    until_s: float
    release: Release
    incidents: tuple[Incident, ...]
    is_last: bool

    @property
    def days(self) -> int:
        return ceil((self.until_s - self.from_s) / DAY_S)

    def day_of(self, at_s: float) -> int:
        """The number of the day; programs start some seconds before the first."""
        return min(max(0, int((at_s - self.from_s) // DAY_S)), self.days - 1)


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """One person's part of a stretch: what one process plays at a time."""

    seed: int
    person: int
    stretch: Stretch

    @property
    def name(self) -> str:
        """One that no other sample data has, so that their sessions are told apart; `seed` alone decides what happens."""
        return f"demo/{int(self.stretch.until_s):x}/{self.seed}/{self.person:03}"

    @property
    def kit(self) -> Kit:
        return KITS[self.person % len(KITS)]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that will be simulated, in wall seconds. In its middle the app is updated."""

    users: int
    from_s: float
    until_s: float
    seed: int = 1

    def __post_init__(self) -> None:
        require("users", self.users, 1, USERS_MAX)
        require("days", (self.until_s - self.from_s) / DAY_S, 1 / 24, DAYS_MAX)

    @property
    def switch_s(self) -> float:
        return (self.from_s + self.until_s) / 2

    def stretches(self) -> tuple[Stretch, ...]:
        """In order of time; none of them holds the switch."""
        made: list[Stretch] = []
        for release, from_s, until_s in (
            (BEFORE, self.from_s, self.switch_s),
            (AFTER, self.switch_s, self.until_s),
        ):
            incidents = draw_incidents(from_s, until_s, seed=self.seed)
            count = ceil((until_s - from_s) / STRETCH_S_MAX)
            edges = [from_s + number * (until_s - from_s) / count for number in range(count)]
            made += [
                Stretch(
                    number=len(made) + number,
                    from_s=begins_s,
                    until_s=ends_s,
                    release=release,
                    incidents=incidents,
                    is_last=ends_s == self.until_s,
                )
                for number, (begins_s, ends_s) in enumerate(pairwise([*edges, until_s]))
            ]
        return tuple(made)

    def incidents(self) -> Iterator[tuple[Release, Incident]]:
        """In order of time, each with what the app ran then."""
        by_release = {stretch.release: stretch.incidents for stretch in self.stretches()}
        return ((release, incident) for release, incidents in by_release.items() for incident in incidents)

    def stays(self) -> tuple[Stay, ...]:
        """Everybody's part of the first stretch, then of the next."""
        return tuple(
            Stay(seed=self.seed, person=person, stretch=stretch)
            for stretch in self.stretches()
            for person in range(self.users)
        )


class Scene(msgspec.Struct, frozen=True):
    """A stay as the simulation plays it: it begins with the sign-in at `begins_s`, wall seconds."""

    begins_s: float
    scenario: Scenario


def scene(stay: Stay) -> Scene | None:
    """The days of one person; None if they used nothing."""
    stretch, kit = stay.stretch, stay.kit
    rng = random.Random(f"{stay.seed}/{stay.person}/{stretch.number}")
    used = [at_s for at_s in _uses(stay, rng) if stretch.from_s <= at_s < stretch.until_s - SIGNS_OUT_S_AFTER]
    if not used:
        return None
    begins_s, ends_s = used[0], stretch.until_s
    acts = [at_s - begins_s for at_s in used]
    looks = [at_s for at_s in acts if rng.random() < PROFILE_SHARE]
    steps = [
        *_sleeps(kit, acts, rng),
        *_troubles(kit, acts, rng),
        *_faults(stretch.incidents, begins_s),
        *(Step(at_s=at_s, do=Verb.CALL, route="profile") for at_s in looks),
        *(Step(at_s=at_s + SIGNS_OUT_S_AFTER, do=Verb.SIGN_OUT) for at_s in _goodbyes(stay, acts)),
    ]
    duration_s = ends_s - begins_s
    timeline = sorted((step for step in steps if 0 <= step.at_s <= duration_s), key=lambda step: step.at_s)
    return Scene(begins_s, _scenario(kit, acts, timeline, duration_s))


def _scenario(kit: Kit, acts: Sequence[float], timeline: Sequence[Step], duration_s: float) -> Scenario:
    return Scenario(
        name=SCENARIO,
        family=Family.FLEET,
        what="Some days of one person with one device.",
        passes_when="Always: it is played for its events.",
        duration_s=duration_s,
        latency_s=kit.latency_s,
        calls=Calls.CLIENT,
        refresh_ttl_s=REFRESH_TTL_S,
        grace_s=30.0,
        provider_session=True,
        cached=(RouteTtl(pattern="*/profile", ttl_s=60.0, stale_s=600.0, stale_if_error_s=HOUR_S),),
        users=Users(
            act=Acting.SCRIPT, times_s=tuple(acts), tries_again_after_s=10.0, tries_max=2, signs_in_after_s=8.0
        ),
        timeline=tuple(timeline),
        checks=(Check(check="sign_outs", at_least=0),),
    )


def _uses(stay: Stay, rng: random.Random) -> Iterator[float]:
    """When the device is used, in wall seconds: the days of the stretch, each with its own beginning and end."""
    kit, stretch = stay.kit, stay.stretch
    habits = random.Random(f"{stay.seed}/{stay.person}/habits")
    early_h, long_h = habits.uniform(-1.0, 1.0), habits.uniform(-1.0, 1.0)
    model = Users(act=Acting.IDLE_GAP, dataset=kit.dataset, gap_max_s=kit.gap_s_max)
    for day in range(int(stretch.from_s // DAY_S), int(stretch.until_s // DAY_S) + 1):
        begins_h = kit.begins_h + early_h + rng.gauss(0, 0.3)
        lasts_s = max(1.0, kit.lasts_h + long_h + rng.gauss(0, 0.5)) * HOUR_S
        is_weekend = (day * DAY_S - MONDAY_S) // DAY_S % 7 >= 5
        if not is_weekend or rng.random() < kit.weekends:
            begins_s = day * DAY_S + begins_h * HOUR_S
            yield from (begins_s + at_s for at_s in action_times(model, number=0, duration_s=lasts_s, rng=rng))


def _sleeps(kit: Kit, acts: Sequence[float], rng: random.Random) -> Iterator[Step]:
    """The device sleeps between two acts, and its network may be late when it wakes."""
    if kit.sleeps_after_s is None:
        return
    for act_s, next_s in pairwise(acts):
        asleep_s, awake_s = act_s + kit.sleeps_after_s, next_s - WAKES_S_BEFORE
        if awake_s - asleep_s >= NAP_S_MIN:
            yield Step(at_s=asleep_s, do=Verb.SUSPEND, for_s=awake_s - asleep_s)
            if rng.random() < LATE_NETWORK_SHARE:
                yield Step(at_s=awake_s, do=Verb.NETWORK_DOWN, for_s=rng.uniform(1, 5))
    yield Step(at_s=acts[-1] + kit.sleeps_after_s, do=Verb.SUSPEND)


def _troubles(kit: Kit, acts: Sequence[float], rng: random.Random) -> Iterator[Step]:
    for act_s in acts:
        if rng.random() < kit.troubled:
            at_s = max(0.0, act_s - rng.uniform(0, 10))
            match rng.choice(kit.troubles):
                case Verb.NETWORK_DOWN as verb:
                    yield Step(at_s=at_s, do=verb, for_s=round(2 ** rng.uniform(1, 8), 1))
                case Verb.NETWORK_SLOW as verb:
                    yield Step(at_s=at_s, do=verb, latency_s=rng.uniform(1, 4), for_s=rng.uniform(60, 900))
                case Verb.NETWORK_LOSS as verb:
                    yield Step(at_s=at_s, do=verb, share=rng.uniform(0.2, 0.7), for_s=rng.uniform(60, 600))
                case Verb.PORTAL as verb:
                    yield Step(at_s=at_s, do=verb, for_s=rng.uniform(20, 120))
                case Verb.STALL as verb:
                    yield Step(at_s=at_s, do=verb, for_s=rng.uniform(5, 30))
                case verb:
                    yield Step(at_s=at_s, do=verb)


def _faults(incidents: Sequence[Incident], begins_s: float) -> Iterator[Step]:
    """What is left of each incident when the stay begins."""
    for incident in incidents:
        for phase in incident.shape.phases:
            from_s = max(0.0, incident.begins_s + phase.from_min * 60 - begins_s)
            for_s = incident.begins_s + phase.until_min * 60 - begins_s - from_s
            if for_s > 0:
                yield Step(at_s=from_s, do=Verb.FAULT, for_s=for_s, fault=phase.fault)


def _goodbyes(stay: Stay, acts: Sequence[float]) -> Iterator[float]:
    """The acts after which the person signs out: the last before the next stretch, and every evening's for some."""
    every_evening = random.Random(f"{stay.seed}/{stay.person}/goodbyes").random() < GOODBYES_SHARE
    for act_s, next_s in pairwise(acts):
        if every_evening and next_s - act_s > EVENING_S_MIN:
            yield act_s
    if not stay.stretch.is_last:
        yield acts[-1]
