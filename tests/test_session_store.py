"""The store in memory keeps the promise of every store: a write is refused once the record has moved on."""

from __future__ import annotations

import asyncio

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from session_core.session_store import MemorySessionStore, SessionRecord
from session_core.tokens import TokenSet


def record(session_id: str = "s", version: int = 0, token: str = "secret-at") -> SessionRecord:
    tokens = TokenSet(access_token=token, refresh_token="secret-rt", issued_at=0, expires_at=60, refresh_due_at=50)
    return SessionRecord(
        session_id=session_id, user_id="ada", version=version, tokens=tokens, started_at=0, last_activity_at=0
    )


def test_what_was_saved_is_loaded_under_its_new_version() -> None:
    """The first version is 1, and each write counts on."""

    async def play() -> None:
        store = MemorySessionStore()
        assert await store.load("s") is None
        first = await store.save(record())
        assert first is not None
        assert first.version == 1
        second = await store.save(first)
        assert second is not None
        assert second.version == 2
        assert await store.load("s") == second
        assert len(store) == 1

    asyncio.run(play())


def test_a_write_from_an_old_version_changes_nothing() -> None:
    """Whoever refreshed first wins; the other must read again."""

    async def play() -> None:
        store = MemorySessionStore()
        first = await store.save(record())
        assert first is not None
        newer = await store.save(first)
        assert await store.save(first) is None
        assert await store.save(record()) is None
        assert await store.load("s") == newer

    asyncio.run(play())


def test_a_write_after_a_deletion_does_not_bring_the_session_back() -> None:
    """A sign-out in one process must not be undone by a refresh under way in another."""

    async def play() -> None:
        store = MemorySessionStore()
        first = await store.save(record())
        assert first is not None
        await store.delete("s")
        assert await store.save(first) is None
        assert len(store) == 0
        again = await store.save(record())
        assert again is not None
        assert again.version == 1

    asyncio.run(play())


def test_deleting_what_is_not_there_is_no_mistake() -> None:
    """Two sign-outs are one."""

    async def play() -> None:
        store = MemorySessionStore()
        await store.delete("s")
        await store.delete("s")

    asyncio.run(play())


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["save", "stale", "delete"]), st.integers(0, 99))),
)
def test_the_store_agrees_with_a_dictionary_of_versions(steps: list[tuple[str, str, int]]) -> None:
    """Any sequence of writes, late writes and deletions."""

    async def play() -> None:
        store = MemorySessionStore()
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
            assert len(store) == len(model)

    asyncio.run(play())


def test_a_record_shows_no_token() -> None:
    """Neither by itself nor in a rich traceback."""
    assert "secret" not in repr(record())
    assert "secret" not in str(list(record().__rich_repr__()))
