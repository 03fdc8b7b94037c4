"""The wire seam: the lifecycle sends small frozen requests and never knows an HTTP library."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from enum import StrEnum
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol

import msgspec

from session_core.secrecy import Discreet

ANSWER_BYTES_MAX = 1 << 20


class WireRequest(Discreet, frozen=True, kw_only=True, gc=False):
    """One request to the provider. `headers` and `body` can carry secrets, so they stay out of the repr."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    timeout_s: float = 10.0

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("url", self.url.partition("?")[0])]


class WireAnswer(Discreet, frozen=True, kw_only=True, gc=False):
    """One HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("status", self.status), ("bytes", len(self.body))]


class FailureKind(StrEnum):
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    DROPPED = "dropped"
    BUSY = "busy"


class WireFailure(msgspec.Struct, frozen=True, kw_only=True):
    """No answer came. `maybe_sent` is the fact on which every retry decision hangs."""

    kind: FailureKind
    maybe_sent: bool


class Transport(Protocol):
    """The one door to the provider."""

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure: ...

    async def aclose(self) -> None: ...


class HttpxTransport:
    """The live door, over a client of httpx or of httpx2, its continuation with the same API.

    Hand in a client that keeps no idle connections: a request on a pooled connection that the server has closed
    cannot be told from one the server acted on. It is made to keep no cookies: many users share this door.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
        # Everything but the method resolution order's tail (BaseClient, object) may be a subclass of the caller's.
        self._library: Any = sys.modules[type(client).__mro__[-3].__module__.partition(".")[0]]

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        library = self._library
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._exchange(request)
        except (library.ConnectError, library.ConnectTimeout, library.UnsupportedProtocol, library.ProxyError):
            return WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)
        except library.PoolTimeout:
            return WireFailure(kind=FailureKind.BUSY, maybe_sent=False)
        except (library.TimeoutException, TimeoutError):
            return WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)
        except (library.TransportError, library.DecodingError):
            return WireFailure(kind=FailureKind.DROPPED, maybe_sent=True)

    async def _exchange(self, request: WireRequest) -> WireAnswer:
        # Waiting for a free connection, for TCP and for TLS together end before the whole does: nothing has been sent
        # then, and a failure must say so.
        timeout = self._library.Timeout(request.timeout_s, pool=request.timeout_s / 4, connect=request.timeout_s / 3)
        async with self._client.stream(
            request.method,
            request.url,
            headers=request.headers,
            content=request.body or None,
            timeout=timeout,
            follow_redirects=False,
            auth=None,
        ) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    break
            return WireAnswer(
                status=response.status_code, headers=dict(response.headers), body=bytes(body[:ANSWER_BYTES_MAX])
            )

    async def aclose(self) -> None:
        await self._client.aclose()
