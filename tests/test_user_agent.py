"""The browser without a window: cookies, redirects, forms, and where it refuses to go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.errors import LoginRequest, ProviderError, ProviderUnreachableError
from session_core.provider import EmbeddedProvider, Fault, FaultKind, ProviderConfig
from session_core.provider.memory import MemoryHttpxTransport, MemoryTransport
from session_core.provider.user_agent import FORMS_MAX, REDIRECTS_MAX, HeadlessUserAgent, read_form
from session_core.vocabulary import Outcome
from session_core.wire import FailureKind, HttpxTransport, WireAnswer, WireFailure, WireRequest

ISSUER = "http://idp.test/idp"
CALLBACK = "http://127.0.0.1:8501/auth/callback"
ASK = f"https://id.example/authorize?{urlencode({'redirect_uri': CALLBACK})}"
FORM = '<form method="post" action="/login?a=1"><input name="who"><input type="password" name="word"></form>'

SEARCH_THEN_LOGIN = """
<form method="get"><input name="q"></form>
<form method="post"><input type="email" name="m"><input name="s"><input type="PASSWORD" name="pw">
<input type="hidden" name="csrf" value="&lt;"></form>"""


def login(url: str = ASK) -> LoginRequest:
    return LoginRequest(url=url, state="s", nonce="n", code_verifier="v", return_to="/")


def answer(status: int = 200, body: str = "", **headers: str) -> WireAnswer:
    return WireAnswer(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=body.encode()
    )


class Server:
    """A provider that is a callable; keeps what it was asked."""

    def __init__(self, reply: Callable[[WireRequest], WireAnswer | WireFailure]) -> None:
        self.reply = reply
        self.asked: list[WireRequest] = []

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        self.asked.append(request)
        return self.reply(request)

    async def aclose(self) -> None:
        raise AssertionError("not ours to close")


def script(*answers: WireAnswer | WireFailure) -> Server:
    coming = iter(answers)
    return Server(lambda _request: next(coming))


def visit(server: Server, url: str = ASK) -> str | None:
    return asyncio.run(HeadlessUserAgent(server).visit(url))


def sign_in(server: Server) -> str:
    return asyncio.run(HeadlessUserAgent(server).sign_in(login(), "ada", "demo"))


def cookie_sent(request: WireRequest) -> str | None:
    return dict(request.headers).get("cookie")


class Embedded:
    """The embedded provider with a user agent, in memory or through a whole httpx client."""

    def __init__(self, *, through_httpx: bool) -> None:
        self.provider = EmbeddedProvider(ProviderConfig(issuer=ISSUER), entropy=random.Random(1).randbytes)
        memory = MemoryTransport(self.provider, wall=lambda: 1e9)
        # The agent keeps the cookies, so the client beneath it must not keep them too.
        cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        whole = httpx.AsyncClient(transport=MemoryHttpxTransport(self.provider, wall=lambda: 1e9), cookies=cookies)
        self.agent = HeadlessUserAgent(HttpxTransport(whole) if through_httpx else memory)

    def url(self, **more: str) -> str:
        asked = {
            "client_id": "session-lab",
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid",
            "state": "s",
            "code_challenge": "c" * 43,
            "code_challenge_method": "S256",
            **more,
        }
        return f"{ISSUER}/authorize?{urlencode(asked)}"


@pytest.fixture(params=[False, True], ids=["in memory", "through httpx"])
def embedded(request: pytest.FixtureRequest) -> Embedded:
    return Embedded(through_httpx=request.param)


def query_of(url: str | None) -> dict[str, str]:
    assert url is not None
    place, _, query = url.partition("?")
    assert place == CALLBACK
    return dict(parse_qsl(query))


def test_signs_a_demo_user_in_and_is_then_known(embedded: Embedded) -> None:
    """After the form, the cookie is enough: silently, and without a second form."""

    async def play() -> tuple[str, str | None, str]:
        first = await embedded.agent.sign_in(login(embedded.url()), "ada", "demo")
        silent = await embedded.agent.visit(embedded.url(prompt="none"))
        return first, silent, await embedded.agent.sign_in(login(embedded.url()), "ada", "not asked for")

    first, silent, again = asyncio.run(play())
    assert len({query_of(url)["code"] for url in (first, silent, again)}) == 3
    assert query_of(first)["state"] == "s"


def test_without_cookies_silent_sign_in_comes_back_with_an_error(embedded: Embedded) -> None:
    """A user agent that forgot its cookies is a stranger again."""

    async def play() -> tuple[str | None, str | None]:
        before = await embedded.agent.visit(embedded.url(prompt="none"))
        await embedded.agent.sign_in(login(embedded.url()), "ada", "demo")
        embedded.agent.forget()
        return before, await embedded.agent.visit(embedded.url(prompt="none"))

    assert [query_of(url)["error"] for url in asyncio.run(play())] == ["login_required", "login_required"]


def test_a_wrong_password_is_said_and_not_repeated(embedded: Embedded) -> None:
    """The form is filled in once."""
    with pytest.raises(ProviderError, match=r"refused this username and password") as caught:
        asyncio.run(embedded.agent.sign_in(login(embedded.url()), "ada", "guess-7731"))
    assert "guess-7731" not in repr(caught.value)


def test_a_provider_out_of_reach_is_none_or_an_error(embedded: Embedded) -> None:
    """A visit says None, a sign-in says why."""
    embedded.provider.faults.order(Fault(kind=FaultKind.REFUSE, times=2), 1e9)
    assert asyncio.run(embedded.agent.visit(embedded.url())) is None
    with pytest.raises(ProviderUnreachableError, match="did not answer"):
        asyncio.run(embedded.agent.sign_in(login(embedded.url()), "ada", "demo"))


@pytest.mark.parametrize(
    ("status", "outcome"), [(429, Outcome.THROTTLED), (500, Outcome.TRANSIENT), (599, Outcome.TRANSIENT)]
)
def test_a_provider_in_trouble_is_no_refusal(status: int, outcome: Outcome) -> None:
    """A silent sign-in that met a 503 must not count as the provider's "no"."""
    with pytest.raises(ProviderUnreachableError) as caught:
        visit(script(answer(status)))
    assert caught.value.outcome is outcome


@pytest.mark.parametrize("status", [200, 400, 403, 499])
def test_a_visit_that_ends_at_a_page_is_an_error(status: int) -> None:
    """Nothing can be shown, so the user would have to see it."""
    with pytest.raises(ProviderError, match=f"showed a page \\({status}\\)"):
        visit(script(answer(status, "<h1>Hello</h1>")))


def test_a_redirect_status_without_a_location_is_a_page() -> None:
    """RFC 9110 §15.4: without Location there is nowhere to go."""
    with pytest.raises(ProviderError, match="showed a page"):
        visit(script(answer(302)))


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_a_redirect_after_the_form_keeps_the_method_only_where_it_must(status: int, method: str) -> None:
    """RFC 9110 §15.4: 307 and 308 send the form again, the others fetch."""
    server = script(answer(body=FORM), answer(status, location="next"), answer(302, location=f"{CALLBACK}?code=c"))
    assert sign_in(server) == f"{CALLBACK}?code=c"
    assert [request.method for request in server.asked] == ["GET", "POST", method]
    assert server.asked[2].url == "https://id.example/next"
    assert bool(server.asked[2].body) is (method == "POST")


def test_the_callback_is_never_fetched() -> None:
    """The code in its address is for the application alone."""
    server = script(answer(302, location=f"{CALLBACK}?code=c&state=s"))
    assert visit(server) == f"{CALLBACK}?code=c&state=s"
    assert len(server.asked) == 1


@pytest.mark.parametrize("place", ["https://other.example/x", "http://id.example/x", f"{CALLBACK}2?code=c"])
def test_it_never_leaves_the_providers_origin(place: str) -> None:
    """Cookies and passwords of the provider go nowhere else."""
    server = script(answer(302, location=place, set_cookie="sid=1"))
    with pytest.raises(ProviderError, match="neither its own nor the call-back"):
        visit(server)
    assert len(server.asked) == 1


def test_redirects_in_circles_end() -> None:
    """The count is bounded."""
    server = Server(lambda _request: answer(302, location="/again"))
    with pytest.raises(ProviderError, match="in circles"):
        visit(server)
    assert len(server.asked) == REDIRECTS_MAX


def test_forms_without_end_end() -> None:
    """A provider that asks for consent for ever is left."""
    server = Server(lambda _request: answer(body='<form method="post"><input type="hidden" name="a" value="1"></form>'))
    with pytest.raises(ProviderError, match="shows no form"):
        sign_in(server)
    assert len(server.asked) == FORMS_MAX + 1


def test_a_consent_page_after_the_password_is_agreed_to() -> None:
    """Hidden fields are sent as they stand; nothing is typed into a form without a password field."""
    consent = '<form method="POST" action="/consent"><input type="hidden" name="prompt" value="consent"></form>'
    server = script(answer(body=FORM), answer(body=consent), answer(303, location=f"{CALLBACK}?code=c"))
    assert sign_in(server) == f"{CALLBACK}?code=c"
    assert [(r.url, dict(parse_qsl(r.body.decode()))) for r in server.asked[1:]] == [
        ("https://id.example/login?a=1", {"who": "ada", "word": "demo"}),
        ("https://id.example/consent", {"prompt": "consent"}),
    ]


def test_a_page_without_a_form_is_said_so() -> None:
    """A sign-in that runs on scripts cannot be filled in."""
    with pytest.raises(ProviderError, match="no form to sign in with"):
        sign_in(script(answer(body="<div id=app></div>")))


def test_cookies_are_kept_replaced_and_dropped() -> None:
    """Also when several came joined, with dates that hold commas."""
    joined = "a=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT; Path=/, b=x=y; HttpOnly, c="
    server = script(
        answer(302, location="/2", set_cookie=joined),
        answer(302, location="/3", set_cookie="a=2, b=; Max-Age=0"),
        answer(302, location=CALLBACK),
    )
    assert visit(server) == CALLBACK
    assert [cookie_sent(request) for request in server.asked] == [None, "a=1; b=x=y", "a=2"]


def test_cookies_and_passwords_stay_out_of_the_repr() -> None:
    """Nothing a person can print shows them."""
    agent = HeadlessUserAgent(script(answer(302, location=CALLBACK, set_cookie="sid=hush")))
    asyncio.run(agent.visit(ASK))
    assert "hush" not in repr(agent)


@pytest.mark.parametrize("url", ["https://id.example/authorize", f"{ASK}&redirect_uri=http://evil.example"])
def test_an_address_without_one_call_back_is_refused(url: str) -> None:
    """There would be no knowing where to stop."""
    with pytest.raises(ProviderError, match="names no redirect_uri"):
        visit(script(), url)


def test_a_dropped_connection_is_unreachable() -> None:
    """Nothing tells the two apart for a user."""
    assert visit(script(WireFailure(kind=FailureKind.DROPPED, maybe_sent=True))) is None


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("", None),
        ('<form method="get"><input name="q"></form>', None),
        ('<form><input name="q"></form>', None),
        ('<form method="post"></form><input name="outside">', ("", {}, None, None)),
        ('<form method="post" action="/a"><input type="submit" name="go" value="Go"></form>', ("/a", {}, None, None)),
        (
            SEARCH_THEN_LOGIN,
            ("", {"csrf": "<"}, "m", "pw"),
        ),
    ],
)
def test_the_first_posted_form_is_read(page: str, expected: tuple[Any, ...] | None) -> None:
    """Search boxes, buttons and what stands outside are not part of it."""
    form = read_form(page)
    found = form and (form.action, form.fields, form.username_field, form.password_field)
    assert found == expected


@given(st.text(), st.text())
def test_what_is_typed_arrives_letter_by_letter(username: str, password: str) -> None:
    """Whatever people choose as a password."""
    form = read_form(FORM)
    assert form is not None
    sent = dict(parse_qsl(form.filled(username, password).decode(), keep_blank_values=True))
    assert sent == {"who": username, "word": password}
