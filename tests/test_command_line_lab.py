"""`python -m session_core scenarios | simulate | replay`: what programs and people read, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree as ET

import msgspec
import pytest

from session_core.sim.scenario import read_catalogue
from session_core.store import EventStore, queries

ROOT = Path(__file__).parents[1]
NIGHT = "lid-close-overnight"


class RunSaid(msgspec.Struct, forbid_unknown_fields=True):
    """What a run is to programs: each of these and nothing else."""

    scenario: str
    policy: str
    seed: int
    passed: bool
    failures: list[str]
    survived: bool
    sign_outs: int
    sign_out_reasons: list[str]
    visible_errors: int
    wake_to_success_ms: float | None
    token_posts: int
    reuse_events: int
    stuck_ms: float
    health_min: float | None
    health_mean: float | None
    ux_score: float
    ux_parts: dict[str, float]
    virtual_seconds: float
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Said(msgspec.Struct, forbid_unknown_fields=True):
    runs: list[RunSaid]


def call(*arguments: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "session_core", *map(str, arguments)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "COLUMNS": "200"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def simulated(*arguments: str | Path, hash_seed: str = "0", code: int = 0) -> list[RunSaid]:
    done = call("simulate", "--json", *arguments, hash_seed=hash_seed)
    assert (done.returncode, done.stderr) == (code, "")
    return msgspec.json.decode(done.stdout, type=Said).runs


def test_the_catalogue_is_listed_for_people_and_for_programs() -> None:
    """A line each; and everything a scenario says."""
    lines = call("scenarios").stdout.splitlines()
    listed = json.loads(call("scenarios", "--json").stdout)["scenarios"]
    assert [scenario["name"] for scenario in listed] == list(read_catalogue())
    assert len(lines) == len(listed)
    for line, scenario in zip(lines, listed, strict=True):
        assert scenario["name"] in line
        assert scenario["what"] in line


def test_runs_have_exactly_the_fields_that_were_promised() -> None:
    """For every scenario, policy and seed, in this order."""
    runs = simulated("--scenario", NIGHT, "--policy", "professional", "--policy", "basic", "--seeds", "2", code=1)
    names = [(run.scenario, run.policy, run.seed, run.passed) for run in runs]
    assert names == [
        (NIGHT, "professional", 1, True),
        (NIGHT, "professional", 2, True),
        (NIGHT, "basic", 1, False),
        (NIGHT, "basic", 2, False),
    ]
    assert [bool(run.failures) for run in runs] == [False, False, True, True]


def test_another_hash_seed_and_another_number_of_processes_change_nothing() -> None:
    """The same name has the same digest, and every other figure."""
    arguments = ("--scenario", NIGHT, "--scenario", "stampede", "--scenario", "two-processes", "--seeds", "2")
    once = simulated(*arguments, "--processes", "1", hash_seed="1")
    again = simulated(*arguments, "--processes", "2", hash_seed="2")
    assert once == again


def test_replay_tells_the_same_run() -> None:
    """With the digest that simulate printed, as a timeline and as JSON."""
    [run] = simulated("--scenario", NIGHT, "--seed", "7")
    told = call("replay", "--scenario", NIGHT, "--policy", "professional", "--seed", "7", hash_seed="9")
    assert told.returncode == 0
    assert told.stdout.splitlines()[-1] == f"digest {run.digest}"
    assert "+8:30:00.000  Device    The device woke up." in told.stdout.splitlines()
    plain = json.loads(call("replay", "--scenario", NIGHT, "--seed", "7", "--json").stdout)
    timeline = plain.pop("timeline")
    assert plain == msgspec.structs.asdict(run)
    assert timeline[0].keys() == {"at_s", "lane", "who", "sentence", "event"}


def test_replay_of_a_run_that_fails_says_why_and_exits_with_1() -> None:
    """An expectation failed, here as in simulate."""
    told = call("replay", "--scenario", NIGHT, "--policy", "basic", "--seed", "1")
    assert told.returncode == 1
    assert "sign_outs was 1" in told.stdout


def test_the_verdicts_are_a_table_and_failures_are_words() -> None:
    """And each failure names the command that shows it again."""
    done = call("simulate", "--scenario", NIGHT, "--policy", "professional", "--policy", "basic", "--seeds", "2")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["scenario", "professional", "basic"]
    assert lines[1].split(maxsplit=3) == [NIGHT, "✓", "2", "✕ 2 of 2 failed"]
    assert f"{NIGHT} under basic, seeds 1, 2:" in lines
    assert f"  See it again: python -m session_core replay --scenario {NIGHT} --policy basic --seed 1" in lines
    assert "2 of 4 runs passed (50.0 %)." in lines
    assert done.stderr == ""


@pytest.mark.parametrize(("percent", "code"), [("50", 0), ("50.1", 1), ("0", 0), ("100", 1)])
def test_fail_under_is_the_share_of_runs_that_must_pass(percent: str, code: int) -> None:
    """Half of them do."""
    policies = ("--policy", "professional", "--policy", "basic")
    assert call("simulate", "--scenario", NIGHT, *policies, "--fail-under", percent).returncode == code


def test_junit_has_a_suite_for_each_policy_and_a_case_for_each_scenario(tmp_path: Path) -> None:
    """With the seeds that failed, each with its words."""
    file = tmp_path / "verdicts.xml"
    policies = ("--policy", "professional", "--policy", "basic")
    call("simulate", "--scenario", NIGHT, "--scenario", "stampede", *policies, "--seeds", "2", "--junit", file)
    root = ET.parse(file).getroot()
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "4", "2")
    suites = {suite.get("name"): suite for suite in root}
    assert {name: suite.get("failures") for name, suite in suites.items()} == {"professional": "0", "basic": "2"}
    assert [case.get("name") for case in suites["professional"]] == [NIGHT, "stampede"]
    [failure] = suites["basic"][0]
    assert failure.get("message") == "seeds 1, 2 of 2 failed"
    assert "seed 2: sign_outs was 1" in str(failure.text)


def test_runs_are_recorded_where_a_file_is_named(tmp_path: Path) -> None:
    """With their events, for the pages to chart."""
    file = tmp_path / "lab.duckdb"
    runs = simulated("--scenario", NIGHT, "--seeds", "3", "--db", file)
    store = EventStore(file)
    assert set(queries.runs(store)["digest"]) == {run.digest for run in runs}
    store.close()


def test_files_of_a_testers_own_are_run_and_named_in_the_way_back(tmp_path: Path) -> None:
    """A scenario and a policy, without touching the catalogue."""
    scenario, policy = tmp_path / "my night.toml", tmp_path / "lazy.toml"
    text = (ROOT / "data" / "scenarios" / f"{NIGHT}.toml").read_text(encoding="utf-8")
    scenario.write_text(text.replace(f'"{NIGHT}"', '"my-night"'), encoding="utf-8")
    policy.write_text("background = false\n[refresh]\nproactive = false\n", encoding="utf-8")
    done = call("simulate", "--scenario", scenario, "--policy", policy)
    assert done.returncode == 1
    [again] = [line for line in done.stdout.splitlines() if "See it again" in line]
    assert f"--scenario '{scenario}' --policy {policy} --seed 1" in again


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["simulate", "--scenario", "lid-close"], "did you mean 'lid-close-overnight'?"),
        (["simulate", "--policy", "professionell"], "did you mean 'professional'?"),
        (["simulate", "--policy", "none.toml"], "none.toml cannot be read"),
        (["simulate", "--scenario", "none.toml"], "none.toml: cannot be read"),
        (["simulate", "--seeds", "0"], "--seeds"),
        (["simulate", "--seed", "many"], "--seed"),
        (["simulate", "--seed", "-1"], "--seed"),
        (["simulate", "--seeds", "2", "--seed", "2"], "--seeds and --seed were both given"),
        (["simulate", "--fail-under", "101"], "--fail-under"),
        (["simulate", "--processes", "0"], "--processes"),
        (["simulate", "--junit", "nowhere/file.xml"], "nowhere/file.xml cannot be written"),
        (["simulate", "--report", "nowhere/file.html"], "nowhere/file.html cannot be written"),
        (["simulate", "--db", "nowhere/lab.duckdb"], "nowhere/lab.duckdb cannot be opened"),
        (["replay", "--scenario", NIGHT], "Missing option '--seed'"),
        (["replay", "--scenario", "stampeed", "--seed", "1"], "did you mean 'stampede'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_told_in_one_sentence(arguments: list[str], says: str) -> None:
    """Exit code 2, nothing on standard output, no traceback."""
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_scenario_that_asks_for_an_unknown_measure_is_refused(tmp_path: Path) -> None:
    """Never a silent pass; the nearest is suggested, with file and line."""
    file = tmp_path / "typo.toml"
    text = (ROOT / "data" / "scenarios" / f"{NIGHT}.toml").read_text(encoding="utf-8")
    file.write_text(text.replace(f'"{NIGHT}"', '"typo"').replace('"sign_outs"', '"sign_out"'), encoding="utf-8")
    done = call("simulate", "--scenario", file)
    assert done.returncode == 2
    assert "typo.toml" in done.stderr
    assert "'sign_outs'" in done.stderr


def test_a_busy_store_is_told_of_before_anything_runs(tmp_path: Path) -> None:
    """With the process that holds it."""
    file = tmp_path / "lab.duckdb"
    store = EventStore(file)
    done = call("simulate", "--scenario", NIGHT, "--db", file)
    store.close()
    assert done.returncode == 2
    assert done.stderr == (
        f"The event store {file} is in use by another process (PID {os.getpid()}); "
        "stop that process or choose another file.\n"
    )


def test_ctrl_c_keeps_what_is_finished_and_says_so(tmp_path: Path) -> None:
    """As at a terminal, where every process of the group hears it."""
    file = tmp_path / "lab.duckdb"
    command = [sys.executable, "-m", "session_core", "simulate", "--scenario", "workday", "--seeds", "2000"]
    sweep = subprocess.Popen(
        [*command, "--processes", "2", "--db", str(file), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = file.with_name(file.name + ".wal")
    give_up_at = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size > 100_000) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    os.killpg(sweep.pid, signal.SIGINT)
    said, complained = sweep.communicate(timeout=30)
    runs = json.loads(said)["runs"]
    assert complained == f"stopped: {len(runs)} of 2000 runs are done and kept\n"
    assert sweep.returncode == 1
    assert 0 < len(runs) < 2000
    store = EventStore(file)
    assert set(queries.runs(store)["digest"]) == {run["digest"] for run in runs}
    store.close()


def test_progress_is_shown_to_a_terminal_alone() -> None:
    """On standard error, so that what is read from standard output is the same."""
    terminal, ours = pty.openpty()
    command = [sys.executable, "-m", "session_core", "simulate", "--scenario", NIGHT, "--seeds", "3"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=ours, text=True, timeout=60, check=True)
    os.close(ours)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "100%" in shown
    assert "100%" not in done.stdout
    assert "All 3 runs passed." in done.stdout


def test_ctrl_c_ends_a_run_in_this_process_at_once() -> None:
    """Nothing is left to say but what is done."""
    command = [sys.executable, "-W", "error", "-m", "session_core", "simulate", "--scenario", "workday"]
    terminal, ours = pty.openpty()
    sweep = subprocess.Popen(
        [*command, "--seeds", "2000", "--processes", "1"], cwd=ROOT, stdout=subprocess.PIPE, stderr=ours, text=True
    )
    os.close(ours)
    shown = ""
    while "1%" not in shown:
        shown += os.read(terminal, 1_000).decode()
    sweep.send_signal(signal.SIGINT)
    said, _ = sweep.communicate(timeout=30)
    last = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert sweep.returncode == 1
    assert re.search(r"stopped: \d+ of 2000 runs are done and kept", last)
    assert "Traceback" not in last
    assert "runs passed" in said


def test_help_explains_every_command() -> None:
    """With what --fail-under means."""
    for command in ("scenarios", "simulate", "replay"):
        assert call(command, "--help").returncode == 0
    assert "without it, if any run failed" in call("simulate", "--help").stdout
