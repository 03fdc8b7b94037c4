"""The app as its users have it: started from a shell, in a real browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000

pytestmark = pytest.mark.browser


@contextmanager
def started_app(folder: Path, **environment: str) -> Iterator[str]:
    """The app on a free port, with its files in `folder`; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
        cwd=ROOT,
        env={**os.environ, "SESSION_LAB_DB": str(folder / "lab.duckdb"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as app:
        try:
            assert app.stdout is not None
            # The address is printed once the port takes connections.
            assert any("URL:" in line for line in app.stdout), "the app started"
            yield f"http://127.0.0.1:{port}"
            app.terminate()
            said = app.stdout.read()
            assert "Traceback" not in said, said
        finally:
            app.kill()


@pytest.fixture(scope="module")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started_app(tmp_path_factory.mktemp("browser"), SESSION_LAB_ACCESS_TTL_S="120") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    # What our security headers keep a page from doing must be nothing that it needs.
    kept_from: list[str] = []
    context.on("console", lambda said: kept_from.append(said.text) if "Content Security Policy" in said.text else None)
    yield context.new_page()
    context.close()
    assert kept_from == []


def sign_in(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_test_id("stMain").get_by_role("link", name="Sign in").click()
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Ada Lovelace").first).to_be_visible()


def test_a_session_is_broken_on_purpose_and_recovers(page: Page, app_url: str) -> None:
    """Sign in, see health, force a refresh, order a 503, see DEGRADED and the recovery, and sign out."""
    sign_in(page, f"{app_url}/health")
    answer = page.locator(".st-key-answer")
    expect(answer.get_by_text("Your session is in full health.")).to_be_visible()

    page.get_by_role("button", name="Force refresh").click()
    expect(page.get_by_text("The token was refreshed.", exact=True)).to_be_visible()

    page.get_by_role("button", name="503 for 20 s").click()
    expect(answer.get_by_text("● degraded")).to_be_visible()
    expect(page.get_by_text("A tester ordered the fault 503 for 20 s").first).to_be_visible()
    expect(answer.get_by_text("lowest part is failed refreshes")).to_be_visible()

    page.get_by_role("button", name="Clear faults").click()
    expect(page.get_by_text("The provider behaves again.")).to_be_visible()
    page.get_by_role("button", name="Force refresh").click()
    expect(answer.get_by_text("● active")).to_be_visible()
    expect(answer.get_by_text("100", exact=False).first).to_be_visible()

    page.get_by_role("button", name="Call the API now").click()
    expect(page.get_by_text("The API answered with status 200.")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Sign in to see how your session is kept alive")).to_be_visible()


def test_a_chat_streams_and_the_overview_counts_it(page: Page, app_url: str) -> None:
    """The answer comes, the way back after sign-in is kept, and what happened is on the overview."""
    sign_in(page, f"{app_url}/chat")
    box = page.get_by_placeholder("Write to ATOM")
    box.fill("Good morning")
    box.press("Enter")
    answer = page.get_by_test_id("stChatMessage").nth(1)
    expect(answer).to_contain_text("Good morning")

    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text("Sessions are good: 100 %")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.get_by_text("Table", exact=True).first.click()
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()


def test_streamlits_own_answers_are_locked_down_too(app_url: str) -> None:
    """Its page, its files and what it says of itself; and a page of another site cannot open its websocket."""
    with httpx.Client(base_url=app_url, trust_env=False) as client:
        for path in ("/", "/chat", "/favicon.png", "/_stcore/health", "/_stcore/host-config", "/nowhere.js"):
            headers = client.get(path).headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff", path
        upgrade = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "sec-websocket-version": "13",
        }
        elsewhere = {**upgrade, "origin": "http://localhost:9999"}
        assert client.get("/_stcore/stream", headers=elsewhere).status_code == 403


def test_tokens_never_reach_the_browser(page: Page, app_url: str) -> None:
    """Scripts of the page see no cookie of ours and nothing that looks like a token."""
    sign_in(page, f"{app_url}/health")
    seen = page.evaluate(
        "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, document.body.innerHTML])"
    )
    assert "session_lab_" not in page.evaluate("document.cookie")
    assert "eyJ" not in seen
