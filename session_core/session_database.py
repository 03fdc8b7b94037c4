"""Sessions in one SQLite file: sealed, compared and swapped by version, swept when dead. Every call here blocks."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from session_core import session_codec
from session_core.clock import Clock
from session_core.sealed_shelf import SealedShelf
from session_core.sealing import Entropy, Keyring, SealBrokenError, Sealed, SealKeyMissingError
from session_core.session_file import not_synced, open_file, transaction, write_index_key
from session_core.session_limits import SessionLimits
from session_core.session_store import (
    SessionDamagedError,
    SessionForeignError,
    SessionRecord,
    latest_first,
)
from session_core.shelf import Shelved
from session_core.sqlite_failures import explained
from session_core.vocabulary import EndReason

COLUMNS = "place, owner, version, format, key_name, box"
DAY_S = 86_400.0
# A session is swept a day after its end: its user may come back and learn why it ended.
SWEPT_AFTER_S = DAY_S
QUARANTINED_FOR_S = 30 * DAY_S
ENDED = "why a session ended"
BATCH = 100


class Row(NamedTuple):
    """`place` and `owner` are keyed hashes: without the key nobody can tell whose session it is or try a guess."""

    place: bytes
    owner: bytes
    version: int
    format: int
    key_name: bytes
    box: bytes

    def context(self) -> bytes:
        """What a box is sealed for: it opens in this row only, at this version."""
        return b"session" + struct.pack(">qq", self.format, self.version) + self.place + self.owner


def dead_at(record: SessionRecord, limits: SessionLimits) -> float:
    """The boot second from which nobody can use the session any more, nor is it known to be in use; infinity if never.

    The stored activity is as old as the last refresh. So idle counts only once the access token is out as well: a
    session in use would have been refreshed.
    """
    tokens = record.tokens
    no_end = float("inf")
    started_s = no_end if limits.absolute_s is None else record.started_at + limits.absolute_s
    idle_s = no_end if limits.idle_s is None else max(record.last_activity_at + limits.idle_s, tokens.expires_at)
    refresh_s = tokens.expires_at if tokens.refresh_token is None else (tokens.refresh_expires_at or no_end)
    return min(started_s, idle_s, max(refresh_s, tokens.expires_at))


class SessionDatabase:
    """One connection to the file. Any thread may use it, one at a time.

    Raises SessionStoreError or ConfigError on opening, SessionStoreError afterwards, each with what to do.
    """

    def __init__(
        self,
        path: Path,
        *,
        keys: Keyring | None,
        limits: SessionLimits,
        clock: Clock,
        boot_id: str | None,
        entropy: Entropy,
    ) -> None:
        self._path = path
        self._limits = limits
        self._clock = clock
        self._boot_id = boot_id
        self._entropy = entropy
        opened = open_file(path, keys=keys, entropy=entropy)
        self._db, self._keys, self._index_key = opened.db, opened.keys, opened.index_key
        self.shelf = SealedShelf(path, opened, clock=clock, entropy=entropy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def load(self, session_id: str) -> SessionRecord | None:
        with explained(self._path):
            place = self._hashed("place", session_id)
            while (row := self._row(place)) is not None:
                try:
                    return self._opened(row)
                except SealBrokenError as error:
                    if self._put_aside(row, str(error)):
                        break
            if self._db.execute("SELECT 1 FROM quarantine WHERE place = ?", (place,)).fetchone():
                raise SessionDamagedError(
                    f"A session stored in {self._path} is damaged and was put aside; its user can sign in again."
                )
            return None

    def save(self, record: SessionRecord) -> SessionRecord | None:
        written = msgspec.structs.replace(record, version=record.version + 1)
        # A claim holds no new tokens, and a mark that is lost with the machine costs nothing: without it the refresh
        # token is tried again, with it perhaps given up for no reason.
        syncing = nullcontext() if record.lease_until is None else not_synced(self._db)
        with explained(self._path), syncing:
            row, dead_at_wall = self._sealed(written), self._dead_at_wall(written)
            if record.version == 0:
                return written if self._inserted(row, dead_at_wall) else None
            updated = self._db.execute(
                "UPDATE sessions SET owner = ?, version = ?, format = ?, key_name = ?, box = ?, dead_at = ? "
                "WHERE place = ? AND version = ?",
                (*row[1:], dead_at_wall, row.place, record.version),
            ).rowcount
            return written if updated or self._restored(row, dead_at_wall, record.version) else None

    def delete(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        place = self._hashed("place", session_id)
        with self._transaction():
            held = self._db.execute("DELETE FROM sessions WHERE place = ?", (place,)).rowcount
            held += self._db.execute("DELETE FROM quarantine WHERE place = ?", (place,)).rowcount
            if reason is EndReason.SIGNED_OUT:
                # Whoever signed out knows; all others may come back and ask.
                self._db.execute("DELETE FROM shelf WHERE owner = ?", (place,))
            if held:
                # Who comes second to delete it knows no better why it ended.
                self.shelf.write(ENDED, Shelved(name=session_id, body=reason.encode(), life_s=SWEPT_AFTER_S))

    def ended(self, session_id: str) -> EndReason | None:
        body = self.shelf.get(ENDED, session_id)
        try:
            return None if body is None else EndReason(body.decode())
        except ValueError:
            # A newer version knows more reasons.
            return None

    def list_of(self, user_id: str) -> tuple[SessionRecord, ...]:
        with explained(self._path):
            found = self._rows("WHERE owner = ?", self._hashed("owner", user_id))
            return latest_first(record for row in found if (record := self._readable(row)) is not None)

    def sweep(self) -> int:
        """Delete sessions that nobody can use any more, a batch at most; how many there were."""
        now = self._clock.wall()
        with explained(self._path):
            due = self._rows(
                "WHERE dead_at <= ? AND format <= ? ORDER BY dead_at LIMIT ?", now, session_codec.FORMAT, BATCH
            )
            dead = [row for row in due if self._is_dead(row)]
        with self._transaction():
            self._db.execute("DELETE FROM quarantine WHERE moved_at <= ?", (now - QUARANTINED_FOR_S,))
            return sum(self._swept(row) for row in dead)

    def _swept(self, row: Row) -> int:
        """Whether it still was as it was found, as a number; what it owned goes with it."""
        version = (row.place, row.version)
        gone = self._db.execute("DELETE FROM sessions WHERE place = ? AND version = ?", version).rowcount
        if gone:
            self._db.execute("DELETE FROM shelf WHERE owner = ?", (row.place,))
        return gone

    def rotate(self) -> int:
        """Seal with the newest key what was sealed with another, a batch at most; how many there were, 0 when done."""
        with explained(self._path):
            old = self._rows(
                "WHERE key_name <> ? AND format <= ? LIMIT ?", self._keys.newest, session_codec.FORMAT, BATCH
            )
            fresh = [(self._filled(row, self._body(row)), row) for row in old if self._readable(row) is not None]
        with self._transaction():
            write_index_key(self._db, self._keys, self._index_key, entropy=self._entropy)
            for new, row in fresh:
                self._db.execute(
                    "UPDATE sessions SET key_name = ?, box = ? WHERE place = ? AND version = ?",
                    (new.key_name, new.box, row.place, row.version),
                )
        return len(old)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with explained(self._path), transaction(self._db):
            yield

    # Rows

    def _row(self, place: bytes) -> Row | None:
        return next(iter(self._rows("WHERE place = ?", place)), None)

    def _rows(self, which: str, *values: object) -> list[Row]:
        query = f"SELECT {COLUMNS} FROM sessions {which}"  # noqa: S608 - the clauses stand in this file
        return [Row(*found) for found in self._db.execute(query, values)]

    def _inserted(self, row: Row, dead_at_wall: float | None) -> bool:
        insert = "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        return self._db.execute(insert, (*row, dead_at_wall)).rowcount == 1

    def _restored(self, row: Row, dead_at_wall: float | None, version: int) -> bool:
        """Whether this is the very version that was put aside: then whoever writes holds what was lost."""
        known = "SELECT 1 FROM quarantine WHERE place = ? AND version = ?"
        with self._transaction():
            return self._db.execute(known, (row.place, version)).fetchone() is not None and self._inserted(
                row, dead_at_wall
            )

    def _put_aside(self, row: Row, reason: str) -> bool:
        """Move a row that cannot be read into quarantine; False if it was written anew meanwhile."""
        with self._transaction():
            moved = self._db.execute(
                "DELETE FROM sessions WHERE place = ? AND version = ? AND box = ?", (row.place, row.version, row.box)
            ).rowcount
            if moved:
                self._db.execute(
                    "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (row.place, *row[2:], reason, self._clock.wall()),
                )
        return bool(moved)

    # Sealing

    def _hashed(self, what: str, name: str) -> bytes:
        return hmac.digest(self._index_key, f"{what} {name}".encode(), "sha256")

    def _now(self) -> session_codec.Stamp:
        return session_codec.stamp(self._clock, self._boot_id)

    def _sealed(self, record: SessionRecord) -> Row:
        place, owner = self._hashed("place", record.session_id), self._hashed("owner", record.user_id)
        empty = Row(place, owner, record.version, session_codec.FORMAT, b"", b"")
        return self._filled(empty, session_codec.encode(record, now=self._now()))

    def _filled(self, row: Row, body: bytes) -> Row:
        sealed = self._keys.seal(body, row.context(), entropy=self._entropy)
        return row._replace(key_name=sealed.key_name, box=sealed.box)

    def _body(self, row: Row) -> bytes:
        """Raises SealBrokenError; SealKeyMissingError or SessionForeignError for what is sound and not for us to read."""
        if row.format > session_codec.FORMAT:
            raise SessionForeignError(
                f"A session in {self._path} was written by a newer version of session_core and was left untouched; "
                "update this one."
            )
        return self._keys.open(Sealed(row.key_name, row.box), row.context())

    def _opened(self, row: Row) -> SessionRecord:
        try:
            return session_codec.decode(self._body(row), now=self._now())
        except msgspec.DecodeError:
            raise SealBrokenError("What is stored is no session.") from None

    def _readable(self, row: Row) -> SessionRecord | None:
        """As `_opened`, but of several one that is damaged is put aside and passed over."""
        try:
            return self._opened(row)
        except SealBrokenError as error:
            self._put_aside(row, str(error))
            return None

    def _dead_at_wall(self, record: SessionRecord) -> float | None:
        left_s = dead_at(record, self._limits) + SWEPT_AFTER_S - self._clock.boot()
        return None if left_s == float("inf") else self._clock.wall() + left_s

    def _is_dead(self, row: Row) -> bool:
        """The column only hints, for the wall clock may have been set; what cannot be read goes by it all the same."""
        try:
            record = self._readable(row)
        except SealKeyMissingError:
            return True
        return record is not None and dead_at(record, self._limits) + SWEPT_AFTER_S <= self._clock.boot()
