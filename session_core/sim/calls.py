"""A user's calls: through the real `session.client`, or over the wire seam with the same token, gate and log."""
# ruff: noqa: SLF001 - stands beside `session.client` and shares its session's parts, as that does.

from __future__ import annotations

from functools import lru_cache

import httpx
import msgspec

from session_core.api_client import SERVED
from session_core.errors import LoginRequest, LoginRequiredError, SessionEndedError
from session_core.events import RequestServed
from session_core.retry_manager import classify_status
from session_core.session import Session
from session_core.vocabulary import ErrorClass, Served
from session_core.wire import Transport, WireAnswer, WireRequest


class Seen(msgspec.Struct, frozen=True, gc=False):
    """An answer of the API as its user finds it; status 0 means that none came."""

    status: int
    body: bytes = b""
    served: Served = Served.NETWORK


async def ask_client(session: Session, route: str) -> Seen:
    try:
        response = await session.client.get(route)
    except httpx.TransportError:
        return Seen(0)
    return Seen(response.status_code, response.content, response.extensions.get(SERVED, Served.NETWORK))


async def ask_over_wire(session: Session, transport: Transport, url: str) -> Seen:
    """As `session.client` asks, one fresh start after a 401 included; without cache and retries of its own."""
    clock, tokens = session._around.clock, session._tokens
    session._pass_gate()
    began_at, waited_s, attempts = clock.boot(), 0.0, 1
    token = tokens.peek()
    if token is None:
        token = await tokens.get()
        waited_s = clock.boot() - began_at
    answer = await transport.send(_request(url, token))
    if isinstance(answer, WireAnswer) and answer.status == 401:
        fresh = await tokens.replace(token)
        if fresh is not None:
            attempts = 2
            answer = await transport.send(_request(url, fresh))
    if isinstance(answer, WireAnswer):
        seen, error = Seen(answer.status, answer.body), classify_status(answer.status)
    else:
        seen, error = Seen(0, served=Served.NOTHING), ErrorClass.NETWORK
    session._journal.record(
        RequestServed(
            method="GET",
            route=_route_of(url),
            status=seen.status,
            served=seen.served,
            duration_ms=(clock.boot() - began_at) * 1000,
            waited_ms=waited_s * 1000,
            attempts=attempts,
            error=error,
        )
    )
    return seen


@lru_cache(maxsize=64)
def _route_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[2]


def _request(url: str, token: str) -> WireRequest:
    return WireRequest(method="GET", url=url, headers=(("authorization", f"Bearer {token}"),))


def token_left_s(session: Session | None, now: float) -> float | None:
    """What the access token has left at boot second `now`."""
    tokens = None if session is None else session._tokens.tokens
    return None if tokens is None else tokens.expires_at - now


def refresh_token_held(session: Session) -> str | None:
    """What must never be logged, to be compared only."""
    tokens = session._tokens.tokens
    return None if tokens is None else tokens.refresh_token


def login_asked_for(session: Session) -> LoginRequest | None:
    """Where the session's end sends its user, if it has ended so."""
    try:
        session._tokens.require()
    except LoginRequiredError as error:
        return error.login
    except SessionEndedError:
        return None
    return None


async def token_of(session: Session) -> str:
    return await session._tokens.get()
