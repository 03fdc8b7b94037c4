"""Session stores that watch, wait and fail, and the durable one without its thread, for tests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from session_core.clock import Clock
from session_core.sealing import Keyring, read_keys
from session_core.session_database import SessionDatabase
from session_core.session_limits import AAL1
from session_core.session_store import MemorySessionStore, SessionRecord, SessionStoreError
from session_core.sim.clock import EPOCH_S, VirtualClock
from session_core.sim.loop import running_loop
from session_core.tokens import TokenSet
from session_core.vocabulary import EndReason

BOOT = "f2b0c1a4-first"


def keys(*letters: str) -> Keyring:
    """Keys that are easy to tell apart."""
    return read_keys(" ".join(letter * 43 for letter in letters), place="The test")


class Hands:
    """A clock whose hands a test moves."""

    def __init__(self, *, boot: float = 1000.0, epoch_s: float = EPOCH_S) -> None:
        self.at = boot
        self.clock = VirtualClock(lambda: self.at, epoch_s=epoch_s)


def database(path: Path, *, clock: Clock | None = None, **settings: Any) -> SessionDatabase:
    given = {"keys": keys("a"), "limits": AAL1, "boot_id": BOOT, "entropy": secrets.token_bytes, **settings}
    return SessionDatabase(path, clock=clock or Hands().clock, **given)


def record(session_id: str = "s", version: int = 0, token: str = "secret-at", **facts: object) -> SessionRecord:
    tokens = TokenSet(access_token=token, refresh_token="secret-rt", issued_at=0, expires_at=60, refresh_due_at=50)
    plain = SessionRecord(
        session_id=session_id, user_id="ada", version=version, tokens=tokens, started_at=0, last_activity_at=0
    )
    return msgspec.structs.replace(plain, **facts)


def aged(session_id: str = "s", *, at: float = 1000.0, life_s: float = 60.0, **facts: object) -> SessionRecord:
    """A record written at boot second `at`."""
    tokens = msgspec.structs.replace(
        record().tokens, issued_at=at, expires_at=at + life_s, refresh_due_at=at + life_s * 0.8
    )
    return msgspec.structs.replace(record(session_id), tokens=tokens, started_at=at, last_activity_at=at, **facts)


class WatchedStore(MemorySessionStore):
    """Remembers every record it was asked to save. Takes `latency_s`; refuses while `broken`."""

    def __init__(self, *, latency_s: float = 0.0) -> None:
        super().__init__()
        self.saved: list[SessionRecord] = []
        self.latency_s = latency_s
        self.broken = False

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        await asyncio.sleep(self.latency_s)
        if self.broken:
            raise SessionStoreError("The disk is full.")
        self.saved.append(record)
        return await super().save(record)

    async def delete(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        await asyncio.sleep(self.latency_s)
        await super().delete(session_id, reason)


class InlineStore:
    """SessionDatabase as a SessionStore: what SqliteSessionStore does in its thread, at once. Opened on first use."""

    shared = True

    def __init__(self, make: Callable[[], SessionDatabase]) -> None:
        self._make = make
        self._database: SessionDatabase | None = None

    @classmethod
    def virtual(cls, path: Path, **settings: Any) -> InlineStore:
        """On the time of the virtual loop it is used on."""
        return cls(lambda: database(path, clock=VirtualClock(running_loop().time), **settings))

    @property
    def database(self) -> SessionDatabase:
        if self._database is None:
            self._database = self._make()
        return self._database

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    async def load(self, session_id: str) -> SessionRecord | None:
        await asyncio.sleep(0.002)
        return self.database.load(session_id)

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        await asyncio.sleep(0.002)
        return self.database.save(record)

    async def delete(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        self.database.delete(session_id, reason)

    async def ended(self, session_id: str) -> EndReason | None:
        return self.database.ended(session_id)

    async def list_of(self, user_id: str) -> tuple[SessionRecord, ...]:
        return self.database.list_of(user_id)
