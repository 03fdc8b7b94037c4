"""Every route of the app under nonsense: an answer that is calm, says nothing back as markup and leads nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from fuzz_kit import JSON, LINES, MARK, METHODS, Answer, Asked, Meant, addresses, ask, filled, marked, requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_kit import lines, said
from lab_kit import ServedLab, served_lab
from provider_kit import CHALLENGE, VERIFIER
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tries import tries

from session_core.web.headers import forbidding
from session_core.web.routes import lab_routes

ADDRESSES = addresses(lab_routes())
AUTHORIZATION = {
    "client_id": "session-lab",
    "redirect_uri": "{callback}",
    "response_type": "code",
    "scope": "openid api offline_access",
    "state": "s",
    "nonce": "n",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "prompt": "login",
    "max_age": "60",
    "login_hint": "ada",
}
CLIENT = {"client_id": "session-lab"}
CALLED_BACK = {"code": "c", "state": "{state}", "iss": "{issuer}", "error": "access_denied"}
MEANT: Mapping[str, Meant] = {
    "/auth/sign-in": Meant(query={"return_to": "/chat", "provider": "main"}),
    "/auth/callback": Meant(query=CALLED_BACK),
    "/auth/callback/{provider}": Meant(query=CALLED_BACK),
    "/auth/logout": Meant(),
    "/auth/signed-out": Meant(query={"state": "s"}),
    "/auth/backchannel-logout": Meant(form={"logout_token": "{id_token}"}),
    "/auth/activity": Meant(query={"act": "acted"}),
    "/auth/activity.js": Meant(),
    "/api/v1/events": Meant(body=lines(said()), content_type=LINES),
    "/api/v1/events/schema": Meant(),
    "/metrics": Meant(),
    "/healthz": Meant(),
    "/idp/": Meant(),
    "/idp/.well-known/openid-configuration": Meant(),
    "/idp/jwks": Meant(),
    "/idp/authorize": Meant(query=AUTHORIZATION, form={"username": "ada", "password": "demo"}),
    "/idp/token": Meant(
        form={
            **CLIENT,
            "grant_type": "refresh_token",
            "refresh_token": "{refresh_token}",
            "scope": "api",
            "code": "c",
            "redirect_uri": "{callback}",
            "code_verifier": VERIFIER,
        }
    ),
    "/idp/userinfo": Meant(form={"access_token": "{access_token}"}),
    "/idp/revoke": Meant(form={**CLIENT, "token": "{access_token}", "token_type_hint": "access_token"}),
    "/idp/introspect": Meant(form={**CLIENT, "token": "{access_token}"}),
    "/idp/end-session": Meant(
        query={"id_token_hint": "{id_token}", "post_logout_redirect_uri": "{home}", "state": "s"},
        form={"confirm": "yes"},
    ),
    "/idp/api/echo": Meant(body=b"{}", content_type=JSON),
    "/idp/api/profile": Meant(),
    "/idp/api/chat": Meant(body=b'{"message": "Hello <b>"}', content_type=JSON),
    "/idp/api/slow": Meant(query={"bytes": "10", "delay_ms": "0"}),
}
ANOTHER = """
[providers.work]
issuer = "http://127.0.0.1:9"
client_id = "lab"
allow_insecure_http = true
"""
QUIET = {"SESSION_LAB_SIGN_INS_PER_MINUTE": "60000", "SESSION_LAB_INGEST_POSTS_PER_MINUTE": "60000"}


class Fuzzed(NamedTuple):
    served: ServedLab
    app: Starlette
    port: int
    alive: Mapping[str, str]

    def ask(self, asked: Asked) -> Answer:
        return self.served.lab.service.call(ask(self.app, asked, port=self.port), timeout_s=20)


def sign_in(browser: httpx.Client) -> httpx.Response:
    page = browser.get("/auth/sign-in?return_to=/after&provider=main")
    return browser.post(page.url, data={"username": "ada", "password": "demo"})


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "lab.toml").write_text(ANOTHER)
    environment = {**QUIET, "SESSION_LAB_CONFIG": str(folder / "lab.toml")}
    with served_lab(folder / "lab.duckdb", environment) as served, served.browser() as browser:
        sign_in(browser)
        begun = browser.get("/auth/sign-in?return_to=/x&provider=main", follow_redirects=False)
        lab = served.lab
        assert lab.provider is not None
        tokens = json.loads(lab.provider.tokens_for("ada", now=lab.clock.wall(), scope="openid api offline_access"))
        alive = {
            **{name: tokens[name] for name in ("access_token", "refresh_token", "id_token")},
            "state": httpx.URL(begun.headers["location"]).params["state"],
            "cookies": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
            "session": browser.cookies[lab.cookies.session],
            "issuer": lab.config.issuer,
            "callback": lab.config.redirect_uri,
            "home": f"{served.url}/",
        }
        app = Starlette(routes=lab_routes(), middleware=forbidding(served.url))
        yield Fuzzed(served, app, urlsplit(served.url).port or 0, alive)
        # Whatever was asked before, people still get in.
        assert sign_in(browser).url.path == "/after"


def judge(answer: Answer, asked: Asked, fuzzed: Fuzzed) -> None:
    """What holds for every answer there is."""
    text = answer.body.decode("utf-8", "replace")
    # What else is out of order is said, not met: a provider that is away, an app that is not well.
    trouble = {"/auth/sign-in": 502, "/healthz": 503}.get(asked.path)
    assert 200 <= answer.status < 500 or answer.status == trouble
    assert "Traceback" not in text
    assert 'File "' not in text
    assert answer.all("x-content-type-options") == ["nosniff"]
    assert "frame-ancestors 'none'" in "".join(answer.all("content-security-policy"))
    assert fuzzed.alive["session"] not in text
    for name, value in answer.headers:
        assert not set("\r\n\0") & set(name + value)
    for place in answer.all("location"):
        assert not place.startswith(("//", "/\\"))
        assert urlsplit(place).netloc in {"", f"127.0.0.1:{fuzzed.port}"}
    if answer.kind == "text/html":
        assert f"<{MARK}" not in text
        assert f"<script>{MARK}" not in text
        assert f"' {MARK}=" not in text
        assert not re.search(rf"""(href|src|action)=["']?(javascript:|https?:|//){MARK}""", text)
    elif answer.kind.endswith("json"):
        json.loads(answer.body or b"null")
    else:
        assert answer.kind in {
            "",
            "text/plain",
            "text/javascript",
            "application/octet-stream",
            "application/openmetrics-text",
        }


@pytest.mark.parametrize("path", sorted(ADDRESSES))
def test_nonsense_gets_a_calm_answer(fuzzed: Fuzzed, path: str) -> None:
    """No 500, no traceback, nothing reflected, no way to another site: whatever the method, headers, fields and body."""
    made = requests(path, ADDRESSES[path], MEANT[path], fuzzed.alive, port=fuzzed.port)

    @settings(max_examples=tries(40, in_ci=20), suppress_health_check=list(HealthCheck))
    @given(asked=made)
    def every_answer_is_calm(asked: Asked) -> None:
        judge(fuzzed.ask(asked), asked, fuzzed)

    every_answer_is_calm()


@pytest.mark.parametrize("path", sorted(ADDRESSES))
def test_nothing_that_was_sent_comes_back_as_markup(fuzzed: Fuzzed, path: str) -> None:
    """Each field and header in turn holds what would open an element, an attribute, a header or another site."""
    for asked in marked(path, ADDRESSES[path], MEANT[path], fuzzed.alive, port=fuzzed.port):
        judge(fuzzed.ask(asked), asked, fuzzed)


def test_every_route_is_fuzzed() -> None:
    """A new route needs a line here that says what is meant by it, or this fails; so does a line without its route."""
    assert set(MEANT) == set(ADDRESSES)


def test_a_new_route_would_be_noticed() -> None:
    """Also one that is mounted: nobody looks behind what nobody knows."""
    new = Route("/new", lambda _request: PlainTextResponse("new"))
    assert set(addresses([*lab_routes(), new])) - set(MEANT) == {"/new"}
    with pytest.raises(AssertionError, match="nobody knows what is mounted at /elsewhere"):
        addresses([Mount("/elsewhere", routes=[new])])


@given(method=st.sampled_from(METHODS), path=st.sampled_from(sorted(ADDRESSES)))
@settings(max_examples=tries(200, in_ci=80), suppress_health_check=list(HealthCheck))
def test_a_wrong_method_is_told_which_are_right(fuzzed: Fuzzed, method: str, path: str) -> None:
    """405 with Allow (RFC 9110 §15.5.6), and nothing is done."""
    if method in {*ADDRESSES[path], "HEAD"}:
        return
    host = (b"host", f"127.0.0.1:{fuzzed.port}".encode())
    answer = fuzzed.ask(Asked(method, filled(path, b"main"), b"", (host,), b""))
    assert answer.status == 405
    assert answer.all("allow")
