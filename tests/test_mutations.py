"""Whoever switches off a protection hears of it; `python tests/mutations.py` shows what notices each."""

from __future__ import annotations

import pytest
from mutations import MUTATIONS, SESSIONS_MAX, noticed_by
from tries import tries

from session_core.config import PROFESSIONAL
from session_core.sim.run import run
from session_core.sim.scenario import CATALOGUE, read_catalogue

# Played a thousand times over, and lines do not count by how often: what it covers others cover too.
pytestmark = pytest.mark.no_cover

FOUND = read_catalogue(CATALOGUE / "found")
QUICK = [
    name
    for name, mutation in MUTATIONS.items()
    if mutation.likely and {**read_catalogue(), **FOUND}[mutation.likely[0]].sessions < SESSIONS_MAX
]


@pytest.mark.parametrize("name", QUICK)
def test_a_protection_that_is_gone_is_missed(name: str) -> None:
    """By the scenario that is there for it, or by an invariant in the first schedules."""
    assert noticed_by(MUTATIONS[name], schedules=100, everything=False) is not None


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_fixed(name: str) -> None:
    """Scenarios beyond the forty, each from a defect or from a hole in the catalogue."""
    seeds = range(tries(30, in_ci=10))
    assert [run(FOUND[name], PROFESSIONAL, seed, keep_events=False).failures for seed in seeds] == [()] * len(seeds)
