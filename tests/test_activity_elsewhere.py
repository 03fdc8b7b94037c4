"""A user is in one process, and the others on the same store know: nobody is locked out for sitting elsewhere."""

from __future__ import annotations

import asyncio

import pytest
from test_shared_store import SharedStore, another_process, beside
from world import World, live, with_

from session_core.config import PROFESSIONAL, SessionPolicy
from session_core.events import LimitWarned, TokenRefreshed
from session_core.session_limits import HOUR_S, SessionLimits
from session_core.session_store import MemorySessionStore, SessionRecord
from session_core.vocabulary import State

IDLE_S = 900.0
SHORT: SessionPolicy = with_(PROFESSIONAL, limits=SessionLimits(idle_s=IDLE_S, absolute_s=24 * HOUR_S))


class Counting(SharedStore):
    saves = 0

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        self.saves += 1
        return await super().save(record)


def test_a_user_who_is_busy_in_one_process_is_locked_out_of_none() -> None:
    """For three hours of acts in the first, the second stays open; once they stop, both lock in the same second."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            for _ in range(3 * 60):
                session.update_activity("acted")
                await asyncio.sleep(60)
                assert other.state is not State.LOCKED
            gone_at = session.last_activity_at
            await asyncio.sleep(IDLE_S - 60 - 1)
            assert {session.state, other.state} == {State.ACTIVE}
            await asyncio.sleep(1)
            assert world.clock.boot() == pytest.approx(gone_at + IDLE_S)
            assert {session.state, other.state} == {State.LOCKED}
            assert other.last_activity_at == gone_at

    live(play, policy=SHORT, store=SharedStore())


def test_an_act_of_the_last_seconds_reaches_the_other_process_in_time() -> None:
    """The store is looked at once more just before the limit, whenever in its round the act came."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            for wait_s in (870.0, 850.0, 877.0, 891.0):
                limit_at = session.last_activity_at + IDLE_S
                await asyncio.sleep(limit_at - IDLE_S + wait_s - world.clock.boot())
                session.update_activity("acted")
                await asyncio.sleep(limit_at + 1 - world.clock.boot())
                assert other.state is not State.LOCKED
                assert other.last_activity_at == session.last_activity_at

    live(play, policy=SHORT, store=SharedStore())


def test_a_process_that_is_asked_knows_at_once() -> None:
    """Before it tells a page how long is left, it looks at the store."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await asyncio.sleep(800.3)
            session.update_activity("acted")
            await asyncio.sleep(0.1)
            await other.catch_up()
            assert other.status().limit.left_s == pytest.approx(IDLE_S, abs=1)
            await session.sign_out()
            await other.catch_up()
            assert other.state is State.SIGNED_OUT

    live(play, policy=SHORT, store=SharedStore())


def test_a_restart_does_not_make_a_user_idle() -> None:
    """What was done up to a tenth of the idle limit before is in the store, whenever the token was refreshed last."""

    async def play(world: World) -> None:
        session = await world.session()
        for _ in range(30):
            await asyncio.sleep(47)
            session.update_activity("acted")
        acted_at = session.last_activity_at
        assert world.facts(TokenRefreshed) == []
        await asyncio.sleep(IDLE_S / 10)
        async with another_process(world) as service:
            assert (await beside(service, session)).last_activity_at == acted_at

    world = live(play, policy=SHORT, store=SharedStore())
    assert world.facts(LimitWarned) == []


def test_knowing_it_costs_one_write_a_minute_at_most() -> None:
    """However often the user acts; and none where no other process can hold the session."""
    store = Counting()

    async def play(world: World) -> None:
        session = await world.session()
        for _ in range(600):
            await asyncio.sleep(1)
            session.update_activity("acted")

    world = live(play, store=store)
    assert world.posts == 0
    assert 10 <= store.saves <= 12

    written: list[SessionRecord] = []

    class Alone(MemorySessionStore):
        async def save(self, record: SessionRecord) -> SessionRecord | None:
            written.append(record)
            return await super().save(record)

    live(play, store=Alone())
    assert len(written) == 1


def test_an_act_during_another_process_s_refresh_disturbs_nothing() -> None:
    """The lease stands, there is one POST, and the act is written after it."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await asyncio.sleep(100)
            world.order(kind="delay", delay_s=8.0, endpoint="token", times=1)
            refreshing = asyncio.create_task(other.force_refresh_session())
            before = session.last_activity_at
            for _ in range(7):
                await asyncio.sleep(1)
                session.update_activity("acted")
                leased = await world.service.around.store.load(session.session_id)
                assert leased is not None
                assert leased.last_activity_at == before
            await refreshing
            acted_at = session.last_activity_at
            await asyncio.sleep(120)
            assert session._tokens.tokens == other._tokens.tokens
            stored = await world.service.around.store.load(session.session_id)
            assert stored is not None
            assert stored.last_activity_at == acted_at == other.last_activity_at

    world = live(play, store=SharedStore())
    assert world.posts == 1
    assert world.reuse_events == 0


def test_a_store_that_fails_meanwhile_is_told_later() -> None:
    """What could not be written is written when it can be."""
    store = SharedStore()

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(100)
        store.broken = True
        session.update_activity("acted")
        acted_at = session.last_activity_at
        await asyncio.sleep(300)
        store.broken = False
        await asyncio.sleep(61)
        stored = await store.load(session.session_id)
        assert stored is not None
        assert stored.last_activity_at == acted_at
        assert session.state is State.ACTIVE

    live(play, store=store)
