"""What a stolen, swapped or put-back session file gives: nothing, an error, and the end of the session."""

from __future__ import annotations

import asyncio
import base64
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from leaks import PART_CHARS, leaks
from stores import InlineStore, database, keys, record
from test_shared_store import another_process
from world import World, live

from session_core.errors import SessionEndedError
from session_core.events import SessionEnded, TokenRefreshed
from session_core.session import Session
from session_core.session_store import SessionDamagedError, SessionStoreError

USERS = ("ada", "grace", "alan")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[InlineStore]:
    store = InlineStore.virtual(path)
    yield store
    store.close()


def texts_of_files(folder: Path) -> list[str]:
    """Every byte on the disk, as characters."""
    return [file.read_bytes().decode("latin-1") for file in sorted(folder.iterdir())]


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement, values).fetchall()


class Life:
    """A life of the store with everything that writes to it: sign-ins, refreshes, sign-outs, damage, a new key."""

    def __init__(self, path: Path, loot: Path) -> None:
        self.path, self.loot = path, loot
        self.store = InlineStore.virtual(path, keys=keys("a"))
        self.sessions: list[Session] = []

    def live(self) -> World:
        return live(self.play, store=self.store)

    async def play(self, world: World) -> None:
        for user in USERS * 3:
            self.sessions.append(await world.session(user))
        await asyncio.sleep(3600)
        await self.sessions[0].sign_out()
        sql(self.path, "UPDATE sessions SET owner = zeroblob(32) WHERE place = (SELECT min(place) FROM sessions)")
        for session in self.sessions[1:]:
            await self.meet(session)
        with database(self.path, keys=keys("b", "a"), clock=world.clock) as rotating:
            assert rotating.rotate() > 0
        self.store.database._keys = keys("b", "a")
        await asyncio.sleep(3600)
        self.steal()

    async def meet(self, session: Session) -> None:
        try:
            await self.store.load(session.session_id)
        except SessionDamagedError:
            return

    def steal(self) -> None:
        """While the store is in use: the file, the log with what is not in it yet, and the index of the log."""
        self.loot.mkdir()
        for file in self.path.parent.glob("sessions.db*"):
            shutil.copy(file, self.loot)


def test_the_stolen_file_gives_nothing(tmp_path: Path) -> None:
    """No secret the provider ever issued, nor twelve characters of one, nor whose sessions they are, nor a key."""
    life = Life(tmp_path / "sessions.db", tmp_path / "loot")
    world = life.live()
    life.store.close()
    loot = life.loot / "sessions.db"
    assert {file.name for file in life.loot.iterdir()} == {"sessions.db", "sessions.db-wal", "sessions.db-shm"}
    secrets = world.provider.issued_secrets()
    assert len(secrets) > 40
    assert len(world.facts(TokenRefreshed)) > 8
    raw_keys = [key.secret for ring in (keys("a"), keys("b")) for key in ring.keys]
    forbidden = [
        *secrets,
        *(session.session_id for session in life.sessions),
        *(f'"user_id":"{session.user_id}"' for session in life.sessions),
        '"access_token":"',
        *(key.decode("latin-1") for key in raw_keys),
        *(base64.urlsafe_b64encode(key).decode() for key in raw_keys),
        *(base64.b64encode(secret.encode()).decode() for secret in secrets),
    ]
    texts = texts_of_files(life.loot)
    assert leaks(texts, forbidden) == []
    plain = sql(loot, "SELECT count(*) FROM quarantine"), sql(loot, "SELECT count(*) FROM sessions")
    assert plain == ([(1,)], [(8,)])


def test_the_net_catches_twelve_characters_in_the_file(path: Path) -> None:
    """Broken on purpose: without this the test above would prove nothing."""
    secret = "rt_4Xh-0123456789abcdef"
    with database(path) as sessions:
        sessions.save(record(token=secret))
        assert leaks(texts_of_files(path.parent), [secret]) == []
    sql(path, "UPDATE sessions SET key_name = ?", secret[4 : 4 + PART_CHARS].encode())
    assert leaks(texts_of_files(path.parent), [secret])


def test_the_file_does_not_open_without_its_key(path: Path) -> None:
    """Neither with another key nor with none."""
    with database(path) as sessions:
        sessions.save(record())
    for ring in (keys("z"), None):
        with pytest.raises(SessionStoreError, match="SESSION_CORE_STORE_KEY"):
            database(path, keys=ring)


def test_the_same_session_looks_different_in_every_file(tmp_path: Path) -> None:
    """Names are hashed with a secret of the file's own, so two thefts cannot be compared and no guess be tried."""
    found = set()
    for name in ("one.db", "two.db"):
        with database(tmp_path / name) as sessions:
            sessions.save(record())
        found |= set(sql(tmp_path / name, "SELECT place, owner FROM sessions")[0])
    assert len(found) == 4


@pytest.mark.parametrize("column", ["place", "owner", "version", "box"])
def test_rows_that_were_swapped_are_refused(path: Path, column: str) -> None:
    """Nobody becomes somebody else by writing to the file."""
    with database(path) as sessions:
        sessions.save(record("a", user_id="ada"))
        first = sessions.save(record("b", user_id="bob"))
        assert first is not None
        sessions.save(first)
        swap(path, column)
        for session_id in "ab":
            with pytest.raises(SessionDamagedError):
                sessions.load(session_id)
        assert sessions.list_of("ada") == sessions.list_of("bob") == ()


def test_a_row_of_another_file_is_refused(tmp_path: Path) -> None:
    """Even one sealed with the same key."""
    for name, token in (("one.db", "the thief's"), ("two.db", "ada's")):
        with database(tmp_path / name) as sessions:
            sessions.save(record(token=token))
    [(box,)] = sql(tmp_path / "one.db", "SELECT box FROM sessions")
    sql(tmp_path / "two.db", "UPDATE sessions SET box = ?", box)
    with database(tmp_path / "two.db") as sessions, pytest.raises(SessionDamagedError):
        sessions.load("s")


def test_an_old_row_that_is_put_back_is_not_followed(path: Path, store: InlineStore) -> None:
    """Whoever keeps the session holds later tokens, and writes them again."""

    async def play(world: World) -> None:
        session = await world.session()
        old = rows(path)
        await session.force_refresh_session()
        fresh = session._tokens.tokens
        put_back(path, old)
        await asyncio.sleep(100)
        assert session._tokens.tokens == fresh
        await asyncio.sleep(3600)
        held = await store.load(session.session_id)
        assert held is not None
        assert held.tokens == session._tokens.tokens != fresh

    world = live(play, store=store)
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


def test_an_old_row_that_is_put_back_ends_the_session_at_its_next_refresh(path: Path, store: InlineStore) -> None:
    """The file cannot know that it was newer once; the provider can, and revokes the whole family."""

    async def play(world: World) -> None:
        session = await world.session()
        old = rows(path)
        await session.force_refresh_session()
        await session.aclose()
        put_back(path, old)
        async with another_process(world) as service:
            other = await service.resume(session.session_id)
            assert other is not None
            await other.force_refresh_session()
            await asyncio.sleep(3600)
            with pytest.raises(SessionEndedError):
                await other.client.get("echo")

    assert live(play, store=store).reuse_events == 1


def rows(path: Path) -> list[tuple[object, ...]]:
    return sql(path, "SELECT * FROM sessions ORDER BY place")


def put_back(path: Path, old: list[tuple[object, ...]]) -> None:
    sql(path, "DELETE FROM sessions")
    for row in old:
        sql(path, "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", *row)


def swap(path: Path, column: str) -> None:
    """Two rows, with one column of each in the other."""
    names = [str(name) for _, name, *_ in sql(path, "PRAGMA table_info(sessions)")]
    one, two = (list(row) for row in rows(path))
    at = names.index(column)
    assert one[at] != two[at]
    one[at], two[at] = two[at], one[at]
    put_back(path, [tuple(one), tuple(two)])
