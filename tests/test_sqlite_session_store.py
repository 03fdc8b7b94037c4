"""The SQLite store does its work in a thread: in order, without holding anybody up, and swept as it is used."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from stores import Hands, aged, database, keys, record

from session_core.clock import read_boot_id
from session_core.session_database import BATCH, DAY_S
from session_core.session_store import SessionStoreError
from session_core.sqlite_session_store import SWEEP_S, SqliteSessionStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def hands() -> Hands:
    return Hands()


def test_the_store_sweeps_while_it_is_in_use(path: Path, hands: Hands) -> None:
    """A write now and then brings a sweep with it, and no background task is needed."""

    async def play() -> None:
        with SqliteSessionStore(path, clock=hands.clock, boot_id=lambda: "first") as store:
            await store.save(aged("old"))
            hands.at += 32 * DAY_S
            await store.save(aged("one", at=hands.at))
            assert await store.load("old") is None
            await store.save(aged("old", at=hands.at - 32 * DAY_S))
            hands.at += SWEEP_S - 1
            await store.save(aged("two", at=hands.at))
            assert await store.load("old") is not None
            assert await store.sweep() == 1

    asyncio.run(play())


def test_a_sweep_that_fails_takes_no_write_back(path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again at the next."""

    def fail() -> int:
        raise SessionStoreError("The disk is full.")

    async def play() -> None:
        with SqliteSessionStore(path, clock=hands.clock) as store:
            monkeypatch.setattr(store._database, "sweep", fail)
            assert await store.save(aged()) is not None
            with pytest.raises(SessionStoreError):
                await store.sweep()

    asyncio.run(play())


def test_the_event_loop_goes_on_while_the_store_waits(path: Path) -> None:
    """A file that another holds keeps nobody from anything else."""

    async def play() -> None:
        with SqliteSessionStore(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as greedy:
            greedy.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.save(record()))
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert not writing.done()
            greedy.execute("ROLLBACK")
            assert await writing is not None

    asyncio.run(play())


def test_calls_are_carried_out_in_order_even_when_nobody_waits_any_more(path: Path) -> None:
    """So whoever gave up a write and reads learns whether it landed."""

    async def play() -> None:
        with SqliteSessionStore(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as greedy:
            greedy.execute("BEGIN IMMEDIATE")
            given_up = asyncio.create_task(store.save(record()))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(given_up), 0.05)
            given_up.cancel()
            reading = asyncio.create_task(store.load("s"))
            await asyncio.sleep(0.01)
            greedy.execute("ROLLBACK")
            found = await reading
            assert found is not None
            assert found.version == 1

    asyncio.run(play())


def test_a_closed_store_refuses_in_one_sentence(path: Path) -> None:
    """Closing waits for what was asked before."""

    async def play() -> None:
        with SqliteSessionStore(path) as store:
            saving = asyncio.create_task(store.save(record()))
            await asyncio.sleep(0)
        assert await saving is not None
        with pytest.raises(SessionStoreError, match="closed"):
            await store.load("s")

    asyncio.run(play())


def test_rotation_goes_on_until_all_is_done(path: Path) -> None:
    """However many batches it takes."""

    async def play() -> None:
        with database(path, keys=keys("a")) as sessions:
            for number in range(BATCH + 1):
                sessions.save(record(f"s{number}"))
        with SqliteSessionStore(path, keys=keys("b", "a")) as store:
            assert await store.rotate() == BATCH + 1
            assert await store.rotate() == 0

    asyncio.run(play())


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="This platform names no boots.")
def test_this_boot_has_a_name() -> None:
    """Which every process on the machine finds the same."""
    assert read_boot_id() == read_boot_id() != ""
