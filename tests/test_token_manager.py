"""One session's tokens: one refresh at a time, nothing lost, nothing sent twice that must not be."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from stores import WatchedStore
from transports import Watch, is_refresh
from world import ISSUER, World, live, with_

from session_core.config import BASIC, PROFESSIONAL
from session_core.errors import LoginRequiredError, SessionEndedError, TokenUnavailableError
from session_core.events import (
    Event,
    FallbackTried,
    PartCrashed,
    PersistFailed,
    RefreshDiscarded,
    RefreshFailed,
    SessionEnded,
    StateChanged,
    StuckFound,
    TokenFollowed,
    TokenRefreshed,
    TokenRevoked,
)
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.refresh_plan import ProviderProfile
from session_core.session import Session
from session_core.token_manager import TokenManager
from session_core.vocabulary import EndReason, FallbackStep, Outcome, RefreshReason, State, StepOutcome
from session_core.wire import FailureKind, WireAnswer, WireFailure, WireRequest

UNATTENDED = with_(PROFESSIONAL, background=False, refresh={"proactive": False})
"""Nobody refreshes ahead, so the first caller after expiry does."""


def tokens_of(session: Session) -> TokenManager:
    return session._tokens


def held_refresh_token(session: Session) -> str | None:
    tokens = tokens_of(session).tokens
    assert tokens is not None
    return tokens.refresh_token


def refresh_answer(**changes: Any) -> WireAnswer:
    said = {"access_token": "at-new", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt-new", **changes}
    body = msgspec.json.encode({name: value for name, value in said.items() if value is not None})
    return WireAnswer(status=200, headers={"content-type": "application/json"}, body=body)


async def is_dead(world: World, watch: Watch, refresh_token: str) -> bool:
    """Whether the provider refuses a refresh token."""
    asked = WireRequest(
        method="POST",
        url=f"{ISSUER}/token",
        headers=(("content-type", "application/x-www-form-urlencoded"),),
        body=f"grant_type=refresh_token&client_id=session-lab&refresh_token={refresh_token}".encode(),
    )
    answer = await watch.transport.send(asked)
    assert isinstance(answer, WireAnswer)
    return answer.status == 400


def on_event(world: World, react: Callable[[Event], None]) -> None:
    """Let a test listen besides the log."""
    world.listeners.append(react)


# One refresh for all


def test_fifty_callers_at_expiry_make_one_post_and_wait_no_longer_than_it() -> None:
    """Scenario 7: everybody gets the new token within the refresh's round trip and 50 ms."""
    waits: list[float] = []

    async def play(world: World) -> None:
        session = await world.session()
        await world.service.oauth.metadata()
        await asyncio.sleep(3600 - world.clock.boot())

        async def ask() -> str:
            began = world.clock.boot()
            token = await tokens_of(session).get()
            waits.append(world.clock.boot() - began)
            return token

        answers = await asyncio.gather(*(ask() for _ in range(50)))
        assert len(set(answers)) == 1

    world = live(play, policy=UNATTENDED, latency_s=0.2)
    assert world.posts == 1
    assert max(waits) < 0.2 + 0.05
    assert len(waits) == 50


def test_a_cancelled_caller_does_not_cancel_the_refresh_of_the_others() -> None:
    """The refresh belongs to the session, not to whoever asked first."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3600)
        first = asyncio.create_task(tokens_of(session).get())
        await asyncio.sleep(0.05)
        second = asyncio.create_task(tokens_of(session).get())
        await asyncio.sleep(0)
        first.cancel()
        assert await second
        assert first.cancelled()

    world = live(play, policy=UNATTENDED)
    assert world.posts == 1
    assert world.facts(RefreshFailed) == []


def test_the_only_caller_may_leave_and_the_refresh_still_lands() -> None:
    """A token bought by nobody any more is kept."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3600)
        caller = asyncio.create_task(tokens_of(session).get())
        await asyncio.sleep(0.05)
        caller.cancel()
        await asyncio.sleep(1)
        assert tokens_of(session).peek() is not None

    assert live(play, policy=UNATTENDED).posts == 1


@pytest.mark.parametrize("ask", ["get", "peek"])
def test_a_listener_may_ask_for_a_token_while_it_is_told_of_a_refresh(ask: str) -> None:
    """Scenario 10: it gets the new one, at once, and no second refresh follows."""
    got: list[str | None] = []
    asked: list[asyncio.Task[None]] = []

    async def play(world: World) -> None:
        session = await world.session()
        manager = tokens_of(session)

        async def fetch() -> None:
            began = world.clock.boot()
            got.append(await manager.get())
            assert world.clock.boot() - began < 0.1

        def listen(event: Event) -> None:
            if isinstance(event.fact, TokenRefreshed):
                got.append(manager.peek()) if ask == "peek" else asked.append(asyncio.create_task(fetch()))

        on_event(world, listen)
        await asyncio.sleep(3600)
        new = await manager.get()
        await asyncio.gather(*asked)
        assert got == [new]

    assert live(play, policy=UNATTENDED).posts == 1


def test_a_listener_that_forces_a_refresh_on_every_event_joins_the_one_under_way() -> None:
    """No recursion, whichever event it is told of first."""
    joined: list[asyncio.Task[Any]] = []

    async def play(world: World) -> None:
        session = await world.session()

        def listen(event: Event) -> None:
            if isinstance(event.fact, StateChanged) and event.fact.state_to is State.REFRESHING:
                joined.append(asyncio.create_task(session.force_refresh_session()))

        on_event(world, listen)
        result = await session.force_refresh_session()
        assert [(await task).outcome for task in joined] == [result.outcome] == [Outcome.OK]

    assert live(play).posts == 1


def test_a_hung_token_endpoint_frees_its_caller_in_time_and_later_calls_work() -> None:
    """Scenario 11: the caller has its error 0.1 s after its timeout at the latest."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3600)
        world.order(kind="hang", endpoint="token", until_s=20.0)
        began = world.clock.boot()
        with pytest.raises(TokenUnavailableError):
            await tokens_of(session).get(timeout_s=3.0)
        assert 3.0 <= world.clock.boot() - began <= 3.1
        await asyncio.sleep(60)
        assert await tokens_of(session).get()

    live(play, policy=UNATTENDED, grace_s=120.0)


def test_waiting_callers_find_the_token_that_came_meanwhile() -> None:
    """Whoever slept until the next try does not refresh again what another has refreshed."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3600)
        world.order(kind="status", status=503, retry_after_s=10, endpoint="token", times=1)
        waiting = asyncio.create_task(tokens_of(session).get())
        await asyncio.sleep(5)
        assert (await session.force_refresh_session()).outcome is Outcome.OK
        assert await waiting == tokens_of(session).peek()

    assert live(play, policy=UNATTENDED).posts == 2


def test_a_caller_that_waits_while_the_session_ends_is_told_so_and_nothing_crashes() -> None:
    """Sign-out during the pause before a retry: SessionEndedError, and no refresh is begun."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3600)
        world.order(kind="status", status=503, retry_after_s=10, endpoint="token", times=1)
        waiting = asyncio.create_task(tokens_of(session).get())
        await asyncio.sleep(5)
        await session.sign_out()
        with pytest.raises(SessionEndedError) as caught:
            await waiting
        assert caught.value.reason is EndReason.SIGNED_OUT

    world = live(play, policy=UNATTENDED)
    assert world.posts == 1
    assert world.facts(PartCrashed) == []


def test_under_the_basic_policy_the_end_of_the_token_is_the_end() -> None:
    """No refresh, no background: the caller after expiry is asked to sign in."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3599)
        assert await tokens_of(session).get()
        await asyncio.sleep(1)
        with pytest.raises(LoginRequiredError) as caught:
            await tokens_of(session).get()
        assert caught.value.reason is EndReason.NO_REFRESH_TOKEN

    world = live(play, policy=BASIC)
    assert world.posts == 0
    assert [fact.outcome for fact in world.facts(FallbackTried)][:3] == [StepOutcome.SKIPPED] * 3


# Commit


def test_new_tokens_are_durable_before_the_old_are_dropped() -> None:
    """While the store writes them, the old ones are still what is handed out."""
    store = WatchedStore(latency_s=0.5)

    async def play(world: World) -> None:
        session = await world.session()
        old = tokens_of(session).peek()
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(0.5 + 0.2 + 0.4)
        assert len(store.saved) == 2
        assert tokens_of(session).peek() == old
        await refresh
        assert store.saved[-1].tokens.access_token == tokens_of(session).peek() != old

    live(play, store=store)


def test_a_refresh_is_marked_in_the_store_before_it_is_sent_and_cleared_after() -> None:
    """A crash between the answer and the commit can then be seen."""
    store, watch = WatchedStore(), Watch()
    marks: list[float | None] = []

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(100)

        def look(request: WireRequest) -> None:
            if is_refresh(request):
                marks.append(store.saved[-1].refresh_sent_at)

        watch.transport.before = look
        await session.force_refresh_session()
        assert marks == [pytest.approx(100, abs=0.2)]
        assert store.saved[-1].refresh_sent_at is None
        assert [record.version for record in store.saved] == [0, 1, 2]

    live(play, store=store, wrap=watch.wrap)


def test_a_provider_that_does_not_rotate_needs_no_mark() -> None:
    """One write for each refresh is enough."""
    store = WatchedStore()

    async def play(world: World) -> None:
        session = await world.session()
        await session.force_refresh_session()
        assert [record.refresh_sent_at for record in store.saved] == [None, None]

    live(play, store=store, profile=ProviderProfile(rotates=False), provider={"rotates": False})


def test_a_store_that_fails_costs_no_token_and_is_tried_again() -> None:
    """Scenario 32: the tokens stay in memory, DEGRADED and said; written as soon as the store works, then ACTIVE."""
    store = WatchedStore()

    async def play(world: World) -> None:
        session = await world.session()
        store.broken = True
        await session.force_refresh_session()
        new = tokens_of(session).peek()
        assert session.state is State.DEGRADED
        assert session.get_session_health().lowest == "persistence"
        assert (await session.client.get("echo")).status_code == 200
        await asyncio.sleep(70)
        store.broken = False
        assert session.state is State.DEGRADED
        await asyncio.sleep(31)
        assert session.state is State.ACTIVE
        assert store.saved[-1].tokens.access_token == new

    world = live(play, store=store)
    assert len(world.facts(PersistFailed)) >= 4
    assert {fact.error for fact in world.facts(PersistFailed)} == {"session_store"}
    assert world.facts(SessionEnded) == []


def test_a_store_that_fails_at_sign_in_is_seen_in_the_state() -> None:
    """A session that would not survive a restart is not called ACTIVE."""
    store = WatchedStore()
    store.broken = True

    async def play(world: World) -> None:
        session = await world.session()
        assert session.state is State.DEGRADED
        store.broken = False
        await asyncio.sleep(40)
        assert session.state is State.ACTIVE

    live(play, store=store)


def test_a_record_that_another_process_refreshed_is_followed() -> None:
    """Compare-and-swap: the newer tokens stand, nothing is sent, and the session goes on with them."""
    store = WatchedStore()

    async def play(world: World) -> None:
        session = await world.session()
        record = await store.load(session.session_id)
        assert record is not None
        later_s = record.tokens.issued_at + 1
        newer = msgspec.structs.replace(record.tokens, access_token="newer", refresh_token="newer", issued_at=later_s)
        await store.save(msgspec.structs.replace(record, tokens=newer))
        await session.force_refresh_session()
        assert session.state is State.ACTIVE
        assert tokens_of(session).peek() == "newer"

    world = live(play, store=store)
    assert world.posts == 0
    assert len(world.facts(TokenFollowed)) == 1


def test_writing_again_while_a_refresh_commits_leaves_the_newest_tokens_in_the_store() -> None:
    """Two writes of one session never overtake each other."""
    store = WatchedStore(latency_s=0.5)

    async def play(world: World) -> None:
        session = await world.session()
        store.broken = True
        await session.force_refresh_session()
        store.broken = False
        again = asyncio.create_task(tokens_of(session).retry_persist())
        await asyncio.sleep(0.1)
        await session.force_refresh_session()
        await again
        record = await store.load(session.session_id)
        assert record is not None
        assert record.tokens.access_token == tokens_of(session).peek()
        assert record.refresh_sent_at is None
        assert session.status().health.parts.persistence == 100

    live(play, store=store)


# Restart


def restart_after_lost_refresh(grace_s: float, downtime_s: float) -> World:
    """A process dies between the provider's rotation and its own write, and comes back."""
    store = WatchedStore()

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(100)
        world.order(kind="hang", acts=True, endpoint="token", times=1)
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(1)
        record = await store.load(session.session_id)
        assert record is not None
        refresh.cancel()
        await session.stop_session_management()
        tokens_of(session).abandon()
        await asyncio.sleep(downtime_s)
        assert record.refresh_sent_at is not None

        again = Session(world.service.around, origin=session._journal.origin, rng=session._tokens._rng)
        again.resume_from(record)
        again.start_session_management()
        await asyncio.sleep(60)
        world.resumed = again
        assert (await again.client.get("echo")).status_code == 200
        await asyncio.sleep(3600)
        await again.aclose()

    return live(play, store=store, grace_s=grace_s, policy=with_(PROFESSIONAL, refresh={"request_timeout_s": 2.0}))


def test_a_restart_inside_the_grace_window_replays_at_once() -> None:
    """Scenario 31: the provider answers with the successor, and the session goes on."""
    world = restart_after_lost_refresh(grace_s=60.0, downtime_s=10.0)
    assert world.provider.statistics().replays_answered == 1
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []
    assert world.resumed.state is State.ACTIVE


@pytest.mark.parametrize(("grace_s", "downtime_s"), [(0.0, 10.0), (30.0, 60.0)])
def test_a_restart_outside_the_grace_window_never_replays(grace_s: float, downtime_s: float) -> None:
    """Scenario 31: the access token serves to its end, then one clean login with its reason."""
    world = restart_after_lost_refresh(grace_s=grace_s, downtime_s=downtime_s)
    assert world.posts == 1
    assert world.reuse_events == 0
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.REFRESH_AMBIGUOUS]


# Sign-out during a refresh


@pytest.mark.parametrize("offset_s", [0.0, 0.02, 0.049, 0.05, 0.06, 0.099, 0.1, 0.12, 0.15, 0.17, 0.2, 0.21, 0.25])
def test_a_sign_out_during_a_refresh_wins(offset_s: float) -> None:
    """Scenario 28, at each await of the refresh: nothing is stored, told or left alive at the provider."""
    store, watch = WatchedStore(latency_s=0.05), Watch()

    async def play(world: World) -> None:
        session = await world.session()
        first = held_refresh_token(session)
        assert first is not None
        await world.service.oauth.metadata()
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(offset_s)
        await session.sign_out()
        await refresh
        await asyncio.sleep(5)
        assert len(store) == 0
        assert session.state is State.SIGNED_OUT
        assert tokens_of(session).peek() is None
        ended = next(i for i, event in enumerate(world.events) if isinstance(event.fact, SessionEnded))
        later = [type(event.fact) for event in world.events[ended:]]
        assert TokenRefreshed not in later
        assert RefreshFailed not in later
        asked = [request for request in watch.transport.begun if is_refresh(request)]
        answered = watch.transport.refresh_tokens()
        if answered and not world.facts(TokenRefreshed):
            assert [fact.revoked for fact in world.facts(RefreshDiscarded)] == [True]
        assert len(asked) == (0 if offset_s <= 0.05 else 1)
        for token in (first, *answered):
            assert await is_dead(world, watch, token)

    world = live(play, store=store, wrap=watch.wrap, latency_s=0.1)
    assert len(world.facts(SessionEnded)) == 1
    assert world.facts(PartCrashed) == []


def test_a_sign_out_while_a_refusal_is_written_down_does_not_bring_the_chain() -> None:
    """Whoever has signed out is not signed in again by a stored credential."""
    store = WatchedStore(latency_s=0.5)

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="revoke_refresh_tokens")
        world.order(kind="revoke_access_tokens")
        call = asyncio.create_task(session.client.get("echo"))
        await asyncio.sleep(1.2)
        assert [fact.outcome for fact in world.facts(RefreshFailed)] == [Outcome.REJECTED]
        await session.sign_out()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(5)
        assert len(store) == 0
        assert session.state is State.SIGNED_OUT

    world = live(play, store=store)
    assert world.facts(FallbackTried) == []


def test_a_sign_out_while_the_store_is_written_again_leaves_it_empty() -> None:
    """The late write does not bring the tokens back."""
    store = WatchedStore(latency_s=0.5)

    async def play(world: World) -> None:
        session = await world.session()
        tokens_of(session)._held.persisted = False
        again = asyncio.create_task(tokens_of(session).retry_persist())
        await asyncio.sleep(0.1)
        await session.sign_out()
        await again
        assert len(store) == 0

    live(play, store=store)


def test_a_sign_out_during_the_chain_discards_what_it_brings() -> None:
    """Tokens fetched for somebody who has left are given back."""
    watch = Watch()

    async def play(world: World) -> None:
        agent = HeadlessUserAgent(watch.transport)
        login = await world.service.login()
        session = await world.service.finish_login(await agent.sign_in(login, "ada", "demo"), login, user_agent=agent)
        world.order(kind="revoke_refresh_tokens")
        await session.force_refresh_session()
        tokens = tokens_of(session).tokens
        assert tokens is not None
        await asyncio.sleep(tokens.expires_at - world.clock.boot() + 0.05)
        assert session.state is State.RECOVERING
        await session.sign_out()
        await asyncio.sleep(5)
        assert session.state is State.SIGNED_OUT
        for token in watch.transport.refresh_tokens():
            assert await is_dead(world, watch, token)

    world = live(play, wrap=watch.wrap, redirect_uri="http://127.0.0.1:8501/auth/callback")
    assert len(world.facts(RefreshDiscarded)) == 1
    assert len(world.facts(SessionEnded)) == 1


def test_the_chain_is_discarded_when_it_brings_nothing_to_a_signed_out_user() -> None:
    """A login request that nobody waits for any more is dropped."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="revoke_refresh_tokens")
        await session.force_refresh_session()
        await asyncio.sleep(3600 - world.clock.boot() - 0.01)
        world.order(kind="delay", delay_s=2.0, endpoint="discovery")
        world.service.oauth._metadata = None
        await asyncio.sleep(1)
        assert session.state is State.RECOVERING
        await session.sign_out()
        await asyncio.sleep(5)
        assert tokens_of(session).login is None

    world = live(play)
    assert [fact.revoked for fact in world.facts(RefreshDiscarded)] == [False]
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.SIGNED_OUT]


def test_a_revocation_that_fails_is_not_reported_as_done() -> None:
    """RefreshDiscarded says whether the provider took the token back."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=503, endpoint="revocation")
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(0.15)
        await session.sign_out()
        await refresh

    world = live(play)
    assert [fact.revoked for fact in world.facts(RefreshDiscarded)] == [False]
    assert [fact.outcome for fact in world.facts(TokenRevoked)] == [Outcome.TRANSIENT]


# Crashes and stuck refreshes


def test_a_crash_inside_a_refresh_is_logged_and_the_session_lives_on() -> None:
    """A mistake in a transport is one failed attempt, said with its type."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session()

        def crash(request: WireRequest) -> None:
            watch.transport.before = lambda _request: None
            raise RuntimeError("boom")

        watch.transport.before = crash
        result = await session.force_refresh_session()
        assert result.outcome is Outcome.AMBIGUOUS
        assert session.state is State.DEGRADED
        assert (await session.client.get("echo")).status_code == 200
        await asyncio.sleep(3600)
        assert session.state is State.ACTIVE

    world = live(play, wrap=watch.wrap, grace_s=60.0)
    assert world.facts(PartCrashed) == [PartCrashed(part="refresh", error="RuntimeError")]
    assert world.reuse_events == 0


def test_a_crash_after_sending_without_grace_is_treated_as_spent() -> None:
    """The refresh token may have been used: it is not sent again."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session()

        def crash(request: WireRequest) -> None:
            if is_refresh(request):
                raise RuntimeError("boom")

        watch.transport.before = crash
        await session.force_refresh_session()
        await asyncio.sleep(3700)
        assert session.state is State.EXPIRED

    world = live(play, wrap=watch.wrap)
    assert sum(is_refresh(request) for request in watch.transport.begun) == 1
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.REFRESH_AMBIGUOUS]


async def never(_request: WireRequest | None = None) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("already_degraded", [False, True])
def test_a_stuck_refresh_is_found_and_forced_on(already_degraded: bool) -> None:  # noqa: FBT001
    """A transport without a timeout hangs: found by the worker, said, and the token treated as maybe spent."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session()
        if already_degraded:
            world.order(kind="status", status=503, endpoint="token", times=1)
            await session.force_refresh_session()
            assert session.state is State.DEGRADED
        watch.transport.before = lambda request: never() if is_refresh(request) else None
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(200)
        assert not tokens_of(session).refreshing
        assert session.state is State.DEGRADED
        assert refresh.done()
        watch.transport.before = lambda _request: None
        await asyncio.sleep(3700)
        assert session.state is State.EXPIRED

    world = live(play, wrap=watch.wrap)
    assert [fact.state for fact in world.facts(StuckFound)] == [
        State.DEGRADED if already_degraded else State.REFRESHING
    ]
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.REFRESH_AMBIGUOUS]
    assert sum(is_refresh(request) for request in watch.transport.begun) == 1 + already_degraded


def test_an_abandoned_write_does_not_leave_the_store_behind_for_ever() -> None:
    """A write that hung and was given up may have landed; later writes still find their way."""

    class Hanging(WatchedStore):
        hang = False

        async def save(self, record: Any) -> Any:
            written = await super().save(record)
            if self.hang:
                self.hang = False
                await never()
            return written

    store = Hanging()

    async def play(world: World) -> None:
        session = await world.session()
        store.hang = True
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(200)
        assert refresh.done()
        await asyncio.sleep(300)
        await session.force_refresh_session()
        record = await store.load(session.session_id)
        assert record is not None
        assert record.tokens.access_token == tokens_of(session).peek()

    live(play, store=store, grace_s=600.0)


# When the endpoint is left alone


def test_a_forced_refresh_under_an_open_breaker_leaves_the_endpoint_alone() -> None:
    """After a 429 no button reaches the provider before its time."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=429, retry_after_s=120, endpoint="token", times=1)
        first = await session.force_refresh_session()
        second = await session.force_refresh_session()
        assert first.outcome is second.outcome is Outcome.THROTTLED
        assert second.retry_at >= 120
        assert world.posts == 1
        await asyncio.sleep(140)
        assert (await session.force_refresh_session()).outcome is Outcome.OK

    live(play, policy=with_(PROFESSIONAL, background=False))


def test_a_forced_refresh_with_a_spent_token_leaves_the_endpoint_alone() -> None:
    """The button cannot cause a reuse; it is told when the chain will be tried."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="drop_after", endpoint="token", times=1)
        assert (await session.force_refresh_session()).outcome is Outcome.AMBIGUOUS
        again = await session.force_refresh_session()
        assert again.outcome is Outcome.AMBIGUOUS
        tokens = tokens_of(session).tokens
        assert tokens is not None
        assert again.retry_at == tokens.expires_at

    assert live(play, policy=with_(PROFESSIONAL, background=False)).posts == 1


@pytest.mark.parametrize("reason", ["forced", "unauthorized"])
def test_a_refresh_that_was_not_due_is_replayed_inside_the_grace_window_too(reason: str) -> None:
    """The window does not wait for the refresh point."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(100)
        world.order(kind="drop_after", endpoint="token", times=1)
        if reason == "unauthorized":
            world.order(kind="revoke_access_tokens")
            await session.client.get("echo")
        else:
            await session.force_refresh_session()
        await asyncio.sleep(60)
        assert session.state is State.ACTIVE
        await asyncio.sleep(3700)
        assert session.state is State.ACTIVE

    world = live(play, grace_s=30.0)
    assert world.provider.statistics().replays_answered == 1
    assert world.facts(SessionEnded) == []


def test_a_new_sign_in_while_the_provider_throttles_waits_without_spinning() -> None:
    """The breaker outlives the sign-in, and a short token that falls due under it costs no busy loop."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=429, retry_after_s=600, endpoint="token", times=1)
        await session.force_refresh_session()
        await session.begin(world.grant(), sent_at=world.clock.boot())
        before = world.service.statistics().worker.visits
        await asyncio.sleep(300)
        assert world.service.statistics().worker.visits - before < 50
        assert session.state is not State.REFRESHING
        await asyncio.sleep(400)
        assert session.state is State.ACTIVE

    world = live(play, access_ttl_s=120)
    assert world.facts(StuckFound) == []
    assert world.at(TokenRefreshed)[0] >= 600


def test_a_refresh_that_moves_nothing_is_not_repeated_within_a_minute() -> None:
    """The guard holds for callers as well as for the worker."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="unchanged_expiry", until_s=3500.0)
        await asyncio.sleep(3400)
        for _ in range(100):
            await session.client.get("echo")
            await asyncio.sleep(0.5)

    world = live(play)
    moves = [fact.moved for fact in world.facts(TokenRefreshed)]
    assert moves
    assert not any(moves)
    assert all(b - a >= 60 for a, b in itertools.pairwise(world.at(TokenRefreshed)))


# What an answer may bring


def test_an_answer_without_a_refresh_token_keeps_the_old_one() -> None:
    """RFC 6749 section 6; the same for what else it leaves out."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session()
        before = tokens_of(session).tokens
        assert before is not None
        answer = refresh_answer(refresh_token=None)
        watch.transport.before = lambda request: answer if is_refresh(request) else None
        assert (await session.force_refresh_session()).outcome is Outcome.OK
        after = tokens_of(session).tokens
        assert after is not None
        assert after.access_token == "at-new"
        assert (after.refresh_token, after.id_token, after.scope) == (
            before.refresh_token,
            before.id_token,
            before.scope,
        )

    world = live(play, wrap=watch.wrap)
    assert [fact.rotated for fact in world.facts(TokenRefreshed)] == [False]


def test_tokens_of_another_user_are_not_adopted_by_a_refresh() -> None:
    """An ID token of someone else: the whole answer is dropped and the session keeps what it has."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session("ada")
        before = tokens_of(session).peek()
        answer = refresh_answer(id_token=world.grant("grace").id_token)
        watch.transport.before = lambda request: answer if is_refresh(request) else None
        assert (await session.force_refresh_session()).outcome is Outcome.AMBIGUOUS
        assert tokens_of(session).peek() == before

    world = live(play, wrap=watch.wrap)
    assert [fact.error for fact in world.facts(RefreshFailed)] == ["id_token_mismatch"]


def test_another_user_in_the_browser_does_not_take_over_the_session() -> None:
    """Silent re-authentication brings whoever is signed in at the provider; only the same user may go on."""
    watch = Watch()

    async def play(world: World) -> None:
        agent = HeadlessUserAgent(watch.transport)
        login = await world.service.login()
        session = await world.service.finish_login(await agent.sign_in(login, "ada", "demo"), login, user_agent=agent)
        agent.forget()
        other = await world.service.login()
        await agent.sign_in(other, "grace", "demo")
        world.order(kind="revoke_refresh_tokens")
        await asyncio.sleep(3700)
        assert session.state is State.EXPIRED
        assert session.user_id == "ada"

    world = live(play, wrap=watch.wrap, redirect_uri="http://127.0.0.1:8501/auth/callback")
    silent = [f for f in world.facts(FallbackTried) if f.step is FallbackStep.SILENT_REAUTHENTICATION]
    assert [(fact.outcome, fact.detail) for fact in silent] == [(StepOutcome.FAILED, "id_token_mismatch")]


def test_the_same_user_in_the_browser_brings_the_session_back_silently() -> None:
    """Scenario 39: `prompt=none` rescues without a visible step."""
    watch = Watch()

    async def play(world: World) -> None:
        agent = HeadlessUserAgent(watch.transport)
        login = await world.service.login()
        session = await world.service.finish_login(await agent.sign_in(login, "ada", "demo"), login, user_agent=agent)
        world.order(kind="revoke_refresh_tokens")
        await asyncio.sleep(3700)
        assert session.state is State.ACTIVE

    world = live(play, wrap=watch.wrap, redirect_uri="http://127.0.0.1:8501/auth/callback")
    assert RefreshReason.RECOVERY in [fact.reason for fact in world.facts(TokenRefreshed)]
    assert world.facts(SessionEnded) == []


def test_a_chain_that_cannot_be_concluded_is_tried_again() -> None:
    """The provider is down just when the chain is at work: postponed, not ended."""
    watch = Watch()

    async def play(world: World) -> None:
        agent = HeadlessUserAgent(watch.transport)
        login = await world.service.login()
        session = await world.service.finish_login(await agent.sign_in(login, "ada", "demo"), login, user_agent=agent)
        world.order(kind="revoke_refresh_tokens")
        world.order(kind="status", status=503, endpoint="authorize", from_s=3500.0, until_s=3700.0)
        await asyncio.sleep(3650)
        assert session.state is State.DEGRADED
        await asyncio.sleep(200)
        assert session.state is State.ACTIVE

    world = live(play, wrap=watch.wrap, redirect_uri="http://127.0.0.1:8501/auth/callback")
    assert StepOutcome.LATER in [fact.outcome for fact in world.facts(FallbackTried)]
    assert world.facts(SessionEnded) == []


# A token an API refused


def test_a_refused_token_is_replaced_once_for_all_who_ask() -> None:
    """Ten calls with the refused token: one refresh, ten times the new one."""

    async def play(world: World) -> None:
        session = await world.session()
        manager = tokens_of(session)
        old = await manager.get()
        answers = await asyncio.gather(*(manager.replace(old) for _ in range(10)))
        assert set(answers) == {manager.peek()}
        assert await manager.replace(old) == manager.peek()

    assert live(play).posts == 1


def test_a_second_refusal_within_a_minute_is_believed() -> None:
    """The API that refuses the new token too gets no third one before a minute is over."""

    async def play(world: World) -> None:
        session = await world.session()
        manager = tokens_of(session)
        new = await manager.replace(await manager.get())
        assert new is not None
        assert await manager.replace(new) is None
        await asyncio.sleep(60)
        assert await manager.replace(new) not in (None, new)

    assert live(play).posts == 2


def test_a_refused_token_joins_the_refresh_under_way() -> None:
    """No second request for what is already being fetched."""

    async def play(world: World) -> None:
        session = await world.session()
        manager = tokens_of(session)
        old = await manager.get()
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(0.01)
        assert await manager.replace(old) == manager.peek() != old
        await refresh

    assert live(play).posts == 1


def test_a_refused_token_that_cannot_be_replaced_is_none() -> None:
    """While the token endpoint is in trouble the caller keeps its 401; after the end there is nothing at all."""

    async def play(world: World) -> None:
        session = await world.session()
        manager = tokens_of(session)
        old = await manager.get()
        world.order(kind="status", status=503, endpoint="token")
        assert await manager.replace(old) is None
        assert await manager.replace(old) is None
        await session.sign_out()
        assert await manager.replace(old) is None
        with pytest.raises(SessionEndedError):
            await manager.get()

    assert live(play, policy=with_(PROFESSIONAL, background=False)).posts == 1


# Small print


def test_the_statistics_say_how_refreshing_goes() -> None:
    """Counts, the current streak, the last outcome and when the next try may be."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=503, endpoint="token", times=2)
        for _ in range(3):
            await session.force_refresh_session()
        found = tokens_of(session).statistics()
        assert (found.refreshes, found.refresh_failures, found.failures_in_row) == (1, 2, 0)
        assert found.last_outcome is Outcome.OK

    live(play, policy=with_(PROFESSIONAL, background=False))


def test_a_profile_that_distrusts_retry_after_keeps_its_own_pace() -> None:
    """A provider known for absurd Retry-After values is not believed."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=503, retry_after_s=3000, endpoint="token", times=1)
        await session.force_refresh_session()
        assert tokens_of(session).retry_at < world.clock.boot() + 60

    live(play, profile=ProviderProfile(honours_retry_after=False))


def test_waking_without_tokens_or_with_a_throttled_provider_does_nothing() -> None:
    """Nothing is resumed after the end, and a throttled provider keeps its peace."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=429, retry_after_s=600, endpoint="token", times=1)
        await session.force_refresh_session()
        retry_at = tokens_of(session).retry_at
        tokens_of(session).resume(world.clock.boot())
        assert tokens_of(session).retry_at == retry_at
        await session.sign_out()
        tokens_of(session).resume(world.clock.boot())
        tokens_of(session).abandon()
        await tokens_of(session).settle(1.0)
        assert await tokens_of(session).retry_persist()

    assert live(play).posts == 1


def test_a_client_credential_never_stands_in_for_a_user() -> None:
    """A confidential client's own token is not the user's: the user is asked to sign in."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session("ada")
        world.order(kind="revoke_refresh_tokens")
        await asyncio.sleep(3700)
        assert session.state is State.EXPIRED

    live(
        play,
        wrap=watch.wrap,
        client_id="session-lab-service",
        client_secret="session-lab-service-demo-secret",
        auth_method="client_secret_basic",
    )
    assert not any(b"client_credentials" in request.body for request in watch.transport.begun)


def test_an_offline_refresh_after_a_good_probe_is_the_providers_trouble() -> None:
    """The network answers and only the token endpoint does not: DEGRADED, not OFFLINE."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session()
        refused = WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)
        watch.transport.before = lambda request: refused if is_refresh(request) else None
        await session.force_refresh_session()
        assert session.state is State.OFFLINE
        await session.force_refresh_session()
        assert session.state is State.DEGRADED

    world = live(play, wrap=watch.wrap, policy=with_(PROFESSIONAL, background=False))
    assert [fact.outcome for fact in world.facts(RefreshFailed)] == [Outcome.OFFLINE, Outcome.TRANSIENT]


def test_one_api_that_refuses_a_good_token_does_not_end_the_session() -> None:
    """Without a word from the provider a 401 is the API's own: the call fails, the session stays to its end."""

    async def play(world: World) -> None:
        session = await world.session()
        manager = tokens_of(session)
        assert manager.tokens is not None
        manager._held.tokens = msgspec.structs.replace(manager.tokens, refresh_token=None)
        world.order(kind="status", status=401, endpoint="api", times=1)
        assert (await session.client.get("echo")).status_code == 401
        assert (await session.client.get("echo")).status_code == 200
        assert session.state is State.DEGRADED

    assert live(play).facts(SessionEnded) == []
