"""Random schedules of trouble, judged by the invariants alone; a failure is shrunk to its shortest story and told."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from session_core.cache_rules import RouteTtl
from session_core.config import PROFESSIONAL, SessionPolicy
from session_core.provider.faults import Endpoint, Fault, FaultKind
from session_core.sim.checks import Check
from session_core.sim.invariants import Violation
from session_core.sim.run import play
from session_core.sim.scenario import Acting, Calls, Family, Scenario, Users
from session_core.sim.shrink import as_pytest, shrink, tell
from session_core.sim.steps import Step, Verb
from session_core.sim.world import STARTED_WITHIN_S

MINUTE_S = 60.0
HOUR_S = 3_600.0
Steps = tuple[Step, ...]
Kind = Callable[[float, random.Random], Steps]
"""Something that can go wrong: the steps for it, beginning at a time."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that breaks an invariant, as it was drawn and as short as it could be made."""

    seed: int
    policy: str
    drawn: Scenario
    shortest: Scenario
    violation: Violation

    @property
    def story(self) -> str:
        return tell(self.shortest, self.violation, began_at=STARTED_WITHIN_S)

    @property
    def test(self) -> str:
        return as_pytest(self.shortest, self.seed, self.policy)


def explore(
    seeds: Iterable[int], policy: SessionPolicy = PROFESSIONAL, *, on_played: Callable[[int], object] = lambda _: None
) -> Iterator[Finding]:
    """Play the schedule of each seed; those that break an invariant, shrunk."""
    for seed in seeds:
        scenario = draw(seed)
        found = first_broken(scenario, policy, seed)
        on_played(seed)
        if found is not None:
            shortest = shrink(scenario, partial(_breaks, policy, seed, found.name))
            broken = play(shortest, policy, seed).broken
            violation = next((again for again in broken if again.name == found.name), found)
            yield Finding(seed=seed, policy=policy.name, drawn=scenario, shortest=shortest, violation=violation)


def first_broken(scenario: Scenario, policy: SessionPolicy, seed: int) -> Violation | None:
    """The first invariant, in order of the list, that a run of `scenario` breaks."""
    return next(iter(play(scenario, policy, seed).broken), None)


def _breaks(policy: SessionPolicy, seed: int, name: str, scenario: Scenario) -> bool:
    return any(violation.name == name for violation in play(scenario, policy, seed).broken)


# Drawing


def draw(seed: int) -> Scenario:
    """The schedule of this seed: a few users for a few hours, and much that goes wrong at the worst moments."""
    rng = random.Random(f"explore/{seed}")
    access_ttl_s = rng.choice([5 * MINUTE_S, 10 * MINUTE_S, 20 * MINUTE_S, HOUR_S, HOUR_S])
    duration_s = round(min(6 * HOUR_S, access_ttl_s * rng.uniform(1.5, 4) + rng.uniform(0, HOUR_S)), 0)
    calls = rng.choices([Calls.WIRE, Calls.CLIENT], [2, 1])[0]
    idle_limit_s = rng.choices([None, 15 * MINUTE_S, HOUR_S], [5, 1, 1])[0]
    devices = rng.choices([1, 2], [4, 1])[0]
    scenario = Scenario(
        name=f"explored-{seed}",
        family=Family.RACES,
        what=f"The schedule drawn from seed {seed}.",
        passes_when="Every invariant holds.",
        duration_s=duration_s,
        devices=devices,
        sessions=devices * rng.choices([1, 2], [4, 1])[0],
        wall_skews_s=(rng.choice([-1_200.0, -30.0, 45.0, 900.0]),) if rng.random() < 0.2 else (),
        latency_s=rng.choice([0.02, 0.1, 0.1, 0.4]),
        calls=calls,
        access_ttl_s=access_ttl_s,
        refresh_ttl_s=rng.choices([86_400.0, 2 * access_ttl_s, 0.5 * access_ttl_s], [8, 1, 1])[0],
        grace_s=rng.choice([0.0, 0.0, 10.0, 30.0, 60.0]),
        rotates=rng.random() < 0.85,
        provider_session=rng.random() < 0.25,
        idle_limit_s=idle_limit_s,
        absolute_limit_s=rng.choices([None, 2 * HOUR_S], [6, 1])[0],
        cached=(RouteTtl(pattern="/idp/api/*", ttl_s=60.0, stale_s=60.0),)
        if calls is Calls.CLIENT and rng.random() < 0.5
        else (),
        users=_users(rng, duration_s),
        checks=(Check(check="parts_crashed", equals=0),),
    )
    return msgspec.structs.replace(scenario, timeline=tuple(_timeline(scenario, rng)))


def _users(rng: random.Random, duration_s: float) -> Users:
    act = rng.choices([Acting.SCRIPT, Acting.STEADY], [1, 1])[0]
    return Users(
        act=act,
        every_s=rng.choice([3.0, 7.0, 20.0]) * MINUTE_S if act is Acting.STEADY else None,
        times_s=tuple(sorted(round(rng.uniform(0, duration_s), 0) for _ in range(rng.randint(0, 6))))
        if act is Acting.SCRIPT
        else (),
        tries_again_after_s=rng.choice([None, 5.0]),
        tries_max=rng.choice([3, 10]),
        signs_in_after_s=rng.choice([None, 20.0]),
    )


def _timeline(scenario: Scenario, rng: random.Random) -> list[Step]:
    steps: list[Step] = []
    for _ in range(rng.choice([1, 2, 3, 4, 5, 6, 8, 12])):
        at_s = _moment(scenario, rng, [step.at_s for step in steps])
        [kind] = rng.choices([kind for kind, _ in _KINDS], [weight for _, weight in _KINDS])
        steps += kind(at_s, rng)
    if rng.random() < 0.35:
        # A second process from early on, for whatever happens then.
        steps.append(Step(at_s=round(rng.uniform(1, 120), 0), do=Verb.OPEN_PROCESS))
    return sorted((step for step in steps if step.at_s <= scenario.duration_s), key=lambda step: step.at_s)


def _moment(scenario: Scenario, rng: random.Random, before: list[float]) -> float:
    """Any time, or just around one that matters: a refresh, an expiry, a limit, another step."""
    life_s = scenario.access_ttl_s
    margin_s = min(300.0, 0.2 * life_s)
    near = [life_s, life_s - margin_s, life_s - 1.05 * margin_s, 2 * life_s - margin_s]
    near += [limit_s for limit_s in (scenario.idle_limit_s, scenario.absolute_limit_s) if limit_s is not None]
    near += before * 2
    if rng.random() < 0.25:
        return round(rng.uniform(0, scenario.duration_s), 0)
    offset_s = rng.choice([0.0, 0.05, 0.1, 0.15, 0.25, 1.0, 5.0, 20.0, -0.1, -1.0, -20.0, rng.uniform(-60, 60)])
    return round(min(scenario.duration_s, max(0.0, rng.choice(near) + offset_s)), 3)


def _lasting(rng: random.Random) -> float:
    """From a moment to longer than a token lives."""
    return float(rng.choice([1, 5, 12, 30, 45, 70, 120, 300, 600, 1_800, 4_000]))


def _trouble(at_s: float, rng: random.Random) -> Steps:
    kind = rng.choice(list(_FAULTS))
    endpoint = rng.choices([Endpoint.TOKEN, Endpoint.ANY, Endpoint.API], [6, 2, 1])[0]
    settings = _FAULTS[kind](rng)
    if kind in (FaultKind.REVOKE_REFRESH_TOKENS, FaultKind.REVOKE_ACCESS_TOKENS, FaultKind.ROTATE_KEYS):
        endpoint = Endpoint.ANY
    elif kind is FaultKind.UNCHANGED_EXPIRY:
        endpoint = Endpoint.TOKEN
    if endpoint is not Endpoint.ANY and rng.random() < 0.4:
        settings["times"] = rng.randint(1, 4)
    fault = Fault(kind=kind, endpoint=endpoint, **settings)
    return (Step(at_s=at_s, do=Verb.FAULT, for_s=_lasting(rng), fault=fault),)


_FAULTS: dict[FaultKind, Callable[[random.Random], dict[str, Any]]] = {
    FaultKind.STATUS: lambda rng: {"status": rng.choice([429, 500, 502, 503, 504]), **_wish(rng)},
    FaultKind.DELAY: lambda rng: {"delay_s": rng.choice([0.5, 4.0, 9.0, 11.0, 40.0])},
    FaultKind.HANG: lambda rng: {"acts": rng.random() < 0.5},
    FaultKind.REFUSE: lambda _: {},
    FaultKind.DROP_BEFORE: lambda _: {},
    FaultKind.DROP_AFTER: lambda _: {},
    FaultKind.GARBLED_JSON: lambda _: {},
    FaultKind.HTML: lambda rng: {"status": rng.choice([200, 502])},
    FaultKind.REVOKE_REFRESH_TOKENS: lambda _: {},
    FaultKind.REVOKE_ACCESS_TOKENS: lambda _: {},
    FaultKind.ROTATE_KEYS: lambda _: {},
    FaultKind.UNCHANGED_EXPIRY: lambda _: {},
}


def _wish(rng: random.Random) -> dict[str, float]:
    return {"retry_after_s": rng.choice([0.0, 5.0, 30.0, 120.0, 900.0])} if rng.random() < 0.5 else {}


def _restart(at_s: float, rng: random.Random) -> Steps:
    """Killed, and after a while started again from what is stored."""
    killed = Step(at_s=at_s, do=Verb.KILL_PROCESS)
    after_s = rng.choice([0.5, 4.0, 8.0, 20.0, 90.0, 2_000.0])
    return (killed, Step(at_s=round(at_s + after_s, 3), do=Verb.RESTART_PROCESS))


def _one(do: Verb, **draws: Callable[[random.Random], Any]) -> Kind:
    return lambda at_s, rng: (Step(at_s=at_s, do=do, **{name: draw(rng) for name, draw in draws.items()}),)


def _any_of(*choices: Any) -> Callable[[random.Random], Any]:
    return lambda rng: rng.choice(choices)


_KINDS: tuple[tuple[Kind, int], ...] = (
    (_trouble, 8),
    (_restart, 3),
    (_one(Verb.SUSPEND, for_s=_lasting), 5),
    (_one(Verb.STALL, for_s=_any_of(1.0, 7.0, 30.0, 200.0)), 3),
    (_one(Verb.THROTTLE, every_s=_any_of(60.0), for_s=_lasting), 1),
    (_one(Verb.CLOCK_STEP, by_s=_any_of(-7_200.0, -60.0, 60.0, 7_200.0)), 1),
    (_one(Verb.NETWORK_DOWN, for_s=_lasting), 4),
    (_one(Verb.NETWORK_SLOW, latency_s=_any_of(0.5, 1.5), for_s=_lasting), 2),
    (_one(Verb.NETWORK_LOSS, share=_any_of(0.2, 0.7), for_s=_lasting), 2),
    (_one(Verb.NETWORK_FLAP, every_s=_any_of(1.0, 8.0), times=_any_of(2, 4, 9)), 1),
    (_one(Verb.NETWORK_RESET), 2),
    (_one(Verb.PORTAL, for_s=_lasting), 1),
    (_one(Verb.LOSE_NEXT_ANSWER, times=_any_of(1, 2, 3)), 4),
    (_one(Verb.CALL, times=_any_of(None, 3)), 6),
    (_one(Verb.ACT), 1),
    (_one(Verb.FORCE_REFRESH, process=_any_of(None, 2)), 5),
    (_one(Verb.LISTEN), 1),
    (_one(Verb.SIGN_OUT), 1),
    (_one(Verb.SIGN_IN), 1),
    (_one(Verb.END_SESSIONS_ELSEWHERE), 1),
    (_one(Verb.OPEN_PROCESS), 2),
    (_one(Verb.KILL_PROCESS, process=_any_of(None, 2)), 1),
    (_one(Verb.STORE_FAILS, for_s=_lasting), 1),
    (_one(Verb.STORE_CORRUPTS), 2),
    (_one(Verb.STORE_SLOW, latency_s=_any_of(0.0, 0.05, 0.3)), 2),
)
