"""Transports to the provider that watch, break and hang, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from session_core.wire import Transport, WireAnswer, WireFailure, WireRequest


class WatchedTransport:
    """Remembers every exchange. `before` may raise, wait or answer in the provider's place."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.exchanges: list[tuple[WireRequest, WireAnswer | WireFailure]] = []
        self.begun: list[WireRequest] = []
        self.before: Callable[[WireRequest], object] = lambda _request: None

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        self.begun.append(request)
        outcome = self.before(request)
        if asyncio.iscoroutine(outcome):
            outcome = await outcome
        answer = outcome if isinstance(outcome, WireAnswer | WireFailure) else await self._inner.send(request)
        self.exchanges.append((request, answer))
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()

    def refresh_tokens(self) -> list[str]:
        """Every refresh token that came over the wire."""
        answers = [answer for _, answer in self.exchanges if isinstance(answer, WireAnswer)]
        said = [msgspec.json.decode(a.body) for a in answers if a.body.startswith(b"{") and a.status == 200]
        return [answer["refresh_token"] for answer in said if "refresh_token" in answer]


class Watch:
    """Hand `watch.wrap` to a world; `watch.transport` is then the door that was put in."""

    def __init__(self) -> None:
        self.transport: WatchedTransport

    def wrap(self, inner: Transport) -> Transport:
        self.transport = WatchedTransport(inner)
        return self.transport


def is_token_post(request: WireRequest) -> bool:
    return request.url.endswith("/token")


def is_refresh(request: WireRequest) -> bool:
    return is_token_post(request) and b"grant_type=refresh_token" in request.body
