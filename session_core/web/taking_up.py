"""After a restart: go on with the sessions that are stored, before their users come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from session_core.service import SessionService
from session_core.session_store import SessionDamagedError, SessionForeignError, SessionStore, SessionStoreError
from session_core.web.sign_in import Seats

PAUSE_S = 0.02
log = logging.getLogger("session_lab")


@asynccontextmanager
async def taking_up(service: SessionService, store: SessionStore | None, seats: Seats) -> AsyncIterator[None]:
    """In the background, for as long as the block runs; whoever comes first takes up their own session themselves."""
    work = None if store is None else asyncio.create_task(take_up(service, store, seats))
    try:
        yield
    finally:
        if work is not None:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work


async def take_up(service: SessionService, store: SessionStore, seats: Seats) -> None:
    """First those whose refresh was cut off, for a provider answers a spent token only for a while.

    The rest one by one, so that the refreshes they are due for are no crowd. What cannot be read is passed over; where
    nothing can be, everybody is left to come by themselves.
    """
    try:
        names = tuple(dict.fromkeys(seat.session_id for seat in await seats.stored()))
        cut_off = [name for name in names if await _was_cut_off(store, name)]
        await _resume(service, cut_off, pause_s=0.0)
        await _resume(service, set(names).difference(cut_off), pause_s=PAUSE_S)
    except SessionStoreError as error:
        log.warning("%s", error)


async def _was_cut_off(store: SessionStore, session_id: str) -> bool:
    try:
        record = await store.load(session_id)
    except (SessionDamagedError, SessionForeignError):
        return False
    return record is not None and record.refresh_sent_at is not None


async def _resume(service: SessionService, names: Iterable[str], *, pause_s: float) -> None:
    for name in names:
        try:
            await service.resume(name)
        except SessionForeignError as error:
            log.warning("%s", error)
        await asyncio.sleep(pause_s)
