"""Signing out over real HTTP: here at once, then at the provider, and back; no token in any address."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from html import unescape

import httpx
import pytest
from lab_kit import ServedLab, served_lab

from session_core.config import SessionConfig
from session_core.oauth import EndSessionRequest
from session_core.provider_metadata import ProviderMetadata
from session_core.vocabulary import EndReason
from session_core.web.farewells import FAREWELL_S_MAX, Farewell, Farewells, make_farewell, read_return
from session_core.web.sign_out import SIGN_OUT_PATH


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        yield client


def cookie_of(served: ServedLab, browser: httpx.Client) -> str:
    return browser.cookies[served.lab.cookies.session]


def sign_out(served: ServedLab, browser: httpx.Client, return_to: str = "/chat") -> bool:
    """As a page does it."""
    lab, cookie = served.lab, cookie_of(served, browser)
    seat = lab.seats.find(cookie)
    assert seat is not None
    return lab.service.call(lab.sign_out(seat.session_id, cookie=cookie, return_to=return_to))


def submitted(page: httpx.Response) -> tuple[str, dict[str, str]]:
    """The form of a page that submits itself."""
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    assert action is not None
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text)
    return unescape(action[1]), {name: unescape(value) for name, value in fields}


def farewell(state: str = "s") -> Farewell:
    return Farewell(request=EndSessionRequest(url="https://idp/end", form={}), state=state, return_to="/chat")


def test_a_sign_out_ends_here_and_at_the_provider_and_comes_back(served: ServedLab, browser: httpx.Client) -> None:
    """The next sign-in asks for the password again, which a mere local sign-out would not."""
    served.sign_in(browser)
    assert sign_out(served, browser)
    page = browser.get(SIGN_OUT_PATH)
    url, form = submitted(page)
    assert url == f"{served.lab.config.issuer}/end-session"
    assert form.keys() == {"client_id", "post_logout_redirect_uri", "state", "id_token_hint"}
    answer = browser.post(url, data=form)
    assert answer.url.path == "/chat"
    assert [step.url.path for step in answer.history] == ["/idp/end-session", "/auth/signed-out"]
    assert browser.get("/auth/sign-in").url.path == "/idp/authorize"


def test_the_session_is_over_before_the_browser_has_gone_anywhere(served: ServedLab, browser: httpx.Client) -> None:
    """Who closes the window on the way is signed out all the same, and the tokens are given back."""
    served.sign_in(browser)
    seat = served.lab.seats.find(cookie_of(served, browser))
    assert seat is not None
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    revoked = served.lab.provider.statistics().families_revoked
    sign_out(served, browser)
    assert session.ended is EndReason.SIGNED_OUT
    assert served.lab.seats.find(cookie_of(served, browser)) is None
    assert served.lab.provider.statistics().families_revoked == revoked + 1


def test_no_address_on_the_way_holds_a_token(served: ServedLab, browser: httpx.Client) -> None:
    """The ID token is in the body of one page that nobody keeps; both cookies go."""
    served.sign_in(browser)
    sign_out(served, browser)
    page = browser.get(SIGN_OUT_PATH)
    assert page.headers["cache-control"] == "no-store"
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    answer = browser.post(*submitted(page)[:1], data=submitted(page)[1])
    told = [str(step.url) + str(step.headers) for step in (page, *answer.history, answer)]
    secrets = served.lab.provider.issued_secrets()
    assert not [secret for secret in secrets for text in told if secret in text]
    cookies = served.lab.cookies
    assert not {cookies.session, cookies.leaving} & set(browser.cookies)


def test_only_the_browser_that_signed_out_is_sent_on_and_once(served: ServedLab, browser: httpx.Client) -> None:
    """Another's visit, and a second one, lead home and change nothing."""
    served.sign_in(browser)
    cookie = cookie_of(served, browser)
    sign_out(served, browser)
    with served.browser() as other:
        assert other.get(SIGN_OUT_PATH, follow_redirects=False).headers["location"] == "/"
    assert browser.get(SIGN_OUT_PATH).status_code == 200
    again = browser.get(
        SIGN_OUT_PATH, headers={"cookie": f"{served.lab.cookies.session}={cookie}"}, follow_redirects=False
    )
    assert again.headers["location"] == "/"


def test_a_visit_by_itself_signs_nobody_out(served: ServedLab, browser: httpx.Client) -> None:
    """A link from elsewhere to our address must not end a session."""
    served.sign_in(browser)
    assert browser.get(SIGN_OUT_PATH, follow_redirects=False).headers["location"] == "/"
    assert served.lab.seats.find(cookie_of(served, browser)) is not None


@pytest.mark.parametrize("query", ["", "state=", "state=%00", "state=guess", "state=<script>", "state=\udce4"])
def test_a_return_with_another_state_is_refused(served: ServedLab, browser: httpx.Client, query: str) -> None:
    """It might be somebody else's sign-out; one small page, and nothing of the request in it."""
    served.sign_in(browser)
    sign_out(served, browser)
    browser.get(SIGN_OUT_PATH)
    answer = browser.get(f"/auth/signed-out?{query.encode('utf-8', 'surrogatepass').decode('latin-1')}")
    assert answer.status_code == 400
    assert "<script>" not in answer.text
    assert "not started in this browser" in answer.text


def test_a_session_that_is_over_has_nothing_to_tell_the_provider(served: ServedLab, browser: httpx.Client) -> None:
    """Its tokens are gone; the seat is freed and the page stays."""
    served.sign_in(browser)
    seat = served.lab.seats.find(cookie_of(served, browser))
    assert seat is not None
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    served.lab.service.call(session.sign_out(EndReason.SIGNED_OUT_ELSEWHERE))
    assert not sign_out(served, browser)
    assert served.lab.seats.find(cookie_of(served, browser)) is None


@pytest.mark.parametrize(("after_s", "found"), [(FAREWELL_S_MAX - 1, True), (FAREWELL_S_MAX, False)])
def test_a_farewell_waits_for_a_minute(after_s: float, *, found: bool) -> None:
    """An ID token lies no longer than it takes a browser to come for it, and is given out once."""
    waiting = Farewells()
    waiting.keep(farewell(), cookie="a", now=0)
    assert waiting.take(cookie="b", now=0) is None
    assert (waiting.take(cookie="a", now=after_s) is not None) is found
    assert waiting.take(cookie="a", now=after_s) is None
    assert len(waiting) == 0


def test_farewells_are_bounded_and_keep_to_themselves() -> None:
    """Many sign-outs nobody comes for cost no more memory; no repr shows what is in one."""
    waiting = Farewells(entries_max=2)
    for number in range(5):
        waiting.keep(farewell(f"state-{number}"), cookie=str(number), now=0)
    assert len(waiting) == 2
    assert "state-4" not in repr(vars(waiting))


def test_the_place_to_return_to_is_ours_whatever_the_cookie_says() -> None:
    """A neighbour who can plant cookies cannot lead anybody away with one."""
    assert read_return(farewell().cookie(), "s") == "/chat"
    away = Farewell(request=EndSessionRequest(url="", form={}), state="s", return_to="//evil.example")
    assert read_return(away.cookie(), "s") == "/"
    assert read_return("s.no base64", "s") == "/"
    assert [read_return(cookie, "s") for cookie in (None, "", ".", "x.L2NoYXQ=")] == [None] * 4
    assert read_return(".L2NoYXQ=", "") is None


def test_a_provider_without_a_sign_out_gets_no_farewell() -> None:
    """There is nothing to be signed out of; one that takes no POST is visited without the ID token."""
    endpoints = {
        "authorization_endpoint": "https://idp/a",
        "token_endpoint": "https://idp/t",
        "jwks_uri": "https://idp/j",
    }
    config = SessionConfig(
        issuer="https://idp", client_id="app", redirect_uri="https://app.example/auth/callback", sign_out_by="get"
    )
    told = {"id_token": "i.d.t", "return_to": "/", "entropy": random.Random(1).randbytes}
    bare = ProviderMetadata(issuer="https://idp", **endpoints)
    assert make_farewell(bare, config.registration(), config, **told) is None
    full = ProviderMetadata(issuer="https://idp", end_session_endpoint="https://idp/end", **endpoints)
    made = make_farewell(full, config.registration(), config, **told)
    assert made is not None
    assert made.request.form == {}
    assert "i.d.t" not in made.request.url
    assert "https%3A%2F%2Fapp.example%2Fauth%2Fsigned-out" in made.request.url
