"""Keeps one session's record in the store: durable, in order, and in step with other processes that hold the session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import msgspec

from session_core.clock import Clock
from session_core.events import PersistFailed, Record
from session_core.session_store import SessionRecord, SessionStore, SessionStoreError, told_elsewhere
from session_core.tokens import TokenSet
from session_core.vocabulary import EndReason

WRITE_S_MAX = 10.0
LEASE_S = 6.0
RENEW_S = 2.0
LOOK_S_MAX = 1.0
REPLACE_TRIES = 3


class Keeping(StrEnum):
    """What became of one write. After FAILED the session lives on in memory; MOVED and GONE: another process acted.

    LEASED: another process is at work, as far as is known.
    """

    DONE = "done"
    FAILED = "failed"
    LEASED = "leased"
    MOVED = "moved"
    GONE = "gone"


class Kept(NamedTuple):
    """`latest` is what the store holds instead, where another process MOVED it on; `ended` why it is GONE, if known."""

    keeping: Keeping
    latest: SessionRecord | None = None
    ended: EndReason | None = None

    @property
    def durable(self) -> bool:
        return self.keeping is Keeping.DONE

    @property
    def why(self) -> EndReason:
        return told_elsewhere(self.ended)


def lease_holds(record: SessionRecord, *, now: float) -> bool:
    """Whether a living process is refreshing this session at boot second `now`."""
    return record.lease_until is not None and now < record.lease_until


def is_news(record: SessionRecord, tokens: TokenSet) -> bool:
    """Whether the store holds later tokens than `tokens`; it holds earlier ones where a write of ours failed."""
    return record.tokens.access_token != tokens.access_token and record.tokens.issued_at > tokens.issued_at


def marked_before(record: SessionRecord, refresh_sent_at: float) -> bool:
    """Whether somebody sent the refresh token earlier and no answer is known: that time is the one that counts."""
    return record.refresh_sent_at is not None and record.refresh_sent_at < refresh_sent_at


class LeaseWatch:
    """How long another's lease has been seen unrenewed, counted in time in which this process was running itself.

    What holds this process up, a sleep or a stall, may have held up the other just as well, so a longer gap between two
    looks counts for `LOOK_S_MAX`: after it, the holder has time to renew.
    """

    __slots__ = ("_looked_at", "_seen_s", "_version")

    def __init__(self) -> None:
        self._version = self._looked_at = self._seen_s = 0.0

    def is_left(self, record: SessionRecord, *, now: float) -> bool:
        """Whether whoever holds the lease is dead, as seen at boot second `now`."""
        renewed = record.version != self._version
        self._seen_s = 0.0 if renewed else self._seen_s + min(now - self._looked_at, LOOK_S_MAX)
        self._version, self._looked_at = record.version, now
        # Seen for a whole lease it is over whatever its time says, which may be of a clock before a restart.
        return self._seen_s >= (LEASE_S if lease_holds(record, now=now) else LEASE_S - RENEW_S)


class SessionKeeper:
    """One session's place in the store. Every write is a compare-and-swap, one at a time and in order.

    The mark written ahead of a refresh doubles as a short lease: of several processes only the one whose mark went in
    may send the refresh token, and a mark not renewed for `LEASE_S` belongs to a process that died (see LeaseWatch).
    `facts` gives the record as the session knows it; the keeper adds version and lease. `on_seen` hears when, by what
    the store holds, the user was there last. `shared`: other processes can hold the same session.
    """

    __slots__ = (
        "_clock",
        "_facts",
        "_known",
        "_leased",
        "_leased_until",
        "_on_seen",
        "_record",
        "_renewal",
        "_session_id",
        "_store",
        "_version",
        "_watch",
        "_writing",
        "shared",
    )

    def __init__(
        self,
        store: SessionStore,
        *,
        session_id: str,
        facts: Callable[[TokenSet, float | None], SessionRecord],
        clock: Clock,
        record: Record,
        on_seen: Callable[[float], object],
    ) -> None:
        self.shared = store.shared
        self._store = store
        self._session_id = session_id
        self._facts = facts
        self._clock = clock
        self._record = record
        self._on_seen = on_seen
        self._writing = asyncio.Lock()
        # None: not known, because a write that failed or was given up may have landed.
        self._version: int | None = 0
        # Whether the store ever held this session: only then can it be gone.
        self._known = False
        self._renewal: asyncio.Task[None] | None = None
        # The version of our own latest lease, and the boot second it holds to.
        self._leased, self._leased_until = 0, 0.0
        self._watch = LeaseWatch()

    def resume(self, record: SessionRecord) -> None:
        """Go on from what the store held."""
        self._version, self._known = record.version, True
        self._on_seen(record.last_activity_at)

    async def write(self, tokens: TokenSet, refresh_sent_at: float | None) -> Kept:
        """Write, and give up the lease if there is one."""
        self.release()
        return await self._guard(lambda: self._swap(self._facts(tokens, refresh_sent_at)))

    async def replace(self, tokens: TokenSet) -> Kept:
        """Write, whatever another process has written meanwhile."""
        kept = Kept(Keeping.FAILED)
        for _ in range(REPLACE_TRIES):
            kept = await self.write(tokens, None)
            if kept.keeping in (Keeping.DONE, Keeping.FAILED):
                break
            self._version = 0 if kept.latest is None else kept.latest.version
            if kept.latest is not None:
                self._on_seen(kept.latest.last_activity_at)
        return kept

    async def touch(self, last_activity_at: float) -> Kept:
        """Write only when the user was there last; LEASED leaves it to whoever is refreshing."""
        return await self._guard(partial(self._touch, last_activity_at))

    async def claim(self, tokens: TokenSet, refresh_sent_at: float) -> Kept:
        """Write the mark ahead of a refresh; DONE means that no other process refreshes until the next `write`."""
        kept = await self._guard(lambda: self._lease(tokens, refresh_sent_at))
        if kept.durable and self.shared:
            self.release()
            self._renewal = asyncio.get_running_loop().create_task(self._renew(tokens, refresh_sent_at))
        return kept

    def leads(self, now: float) -> bool:
        """Whether the claim still holds: not if the device slept between the write and boot second `now`."""
        return not self.shared or now < self._leased_until

    async def look(self) -> Kept:
        """What the store holds: DONE if it is what was written here last."""
        return await self._guard(self._compare)

    async def forget(self, reason: EndReason) -> bool:
        """Delete the record; whether the store did."""
        self.release()
        return (await self._guard(partial(self._delete, reason))).durable

    def release(self) -> None:
        """Stop renewing the lease; the next write ends it, or it runs out by itself."""
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.cancel()

    async def _guard(self, work: Callable[[], Awaitable[Kept]]) -> Kept:
        try:
            if getattr(self._store, "immediate", False):
                async with self._writing:
                    return await self._explained(await work())
            async with asyncio.timeout(WRITE_S_MAX), self._writing:
                return await self._explained(await work())
        except (SessionStoreError, TimeoutError) as error:
            self._record(PersistFailed(error=error.code if isinstance(error, SessionStoreError) else "timeout"))
            return Kept(Keeping.FAILED)

    async def _explained(self, kept: Kept) -> Kept:
        if kept.keeping is not Keeping.GONE:
            return kept
        return kept._replace(ended=await self._store.ended(self._session_id))

    async def _swap(self, record: SessionRecord) -> Kept:
        version = self._version
        if version is None:
            held = await self._store.load(self._session_id)
            deleted = held is None and self._known and self.shared
            if deleted or (held is not None and is_news(held, record.tokens)):
                return self._moved(held)
            version = 0 if held is None else held.version
            self._known = self._known or held is not None
        self._version = None
        written = await self._store.save(msgspec.structs.replace(record, version=version))
        if written is not None:
            self._version, self._known = written.version, True
            return Kept(Keeping.DONE)
        # What another wrote counts as known when it is heeded, or the next write would go over it.
        self._version = version
        return self._moved(await self._store.load(self._session_id))

    async def _lease(self, tokens: TokenSet, refresh_sent_at: float) -> Kept:
        now = self._clock.boot()
        if self.shared:
            latest = await self._store.load(self._session_id)
            if latest is None:
                return self._moved(None)
            if is_news(latest, tokens):
                return Kept(Keeping.MOVED, latest)
            if self._is_others(latest) and not self._watch.is_left(latest, now=now):
                return Kept(Keeping.LEASED, latest)
            if marked_before(latest, refresh_sent_at):
                return Kept(Keeping.MOVED, latest)
            self.resume(latest)
        kept = await self._extend(tokens, refresh_sent_at)
        # Another was quicker by a moment.
        return Kept(Keeping.LEASED, kept.latest) if kept.keeping is Keeping.MOVED else kept

    def _is_others(self, record: SessionRecord) -> bool:
        return record.lease_until is not None and record.version != self._leased

    async def _extend(self, tokens: TokenSet, refresh_sent_at: float) -> Kept:
        until = self._clock.boot() + LEASE_S
        kept = await self._swap(msgspec.structs.replace(self._facts(tokens, refresh_sent_at), lease_until=until))
        if kept.durable and self._version is not None:
            self._leased, self._leased_until = self._version, until
        return kept

    async def _renew(self, tokens: TokenSet, refresh_sent_at: float) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            if not (await self._guard(partial(self._extend, tokens, refresh_sent_at))).durable:
                return

    async def _touch(self, last_activity_at: float) -> Kept:
        latest = await self._store.load(self._session_id)
        if latest is None:
            return self._moved(None)
        if latest.last_activity_at >= last_activity_at:
            return Kept(Keeping.DONE)
        if lease_holds(latest, now=self._clock.boot()):
            return Kept(Keeping.LEASED, latest)
        written = await self._store.save(msgspec.structs.replace(latest, last_activity_at=last_activity_at))
        if written is None:
            return Kept(Keeping.MOVED)
        if self._version == latest.version:
            self._version = written.version
        return Kept(Keeping.DONE)

    async def _compare(self) -> Kept:
        latest = await self._store.load(self._session_id)
        if latest is None:
            return Kept(Keeping.GONE if self._known else Keeping.FAILED)
        return Kept(Keeping.DONE) if latest.version == self._version else Kept(Keeping.MOVED, latest)

    async def _delete(self, reason: EndReason) -> Kept:
        self._version = None
        await self._store.delete(self._session_id, reason)
        self._version = self._leased = 0
        return Kept(Keeping.DONE)

    def _moved(self, latest: SessionRecord | None) -> Kept:
        if latest is None:
            return Kept(Keeping.GONE if self._known else Keeping.FAILED)
        return Kept(Keeping.MOVED, latest)
