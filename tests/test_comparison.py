"""Verdicts, differences, rankings and sweeps: what the Simulate and Compare pages are made of."""

from __future__ import annotations

import contextlib
import csv
import io
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.clock import SystemClock
from session_core.config import PRESETS
from session_core.dashboard import comparison, verdicts
from session_core.dashboard.sweeps import Sweeps, name_of
from session_core.errors import ConfigError
from session_core.lab_jobs import plan
from session_core.sim.run import Run, run
from session_core.sim.scenario import CATALOGUE, read_scenario

SCENARIOS = {name: read_scenario(CATALOGUE / f"{name}.toml") for name in ("lid-close-overnight", "wake-before-network")}
JOBS = plan(SCENARIOS.values(), PRESETS.values(), (1, 2))


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [run(job.scenario, job.policy, job.seed, keep_events=False) for job in JOBS]


def changed(one: Run, **figures: object) -> Run:
    return msgspec.structs.replace(one, **figures)


def test_the_matrix_counts_seeds(runs: list[Run]) -> None:
    """A mark that says it without colour, and the count of those that passed."""
    cells = verdicts.count(JOBS, runs)
    shown = verdicts.matrix(cells)
    assert shown.columns.tolist() == ["Scenario", "professional", "basic"]
    assert shown["professional"].tolist() == ["✓ 2/2", "✓ 2/2"]
    assert shown["basic"].tolist() == ["✕ 0/2", "✕ 0/2"]
    assert verdicts.answer(cells) == (
        "Under **professional** all 2 scenarios hold (4 runs). Under **basic** 0 of 2 scenarios hold (4 runs)."
    )
    assert "color: #1e8e4e" in verdicts.coloured(shown).to_html()


def test_what_is_not_there_yet_is_said(runs: list[Run]) -> None:
    """Nothing, part of it, and a failure that part of it has shown already."""
    cells = verdicts.count(JOBS, [None, None, runs[2], None, runs[4], *[None] * 3])
    assert [str(cell) for cell in cells.values()] == ["–", "✕ 0/1 of 2", "… 1/1 of 2", "–"]
    assert verdicts.answer(verdicts.count(JOBS, [None] * 8)) == "Nothing has been run yet."


def test_a_failed_seed_is_opened_first(runs: list[Run]) -> None:
    """Where none failed, the first."""
    mixed = [runs[0], changed(runs[1], passed=False), *runs[2:]]
    assert verdicts.worth_opening(JOBS, mixed, "lid-close-overnight", "professional") == 2
    assert verdicts.worth_opening(JOBS, runs, "lid-close-overnight", "professional") == 1


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"scenario": "lid-close-overnigt"}, "There is no scenario 'lid-close-overnigt'; did you mean"),
        (
            {"scenario": "lid-close-overnight", "policy": "profesional"},
            "There is no policy 'profesional'; did you mean",
        ),
        ({"scenario": "lid-close-overnight", "policy": "xyz"}, "Known are professional, basic."),
        ({"scenario": "lid-close-overnight", "seed": "one"}, "The seed is 'one'; give a whole number"),
        ({"scenario": "lid-close-overnight", "seed": "-1"}, "The seed is '-1'; give a whole number"),
        ({"scenario": "lid-close-overnight", "seed": "²"}, "The seed is '²'; give a whole number"),
        ({"scenario": "lid-close-overnight", "seed": "9" * 5_000}, "give a whole number"),
    ],
)
def test_an_address_that_names_nothing_is_one_sentence(said: dict[str, str], sentence: str) -> None:
    """With the nearest name, and never an exception of Python's own."""
    with pytest.raises(ConfigError) as refused:
        verdicts.read_job(said, SCENARIOS, PRESETS)
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 200


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_any_address_is_read_or_refused(scenario: str, policy: str, seed: str) -> None:
    """Whatever people type."""
    with contextlib.suppress(ConfigError):
        verdicts.read_job({"scenario": scenario, "policy": policy, "seed": seed}, SCENARIOS, PRESETS)


def test_a_link_names_the_very_run() -> None:
    """What it says is read back as the same job; so does the command."""
    job = JOBS[5]
    link = verdicts.link("http://host:1/simulate?family=All#x", job, user="u1")
    assert link == "http://host:1/simulate?scenario=wake-before-network&policy=professional&seed=2&user=u1"
    assert verdicts.read_job({"scenario": "wake-before-network", "seed": "2"}, SCENARIOS, PRESETS) == job
    own = msgspec.structs.replace(job, policy=msgspec.structs.replace(job.policy, name="our own"))
    assert verdicts.command(own, PRESETS).endswith("--policy 'our own.toml' --seed 2")


def test_strangers_in_an_address_are_named() -> None:
    """Each with its nearest; what is known is not."""
    said = {"before": "basc", "after": "basic"}
    assert verdicts.strangers(said, {"before": PRESETS, "after": PRESETS}) == (
        "There is no before 'basc' here; did you mean 'basic'?",
    )


def test_differences_come_by_size(runs: list[Run]) -> None:
    """Sign-outs that vanish come before a score that rises."""
    found = comparison.differences(runs[6:8], runs[4:6])
    told = comparison.sentence(found, before="basic", after="professional")
    assert told.startswith("**professional** instead of **basic**: sessions kept up from 0 % to 100 % (better);")
    assert told.endswith("The price: token requests.")
    table = comparison.table(found, before="basic", after="professional")
    assert table["Verdict"].tolist()[0] == "▲ better"
    sizes = [one.size for one in found if one.verdict in ("better", "worse")]
    assert sizes == sorted(sizes, reverse=True)


def test_noise_is_not_a_difference(runs: list[Run]) -> None:
    """Two means closer than their spread are called that, and the sentence leaves them out."""
    before = [changed(runs[0], ux_score=score) for score in (80.0, 90.0, 85.0)]
    after = [changed(runs[0], ux_score=score) for score in (81.0, 91.0, 86.0)]
    score = next(one for one in comparison.differences(before, after) if one.measure.label == "UX score")
    assert score.verdict == "within noise"
    found = comparison.differences(before, after)
    assert comparison.sentence(found, before="a", after="b") == "**b** instead of **a** changes nothing beyond noise."
    assert "nothing differs" in comparison.sentence(found, before="a", after="a")


def test_what_one_side_lacks_is_said(runs: list[Run]) -> None:
    """A policy without a heartbeat has no health to compare."""
    lacking = [changed(runs[0], health_mean=None)]
    health = next(one for one in comparison.differences(lacking, runs[:1]) if one.measure.label == "Mean health")
    assert health.verdict == "not on both sides"


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_a_change_back_is_the_same_change(before: list[float], after: list[float]) -> None:
    """Swapping the sides swaps better and worse, and nothing else."""
    there = comparison.differences(_scored(before), _scored(after))
    back = {one.measure.label: one for one in comparison.differences(_scored(after), _scored(before))}
    swapped = {"better": "worse", "worse": "better"}
    for one in there:
        assert back[one.measure.label].verdict == swapped.get(one.verdict, one.verdict)


def _scored(scores: Sequence[float]) -> list[Run]:
    return [changed(_ONE, ux_score=score) for score in scores]


_ONE = run(SCENARIOS["lid-close-overnight"], PRESETS["professional"], 1, keep_events=False)


def test_the_best_and_the_worst_are_marked(runs: list[Run]) -> None:
    """All of them where several are alike; none where all are."""
    ranked = comparison.ranked(runs[4:8])
    assert ranked["Policy"].tolist() == ["professional", "professional", "basic", "basic"]
    assert ranked[""].tolist()[0] == "▲ best"
    assert ranked[""].tolist()[-1] == "▼ worst"
    assert set(comparison.ranked([runs[0], runs[0]])[""]) == {""}
    assert comparison.ranked([]).empty


def test_the_export_is_readable(runs: list[Run]) -> None:
    """A row for each run, with its name, its figures and its digest, and no events."""
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv(runs))))
    assert [row["digest"] for row in rows] == [made.digest for made in runs]
    assert "events" not in rows[0]


@pytest.mark.parametrize("path", sorted(CATALOGUE.glob("*.toml")), ids=lambda path: path.stem)
def test_a_control_has_no_faults(path: Path) -> None:
    """Under professional nobody is signed out in a world without trouble, unless a limit says so or they do."""
    scenario = read_scenario(path)
    control = comparison.control_of(scenario)
    assert control.name == f"{scenario.name}-without-faults"
    if scenario.sessions > 10:
        return
    made = run(control, PRESETS["professional"], 1, keep_events=False)
    assert set(made.sign_out_reasons) <= {"absolute_limit", "idle_limit", "signed_out", "signed_out_elsewhere"}


def test_a_sweep_fills_in_and_is_remembered() -> None:
    """Runs are found by what makes them; a second sweep of the same has nothing left to do."""
    sweeps = Sweeps(SystemClock())
    assert sweeps.missing([*JOBS, *JOBS]) == list(JOBS)
    assert sweeps.start(JOBS)
    assert sweeps.wait(30)
    assert all(made is not None for made in sweeps.find(JOBS))
    progress = sweeps.progress()
    assert (progress.planned, progress.done, progress.share) == (8, 8, 1.0)
    assert not progress.broke_off
    assert sweeps.missing(JOBS) == []
    assert sweeps.estimate_s(JOBS) < 8


def test_a_stopped_sweep_keeps_what_is_done() -> None:
    """And only one sweep goes on at a time."""
    sweeps = Sweeps(SystemClock())
    many = plan(SCENARIOS.values(), PRESETS.values(), range(1, 2_000))
    assert sweeps.start(many)
    assert not sweeps.start(JOBS)
    sweeps.stop()
    assert sweeps.wait(30)
    progress = sweeps.progress()
    assert progress.stopping
    assert progress.done < progress.planned
    assert len([made for made in sweeps.find(many) if made is not None]) == progress.done


def test_a_sweep_of_nothing_does_not_begin() -> None:
    """There is nothing to wait for."""
    sweeps = Sweeps(SystemClock())
    assert not sweeps.start([])
    assert sweeps.wait(0)


def test_a_sweep_that_cannot_run_says_why(tmp_path: Path) -> None:
    """A trace that is gone when the run begins is a sentence, not a dead thread."""
    trace = {"act": "trace", "file": str(tmp_path / "gone.csv")}
    broken = msgspec.structs.replace(
        SCENARIOS["lid-close-overnight"], users=msgspec.convert(trace, type(SCENARIOS["lid-close-overnight"].users))
    )
    sweeps = Sweeps(SystemClock())
    sweeps.start(plan([broken], [PRESETS["basic"]], [1]))
    assert sweeps.wait(30)
    assert "gone.csv" in (sweeps.progress().trouble or "")


def test_what_breaks_a_sweep_off_is_on_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours is not hidden: the thread's hook hears of it, and the page can tell that it broke off."""
    heard: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: heard.append(args.exc_type))
    sweeps = Sweeps(SystemClock())
    sweeps.start(JOBS[:1], store=_MistakenStore())  # type: ignore[arg-type]
    assert sweeps.wait(30)
    assert heard == [ZeroDivisionError]
    assert sweeps.progress().broke_off


class _MistakenStore:
    def record_run(self, *_: object) -> None:
        raise ZeroDivisionError


def test_two_scenarios_of_one_name_are_two_runs() -> None:
    """A tester who changes a file does not see yesterday's verdict."""
    job = JOBS[0]
    other = msgspec.structs.replace(job, scenario=msgspec.structs.replace(job.scenario, latency_s=0.2))
    assert name_of(job) != name_of(other)
