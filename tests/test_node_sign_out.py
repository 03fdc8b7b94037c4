"""Signing out at oidc-provider, an npm package no one here wrote: from the app, and by the provider itself."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from html import unescape
from urllib.parse import urljoin

import httpx
import pytest
from lab_kit import ServedLab, served_lab
from test_node_provider import Peer, running_peer

from session_core.provider.user_agent import read_form
from session_core.session import Session
from session_core.vocabulary import EndReason, State

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def port() -> int:
    """Free a moment ago: the provider must know the app's address before the app is there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def peer(port: int) -> Iterator[Peer]:
    with running_peer(f"http://127.0.0.1:{port}/auth/callback", access_ttl_s=60) as running:
        yield running


@pytest.fixture(scope="module")
def served(peer: Peer, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    environment = {
        "SESSION_CORE_ISSUER": peer.issuer,
        "SESSION_CORE_CLIENT_ID": "session-lab",
        "SESSION_CORE_SCOPE": "openid",
        "SESSION_CORE_SIGN_OUT_BY": "get",
    }
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb", environment, port=port) as lab:
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        yield client


def sign_in(served: ServedLab, browser: httpx.Client) -> Session:
    """Through the provider's own pages, form by form."""
    page = browser.get("/auth/sign-in", params={"return_to": "/chat"})
    while not str(page.url).startswith(served.url):
        form = read_form(page.text)
        assert form is not None, page.text
        page = browser.post(
            urljoin(str(page.url), form.action),
            content=form.filled("ada", "demo"),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
    assert page.url.path == "/chat"
    seat = served.lab.seats.find(browser.cookies[served.lab.cookies.session])
    assert seat is not None
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    return session


def confirm(browser: httpx.Client, page: httpx.Response) -> httpx.Response:
    """“Yes, sign me out.”"""
    action = re.search(r'action="([^"]+)"', page.text)
    secret = re.search(r'name="xsrf" value="([^"]+)"', page.text)
    assert action is not None
    assert secret is not None
    return browser.post(unescape(action[1]), data={"xsrf": secret[1], "logout": "yes"})


def until(claim: Callable[[], bool]) -> None:
    """The provider tells the app in its own time."""
    ends_at = time.monotonic() + 10.0
    while not claim():
        assert time.monotonic() < ends_at, "it came about in time"
        time.sleep(0.02)


def test_a_sign_out_in_the_app_ends_at_the_provider_and_comes_back(served: ServedLab, browser: httpx.Client) -> None:
    """RP-initiated logout without a token in an address: it asks, and the next sign-in asks who is there."""
    session = sign_in(served, browser)
    lab, cookie = served.lab, browser.cookies[served.lab.cookies.session]
    assert lab.service.call(lab.sign_out(session.session_id, cookie=cookie, return_to="/chat"))
    assert session.ended is EndReason.SIGNED_OUT
    page = browser.get("/auth/logout")
    assert str(page.url).startswith(lab.config.issuer)
    assert "id_token_hint" not in str(page.history)
    back = confirm(browser, page)
    assert (back.url.path, [step.url.path for step in back.history][-1]) == ("/chat", "/auth/signed-out")
    asked = browser.get("/auth/sign-in")
    assert "password" in asked.text


def test_a_sign_out_at_the_provider_ends_the_session_in_the_app(served: ServedLab, browser: httpx.Client) -> None:
    """Back-channel logout: its token is accepted, and another browser's session, another one there, goes on."""
    session = sign_in(served, browser)
    with served.browser() as other:
        elsewhere = sign_in(served, other)
        confirm(browser, browser.get(f"{served.lab.config.issuer}/session/end"))
        until(lambda: session.ended is not None)
        assert session.ended is EndReason.SIGNED_OUT_AT_PROVIDER
        assert browser.get("/auth/activity").json()["title"] == "Signed out at the provider"
        assert (elsewhere.ended, elsewhere.state) == (None, State.ACTIVE)
