"""docs/ingest.md is true: its events are let in, its commands work, and its script sends from a page of a real browser."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import missing
from ingest_kit import NOW
from lab_kit import ServedLab, served_lab
from playwright.sync_api import Browser

from session_core.events import RequestServed, SessionStarted
from session_core.incoming import FACTS
from session_core.ingest import sift
from session_core.store import EventStore

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ingest.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return found


def commands() -> list[list[str]]:
    return [
        shlex.split(line)
        for text in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        for line in text.splitlines()
    ]


def count(store: EventStore) -> int:
    number: int = store.read("SELECT count(*) AS n FROM events")["n"][0].as_py()
    return number


def test_the_events_of_the_page_are_let_in() -> None:
    """As they stand there."""
    told = sift(enumerate(block("json").encode().splitlines(), 1), now=NOW)
    assert told.refused == []
    assert [type(event.fact) for event in told.events] == [SessionStarted, RequestServed]
    assert all(kind in FACTS for kind in re.findall(r"`([A-Z]\w+[a-z])`", PAGE))


def test_the_commands_of_the_page_work_in_turn(tmp_path: Path) -> None:
    """`export` writes what `ingest` brought in, and that can be brought in elsewhere."""
    curl, *others = commands()
    assert curl[0] == "curl"
    (tmp_path / "events.jsonl").write_text(block("json"), encoding="utf-8")
    first, second, third = ([sys.executable, *words[1:]] for words in others)
    told = os.environ | {"PYTHONPATH": str(ROOT), "SESSION_LAB_DB": "own.duckdb"}
    ran = partial(subprocess.run, cwd=tmp_path, env=told, capture_output=True, text=True, timeout=60, check=True)
    assert ran(first).stdout == "2 accepted, 0 there already, 0 refused\n"
    assert ran(third).stdout == "2 events are in events.parquet\n"
    ran([*third[:-5], "events.csv"])
    assert ran(second).stdout == "2 accepted, 2 there already, 0 refused\n"


def test_the_post_of_the_page_works(tmp_path: Path) -> None:
    """With curl, against the app's own routes."""
    if shutil.which("curl") is None:
        missing("curl is missing: apt-get install curl")
    (tmp_path / "events.jsonl").write_text(block("json"), encoding="utf-8")
    with served_lab(tmp_path / "lab.duckdb") as served:
        words = [word.replace("http://127.0.0.1:8501", served.url) for word in commands()[0]]
        done = subprocess.run([*words, "-sS"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == '{"accepted":2,"duplicates":0,"refused_count":0,"refused":[]}'
        assert count(served.lab.store.opened()) == 2


def test_the_script_is_short() -> None:
    """Twenty lines to paste."""
    assert len(block("js").splitlines()) <= 20


@contextmanager
def shop(folder: Path) -> Iterator[str]:
    """Somebody else's server, at an origin of its own."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def script_for(url: str) -> str:
    return f'const ENDPOINT = "{url}/api/v1/events", SESSION = "s-1", USER = "u-1";\n{block("js")}'


def actions(served: ServedLab) -> list[str]:
    found = served.lab.store.opened().read("SELECT fact ->> 'action' AS action FROM events ORDER BY seq")
    names: list[str] = found["action"].to_pylist()
    return names


@pytest.mark.browser
def test_a_page_of_a_named_origin_sends_its_events(browser: Browser, tmp_path: Path) -> None:
    """What waits goes out, and what happened last when the page is left."""
    with (
        shop(tmp_path) as origin,
        served_lab(tmp_path / "lab.duckdb", {"SESSION_LAB_INGEST_ORIGINS": origin}) as served,
    ):
        (tmp_path / "index.html").write_text(f"<script>{script_for(served.url)}</script>", encoding="utf-8")
        page = browser.new_page()
        page.goto(origin)
        with page.expect_console_message(lambda told: told.type == "debug") as waited:
            page.evaluate('record("UserActed", { action: "came" }); send(); undefined')
        assert waited.value.text == '{"accepted":1,"duplicates":0,"refused_count":0,"refused":[]}'
        page.evaluate('record("UserActed", { action: "left" })')
        page.goto("about:blank")
        give_up_at = time.monotonic() + 20
        while len(actions(served)) < 2 and time.monotonic() < give_up_at:
            page.wait_for_timeout(50)
        page.close()
        assert actions(served) == ["came", "left"]


@pytest.mark.browser
def test_a_page_of_another_origin_is_kept_out_and_loses_nothing(browser: Browser, tmp_path: Path) -> None:
    """The browser asks first and is told no; what was not sent waits."""
    with shop(tmp_path) as origin, served_lab(tmp_path / "lab.duckdb") as served:
        (tmp_path / "index.html").write_text(f"<script>{script_for(served.url)}</script>", encoding="utf-8")
        page = browser.new_page()
        page.goto(origin)
        assert page.evaluate('record("UserActed", { action: "came" }); send().then(() => waiting.length)') == 1
        assert actions(served) == []
        page.close()


@pytest.mark.browser
def test_the_script_sends_from_a_page_of_the_running_app(browser: Browser, app_url: str) -> None:
    """Through everything that Streamlit puts before our routes."""
    page = browser.new_page()
    page.goto(app_url)
    with page.expect_console_message(lambda told: "accepted" in told.text) as waited:
        page.evaluate(f'(() => {{ {script_for(app_url)}\nrecord("UserActed", {{ action: "looked" }}); send(); }})()')
    assert waited.value.text == '{"accepted":1,"duplicates":0,"refused_count":0,"refused":[]}'
    page.close()
