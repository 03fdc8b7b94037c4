"""Tidiness that no linter knows: what pages leave to others, who reads the time, how long a file may get."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = sorted((ROOT / "session_core").rglob("*.py"))
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]
LINES_MAX = 300
PAGE_LINES_MAX = 150

# Files that are longer, each with its reason.
LONG = {
    "session_core/api_client.py": "one call's way through token, cache and retry, in one place to be read",
    "session_core/deadlines.py": "one loop for every deadline, and how it knows that the device slept",
    "session_core/doctor.py": "everything that can be wrong with a machine, one function each",
    "session_core/events.py": "every event, one class each",
    "session_core/oauth.py": "what a provider is asked in a session's life, and how each answer is read, side by side",
    "session_core/service.py": "every session of a process, from sign-in to sweep, and what they share",
    "session_core/session.py": "the face of a session and what the worker asks of it",
    "session_core/sim/scenario.py": "the schema of a scenario file and its reader, which names every mistake by its line",
    "session_core/sim/user.py": "what a simulated user does, sees and does about it",
    "session_core/sim/measures.py": "one small function per measure",
    "session_core/token_manager.py": "one refresh at a time, whoever asks: the doors and the one task behind them",
    "session_core/token_refresher.py": "one refresh from claim to commit: every way it can end is decided here",
    "session_core/ux_inputs.py": "every reading of the log that the UX score is made of",
    "session_core/sim/loop.py": "a whole event loop",
    "session_core/store/queries.py": "one function per question, with its SQL",
}
# A table's type may stand in a signature; making one is the queries' work.
NOT_FOR_PAGES = re.compile(r"\bSELECT\b|groupby|duckdb|\bpd\.(?!DataFrame\b)|\bgo\.(?!Figure\b)|asyncio|threading")
REAL_TIME = re.compile(r"\btime\.(time|monotonic|perf_counter|sleep|clock_gettime)\b|datetime\.(now|utcnow|today)\b")
MACHINE = re.compile(r"/(?:root|tmp|work|home|Users)/\w")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def tracked() -> list[Path]:
    """What is in the repository and is text."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    binary = {".png", ".ico", ".lock"}
    return [ROOT / name for name in listed if name and Path(name).suffix not in binary and (ROOT / name).is_file()]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_pages_ask_load_and_show(page: Path) -> None:
    """Questions belong to the store, pictures to the charts, background work to the app's lifespan."""
    found = [line for line in lines(page) if NOT_FOR_PAGES.search(line)]
    assert found == []
    assert len(lines(page)) <= PAGE_LINES_MAX


def test_only_the_clock_reads_real_time() -> None:
    """Everything else is handed the time, so that hours can pass in a millisecond."""
    readers = {relative(path) for path in SOURCE if any(REAL_TIME.search(line) for line in lines(path))}
    assert readers == {"session_core/clock.py"}


def test_files_are_short_or_say_why() -> None:
    """At 300 lines a file is talked about; what is said stands here."""
    long = {relative(path) for path in SOURCE if len(lines(path)) > LINES_MAX}
    assert long - LONG.keys() == set()


def test_no_file_names_a_machine() -> None:
    """A path of the machine it was written on helps nobody else."""
    found = {
        f"{relative(path)}: {line.strip()}"
        for path in tracked()
        for line in path.read_text(encoding="utf-8").splitlines()
        if MACHINE.search(line) and path != Path(__file__)
    }
    assert found == set()


def test_nothing_is_half_finished() -> None:
    """Work that is left is an issue, not a comment."""
    unfinished = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
    found = {relative(path) for path in [*SOURCE, *PAGES] for line in lines(path) if unfinished.search(line)}
    assert found == set()


def test_every_error_has_a_code_of_its_own() -> None:
    """Programs tell errors apart by it."""
    from session_core import errors

    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    codes = [each.code for each in classes]
    assert len(codes) == len(set(codes))
    assert all("code" in vars(each) for each in classes)
