"""What thousands of live sessions in one process cost on real time: share of a CPU core, and bytes each."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from session_core import SessionConfig, SessionService, SystemClock
from session_core.events import Event, HeartbeatBeat, RefreshFailed, TokenRefreshed
from session_core.provider import AccessTokenFormat, EmbeddedProvider, ProviderConfig
from session_core.provider.memory import MemoryHttpxTransport, MemoryTransport
from session_core.token_answers import TokenGrant, read_token_answer
from session_core.wire import WireAnswer

SESSIONS = (1_000, 10_000, 30_000)
JUDGED = 10_000
CORE_SHARE_MAX = 0.05
KB_EACH_MAX = 20.0
ACCESS_TTL_S = 3600.0
# What fell due while the sessions were made is not part of what they cost.
SETTLE_S = 5.0
# Refreshes are due at exp − 300 s, up to 30 s earlier by chance.
REFRESH_AGE_S = ACCESS_TTL_S - 315.0
ISSUER = "http://127.0.0.1:8700"


class Tally:
    """Counts what happened instead of keeping it: the log's own bytes are the recorder's, not the sessions'."""

    def __init__(self) -> None:
        self.refreshed = self.failed = self.beats = 0

    def __call__(self, event: Event) -> None:
        self.refreshed += isinstance(event.fact, TokenRefreshed)
        self.failed += isinstance(event.fact, RefreshFailed)
        self.beats += isinstance(event.fact, HeartbeatBeat)


class ProviderTransport:
    """The embedded provider in memory, with the CPU it takes itself told apart."""

    def __init__(self, provider: EmbeddedProvider, clock: SystemClock) -> None:
        self._inner = MemoryTransport(provider, wall=clock.wall)
        self.cpu_s = 0.0

    async def send(self, request: Any) -> Any:
        began = time.thread_time()
        sending = self._inner.send(request)
        answer = await sending
        self.cpu_s += time.thread_time() - began
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


def rss_bytes() -> int:
    """Resident memory of this process, from /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def grant_of_age(provider: EmbeddedProvider, clock: SystemClock, age_s: float, username: str) -> TokenGrant:
    """A real token answer, `age_s` after it was given."""
    body = provider.tokens_for(username, now=clock.wall() - age_s)
    answer = WireAnswer(status=200, headers={"content-type": "application/json"}, body=body)
    grant = read_token_answer(answer, wall_received=clock.wall() - age_s)
    assert isinstance(grant, TokenGrant), "the embedded provider gives tokens"
    return msgspec.structs.replace(grant, id_token=None)


async def live(sessions: int, window_s: float) -> dict[str, float]:
    """One service with that many sessions, their tokens at random ages, watched for a while."""
    clock, rng, tally = SystemClock(), random.Random(sessions), Tally()
    provider = EmbeddedProvider(
        ProviderConfig(issuer=ISSUER, access_ttl_s=ACCESS_TTL_S, access_token_format=AccessTokenFormat.OPAQUE),
        entropy=secrets.token_bytes,
    )
    transport = ProviderTransport(provider, clock)
    config = SessionConfig(
        issuer=ISSUER,
        client_id="session-lab",
        redirect_uri="http://127.0.0.1:8501/auth/callback",
        scope="openid api",
        api_url=f"{ISSUER}/api/",
    )
    pool = MemoryHttpxTransport(provider, wall=clock.wall)
    async with SessionService(config, emit=tally, clock=clock, transport=transport, pool=pool) as service:
        await service.oauth.metadata()
        ages = [rng.uniform(0.0, REFRESH_AGE_S) for _ in range(sessions)]
        grants = [grant_of_age(provider, clock, age_s, "ada") for age_s in ages]
        gc.collect()
        before = rss_bytes()
        for grant, age_s in zip(grants, ages, strict=True):
            await service.adopt(grant, sent_at=clock.boot() - age_s)
        gc.collect()
        each = (rss_bytes() - before) / sessions
        grants.clear()
        await asyncio.sleep(SETTLE_S)
        tally.refreshed = tally.failed = tally.beats = 0
        transport.cpu_s = 0.0
        began, began_cpu = clock.boot(), time.process_time()
        await asyncio.sleep(window_s)
        watched_s, cpu_s = clock.boot() - began, time.process_time() - began_cpu
        crashes = service.statistics().worker.crashes
        for session in service.sessions():
            (await session.client.get("echo")).raise_for_status()
        gc.collect()
        after_a_call = (rss_bytes() - before) / sessions
        return {
            "sessions": sessions,
            "core_share": round((cpu_s - transport.cpu_s) / watched_s, 4),
            "core_share_with_provider": round(cpu_s / watched_s, 4),
            "kb_each": round(each / 1024, 1),
            "kb_each_after_a_call": round(after_a_call / 1024, 1),
            "refreshes": tally.refreshed,
            "refreshes_expected": round(sessions * watched_s / REFRESH_AGE_S),
            "refresh_failures": tally.failed,
            "heartbeats": tally.beats,
            "heartbeats_expected": round(sessions * watched_s / config.policy.heartbeat_s),
            "crashes": crashes,
        }


def live_alone(sessions: int, window_s: float) -> dict[str, float]:
    """The same in a fresh process, so that the memory of one count does not hide in another's."""
    command = [sys.executable, "-m", "bench", "live_sessions", "--sessions", str(sessions), "--window", str(window_s)]
    done = subprocess.run([*command, "--alone"], check=False, capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit(done.stderr)
    figures: dict[str, float] = msgspec.json.decode(done.stdout.splitlines()[-1])["figures"]
    print(f"{sessions:>7,} sessions: {figures}", flush=True)
    return figures


def good(figures: dict[str, float]) -> bool:
    return (
        figures["core_share"] < CORE_SHARE_MAX
        and figures["kb_each"] < KB_EACH_MAX
        and figures["refresh_failures"] == figures["crashes"] == 0
    )


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench live_sessions", description=__doc__)
    parser.add_argument("--window", type=float, default=60.0, help="seconds to watch each count of sessions")
    parser.add_argument("--sessions", type=int, nargs="+", default=SESSIONS, help="how many sessions")
    parser.add_argument("--alone", action="store_true", help="one count, in this process")
    options = parser.parse_args(arguments)
    if options.alone:
        figures = asyncio.run(live(options.sessions[0], options.window))
        return {"name": "live_sessions", "figures": figures, "ok": good(figures)}
    counts = {sessions: live_alone(sessions, options.window) for sessions in options.sessions}
    judged = counts.get(JUDGED) or next(iter(counts.values()))
    return {
        "name": "live_sessions",
        "value": judged["core_share"],
        "unit": f"share of a core for {judged['sessions']:,} sessions",
        "peers": {f"{sessions:,} sessions": figures for sessions, figures in counts.items()},
        "ratio": round(judged["core_share"] / CORE_SHARE_MAX, 3),
        "kb_each": judged["kb_each"],
        "bar": {"core_share": CORE_SHARE_MAX, "kb_each": KB_EACH_MAX},
        "ok": good(judged),
    }
