"""The example of a few lines, in a browser: signed in over a lost connection, token lives, a second tab and a restart."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from browser_kit import PATIENCE_MS
from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect
from test_node_provider import running_peer

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "signed_in"
ACCESS_TTL_S = 5
ASKED = 'auth.client.get("profile").json()'
TIMED = '{"at": (it := auth.client.get("me")).headers["date"], **it.json()}'
REFRESHES = re.compile(r'^session_core_refreshes_total\{.*outcome="ok".*\} (\d+)', re.MULTILINE)

pytestmark = pytest.mark.browser


class Served:
    """A Streamlit app at one address, with one directory, whose process can be killed and started again."""

    def __init__(self, script: Path, folder: Path, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._script = script
        self._environment = {
            **os.environ,
            "SESSION_LAB_DB": str(folder / "app.duckdb"),
            "SESSION_LAB_ACCESS_TTL_S": str(ACCESS_TTL_S),
            **{name: value.format(url=self.url) for name, value in settings.items()},
        }
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(self._script), "--server.port", str(self.port)],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        assert any("URL:" in line for line in self._process.stdout), "the app started"

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        said = self._process.communicate()[0]
        assert "Traceback" not in said, said

    def refreshes(self) -> int:
        """How often tokens were refreshed, as the app tells Prometheus."""
        return sum(map(int, map(float, REFRESHES.findall(httpx.get(f"{self.url}/metrics", trust_env=False).text))))


@contextmanager
def served(script: Path, folder: Path, **settings: str) -> Iterator[Served]:
    app = Served(script, folder, **settings)
    app.start()
    try:
        yield app
    finally:
        app.kill()


class Tab:
    """A page whose websocket can be cut, and which counts what a login or a reload would be."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.loads: list[str] = []
        self.cut = False
        self._wires: list[WebSocketRoute] = []
        self.page.route_web_socket(re.compile("/_stcore/stream"), self._connect)
        self.page.on("framenavigated", lambda frame: self.loads.append(frame.url))

    def _connect(self, wire: WebSocketRoute) -> None:
        if self.cut:
            wire.close()
        else:
            wire.connect_to_server()
            self._wires.append(wire)

    def lose_connection(self) -> None:
        self.cut = True
        for wire in self._wires:
            wire.close()
        self._wires.clear()

    def find_connection(self) -> None:
        self.cut = False

    def act(self, answer: str) -> None:
        """Ask the API; an answer from before, which tells an earlier time, is none."""
        shown = self.page.get_by_test_id("stJson")
        before = shown.inner_text() if shown.count() else "nothing"
        self.page.get_by_role("button", name="Ask the API").click()
        expect(shown).not_to_have_text(before)
        expect(shown).to_contain_text(answer)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 900, "height": 600})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield context
    context.close()


def lose_three_token_lives(app: Served, tab: Tab) -> None:
    """The page hears of nothing, and meanwhile its session is refreshed."""
    known = app.refreshes()
    tab.lose_connection()
    give_up_at = time.monotonic() + 60
    while app.refreshes() < known + 3:
        assert time.monotonic() < give_up_at
        tab.page.wait_for_timeout(250)


def test_a_user_stays_signed_in_whatever_happens(browser: Browser, context: BrowserContext, tmp_path: Path) -> None:
    """A lost connection, a second tab, a server that is killed, a reload: nobody signs in again, until somebody signs out."""
    with served(EXAMPLE / "app.py", tmp_path) as app:
        tab = Tab(context)
        tab.page.goto(app.url)
        tab.page.get_by_role("link", name="Sign in").click()
        tab.page.get_by_label("Username").fill("ada")
        tab.page.get_by_label("Password").fill("demo")
        tab.page.get_by_role("button", name="Sign in").click()
        expect(tab.page.get_by_text("Hello, Ada Lovelace")).to_be_visible()
        tab.act('"ada"')
        tab.loads.clear()

        lose_three_token_lives(app, tab)
        tab.find_connection()
        tab.act('"ada"')

        second = Tab(context)
        second.page.goto(app.url)
        expect(second.page.get_by_text("Hello, Ada Lovelace")).to_be_visible()

        app.kill()
        app.start()
        tab.act('"ada"')
        second.act('"ada"')
        assert tab.loads == [], "neither a login nor a reload"
        assert len(second.loads) == 1
        second.page.reload()
        expect(second.page.get_by_text("Hello, Ada Lovelace")).to_be_visible()
        tab.page.get_by_role("button", name="Sign out").click()
        expect(tab.page.get_by_role("link", name="Sign in")).to_be_visible()
        second.page.get_by_role("button", name="Ask the API").click()
        expect(second.page.get_by_role("link", name="Sign in")).to_be_visible()


@pytest.mark.node
def test_it_does_so_with_a_provider_no_one_here_wrote(
    browser: Browser, context: BrowserContext, tmp_path: Path
) -> None:
    """The npm package oidc-provider: cut off for three token lives, with the server killed meanwhile."""
    (tmp_path / "app.py").write_text((EXAMPLE / "app.py").read_text(encoding="utf-8"), encoding="utf-8")
    page = (EXAMPLE / "page.py").read_text(encoding="utf-8")
    assert ASKED in page
    (tmp_path / "page.py").write_text(page.replace(ASKED, TIMED), encoding="utf-8")
    external = {
        "SESSION_CORE_CLIENT_ID": "session-lab",
        "SESSION_CORE_REDIRECT_URI": "{url}/auth/callback",
        "SESSION_CORE_SCOPE": "openid offline_access",
        "SESSION_CORE_PROMPT": "consent",
    }
    app = Served(tmp_path / "app.py", tmp_path, **external)
    with running_peer(f"{app.url}/auth/callback", access_ttl_s=ACCESS_TTL_S) as peer:
        app._environment |= {"SESSION_CORE_ISSUER": peer.issuer, "SESSION_CORE_API_URL": peer.issuer}
        app.start()
        tab = Tab(context)
        tab.page.goto(app.url)
        tab.page.get_by_role("link", name="Sign in").click()
        tab.page.get_by_placeholder("Enter any login").fill("ada")
        tab.page.get_by_placeholder("and password").fill("demo")
        tab.page.get_by_role("button", name="Sign-in").click()
        tab.page.get_by_role("button", name="Continue").click()
        expect(tab.page.get_by_text("Hello, ada")).to_be_visible()
        tab.act('"ada"')
        tab.loads.clear()

        lose_three_token_lives(app, tab)
        app.kill()
        app.start()
        tab.find_connection()
        tab.act('"ada"')
        assert tab.loads == [], "neither a login nor a reload"
        second = Tab(context)
        second.page.goto(app.url)
        second.page.get_by_role("button", name="Sign out").click()
        # It is asked there whether to leave the provider as well; this app is left already.
        expect(second.page.get_by_role("button", name="Sign out")).to_be_hidden()
        tab.page.get_by_role("button", name="Ask the API").click()
        expect(tab.page.get_by_role("link", name="Sign in")).to_be_visible()
        app.kill()
