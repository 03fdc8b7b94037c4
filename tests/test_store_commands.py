"""`python -m session_core ingest | export`: what programs and people read, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ingest_kit import lines, said

from session_core.clock import SystemClock
from session_core.store import EventStore

ROOT = Path(__file__).parents[1]


def call(*arguments: str | Path, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "session_core", *map(str, arguments)]
    told = os.environ | {"COLUMNS": "200"} | environment
    return subprocess.run(command, cwd=ROOT, env=told, input=given, capture_output=True, timeout=120, check=False)


def outcome(done: subprocess.CompletedProcess[bytes]) -> tuple[int, str, str]:
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "new" / "events.duckdb"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.jsonl"
    file.write_bytes(lines(*(said(seq, happened_at=SystemClock().wall() - 1) for seq in (1, 2, 3))))
    return file


def test_a_file_is_brought_in_once(db: Path, good: Path) -> None:
    """Its store is made; a second time adds nothing, and both are success."""
    assert outcome(call("ingest", good, "--db", db)) == (0, "3 accepted, 0 there already, 0 refused\n", "")
    assert outcome(call("ingest", good, "--db", db)) == (0, "0 accepted, 3 there already, 0 refused\n", "")


def test_the_refused_are_named_and_the_others_brought_in(db: Path, good: Path, tmp_path: Path) -> None:
    """By file and line on standard error, and the exit code says that there were some."""
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b'{"seq": 1\n\n' + lines(said(9, happened_at=1)) + b"\n" + good.read_bytes())
    reasons = [
        "the text ends in the middle of its JSON.",
        "happened_at must lie between 2000-01-01T00:00:00Z and 5 minutes from now, not at 1970-01-01T00:00:01Z.",
    ]
    named = f"{bad}:1: {reasons[0]}\n{bad}:3: {reasons[1]}\n"
    assert outcome(call("ingest", good, bad, "--db", db)) == (1, "3 accepted, 3 there already, 2 refused\n", named)
    done = call("ingest", bad, "--db", db, "--json")
    assert (done.returncode, done.stderr.decode()) == (1, named)
    assert json.loads(done.stdout) == {
        "accepted": 0,
        "duplicates": 3,
        "refused": [
            {"file": str(bad), "line": 1, "error": reasons[0]},
            {"file": str(bad), "line": 3, "error": reasons[1]},
        ],
        "refused_count": 2,
    }


def test_lines_may_come_from_another_program(db: Path, good: Path) -> None:
    """`-` is what is piped in; without --db it is the app's own store."""
    done = call("ingest", "-", given=good.read_bytes(), SESSION_LAB_DB=str(db))
    assert outcome(done) == (0, "3 accepted, 0 there already, 0 refused\n", "")
    store = EventStore(db)
    assert store.statistics().file_bytes > 0
    assert store.read("SELECT count(*) AS n FROM events")["n"].to_pylist() == [3]
    store.close()


def test_a_store_is_written_to_a_file_and_brought_into_another(db: Path, good: Path, tmp_path: Path) -> None:
    """The events that were chosen, and how many they are."""
    call("ingest", good, "--db", db)
    file = tmp_path / "events.parquet"
    assert outcome(call("export", file, "--db", db)) == (0, f"3 events are in {file}\n", "")
    assert outcome(call("ingest", file, "--db", tmp_path / "other.duckdb"))[1].startswith("3 accepted")
    done = call("export", file, "--db", db, "--source", "live", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"file": str(file), "events": 0})
    long_ago = ("--from", "2020-01-01", "--until", "2020-01-01T12:00:00+02:00")
    assert outcome(call("export", file, "--db", db, *long_ago)) == (0, f"0 events are in {file}\n", "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ingest", "nowhere.jsonl"], "There is no file nowhere.jsonl."),
        (["ingest", "README.md"], "The kind of the file README.md is not known; its name must end in .jsonl"),
        (["ingest"], "Missing argument"),
        (["ingest", "pyproject.toml", "--into", "x"], "No such option"),
        (["export", "events.parquet"], "There is no event store"),
        (["export", "events.parquet", "--from", "yesterday"], "--from is 'yesterday'; give a date or an RFC 3339 time"),
        (["export", "events.parquet", "--from", "2026-01-02", "--until", "2026-01-02"], "between them lies nothing."),
        (["export", "events.parquet", "--source", "dreams"], "'dreams'"),
    ],
)
def test_bad_usage_is_told_in_a_sentence(db: Path, arguments: list[str], reason: str) -> None:
    """With 2, and without a traceback."""
    done = call(*arguments, SESSION_LAB_DB=str(db))
    assert done.returncode == 2
    assert reason in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    assert not (ROOT / "events.parquet").exists()
    assert not db.exists()


def test_a_store_that_is_in_use_is_said(db: Path, good: Path) -> None:
    """By whom, and what to do."""
    call("ingest", good, "--db", db)
    store = EventStore(db)
    for arguments in (("ingest", good), ("export", good.with_name("out.csv"))):
        done = call(*arguments, "--db", db)
        assert done.returncode == 2
        assert f"is in use by another process (PID {os.getpid()})" in done.stderr.decode()
    store.close()
