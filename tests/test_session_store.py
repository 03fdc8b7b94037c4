"""The promise of every session store, kept by each of them: a write is refused once the record has moved on."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import record

from session_core.session_store import MemorySessionStore, SessionRecord, SessionStore
from session_core.sqlite_session_store import SqliteSessionStore
from session_core.vocabulary import EndReason

KINDS = ["memory", "sqlite"]
Play = Callable[[SessionStore], Awaitable[None]]


@contextmanager
def made(kind: str) -> Iterator[SessionStore]:
    if kind == "memory":
        yield MemorySessionStore()
        return
    with tempfile.TemporaryDirectory() as folder, SqliteSessionStore(Path(folder) / "sessions.db") as store:
        yield store


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest) -> Iterator[Callable[[Play], None]]:
    """Runs a play with each kind of store."""
    with made(request.param) as store:

        async def run(play: Play) -> None:
            await play(store)

        yield lambda play: asyncio.run(run(play))


def test_what_was_saved_is_loaded_under_its_new_version(kept: Callable[[Play], None]) -> None:
    """The first version is 1, and each write counts on."""

    async def play(store: SessionStore) -> None:
        assert await store.load("s") is None
        first = await store.save(record(refresh_sent_at=3.5, lease_until=9.5, device="Firefox", address="192.0.2.7"))
        assert first is not None
        assert first.version == 1
        second = await store.save(first)
        assert second == msgspec.structs.replace(first, version=2)
        assert await store.load("s") == second

    kept(play)


def test_a_write_from_an_old_version_changes_nothing(kept: Callable[[Play], None]) -> None:
    """Whoever refreshed first wins; the other must read again."""

    async def play(store: SessionStore) -> None:
        first = await store.save(record())
        assert first is not None
        newer = await store.save(first)
        assert await store.save(first) is None
        assert await store.save(record()) is None
        assert await store.load("s") == newer

    kept(play)


def test_a_write_after_a_deletion_does_not_bring_the_session_back(kept: Callable[[Play], None]) -> None:
    """A sign-out in one process must not be undone by a refresh under way in another."""

    async def play(store: SessionStore) -> None:
        first = await store.save(record())
        assert first is not None
        await store.delete("s")
        assert await store.save(first) is None
        assert await store.load("s") is None
        again = await store.save(record())
        assert again is not None
        assert again.version == 1

    kept(play)


def test_deleting_what_is_not_there_is_no_mistake(kept: Callable[[Play], None]) -> None:
    """Two sign-outs are one."""

    async def play(store: SessionStore) -> None:
        await store.delete("s")
        await store.delete("s")

    kept(play)


def test_why_a_session_ended_is_told_by_whoever_ended_it_first(kept: Callable[[Play], None]) -> None:
    """Who deletes it again knows no better; what never was has no reason, and a session that lives shows none."""

    async def play(store: SessionStore) -> None:
        await store.save(record())
        assert await store.ended("s") is None
        await store.delete("s", EndReason.ABSOLUTE_LIMIT)
        await store.delete("s")
        assert await store.ended("s") is EndReason.ABSOLUTE_LIMIT
        await store.delete("never", EndReason.ABSOLUTE_LIMIT)
        assert await store.ended("never") is None

    kept(play)


def test_a_user_s_sessions_are_listed_the_latest_used_first(kept: Callable[[Play], None]) -> None:
    """Theirs only, and without those that were ended."""

    async def play(store: SessionStore) -> None:
        for session_id, user_id, at in (("a", "ada", 1), ("b", "bob", 2), ("c", "ada", 3), ("d", "ada", 2)):
            await store.save(record(session_id, user_id=user_id, last_activity_at=at))
        await store.delete("d")
        assert [one.session_id for one in await store.list_of("ada")] == ["c", "a"]
        assert await store.list_of("nobody") == ()

    kept(play)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["save", "stale", "delete"]), st.integers(0, 99)))
)
def test_the_store_agrees_with_a_dictionary_of_versions(kind: str, steps: list[tuple[str, str, int]]) -> None:
    """Any sequence of writes, late writes and deletions."""

    async def play(store: SessionStore) -> None:
        model: dict[str, SessionRecord] = {}
        for session_id, step, token in steps:
            held = model.get(session_id)
            version = held.version if held else 0
            if step == "delete":
                await store.delete(session_id)
                model.pop(session_id, None)
            elif step == "stale":
                assert await store.save(record(session_id, version + 1)) is None
            else:
                written = await store.save(record(session_id, version, f"t{token}"))
                assert written == msgspec.structs.replace(record(session_id, version, f"t{token}"), version=version + 1)
                model[session_id] = written
            assert await store.load(session_id) == model.get(session_id)
            assert {one.session_id for one in await store.list_of("ada")} == model.keys()

    with made(kind) as store:
        asyncio.run(play(store))


def test_the_store_in_memory_knows_how_many_it_holds() -> None:
    """Of which an empty one is still a store."""

    async def play() -> None:
        store = MemorySessionStore()
        assert len(store) == 0
        await store.save(record())
        assert len(store) == 1

    asyncio.run(play())


def test_only_what_never_waits_goes_without_a_time_limit() -> None:
    """The store in memory says that it is immediate; what somebody makes of it does not inherit that."""

    class Slow(MemorySessionStore):
        async def load(self, session_id: str) -> SessionRecord | None:
            await asyncio.sleep(60)
            return await super().load(session_id)

    assert MemorySessionStore().immediate
    assert not Slow().immediate


def test_a_record_shows_no_token() -> None:
    """Neither by itself nor in a rich traceback."""
    assert "secret" not in repr(record())
    assert "secret" not in str(list(record().__rich_repr__()))
