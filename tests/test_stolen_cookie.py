"""What a copied cookie, a planted one and a copied refresh token give a thief, over real HTTP; and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from lab_kit import ServedLab, served_lab
from starlette.responses import Response
from starlette.routing import Route
from test_bad_input import standing

from session_core.session import Session
from session_core.vocabulary import Outcome, State
from session_core.web.cookies import drop_cookie, set_cookie
from session_core.web.routes import lab_routes
from session_core.web.sign_in import cookie_names


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedLab]:
    with served_lab(tmp_path / "lab.duckdb", {"SESSION_LAB_GRACE_S": "0"}) as lab:
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        served.sign_in(client)
        yield client


def cookie_of(served: ServedLab, browser: httpx.Client) -> str:
    return browser.cookies[served.lab.cookies.session]


def thief_with(served: ServedLab, cookie: str) -> httpx.Client:
    return httpx.Client(
        base_url=served.url, headers={"cookie": f"{served.lab.cookies.session}={cookie}"}, trust_env=False, timeout=20
    )


def session_of(served: ServedLab, browser: httpx.Client) -> Session:
    seat = served.lab.seats.find(cookie_of(served, browser))
    assert seat is not None
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    return session


def test_a_copied_cookie_brings_no_token_to_light(served: ServedLab, browser: httpx.Client) -> None:
    """It is the session while that lives, and nothing that any route says to its bearer is a token, code or key."""
    served.lab.service.call(session_of(served, browser).force_refresh_session())
    assert served.lab.provider is not None
    secrets = served.lab.provider.issued_secrets()
    paths = [route.path for route in lab_routes() if isinstance(route, Route)]
    with thief_with(served, cookie_of(served, browser)) as thief:
        assert standing(thief) == "open"
        for path in paths:
            answer = thief.get(path, follow_redirects=False)
            said = answer.text + "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
            assert [secret for secret in secrets if secret in said] == [], path


def test_a_copied_cookie_ends_with_the_session(served: ServedLab, browser: httpx.Client) -> None:
    """However it ends; nothing brings it back."""
    with thief_with(served, cookie_of(served, browser)) as thief:
        served.lab.service.call(served.lab.leave(session_of(served, browser).session_id))
        assert standing(thief) == "nobody"
        assert served.lab.service.call(served.lab.recall(cookie_of(served, browser))) is None


def test_a_copied_cookie_ends_when_its_owner_signs_in_again(served: ServedLab, browser: httpx.Client) -> None:
    """OWASP ASVS 7.2.4: a sign-in makes a new cookie and gives the old one up."""
    before = cookie_of(served, browser)
    with thief_with(served, before) as thief:
        browser.get("/auth/sign-in")
        assert cookie_of(served, browser) != before
        assert standing(thief) == "nobody"
        assert standing(browser) == "open"


def test_a_planted_cookie_is_not_what_a_sign_in_is_kept_under(served: ServedLab, browser: httpx.Client) -> None:
    """Session fixation: a thief plants the cookie of a session of their own, and their victim signs in."""
    planted = cookie_of(served, browser)
    with served.browser() as victim:
        victim.cookies.set(served.lab.cookies.session, planted, domain="127.0.0.1", path="/")
        page = victim.get("/auth/sign-in")
        back = victim.post(page.url, data={"username": "grace", "password": "demo"}, follow_redirects=False)
        done = victim.get(back.headers["location"], follow_redirects=False)
        cookie = done.headers["set-cookie"].partition("=")[2].partition(";")[0]
        assert cookie != planted
        with thief_with(served, planted) as thief, thief_with(served, cookie) as grace:
            assert standing(thief) == "nobody"
            assert standing(grace) == "open"


def test_a_made_up_cookie_is_never_adopted(served: ServedLab) -> None:
    """Every cookie is of our making: 256 random bits."""
    with served.browser() as victim:
        victim.cookies.set(served.lab.cookies.session, "chosen-by-a-thief", domain="127.0.0.1", path="/")
        page = victim.get("/auth/sign-in")
        back = victim.post(page.url, data={"username": "ada", "password": "demo"}, follow_redirects=False)
        done = victim.get(back.headers["location"], follow_redirects=False)
        cookie = done.headers["set-cookie"].partition("=")[2].partition(";")[0]
        assert len(cookie) == 43
        with thief_with(served, "chosen-by-a-thief") as thief:
            assert standing(thief) == "nobody"


def replay(served: ServedLab, refresh_token: str) -> httpx.Response:
    with served.browser() as thief:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": "session-lab"}
        return thief.post("/idp/token", data=form)


def call_status(served: ServedLab, access_token: str) -> int:
    with served.browser() as thief:
        return thief.get("/idp/api/echo", headers={"authorization": f"Bearer {access_token}"}).status_code


def test_copied_tokens_are_worth_nothing_without_their_key(served: ServedLab, browser: httpx.Client) -> None:
    """Sender-constrained (RFC 9449), as they are wherever the provider offers it: neither call nor refresh, and no harm."""
    session = session_of(served, browser)
    held = session._tokens.tokens
    assert call_status(served, held.access_token) == 401
    refused = replay(served, held.refresh_token)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    served.lab.service.call(session.force_refresh_session())
    assert session._tokens.tokens.refresh_token != held.refresh_token
    assert standing(browser) == "open"


def test_a_replayed_refresh_token_ends_the_family(tmp_path: Path) -> None:
    """RFC 9700 §4.14.2, where tokens are bound to no key: the thief gets nothing, and no token of it works any more."""
    unbound = {"SESSION_LAB_GRACE_S": "0", "SESSION_CORE_DPOP": "off"}
    with served_lab(tmp_path / "lab.duckdb", unbound) as served, served.browser() as browser:
        served.sign_in(browser)
        session = session_of(served, browser)
        stolen = session._tokens.tokens.refresh_token
        served.lab.service.call(session.force_refresh_session())
        access_token = session._tokens.tokens.access_token
        assert call_status(served, access_token) == 200
        refused = replay(served, stolen)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        assert call_status(served, access_token) == 401
        assert served.lab.service.call(session.force_refresh_session()).outcome is Outcome.REJECTED
        assert session.state is State.DEGRADED
        assert served.lab.service.call(session.client.get("echo")).status_code == 401


@pytest.mark.parametrize(
    ("redirect_uri", "secure", "prefix"),
    [
        ("https://lab.example/auth/callback", True, "__Host-"),
        ("http://127.0.0.1:8501/auth/callback", False, "session_lab_"),
    ],
)
def test_a_cookies_flags_follow_the_scheme(redirect_uri: str, prefix: str, *, secure: bool) -> None:
    """Under HTTPS `__Host-`, which browsers take only with Secure, for the whole host and without a domain (RFC 6265bis §4.1.3)."""
    names = cookie_names(redirect_uri)
    for name in (names.session, names.pending, names.leaving):
        response = Response()
        set_cookie(response, name, "value", life_s=60, secure=names.secure)
        drop_cookie(response, name, secure=names.secure)
        for line in response.headers.getlist("set-cookie"):
            flags = {part.strip().lower() for part in line.split(";")[1:]}
            assert name.startswith(prefix)
            assert {"httponly", "samesite=lax", "path=/"} <= flags
            assert ("secure" in flags) is secure
            assert not [flag for flag in flags if flag.startswith("domain")]
