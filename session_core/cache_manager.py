"""The cache of API answers: fresh, stale while revalidating, stale on error, or a miss. It knows no HTTP library."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from session_core.cache_rules import CacheEntry, CacheKey, CachePolicy, Freshness, freshness
from session_core.clock import Clock
from session_core.events import CacheServed, CacheSwept, Record
from session_core.vocabulary import Served

INVALIDATIONS_MAX = 32
REVALIDATIONS_MAX = 16


class Hit(NamedTuple):
    """What the cache can serve. After a STALE one the caller asks for its revalidation."""

    entry: CacheEntry
    freshness: Freshness
    age_s: float


class CacheStatistics(msgspec.Struct, frozen=True, kw_only=True):
    hits: int
    misses: int
    stale_served: int
    stale_if_error_served: int
    stores: int
    evictions: int
    entries: int
    bytes: int
    oldest_age_s: float | None
    revalidations: int
    revalidation_failures: int


_SERVED = {
    Freshness.FRESH: Served.CACHE,
    Freshness.STALE: Served.STALE,
    Freshness.STALE_IF_ERROR: Served.STALE_IF_ERROR,
}


class CacheManager:
    """One session's cache, for one event loop. Bounded by entries and bytes; the least recently used goes first."""

    __slots__ = (
        "_bytes",
        "_clock",
        "_entries",
        "_evictions",
        "_flights",
        "_generation",
        "_invalidated",
        "_misses",
        "_oldest_generation",
        "_paused",
        "_record",
        "_revalidation_failures",
        "_revalidations",
        "_selected",
        "_served",
        "_stores",
        "policy",
    )

    def __init__(self, policy: CachePolicy, *, clock: Clock, record: Record) -> None:
        self.policy = policy
        self._clock = clock
        self._record = record
        self._entries: OrderedDict[CacheKey, CacheEntry] = OrderedDict()
        self._selected: dict[tuple[str, str], set[CacheKey]] = {}
        self._flights: dict[CacheKey, asyncio.Task[None]] = {}
        self._paused: dict[CacheKey, float] = {}
        self._invalidated: dict[tuple[str, str], int] = {}
        self._generation = 0
        self._oldest_generation: float = 0
        self._bytes = self._misses = self._stores = self._evictions = 0
        self._served: dict[Freshness, int] = {}
        self._revalidations = self._revalidation_failures = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def generation(self) -> int:
        """Read it before a request is sent and hand it to `store` with the answer."""
        return self._generation

    def key_for(
        self, user_id: str, url: str, request: Mapping[str, str], vary: tuple[str, ...] | None = None
    ) -> CacheKey:
        """The key of a request: by the names in `vary`, or by what the URL's last stored answer said."""
        url = url.partition("#")[0]
        if vary is None:
            selected = self._selected.get((user_id, url))
            vary = tuple(name for name, _ in next(iter(selected)).vary) if selected else ()
        return CacheKey(user_id, url, tuple((name, request.get(name)) for name in vary))

    def lookup(self, key: CacheKey, *, route: str, error: bool = False) -> Hit | None:
        """What can be served now; with `error`, instead of a request that has just failed. Recorded when it serves."""
        entry = self._entries.get(key)
        now = self._clock.boot()
        found = Freshness.MISS if entry is None else freshness(entry, now, error=error)
        if entry is None or found is Freshness.MISS:
            if not error:
                self._misses += 1
            return None
        self._entries.move_to_end(key)
        self._served[found] = self._served.get(found, 0) + 1
        age_s = now - entry.stored_at
        self._record(CacheServed(route=route, served=_SERVED[found], age_s=age_s, ttl_s=entry.ttl_s))
        return Hit(entry, found, age_s)

    def store(self, key: CacheKey, entry: CacheEntry, *, generation: int) -> bool:
        """Keep an answer; False when it is refused.

        Refused is what was asked for before a `clear` or an `invalidate` of its URL, what is older than the answer
        held, and what is too big, which still replaces the older one.
        """
        place = key[:2]
        if generation < max(self._oldest_generation, self._invalidated.get(place, 0)):
            return False
        held = self._entries.get(key)
        if held is not None and held.stored_at > entry.stored_at:
            return False
        self._drop_superseded(key)
        size = entry.size
        if size > self.policy.entry_bytes_max or not self.policy.entries_max:
            return False
        self._entries[key] = entry
        self._bytes += size
        self._stores += 1
        if key.vary:
            self._selected.setdefault(place, set()).add(key)
        self._evict()
        return True

    def invalidate(self, user_id: str, url: str) -> None:
        """Forget a URL: after an unsafe method succeeded on it (RFC 9111 §4.4), or an answer outdates what is held."""
        place = (user_id, url.partition("#")[0])
        for key in self._keys_at(place):
            self._drop(key)
        self._generation += 1
        if len(self._invalidated) >= INVALIDATIONS_MAX:
            self._invalidated.clear()
            self._oldest_generation = max(self._oldest_generation, self._generation)
        self._invalidated[place] = self._generation

    def revalidate(self, key: CacheKey, fetch: Callable[[], Coroutine[object, object, None]]) -> bool:
        """Start `fetch`, which asks the origin and stores, in the background; False when it is not started.

        One at a time for each key, and not within `revalidate_pause_s` of one that failed. Its failure is only
        counted: the user has the stale answer already.
        """
        flights = self._flights
        if key in flights or len(flights) >= REVALIDATIONS_MAX or self._closed:
            return False
        if self._clock.boot() < self._paused.get(key, -math.inf):
            return False
        self._revalidations += 1
        flights[key] = task = asyncio.create_task(fetch())
        task.add_done_callback(partial(self._landed, key))
        return True

    def sweep(self, now: float) -> int:
        """Remove what is past every window; how many that were."""
        dead = [key for key, entry in self._entries.items() if freshness(entry, now, error=True) is Freshness.MISS]
        for key in dead:
            self._drop(key)
        if dead:
            self._record(CacheSwept(removed=len(dead), entries=len(self._entries), bytes=self._bytes))
        return len(dead)

    def clear(self) -> None:
        """Sign-out: forget everything, stop revalidating, and refuse what was asked for before."""
        self._generation += 1
        self._oldest_generation = max(self._oldest_generation, self._generation)
        for part in (self._entries, self._selected, self._paused, self._invalidated):
            part.clear()
        self._bytes = 0
        for task in self._others():
            task.cancel()

    async def aclose(self) -> None:
        """Clear for good: nothing is stored or revalidated any more, and no task is left."""
        self._oldest_generation = math.inf
        self.clear()
        await asyncio.gather(*self._others(), return_exceptions=True)

    def statistics(self) -> CacheStatistics:
        oldest_at = min((entry.stored_at for entry in self._entries.values()), default=None)
        return CacheStatistics(
            hits=self._served.get(Freshness.FRESH, 0),
            misses=self._misses,
            stale_served=self._served.get(Freshness.STALE, 0),
            stale_if_error_served=self._served.get(Freshness.STALE_IF_ERROR, 0),
            stores=self._stores,
            evictions=self._evictions,
            entries=len(self._entries),
            bytes=self._bytes,
            oldest_age_s=None if oldest_at is None else self._clock.boot() - oldest_at,
            revalidations=self._revalidations,
            revalidation_failures=self._revalidation_failures,
        )

    @property
    def _closed(self) -> bool:
        return self._oldest_generation == math.inf

    def _others(self) -> list[asyncio.Task[None]]:
        """Every revalidation but the one that runs this: one whose refresh was rejected may be signing out."""
        if not self._flights:
            return []
        current = asyncio.current_task()
        return [task for task in self._flights.values() if task is not current]

    def _landed(self, key: CacheKey, task: asyncio.Task[None]) -> None:
        del self._flights[key]
        if not task.cancelled() and task.exception() is not None:
            self._revalidation_failures += 1
            if key in self._entries:
                self._paused[key] = self._clock.boot() + self.policy.revalidate_pause_s

    def _keys_at(self, place: tuple[str, str]) -> list[CacheKey]:
        return [CacheKey(*place), *self._selected.get(place, ())]

    def _drop_superseded(self, key: CacheKey) -> None:
        """Its own old answer, and those chosen by another Vary: a URL answers by the latest (RFC 9111 §4.1)."""
        names = [name for name, _ in key.vary]
        for other in self._keys_at(key[:2]):
            if other == key or [name for name, _ in other.vary] != names:
                self._drop(other)

    def _evict(self) -> None:
        while len(self._entries) > self.policy.entries_max or self._bytes > self.policy.bytes_max:
            self._drop(next(iter(self._entries)))
            self._evictions += 1

    def _drop(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bytes -= entry.size
        self._paused.pop(key, None)
        if key.vary:
            selected = self._selected[key[:2]]
            selected.discard(key)
            if not selected:
                del self._selected[key[:2]]
