"""Many sessions in one process: signing in for real, keeping users apart, and what a bad provider comes to."""

from __future__ import annotations

import asyncio
import secrets
import threading
from typing import Any

import httpx
import msgspec
import pytest
from stores import WatchedStore
from transports import Watch, is_token_post
from world import ISSUER, World, live, with_

from session_core.config import PROFESSIONAL, SessionConfig
from session_core.errors import (
    ConfigError,
    DiscoveryError,
    ProviderError,
    ProviderUnreachableError,
    SessionCoreError,
    SessionEndedError,
    TokenAnswerError,
    TokenVerificationError,
)
from session_core.events import FallbackTried, RequestServed, SessionEnded, SessionStarted, TokenRefreshed
from session_core.provider.config import DEMO_SERVICE_SECRET
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.service import SERVICE_ID, SessionService, drop_event
from session_core.session import Session
from session_core.vocabulary import EndReason, FallbackStep, Outcome, State, StepOutcome
from session_core.wire import WireAnswer, WireRequest

CALLBACK = "http://127.0.0.1:8501/auth/callback"
CONFIDENTIAL: dict[str, Any] = {
    "client_id": "session-lab-service",
    "client_secret": DEMO_SERVICE_SECRET,
    "auth_method": "client_secret_basic",
}


async def sign_in(world: World, watch: Watch, user: str = "ada", *, return_to: str = "/") -> Session:
    """The whole authorization code flow: the provider's pages, its call-back, the exchange."""
    login = await world.service.login(return_to=return_to)
    agent = HeadlessUserAgent(watch.transport)
    return await world.service.finish_login(await agent.sign_in(login, user, "demo"), login, user_agent=agent)


def spoil_token_answer(watch: Watch, **changes: Any) -> None:
    """From now on the token endpoint's answers differ in these fields; None leaves one out."""

    async def answer(request: WireRequest) -> WireAnswer:
        said = await watch.transport._inner.send(request)
        assert isinstance(said, WireAnswer)
        members = {**msgspec.json.decode(said.body), **changes}
        body = msgspec.json.encode({name: value for name, value in members.items() if value is not None})
        return msgspec.structs.replace(said, body=body)

    watch.transport.before = lambda request: answer(request) if is_token_post(request) else None


# Signing in


def test_a_real_sign_in_makes_a_session_that_works() -> None:
    """Authorization code with PKCE through the provider's own pages."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await sign_in(world, watch, return_to="/report")
        assert (session.user_id, session.state, session.return_to) == ("ada", State.ACTIVE, "/report")
        assert session.status().managed
        assert (await session.client.get("echo")).json()["subject"] == "ada"
        assert world.service.get(session.session_id) is session
        assert world.service.sessions() == (session,)
        await asyncio.sleep(7000)
        assert (await session.client.get("echo")).status_code == 200

    world = live(play, wrap=watch.wrap, redirect_uri=CALLBACK)
    assert len(world.facts(TokenRefreshed)) == 2
    assert len(world.service) == 0


def test_sessions_are_kept_apart() -> None:
    """Ids, tokens, users, logs and ends: what happens to one does not touch the other."""
    watch = Watch()

    async def play(world: World) -> None:
        ada, grace = await sign_in(world, watch, "ada"), await sign_in(world, watch, "grace")
        again = await sign_in(world, watch, "ada")
        assert len({session.session_id for session in (ada, grace, again)}) == 3
        subjects = [(await session.client.get("echo")).json()["subject"] for session in (ada, grace, again)]
        assert subjects == ["ada", "grace", "ada"]
        await world.service.sign_out(ada.session_id)
        assert ada.state is State.SIGNED_OUT
        assert (await again.client.get("echo")).status_code == 200
        assert (await grace.client.get("echo")).status_code == 200
        with pytest.raises(SessionEndedError):
            await ada.client.get("echo")
        assert world.service.get(ada.session_id) is None
        assert len(world.service) == 2

    world = live(play, wrap=watch.wrap, redirect_uri=CALLBACK)
    by_session = {
        event.origin.session_id: event.origin.user_id
        for event in world.events
        if isinstance(event.fact, SessionStarted)
    }
    assert sorted(by_session.values()) == ["ada", "ada", "grace"]
    streams: dict[str, list[int]] = {}
    for event in world.events:
        streams.setdefault(event.origin.stream_id, []).append(event.seq)
    assert len(streams) == 4
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in streams.values())


def test_signing_out_forgets_the_session_and_a_stranger_is_no_matter() -> None:
    """Twice is once."""

    async def play(world: World) -> None:
        session = await world.session()
        await world.service.sign_out(session.session_id, EndReason.SIGNED_OUT_ELSEWHERE)
        await world.service.sign_out(session.session_id)
        await world.service.sign_out("unknown")

    world = live(play)
    assert world.facts(SessionEnded) == [SessionEnded(reason=EndReason.SIGNED_OUT_ELSEWHERE)]


def test_a_program_signs_in_as_itself_and_fetches_new_tokens_the_same_way() -> None:
    """Client credentials have no refresh token; the stored credential stands in for it."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.service.sign_in_as_service()
        assert session.user_id == "service"
        await asyncio.sleep(3700)
        assert (await session.client.get("echo")).json()["client_id"] == "session-lab-service"
        assert session.state is State.ACTIVE

    world = live(play, wrap=watch.wrap, **CONFIDENTIAL)
    stored = [f for f in world.facts(FallbackTried) if f.step is FallbackStep.STORED_CREDENTIAL]
    assert [fact.outcome for fact in stored] == [StepOutcome.OK]
    assert world.facts(SessionEnded) == []


def test_a_program_that_is_not_known_is_told_so() -> None:
    """A public client cannot act for itself."""

    async def play(world: World) -> None:
        with pytest.raises(ConfigError, match="need a client_secret"):
            await world.service.sign_in_as_service()
        assert len(world.service) == 0

    live(play)


def test_statistics_count_sessions_and_background_work() -> None:
    """Immutable numbers for a page."""

    async def play(world: World) -> None:
        await world.session()
        await world.session("grace")
        await asyncio.sleep(400)
        found = world.service.statistics()
        assert found.sessions == 2
        assert found.worker.running
        assert found.worker.members == found.heartbeat.members == 2
        assert found.heartbeat.visits >= 2
        assert found.worker.crashes == found.heartbeat.crashes == 0

    live(play)


def test_a_service_that_is_not_running_says_so() -> None:
    """Before it is entered and after it is left."""

    async def nothing() -> None:
        raise AssertionError("never reached")

    async def play(world: World) -> None:
        pass

    service = live(play).service
    with pytest.raises(SessionCoreError, match="not running"):
        service.statistics()
    with pytest.raises(SessionCoreError, match="not running"):
        service.call(nothing())


def test_an_empty_store_that_is_handed_in_is_used() -> None:
    """Nothing is kept elsewhere because a store has no records yet."""
    store = WatchedStore()

    async def play(world: World) -> None:
        await world.session()

    live(play, store=store)
    assert len(store.saved) == 1


def test_leaving_closes_every_session_at_once() -> None:
    """Ten refreshes that hang cost the time of one."""
    watch = Watch()
    ends: list[float] = []

    async def play(world: World) -> None:
        sessions = [await world.session() for _ in range(10)]

        async def never() -> None:
            await asyncio.get_running_loop().create_future()

        watch.transport.before = lambda _request: never()
        for session in sessions:
            asyncio.create_task(session.force_refresh_session()).add_done_callback(lambda task: task.exception())
        await asyncio.sleep(1)
        await world.service.__aexit__(None, None, None)
        ends.append(world.clock.boot())
        assert {task.get_name() for task in asyncio.all_tasks()} & {"session refresh", "worker", "heartbeat"} == set()
        await world.service.__aenter__()

    live(play, wrap=watch.wrap)
    assert ends[0] < 25


# From threads


def test_a_thread_runs_work_on_the_services_loop() -> None:
    """With its answer, its error, its timeout; and a clear word on the loop's own thread."""
    config = SessionConfig(issuer=ISSUER, client_id="session-lab", redirect_uri=CALLBACK)

    async def main() -> None:
        async with SessionService(config) as service:
            loop = asyncio.get_running_loop()
            cancelled = threading.Event()

            async def answer() -> bool:
                return asyncio.get_running_loop() is loop

            async def fail() -> None:
                raise SessionCoreError("no")

            async def slow() -> None:
                try:
                    await loop.create_future()
                finally:
                    cancelled.set()

            assert await asyncio.to_thread(lambda: service.call(answer()))
            with pytest.raises(SessionCoreError, match="no"):
                await asyncio.to_thread(lambda: service.call(fail()))
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(lambda: service.call(slow(), timeout_s=0.01))
            await asyncio.to_thread(cancelled.wait, 5)
            assert cancelled.is_set()
            with pytest.raises(SessionCoreError, match="event loop that it blocks"):
                service.call(answer())

    asyncio.run(main())


def test_the_live_doors_are_opened_and_closed_with_the_service() -> None:
    """Without a transport or a pool handed in it makes its own, and leaves none open."""
    config = SessionConfig(issuer="http://127.0.0.1:9/idp", client_id="c", redirect_uri=CALLBACK)

    async def main() -> None:
        async with SessionService(config) as service:
            with pytest.raises(ProviderUnreachableError, match="cannot be reached"):
                await service.login()

    asyncio.run(main())
    assert drop_event is not None


# Bad input


def test_a_provider_unreachable_at_start_is_said_and_works_later() -> None:
    """The service starts, the first login says what is wrong, and the next one works."""
    watch = Watch()

    async def play(world: World) -> None:
        world.order(kind="refuse", until_s=60.0)
        with pytest.raises(ProviderUnreachableError, match=r"cannot be reached.*check that it runs") as caught:
            await world.service.login()
        assert caught.value.outcome is Outcome.OFFLINE
        await asyncio.sleep(60)
        session = await sign_in(world, watch)
        assert session.state is State.ACTIVE

    live(play, wrap=watch.wrap, redirect_uri=CALLBACK)


def test_a_discovery_document_that_lies_about_its_issuer_is_not_believed() -> None:
    """One sentence names both; nothing was sent anywhere else."""
    watch = Watch()

    async def play(world: World) -> None:
        world.order(kind="set_field", endpoint="discovery", field="issuer", value="https://evil.example")
        with pytest.raises(DiscoveryError, match=r"says it belongs to 'https://evil.example'"):
            await world.service.login()

    live(play, wrap=watch.wrap)
    assert [request.url for request in watch.transport.begun] == [f"{ISSUER}/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"expires_in": -5}, TokenAnswerError, "expires_in"),
        ({"expires_in": "soon"}, TokenAnswerError, "expires_in"),
        ({"expires_in": 0}, TokenAnswerError, "expires_in"),
        ({"token_type": "mac"}, TokenAnswerError, "Bearer"),
        ({"token_type": None}, TokenAnswerError, "Bearer"),
        ({"access_token": None}, TokenAnswerError, "without an access token"),
        ({"access_token": "two words"}, TokenAnswerError, "without an access token"),
        ({"id_token": None}, TokenVerificationError, "no ID token"),
        ({"id_token": "not.a.jwt"}, TokenVerificationError, "not a JWT"),
    ],
)
def test_a_sign_in_with_a_bad_token_answer_is_one_sentence_and_no_session(
    changes: dict[str, Any], error: type[ProviderError], sentence: str
) -> None:
    """Nothing is kept of it."""
    watch, store = Watch(), WatchedStore()

    async def play(world: World) -> None:
        await world.service.oauth.metadata()
        spoil_token_answer(watch, **changes)
        with pytest.raises(error, match=sentence) as caught:
            await sign_in(world, watch)
        assert str(caught.value).count("\n") == 0
        assert len(world.service) == len(store) == 0

    live(play, wrap=watch.wrap, redirect_uri=CALLBACK, store=store)


@pytest.mark.parametrize("kind", ["unsigned_id_token", "foreign_id_token"])
def test_an_id_token_that_no_key_vouches_for_makes_no_session(kind: str) -> None:
    """`alg: none`, or signed with a key of somebody else."""
    watch = Watch()

    async def play(world: World) -> None:
        world.order(kind=kind)
        with pytest.raises(TokenVerificationError, match=r"algorithm|signature|signed"):
            await sign_in(world, watch)
        assert len(world.service) == 0

    live(play, wrap=watch.wrap, redirect_uri=CALLBACK)


@pytest.mark.parametrize(
    ("changes", "life_s"), [({"expires_in": None}, 300.0), ({"expires_in": 10**15}, 400 * 86_400.0)]
)
def test_a_life_that_is_not_stated_or_absurd_is_a_guess_that_does_no_harm(
    changes: dict[str, Any], life_s: float
) -> None:
    """Five minutes where nothing is said, and never more than 400 days; no timer overflows."""
    watch = Watch()

    async def play(world: World) -> None:
        await world.service.oauth.metadata()
        spoil_token_answer(watch, **changes)
        session = await sign_in(world, watch)
        assert session.status().token_life_s == life_s
        await asyncio.sleep(1000)
        assert (await session.client.get("echo")).status_code == 200

    live(play, wrap=watch.wrap, redirect_uri=CALLBACK)


@pytest.mark.parametrize(
    "changes",
    [{"expires_in": -1}, {"token_type": "mac"}, {"access_token": None}, {"id_token": "x"}, {"expires_in": []}],
)
def test_a_bad_answer_to_a_refresh_costs_nothing_inside_the_grace_window(changes: dict[str, Any]) -> None:
    """The current token serves, the answer is asked for again, and nobody is signed out."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session()
        spoil_token_answer(watch, **changes)
        result = await session.force_refresh_session()
        assert result.outcome is Outcome.AMBIGUOUS
        assert (await session.client.get("echo")).status_code == 200
        watch.transport.before = lambda _request: None
        await asyncio.sleep(60)
        assert session.state is State.ACTIVE
        await asyncio.sleep(4000)
        assert (await session.client.get("echo")).status_code == 200

    world = live(play, wrap=watch.wrap, grace_s=60.0)
    assert world.facts(SessionEnded) == []
    assert world.reuse_events == 0


def test_a_call_back_that_was_tampered_with_makes_no_session() -> None:
    """Another state, another issuer, an error, or no code."""
    watch = Watch()

    async def play(world: World) -> None:
        login = await world.service.login()
        good = await HeadlessUserAgent(watch.transport).sign_in(login, "ada", "demo")
        url = httpx.URL(good)
        for bad in (
            url.copy_set_param("state", "other"),
            url.copy_remove_param("state"),
            url.copy_set_param("iss", "https://evil.example"),
            url.copy_remove_param("code"),
            url.copy_set_param("error", "access_denied"),
        ):
            with pytest.raises(ProviderError):
                await world.service.finish_login(str(bad), login)
        assert len(world.service) == 0
        assert (await world.service.finish_login(good, login)).state is State.ACTIVE

    live(play, wrap=watch.wrap, redirect_uri=CALLBACK)


def test_two_services_with_the_same_seed_live_the_same_life() -> None:
    """Every id and every jitter comes from what is handed in."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=503, endpoint="token", until_s=3400.0)
        await asyncio.sleep(4000)
        await session.client.get("echo")

    first, second = live(play), live(play)
    assert first.events == second.events
    assert {event.origin.session_id for event in first.events} >= {SERVICE_ID} or len(first.events) > 5


def test_without_a_seed_chance_is_real() -> None:
    """Two services never share a session id."""
    config = SessionConfig(issuer=ISSUER, client_id="session-lab", redirect_uri=CALLBACK)
    services = [SessionService(config, entropy=secrets.token_bytes) for _ in range(2)]
    assert services[0]._origin.stream_id != services[1]._origin.stream_id
    assert services[0]._rng("x").random() != services[0]._rng("x").random()


def test_every_call_of_a_session_is_in_the_log_with_its_session() -> None:
    """Who, where, how long."""

    async def play(world: World) -> None:
        session = await world.session()
        await session.client.get("echo")
        (event,) = [event for event in world.events if isinstance(event.fact, RequestServed)]
        assert (event.origin.session_id, event.origin.user_id) == (session.session_id, "ada")

    live(play, policy=with_(PROFESSIONAL, background=False))


def test_an_ended_session_says_why_for_an_hour_and_is_then_forgotten() -> None:
    """Sessions that end by themselves do not pile up."""

    async def play(world: World) -> None:
        first = await world.session()
        await first.sign_out()
        assert world.service.get(first.session_id) is first
        assert first.ended is EndReason.SIGNED_OUT
        await asyncio.sleep(3_601)
        second = await world.session("grace")
        await second.sign_out()
        assert world.service.sessions() == (second,)

    live(play)


@pytest.mark.parametrize(
    ("configured", "asked", "sent"),
    [
        (None, None, None),
        ("consent", None, "consent"),
        (None, "login", "login"),
        ("consent", "login", "login consent"),
        ("login", "login", "login"),
    ],
)
def test_the_provider_is_asked_for_what_the_configuration_says(
    configured: str | None, asked: str | None, sent: str | None
) -> None:
    """Also where a locked session asks for proof anew: without consent some providers give no refresh token."""

    async def play(world: World) -> None:
        config = msgspec.structs.replace(world.service.config, prompt=configured)
        async with SessionService(config, transport=world.service.around.oauth._transport) as service:
            login = await service.login(prompt=asked)
            assert httpx.URL(login.url).params.get("prompt") == sent

    live(play)
