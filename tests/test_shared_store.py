"""Several processes keep one session in a shared store: one refreshes, the others follow, and a death is survived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from world import World, live

from session_core.errors import SessionEndedError
from session_core.events import SessionEnded, TokenFollowed, TokenRefreshed
from session_core.service import SessionService
from session_core.session import Session
from session_core.session_keeper import LEASE_S
from session_core.session_store import MemorySessionStore, SessionRecord, SessionStoreError
from session_core.vocabulary import EndReason, State


class SharedStore(MemorySessionStore):
    """One store for several services; `broken` makes every call fail."""

    shared = True
    broken = False

    async def load(self, session_id: str) -> SessionRecord | None:
        await asyncio.sleep(0.002)
        if self.broken:
            raise SessionStoreError("The store does not answer.")
        return await super().load(session_id)

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        await asyncio.sleep(0.002)
        if self.broken:
            raise SessionStoreError("The store does not answer.")
        return await super().save(record)


@asynccontextmanager
async def another_process(world: World) -> AsyncIterator[SessionService]:
    """A second service with the same clock, provider and store."""
    first = world.service
    async with SessionService(
        first.config,
        emit=world.events.append,
        clock=world.clock,
        store=first.around.store,
        transport=first._transport,
        pool=first._pool,
        entropy=first._entropy,
        seed="another",
    ) as service:
        yield service


async def beside(service: SessionService, session: Session) -> Session:
    other = await service.resume(session.session_id)
    assert other is not None
    return other


def test_two_processes_at_expiry_make_one_post_and_hold_the_same_tokens() -> None:
    """Scenario 8: one POST a token life, no sign-out, both hold the newest refresh token."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await asyncio.sleep(4 * 3600)
            assert session._tokens.tokens == other._tokens.tokens
            for one in (session, other):
                assert (await one.client.get("echo")).status_code == 200

    world = live(play, store=SharedStore())
    assert world.posts == len(world.facts(TokenRefreshed))
    assert 4 <= world.posts <= 5
    assert len(world.facts(TokenFollowed)) == world.posts
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


def test_callers_in_two_processes_at_the_instant_of_expiry_share_one_post() -> None:
    """Without any background work: fifty callers in each process, one request."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await session.stop_session_management()
            await other.stop_session_management()
            await asyncio.sleep(3600)
            answers = await asyncio.gather(*(one.client.get("echo") for one in (session, other) for _ in range(50)))
            assert {answer.status_code for answer in answers} == {200}

    world = live(play, store=SharedStore())
    assert world.posts == 1
    assert world.reuse_events == 0


@pytest.mark.parametrize("grace_s", [0.0, 30.0])
def test_the_death_of_the_one_that_refreshes_is_survived(grace_s: float) -> None:
    """Scenario 9: its lease runs out and another takes over within ten seconds, never with a token that may be spent."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await session.stop_session_management()
            await other.stop_session_management()
            await asyncio.sleep(3600)
            world.order(kind="delay", delay_s=9.0, endpoint="token", times=1)
            dying = asyncio.create_task(session.client.get("echo"))
            await asyncio.sleep(0.5)
            # Killed: nothing of it runs any more, so nothing releases or renews the lease.
            session._keeper.release()
            session._tokens.abandon()
            dying.cancel()
            began_at = world.clock.boot()
            if grace_s:
                assert (await other.client.get("echo")).status_code == 200
                assert world.clock.boot() - began_at <= 10
            else:
                with pytest.raises(SessionEndedError) as caught:
                    await other.client.get("echo")
                assert caught.value.reason is EndReason.REFRESH_AMBIGUOUS

    world = live(play, store=SharedStore(), grace_s=grace_s)
    assert world.reuse_events == 0


def test_a_living_holder_is_never_robbed() -> None:
    """A refresh slower than the lease keeps renewing it: the others wait and follow."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await asyncio.sleep(3600 - 100)
            world.order(kind="delay", delay_s=LEASE_S + 3, endpoint="token", times=1)
            slow = asyncio.create_task(session.force_refresh_session())
            await asyncio.sleep(0.1)
            await other.force_refresh_session()
            await slow
            assert session._tokens.tokens == other._tokens.tokens

    world = live(play, store=SharedStore())
    assert world.posts == 2
    assert world.reuse_events == 0


def test_a_sign_out_in_one_process_shows_in_the_others_within_a_minute() -> None:
    """Scenario 40: this one stops using its tokens, says why, and nothing usable stays stored."""
    store = SharedStore()

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await session.sign_out()
            await asyncio.sleep(60)
            assert other.state is State.SIGNED_OUT
            with pytest.raises(SessionEndedError) as caught:
                await other.client.get("echo")
            assert caught.value.reason is EndReason.SIGNED_OUT_ELSEWHERE
            assert len(store) == 0

    world = live(play, store=store)
    assert sorted(fact.reason for fact in world.facts(SessionEnded)) == ["signed_out", "signed_out_elsewhere"]


def test_a_shared_store_that_fails_costs_no_call_while_the_token_is_good() -> None:
    """No refresh token is sent that another process might be sending too, until nothing else is left."""
    store = SharedStore()

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3000)
        store.broken = True
        await asyncio.sleep(590)
        assert world.posts == 0
        assert (await session.client.get("echo")).status_code == 200
        await asyncio.sleep(300)
        assert (await session.client.get("echo")).status_code == 200
        assert world.posts == 1
        store.broken = False
        await asyncio.sleep(60)
        assert session.state is State.ACTIVE

    live(play, store=store)


def test_a_process_that_starts_later_takes_the_session_up() -> None:
    """A restart: the record is enough to go on without a sign-in."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(5000)
        await session.aclose()
        async with another_process(world) as service:
            other = await beside(service, session)
            assert (await other.client.get("echo")).status_code == 200
            assert await service.resume("never-stored") is None

    assert live(play, store=SharedStore()).facts(SessionEnded) == []


def test_news_that_was_read_and_not_heeded_is_still_news() -> None:
    """A look at the store that came to nothing must not make old tokens pass for the stored ones."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await session.force_refresh_session()
            await other._keeper.look()
            await other.force_refresh_session()
            assert session._tokens.tokens == other._tokens.tokens

    world = live(play, store=SharedStore())
    assert world.posts == 1
    assert world.reuse_events == 0


def test_what_a_failed_write_left_in_the_store_is_no_news() -> None:
    """A process that refreshed without its store does not go back to the spent tokens it finds there afterwards."""
    store = SharedStore()

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3000)
        store.broken = True
        await asyncio.sleep(700)
        assert (await session.client.get("echo")).status_code == 200
        fresh = session._tokens.tokens
        store.broken = False
        await session.force_refresh_session()
        assert session._tokens.tokens != fresh
        assert session.state is State.ACTIVE

    world = live(play, store=store)
    assert world.posts == 2
    assert world.reuse_events == 0
