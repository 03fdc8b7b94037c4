"""The provider over real HTTP: by uvicorn, mounted and alone, with a third party's client and verifiers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import jwt
import pytest
import uvicorn
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt as jose_jwt
from joserfc.jwk import KeySet
from provider_kit import CALLBACK, START_S, authorization
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from session_core.clock import SystemClock
from session_core.provider import EmbeddedProvider, Endpoint, Fault, FaultKind, ProviderConfig
from session_core.provider.asgi import provider_app
from session_core.provider.inbound import BODY_BYTES_MAX
from session_core.provider.serve import listen
from session_core.wire import FailureKind, HttpxTransport, WireFailure, WireRequest

Check = Callable[["Live"], Awaitable[None]]


class FixedClock(SystemClock):
    """The provider's wall clock stands where a test puts it."""

    at = START_S

    def wall(self) -> float:
        return self.at


class Live:
    """A provider on a real port, and a client for it."""

    def __init__(self, provider: EmbeddedProvider, http: httpx.AsyncClient) -> None:
        self.provider = provider
        self.http = http
        self.issuer = provider.config.issuer
        self.clock = FixedClock()

    def order(self, kind: FaultKind, **told: Any) -> None:
        self.provider.faults.order(Fault(kind=kind, **told), START_S)

    def token(self) -> str:
        return jwt.api_jws.json.loads(self.provider.tokens_for("ada", now=START_S))["access_token"]


@contextlib.asynccontextmanager
async def live(
    *, wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app, path: str = "", **told: Any
) -> AsyncIterator[Live]:
    listener = listen(0)
    issuer = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
    provider = EmbeddedProvider(ProviderConfig(issuer=issuer, **told), entropy=random.Random(1).randbytes)
    server = uvicorn.Server(uvicorn.Config(wrap(provider_app(provider, clock=FixedClock())), log_level="error"))
    server.capture_signals = contextlib.nullcontext
    async with httpx.AsyncClient(timeout=5) as http:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await http.get(f"{issuer}/jwks")
        yield Live(provider, http)
    server.should_exit = True
    await serving


def mounted(app: ASGIApp) -> ASGIApp:
    return Starlette(routes=[Mount("/idp", app=app)], middleware=[Middleware(GZipMiddleware)])


async def _passed_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


def buffered(app: ASGIApp) -> ASGIApp:
    """Middleware that runs the application in a task of its own, where the connection cannot be found."""
    return Starlette(routes=[Mount("/", app=app)], middleware=[Middleware(BaseHTTPMiddleware, dispatch=_passed_on)])


def check(work: Check, **told: Any) -> None:
    async def whole() -> None:
        async with live(**told) as served:
            await work(served)

    asyncio.run(whole())


async def sign_in_page_answered(served: Live, url: str, username: str = "grace") -> str:
    page = await served.http.get(url)
    assert page.status_code == 200
    home = await served.http.post(url, data={"username": username, "password": "demo"})
    assert home.status_code == 303
    return home.headers["location"]


@pytest.mark.parametrize("told", [{}, {"wrap": mounted, "path": "/idp"}], ids=["alone", "mounted"])
def test_authlibs_client_signs_in_refreshes_and_revokes(told: dict[str, Any]) -> None:
    """A real third party: code with PKCE, rotation, reuse refused, revocation; PyJWT and joserfc check the id token."""

    async def work(served: Live) -> None:
        found = (await served.http.get(f"{served.issuer}/.well-known/openid-configuration")).json()
        assert found["issuer"] == served.issuer
        async with AsyncOAuth2Client(
            "session-lab",
            redirect_uri=CALLBACK,
            scope="openid api",
            code_challenge_method="S256",
            token_endpoint_auth_method="none",
            token_endpoint=found["token_endpoint"],
            update_token=_taken,
        ) as client:
            url, state = client.create_authorization_url(
                found["authorization_endpoint"], code_verifier="v" * 50, nonce="n7"
            )
            back = await sign_in_page_answered(served, url)
            token = dict(
                await client.fetch_token(
                    found["token_endpoint"], authorization_response=back, code_verifier="v" * 50, state=state
                )
            )
            await _verify_by_two_libraries(served, found["jwks_uri"], token["id_token"])
            api = await client.get(f"{served.issuer}/api/echo")
            assert (api.status_code, api.json()["subject"]) == (200, "grace")

            renewed = dict(await client.refresh_token(found["token_endpoint"]))
            assert renewed["refresh_token"] != token["refresh_token"]
            with pytest.raises(OAuthError, match="invalid_grant"):
                await client.refresh_token(found["token_endpoint"], refresh_token=token["refresh_token"])
            with pytest.raises(OAuthError, match="invalid_grant"):
                await client.refresh_token(found["token_endpoint"], refresh_token=renewed["refresh_token"])

            silent = await served.http.get(f"{url}&prompt=none")
            client.token = dict(
                await client.fetch_token(
                    found["token_endpoint"],
                    authorization_response=silent.headers["location"],
                    code_verifier="v" * 50,
                    state=state,
                )
            )
            revoked = await client.revoke_token(found["revocation_endpoint"], token=client.token["refresh_token"])
            assert revoked.status_code == 200
            assert (await client.get(f"{served.issuer}/api/echo")).status_code == 401

    check(work, **told)


async def _taken(token: dict[str, Any], **_: Any) -> None:
    assert token["access_token"]


async def _verify_by_two_libraries(served: Live, jwks_uri: str, id_token: str) -> None:
    keys = (await served.http.get(jwks_uri)).json()
    claims = jose_jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=["RS256"]).claims
    kid = jwt.get_unverified_header(id_token)["kid"]
    same = jwt.decode(
        id_token,
        jwt.PyJWKSet.from_dict(keys)[kid],
        algorithms=["RS256"],
        audience="session-lab",
        issuer=served.issuer,
        options={"verify_iat": False},
    )
    assert claims == same
    assert (claims["sub"], claims["nonce"]) == ("grace", "n7")


def test_the_browsers_cookie_carries_the_session() -> None:
    """Signed in once by form, the second request goes home by itself."""

    async def work(served: Live) -> None:
        url = str(httpx.URL(f"{served.issuer}/authorize", params=authorization()))
        first = dict(parse_qsl(urlsplit(await sign_in_page_answered(served, url)).query))
        second = await served.http.get(url)
        assert parse_qs(urlsplit(second.headers["location"]).query)["code"] != [first["code"]]

    check(work, wrap=mounted, path="/idp")


@pytest.mark.parametrize("told", [{}, {"wrap": mounted, "path": "/idp"}], ids=["alone", "mounted"])
def test_the_only_date_is_the_providers(told: dict[str, Any]) -> None:
    """Also under a server that adds its own."""

    async def work(served: Live) -> None:
        served.order(FaultKind.CLOCK_OFFSET, offset_s=-900)
        answer = await served.http.get(f"{served.issuer}/jwks")
        assert answer.headers.get_list("date") == ["Fri, 15 Jan 2027 07:45:00 GMT"]

    check(work, **told)


@pytest.mark.parametrize("kind", [FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER, FaultKind.REFUSE])
@pytest.mark.parametrize(
    "told", [{}, {"wrap": mounted, "path": "/idp"}, {"wrap": buffered}], ids=["alone", "mounted", "buffered"]
)
def test_a_dropped_connection_is_dropped_on_the_wire(
    kind: FaultKind, told: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets an error of the connection; where the provider can reach it, nothing is logged either."""

    async def work(served: Live) -> None:
        served.order(kind, times=2)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)) as raised:
            await served.http.get(f"{served.issuer}/jwks")
        assert told.get("wrap") is buffered or "body" not in str(raised.value)
        transport = HttpxTransport(served.http)
        failure = await transport.send(WireRequest(method="GET", url=f"{served.issuer}/jwks"))
        assert failure == WireFailure(kind=FailureKind.DROPPED, maybe_sent=True)
        assert (await served.http.get(f"{served.issuer}/jwks")).status_code == 200

    with caplog.at_level(logging.ERROR):
        check(work, **told)
    assert told.get("wrap") is buffered or not caplog.records


def test_a_port_nobody_listens_on_refuses() -> None:
    """A true refusal is never sent, and the seam knows."""
    listener = listen(0)
    port = listener.getsockname()[1]
    listener.close()

    async def work() -> object:
        async with httpx.AsyncClient() as http:
            return await HttpxTransport(http).send(WireRequest(method="GET", url=f"http://127.0.0.1:{port}/jwks"))

    assert asyncio.run(work()) == WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)


def test_a_hang_lasts_as_long_as_the_client_and_a_delay_as_ordered() -> None:
    """A client that gives up frees the server; one that waits gets its answer."""

    async def work(served: Live) -> None:
        served.order(FaultKind.HANG, endpoint=Endpoint.TOKEN)
        with pytest.raises(httpx.ReadTimeout):
            await served.http.post(f"{served.issuer}/token", timeout=0.05)
        served.order(FaultKind.DELAY, delay_s=0.02, times=1)
        assert (await served.http.get(f"{served.issuer}/jwks")).status_code == 200
        served.order(FaultKind.DELAY, delay_s=3600, times=1)
        with pytest.raises(httpx.ReadTimeout):
            await served.http.get(f"{served.issuer}/jwks", timeout=0.05)

    check(work)


def test_chat_and_big_bodies_stream() -> None:
    """The first words arrive before the last are sent; a client may leave in the middle."""

    async def work(served: Live) -> None:
        auth = {"authorization": f"Bearer {served.token()}"}
        url = f"{served.issuer}/api/chat"
        async with served.http.stream("POST", url, json={"message": "Hi"}, headers=auth) as response:
            words = [chunk async for chunk in response.aiter_text()]
        assert len(words) > 3
        assert "“Hi”" in "".join(words)
        url = f"{served.issuer}/api/slow"
        whole = await served.http.get(url, params={"bytes": 3_000_000}, headers=auth)
        assert len(whole.content) == 3_000_000
        slow = {"bytes": 3_000_000, "delay_ms": 1000}
        async with served.http.stream("GET", url, params=slow, headers=auth, timeout=0.05) as response:
            with pytest.raises(httpx.ReadTimeout):
                await response.aread()

    check(work)


def test_a_body_beyond_the_limit_is_refused_without_reading_it_all() -> None:
    """413, whatever the client still wants to send."""

    async def work(served: Live) -> None:
        answer = await served.http.post(f"{served.issuer}/token", content=b"x" * (BODY_BYTES_MAX + 1))
        assert answer.status_code == 413

    check(work)


def test_a_delay_holds_also_while_the_client_still_sends() -> None:
    """What comes in meanwhile is let through, not taken for leaving."""

    async def work(served: Live) -> None:
        served.order(FaultKind.DELAY, delay_s=0.02)
        body = b"x" * (2 * BODY_BYTES_MAX)
        assert (await served.http.post(f"{served.issuer}/token", content=body)).status_code == 413

    check(work)


def test_a_client_that_leaves_while_sending_is_not_answered() -> None:
    """Half a request is none."""

    async def work(served: Live) -> None:
        before = served.provider.statistics()
        parts = urlsplit(served.issuer)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert not await reader.read()
        await served.http.get(f"{served.issuer}/.well-known/openid-configuration")
        assert served.provider.statistics().requests.get("token") == before.requests.get("token")

    check(work)


def test_it_listens_on_the_loopback_address_only() -> None:
    """It is a test double; nobody else may reach it."""
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert listener.family == socket.AF_INET
