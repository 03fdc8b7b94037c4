"""A lab served on a free port by a thread of its own, and events to fill its store with."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from streamlit.components.v2 import manifest_scanner

from session_core.clock import SystemClock
from session_core.dashboard import loaders
from session_core.events import (
    AnyFact,
    Event,
    FallbackTried,
    HeartbeatBeat,
    Origin,
    RefreshFailed,
    RequestServed,
    RetryScheduled,
    SessionStarted,
    StateChanged,
    TokenRefreshed,
)
from session_core.session_health import band
from session_core.store import EventStore
from session_core.vocabulary import (
    ErrorClass,
    FallbackStep,
    Outcome,
    RefreshReason,
    Served,
    Signal,
    State,
    StepOutcome,
)
from session_core.web.headers import forbidding
from session_core.web.routes import lab_routes
from session_core.web.running import Lab, run_lab
from session_core.web.settings import read_settings

# Each AppTest looks for components through everything that is installed, which stays as it is while tests run.
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)
# Reading the certificates of the world takes longer than most requests, and nothing here is served by TLS.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class ServedLab:
    """`lab` belongs to `loop`, which runs in another thread."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lab: Lab
        self.loop: asyncio.AbstractEventLoop

    def browser(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, follow_redirects=True, trust_env=False, timeout=20, verify=NO_CERTIFICATES
        )

    def sign_in(self, browser: httpx.Client, return_to: str = "/") -> httpx.Response:
        """Through the provider's page, like a person; the answer is that of the last redirect, which nobody serves."""
        page = browser.get("/auth/sign-in", params={"return_to": return_to})
        return browser.post(page.url, data={"username": "ada", "password": "demo"})


@contextmanager
def served_lab(
    db_path: Path, environment: Mapping[str, str] | None = None, *, address: str | None = "127.0.0.1", port: int = 0
) -> Iterator[ServedLab]:
    listener = socket.create_server(("127.0.0.1", port))
    port = listener.getsockname()[1]
    served = ServedLab(f"http://127.0.0.1:{port}")
    settings = read_settings({"SESSION_LAB_DB": str(db_path), **(environment or {})})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with run_lab(settings, environment or {}, port=port, address=address) as lab:
            served.lab, served.loop = lab, asyncio.get_running_loop()
            loaders.attach(lab.store)
            up.set()
            yield
            loaders.detach()

    up = threading.Event()
    app = Starlette(routes=lab_routes(), middleware=forbidding(served.url, address=address), lifespan=lifespan)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    assert up.wait(20), "the lab came up"
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def fill(path: Path, *, sessions: int, minutes: int) -> None:
    """`sessions` that begin within the last `minutes` and live on; some have trouble now and then."""
    store = EventStore(path)
    store.append([event for number in range(sessions) for event in _story(number, minutes)])
    store.close()


def _story(number: int, minutes: int) -> Iterator[Event]:
    chance = random.Random(number)
    now = SystemClock().wall()
    starts_at = now - 60.0 * minutes * chance.uniform(0.5, 1)
    origin = Origin(stream_id=f"stream-{number}", session_id=f"session-{number}", user_id=f"user-{number}")
    facts: list[AnyFact] = [
        SessionStarted(resumed=False, life_s=3600, idle_limit_s=None, absolute_limit_s=None),
        StateChanged(state_from=State.SIGNED_OUT, state_to=State.ACTIVE, signal=Signal.SIGNED_IN),
    ]
    health = chance.choice([97.0, 95.0, 84.0, 68.0, 52.0])
    for _ in range(max(1, minutes // 5)):
        facts += [_refreshed(), _served(None), _beat(health)]
        if chance.random() < 0.3:
            facts += _TROUBLE
    moments = sorted(chance.uniform(starts_at, now) for _ in facts)
    for place, (at, fact) in enumerate(zip(moments, facts, strict=True)):
        yield Event(place + 1, at, at, at, origin, fact)


def _refreshed() -> TokenRefreshed:
    return TokenRefreshed(
        reason=RefreshReason.DUE,
        attempt=1,
        duration_ms=12,
        waited_s=0,
        left_s=300,
        life_s=3600,
        rotated=True,
        moved=True,
    )


def _served(error: ErrorClass | None) -> RequestServed:
    return RequestServed(
        method="GET",
        route="/api/echo",
        status=200 if error is None else 503,
        served=Served.NETWORK,
        duration_ms=20,
        waited_ms=0,
        attempts=1,
        error=error,
    )


def _beat(health: float) -> HeartbeatBeat:
    return HeartbeatBeat(state=State.ACTIVE, health=health, band=band(health), lowest="token_age", left_s=900.0)


_TROUBLE: list[AnyFact] = [
    RefreshFailed(
        reason=RefreshReason.DUE,
        attempt=1,
        outcome=Outcome.TRANSIENT,
        status=503,
        error="temporarily_unavailable",
        duration_ms=9,
        left_s=200,
    ),
    RetryScheduled(call="token", attempt=1, delay_s=2, cause="transient", told_by_server=False),
    FallbackTried(step=FallbackStep.REFRESH_TOKEN, outcome=StepOutcome.FAILED, detail="", duration_ms=3),
    StateChanged(state_from=State.ACTIVE, state_to=State.DEGRADED, signal=Signal.REFRESH_FAILED),
    _served(ErrorClass.SERVER),
    StateChanged(state_from=State.DEGRADED, state_to=State.ACTIVE, signal=Signal.REFRESH_SUCCEEDED),
]
