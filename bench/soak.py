"""One session over real HTTP with short access tokens and a call a second: does any call fail, is any refresh late?"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from session_core import SessionConfig, SessionCoreError, SessionService, SystemClock
from session_core.events import Event, RefreshFailed, TokenRefreshed
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.store import EventStore, Recorder
from session_core.wire import HttpxTransport, WireAnswer, WireFailure, WireRequest

REDIRECT = "http://127.0.0.1:8501/auth/callback"


class CountingTransport:
    """Real HTTP, with the POSTs to the token endpoint counted by grant."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._inner = HttpxTransport(client)
        self.posts: Counter[str] = Counter()

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        if request.url.endswith("/token"):
            self.posts["refresh" if b"grant_type=refresh_token" in request.body else "other"] += 1
        return await self._inner.send(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@contextmanager
def provider_process(access_ttl_s: float) -> Iterator[str]:
    """The embedded provider as a command of its own; its issuer."""
    command = [sys.executable, "-m", "session_core", "idp", "--port", "0", "--access-ttl", str(access_ttl_s), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "asked for"
        try:
            yield json.loads(process.stdout.readline())["issuer"]
        finally:
            process.terminate()


async def soak(issuer: str, seconds: float, calls_per_s: float, database: Path) -> dict[str, Any]:
    store = EventStore(database)
    clock = SystemClock()
    recorder = Recorder(store, clock=clock)
    recorder.start()
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        recorder.emit(event)

    config = SessionConfig(
        issuer=issuer, client_id="session-lab", redirect_uri=REDIRECT, scope="openid api", api_url=f"{issuer}/api/"
    )
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        transport = CountingTransport(client)
        async with SessionService(config, emit=emit, clock=clock, transport=transport) as service:
            login = await service.login()
            callback = await HeadlessUserAgent(transport).sign_in(login, "ada", "demo")
            session = await service.finish_login(callback, login)
            answers: Counter[str] = Counter()
            began, began_cpu = time.monotonic(), time.process_time()
            calls = int(seconds * calls_per_s)
            for number in range(1, calls + 1):
                try:
                    response = await session.client.get("echo")
                    answers[str(response.status_code)] += 1
                except (httpx.HTTPError, SessionCoreError) as error:
                    answers[type(error).__name__] += 1
                await asyncio.sleep(max(0.0, began + number / calls_per_s - time.monotonic()))
            watched_s, cpu_s = time.monotonic() - began, time.process_time() - began_cpu
            health = session.get_session_health().score
            posts = transport.posts["refresh"]
    recorder.stop()
    lost = recorder.statistics().lost
    kinds = store.read("SELECT kind, count(*) AS rows FROM events GROUP BY kind ORDER BY kind").to_pydict()
    store.close()
    refreshes = [event.fact for event in events if isinstance(event.fact, TokenRefreshed)]
    return {
        "seconds": round(watched_s, 1),
        "calls": calls,
        "answers": dict(answers),
        "failed_calls": calls - answers["200"],
        "refreshes": len(refreshes),
        "refresh_posts": posts,
        "refresh_failures": sum(isinstance(event.fact, RefreshFailed) for event in events),
        "left_s_min": round(min((fact.left_s for fact in refreshes), default=0.0), 2),
        "refresh_ms_max": round(max((fact.duration_ms for fact in refreshes), default=0.0), 1),
        "health": health,
        "cpu_share": round(cpu_s / watched_s, 4),
        "events": len(events),
        "events_lost": lost,
        "rows": dict(zip(kinds["kind"], kinds["rows"], strict=True)),
    }


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="how long")
    parser.add_argument("--access-ttl", type=float, default=10.0, help="seconds an access token lives")
    parser.add_argument("--calls-per-s", type=float, default=1.0, help="calls a second")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, provider_process(options.access_ttl) as issuer:
        figures = asyncio.run(soak(issuer, options.seconds, options.calls_per_s, Path(folder) / "events.duckdb"))
    print(json.dumps(figures, indent=2))
    # A token is renewed after 80 % of its life at the latest; one life may still be under way.
    refreshes_min = int(options.seconds / options.access_ttl) - 1
    claims = {
        "no call failed": figures["failed_calls"] == 0,
        "every refresh came ahead of expiry": figures["refreshes"] >= refreshes_min and figures["left_s_min"] > 0,
        "one POST per refresh": figures["refresh_posts"] == figures["refreshes"],
        "every event is a row": sum(figures["rows"].values()) == figures["events"] and not figures["events_lost"],
    }
    return {
        "name": "soak",
        "value": figures["failed_calls"],
        "unit": f"failed calls of {figures['calls']}",
        "peers": {},
        "ratio": figures["refresh_posts"] / max(1, figures["refreshes"]),
        "claims": claims,
        "bar": 0,
        "ok": all(claims.values()),
    }
