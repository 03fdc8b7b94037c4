"""Session stores that watch, wait and fail, for tests."""

from __future__ import annotations

import asyncio

from session_core.session_store import MemorySessionStore, SessionRecord, SessionStoreError


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

    async def delete(self, session_id: str) -> None:
        await asyncio.sleep(self.latency_s)
        await super().delete(session_id)
