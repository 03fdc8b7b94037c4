"""The app as its users have it: started from a shell, in a real browser; and what every browser test does with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
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


@pytest.fixture(scope="session")
def filled_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app over a store in which forty sessions had their troubles, which nobody changes."""
    from lab_kit import fill

    folder = tmp_path_factory.mktemp("filled")
    fill(folder / "lab.duckdb", sessions=40, minutes=50)
    with started_app(folder) as url:
        yield url


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
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
    """Where the page's link leads, without drawing the page only for its link."""
    whole = urlsplit(url)
    back_to = quote(urlunsplit(("", "", whole.path or "/", whole.query, "")), safe="")
    page.goto(f"{whole.scheme}://{whole.netloc}/auth/sign-in?return_to={back_to}")
    tell_who(page)


def tell_who(page: Page) -> None:
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Ada Lovelace").first).to_be_visible()
