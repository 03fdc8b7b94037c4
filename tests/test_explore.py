"""Random schedules break nothing; what breaks is shrunk, told, saved and played again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tries import tries

from session_core.config import BASIC, PROFESSIONAL
from session_core.refresh_plan import ProviderProfile
from session_core.sim.explore import Finding, draw, explore, first_broken
from session_core.sim.invariants import EXEMPT, INVARIANTS
from session_core.sim.run import play
from session_core.sim.scenario import parse_scenario, to_toml


@pytest.mark.parametrize("policy", [PROFESSIONAL, BASIC], ids=lambda policy: policy.name)
def test_explored_schedules_break_no_invariant(policy: object) -> None:
    """Seventy-five of them under each policy, in CI thirty; `python -m bench explore` plays 100,000."""
    assert [finding.story for finding in explore(range(tries(75, in_ci=30)), policy)] == []


def test_a_seed_draws_the_same_schedule_always() -> None:
    """Chance is in the seed alone, and a schedule survives its file."""
    for seed in range(50):
        assert draw(seed) == draw(seed)
        assert parse_scenario(to_toml(draw(seed))) == draw(seed)


@pytest.fixture
def finding(monkeypatch: pytest.MonkeyPatch) -> Finding:
    """What is found when a replay counts as harmless at any time."""
    monkeypatch.setattr(ProviderProfile, "replay_until", lambda _self, _sent_at: float("inf"))
    return next(explore(range(1_000), PROFESSIONAL))


def test_a_failure_is_shrunk_told_and_saved(finding: Finding) -> None:
    """The shortest story still fails, is no longer than what was drawn, and comes as words, file and test."""
    shortest = finding.shortest
    assert len(shortest.timeline) <= len(finding.drawn.timeline)
    assert any(broken.name == finding.violation.name for broken in play(shortest, PROFESSIONAL, finding.seed).broken)
    assert finding.story.splitlines()[0].startswith("Signed in; tokens live ")
    assert finding.violation.says in finding.story
    assert parse_scenario(to_toml(shortest)) == shortest
    compile(finding.test, "test", "exec")


def test_the_saved_test_passes_once_the_fault_is_gone() -> None:
    """It plays the file's own schedule."""
    finding = Finding(
        seed=3, policy="basic", drawn=draw(3), shortest=draw(3), violation=first_broken(draw(3), BASIC, 3) or _some()
    )
    names: dict[str, object] = {}
    exec(compile(finding.test, "test", "exec"), names)
    names["test_explored_3"]()  # type: ignore[operator]


def _some() -> object:
    from session_core.sim.invariants import Violation

    return Violation(name="none", at=0.0, session="", says="nothing")


def test_every_invariant_says_what_holds() -> None:
    """At least twelve, each with a sentence; who is exempt is known, and why is said."""
    assert len(INVARIANTS) >= 12
    assert all(rule.__doc__ for rule in INVARIANTS.values())
    for policy, exempt in EXEMPT.items():
        assert policy in ("professional", "basic")
        assert exempt.keys() <= INVARIANTS.keys()
        assert all(exempt.values())


@pytest.mark.slow
def test_the_command_tells_how_many_it_played() -> None:
    """It exits with 0 when nothing broke."""
    command = [sys.executable, "-m", "session_core", "explore", "--seeds", "20"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "20 schedules, 0 of them broke an invariant\n"), done.stderr
