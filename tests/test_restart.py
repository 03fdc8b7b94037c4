"""The server stops, cleanly or by `kill -9`, and starts again: whoever was signed in still is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_core.store import EventStore

HERE = Path(__file__).parent
START_S_MAX = 30.0


class Server:
    """One address and one directory; a process that comes and goes."""

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.db = folder / "lab.duckdb"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(HERE.parent),
            "SESSION_LAB_DB": str(self.db),
            "SESSION_LAB_SIGN_INS_PER_MINUTE": "6000",
            **settings,
        }

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, str(HERE / "lab_process.py"), str(self.port)]
        with subprocess.Popen(command, env=self._environment) as process:
            try:
                self._wait_for(process)
                yield process
            finally:
                process.kill()

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        give_up_at = time.monotonic() + START_S_MAX
        while time.monotonic() < give_up_at:
            assert process.poll() is None, "it started"
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail("The server did not begin to listen.")

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, follow_redirects=True, trust_env=False, timeout=30)


def sign_in(browser: httpx.Client, name: str = "ada") -> None:
    page = browser.get("/auth/sign-in", params={"return_to": "/act"})
    answer = browser.post(page.url, data={"username": name, "password": "demo"})
    assert answer.json()["status"] == 200


def act(browser: httpx.Client, **query: str) -> dict[str, Any]:
    answer = browser.get("/act", params=query)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_a_killed_server_keeps_its_users_signed_in(server: Server) -> None:
    """At rest and between two refreshes: the same session goes on with its tokens, and refreshes again."""
    with server.browser() as browser, server.browser() as stranger:
        with server.running() as process:
            sign_in(browser)
            before = act(browser, refresh="now")
            process.send_signal(signal.SIGKILL)
            process.wait()
        with server.running():
            assert stranger.get("/act").status_code == 401
            after = act(browser)
            assert (after["user"], after["status"]) == ("Ada Lovelace", 200)
            assert after["session"] == before["session"]
            assert after["refreshes"] == 0, "its access token was good"
            assert act(browser, refresh="now")["outcome"] == "ok"
            assert after["seen_on"] == ["A Python program", "127.0.0.1"]
            again = browser.get("/auth/sign-in", params={"return_to": "/act"}).json()
            assert again["session"] != before["session"]
            assert again["sessions"] == 1, "a new sign-in ends the session before"


def test_many_tabs_that_come_back_at_once_find_one_session(server: Server) -> None:
    """After a clean stop; it is resumed once, whoever is first, and the log says when nobody looked after it."""
    with server.browser() as browser:
        with server.running() as process:
            sign_in(browser)
            process.terminate()
            process.wait()
        with server.running() as process, ThreadPoolExecutor(8) as tabs:
            found = list(tabs.map(lambda _: act(browser), range(8)))
            assert len({each["session"] for each in found}) == 1
            assert {each["sessions"] for each in found} == {1}
            process.terminate()
            process.wait()
    with closing(EventStore(server.db)) as store:
        edges = "kind IN ('SessionStarted', 'SessionEnded')"
        told = store.read(f"SELECT kind, reason FROM events WHERE {edges} ORDER BY happened_at").to_pylist()
    assert [(each["kind"], each["reason"]) for each in told] == [
        ("SessionStarted", None),
        ("SessionEnded", "stopped"),
        ("SessionStarted", None),
        ("SessionEnded", "stopped"),
    ]


def test_a_server_killed_during_a_refresh_makes_it_up(server: Server) -> None:
    """The provider has spent the refresh token and nobody has the new one: it is asked again, in time, and by itself."""
    with server.browser() as browser:
        with server.running() as process:
            sign_in(browser)
            browser.get("/lose").raise_for_status()
            # What the provider answers later was written later: by now the refresh is on the disk.
            browser.get("/idp/jwks").raise_for_status()
            process.send_signal(signal.SIGKILL)
            process.wait()
        with server.running():
            give_up_at = time.monotonic() + 15
            while act(browser)["refreshes"] == 0:
                assert time.monotonic() < give_up_at
                time.sleep(0.1)
            assert act(browser)["outcome"] == "ok"


def test_a_sign_in_under_way_survives_the_restart(server: Server) -> None:
    """The provider's page was open meanwhile; what is typed there still signs in."""
    with server.browser() as browser:
        with server.running() as process:
            page = browser.get("/auth/sign-in", params={"return_to": "/act"})
            process.send_signal(signal.SIGKILL)
            process.wait()
        with server.running():
            answer = browser.post(page.url, data={"username": "grace", "password": "demo"})
            assert answer.json()["user"] == "Grace Hopper"


def test_in_memory_a_restart_signs_everybody_out(tmp_path: Path) -> None:
    """It was asked for, and leaves no file of sessions."""
    server = Server(tmp_path, SESSION_LAB_SESSIONS="memory")
    with server.browser() as browser:
        with server.running():
            sign_in(browser)
        with server.running():
            assert browser.get("/act").status_code == 401
    assert not list(tmp_path.glob("*.sessions.db*"))
