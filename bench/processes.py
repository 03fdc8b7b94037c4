"""Four processes on one SQLite store, and kills at the worst moments: is anybody signed out, does any token go twice?"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench._process_worker import REDIRECT, Job, Line, Moment, Order
from session_core import SessionConfig, SessionPolicy, SessionService, SystemClock
from session_core.provider import AccessTokenFormat, EmbeddedProvider, ProviderConfig
from session_core.provider.config import SigningAlg
from session_core.provider.running import running_provider
from session_core.refresh_plan import ProviderProfile
from session_core.sqlite_session_store import SqliteSessionStore
from session_core.token_answers import TokenGrant, read_token_answer
from session_core.wire import WireAnswer

PROCESSES = 4
SESSIONS = 200
GRACE_S = 30.0
GO_ON_S_MAX = 10.0
STORE_MS_MAX = 3.0
USERS = ("ada", "grace", "alan")
STOPPING_S = 30.0


class Worker:
    """A process that waits for its order."""

    def __init__(self, job: Job) -> None:
        command = [sys.executable, "-m", "bench._process_worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._tell(job)

    def wait_ready(self) -> None:
        assert self._process.stdout is not None, "asked for"
        if self._process.stdout.readline() != b"ready\n":
            raise SystemExit("A worker could not start; what it said stands above.")

    def go(self, order: Order) -> None:
        self._tell(order)

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        self._process.kill()
        with self._process:
            pass

    def join(self, timeout_s: float) -> None:
        self._process.wait(timeout_s)

    def _tell(self, what: msgspec.Struct) -> None:
        assert self._process.stdin is not None, "asked for"
        self._process.stdin.write(msgspec.json.encode(what) + b"\n")
        self._process.stdin.flush()


class BareCommits:
    """What a commit of a record's size costs in SQLite itself, on the same disk at the same time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE records (name INTEGER PRIMARY KEY, content BLOB)")
        self.ms: list[float] = []

    def close(self) -> None:
        self._db.close()

    def make(self) -> None:
        content = os.urandom(1_000)
        began = time.perf_counter()
        self._db.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (len(self.ms) % SESSIONS, content))
        self.ms.append((time.perf_counter() - began) * 1000)


async def sign_in(provider: EmbeddedProvider, job: Job, sessions: int, ages: float) -> list[str]:
    """Sessions in the store, their tokens at random ages."""
    clock, rng = SystemClock(), random.Random(sessions)
    config = SessionConfig(
        issuer=job.issuer,
        client_id="session-lab",
        redirect_uri=REDIRECT,
        profile=ProviderProfile(grace_s=GRACE_S),
        policy=SessionPolicy(background=False),
    )
    with SqliteSessionStore(Path(job.store), clock=clock) as store:
        async with SessionService(config, clock=clock, store=store) as service:
            names = []
            for number in range(sessions):
                age_s = rng.uniform(0, ages)
                body = provider.tokens_for(USERS[number % len(USERS)], now=clock.wall() - age_s)
                answer = WireAnswer(status=200, headers={"content-type": "application/json"}, body=body)
                grant = read_token_answer(answer, wall_received=clock.wall() - age_s)
                assert isinstance(grant, TokenGrant), "the embedded provider gives tokens"
                names.append((await service.adopt(grant, sent_at=clock.boot() - age_s)).session_id)
            return names


@contextmanager
def workers(job: Job, count: int) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        started: list[Worker] = []
        for _ in range(count):
            started.append(Worker(job))
            stack.callback(started[-1].end)
        for worker in started:
            worker.wait_ready()
        yield started


def keep_busy(started: list[Worker], sessions: list[str], seconds: float, bare: BareCommits) -> None:
    """All but one live through it; that one is killed once at each moment, and each time another takes its place."""
    moments: list[Moment | None] = [*Moment, None]
    waiting = started[: len(moments)]
    began, end, spacing_s = time.monotonic(), time.monotonic() + seconds, seconds / len(moments)
    for steady in started[len(moments) :]:
        steady.go(Order(sessions, seconds))
    victim = waiting.pop(0)
    victim.go(Order(sessions, seconds, moments.pop(0), spacing_s))
    while (now := time.monotonic()) < end:
        bare.make()
        time.sleep(0.1)
        if victim.dead and waiting:
            victim, moment = waiting.pop(0), moments.pop(0)
            kill_after_s = max(1.0, began + (len(Moment) - len(moments) + 1) * spacing_s - now)
            victim.go(Order(sessions, end - now, moment, kill_after_s))
    for worker in started:
        worker.join(STOPPING_S)


def figures_of(lines: list[Line]) -> dict[str, Any]:
    """What the workers' own lines say, together."""
    of = defaultdict(list)
    for line in lines:
        of[line.what].append(line)
    killed = {line.pid: line for line in of["killed"]}
    refreshed_by = Counter(line.pid for line in of["refreshed"])
    posted_by = Counter(line.pid for line in of["posted"])
    posters = defaultdict(list)
    for line in of["posted"]:
        posters[line.token].append(line.pid)
    sums: Counter[str] = Counter()
    for line in of["stopped"]:
        sums.update(line.figures)
    refreshes = len(of["refreshed"])
    return {
        "refreshes": refreshes,
        "posts": len(of["posted"]),
        # Sent by a process that was killed before it could tell.
        "posts_cut_off": sum(posted_by[pid] - refreshed_by[pid] for pid in killed),
        "tokens_sent_again_after_a_kill": sum(len(pids) > 1 for pids in posters.values()),
        "tokens_sent_twice": sum(pid not in killed for pids in posters.values() for pid in pids[:-1]),
        "followed": len(of["followed"]),
        "refreshes_that_failed": len(of["failed"]),
        "sign_outs": len(of["ended"]),
        "why": dict(Counter(line.why for line in [*of["failed"], *of["ended"]])),
        "kills": {line.why: round(went_on_s(line, of), 2) for line in of["killed"]},
        "stopped": len(of["stopped"]),
        "calls": {name.removeprefix("answer_"): times for name, times in sums.items() if name.startswith("answer_")},
        "store_ms_per_refresh": median(line.worked_ms for line in of["refreshed"]),
        "store_wait_ms_per_refresh": median(line.waited_ms for line in of["refreshed"]),
        "store_thread_ms_per_call": sums["store_worked_ms"] / max(1, sums["store_calls"]),
        "store_cpu_ms_per_call": sums["store_cpu_ms"] / max(1, sums["store_calls"]),
        "store_calls": sums["store_calls"],
    }


def median(values: Iterable[float]) -> float:
    return statistics.median([*values] or [float("inf")])


def went_on_s(kill: Line, of: Mapping[str, list[Line]]) -> float:
    """How long after a kill the last of the sessions that the killed process was refreshing was refreshed by another."""
    done_at = {line.session: line.at for line in of["refreshed"] if line.pid == kill.pid}
    begun = {line.session for line in of["claimed"] if line.pid == kill.pid and line.at > done_at.get(line.session, 0)}
    later = [line for line in reversed(of["refreshed"]) if line.at > kill.at and line.session in begun]
    gone_on_at = {line.session: line.at for line in later}
    return max(gone_on_at.get(session, float("inf")) for session in begun) - kill.at


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    config = ProviderConfig(
        access_ttl_s=options.access_ttl,
        grace_s=GRACE_S,
        access_token_format=AccessTokenFormat.OPAQUE,
        signing_alg=SigningAlg.ES256,
    )
    with running_provider(config) as provider, closing(BareCommits(folder / "bare.db")) as bare:
        log = folder / "log.jsonl"
        job = Job(provider.config.issuer, str(folder / "sessions.db"), str(log), GRACE_S, options.calls_per_s)
        with workers(job, options.processes + len(Moment)) as started:
            sessions = asyncio.run(sign_in(provider, job, options.sessions, options.access_ttl * 0.75))
            keep_busy(started, sessions, options.seconds, bare)
        lines = [msgspec.json.decode(line, type=Line) for line in log.read_bytes().splitlines()]
        said = provider.statistics()
    return {
        **figures_of(sorted(lines, key=lambda line: line.at)),
        "bare_commit_ms": median(bare.ms),
        "provider_token_answers": dict(said.requests["token"]),
        "reuse_events": said.reuse_events,
        "families_revoked": said.families_revoked,
        "replays_answered": said.replays_answered,
    }


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench processes", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="how many at a time")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="how many, each kept by every process")
    parser.add_argument("--access-ttl", type=float, default=10.0, help="seconds an access token lives")
    parser.add_argument("--calls-per-s", type=float, default=2.0, help="users' calls a second in each process")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(options, Path(folder))
    print(json.dumps(figures, indent=2))
    claims = {
        "nobody was signed out": figures["sign_outs"] == figures["reuse_events"] == figures["families_revoked"] == 0,
        "one POST per refresh": figures["tokens_sent_twice"] == 0
        and figures["posts"] - figures["posts_cut_off"] == figures["refreshes"],
        "no call failed": figures["calls"].keys() == {"200"},
        "killed at every moment": figures["kills"].keys() == set(Moment),
        "the others went on within 10 s": max(figures["kills"].values(), default=float("inf")) <= GO_ON_S_MAX,
        "every process that was not killed stopped by itself": figures["stopped"] == options.processes,
        "the store costs 3 ms a refresh at most": figures["store_ms_per_refresh"] <= STORE_MS_MAX,
    }
    return {
        "name": "processes",
        "value": round(figures["store_ms_per_refresh"], 3),
        "unit": "ms of the store for a refresh",
        "peers": {"bare SQLite commit": round(figures["bare_commit_ms"], 3)},
        "ratio": round(figures["store_ms_per_refresh"] / figures["bare_commit_ms"], 2),
        "claims": claims,
        "bar": {"store_ms": STORE_MS_MAX, "go_on_s": GO_ON_S_MAX, "sign_outs": 0, "tokens_sent_twice": 0},
        "ok": all(claims.values()),
    }
