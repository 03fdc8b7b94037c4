"""No token, code, cookie or client secret, nor twelve characters of one, leaves through an event, a log or an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from leaks import leaks, texts_of_errors, texts_of_events, texts_of_logs, texts_of_objects
from stores import WatchedStore
from transports import Watch, is_refresh
from world import World, live, with_

from session_core.cache_rules import CachePolicy
from session_core.config import PROFESSIONAL
from session_core.errors import (
    LoginRequiredError,
    ProviderUnreachableError,
    SessionCoreError,
    TokenVerificationError,
)
from session_core.events import (
    BreakerChanged,
    FallbackTried,
    HeartbeatBeat,
    PartCrashed,
    PersistFailed,
    RefreshDiscarded,
    RefreshFailed,
    RetryScheduled,
    SessionEnded,
    TokenRefreshed,
    TokenRevoked,
)
from session_core.provider.config import demo_clients
from session_core.provider.faults import FaultKind
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.session import Session
from session_core.vocabulary import Outcome
from session_core.wire import WireRequest

CALLBACK = "http://127.0.0.1:8501/auth/callback"
SERVICE_SECRET = "Zk3-vq9Lw0sXy7-Rt5nB2mD8"
DETAILS: dict[FaultKind, dict[str, Any]] = {
    FaultKind.STATUS: {"status": 503},
    FaultKind.DELAY: {"delay_s": 3.0},
    FaultKind.HANG: {"endpoint": "token", "acts": True},
    FaultKind.HTML: {"status": 200},
    FaultKind.CLOCK_OFFSET: {"offset_s": 900.0},
    FaultKind.GARBLED_JSON: {"endpoint": "token"},
    FaultKind.DROP_AFTER: {"endpoint": "token"},
    FaultKind.OMIT_FIELD: {"field": "refresh_token", "endpoint": "token"},
    FaultKind.SET_FIELD: {"field": "token_type", "value": "mac", "endpoint": "token"},
}


class Run:
    """One long life of one service, and every error that reached a caller in it."""

    def __init__(self, *, sabotage: Callable[[Session], object] = lambda _session: None) -> None:
        self.errors: list[BaseException] = []
        self.texts: list[str] = []
        self.store, self.watch = WatchedStore(), Watch()
        self.sabotage = sabotage

    def live(self) -> World:
        world = live(
            self.play,
            store=self.store,
            wrap=self.watch.wrap,
            policy=with_(PROFESSIONAL, cache=CachePolicy(), refresh={"request_timeout_s": 4.0}),
            grace_s=30.0,
            access_ttl_s=600.0,
            provider={"clients": demo_clients(service_secret=SERVICE_SECRET)},
            redirect_uri=CALLBACK,
            client_id="session-lab-service",
            client_secret=SERVICE_SECRET,
            auth_method="client_secret_post",
        )
        assert SERVICE_SECRET in world.provider.issued_secrets()
        self.texts += texts_of_events(world.events)
        self.texts += texts_of_errors(self.errors)
        return world

    async def attempt(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        except (SessionCoreError, httpx.HTTPError, RuntimeError) as error:
            self.errors.append(error)
            return None

    async def play(self, world: World) -> None:
        for kind in FaultKind:
            session = await self.sign_in(world)
            world.order(kind=kind, until_s=700.0, **DETAILS.get(kind, {}))
            await self.attempt(self.sign_in(world, user_agent=False))
            await self.use(world, session)
            world.order(kind="status", status=429, retry_after_s=5, endpoint="token", times=1)
            await self.attempt(session.force_refresh_session())
            world.provider.faults.clear()
            await asyncio.sleep(120)
            for one in world.service.sessions():
                await self.attempt(one.client.get("echo"))
            self.look(world)
            await world.service.sign_out(session.session_id)
        await self.crash(world)
        await self.be_signed_out_while_refreshing(world)
        await self.attempt(world.service.sign_in_as_service())
        self.look(world)

    async def sign_in(self, world: World, *, user_agent: bool = True) -> Session:
        login = await world.service.login(return_to="/inbox")
        agent = HeadlessUserAgent(self.watch.transport)
        self.texts += [repr(login), str(login), repr(agent)]
        callback = await agent.sign_in(login, "ada", "demo")
        session = await world.service.finish_login(callback, login, user_agent=agent if user_agent else None)
        self.sabotage(session)
        return session

    async def use(self, world: World, session: Session) -> None:
        for _ in range(8):
            await self.attempt(session.client.get("echo", params={"page": "1"}))
            await self.attempt(session.client.post("chat", json={"message": "hello"}))
            await self.attempt(session.force_refresh_session())
            session.update_activity("click")
            await asyncio.sleep(90)
        self.look(world)

    async def crash(self, world: World) -> None:
        session = await self.sign_in(world)

        def boom(request: WireRequest) -> None:
            if is_refresh(request):
                raise RuntimeError(request.body.decode())

        self.watch.transport.before = boom
        self.store.broken = True
        await self.attempt(session.force_refresh_session())
        await asyncio.sleep(700)
        await self.attempt(session.client.get("echo"))
        self.watch.transport.before = lambda _request: None
        self.store.broken = False
        self.look(world)

    async def be_signed_out_while_refreshing(self, world: World) -> None:
        session = await self.sign_in(world)
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(0.05)
        await session.sign_out()
        await asyncio.wait({refresh})

    def look(self, world: World) -> None:
        self.texts += texts_of_objects(world.service)
        self.texts += [repr(task) for task in asyncio.all_tasks()]


def test_no_secret_leaves_a_run_with_every_fault(caplog: pytest.LogCaptureFixture) -> None:
    """Events, log lines of every library at DEBUG, errors with their tracebacks, and reprs."""
    caplog.set_level(logging.DEBUG)
    run = Run()
    world = run.live()
    for kind in (
        BreakerChanged,
        FallbackTried,
        HeartbeatBeat,
        PartCrashed,
        PersistFailed,
        RefreshDiscarded,
        RefreshFailed,
        RetryScheduled,
        SessionEnded,
        TokenRefreshed,
        TokenRevoked,
    ):
        assert world.facts(kind), f"the run must contain {kind.__name__}"
    assert {fact.outcome for fact in world.facts(RefreshFailed)} >= set(Outcome) - {Outcome.OK, Outcome.CONFIG}
    assert {type(error) for error in run.errors} >= {
        ProviderUnreachableError,
        TokenVerificationError,
        LoginRequiredError,
    }
    assert any(record.name == "httpx" for record in caplog.records)
    secrets = world.provider.issued_secrets()
    assert len(secrets) > 200
    assert leaks([*run.texts, *texts_of_logs(caplog.records)], secrets) == []


def test_the_net_catches_twelve_characters_of_a_token_in_an_event() -> None:
    """Broken on purpose: without this the test above would prove nothing."""

    def sabotage(session: Session) -> None:
        tokens = session._tokens.tokens
        assert tokens is not None
        session.update_activity("clicked on " + tokens.access_token[5:17])

    run = Run(sabotage=sabotage)
    secrets = run.live().provider.issued_secrets()
    caught = leaks(run.texts, secrets)
    assert caught
    assert all("clicked on " in text for text in caught)


def test_the_net_catches_a_token_in_a_log_an_error_and_a_repr(caplog: pytest.LogCaptureFixture) -> None:
    """Each kind of text is really searched."""
    secret = "at_0123456789abcdefghij"

    class Loose:
        __module__ = "session_core.loose"

        def __repr__(self) -> str:
            return f"Loose({secret[3:15]})"

    logging.getLogger("httpx").warning("sent %s", secret)
    error = ValueError("bad")
    error.add_note(secret)
    for texts in (
        texts_of_logs(caplog.records),
        texts_of_errors([error]),
        texts_of_objects({"deep": [Loose()]}),
    ):
        assert leaks(texts, [secret])
    assert leaks([secret[:11], "nothing"], [secret]) == []
