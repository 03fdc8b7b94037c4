"""A user's sessions in several processes on one store: seen from each, and ended from each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import InlineStore
from test_shared_store import SharedStore, another_process
from world import World, live

from session_core.errors import SessionEndedError
from session_core.events import SessionEnded
from session_core.session_store import MemorySessionStore
from session_core.vocabulary import EndReason, State

Store = SharedStore | InlineStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield SharedStore()
        return
    durable = InlineStore.virtual(tmp_path / "sessions.db")
    yield durable
    durable.close()


def test_a_session_of_another_process_is_ended_within_a_minute_and_says_why(store: Store) -> None:
    """The one that ends it need not know it: the other's calls are refused by then, and no token of it is left."""

    async def play(world: World) -> None:
        async with another_process(world) as service:
            mine = await world.session()
            theirs = await service.adopt(world.grant(), sent_at=world.clock.boot())
            await asyncio.sleep(100)
            ended = await world.service.end_sessions_of(mine.user_id, [theirs.session_id])
            assert ended == 1
            assert world.service.get(theirs.session_id) is None
            await asyncio.sleep(60)
            assert theirs.state is State.SIGNED_OUT
            with pytest.raises(SessionEndedError) as caught:
                await theirs.client.get("echo")
            assert caught.value.reason is EndReason.SIGNED_OUT_ELSEWHERE
            assert (await mine.client.get("echo")).status_code == 200
            assert [record.session_id for record in await service.sessions_of("ada")] == [mine.session_id]

    world = live(play, store=store)
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.SIGNED_OUT_ELSEWHERE]
    assert world.outcomes("revocation")


def test_how_long_another_process_goes_on_with_a_session_that_was_ended(store: Store) -> None:
    """Whenever in its round it is ended, at most 60 s; in this process not at all."""
    waits = []

    async def play(world: World) -> None:
        mine = await world.session()
        async with another_process(world) as service:
            for number in range(12):
                theirs = await service.adopt(world.grant(), sent_at=world.clock.boot())
                await asyncio.sleep(60 + 5 * number)
                await world.service.end_sessions_of(mine.user_id, [theirs.session_id])
                ended_at = world.clock.boot()
                while theirs.ended is None:
                    await asyncio.sleep(0.5)
                waits.append(world.clock.boot() - ended_at)
            here = await world.session()
            await service.end_sessions_of(mine.user_id, [mine.session_id])
            await world.service.end_sessions_of(here.user_id, [here.session_id])
            assert here.ended is EndReason.SIGNED_OUT_ELSEWHERE

    live(play, store=store)
    assert len(waits) == 12
    assert 5 < max(waits) <= 60


def test_all_of_a_user_s_sessions_are_ended_and_nobody_else_s(store: Store) -> None:
    """Those of this process and those of others; whose they are is what counts."""

    async def play(world: World) -> None:
        async with another_process(world) as service:
            here = await world.session()
            there = await service.adopt(world.grant(), sent_at=world.clock.boot())
            other = await world.session("grace")
            assert await world.service.end_sessions_of(other.user_id, [here.session_id]) == 0
            assert await world.service.end_sessions_of(here.user_id) == 2
            await asyncio.sleep(60)
            assert {here.ended, there.ended} == {EndReason.SIGNED_OUT_ELSEWHERE}
            assert other.ended is None
            assert len(await service.sessions_of(other.user_id)) == 1
            assert await world.service.sessions_of(here.user_id) == ()

    live(play, store=store)


def test_who_looks_finds_out_also_where_nobody_looks_after_the_session(store: Store) -> None:
    """A session whose management is stopped ends as soon as any other once a page asks how it stands."""

    async def play(world: World) -> None:
        mine = await world.session()
        async with another_process(world) as service:
            theirs = await service.adopt(world.grant(), sent_at=world.clock.boot())
            await theirs.stop_session_management()
            await asyncio.sleep(100)
            await world.service.end_sessions_of(mine.user_id, [theirs.session_id])
            for _ in range(12):
                theirs.hold_to_limits()
                await asyncio.sleep(5)
            assert theirs.ended is EndReason.SIGNED_OUT_ELSEWHERE

    live(play, store=store)


def test_one_process_without_a_shared_store_knows_its_own() -> None:
    """In memory as well: when each was in use last is what this process knows, not what was stored."""

    async def play(world: World) -> None:
        first, second = await world.session(), await world.session()
        await asyncio.sleep(100)
        first.update_activity()
        listed = await world.service.sessions_of(first.user_id)
        assert [record.session_id for record in listed] == [first.session_id, second.session_id]
        assert listed[0].last_activity_at == world.clock.boot()
        await world.service.end_sessions_of(first.user_id, [second.session_id])
        assert second.state is State.SIGNED_OUT
        assert len(await world.service.sessions_of(first.user_id)) == 1

    live(play, store=MemorySessionStore())
