"""The wheel: typed, complete, and a library without the app."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("streamlit", "duckdb", "pandas", "pyarrow", "plotly", "starlette", "uvicorn", "typer")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def run(*command: str | Path, cwd: Path) -> str:
    # A checkout on the path would be imported in place of what was installed.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as anyone would, from what git knows, so that nothing lying about gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    names = run(
        "git", "ls-files", "session_core", "data", "pyproject.toml", "README.md", "LICENSE", cwd=ROOT
    ).splitlines()
    for name in names:
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target, follow_symlinks=False)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", ".", "./source", cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and what it asks for, no extra."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(*pip_of(python), "install", "--quiet", "--no-compile", wheel, cwd=folder)
    return python


def pip_of(python: Path) -> tuple[str | Path, ...]:
    """Ours, working there: setting up another takes longer than what it is for."""
    return (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)


def test_the_wheel_is_complete(wheel: Path) -> None:
    """Every module and every file that a module reads, and the marker that says it is typed."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = set(run("git", "ls-files", "session_core", cwd=ROOT).splitlines()) - {"session_core/data"}
    data = {f"session_core/{name}" for name in run("git", "ls-files", "data", cwd=ROOT).splitlines()}
    assert tracked - inside == set()
    assert data - inside == set()
    assert "session_core/py.typed" in inside
    assert {name.split("/")[0] for name in inside if ".dist-info" not in name} == {"session_core"}


def test_the_library_works_without_app_and_database(python: Path, tmp_path: Path) -> None:
    """The README's first program, in an environment that has none of the extras."""
    installed = run(*pip_of(python), "list", "--format", "freeze", cwd=tmp_path).lower()
    assert [name for name in HEAVY if f"{name}==" in installed] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    program = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)[0]
    assert run(python, "-W", "error", "-c", program, cwd=tmp_path) == "ada excellent\n"


def test_what_an_extra_is_for_says_so(python: Path, tmp_path: Path) -> None:
    """Without its extra the command line ends with a sentence, not a traceback."""
    command = [python.parent / "session-core", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "session-core[cli]" in done.stderr
