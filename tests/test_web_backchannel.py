"""The provider signs somebody out: over real HTTP, from its page to the session and the reason that its user sees."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import httpx
import pytest
from lab_kit import ServedLab, served_lab

from session_core.session import Session
from session_core.vocabulary import EndReason
from session_core.web.backchannel import BODY_BYTES_MAX, FORM_TYPE
from session_core.web.settings import BACKCHANNEL_PATH
from session_core.web.used_tokens import UsedTokens

EVENTS = {"http://schemas.openid.net/event/backchannel-logout": {}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        yield client


def session_of(served: ServedLab, browser: httpx.Client) -> Session:
    seat = served.lab.seats.find(browser.cookies.get(served.lab.cookies.session))
    assert seat is not None
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    return session


def until(claim: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Another thread does it."""
    ends_at = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < ends_at, "it came about in time"
        time.sleep(0.01)


def confirm(browser: httpx.Client, served: ServedLab, button: str) -> httpx.Response:
    """Sign out on the provider's own page."""
    page = browser.get(f"{served.lab.config.issuer}/end-session")
    action = re.search(r'action="([^"]+)"', page.text)
    assert action is not None
    return browser.post(unescape(action[1]), data={"confirm": button})


def logout_token(served: ServedLab, session: Session, *, typ: str = "logout+jwt", **changes: object) -> str:
    """Signed by the provider, as it would be or otherwise."""
    now = int(served.lab.clock.wall())
    claims: dict[str, Any] = {
        "iss": served.lab.config.issuer,
        "aud": served.lab.config.client_id,
        "iat": now,
        "exp": now + 60,
        "jti": f"jti-{session.session_id}",
        "events": EVENTS,
        "sub": session.user_id,
        "sid": session.claims().get("sid"),
    } | changes
    keys = served.lab.provider._parts.keys
    return keys.sign({name: value for name, value in claims.items() if value is not ...}, typ=typ)


def post(browser: httpx.Client, token: str) -> httpx.Response:
    return browser.post(BACKCHANNEL_PATH, data={"logout_token": token})


def test_signing_out_at_the_provider_ends_the_session_here_with_its_reason(
    served: ServedLab, browser: httpx.Client
) -> None:
    """From the provider's page to the session by its own way; another browser of the user goes on."""
    served.sign_in(browser)
    session = session_of(served, browser)
    with served.browser() as other:
        served.sign_in(other)
        elsewhere = session_of(served, other)
        confirm(browser, served, "yes")
        until(lambda: session.ended is not None)
        assert session.ended is EndReason.SIGNED_OUT_AT_PROVIDER
        assert elsewhere.ended is None
        told = browser.get("/auth/activity").json()
        assert (told["how"], told["title"]) == ("ended", "Signed out at the provider")


def test_signing_out_on_every_device_reaches_the_other_browser(served: ServedLab, browser: httpx.Client) -> None:
    """And says why; whoever else is signed in is not touched."""
    served.sign_in(browser)
    with served.browser() as other, served.browser() as stranger:
        served.sign_in(other)
        page = stranger.get("/auth/sign-in")
        stranger.post(page.url, data={"username": "grace", "password": "demo"})
        elsewhere, grace = session_of(served, other), session_of(served, stranger)
        confirm(browser, served, "everywhere")
        until(lambda: elsewhere.ended is not None)
        assert elsewhere.ended is EndReason.SIGNED_OUT_AT_PROVIDER
        assert other.get("/auth/activity").json()["title"] == "Signed out at the provider"
        assert grace.ended is None
        until(lambda: served.lab.provider.statistics().facts.get("logout_told", 0) > 0)


def test_a_session_that_rests_in_the_store_ends_too(served: ServedLab, browser: httpx.Client) -> None:
    """After a restart nobody has come back to it yet; its tokens are not left lying, and its user learns why."""
    served.sign_in(browser)
    session, service = session_of(served, browser), served.lab.service
    token = logout_token(served, session)
    service.call(service.let_go(session.session_id))
    served.lab.seats._seats.clear()
    assert post(browser, token).status_code == 200
    assert service.call(service.resume(session.session_id)) is None
    told = browser.get("/auth/activity").json()
    assert (told["how"], told["title"]) == ("ended", "Signed out at the provider")
    assert served.sign_in(browser, "/again").url.path == "/again"


@pytest.mark.parametrize("named", [{"sub": ...}, {"sid": ...}, {}])
def test_a_token_names_the_session_or_its_user(
    served: ServedLab, browser: httpx.Client, named: dict[str, object]
) -> None:
    """200 and nothing to be kept (§2.8)."""
    served.sign_in(browser)
    session = session_of(served, browser)
    answer = post(browser, logout_token(served, session, **named))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert session.ended is EndReason.SIGNED_OUT_AT_PROVIDER


def test_nobody_to_sign_out_is_no_trouble(served: ServedLab, browser: httpx.Client) -> None:
    """§2.7: the session may have ended by itself."""
    served.sign_in(browser)
    session = session_of(served, browser)
    assert post(browser, logout_token(served, session, sub="nobody", sid="gone", jti="other")).status_code == 200
    assert session.ended is None


def test_a_token_works_once(served: ServedLab, browser: httpx.Client) -> None:
    """Who overhears one cannot sign the user out again after the next sign-in."""
    served.sign_in(browser)
    token = logout_token(served, session_of(served, browser), sid=...)
    assert post(browser, token).status_code == 200
    browser.cookies.clear()
    served.sign_in(browser)
    answer = post(browser, token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "used before" in answer.json()["error_description"]
    assert session_of(served, browser).ended is None


def test_a_token_that_another_process_has_used_works_no_more(served: ServedLab, browser: httpx.Client) -> None:
    """Nor after a restart: what has been used is beside the sessions."""
    served.sign_in(browser)
    token = logout_token(served, session_of(served, browser), sid=...)
    assert post(browser, token).status_code == 200
    used, lab = served.lab.logouts, served.lab
    lab.logouts = UsedTokens(used._shelf)
    try:
        browser.cookies.clear()
        served.sign_in(browser)
        assert "used before" in post(browser, token).json()["error_description"]
        assert session_of(served, browser).ended is None
    finally:
        lab.logouts = used


@pytest.mark.parametrize(
    ("typ", "changes"),
    [
        ("logout+jwt", {"aud": "other"}),
        ("logout+jwt", {"iss": "https://evil.example"}),
        ("logout+jwt", {"exp": 1}),
        ("logout+jwt", {"nonce": "n"}),
        ("logout+jwt", {"events": {}}),
        ("at+jwt", {}),
    ],
)
def test_a_token_that_breaks_a_rule_changes_nothing(
    served: ServedLab, browser: httpx.Client, typ: str, changes: dict[str, object]
) -> None:
    """400, one sentence, and nobody is signed out."""
    served.sign_in(browser)
    session = session_of(served, browser)
    answer = post(browser, logout_token(served, session, typ=typ, **changes))
    assert (answer.status_code, answer.headers["cache-control"]) == (400, "no-store")
    assert session.ended is None


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM_TYPE, b""),
        (FORM_TYPE, b"logout_token="),
        (FORM_TYPE, b"logout_token=a&logout_token=b"),
        (FORM_TYPE, b"logout_token=%ff%00"),
        (FORM_TYPE, b"\xff\xfe"),
        (FORM_TYPE, b"&" * 5_000),
        (FORM_TYPE, b"logout_token=" + b"x" * BODY_BYTES_MAX),
        ("application/json", json.dumps({"logout_token": "a.b.c"}).encode()),
        ("multipart/form-data; boundary=x", b"--x"),
    ],
)
def test_nonsense_is_refused_calmly(browser: httpx.Client, content_type: str, body: bytes) -> None:
    """No traceback, and nothing of the request in the answer."""
    answer = browser.post(BACKCHANNEL_PATH, content=body, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json().keys() == {"error", "error_description"}


def test_a_visit_signs_nobody_out(browser: httpx.Client) -> None:
    """Only a POST is answered."""
    assert browser.get(BACKCHANNEL_PATH).status_code == 405


def test_a_store_that_fails_asks_for_the_token_again(
    served: ServedLab, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who lives here has ended; what rests elsewhere could not be found, so the token is not used up."""
    from session_core.session_store import SessionStoreError

    served.sign_in(browser)
    session, store = session_of(served, browser), served.lab.service.around.store
    token = logout_token(served, session)

    async def broken(_self: object, _user_id: str) -> Any:
        await asyncio.sleep(0)
        raise SessionStoreError("The disk is full.")

    monkeypatch.setattr(type(store), "list_of", broken)
    answer = post(browser, token)
    assert answer.status_code == 400
    assert "disk" not in answer.text
    assert session.ended is EndReason.SIGNED_OUT_AT_PROVIDER
    monkeypatch.undo()
    assert post(browser, token).status_code == 200
