"""The SQLite file that sessions are in: made, recognised and opened, with the keys that open what it holds."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from session_core.sealing import (
    KEY_BYTES,
    KEY_VARIABLE,
    Entropy,
    Keyring,
    SealBrokenError,
    Sealed,
    make_key_file,
    read_key_file,
)
from session_core.secrecy import Discreet
from session_core.session_store import SessionStoreError
from session_core.sqlite_failures import damaged, explained

# Below what a session waits for its store, so that it learns why.
BUSY_S_MAX = 5.0
# "SeSt", so that no other database is taken for one of ours.
APPLICATION_ID = 0x53655374
TABLES = """
CREATE TABLE secrets (name TEXT PRIMARY KEY, key_name BLOB NOT NULL, box BLOB NOT NULL) STRICT;
CREATE TABLE sessions (
    place BLOB PRIMARY KEY, owner BLOB NOT NULL, version INTEGER NOT NULL, format INTEGER NOT NULL,
    key_name BLOB NOT NULL, box BLOB NOT NULL, dead_at REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_owner ON sessions (owner);
CREATE INDEX sessions_dead_at ON sessions (dead_at) WHERE dead_at IS NOT NULL;
CREATE TABLE quarantine (
    place BLOB PRIMARY KEY, version INTEGER NOT NULL, format INTEGER NOT NULL,
    key_name BLOB NOT NULL, box BLOB NOT NULL, reason TEXT NOT NULL, moved_at REAL NOT NULL
) STRICT, WITHOUT ROWID
"""
SHELF = """
CREATE TABLE shelf (
    kind BLOB NOT NULL, place BLOB NOT NULL, owner BLOB NOT NULL,
    key_name BLOB NOT NULL, box BLOB NOT NULL, ends_at REAL, PRIMARY KEY (kind, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX shelf_of_owner ON shelf (owner);
CREATE INDEX shelf_ends_at ON shelf (ends_at) WHERE ends_at IS NOT NULL
"""
# What each layout added to the one before.
LAYOUTS = (TABLES, SHELF)
LAYOUT = len(LAYOUTS)
INDEX_KEY = "index key"


class OpenFile(Discreet, frozen=True, kw_only=True):
    """`index_key` is this file's own secret, with which the names in it are hashed."""

    db: sqlite3.Connection
    keys: Keyring
    index_key: bytes


def open_file(path: Path, *, keys: Keyring | None, entropy: Entropy) -> OpenFile:
    """Without `keys` those of the file beside it are used, which is made for a new database.

    Raises SessionStoreError or ConfigError, and leaves what it cannot use as it is.
    """
    with explained(path):
        # The files SQLite puts beside it get the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, timeout=BUSY_S_MAX, isolation_level=None, check_same_thread=False)
        try:
            with transaction(db):
                _require_ours(db, path)
                ring, index_key = _keys_of(db, path, keys, entropy)
            path.chmod(0o600)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            db.close()
            raise
        return OpenFile(db=db, keys=ring, index_key=index_key)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; no other process writes meanwhile."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def not_synced(db: sqlite3.Connection) -> Iterator[None]:
    """What is committed meanwhile outlives the process, but perhaps not a loss of power; it saves waiting for the disk."""
    db.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        db.execute("PRAGMA synchronous = FULL")


def write_index_key(db: sqlite3.Connection, keys: Keyring, index_key: bytes, *, entropy: Entropy) -> None:
    sealed = keys.seal(index_key, INDEX_KEY.encode(), entropy=entropy)
    db.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?, ?)", (INDEX_KEY, *sealed))


def _require_ours(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables that a new file or an older one lacks; touch no other program's."""
    (application_id,), (layout,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application_id == APPLICATION_ID and layout > LAYOUT:
        raise SessionStoreError(
            f"{path} was made by a newer version of session_core and was left untouched; update this one."
        )
    if application_id != APPLICATION_ID:
        if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise SessionStoreError(
                f"{path} is another program's database and was left untouched; choose another file."
            )
        layout = 0
    for tables in LAYOUTS[layout:]:
        for statement in tables.split(";"):
            db.execute(statement)
    if layout < LAYOUT:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {LAYOUT}")


def _keys_of(db: sqlite3.Connection, path: Path, keys: Keyring | None, entropy: Entropy) -> tuple[Keyring, bytes]:
    known = db.execute("SELECT key_name, box FROM secrets WHERE name = ?", (INDEX_KEY,)).fetchone()
    ring = keys or _keys_beside(path, needed=known is not None, entropy=entropy)
    if known is None:
        index_key = entropy(KEY_BYTES)
        write_index_key(db, ring, index_key, entropy=entropy)
        return ring, index_key
    try:
        return ring, ring.open(Sealed(*known), INDEX_KEY.encode())
    except SealBrokenError as error:
        raise damaged(path, str(error)) from error


def _keys_beside(path: Path, *, needed: bool, entropy: Entropy) -> Keyring:
    beside = path.with_name(f"{path.name}.key")
    ring = read_key_file(beside)
    if ring is None and needed:
        raise SessionStoreError(
            f"The sessions in {path} cannot be read without their key; set {KEY_VARIABLE}, bring back {beside}, "
            f"or move {path.name} away to begin anew."
        )
    return ring or make_key_file(beside, entropy=entropy)
