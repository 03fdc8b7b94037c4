"""The documentation is true: its tables are the code's, its commands run, its programs work when pasted."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import httpx
import msgspec
import pytest
from typer.main import get_command

from session_core.__main__ import app
from session_core.alert_rules import AlertSettings
from session_core.config import PROFESSIONAL, SessionConfig, load
from session_core.provider import load_faults
from session_core.sim.run import run
from session_core.sim.scenario import read_scenario
from session_core.store.rollups import Retention
from session_core.web.providers import read_providers
from session_core.web.settings import LabSettings, alert_settings, retention

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#]+)\)")


class Block(NamedTuple):
    page: str
    language: str
    text: str

    @property
    def needs_a_browser(self) -> bool:
        return "session_core.web" in self.text


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for language, text in re.findall(
            r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            yield Block(page.name, language, text)


def blocks_in(language: str) -> list[Block]:
    return [block for block in blocks() if block.language == language]


def commands() -> list[str]:
    return sorted({line for block in blocks_in("sh") for line in block.text.splitlines() if line})


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "scripts" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What a reader is told to type, and how it is known to work. What serves is started, asked and ended.
FINISH = (
    "python -m session_core --help",
    "python -m session_core scenarios",
    (
        "python -m session_core simulate --scenario lid-close-overnight --policy professional --policy basic"
        " --seeds 20 --fail-under 50"
    ),
    "python -m session_core replay --scenario lid-close-overnight --policy professional --seed 7",
    "python -m session_core explore --seeds 200",
    "python -m bench",
)
SERVE = (
    "./run",
    "python -m session_core idp --port 8700 --access-ttl 10",
    "python -m session_core idp --port 8700 --access-ttl 10 --grace 30",
    "python -m session_core idp --port 8700 --fault faults.toml",
)
ELSEWHERE = {
    "./check": "what runs this test, and what .ci/run calls",
    "./scripts/lock": "test_the_locks_are_what_the_requirements_ask_for",
    ". .venv/bin/activate": "test_the_app_starts_as_the_readme_says",
    "streamlit run app.py": "test_the_app_starts_as_the_readme_says",
    "SESSION_CORE_CLIENT_SECRET=… SESSION_LAB_CONFIG=settings.toml ./run": "test_settings_of_the_pages_are_accepted",
    "python -m session_core doctor": "test_doctor.py",
    "python -m session_core simulate --policy professional --policy basic --seeds 20": "test_catalogue.py, with fewer seeds",
    "python -m session_core simulate --scenario lunch.toml --seeds 20": "test_settings_of_the_pages_are_accepted",
    'curl --data-binary @events.jsonl -H "Content-Type: application/x-ndjson" http://127.0.0.1:8501/api/v1/events': (
        "test_ingest_docs.py"
    ),
    "python -m session_core demo": "test_demo_command.py, with fewer people",
    "python -m session_core ingest events.jsonl": "test_ingest_docs.py",
    "python -m session_core ingest events.csv events.parquet --db events.duckdb": "test_ingest_docs.py",
    "python -m session_core export events.parquet --from 2025-09-01 --until 2025-10-01": "test_ingest_docs.py",
    "python examples/asyncio_script.py": "test_examples.py",
    "python examples/threaded_script.py": "test_examples.py",
    "python examples/asgi_service.py 8502": "test_examples.py",
    "streamlit run examples/signed_in/app.py": "test_browser_signed_in.py",
}


def test_every_command_of_the_pages_is_covered() -> None:
    """A new command needs a test that runs it."""
    assert set(commands()) == {*FINISH, *SERVE, *ELSEWHERE}


def test_every_block_has_a_language_that_is_checked() -> None:
    """Only Windows' own commands are taken on trust."""
    assert {block.language for block in blocks()} == {"sh", "python", "toml", "bat", "json", "js"}


@pytest.mark.parametrize("page", generator().pages())
def test_tables_are_what_the_code_says(page: str) -> None:
    """If this fails: python scripts/write_docs.py."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert generator().filled(page, text) == text


def test_every_layer_is_described() -> None:
    """What the linter knows of the house, a reader knows too; a layer in parentheses may still be missing."""
    contracts = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["tool"]["importlinter"]["contracts"]
    layers = [name for layer in contracts[0]["layers"] for name in layer.split(" | ")]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in layers if not name.startswith("(") and f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every file that a page links to is there."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_command_of_the_command_line_is_in_the_readme() -> None:
    """What can be called is also told."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = get_command(app).commands  # type: ignore[attr-defined]
    assert [name for name in names if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("command", FINISH)
def test_commands_that_end_succeed(command: str) -> None:
    """As typed, from the project's folder."""
    done = subprocess.run(python_of(command), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [command for command in SERVE if command != "./run"])
def test_commands_that_serve_answer(command: str, tmp_path: Path) -> None:
    """As typed, but on a free port."""
    fault = next(block.text for block in blocks_in("toml") if "[[fault]]" in block.text)
    (tmp_path / "faults.toml").write_text(fault, encoding="utf-8")
    free = str(free_port())
    argv = [free if word == "8700" else word for word in python_of(command)]
    with running(argv, cwd=tmp_path, PYTHONPATH=str(ROOT)):
        wait_for(f"http://127.0.0.1:{free}/.well-known/openid-configuration")


@pytest.mark.slow
def test_the_app_starts_as_the_readme_says(tmp_path: Path) -> None:
    """`./run` makes its environment, and `streamlit run app.py` works inside it."""
    for argv in (["./run"], ["sh", "-c", ". .venv/bin/activate && exec streamlit run app.py"]):
        port = free_port()
        told = {"STREAMLIT_SERVER_PORT": str(port), "SESSION_LAB_DB": str(tmp_path / "events.duckdb")}
        with running(argv, cwd=ROOT, **told):
            wait_for(f"http://127.0.0.1:{port}/_stcore/health", seconds=240)
            wait_for(f"http://127.0.0.1:{port}/idp/.well-known/openid-configuration")


def test_pages_of_an_app_are_those_of_the_example() -> None:
    """They need a browser to run, and have one in test_browser_signed_in.py."""
    example = "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples" / "signed_in").glob("*.py"))
    )
    shown = [block.text for block in blocks_in("python") if block.needs_a_browser]
    assert shown
    assert all(part.strip() in example for text in shown for part in text.split("\n\n"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "block",
    [block for block in blocks_in("python") if not block.needs_a_browser],
    ids=lambda block: block.page,
)
def test_programs_work_when_pasted(block: Block, tmp_path: Path) -> None:
    """Nothing to add, nothing to explain."""
    settings = next(block.text for block in blocks_in("toml") if "issuer" in block.text)
    (tmp_path / "settings.toml").write_text(settings, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.text],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SESSION_CORE_CLIENT_SECRET": "x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in ("", "ada excellent\n")


@pytest.mark.parametrize("block", blocks_in("toml"), ids=lambda block: block.page)
def test_settings_of_the_pages_are_accepted(block: Block, tmp_path: Path) -> None:
    """Every name and value in the examples is one."""
    file = tmp_path / "example.toml"
    file.write_text(block.text, encoding="utf-8")
    if "[[fault]]" in block.text:
        assert load_faults(file)
    elif "timeline" in block.text:
        assert run(read_scenario(file), PROFESSIONAL, 1).failures == ()
    elif "[alerts]" in block.text:
        assert alert_settings(LabSettings(config_path=file)) != AlertSettings()
    elif "[providers." in block.text:
        assert read_providers(LabSettings(config_path=file), {}, port=8501).others
    elif "[retention]" in block.text:
        assert retention(LabSettings(config_path=file)) == Retention()
    else:
        load(file=file, environment={"SESSION_CORE_CLIENT_SECRET": "x"} if "client_secret" in block.text else {})


def test_the_settings_that_the_environment_cannot_set_are_the_ones_named() -> None:
    """The page names the exceptions."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    refused = []
    for name in SessionConfig.__struct_fields__:
        try:
            load(environment={f"SESSION_CORE_{name.upper()}": "true"})
        except Exception as error:  # noqa: BLE001 - which one is not the question
            if "is not known" in str(error):
                refused.append(name)
    assert refused == ["api_origins", "profile", "tick_s_max"]
    assert "all but `profile`, `api_origins` and `tick_s_max`" in text


def test_the_locks_are_what_the_requirements_ask_for() -> None:
    """Each direct requirement is pinned inside its range, in both locks, and no lock names a host or a machine."""
    from packaging.requirements import Requirement

    for name in ("requirements", "requirements-dev"):
        lock = (ROOT / f"{name}.lock").read_text(encoding="utf-8")
        pinned = dict(re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==([^ ]+)", lock, re.MULTILINE))
        asked = (ROOT / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        for line in asked:
            if line and not line.startswith(("#", "-r")):
                wanted = Requirement(line)
                assert pinned[wanted.name] in wanted.specifier, line
        assert "://" not in lock
        assert "/" not in lock.replace("./scripts/lock", "").replace(f"-r {name}.txt", "")


def test_requirements_are_what_the_package_declares() -> None:
    """requirements.txt is the package with its dashboard, range for range."""
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    declared = {*project["dependencies"]}
    for extra in project["optional-dependencies"].values():
        declared |= {line for line in extra if not line.startswith("session-core")}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == declared


def python_of(command: str) -> list[str]:
    program, *words = shlex.split(command)
    assert program == "python"
    return [sys.executable, *words]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class running:  # noqa: N801 - reads as what it is, in a with statement
    """A process and all it starts, ended with the block."""

    def __init__(self, argv: list[str], *, cwd: Path, **told: str) -> None:
        program = shutil.which(argv[0], path=f"{cwd}{os.pathsep}{os.environ['PATH']}") or argv[0]
        self._process = subprocess.Popen(
            [program, *argv[1:]],
            cwd=cwd,
            env=os.environ | told,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def wait_for(url: str, *, seconds: float = 30) -> None:
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"{url} did not answer within {seconds:g} s.")
