"""One run: scenario, policy and seed in; verdict, figures, events and their digest out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean

import msgspec

from session_core import events as e
from session_core.config import SessionPolicy
from session_core.sim.checks import judge
from session_core.sim.evidence import Ending, Evidence
from session_core.sim.garbage import collector
from session_core.sim.invariants import Violation, violations
from session_core.sim.loop import run_virtual, running_loop
from session_core.sim.machine import Naming
from session_core.sim.measures import sign_out_reasons, stuck_ms, wake_to_success_ms
from session_core.sim.rules import Setting
from session_core.sim.scenario import Scenario
from session_core.sim.world import World
from session_core.ux_score import score_session
from session_core.vocabulary import Sight

GRACE_S = 3_600.0
"""How much longer than the scenario a run may take before it is called endless."""

try:
    VERSION = version("session-core")
except PackageNotFoundError:
    VERSION = "0"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to. It is named by scenario, policy, seed and version: the same name has the same digest."""

    scenario: str
    policy: str
    seed: int
    version: str = VERSION
    passed: bool
    failures: tuple[str, ...]
    survived: bool
    sign_outs: int
    sign_out_reasons: tuple[str, ...]
    visible_errors: int
    wake_to_success_ms: float | None
    token_posts: int
    reuse_events: int
    stuck_ms: float
    health_min: float | None
    health_mean: float | None
    ux_score: float
    ux_parts: Mapping[str, float]
    virtual_seconds: float
    digest: str
    events: tuple[e.Event, ...] = ()


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a run, before it is judged by the scenario's own checks."""

    began_at: float
    ended_at: float
    ending: Ending
    events: tuple[e.Event, ...]
    broken: tuple[Violation, ...]


def run(scenario: Scenario, policy: SessionPolicy, seed: int, *, keep_events: bool = True) -> Run:
    """Play `scenario` under `policy` and judge it. Everything follows from the four that name it, and nothing else."""
    return _verdict(scenario, policy.name, seed, play(scenario, policy, seed), keep_events=keep_events)


def play(scenario: Scenario, policy: SessionPolicy, seed: int) -> Course:
    """Play `scenario` under `policy`, and see whether what must always hold did."""
    naming = Naming(
        run_id=f"{scenario.name}/{policy.name}/{seed}/{VERSION}", scenario=scenario.name, policy=policy.name
    )
    events: list[e.Event] = []

    async def live() -> Course:
        world = World(scenario, policy, seed, naming=naming, hear=events.append)
        ending = await world.play()
        setting = Setting(
            policy=world.config.policy,
            refresh_ttl_s=scenario.refresh_ttl_s,
            latency_s=scenario.latency_s,
            ended_at=running_loop().world_time(),
            secrets=frozenset(world.provider.issued_secrets()),
        )
        # Taken now: what is torn down after the end is no part of the run.
        return Course(
            began_at=world.began_at,
            ended_at=setting.ended_at,
            ending=ending,
            events=tuple(events),
            broken=tuple(violations(events, setting)),
        )

    main = live()
    try:
        with collector.seldom():
            return run_virtual(main, until_s=scenario.duration_s + GRACE_S)
    finally:
        # Ctrl-C may come before it has begun.
        main.close()


def _verdict(scenario: Scenario, policy: str, seed: int, course: Course, *, keep_events: bool) -> Run:
    events = course.events
    evidence = Evidence(events, began_at=course.began_at, ended_at=course.ended_at, ending=course.ending)
    failures = (*judge(scenario.checks, evidence), *map(str, course.broken))
    reasons = sign_out_reasons(evidence)
    beats = [fact.health for _, fact in evidence.facts(e.HeartbeatBeat)]
    score, parts = ux_of(events)
    return Run(
        scenario=scenario.name,
        policy=policy,
        seed=seed,
        passed=not failures,
        failures=failures,
        survived=not reasons,
        sign_outs=len(reasons),
        sign_out_reasons=tuple(reasons),
        visible_errors=sum(fact.sight is Sight.ERROR for _, fact in evidence.facts(e.UserSaw)),
        wake_to_success_ms=wake_to_success_ms(evidence),
        token_posts=sum(fact.endpoint == "token" for _, fact in evidence.facts(e.ProviderSaw)),
        reuse_events=sum(fact.what == "reuse_detected" for _, fact in evidence.facts(e.ProviderNoted)),
        stuck_ms=stuck_ms(evidence),
        health_min=min(beats, default=None),
        health_mean=fmean(beats) if beats else None,
        ux_score=score,
        ux_parts=parts,
        virtual_seconds=evidence.duration_s,
        digest=digest_of(events),
        events=events if keep_events else (),
    )


def digest_of(events: Iterable[e.Event]) -> str:
    """SHA-256 over every event, line by line as it would be logged."""
    digest = hashlib.sha256()
    for event in events:
        digest.update(e.encode(event))
        digest.update(b"\n")
    return digest.hexdigest()


def ux_of(events: Iterable[e.Event]) -> tuple[float, Mapping[str, float]]:
    """The UX score of the run's sessions, and its parts."""
    score = score_session(events)
    return score.score, {name: part.value for name, part in score.parts.items()}
