"""Every benchmark can be listed and run, and its last line says the same things. What they measure is not judged here."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "bench").glob("*.py") if not path.stem.startswith("_"))
KEYS = {"name", "value", "unit", "peers", "ratio", "bar", "ok"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_all_are_listed_with_what_they_measure() -> None:
    """One line each: the first line of the file."""
    listed = run().stdout.splitlines()
    for name in NAMES:
        summary = importlib.import_module(f"bench.{name}").__doc__.splitlines()[0]
        assert any(line.split() == [name, *summary.split()] for line in listed), name


def test_an_unknown_one_is_bad_usage() -> None:
    """It says which there are."""
    done = run("hotpath")
    assert (done.returncode, done.stdout) == (2, "")
    assert "hot_path" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("catalogue",),
        ("hot_path", "--calls", "5", "--rounds", "2"),
        ("ingest", "--seconds", "2", "--rate", "2000", "--burst", "20000", "--rounds", "1"),
        ("live_sessions", "--sessions", "50", "--window", "0.5"),
        ("sign_ins", "--seconds", "2", "--per-minute", "600"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_last_line_is_the_result(arguments: tuple[str, ...]) -> None:
    """One JSON object, and an exit code that agrees with it."""
    done = run(*arguments)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() >= KEYS, done.stderr
    assert result["name"] == arguments[0]
    assert (done.returncode == 0) is result["ok"]


@pytest.mark.slow
def test_a_session_of_a_few_lives_fails_no_call() -> None:
    """Over real HTTP: nothing fails, refreshes are early, one POST each, every event is a row."""
    done = run("soak", "--seconds", "10", "--access-ttl", "3", "--calls-per-s", "4")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() >= KEYS, done.stderr
    assert result["claims"] == dict.fromkeys(result["claims"], True)
