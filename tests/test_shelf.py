"""What is kept beside sessions: found by name alone, sealed in its own row, gone with its session or its time."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from stores import Hands, aged, database, keys

from session_core import session_file
from session_core.session_database import SWEPT_AFTER_S, SessionDatabase
from session_core.session_store import SessionStoreError
from session_core.shelf import NoShelf, Shelved
from session_core.sqlite_session_store import SqliteSessionStore

SEAT = Shelved(name="cookie-secret", body=b"ada-secret", owner="s", life_s=600.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """As another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement, values).fetchall()


def all_of(path: Path) -> list[tuple[object, ...]]:
    return sql(path, "SELECT * FROM shelf")


def test_things_are_found_by_their_name_and_kind_only(path: Path) -> None:
    """Another name, another kind, and no name find nothing; the same name replaces."""
    with database(path) as file:
        file.shelf.put("seat", (SEAT,))
        assert file.shelf.get("seat", "cookie-secret") == b"ada-secret"
        assert [file.shelf.get(*guess) for guess in (("seat", "guess"), ("seat", ""), ("x", "cookie-secret"))] == [
            None
        ] * 3
        file.shelf.put("seat", (Shelved(name="cookie-secret", body=b"new"), Shelved(name="b", body=b"other")))
        assert sorted(file.shelf.all("seat")) == [b"new", b"other"]
        assert file.shelf.all("x") == ()


def test_a_thing_is_taken_once(path: Path) -> None:
    """Whoever comes second finds nothing."""
    with database(path) as file:
        file.shelf.put("login", (SEAT,))
        assert [file.shelf.take("login", "cookie-secret") for _ in range(2)] == [b"ada-secret", None]


def test_the_stolen_file_names_nobody(path: Path) -> None:
    """Neither what is kept, nor its name, its kind, its owner, nor a plain hash of one of them."""
    from hashlib import sha256

    words = [b"cookie-secret", b"ada-secret", b"seat", b"s"]
    with database(path) as file:
        file.shelf.put("seat", (SEAT,))
        (row,) = all_of(path)
    cells = b"|".join(cell for cell in row if isinstance(cell, bytes))
    assert not [word for word in words[:3] if word in cells]
    assert not [word for word in words if sha256(word).digest() in cells]


@pytest.mark.parametrize("column", ["kind", "place", "owner", "box", "ends_at"])
def test_what_was_put_elsewhere_does_not_open(path: Path, column: str) -> None:
    """Of two rows whose cells are swapped neither opens, nor one whose life was prolonged; both are gone."""
    with database(path) as file:
        file.shelf.put("seat", (SEAT,))
        file.shelf.put("login", (Shelved(name="other", body=b"grace", owner="t", life_s=60.0),))
        rows = {name: dict(zip(("place", column), row, strict=True)) for name, row in _two(path, column)}
        sql(path, "UPDATE shelf SET place = randomblob(32) WHERE place = ?", rows["seat"]["place"])
        sql(path, f"UPDATE shelf SET {column} = ? WHERE place = ?", rows["seat"][column], rows["login"]["place"])
        assert (file.shelf.get("seat", "cookie-secret"), file.shelf.get("login", "other")) == (None, None)
        assert file.shelf.all("seat") + file.shelf.all("login") == ()


def _two(path: Path, column: str) -> list[tuple[str, tuple[object, ...]]]:
    """The place and a column of the longer and the shorter living thing."""
    return list(
        zip(("seat", "login"), sql(path, f"SELECT place, {column} FROM shelf ORDER BY ends_at DESC"), strict=True)
    )


def test_a_thing_ends_at_its_second(path: Path) -> None:
    """It is not found any more, whether or not somebody swept, and the sweep takes it."""
    hands = Hands()
    with database(path, clock=hands.clock) as file:
        file.shelf.put("seat", (SEAT, Shelved(name="lasting", body=b"key")))
        hands.at += 599.9
        assert file.shelf.get("seat", "cookie-secret") is not None
        hands.at += 0.1
        assert file.shelf.get("seat", "cookie-secret") is None
        assert file.shelf.all("seat") == (b"key",)
        assert file.shelf.sweep() == 1


def test_what_a_session_owns_goes_with_it(path: Path) -> None:
    """When it is deleted and when it is swept; another session's stays."""
    hands = Hands()
    lasting = [Shelved(name=name, body=b"seat", owner=name) for name in ("deleted", "swept", "alive")]
    with database(path, clock=hands.clock) as file:
        for name in ("deleted", "swept"):
            file.save(aged(name, at=hands.at, refresh_sent_at=None))
        file.save(aged("alive", at=hands.at + 29 * 86_400))
        file.shelf.put("seat", tuple(lasting))
        file.delete("deleted")
        assert file.shelf.get("seat", "deleted") is None
        hands.at += 30 * 86_400 + SWEPT_AFTER_S
        assert file.sweep() == 1
        assert [file.shelf.get("seat", name) for name in ("swept", "alive")] == [None, b"seat"]


def test_a_seat_is_left_by_the_session_it_belongs_to(path: Path) -> None:
    """Every cookie of it, of this kind."""
    with database(path) as file:
        file.shelf.put("seat", (SEAT, Shelved(name="second", body=b"x", owner="s"), Shelved(name="t", body=b"y")))
        file.shelf.remove_of("seat", "s")
        assert file.shelf.all("seat") == (b"y",)
        file.shelf.remove("seat", ("t", "never there"))
        assert file.shelf.all("seat") == ()


def test_a_new_key_seals_anew_and_the_old_one_can_go(path: Path) -> None:
    """The same rotation as that of sessions; a key that went too early is said and deletes nothing."""
    with database(path) as file:
        file.shelf.put("seat", (SEAT,))
    with database(path, keys=keys("b", "a")) as file:
        assert [file.shelf.rotate(), file.shelf.rotate()] == [1, 0]
        file.rotate()
    with database(path, keys=keys("b")) as file:
        assert file.shelf.get("seat", "cookie-secret") == b"ada-secret"
        file.shelf._keys = keys("c")
        with pytest.raises(SessionStoreError, match="cannot be read"):
            file.shelf.take("seat", "cookie-secret")
        assert len(all_of(path)) == 1


def test_a_file_of_the_layout_before_gains_the_shelf(path: Path) -> None:
    """With everything that was in it."""
    with database(path) as file:
        file.save(aged("kept"))
    for statement in ("DROP TABLE shelf", "PRAGMA user_version = 1"):
        sql(path, statement)
    with database(path) as file:
        assert file.load("kept") is not None
        file.shelf.put("seat", (SEAT,))
    assert sql(path, "PRAGMA user_version") == [(session_file.LAYOUT,)]


def test_a_shelf_in_a_thread_keeps_the_same_promises(path: Path) -> None:
    """And outlives its process; without a file nothing is there, and nothing fails."""

    async def first() -> None:
        with SqliteSessionStore(path, keys=keys("a")) as store:
            await store.shelf("seat").put(SEAT)

    async def second() -> None:
        with SqliteSessionStore(path, keys=keys("b", "a")) as store:
            shelf = store.shelf("seat")
            assert await store.rotate() == 1
            assert await shelf.get("cookie-secret") == b"ada-secret"
            assert await shelf.all() == (b"ada-secret",)
            assert await shelf.take("cookie-secret") == b"ada-secret"
            await shelf.put(SEAT)
            await shelf.remove_of("s")
            await shelf.put(SEAT)
            await shelf.remove("cookie-secret")
            assert await shelf.all() == ()

    async def nowhere() -> None:
        shelf = NoShelf()
        await shelf.put(SEAT)
        await shelf.remove("x")
        await shelf.remove_of("s")
        assert (await shelf.get(SEAT.name), await shelf.take(SEAT.name), await shelf.all()) == (None, None, ())

    for act in (first, second, nowhere):
        asyncio.run(act())


def test_a_store_that_was_closed_says_so(path: Path) -> None:
    """As it does of sessions."""
    with SqliteSessionStore(path, keys=keys("a")) as store:
        shelf = store.shelf("seat")
    with pytest.raises(SessionStoreError, match="closed"):
        asyncio.run(shelf.get("x"))


def test_what_is_shelved_is_not_shown() -> None:
    """Its name may be a cookie."""
    assert "secret" not in repr(SEAT)


def test_the_database_shares_its_connection(path: Path) -> None:
    """One writer, so that a session and what it owns are never at odds."""
    with database(path) as file:
        assert isinstance(file, SessionDatabase)
        assert file.shelf._db is file._db
