"""A device's disk: what its processes store survives them. It can be full, slow and damaged."""

from __future__ import annotations

import asyncio

from session_core.events import DeviceChanged, Record
from session_core.session_store import MemorySessionStore, SessionDamagedError, SessionRecord, SessionStoreError
from session_core.vocabulary import DeviceChange, EndReason


class Disk:
    """The `SessionStore` of the processes of one device; `shared` where there can be several at a time.

    Writes are whole or not at all. What is damaged is never read; who holds it may write it anew, as in the SQLite store.
    """

    def __init__(self, *, shared: bool, record: Record) -> None:
        self.shared = shared
        self._record = record
        self._store = MemorySessionStore()
        self._latency_s = 0.0
        self._full = False
        self._damaged: set[str] = set()
        self._aside: set[str] = set()
        self.quarantined: list[str] = []

    @property
    def immediate(self) -> bool:
        return not self._latency_s

    def __len__(self) -> int:
        return len(self._store) - len(self._aside)

    async def load(self, session_id: str) -> SessionRecord | None:
        await self._take_time()
        record = await self._store.load(session_id)
        if record is not None and session_id in self._damaged:
            if session_id not in self._aside:
                self._aside.add(session_id)
                self.quarantined.append(session_id)
            raise SessionDamagedError("The stored session is damaged and was put aside.")
        return record

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        await self._take_time()
        if self._full:
            raise SessionStoreError("The disk is full; the session could not be written.")
        written = await self._store.save(record)
        if written is not None:
            self._mend(record.session_id)
        return written

    async def delete(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        await self._take_time()
        self._mend(session_id)
        await self._store.delete(session_id, reason)

    async def ended(self, session_id: str) -> EndReason | None:
        await self._take_time()
        return await self._store.ended(session_id)

    async def list_of(self, user_id: str) -> tuple[SessionRecord, ...]:
        await self._take_time()
        found = await self._store.list_of(user_id)
        return tuple(record for record in found if record.session_id not in self._damaged)

    def _mend(self, session_id: str) -> None:
        self._damaged.discard(session_id)
        self._aside.discard(session_id)

    async def _take_time(self) -> None:
        if self._latency_s:
            await asyncio.sleep(self._latency_s)

    # What befalls it

    def fill_up(self, for_s: float | None = None) -> None:
        self._record(DeviceChanged(change=DeviceChange.STORE_FAILED, seconds=for_s or 0.0))
        self._full = True

    def recover(self) -> None:
        self._record(DeviceChanged(change=DeviceChange.STORE_RECOVERED))
        self._full = False

    def slow_down(self, latency_s: float) -> None:
        self._latency_s = latency_s

    def damage(self, session_ids: list[str]) -> None:
        """Make what is stored for these unreadable."""
        self._record(DeviceChanged(change=DeviceChange.STORE_CORRUPTED))
        self._damaged.update(session_ids)
