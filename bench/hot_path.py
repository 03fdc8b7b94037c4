"""CPU of one `session.client.get` over a bare httpx get, events recorded, beside Authlib and httpx-auth."""

from __future__ import annotations

import argparse
import asyncio
import gc
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import httpx
import httpx2
import httpx_auth
from authlib.integrations.httpx_client import AsyncOAuth2Client

from session_core import SessionConfig, SessionService, SystemClock
from session_core.provider import AccessTokenFormat, EmbeddedProvider, ProviderConfig
from session_core.provider.memory import MemoryTransport
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.store import EventStore, Recorder

BAR = 1.10
BOUND = "ours, bound to a key"
API = "https://api.example"
REDIRECT = "http://127.0.0.1:8501/auth/callback"
BODY = b'{"greeting": "hello"}'

Get = Callable[[], Awaitable[Any]]
# One client's call, and what must be over before its CPU time is read.
Contender = tuple[Get, Callable[[], object]]


class Spent(NamedTuple):
    """`whole` is the process with the recorder's thread, `loop` the thread that makes the call."""

    whole: float
    loop: float


class Instant(httpx.AsyncBaseTransport):
    """An API that answers at once."""

    async def handle_async_request(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/json"}, content=BODY)


class Instant2(httpx2.AsyncBaseTransport):
    """The same for httpx2."""

    async def handle_async_request(self, _request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=BODY)


def nothing() -> None:
    """Nothing is left to do after the call."""


@asynccontextmanager
async def bare() -> AsyncIterator[Contender]:
    async with httpx.AsyncClient(transport=Instant(), base_url=API, trust_env=False) as client:
        yield lambda: client.get("/greeting"), nothing


@asynccontextmanager
async def bare2() -> AsyncIterator[Contender]:
    async with httpx2.AsyncClient(transport=Instant2(), base_url=API, trust_env=False) as client:
        yield lambda: client.get("/greeting"), nothing


def settle(recorder: Recorder, store: EventStore) -> None:
    """Everything is written, and what that leaves to be counted is counted."""
    recorder.flush()
    while store.maintain(idle=False):
        pass


@asynccontextmanager
async def ours(folder: Path, *, dpop: Literal["off", "required"] = "off") -> AsyncIterator[Contender]:
    """A session signed in to the embedded provider, its events written to DuckDB by the real recorder."""
    clock = SystemClock()
    issuer = "http://127.0.0.1:8700"
    provider = EmbeddedProvider(
        ProviderConfig(issuer=issuer, access_token_format=AccessTokenFormat.JWT), entropy=secrets.token_bytes
    )
    transport = MemoryTransport(provider, wall=clock.wall)
    store = EventStore(folder / f"dpop-{dpop}.duckdb")
    recorder = Recorder(store, clock=clock)
    recorder.start()
    config = SessionConfig(
        issuer=issuer, client_id="session-lab", redirect_uri=REDIRECT, scope="openid api", api_url=API, dpop=dpop
    )
    async with SessionService(config, emit=recorder.emit, clock=clock, transport=transport, pool=Instant()) as service:
        login = await service.login()
        callback = await HeadlessUserAgent(transport).sign_in(login, "ada", "demo")
        session = await service.finish_login(callback, login)
        yield lambda: session.client.get("/greeting"), lambda: settle(recorder, store)
    recorder.stop()
    written = recorder.statistics()
    store.close()
    if written.lost or not written.acknowledged:
        raise SystemExit(f"The events were not recorded: {written}")


@asynccontextmanager
async def authlib() -> AsyncIterator[Contender]:
    token = {"access_token": secrets.token_urlsafe(300), "token_type": "Bearer", "expires_at": time.time() + 3600}
    async with AsyncOAuth2Client(token=token, transport=Instant2(), base_url=API, trust_env=False) as client:
        yield lambda: client.get("/greeting"), nothing


@asynccontextmanager
async def httpx_auth_client() -> AsyncIterator[Contender]:
    answer = {"access_token": secrets.token_urlsafe(300), "token_type": "Bearer", "expires_in": 3600}
    token_endpoint = httpx.Client(transport=httpx.MockTransport(lambda _request: httpx.Response(200, json=answer)))
    auth = httpx_auth.OAuth2ClientCredentials(f"{API}/token", "client", "secret", client=token_endpoint)
    async with httpx.AsyncClient(transport=Instant(), base_url=API, auth=auth, trust_env=False) as client:
        yield lambda: client.get("/greeting"), nothing


async def cpu_us(contender: Contender, calls: int) -> Spent:
    """CPU microseconds of one call, with the garbage collector held back."""
    get, settle = contender
    gc.collect()
    gc.disable()
    began, began_here = time.process_time(), time.thread_time()
    for _ in range(calls):
        await get()
    here = time.thread_time() - began_here
    settle()
    spent = time.process_time() - began
    gc.enable()
    return Spent(spent / calls * 1e6, here / calls * 1e6)


async def run(calls: int, rounds: int) -> dict[str, list[Spent]]:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            contenders = {
                "bare": await stack.enter_async_context(bare()),
                "ours": await stack.enter_async_context(ours(Path(folder))),
                BOUND: await stack.enter_async_context(ours(Path(folder), dpop="required")),
                "httpx-auth": await stack.enter_async_context(httpx_auth_client()),
                "bare httpx2": await stack.enter_async_context(bare2()),
                "Authlib": await stack.enter_async_context(authlib()),
                "bare again": await stack.enter_async_context(bare()),
            }
            for contender in contenders.values():
                await cpu_us(contender, calls)
            spent: dict[str, list[Spent]] = {name: [] for name in contenders}
            for _ in range(rounds):
                for name, contender in contenders.items():
                    spent[name].append(await cpu_us(contender, calls))
            return spent


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench hot_path", description=__doc__)
    parser.add_argument("--calls", type=int, default=400, help="calls in a row by one client")
    parser.add_argument("--rounds", type=int, default=25, help="turns that every client gets")
    options = parser.parse_args(arguments)
    spent = asyncio.run(run(options.calls, options.rounds))

    def over(name: str, base: str, part: str = "loop") -> float:
        pairs = zip(spent[name], spent[base], strict=True)
        return round(median(getattr(mine, part) / getattr(its, part) for mine, its in pairs), 3)

    def us(name: str, part: str = "loop") -> float:
        return round(median(getattr(turn, part) for turn in spent[name]), 1)

    ratio = over("ours", "bare")
    return {
        "name": "hot_path",
        "value": us("ours"),
        "unit": "µs of CPU per get, on the thread that makes the call",
        "peers": {name: us(name) for name in spent if name not in {"ours", BOUND}},
        "ratio": ratio,
        "peer_ratios": {
            "httpx-auth over bare": over("httpx-auth", "bare"),
            "Authlib over bare httpx2": over("Authlib", "bare httpx2"),
            "bare over itself": over("bare again", "bare"),
        },
        "with_a_proof_of_possession": {"value": us(BOUND), "a_proof": round(us(BOUND) - us("ours"), 1)},
        "with_the_recorders_thread": {"value": us("ours", "whole"), "ratio": over("ours", "bare", "whole")},
        "bar": BAR,
        "ok": ratio <= BAR,
    }
