"""The lab: the same runs however they are scheduled, kept in the store, and kept when a sweep ends early."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from session_core.config import BASIC, PRESETS, PROFESSIONAL
from session_core.errors import ConfigError, StoreFullError, WorkerLostError
from session_core.events import Event
from session_core.lab import run_sweep
from session_core.lab_jobs import Job, choose, plan
from session_core.sim.run import Run, run
from session_core.sim.scenario import CATALOGUE, read_catalogue
from session_core.store import EventStore, Filters, StoredRun, queries
from session_core.vocabulary import Source

NIGHT = read_catalogue()["lid-close-overnight"]
STAMPEDE = read_catalogue()["stampede"]
JOBS = plan([NIGHT, STAMPEDE], [PROFESSIONAL, BASIC], [1, 2])


def name(made: Run | Job) -> tuple[str, str, int]:
    if isinstance(made, Job):
        return made.scenario.name, made.policy.name, made.seed
    return made.scenario, made.policy, made.seed


def count(store: EventStore) -> int:
    number: int = store.read("SELECT count(*) AS n FROM events").column("n")[0].as_py()
    return number


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = EventStore(tmp_path / "events.duckdb")
    yield opened
    opened.close()


def test_a_plan_is_every_scenario_under_every_policy_with_every_seed() -> None:
    """In this order."""
    assert [name(job) for job in JOBS[:4]] == [
        ("lid-close-overnight", "professional", 1),
        ("lid-close-overnight", "professional", 2),
        ("lid-close-overnight", "basic", 1),
        ("lid-close-overnight", "basic", 2),
    ]
    assert len(JOBS) == 8


def test_a_plan_of_nothing_is_refused() -> None:
    """No run is no pass."""
    for scenarios, seeds in (([], [1]), ([NIGHT], [])):
        with pytest.raises(ConfigError, match="nothing to run"):
            plan(scenarios, [PROFESSIONAL], seeds)


def test_where_nothing_is_named_the_whole_catalogue_runs_under_professional() -> None:
    """In the catalogue's order."""
    chosen = choose([], [])
    assert [scenario.name for scenario in chosen.scenarios] == list(read_catalogue())
    assert chosen.policies == (PROFESSIONAL,)
    assert chosen.spelled == {}


def test_files_stand_beside_names_and_the_same_thing_twice_is_one(tmp_path: Path) -> None:
    """What came from a file is remembered by it, so that it can be asked for again."""
    mine = tmp_path / "mine.toml"
    text = (CATALOGUE / "lid-close-overnight.toml").read_text(encoding="utf-8")
    mine.write_text(text.replace('"lid-close-overnight"', '"mine"'), encoding="utf-8")
    copy = tmp_path / "copy.toml"
    copy.write_text(text, encoding="utf-8")
    chosen = choose([str(mine), NIGHT.name, NIGHT.name, str(copy)], ["basic"])
    assert [scenario.name for scenario in chosen.scenarios] == ["mine", "lid-close-overnight"]
    assert chosen.spelled["mine"] == str(mine)
    assert chosen.policies == (BASIC,)


def test_what_is_not_known_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """A scenario and a policy."""
    with pytest.raises(ConfigError, match="no scenario 'lid-close-overnigt'; did you mean 'lid-close-overnight'"):
        choose(["lid-close-overnigt"], [])
    with pytest.raises(ConfigError, match="no scenario '%%'; the command `scenarios` lists them"):
        choose(["%%"], [])
    with pytest.raises(ConfigError, match="did you mean 'basic'"):
        choose([], ["basick"])


def test_two_things_under_one_name_are_refused(tmp_path: Path) -> None:
    """A run's name must say which it was."""
    changed = tmp_path / "changed.toml"
    text = (CATALOGUE / "lid-close-overnight.toml").read_text(encoding="utf-8")
    changed.write_text(text.replace('"9h"', '"10h"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="another scenario called 'lid-close-overnight'"):
        choose([str(changed)], [])
    for folder, beat in (("a", 60), ("b", 90)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.toml").write_text(f"heartbeat_s = {beat}", encoding="utf-8")
    with pytest.raises(ConfigError, match="Two policies are called 'mine'"):
        choose([], [str(tmp_path / "a" / "mine.toml"), str(tmp_path / "b" / "mine.toml")])


def test_runs_are_the_same_however_they_are_scheduled() -> None:
    """Here, in two processes, or by the engine itself; in the order of the jobs."""
    here, elsewhere = run_sweep(JOBS, processes=1), run_sweep(JOBS, processes=2)
    assert here == elsewhere
    assert [name(made) for made in here.runs] == [name(job) for job in JOBS]
    assert here.runs[0] == run(NIGHT, PROFESSIONAL, 1, keep_events=False)
    assert not here.is_stopped
    assert here.passed == 4


def test_runs_carry_their_events_where_that_is_wanted() -> None:
    """Across processes as well, and they are those of the run."""
    sweep = run_sweep(JOBS[:2], processes=2, keep_events=True)
    assert sweep.runs[1].events == run(NIGHT, PROFESSIONAL, 2).events
    assert all(not made.events for made in run_sweep(JOBS[:2], processes=2).runs)


@pytest.mark.parametrize("processes", [1, 2])
def test_runs_are_recorded_with_their_events(store: EventStore, processes: int) -> None:
    """One row each, and every event of theirs, marked as simulated."""
    sweep = run_sweep(JOBS, processes=processes, store=store, keep_events=True)
    rows = queries.runs(store)
    assert set(rows["digest"]) == {made.digest for made in sweep.runs}
    assert count(store) == sum(len(made.events) for made in sweep.runs)
    assert (rows["finished_at"] >= rows["started_at"]).all()
    [failed] = queries.runs(store, Filters(run_id=f"lid-close-overnight/basic/1/{sweep.runs[0].version}"))["failures"]
    assert tuple(failed) == sweep.runs[2].failures
    sources = store.read("SELECT DISTINCT source FROM events").column(0).to_pylist()
    assert sources == [str(Source.SIM)]


def test_a_run_is_in_the_store_before_it_is_told_of(store: EventStore) -> None:
    """Whoever hears of it can look it up."""
    seen: list[int] = []
    run_sweep(JOBS[:3], processes=1, store=store, on_done=lambda _: seen.append(len(queries.runs(store))))
    assert seen == [1, 2, 3]


def test_the_same_sweep_again_adds_nothing(store: EventStore) -> None:
    """A run is named by what makes it, so it is the same run."""
    run_sweep(JOBS[:2], processes=1, store=store)
    before = count(store)
    run_sweep(JOBS[:2], processes=1, store=store)
    assert (count(store), len(queries.runs(store))) == (before, 2)


def test_a_single_long_run_is_stopped_in_its_middle() -> None:
    """A fleet takes a minute, and a page must not wait for it."""
    asked = iter([False])
    fleet = plan([read_catalogue()["retry-storm"]], [PROFESSIONAL], [1])
    ended = run_sweep(fleet, stop=lambda: next(asked, True))
    assert ended.is_stopped
    assert ended.runs == ()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_sweep_that_is_stopped_keeps_what_is_done(store: EventStore, processes: int) -> None:
    """From another thread than the main one as well, where a page has its sweeps."""
    done: list[Run] = []
    found = []
    many = plan([NIGHT], [PROFESSIONAL], range(400))

    def sweep() -> None:
        found.append(
            run_sweep(many, processes=processes, store=store, on_done=done.append, stop=lambda: len(done) >= 3)
        )

    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join(60)
    [ended] = found
    assert ended.is_stopped
    assert 3 <= len(ended.runs) < ended.planned == 400
    assert len(queries.runs(store)) == len(ended.runs) == len(done)
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_is_told_of_and_what_was_done_is_kept(store: EventStore) -> None:
    """Rather than waited for."""
    done: list[Run] = []

    def kill_a_worker(made: Run) -> None:
        done.append(made)
        if len(done) == 1:
            multiprocessing.active_children()[0].kill()

    with pytest.raises(WorkerLostError, match="has died"):
        run_sweep(plan([NIGHT], [PROFESSIONAL], range(400)), processes=2, store=store, on_done=kill_a_worker)
    assert len(queries.runs(store)) == len(done) >= 1
    assert multiprocessing.active_children() == []


def test_a_store_that_cannot_go_on_ends_the_sweep(tmp_path: Path) -> None:
    """With the store's own sentence, and no process is left behind."""

    class Full(EventStore):
        def record_run(self, run: StoredRun, events: tuple[Event, ...]) -> None:  # type: ignore[override]
            raise StoreFullError("The disk is full.")

    full = Full(tmp_path / "events.duckdb")
    with pytest.raises(StoreFullError):
        run_sweep(JOBS, processes=2, store=full)
    assert multiprocessing.active_children() == []
    full.close()


def test_policies_and_scenarios_travel_to_other_processes() -> None:
    """Every preset, and a policy with everything in it."""
    wide = msgspec.structs.replace(PROFESSIONAL, name="wide", heartbeat_s=60.0)
    jobs = plan([NIGHT], [*PRESETS.values(), wide], [1])
    assert [made.policy for made in run_sweep(jobs, processes=2).runs] == ["professional", "basic", "wide"]
