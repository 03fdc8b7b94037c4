"""Small things that are kept beside sessions, such as who sits at which browser: the protocol, and keeping nothing."""

from __future__ import annotations

from typing import Protocol

from session_core.secrecy import Discreet


class Shelved(Discreet, frozen=True, kw_only=True):
    """A thing found again by its `name` alone. It goes with the session that is its `owner`, or after `life_s`."""

    name: str
    body: bytes
    owner: str | None = None
    life_s: float | None = None


class Shelf(Protocol):
    """Things of one kind. Every call may raise SessionStoreError; what cannot be read counts as not there.

    `durable` says whether a restart finds them again.
    """

    @property
    def durable(self) -> bool: ...

    async def put(self, *things: Shelved) -> None:
        """Write all of them durably or none; each replaces what had its name."""
        ...

    async def get(self, name: str) -> bytes | None: ...

    async def take(self, name: str) -> bytes | None:
        """As `get`, and only one who asks gets it."""
        ...

    async def remove(self, *names: str) -> None: ...

    async def remove_of(self, owner: str) -> None: ...

    async def all(self) -> tuple[bytes, ...]: ...


class NoShelf:
    """For what is to be forgotten at the end of the process: whoever uses it has a memory of their own."""

    durable = False

    async def put(self, *things: Shelved) -> None:
        """Nothing is kept."""

    async def get(self, name: str) -> bytes | None:  # noqa: ARG002 - as the protocol has it
        return None

    async def take(self, name: str) -> bytes | None:  # noqa: ARG002 - as the protocol has it
        return None

    async def remove(self, *names: str) -> None:
        """Nothing is there."""

    async def remove_of(self, owner: str) -> None:
        """Nothing is there."""

    async def all(self) -> tuple[bytes, ...]:
        return ()
