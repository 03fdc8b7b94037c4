"""Sessions kept in the SQLite file by several processes: one refreshes, a late holder is fenced off, damage signs nobody out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from stores import InlineStore, database, record
from test_shared_store import another_process, beside
from world import World, live, with_

from session_core.config import PROFESSIONAL
from session_core.errors import SessionEndedError
from session_core.events import PersistFailed, SessionEnded, TokenFollowed, TokenRefreshed
from session_core.session_keeper import LEASE_S, Keeping, SessionKeeper
from session_core.session_limits import AAL2, DAY_S
from session_core.session_store import SessionRecord
from session_core.sim.clock import EPOCH_S, VirtualClock
from session_core.sim.loop import run_virtual, running_loop
from session_core.tokens import TokenSet
from session_core.vocabulary import EndReason, State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[InlineStore]:
    store = InlineStore.virtual(path)
    yield store
    store.close()


def damage(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE sessions SET box = zeroblob(500)")


def live_on(
    path: Path, play: Callable[[World], Awaitable[None]], *, boot_id: str, at_s: float = 0.0, **settings: Any
) -> None:
    """One boot of the machine, `at_s` after the first."""
    store = InlineStore(
        lambda: database(path, clock=VirtualClock(running_loop().time, epoch_s=EPOCH_S + at_s), boot_id=boot_id)
    )
    live(play, store=store, **settings)
    store.close()


def test_two_processes_make_one_post_a_token_life(store: InlineStore) -> None:
    """As with any shared store."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await asyncio.sleep(4 * 3600)
            assert session._tokens.tokens == other._tokens.tokens

    world = live(play, store=store)
    assert world.posts == len(world.facts(TokenRefreshed)) == len(world.facts(TokenFollowed)) > 3
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


def test_a_holder_whose_lease_was_taken_over_cannot_write(store: InlineStore) -> None:
    """It was held up for so long that it was taken for dead; the version it claimed is its fence."""

    def tokens(name: str, issued_at: float) -> TokenSet:
        return TokenSet(
            access_token=name,
            refresh_token=name,
            issued_at=issued_at,
            expires_at=issued_at + 60,
            refresh_due_at=issued_at + 50,
        )

    def facts(held: TokenSet, refresh_sent_at: float | None) -> SessionRecord:
        return msgspec.structs.replace(record(), tokens=held, refresh_sent_at=refresh_sent_at)

    async def play() -> None:
        clock = VirtualClock(running_loop().time)
        late, next_one = (
            SessionKeeper(store, session_id="s", facts=facts, clock=clock, record=lambda _fact: None, on_seen=float)
            for _ in "12"
        )
        old = tokens("old", 0.0)
        assert (await late.replace(old)).durable
        sent_at = clock.boot()
        assert (await late.claim(old, sent_at)).durable
        late.release()
        while not (kept := await next_one.claim(old, sent_at)).durable:
            assert kept.keeping is Keeping.LEASED
            await asyncio.sleep(0.25)
        assert clock.boot() - sent_at <= LEASE_S + 0.5
        refused = await late.write(tokens("late", 1.0), None)
        assert refused.keeping is Keeping.MOVED
        assert refused.latest is not None
        assert refused.latest.tokens == old
        assert (await next_one.write(tokens("new", 2.0), None)).durable
        held = await store.load("s")
        assert held is not None
        assert held.tokens.access_token == "new"
        late.release()
        next_one.release()

    run_virtual(play())


def test_a_damaged_record_signs_nobody_out_who_holds_the_session(path: Path, store: InlineStore) -> None:
    """Whichever process meets it first: one of them writes the session anew, and the others follow."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            for _ in range(5):
                await asyncio.sleep(1800)
                damage(path)
            await asyncio.sleep(3600)
            assert session._tokens.tokens == other._tokens.tokens
            for one in (session, other):
                assert one.state is State.ACTIVE
                assert (await one.client.get("echo")).status_code == 200

    world = live(play, store=store)
    assert {fact.error for fact in world.facts(PersistFailed)} == {"session_damaged"}
    assert world.posts == len(world.facts(TokenRefreshed))
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


def test_a_damaged_record_is_no_session_to_whoever_starts_anew(path: Path, store: InlineStore) -> None:
    """Its user signs in; nothing crashes, and the log says why."""

    async def play(world: World) -> None:
        session = await world.session()
        await session.aclose()
        damage(path)
        async with another_process(world) as service:
            assert await service.resume(session.session_id) is None
            assert await service.resume(session.session_id) is None

    world = live(play, store=store)
    assert [fact.error for fact in world.facts(PersistFailed)] == ["session_damaged"] * 2


def test_a_full_disk_costs_no_call_and_is_made_up_for(store: InlineStore) -> None:
    """The tokens are good in memory meanwhile."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3000)
        store.database._db.execute("PRAGMA query_only = ON")
        await asyncio.sleep(700)
        assert (await session.client.get("echo")).status_code == 200
        assert world.posts == 1
        assert not session._tokens.persisted
        store.database._db.execute("PRAGMA query_only = OFF")
        await asyncio.sleep(60)
        held = await store.load(session.session_id)
        assert held is not None
        assert held.tokens == session._tokens.tokens

    live(play, store=store)


@pytest.mark.parametrize("down_s", [0.0, 1200.0, 2 * 3600.0])
def test_a_machine_that_restarts_goes_on_with_its_sessions(path: Path, down_s: float) -> None:
    """Their tokens and limits are as old as they would be had it run on."""
    names: list[str] = []

    async def before(world: World) -> None:
        session = await world.session()
        names.append(session.session_id)
        await asyncio.sleep(600)
        await session.force_refresh_session()
        await asyncio.sleep(60)
        await session.aclose()

    async def after(world: World) -> None:
        session = await world.service.resume(names[0])
        assert session is not None
        status = session.status()
        assert status.limit.left_s == pytest.approx(max(0, 3600 - 660 - down_s), abs=2)
        assert status.token_left_s == pytest.approx(3600 - 60 - down_s, abs=2)

    policy = with_(PROFESSIONAL, limits=AAL2)
    live_on(path, before, boot_id="first", policy=policy)
    live_on(path, after, boot_id="second", at_s=660 + down_s, policy=policy)


def test_a_machine_that_was_off_past_the_absolute_limit_ends_its_sessions(path: Path) -> None:
    """With the reason, before anybody is let in."""
    names: list[str] = []

    async def before(world: World) -> None:
        session = await world.session()
        names.append(session.session_id)
        await session.aclose()

    async def after(world: World) -> None:
        session = await world.service.resume(names[0])
        assert session is not None
        with pytest.raises(SessionEndedError) as caught:
            await session.client.get("echo")
        assert caught.value.reason is EndReason.ABSOLUTE_LIMIT

    live_on(path, before, boot_id="first")
    live_on(path, after, boot_id="second", at_s=30 * DAY_S)
