"""A store that cannot be opened now is opened when it can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_core.errors import EventStoreError, StoreCorruptError
from session_core.store.late_store import LateStore


class Clock:
    now = 0.0

    def wall(self) -> float:
        return self.now

    monotonic = boot = wall


def test_a_new_store_makes_its_directory(tmp_path: Path) -> None:
    """The first start needs no preparation."""
    store = LateStore(tmp_path / "new" / "lab.duckdb", clock=Clock())
    assert store.opened().statistics().appended == 0
    store.close()


def test_a_store_is_tried_again_only_after_a_while(tmp_path: Path) -> None:
    """Pages ask often; the disk is not asked in vain more than every few seconds."""
    clock, path = Clock(), tmp_path / "lab.duckdb"
    path.write_bytes(b"letters" * 5000)
    store = LateStore(path, clock=clock, retry_s=5)
    with pytest.raises(StoreCorruptError):
        store.opened()
    path.unlink()
    clock.now = 4.9
    with pytest.raises(StoreCorruptError):
        store.opened()
    clock.now = 5.0
    assert store.opened().statistics().appended == 0
    store.close()


def test_a_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    """One sentence names the directory and the variable."""
    (tmp_path / "file").write_text("x")
    store = LateStore(tmp_path / "file" / "lab.duckdb", clock=Clock())
    with pytest.raises(EventStoreError, match="SESSION_LAB_DB"):
        store.opened()


def test_a_closed_store_stays_closed(tmp_path: Path) -> None:
    """Nothing opens the file again behind the back of who closed it."""
    store = LateStore(tmp_path / "lab.duckdb", clock=Clock())
    store.opened()
    store.close()
    with pytest.raises(EventStoreError, match="closed"):
        store.opened()
