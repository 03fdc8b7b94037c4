"""`python -m session_core demo`: what it says, where it writes, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from session_core.store import EventStore

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-W", "error", "-m", "session_core", "demo"]
FEW = ["--users", "2", "--days", "2"]


def call(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def count(file: Path) -> int:
    store = EventStore(file)
    number: int = store.read("SELECT count(*) AS n FROM events").column("n")[0].as_py()
    store.close()
    return number


def test_it_says_what_it_filled_in_to_programs(tmp_path: Path) -> None:
    """All of it, ending now."""
    file = tmp_path / "events.duckdb"
    done = call("--db", file, *FEW, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    until = datetime.fromisoformat(said["until"])
    assert abs(datetime.now(UTC) - until) < timedelta(minutes=5)
    length = until - datetime.fromisoformat(said["from"])
    assert timedelta(days=2) - timedelta(hours=1) <= length <= timedelta(days=2)
    assert abs(length / 2 - (until - datetime.fromisoformat(said["switch"]))) < timedelta(seconds=2)
    assert said == {
        "db": str(file),
        "users": 2,
        "days": pytest.approx(2, abs=0.05),
        "days_planned": said["days"],
        "events": count(file),
        "from": said["from"],
        "switch": said["switch"],
        "until": said["until"],
    }


def test_it_fills_the_apps_own_store_where_none_is_named(tmp_path: Path) -> None:
    """Also one whose folder is not there yet; and says to people what to do next."""
    file = tmp_path / "new" / "lab.duckdb"
    done = call(*FEW, SESSION_LAB_DB=str(file))
    assert done.returncode == 0
    assert f"{file} holds {count(file):,} simulated events of 2 people, 2.0 days" in done.stdout
    assert "choose Simulated and 30 d" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--users", "0"], "--users"),
        (["--days", "0"], "--days"),
        (["--seed", "-1"], "--seed"),
        (["--processes", "0"], "--processes"),
        (["--db", "pyproject.toml/events.duckdb"], "pyproject.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_told_in_one_sentence(arguments: list[str], says: str) -> None:
    """Exit code 2 and no traceback."""
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_the_app_holds_is_told_of(tmp_path: Path) -> None:
    """With the process, and before anything is played."""
    file = tmp_path / "events.duckdb"
    store = EventStore(file)
    done = call("--db", file)
    store.close()
    assert done.returncode == 2
    assert f"in use by another process (PID {os.getpid()})" in done.stderr


def test_progress_is_shown_to_a_terminal_alone(tmp_path: Path) -> None:
    """On standard error."""
    terminal, ours = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "--db", str(tmp_path / "events.duckdb"), *FEW],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=ours,
        text=True,
        timeout=60,
        check=True,
    )
    os.close(ours)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "100%" in shown
    assert "100%" not in done.stdout


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_keeps_the_days_that_are_complete_and_says_so(tmp_path: Path, processes: str) -> None:
    """As at a terminal, where every process of the group hears it."""
    file = tmp_path / "events.duckdb"
    filling = subprocess.Popen(
        [*COMMAND, "--db", str(file), "--users", "3", "--days", "366", "--processes", processes],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = file.with_name(file.name + ".wal")
    give_up_at = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size > 1_000_000) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    os.killpg(filling.pid, signal.SIGINT)
    said, complained = filling.communicate(timeout=60)
    assert complained == ""
    assert said.startswith("stopped: ")
    assert re.search(r"of 36\d\.\d days are in", said)
    assert filling.returncode == 1
    assert count(file) > 0


def test_help_explains_it() -> None:
    """With what is replaced and what is not."""
    done = call("--help")
    assert done.returncode == 0
    assert "never touched" in done.stdout
