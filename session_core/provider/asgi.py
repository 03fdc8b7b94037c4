"""The live face: the provider as an ASGI application, mounted in an app or on its own port."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from session_core.clock import Clock
from session_core.provider.answers import Fate, ProviderAnswer
from session_core.provider.core import EmbeddedProvider
from session_core.provider.courier import Courier
from session_core.provider.inbound import BODY_BYTES_MAX
from session_core.provider.keeping import GrantKeeper
from session_core.wire import WireRequest


def provider_app(provider: EmbeddedProvider, *, clock: Clock) -> Starlette:
    """Mount it at the path of the issuer, or serve it on its own where the issuer has none."""
    return Starlette(routes=[Mount("/", app=ProviderFace(provider, clock=clock))])


class ProviderFace:
    """Does what an answer says: waits, streams, hangs up.

    A connection that was accepted can no longer be refused, so a fault of kind `refuse` is served as a drop here;
    for a refused connection use a port nobody listens on.
    """

    def __init__(self, provider: EmbeddedProvider, *, clock: Clock, keeper: GrantKeeper | None = None) -> None:
        self._provider = provider
        self._keeper = keeper
        self._clock = clock
        self._courier = Courier(lambda what, notice: provider.note_notice(what, notice, now=clock.wall()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            return
        request = WireRequest(method=scope["method"], url=_url(scope), headers=_headers(scope), body=body)
        answer = self._provider.handle(request, now=self._clock.wall())
        if self._keeper is not None:
            await self._keeper.settle()
        self.tell()
        if answer.delay_s and await _wait_gone(receive, answer.delay_s):
            return
        match answer.fate:
            case Fate.ANSWERED:
                await _answer(answer, receive, send)
            case Fate.HUNG:
                await _wait_gone(receive, None)
            case Fate.DROPPED | Fate.REFUSED:
                await _hang_up(receive, send)

    def tell(self) -> None:
        """Bring to clients what they are to know; after what was done without a request, somebody has to say so."""
        self._courier.send(self._provider.take_notices())


async def _answer(answer: ProviderAnswer, receive: Receive, send: Send) -> None:
    _leave_date_to_the_provider()
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    if not answer.chunks and "content-length" not in answer.headers:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    for chunk in answer.chunks:
        if answer.chunk_delay_s and await _wait_gone(receive, answer.chunk_delay_s):
            return
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": answer.body})


async def _hang_up(receive: Receive, send: Send) -> None:
    """ASGI has no word for it: under uvicorn the connection is aborted, elsewhere the answer stops in its head."""
    served = _uvicorn_cycle()
    if served is not None:
        served.transport.abort()
        await _wait_gone(receive, None)
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})


def _leave_date_to_the_provider() -> None:
    """Uvicorn puts its own Date before ours, and two dates are none; the provider's clock is the one to be seen."""
    served = _uvicorn_cycle()
    if served is not None:
        served.default_headers = [pair for pair in served.default_headers if pair[0] != b"date"]


def _uvicorn_cycle() -> Any | None:
    """Uvicorn's object for the request in hand: it runs the application in a task of its own, as `cycle.run_asgi`."""
    task = asyncio.current_task()
    frame = getattr(task.get_coro(), "cr_frame", None) if task else None
    cycle = frame.f_locals.get("self") if frame else None
    return cycle if hasattr(cycle, "transport") and hasattr(cycle, "default_headers") else None


async def _wait_gone(receive: Receive, seconds: float | None) -> bool:
    """Wait, but no longer than the client does; whether it left."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                continue
            return True
    return False


async def _read_body(receive: Receive) -> bytes | None:
    """The body, or a little more than the provider accepts, or None when the client left."""
    body = bytearray()
    while len(body) <= BODY_BYTES_MAX:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


def _url(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{scope['path']}?{query}" if query else str(scope["path"])


def _headers(scope: Scope) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
