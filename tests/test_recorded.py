"""Recorded runs side by side: read back as they were, paired by what both sides played, told in the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_core.config import PRESETS
from session_core.dashboard import recorded
from session_core.lab import run_sweep
from session_core.lab_jobs import plan
from session_core.sim.scenario import read_catalogue
from session_core.store import EventStore, queries, session_queries

SCENARIOS = [read_catalogue()[name] for name in ("lid-close-overnight", "wake-before-network")]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both presets through two scenarios; one side has a seed that the other has not."""
    path = tmp_path_factory.mktemp("recorded") / "runs.duckdb"
    store = EventStore(path)
    run_sweep(plan(SCENARIOS, [PRESETS["basic"]], [1, 2, 3]), processes=1, store=store)
    run_sweep(plan(SCENARIOS, [PRESETS["professional"]], [1, 2]), processes=1, store=store)
    store.close()
    return path


def test_a_recorded_run_is_read_back_as_it_was(filled: Path) -> None:
    """Every figure, and every event."""
    store = EventStore(filled)
    jobs = plan(SCENARIOS[:1], [PRESETS["basic"]], [1])
    [made] = run_sweep(jobs, processes=1, keep_events=True).runs
    found = {(run.scenario, run.policy, run.seed): run for run in recorded.read_runs(queries.runs(store))}
    events = session_queries.run_events(store, f"{made.scenario}/basic/1/{made.version}")
    store.close()
    assert len(found) == 10
    read = found["lid-close-overnight", "basic", 1]
    assert (read.digest, read.ux_score, read.failures) == (made.digest, made.ux_score, made.failures)
    assert sorted(map(repr, events)) == sorted(map(repr, made.events))


def test_sides_meet_where_both_played(filled: Path) -> None:
    """The seed that one side lacks is left out, and the scenario that moved most comes first."""
    store = EventStore(filled)
    sides = recorded.sides(recorded.read_runs(queries.runs(store)))
    store.close()
    (before, ours), (after, theirs) = sides.items()
    assert (before.split(" · ")[0], len(ours), after.split(" · ")[0], len(theirs)) == ("basic", 6, "professional", 4)
    both = recorded.pairs(ours, theirs)
    assert [(pair.before.scenario, pair.after.seed) for pair in both] == [
        ("lid-close-overnight", 1),
        ("lid-close-overnight", 2),
        ("wake-before-network", 1),
        ("wake-before-network", 2),
    ]
    rows = recorded.by_scenario(both)
    assert rows["Runs each"].tolist() == [2, 2]
    assert set(rows["Passed after"]) == {2}
    assert set(rows["Verdict"]) == {"▲ better"}
