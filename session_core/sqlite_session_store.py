"""The SessionStore of one machine: a SQLite file that several processes may share, with its work in a thread."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, Protocol, Self, TypeVar

from session_core.clock import Clock, SystemClock, read_boot_id
from session_core.sealed_shelf import SealedShelf
from session_core.sealing import Entropy, Keyring
from session_core.session_database import SessionDatabase
from session_core.session_limits import AAL1, SessionLimits
from session_core.session_store import SessionRecord, SessionStoreError
from session_core.shelf import Shelved
from session_core.vocabulary import EndReason

SWEEP_S = 300.0
P = ParamSpec("P")
T = TypeVar("T")


class Run(Protocol):
    async def __call__(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T: ...


class SqliteSessionStore:
    """Use it as `with SqliteSessionStore(path) as store:` and hand it to SessionService.

    Without `keys` there is a file with one beside the database, made on first use. `limits` are those of the sessions:
    what is beyond them, or has no token left to go on with, is swept a day later while the store is in use.
    A call that is cancelled may still be carried out. Raises SessionStoreError or ConfigError on opening.
    """

    shared = True

    def __init__(
        self,
        path: Path,
        *,
        keys: Keyring | None = None,
        limits: SessionLimits = AAL1,
        clock: Clock | None = None,
        boot_id: Callable[[], str | None] = read_boot_id,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        self._clock = clock or SystemClock()
        self._database = SessionDatabase(
            path, keys=keys, limits=limits, clock=self._clock, boot_id=boot_id(), entropy=entropy
        )
        # One thread: calls are carried out in their order, also those that nobody waits for any more.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="session store")
        self._sweep_at = self._clock.boot()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Carry out what was asked for and close the file. Nothing may be asked for afterwards."""
        self._thread.shutdown()
        self._database.close()

    async def load(self, session_id: str) -> SessionRecord | None:
        return await self._run(self._database.load, session_id)

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        return await self._run(self._save, record)

    async def delete(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        await self._run(self._database.delete, session_id, reason)

    async def ended(self, session_id: str) -> EndReason | None:
        return await self._run(self._database.ended, session_id)

    async def list_of(self, user_id: str) -> tuple[SessionRecord, ...]:
        return await self._run(self._database.list_of, user_id)

    async def sweep(self) -> int:
        """Delete sessions that nobody can use any more, a batch at most; how many there were."""
        return await self._run(self._database.sweep)

    async def rotate(self) -> int:
        """Seal with the newest key what was sealed with another; how many there were."""
        total = 0
        for rotate in (self._database.rotate, self._database.shelf.rotate):
            while batch := await self._run(rotate):
                total += batch
        return total

    def shelf(self, kind: str) -> SqliteShelf:
        """Where things of one kind are kept beside the sessions."""
        return SqliteShelf(kind, self._database.shelf, self._run)

    def _save(self, record: SessionRecord) -> SessionRecord | None:
        written = self._database.save(record)
        now = self._clock.boot()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            # The write stands; what cannot be swept now is swept the next time.
            with suppress(SessionStoreError):
                self._database.sweep()
                self._database.shelf.sweep()
        return written

    async def _run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        try:
            working = asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*arguments, **named))
        except RuntimeError as error:
            raise SessionStoreError("The session store is closed; open it for as long as sessions use it.") from error
        return await working


class SqliteShelf:
    """A Shelf in the file of a SqliteSessionStore, whose thread does the work."""

    durable = True

    def __init__(self, kind: str, shelf: SealedShelf, run: Run) -> None:
        self._kind = kind
        self._shelf = shelf
        self._run = run

    async def put(self, *things: Shelved) -> None:
        await self._run(self._shelf.put, self._kind, things)

    async def get(self, name: str) -> bytes | None:
        return await self._run(self._shelf.get, self._kind, name)

    async def take(self, name: str) -> bytes | None:
        return await self._run(self._shelf.take, self._kind, name)

    async def remove(self, *names: str) -> None:
        await self._run(self._shelf.remove, self._kind, names)

    async def remove_of(self, owner: str) -> None:
        await self._run(self._shelf.remove_of, self._kind, owner)

    async def all(self) -> tuple[bytes, ...]:
        return await self._run(self._shelf.all, self._kind)
