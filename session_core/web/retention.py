"""Drops, for as long as the app runs, what is older than it is to be kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from session_core.clock import Clock
from session_core.errors import EventStoreError
from session_core.store.rollups import Retention

# Not while an app starts and somebody waits for its first page.
FIRST_S = 300.0
EVERY_S = 6 * 3_600.0


class Keeper(Protocol):
    """What this needs of a store."""

    def forget_before(self, now_s: float, retention: Retention) -> None: ...


@asynccontextmanager
async def retaining(store: Keeper, retention: Retention, *, clock: Clock) -> AsyncIterator[None]:
    """Meanwhile the store is looked through every six hours. One that cannot be used is tried again then."""
    task = asyncio.create_task(_retain(store, retention, clock), name="retention")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _retain(store: Keeper, retention: Retention, clock: Clock) -> None:
    await asyncio.sleep(FIRST_S)
    while True:
        with suppress(EventStoreError):
            await asyncio.to_thread(store.forget_before, clock.wall(), retention)
        await asyncio.sleep(EVERY_S)
