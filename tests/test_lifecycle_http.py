"""The whole lifecycle over real HTTP on real time, with lives of seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
import uvicorn
from leaks import leaks, texts_of_logs
from world import with_

from session_core.clock import SystemClock
from session_core.config import PROFESSIONAL, SessionConfig, SessionPolicy
from session_core.events import (
    AnyFact,
    Event,
    HeartbeatBeat,
    RefreshFailed,
    RequestServed,
    SessionEnded,
    StateChanged,
    TokenRefreshed,
)
from session_core.provider import EmbeddedProvider, Fault, FaultKind, ProviderConfig
from session_core.provider.asgi import provider_app
from session_core.provider.faults import Endpoint
from session_core.provider.serve import HOST, listen
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.refresh_plan import ProviderProfile
from session_core.service import SessionService
from session_core.session import Session
from session_core.store import EventStore, Recorder
from session_core.vocabulary import Outcome, Served, State
from session_core.wire import HttpxTransport

CLOCK = SystemClock()
DEADLINE_S = 20.0
SHORT = with_(PROFESSIONAL, heartbeat_s=1.0)


class Site:
    """One provider, with its memory, that can be taken off its port and put back."""

    def __init__(self, config: ProviderConfig) -> None:
        listener = listen(0)
        self.port = listener.getsockname()[1]
        self.provider = EmbeddedProvider(config.at(f"http://{HOST}:{self.port}"), entropy=secrets.token_bytes)
        self._serve(listener)

    @property
    def issuer(self) -> str:
        return self.provider.config.issuer

    def _serve(self, listener: socket.socket) -> None:
        app = provider_app(self.provider, clock=CLOCK)
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def start(self) -> None:
        self._serve(listen(self.port))

    def order(self, kind: FaultKind) -> None:
        self.provider.faults.order(Fault(kind=kind, endpoint=Endpoint.TOKEN, times=1), CLOCK.wall())

    def token_posts(self) -> int:
        return sum(self.provider.statistics().requests.get("token", {}).values())


@contextlib.contextmanager
def site(**settings: float) -> Iterator[Site]:
    found = Site(ProviderConfig(**settings))
    try:
        yield found
    finally:
        found.stop()


class Watcher:
    """Keeps every event and hands it on."""

    def __init__(self, onward: Callable[[Event], None] = lambda _event: None) -> None:
        self.events: list[Event] = []
        self._onward = onward

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._onward(event)

    def facts(self, kind: type[AnyFact]) -> list[AnyFact]:
        return [event.fact for event in self.events if isinstance(event.fact, kind)]


@contextlib.asynccontextmanager
async def signed_in(
    at: Site,
    watcher: Watcher,
    *,
    policy: SessionPolicy = SHORT,
    grace_s: float = 0.0,
    dpop: Literal["off", "required"] = "off",
) -> AsyncIterator[Session]:
    config = SessionConfig(
        issuer=at.issuer,
        client_id="session-lab",
        redirect_uri="http://127.0.0.1:8501/auth/callback",
        scope="openid api",
        api_url=f"{at.issuer}/api/",
        profile=ProviderProfile(grace_s=grace_s),
        policy=policy,
        dpop=dpop,
    )
    async with SessionService(config, emit=watcher) as service:
        login = await service.login()
        async with httpx.AsyncClient(trust_env=False) as browser:
            agent = HeadlessUserAgent(HttpxTransport(browser))
            callback = await agent.sign_in(login, "ada", "demo")
        yield await service.finish_login(callback, login)


async def until(condition: Callable[[], bool | Awaitable[bool]], *, deadline_s: float = DEADLINE_S) -> None:
    async with asyncio.timeout(deadline_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


def test_a_session_of_seconds_keeps_itself_alive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No failed call, each refresh ahead of expiry and one POST, every event a row, and no secret in any log."""
    caplog.set_level(logging.DEBUG)
    store = EventStore(tmp_path / "events.duckdb")
    recorder = Recorder(store, clock=CLOCK)
    watcher = Watcher(recorder.emit)
    recorder.start()

    async def main(at: Site) -> None:
        async with signed_in(at, watcher) as session:
            caplog.clear()
            ends_at = CLOCK.boot() + 5.0
            while CLOCK.boot() < ends_at:
                assert (await session.client.get("echo")).status_code == 200
                await asyncio.sleep(0.1)
            await session.stop_session_management()
            refreshed = watcher.facts(TokenRefreshed)
            assert 3 <= len(refreshed) <= 6
            assert all(isinstance(fact, TokenRefreshed) and fact.left_s > 0 and fact.rotated for fact in refreshed)
            assert at.token_posts() == 1 + len(refreshed)
            await session.sign_out()

    with site(access_ttl_s=2.0) as at:
        asyncio.run(main(at))
        assert at.provider.statistics().reuse_events == 0
        assert leaks(texts_of_logs(caplog.records), at.provider.issued_secrets()) == []
    assert any(record.name.startswith("httpcore") for record in caplog.records)
    served = [fact for fact in watcher.facts(RequestServed) if isinstance(fact, RequestServed)]
    assert len(served) >= 30
    assert {(fact.status, fact.served, fact.error) for fact in served} == {(200, Served.NETWORK, None)}
    assert watcher.facts(RefreshFailed) == []
    assert watcher.facts(HeartbeatBeat)

    assert recorder.flush()
    recorder.stop()
    rows = store.read("SELECT stream_id, seq, kind FROM events").to_pylist()
    store.close()
    emitted = {(event.origin.stream_id, event.seq, event.kind) for event in watcher.events}
    assert {(row["stream_id"], row["seq"], row["kind"]) for row in rows} == emitted
    assert len(rows) == len(watcher.events)


def test_a_provider_that_is_away_for_a_while_costs_no_session() -> None:
    """Connection refused for real: OFFLINE, probes only, and back within six seconds of its return."""
    watcher = Watcher()

    async def main(at: Site) -> None:
        async with signed_in(at, watcher) as session:
            await session.client.get("echo")
            posts = at.token_posts()
            await asyncio.to_thread(at.stop)
            await until(lambda: session.state is State.OFFLINE)
            with pytest.raises(httpx.ConnectError):
                async with httpx.AsyncClient(trust_env=False) as client:
                    await client.get(at.issuer)
            assert at.token_posts() == posts
            await asyncio.to_thread(at.start)
            back_at = CLOCK.boot()
            await until(lambda: session.state is State.ACTIVE)
            assert CLOCK.boot() - back_at < 6.0
            assert (await session.client.get("echo")).status_code == 200

    with site(access_ttl_s=2.0) as at:
        asyncio.run(main(at))
        assert at.provider.statistics().reuse_events == 0
    assert watcher.facts(SessionEnded) == []
    path = [fact.state_to for fact in watcher.facts(StateChanged) if isinstance(fact, StateChanged)]
    assert State.OFFLINE in path
    assert path[-1] is State.ACTIVE


@pytest.mark.parametrize(("kind", "replays"), [(FaultKind.DROP_BEFORE, 0), (FaultKind.DROP_AFTER, 1)])
def test_a_dropped_refresh_is_repeated_inside_the_grace_window(kind: FaultKind, replays: int) -> None:
    """The connection breaks before or after the provider acted; the client cannot tell, and both come out well."""
    watcher = Watcher()

    async def main(at: Site) -> None:
        async with signed_in(at, watcher, grace_s=30.0) as session:
            at.order(kind)
            result = await session.force_refresh_session()
            assert result.outcome is Outcome.AMBIGUOUS
            assert (await session.client.get("echo")).status_code == 200
            await until(lambda: bool(watcher.facts(TokenRefreshed)))
            assert session.state is State.ACTIVE
            assert (await session.client.get("echo")).status_code == 200
            assert (await session.force_refresh_session()).outcome is Outcome.OK

    with site(access_ttl_s=60.0, grace_s=30.0) as at:
        asyncio.run(main(at))
        assert at.provider.statistics().replays_answered == replays
        assert at.provider.statistics().reuse_events == 0
    assert watcher.facts(SessionEnded) == []
    assert len(watcher.facts(RefreshFailed)) == 1


def test_a_hung_token_endpoint_is_given_up_after_its_timeout() -> None:
    """The refresh has a timeout of its own, the calls go on meanwhile, and the connection is not used again."""
    watcher = Watcher()

    async def main(at: Site) -> None:
        policy = with_(SHORT, refresh={"request_timeout_s": 2.0})
        async with signed_in(at, watcher, policy=policy, grace_s=30.0) as session:
            at.order(FaultKind.HANG)
            began = CLOCK.boot()
            refresh = asyncio.create_task(session.force_refresh_session())
            await asyncio.sleep(0)
            assert (await session.client.get("echo")).status_code == 200
            assert not refresh.done()
            assert (await refresh).outcome is Outcome.AMBIGUOUS
            assert CLOCK.boot() - began < 10.0
            await until(lambda: bool(watcher.facts(TokenRefreshed)))

    with site(access_ttl_s=60.0, grace_s=30.0) as at:
        asyncio.run(main(at))
    assert watcher.facts(SessionEnded) == []


def test_threads_and_tasks_share_one_refresh_over_real_http() -> None:
    """Ten threads with `httpx.Client` and ten tasks at expiry: all succeed with one POST."""
    watcher = Watcher()

    async def main(at: Site) -> None:
        policy = with_(SHORT, background=False, refresh={"proactive": False})
        async with signed_in(at, watcher, policy=policy) as session:
            tokens = session._tokens.tokens
            assert tokens is not None
            await until(lambda: tokens.expired(CLOCK.boot()))

            def call() -> int:
                with httpx.Client(auth=session.auth, base_url=f"{at.issuer}/api/", trust_env=False) as client:
                    return client.get("echo").status_code

            calls = [asyncio.to_thread(call) for _ in range(10)]
            tasks = [session.client.get("echo") for _ in range(10)]
            assert set(await asyncio.gather(*calls)) == {200}
            assert {answer.status_code for answer in await asyncio.gather(*tasks)} == {200}

    with site(access_ttl_s=2.0) as at:
        asyncio.run(main(at))
        assert at.token_posts() == 2


def test_threads_and_tasks_prove_each_call_by_one_key_over_real_http(caplog: pytest.LogCaptureFixture) -> None:
    """Over two token lives and nonces of three seconds: no failed call, one POST and one nonce a refresh, no proof told."""
    caplog.set_level(logging.DEBUG)
    watcher = Watcher()
    secret: list[str] = []

    async def main(at: Site) -> None:
        async with signed_in(at, watcher, dpop="required") as session:
            key = session._tokens.proof_key
            assert key is not None
            secret.extend([key.secret.hex(), repr(key.secret)[2:-1]])

            def call() -> int:
                with httpx.Client(auth=session.auth, base_url=f"{at.issuer}/api/", trust_env=False) as client:
                    return client.get("echo").status_code

            while len(watcher.facts(TokenRefreshed)) < 2:
                calls = [asyncio.to_thread(call) for _ in range(5)]
                assert set(await asyncio.gather(*calls)) == {200}
                answers = await asyncio.gather(*(session.client.get("echo") for _ in range(5)))
                assert {answer.status_code for answer in answers} == {200}
            assert session._tokens.proof_key == key

    with site(access_ttl_s=3.0, dpop_nonce_s=3.0) as at:
        asyncio.run(main(at))
        outcomes = at.provider.statistics().requests
        assert outcomes["token"]["ok"] == 1 + len(watcher.facts(TokenRefreshed))
        assert outcomes["token"].keys() <= {"ok", "use_dpop_nonce"}
        assert outcomes["api"].keys() <= {"ok", "use_dpop_nonce"}
    assert watcher.facts(RefreshFailed) == []
    assert leaks(texts_of_logs(caplog.records), secret) == []


def test_a_streamed_answer_arrives_word_by_word_over_real_http() -> None:
    """The first words are there before the last are sent."""
    watcher = Watcher()

    async def main(at: Site) -> None:
        async with signed_in(at, watcher) as session:
            async with session.client.stream("POST", "chat", json={"message": "hello"}) as answer:
                arrived = [CLOCK.boot() async for _ in answer.aiter_raw()]
            assert len(arrived) > 5
            assert arrived[-1] - arrived[0] > 0.2

    with site(access_ttl_s=60.0) as at:
        asyncio.run(main(at))
