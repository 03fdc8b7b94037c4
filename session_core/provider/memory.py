"""The in-memory faces: the provider behind the wire seam, and behind a whole httpx client. No sockets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable

import httpx

from session_core.provider.answers import Fate, ProviderAnswer
from session_core.provider.core import EmbeddedProvider
from session_core.wire import ANSWER_BYTES_MAX, FailureKind, WireAnswer, WireFailure, WireRequest

_TIMED_OUT = WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)


class MemoryTransport:
    """A `wire.Transport` that waits on the running loop only, so it works on a virtual one.

    `wall` is the provider's clock, `latency_s` the way there and back together. The provider acts when the request
    arrives, also when its client no longer waits for the answer.
    """

    def __init__(self, provider: EmbeddedProvider, *, wall: Callable[[], float], latency_s: float = 0.0) -> None:
        self._provider = provider
        self._wall = wall
        self._leg_s = latency_s / 2

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        left_s = request.timeout_s - self._leg_s
        if left_s <= 0:
            await asyncio.sleep(request.timeout_s)
            return _TIMED_OUT
        await asyncio.sleep(self._leg_s)
        answer = self._provider.handle(request, now=self._wall())
        if answer.fate == Fate.REFUSED:
            return WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)
        body, wait_s = _gathered(answer)
        wait_s += self._leg_s
        if wait_s >= left_s:
            await asyncio.sleep(left_s)
            return _TIMED_OUT
        if wait_s:
            await asyncio.sleep(wait_s)
        if answer.fate == Fate.DROPPED:
            return WireFailure(kind=FailureKind.DROPPED, maybe_sent=True)
        return WireAnswer(status=answer.status, headers=answer.headers, body=body)

    async def aclose(self) -> None:
        """Nothing is held."""


class MemoryHttpxTransport(httpx.AsyncBaseTransport):
    """The provider behind an `httpx.AsyncClient`, with streaming; timeouts are the client's own."""

    def __init__(self, provider: EmbeddedProvider, *, wall: Callable[[], float], latency_s: float = 0.0) -> None:
        self._provider = provider
        self._wall = wall
        self._leg_s = latency_s / 2

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        await asyncio.sleep(self._leg_s)
        answer = self._provider.handle(
            WireRequest(
                method=request.method, url=str(request.url), headers=tuple(request.headers.multi_items()), body=body
            ),
            now=self._wall(),
        )
        if answer.fate == Fate.REFUSED:
            raise httpx.ConnectError("The connection was refused.", request=request)
        await _wait_for_answer(request, math.inf if answer.fate == Fate.HUNG else answer.delay_s + self._leg_s)
        if answer.fate == Fate.DROPPED:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))


class _Body(httpx.AsyncByteStream):
    """The body as it arrives, chunk by chunk; closing it stops the stream."""

    def __init__(self, answer: ProviderAnswer) -> None:
        self._answer = answer
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._answer.chunks:
            await asyncio.sleep(self._answer.chunk_delay_s)
            if self._closed:
                return
            yield chunk
        if self._answer.body:
            yield self._answer.body

    async def aclose(self) -> None:
        self._closed = True


async def _wait_for_answer(request: httpx.Request, wait_s: float) -> None:
    read_s = request.extensions.get("timeout", {}).get("read")
    if read_s is not None and wait_s >= read_s:
        await asyncio.sleep(read_s)
        raise httpx.ReadTimeout("The read operation timed out.", request=request)
    if wait_s == math.inf:
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(wait_s)


def _gathered(answer: ProviderAnswer) -> tuple[bytes, float]:
    """The whole body, as far as the seam takes it, and how long it takes to come."""
    wait_s = math.inf if answer.fate == Fate.HUNG else answer.delay_s
    body = bytearray()
    for chunk in answer.chunks:
        if len(body) >= ANSWER_BYTES_MAX:
            break
        body += chunk
        wait_s += answer.chunk_delay_s
    return bytes(body + answer.body)[:ANSWER_BYTES_MAX], wait_s
