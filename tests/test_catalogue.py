"""The catalogue: every scenario passes under `professional`, most fail under `basic`, and each is the same each time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from session_core.config import BASIC, PROFESSIONAL, SessionConfig
from session_core.deadlines import DeadlineLoop
from session_core.sim import world
from session_core.sim.run import Run, run
from session_core.sim.scenario import CATALOGUE, Acting, Family, read_catalogue

# Played a thousand times over, and lines do not count by how often: what it covers others cover too.
pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[1]
SEEDS = range(3)
SLOW = [name for name, scenario in read_catalogue().items() if scenario.family is Family.FLEET]
QUICK = [name for name in read_catalogue() if name not in SLOW]

NOT_YET: Mapping[str, str] = {
    "retry-storm": "10,000 clients take longer than the time there is for it here",
}
"""Scenarios that do not pass with every seed, and why."""

UNHARMED = {"long-lived-token", "network-flap", "signing-key-rotation", "signed-out-elsewhere"} | {
    "refresh-token-expired-while-idle"
}
"""Scenarios that ask nothing of a policy that `basic` does not do."""


def test_the_catalogue_is_the_one_that_was_designed() -> None:
    """Forty scenarios, numbered without a gap, in every family, each explained."""
    scenarios = read_catalogue().values()
    assert [scenario.number for scenario in scenarios] == list(range(1, 41))
    assert {scenario.family for scenario in scenarios} == set(Family)
    assert all(scenario.what.endswith(".") and scenario.passes_when.endswith(".") for scenario in scenarios)


def test_the_catalogue_is_where_the_package_finds_it() -> None:
    """The files at the top are the ones the package carries."""
    assert CATALOGUE.resolve() == ROOT / "data" / "scenarios"


@pytest.mark.parametrize("name", [name for name in QUICK if name not in NOT_YET])
@pytest.mark.parametrize("seed", SEEDS)
def test_professional_passes(name: str, seed: int) -> None:
    """No check fails, and nothing crashed on the way."""
    found = run(read_catalogue()[name], PROFESSIONAL, seed)
    assert found.failures == ()
    assert found.passed


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SLOW if name not in NOT_YET])
def test_professional_passes_with_a_fleet(name: str) -> None:
    """A thousand sessions run on the same code."""
    assert run(read_catalogue()[name], PROFESSIONAL, 0, keep_events=False).failures == ()


@pytest.mark.parametrize("name", QUICK)
def test_basic_shows_what_breaks(name: str) -> None:
    """What most apps do today fails wherever the scenario asks for more than luck."""
    assert run(read_catalogue()[name], BASIC, 0).passed is (name in UNHARMED)


PROGRAM = """
import json
from session_core.config import PRESETS
from session_core.sim import world
from session_core.sim.run import Run, run
from session_core.sim.scenario import read_catalogue
names = ["lid-close-overnight", "stampede", "two-processes", "outage-at-wake", "signing-key-rotation", "workday"]
print(json.dumps({name: run(read_catalogue()[name], PRESETS["professional"], 7).digest for name in names}))
"""


def test_the_same_name_has_the_same_digest_in_any_process() -> None:
    """Under any PYTHONHASHSEED, in another process and in this one, after other runs."""
    digests = []
    for hash_seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(json.loads(done.stdout))
    here = {name: run(read_catalogue()[name], PROFESSIONAL, 7).digest for name in digests[0]}
    assert digests[0] == digests[1] == digests[2] == here
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in here.values())


def test_another_seed_is_another_run() -> None:
    """Chance is in it, and the seed is what decides it."""
    scenario = read_catalogue()["workday"]
    assert len({run(scenario, PROFESSIONAL, seed).digest for seed in range(5)}) == 5


@pytest.mark.parametrize("name", QUICK)
def test_ticks_that_are_only_counted_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the simulated clock foretells its jumps, what happens is what happens with every tick waited for."""
    settings, begin = world.app_settings, DeadlineLoop.__init__

    def uneven(*args: Any) -> SessionConfig:
        # No tick falls on the very moment of something else, where only the order of setting timers decides.
        return msgspec.structs.replace(settings(*args), tick_s_max=14.93717)

    def watchful(self: Any, **parts: Any) -> None:
        begin(self, **parts)
        self._foretelling = None

    scenario = read_catalogue()[name]
    if scenario.users.act is Acting.STEADY:
        users = msgspec.structs.replace(scenario.users, from_s=scenario.users.from_s + 1.234)
        scenario = msgspec.structs.replace(scenario, users=users)
    monkeypatch.setattr(world, "app_settings", uneven)
    counted = told(run(scenario, PROFESSIONAL, 5))
    monkeypatch.setattr(DeadlineLoop, "__init__", watchful)
    assert counted == told(run(scenario, PROFESSIONAL, 5))


def told(found: Run) -> list[tuple[float, str, str]]:
    """Who said what and when, to the microsecond: adding a tick often is not adding it once."""
    return sorted((round(event.boot, 6), event.origin.session_id, event.kind) for event in found.events)
