"""Brings logout tokens to clients: in the background of whoever serves the provider, with a few tries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlencode

import httpx

from session_core.provider.inbound import FORM_TYPE
from session_core.provider.parts import LogoutNotice
from session_core.wire import HttpxTransport, Transport, WireAnswer, WireRequest

PAUSES_S = (0.0, 0.5, 2.0)
POST_S_MAX = 5.0

Opening = Callable[[], AbstractAsyncContextManager[Transport]]


@asynccontextmanager
async def http() -> AsyncIterator[Transport]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield HttpxTransport(client)


class Courier:
    """`note` hears how each errand ended: told, refused or undelivered."""

    def __init__(self, note: Callable[[str, LogoutNotice], object], *, opening: Opening = http) -> None:
        self._note = note
        self._opening = opening
        self._errands: set[asyncio.Task[None]] = set()

    def send(self, notices: Iterable[LogoutNotice]) -> None:
        """Each on an errand of its own, so that a client that hangs keeps no other waiting."""
        for notice in notices:
            errand = asyncio.get_running_loop().create_task(self._deliver(notice), name="logout token")
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)

    async def _deliver(self, notice: LogoutNotice) -> None:
        async with self._opening() as transport:
            for pause_s in PAUSES_S:
                await asyncio.sleep(pause_s)
                answer = await transport.send(_request(notice))
                if isinstance(answer, WireAnswer) and answer.status < 500:
                    self._note("logout_told" if answer.status < 300 else "logout_refused", notice)
                    return
        self._note("logout_undelivered", notice)


def _request(notice: LogoutNotice) -> WireRequest:
    return WireRequest(
        method="POST",
        url=notice.uri,
        headers=(("content-type", FORM_TYPE),),
        body=urlencode({"logout_token": notice.token}).encode(),
        timeout_s=POST_S_MAX,
    )
