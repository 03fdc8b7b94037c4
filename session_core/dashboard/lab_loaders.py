"""What the lab's pages load: scenarios as their files are now, policies, and runs, made here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import streamlit as st

from session_core.clock import SystemClock
from session_core.config import PRESETS, SessionPolicy, read_policy
from session_core.dashboard.sweeps import Sweeps, name_of
from session_core.errors import ConfigError
from session_core.lab_jobs import Job
from session_core.sim.run import Run, run
from session_core.sim.scenario import CATALOGUE, Scenario, read_scenario

RUNS_MAX = 8
OWN_POLICIES_MAX = 50
_own_policies: dict[str, SessionPolicy] = {}
sweeps = Sweeps(SystemClock())


class Catalogue(NamedTuple):
    """The scenarios that can be read, and a sentence for each file that cannot."""

    scenarios: Mapping[str, Scenario]
    troubles: tuple[str, ...]


def catalogue() -> Catalogue:
    """As the files are now: a tester's new scenario is there at once."""
    return _catalogue(tuple((str(path), path.stat().st_mtime_ns) for path in sorted(CATALOGUE.glob("*.toml"))))


def policies() -> Mapping[str, SessionPolicy]:
    """The built-in ones, and those that were uploaded since the app started."""
    return {**PRESETS, **_own_policies}


def add_policy(file_name: str, content: bytes) -> str:
    """Take in an uploaded TOML file; its policy's name. Raises ConfigError, which names the setting."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / (Path(file_name).name or "policy.toml")
        path.write_bytes(content)
        try:
            policy = read_policy(str(path))
        except ConfigError as error:
            raise ConfigError(str(error).replace(f"{folder}/", "")) from None
    while len(_own_policies) >= OWN_POLICIES_MAX:
        del _own_policies[next(iter(_own_policies))]
    if policy.name not in PRESETS:
        _own_policies[policy.name] = policy
    return policy.name


def run_of(job: Job) -> Run:
    """The run with its events; the last few are kept, because each is the same whoever asks."""
    return _run_of(name_of(job), job)


def replay(job: Job) -> Run:
    """The run made anew, whatever is kept."""
    return run(job.scenario, job.policy, job.seed)


@st.cache_resource(max_entries=4, show_spinner=False)
def _catalogue(files: tuple[tuple[str, int], ...]) -> Catalogue:
    scenarios, troubles = [], []
    for file, _ in files:
        try:
            scenarios.append(read_scenario(Path(file)))
        except ConfigError as error:
            troubles.append(str(error).replace(f"{CATALOGUE}/", ""))
    ranked = sorted(scenarios, key=lambda scenario: (scenario.number or 10_000, scenario.name))
    return Catalogue({scenario.name: scenario for scenario in ranked}, tuple(troubles))


@st.cache_resource(max_entries=RUNS_MAX, show_spinner="Playing the scenario…")
def _run_of(name: str, _job: Job) -> Run:
    assert name == name_of(_job)
    made = run(_job.scenario, _job.policy, _job.seed)
    sweeps.keep(_job, made)
    return made
