"""Each example runs as a reader would run it, and says what its text promises."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from session_core.provider.user_agent import read_form

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

pytestmark = pytest.mark.slow


def output_of(example: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / example)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@contextmanager
def served(example: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "error", str(EXAMPLES / example), str(port)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until_it_listens(port)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def wait_until_it_listens(port: int) -> None:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("The example did not begin to listen.")


def test_every_example_is_run_here() -> None:
    """A new example needs a test."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "asgi_service.py",
        "asyncio_script.py",
        "threaded_script.py",
    }


def test_the_asyncio_script_outlives_its_token() -> None:
    """Twelve good answers, and refreshes that all came ahead of expiry."""
    lines = output_of("asyncio_script.py")
    assert sum(line.startswith("200 ada ") for line in lines) == 12
    spare = [float(line.split()[2]) for line in lines if "refreshed" in line]
    assert len(spare) >= 2
    assert min(spare) > 0


def test_the_threaded_script_refreshes_once() -> None:
    """Twenty threads, one POST."""
    assert output_of("threaded_script.py") == ["20 of 20 calls answered; 1 refresh"]


def test_the_asgi_service_keeps_tokens_from_the_browser() -> None:
    """From the first visit through the sign-in page to the answer; the browser ends with one opaque cookie."""
    with served("asgi_service.py") as url, httpx.Client(follow_redirects=True, trust_env=False) as browser:
        page = browser.get(url)
        form = read_form(page.text)
        assert form is not None
        sent = form.filled("grace", "demo")
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = browser.post(page.url.join(form.action), content=sent, headers=headers)
        assert answer.json() == {"user": "grace", "health": 100.0}
        assert {cookie.name for cookie in browser.cookies.jar} == {"idp_session", "login", "seat"}
        stranger = httpx.get(url + "callback?code=made-up", trust_env=False)
        assert (stranger.status_code, "start again at /login" in stranger.text) == (400, True)
