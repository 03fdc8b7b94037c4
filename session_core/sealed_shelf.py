"""What is kept beside sessions in their SQLite file: sealed, each in its own row, found by keyed hash only. It blocks."""

from __future__ import annotations

import hmac
import struct
from pathlib import Path
from typing import NamedTuple

from session_core.clock import Clock
from session_core.sealing import Entropy, SealBrokenError, Sealed
from session_core.session_file import OpenFile, transaction
from session_core.shelf import Shelved
from session_core.sqlite_failures import explained

COLUMNS = "kind, place, owner, key_name, box, ends_at"
BATCH = 100
NOBODY = bytes(32)


class ShelfRow(NamedTuple):
    """`kind`, `place` and `owner` are keyed hashes; `owner` is that of a session's own row. `ends_at` is wall time."""

    kind: bytes
    place: bytes
    owner: bytes
    key_name: bytes
    box: bytes
    ends_at: float | None

    def context(self) -> bytes:
        """What a box is sealed for: it opens in this row only, and not for longer than it was meant to."""
        ends_at = struct.pack(">d", float("inf") if self.ends_at is None else self.ends_at)
        return b"shelf" + self.kind + self.place + self.owner + ends_at


class SealedShelf:
    """Shares the connection of a session database, and is used as that is: by any thread, one at a time.

    What was changed or moved counts as not there and is deleted: all of it can be had again by signing in.
    Raises SessionStoreError.
    """

    def __init__(self, path: Path, file: OpenFile, *, clock: Clock, entropy: Entropy) -> None:
        self._path = path
        self._db, self._keys, self._index_key = file.db, file.keys, file.index_key
        self._clock = clock
        self._entropy = entropy

    def put(self, kind: str, things: tuple[Shelved, ...]) -> None:
        with explained(self._path), transaction(self._db):
            for thing in things:
                self.write(kind, thing)

    def write(self, kind: str, thing: Shelved) -> None:
        """As `put`, in a transaction that somebody else has begun."""
        self._db.execute("INSERT OR REPLACE INTO shelf VALUES (?, ?, ?, ?, ?, ?)", self._row(kind, thing))

    def get(self, kind: str, name: str) -> bytes | None:
        with explained(self._path):
            found = self._found("kind = ? AND place = ?", self._hashed("kind", kind), self._place(kind, name))
            return self._opened(found[0]) if found else None

    def take(self, kind: str, name: str) -> bytes | None:
        key = (self._hashed("kind", kind), self._place(kind, name))
        with explained(self._path), transaction(self._db):
            found = self._found("kind = ? AND place = ?", *key)
            body = self._opened(found[0]) if found else None
            self._db.execute("DELETE FROM shelf WHERE kind = ? AND place = ?", key)
            return body

    def all(self, kind: str) -> tuple[bytes, ...]:
        with explained(self._path):
            rows = self._found("kind = ?", self._hashed("kind", kind))
            return tuple(body for row in rows if (body := self._opened(row)) is not None)

    def remove(self, kind: str, names: tuple[str, ...]) -> None:
        with explained(self._path), transaction(self._db):
            for name in names:
                key = (self._hashed("kind", kind), self._place(kind, name))
                self._db.execute("DELETE FROM shelf WHERE kind = ? AND place = ?", key)

    def remove_of(self, kind: str, owner: str) -> None:
        with explained(self._path), transaction(self._db):
            key = (self._hashed("kind", kind), self._hashed("place", owner))
            self._db.execute("DELETE FROM shelf WHERE kind = ? AND owner = ?", key)

    def sweep(self) -> int:
        """Delete what is past its time; how many there were."""
        with explained(self._path):
            return self._db.execute("DELETE FROM shelf WHERE ends_at <= ?", (self._clock.wall(),)).rowcount

    def rotate(self) -> int:
        """Seal with the newest key what was sealed with another, a batch at most; how many there were, 0 when done."""
        with explained(self._path):
            query = f"SELECT {COLUMNS} FROM shelf WHERE key_name <> ? LIMIT ?"  # noqa: S608 - our own columns
            old = [ShelfRow(*found) for found in self._db.execute(query, (self._keys.newest, BATCH))]
            bodies = [(row, self._opened(row)) for row in old]
        with explained(self._path), transaction(self._db):
            for row, body in bodies:
                if body is not None:
                    sealed = self._keys.seal(body, row.context(), entropy=self._entropy)
                    self._db.execute(
                        "UPDATE shelf SET key_name = ?, box = ? WHERE kind = ? AND place = ? AND box = ?",
                        (*sealed, row.kind, row.place, row.box),
                    )
        return len(old)

    def _found(self, which: str, *values: object) -> list[ShelfRow]:
        """Rows whose time is not over."""
        now = self._clock.wall()
        query = f"SELECT {COLUMNS} FROM shelf WHERE {which} AND (ends_at IS NULL OR ends_at > ?)"  # noqa: S608 - ours
        return [ShelfRow(*found) for found in self._db.execute(query, (*values, now))]

    def _row(self, kind: str, thing: Shelved) -> ShelfRow:
        empty = ShelfRow(
            kind=self._hashed("kind", kind),
            place=self._place(kind, thing.name),
            owner=NOBODY if thing.owner is None else self._hashed("place", thing.owner),
            key_name=b"",
            box=b"",
            ends_at=None if thing.life_s is None else self._clock.wall() + thing.life_s,
        )
        sealed = self._keys.seal(thing.body, empty.context(), entropy=self._entropy)
        return empty._replace(key_name=sealed.key_name, box=sealed.box)

    def _opened(self, row: ShelfRow) -> bytes | None:
        try:
            return self._keys.open(Sealed(row.key_name, row.box), row.context())
        except SealBrokenError:
            key = (row.kind, row.place, row.box)
            self._db.execute("DELETE FROM shelf WHERE kind = ? AND place = ? AND box = ?", key)
            return None

    def _place(self, kind: str, name: str) -> bytes:
        return self._hashed("thing", f"{kind} {name}")

    def _hashed(self, what: str, name: str) -> bytes:
        """A session's place is hashed as the session database does it, so that what it owns goes with it."""
        return hmac.digest(self._index_key, f"{what} {name}".encode(), "sha256")
