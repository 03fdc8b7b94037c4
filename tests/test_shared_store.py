"""Several processes keep one session in a shared store: one refreshes, the others follow, and a death is survived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from world import World, live

from session_core.errors import SessionEndedError
from session_core.events import RetryScheduled, SessionEnded, TokenFollowed, TokenRefreshed
from session_core.service import SessionService
from session_core.session import Session
from session_core.session_keeper import LEASE_S
from session_core.session_store import MemorySessionStore, SessionRecord, SessionStoreError
from session_core.sim.clock import VirtualClock
from session_core.sim.device import Device
from session_core.sim.loop import running_loop
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


class SlowToTell(SharedStore):
    """Says only after a second that a record is written."""

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        written = await super().save(record)
        await asyncio.sleep(1.0)
        return written


@asynccontextmanager
async def another_process(world: World, *, clock: VirtualClock | None = None) -> AsyncIterator[SessionService]:
    """A second service with the same provider and store; on the same device unless it has a clock of its own."""
    first = world.service
    async with SessionService(
        first.config,
        emit=world.events.append,
        clock=clock or world.clock,
        store=first.around.store,
        transport=first._transport,
        pool=first._pool,
        entropy=first._entropy,
        seed="another",
    ) as service:
        yield service


@asynccontextmanager
async def another_device(world: World, session: Session) -> AsyncIterator[tuple[Device, Session]]:
    """The session once more, on a device that never sleeps."""
    desk = Device(running_loop(), "desk")
    ready, over = asyncio.Event(), asyncio.Event()
    taken: list[Session] = []

    async def inhabit() -> None:
        async with another_process(world, clock=desk.clock) as service:
            taken.append(await beside(service, session))
            ready.set()
            await over.wait()

    living = desk.create_task(inhabit())
    await ready.wait()
    yield desk, taken[0]
    over.set()
    await living


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


@pytest.mark.parametrize("asleep_s", [5.5, 3600.0])
def test_a_device_that_sleeps_does_not_rob_itself(asleep_s: float) -> None:
    """Both processes sleep beyond the lease of one: at wake the other waits for it to be renewed."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            world.order(kind="delay", delay_s=5.0, endpoint="token", times=1)
            both = asyncio.gather(session.force_refresh_session(), other.force_refresh_session())
            await asyncio.sleep(1.0)
            await world.close_lid(asleep_s)
            await both
            assert session._tokens.tokens == other._tokens.tokens

    world = live(play, store=SharedStore(), lid=True, access_ttl_s=7200.0)
    assert world.posts == 1
    assert len(world.facts(TokenRefreshed)) == 1


def test_who_was_held_up_gives_the_holder_time_to_come_round() -> None:
    """Both stand still while every clock goes on, the holder a little longer: what the other did not watch is no proof."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_device(world, session) as (desk, other):
            world.order(kind="delay", delay_s=9.5, endpoint="token", times=1)
            holder = asyncio.create_task(session.force_refresh_session())
            await asyncio.sleep(1.0)
            taker = desk.create_task(other.force_refresh_session())
            await asyncio.sleep(0.5)
            assert world.device is not None
            desk.stall(6.5)
            world.device.stall(7.0)
            await asyncio.gather(holder, taker)

    world = live(play, store=SharedStore(), lid=True, grace_s=30.0)
    assert world.posts == 1


def test_a_process_does_not_wait_for_a_lease_of_its_own() -> None:
    """Its answer was lost, and what it plans as a replay inside the grace window goes out as planned."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="drop_after", endpoint="token", times=1)
        await session.force_refresh_session()
        [retry] = world.facts(RetryScheduled)
        await asyncio.sleep(retry.delay_s + 1.0)
        assert len(world.facts(TokenRefreshed)) == 1

    world = live(play, store=SharedStore(), grace_s=5.0)
    assert world.reuse_events == 0


def test_another_device_does_not_wait_for_a_sleeper() -> None:
    """The holder's lid closes in mid-refresh: within ten seconds another device takes over, and the sleeper follows."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_device(world, session) as (desk, other):
            world.order(kind="hang", endpoint="token", times=1)
            sleeper = asyncio.create_task(session.force_refresh_session())
            await asyncio.sleep(1.0)
            began_at = world.clock.boot()
            taker = desk.create_task(other.force_refresh_session())
            await world.close_lid(600.0)
            await asyncio.gather(sleeper, taker)
            assert other._tokens.tokens is not None
            assert other._tokens.tokens.issued_at - began_at <= 10.0
            await asyncio.sleep(120.0)
            assert session._tokens.tokens == other._tokens.tokens

    world = live(play, store=SharedStore(), lid=True, grace_s=30.0)
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


def test_a_claim_that_lapsed_in_a_sleep_is_made_anew_before_anything_is_sent() -> None:
    """The lid closes between the write and its answer; meanwhile another device has refreshed."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_device(world, session) as (desk, other):
            sleeper = asyncio.create_task(session.force_refresh_session())
            await asyncio.sleep(0.5)
            taker = desk.create_task(other.force_refresh_session())
            await world.close_lid(600.0)
            await asyncio.gather(sleeper, taker)
            assert session._tokens.tokens == other._tokens.tokens

    world = live(play, store=SlowToTell(), lid=True, grace_s=30.0)
    assert world.posts == 1
    assert world.reuse_events == 0


def test_nothing_is_claimed_before_it_is_known_where_to_send_it() -> None:
    """A process that starts into a slow provider sleeps while it looks for the endpoint; another device refreshes."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service, another_device(world, session) as (desk, other):
            starting = await beside(service, session)
            world.order(kind="delay", delay_s=4.0, endpoint="discovery", times=1)
            sleeper = asyncio.create_task(starting.force_refresh_session())
            await asyncio.sleep(1.0)
            taker = desk.create_task(other.force_refresh_session())
            await world.close_lid(600.0)
            await asyncio.gather(sleeper, taker)
            assert starting._tokens.tokens == other._tokens.tokens

    world = live(play, store=SharedStore(), lid=True, grace_s=30.0)
    assert world.posts == 1
    assert world.reuse_events == 0


def test_an_answer_that_comes_after_waking_does_not_go_over_newer_tokens() -> None:
    """What a renewal has seen in the store is not heeded yet: the write of the answer still finds that it is late."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_device(world, session) as (desk, other):
            world.order(kind="delay", delay_s=9.0, endpoint="token", times=1)
            sleeper = asyncio.create_task(session.force_refresh_session())
            await asyncio.sleep(0.5)
            taker = desk.create_task(other.force_refresh_session())
            await world.close_lid(7.0)
            await taker
            fresh = other._tokens.tokens
            await sleeper
            assert session._tokens.tokens == other._tokens.tokens == fresh

    world = live(play, store=SharedStore(), lid=True, grace_s=30.0)
    assert world.posts == 2
    assert world.reuse_events == 0


def test_a_sign_out_during_another_device_s_refresh_is_not_undone() -> None:
    """The renewal of the lease sees that the record is gone, and the answer does not bring it back."""
    store = SharedStore()

    async def play(world: World) -> None:
        session = await world.session()
        async with another_device(world, session) as (desk, other):
            world.order(kind="delay", delay_s=5.0, endpoint="token", times=1)
            late = asyncio.create_task(session.force_refresh_session())
            await asyncio.sleep(0.5)
            await desk.create_task(other.sign_out())
            await late
            assert session.state is State.SIGNED_OUT
            assert len(store) == 0

    live(play, store=store, lid=True)


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
