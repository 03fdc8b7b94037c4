"""One of the processes of `bench processes`: keeps every session of the shared store, and may kill itself on the way.

Told on standard input what to do; says what happens in a file of its own, line by line, so that a kill loses nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

import httpx
import msgspec

from session_core import SessionConfig, SessionCoreError, SessionService
from session_core.clock import Clock, SystemClock
from session_core.events import Event, RefreshFailed, SessionEnded, TokenFollowed, TokenRefreshed
from session_core.refresh_plan import ProviderProfile
from session_core.session_store import SessionRecord
from session_core.sqlite_session_store import SqliteSessionStore
from session_core.wire import HttpxTransport, WireAnswer, WireFailure, WireRequest

REDIRECT = "http://127.0.0.1:8501/auth/callback"
# Longer than it takes until the lease is renewed for the first time.
HOLD_S = 3.0
P = ParamSpec("P")
T = TypeVar("T")


class Moment(StrEnum):
    """When a process kills itself: the worst there are for whoever refreshes."""

    BEFORE_THE_POST = "before"
    AFTER_THE_ANSWER = "after"
    HOLDING_THE_LEASE = "holding"


class Job(msgspec.Struct, frozen=True):
    issuer: str
    store: str
    log: str
    grace_s: float
    calls_per_s: float


class Order(msgspec.Struct, frozen=True):
    """Begin with these sessions, and go on for so long unless you kill yourself."""

    sessions: list[str]
    seconds: float
    kill_at: Moment | None = None
    kill_after_s: float = 0.0


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened at boot second `at`. `token` is a hash of the refresh token that was sent."""

    at: float
    pid: int
    what: Literal["claimed", "posted", "refreshed", "followed", "failed", "ended", "killed", "stopped"]
    session: str = ""
    token: str = ""
    why: str = ""
    waited_ms: float = 0.0
    worked_ms: float = 0.0
    figures: dict[str, float] = {}


class Log:
    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._clock = clock

    def write(self, what: Any, **more: Any) -> None:
        line = Line(at=self._clock.boot(), pid=os.getpid(), what=what, **more)
        os.write(self._file, msgspec.json.encode(line) + b"\n")


class Cost(NamedTuple):
    """Of store calls: what the caller waited, and what the store's thread took, file and disk included."""

    waited_s: float = 0.0
    worked_s: float = 0.0
    cpu_s: float = 0.0
    calls: int = 0

    def and_of(self, other: Cost) -> Cost:
        return Cost(*(mine + its for mine, its in zip(self, other, strict=True)))


class TimedStore(SqliteSessionStore):
    """Counts what it costs, in all and by the task that asks; says of every claim whose it is."""

    def __init__(self, path: Path, *, clock: Clock, log: Log) -> None:
        super().__init__(path, clock=clock)
        self._log = log
        self._by_task: WeakKeyDictionary[Any, Cost] = WeakKeyDictionary()
        self.cost = Cost()

    def cost_here(self) -> Cost:
        return self._by_task.get(asyncio.current_task(), Cost())

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        written = await super().save(record)
        if written is not None and written.lease_until is not None:
            self._log.write("claimed", session=written.session_id)
        return written

    async def _run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        took: list[Cost] = []

        def timed() -> T:
            began, began_cpu = time.perf_counter(), time.thread_time()
            try:
                return work(*arguments, **named)
            finally:
                took.append(Cost(0.0, time.perf_counter() - began, time.thread_time() - began_cpu, 1))

        began = time.perf_counter()
        result = await super()._run(timed)
        cost = took[0]._replace(waited_s=time.perf_counter() - began)
        self.cost = self.cost.and_of(cost)
        self._by_task[asyncio.current_task()] = self.cost_here().and_of(cost)
        return result


class DeadlyTransport:
    """Real HTTP that says what it posts, and at the moment it was told of ends the process without another word."""

    def __init__(self, client: httpx.AsyncClient, log: Log) -> None:
        self._inner = HttpxTransport(client)
        self._log = log
        self.moment: Moment | None = None

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        said = parse_qs(request.body.decode()) if request.url.endswith("/token") else {}
        if "refresh_token" not in said or request.url.endswith("/revoke"):
            return await self._inner.send(request)
        if self.moment is Moment.HOLDING_THE_LEASE:
            self.moment = None
            await asyncio.sleep(HOLD_S)
            self._die(Moment.HOLDING_THE_LEASE)
        if self.moment is Moment.BEFORE_THE_POST:
            self._die(self.moment)
        token = hashlib.sha256(said["refresh_token"][0].encode()).hexdigest()[:16]
        self._log.write("posted", token=token)
        answer = await self._inner.send(request)
        if self.moment is Moment.AFTER_THE_ANSWER:
            self._die(self.moment)
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _die(self, moment: Moment) -> None:
        self._log.write("killed", why=moment)
        os.kill(os.getpid(), signal.SIGKILL)


def listener(log: Log, store: TimedStore) -> Callable[[Event], None]:
    """Writes down what became of sessions."""

    def hear(event: Event) -> None:
        session, fact = event.origin.session_id, event.fact
        match fact:
            case TokenRefreshed():
                # Told in the very task that refreshed: what it waited for the store is what the refresh cost.
                cost = store.cost_here()
                log.write("refreshed", session=session, waited_ms=cost.waited_s * 1000, worked_ms=cost.worked_s * 1000)
            case TokenFollowed():
                log.write("followed", session=session)
            case RefreshFailed():
                log.write("failed", session=session, why=f"{fact.outcome} {fact.error}")
            case SessionEnded():
                log.write("ended", session=session, why=fact.reason)

    return hear


async def use(service: SessionService, calls_per_s: float, answers: Counter[str]) -> None:
    """A user's call now and then, in one session or another."""
    sessions, rng = service.sessions(), random.Random(os.getpid())
    async with asyncio.TaskGroup() as calls:
        while True:
            await asyncio.sleep(1 / calls_per_s)
            calls.create_task(call(rng.choice(sessions), answers))


async def call(session: Any, answers: Counter[str]) -> None:
    try:
        response = await session.client.get("echo", timeout=30.0)
        answers[str(response.status_code)] += 1
    except (httpx.HTTPError, SessionCoreError) as error:
        answers[type(error).__name__] += 1


async def work(job: Job, order: Order, store: TimedStore, log: Log, clock: Clock) -> None:
    config = SessionConfig(
        issuer=job.issuer,
        client_id="session-lab",
        redirect_uri=REDIRECT,
        scope="openid api",
        api_url=f"{job.issuer}/api/",
        profile=ProviderProfile(grace_s=job.grace_s),
    )
    limits = httpx.Limits(max_keepalive_connections=0)
    answers: Counter[str] = Counter()
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        transport = DeadlyTransport(client, log)
        emit = listener(log, store)
        async with SessionService(config, emit=emit, clock=clock, store=store, transport=transport) as service:
            await asyncio.gather(*(service.resume(session_id) for session_id in order.sessions))
            if order.kill_at is not None:
                asyncio.get_running_loop().call_later(order.kill_after_s, setattr, transport, "moment", order.kill_at)
            using = asyncio.create_task(use(service, job.calls_per_s, answers))
            await asyncio.sleep(order.seconds)
            using.cancel()
            await asyncio.wait({using})
    figures = {
        "store_calls": store.cost.calls,
        "store_worked_ms": store.cost.worked_s * 1000,
        "store_cpu_ms": store.cost.cpu_s * 1000,
        **{f"answer_{answer}": times for answer, times in answers.items()},
    }
    log.write("stopped", figures=figures)


def main() -> None:
    clock = SystemClock()
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    log = Log(Path(job.log), clock)
    with TimedStore(Path(job.store), clock=clock, log=log) as store:
        print("ready", flush=True)
        order = msgspec.json.decode(sys.stdin.readline(), type=Order)
        asyncio.run(work(job, order, store, log, clock))


if __name__ == "__main__":
    main()
