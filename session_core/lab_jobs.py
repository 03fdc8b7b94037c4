"""What a sweep is made of: the jobs, and how one is done. Light to import, because every worker process does so."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from session_core import events as e
from session_core.clock import Clock, SystemClock
from session_core.config import SessionPolicy, read_policy
from session_core.errors import ConfigError
from session_core.sim.run import Run, run
from session_core.sim.scenario import Scenario, read_catalogue, read_scenario


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run to be made; with the version it names the run."""

    scenario: Scenario
    policy: SessionPolicy
    seed: int


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """One run made, its events as they travel between processes. Times are wall seconds of this machine."""

    run: Run
    lines: bytes
    started_at: float
    finished_at: float

    def with_events(self) -> Run:
        return msgspec.structs.replace(self.run, events=tuple(map(e.decode, self.lines.splitlines())))


def plan(scenarios: Iterable[Scenario], policies: Iterable[SessionPolicy], seeds: Iterable[int]) -> tuple[Job, ...]:
    """Every scenario under every policy with every seed, in this order. Raises ConfigError where nothing would run."""
    policies, seeds = tuple(policies), tuple(seeds)
    jobs = tuple(
        Job(scenario=scenario, policy=policy, seed=seed)
        for scenario in scenarios
        for policy in policies
        for seed in seeds
    )
    if not jobs:
        raise ConfigError("There is nothing to run; give at least one scenario, one policy and one seed.")
    return jobs


def play(job: Job, *, clock: Clock, keep_events: bool) -> Played:
    started_at = clock.wall()
    made = run(job.scenario, job.policy, job.seed, keep_events=keep_events)
    return Played(
        run=msgspec.structs.replace(made, events=()),
        lines=b"\n".join(map(e.encode, made.events)),
        started_at=started_at,
        finished_at=clock.wall(),
    )


def play_with_events(job: Job) -> Played:
    """For another process, which has a clock of its own."""
    return play(job, clock=SystemClock(), keep_events=True)


def play_without_events(job: Job) -> Played:
    return play(job, clock=SystemClock(), keep_events=False)


def leave_interrupts_to_the_parent() -> None:
    """Another process is told when to end; Ctrl-C is not for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Chosen(msgspec.Struct, frozen=True):
    """What was named; `spelled` holds the file of each that came from one."""

    scenarios: tuple[Scenario, ...]
    policies: tuple[SessionPolicy, ...]
    spelled: Mapping[str, str]


def choose(scenarios: Iterable[str], policies: Iterable[str]) -> Chosen:
    """Scenarios of the catalogue or of TOML files, and policies likewise; all scenarios where none is named, and `professional`.

    Raises ConfigError, which suggests the nearest.
    """
    catalogue = read_catalogue()
    situations = {name: _scenario(name, catalogue) for name in dict.fromkeys(scenarios) or catalogue}
    ways = {name: read_policy(name) for name in dict.fromkeys(policies) or ["professional"]}
    for kind, chosen in (("scenarios", situations), ("policies", ways)):
        _require_one_each(kind, chosen)
    named = situations | ways
    return Chosen(
        tuple({each.name: each for each in situations.values()}.values()),
        tuple({each.name: each for each in ways.values()}.values()),
        {each.name: name for name, each in named.items() if each.name != name},
    )


def _require_one_each(kind: str, chosen: Mapping[str, Scenario] | Mapping[str, SessionPolicy]) -> None:
    """The same thing under two spellings is one; two things under one name are a mistake."""
    seen: dict[str, Scenario | SessionPolicy] = {}
    for each in chosen.values():
        if each != seen.setdefault(each.name, each):
            raise ConfigError(f"Two {kind} are called {each.name!r}; give one of them another name.")


def _scenario(name: str, catalogue: Mapping[str, Scenario]) -> Scenario:
    if not name.endswith(".toml"):
        if name not in catalogue:
            close = difflib.get_close_matches(name, catalogue, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]!r}?" if close else "the command `scenarios` lists them."
            raise ConfigError(f"There is no scenario {name!r}; {hint}")
        return catalogue[name]
    scenario = read_scenario(Path(name))
    if scenario != catalogue.get(scenario.name, scenario):
        raise ConfigError(
            f"{name}: the catalogue has another scenario called {scenario.name!r}; give this one a new name."
        )
    return scenario
