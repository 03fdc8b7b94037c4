"""Writes what a provider granted before its answer leaves, and finds it again after a restart."""

from __future__ import annotations

import asyncio
import logging

from session_core.clock import Clock
from session_core.provider.lasting import Changes, Lasting
from session_core.session_store import SessionStoreError
from session_core.shelf import Shelf

# A file that is held may take seconds to fail; not every call is to wait for that.
RETRY_S = 5.0
log = logging.getLogger("session_lab")


class GrantKeeper:
    """One provider's grants on a shelf.

    A shelf that fails does not keep answers back: what was granted stands in memory, is written with an answer a little
    later, and is lost only if the process ends before.
    """

    def __init__(self, lasting: Lasting, shelf: Shelf, *, clock: Clock) -> None:
        self._lasting = lasting
        self._shelf = shelf
        self._clock = clock
        self._writing = asyncio.Lock()
        self._owed = Changes((), ())
        self._retry_at = clock.boot()

    async def restore(self) -> None:
        """Raises SessionStoreError."""
        self._lasting.restore(await self._shelf.all())

    async def settle(self) -> None:
        """When this is over, everything is written that was granted before it was called, if it can be."""
        fresh = self._lasting.take(now=self._clock.wall())
        self._owed = _joined(self._owed, fresh)
        # Who has nothing to write may still answer from what another is writing.
        if self._clock.boot() < self._retry_at or not (any(self._owed) or self._writing.locked()):
            return
        async with self._writing:
            owed, self._owed = self._owed, Changes((), ())
            try:
                if owed.put:
                    await self._shelf.put(*owed.put)
                if owed.gone:
                    await self._shelf.remove(*owed.gone)
            except SessionStoreError as error:
                log.warning("%s", error)
                self._owed = _joined(owed, self._owed)
                self._retry_at = self._clock.boot() + RETRY_S


def _joined(earlier: Changes, later: Changes) -> Changes:
    """Of each name the later word counts."""
    last = {thing.name: thing for thing in (*earlier.put, *later.put)}
    gone = {name for name in earlier.gone if name not in {thing.name for thing in later.put}} | set(later.gone)
    return Changes(tuple(thing for name, thing in last.items() if name not in gone), tuple(gone))
