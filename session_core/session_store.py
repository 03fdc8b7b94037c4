"""Where sessions live: the protocol every store keeps, and the one in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import msgspec

from session_core.errors import SessionCoreError
from session_core.jwt_checks import sid_of
from session_core.tokens import TokenSet
from session_core.vocabulary import EndReason

ENDED_MAX = 10_000


class SessionStoreError(SessionCoreError):
    """The record could not be written or read; what was held in memory still stands."""

    code = "session_store"


class SessionDamagedError(SessionStoreError):
    """What was stored of this session cannot be read and was put aside; who holds the session may write it anew."""

    code = "session_damaged"


class SessionForeignError(SessionStoreError):
    """What is stored of this session is sound, and not for this process to read: a newer version or another key wrote it."""

    code = "session_foreign"


class SeenOn(NamedTuple):
    """What a user knows a session by: what they signed in on, and from where."""

    device: str = ""
    address: str = ""


NOWHERE = SeenOn()


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a session needs to go on after a restart.

    `refresh_sent_at` is set while a refresh is under way: found after a crash, the refresh token may be spent.
    `lease_until` is the boot second up to which the process that refreshes is known to live.
    `device` and `address` are what its user knows it by: see SeenOn. `issuer` is whose tokens they are: they go to
    nobody else, whatever is configured when the session is taken up again. `sid` is the session there, as it was called
    at sign-in: later ID tokens need not repeat it.
    """

    session_id: str
    user_id: str
    version: int = 0
    tokens: TokenSet
    started_at: float
    last_activity_at: float
    refresh_sent_at: float | None = None
    lease_until: float | None = None
    device: str = ""
    address: str = ""
    issuer: str = ""
    sid: str | None = None

    def known_sid(self) -> str | None:
        return sid_of(self.tokens.id_token) or self.sid


class SessionStore(Protocol):
    """Every call may raise SessionStoreError. `shared` says that several processes keep the same sessions in it.

    One that is `immediate`, which need not be said, never waits, and so no time limit is set for it.
    """

    @property
    def shared(self) -> bool: ...

    async def load(self, session_id: str) -> SessionRecord | None: ...

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        """Write durably if the stored version is still `record.version`; the stored record, or None if it moved on.

        What is not stored has version 0, so a late write cannot bring back a session that was deleted.
        """
        ...

    async def delete(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        """Forget it for good; `reason` is remembered for a while, for others who hold it."""
        ...

    async def ended(self, session_id: str) -> EndReason | None:
        """Why it was deleted, as long as that is remembered."""
        ...

    async def list_of(self, user_id: str) -> tuple[SessionRecord, ...]:
        """A user's sessions, the one in use last first."""
        ...


def told_elsewhere(reason: EndReason | None) -> EndReason:
    """A sign-out in another process is one elsewhere; every other reason is the same wherever it is told."""
    return EndReason.SIGNED_OUT_ELSEWHERE if reason in (None, EndReason.SIGNED_OUT) else reason


def latest_first(records: Iterable[SessionRecord]) -> tuple[SessionRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.last_activity_at, reverse=True))


class MemorySessionStore:
    """For one process and its life."""

    shared = False

    def __init__(self) -> None:
        self._records: dict[str, SessionRecord] = {}
        self._ended: dict[str, EndReason] = {}
        # What is made of it elsewhere may well wait.
        self.immediate = type(self) is MemorySessionStore

    def __len__(self) -> int:
        return len(self._records)

    async def load(self, session_id: str) -> SessionRecord | None:
        return self._records.get(session_id)

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        held = self._records.get(record.session_id)
        if record.version != (0 if held is None else held.version):
            return None
        written = msgspec.structs.replace(record, version=record.version + 1)
        self._records[record.session_id] = written
        return written

    async def delete(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        if self._records.pop(session_id, None) is None:
            return
        self._ended[session_id] = reason
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    async def ended(self, session_id: str) -> EndReason | None:
        return self._ended.get(session_id)

    async def list_of(self, user_id: str) -> tuple[SessionRecord, ...]:
        return latest_first(record for record in self._records.values() if record.user_id == user_id)
