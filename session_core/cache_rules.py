"""What may be cached, for how long, and what a stored answer is still good for: RFC 9111 and RFC 5861 as pure rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

import msgspec

from session_core.bounds import require
from session_core.errors import ConfigError

TTL_S_MAX = 30 * 86_400.0
DELTA_S_MAX = 2**31  # RFC 9111 §1.2.2: what is larger counts as this.
PATHS_REMEMBERED_MAX = 1024
ENTRY_OVERHEAD_BYTES = 512

# RFC 5861 §4: the answers that stale-if-error may stand in for, besides no answer at all.
ERROR_STATUSES = frozenset({500, 502, 503, 504})
_NOT_AN_OPINION = frozenset({304, 408, 429})
_ASKS_FOR_ITSELF = frozenset(
    {
        "authorization",
        "cache-control",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "pragma",
        "range",
    }
)
# RFC 9111 §3.1 for the hop-by-hop ones. An old Set-Cookie must not overwrite a newer cookie; Age is ours to tell.
_NOT_STORED = frozenset(
    {"age", "connection", "keep-alive", "proxy-connection", "set-cookie", "te", "transfer-encoding", "upgrade"}
)
_DIRECTIVE = re.compile(r"""([\w!#$%&'*+.^`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?""")


class RouteTtl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long answers under paths like `pattern` (fnmatch; `*` crosses slashes) are fresh, and then still of use.

    Both stale windows begin where freshness ends.
    """

    pattern: str
    ttl_s: float
    stale_s: float = 0.0
    stale_if_error_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("ttl_s", "stale_s", "stale_if_error_s"):
            require(f"cache.routes[{self.pattern}].{name}", getattr(self, name), 0, TTL_S_MAX)


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What is cached, and how much for one session. `entries_max` 0 caches nothing.

    Without a route an answer is cached as its Cache-Control says, and not at all if that is silent.
    """

    routes: tuple[RouteTtl, ...] = ()
    entries_max: int = 256
    bytes_max: int = 4 << 20
    entry_bytes_max: int = 512 << 10
    revalidate_pause_s: float = 5.0

    def __post_init__(self) -> None:
        require("cache.entries_max", self.entries_max, 0, 100_000)
        require("cache.bytes_max", self.bytes_max, 0, 1 << 30)
        require("cache.entry_bytes_max", self.entry_bytes_max, 0, 1 << 30)
        require("cache.revalidate_pause_s", self.revalidate_pause_s, 0, 3_600)
        if self.entry_bytes_max > self.bytes_max:
            raise ConfigError(
                f"cache.entry_bytes_max is {self.entry_bytes_max}; "
                f"set it between 0 and cache.bytes_max, {self.bytes_max}."
            )

    def route_for(self, path: str) -> RouteTtl | None:
        """The first route whose pattern fits `path`; cheap enough to ask before every call."""
        if not self.routes:
            return None
        memo = self._routes_by_path
        try:
            return memo[path]
        except KeyError:
            if len(memo) >= PATHS_REMEMBERED_MAX:
                memo.clear()
            memo[path] = found = next((r for r in self.routes if fnmatchcase(path, r.pattern)), None)
            return found

    @cached_property
    def _routes_by_path(self) -> dict[str, RouteTtl | None]:
        return {}


class Freshness(StrEnum):
    FRESH = "fresh"
    STALE = "stale"
    STALE_IF_ERROR = "stale_if_error"
    MISS = "miss"


class CacheKey(NamedTuple):
    """One answer of one user's GET. `vary` holds the request headers that selected it; None is a header not sent."""

    user_id: str
    url: str
    vary: tuple[tuple[str, str | None], ...] = ()

    def __repr__(self) -> str:
        return f"CacheKey({self.url.partition('?')[0]})"


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One stored answer. Its age counts from `stored_at`, in boot seconds."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    stored_at: float
    ttl_s: float
    stale_s: float
    stale_if_error_s: float

    @property
    def size(self) -> int:
        """Bytes it is charged for."""
        return ENTRY_OVERHEAD_BYTES + len(self.body) + sum(len(name) + len(value) for name, value in self.headers)

    def __repr__(self) -> str:
        return f"CacheEntry({self.status}, {len(self.body)} bytes, ttl_s={self.ttl_s:g})"


def freshness(entry: CacheEntry, now: float, *, error: bool) -> Freshness:
    """What `entry` is good for; `error` says that the network has just failed.

    Each window is half open, so a window of 0 s never serves: fresh is age < ttl (RFC 9111 §4.2), then
    age < ttl + window (RFC 5861 §3 and, on error, §4).
    """
    overdue_s = now - entry.stored_at - entry.ttl_s
    if overdue_s < 0:
        return Freshness.FRESH
    if overdue_s < entry.stale_s:
        return Freshness.STALE
    if error and overdue_s < entry.stale_if_error_s:
        return Freshness.STALE_IF_ERROR
    return Freshness.MISS


class Admission(NamedTuple):
    """An answer that may be stored once its body is there. `vary` names the request headers that select it."""

    vary: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    age_s: float
    ttl_s: float
    stale_s: float
    stale_if_error_s: float

    def entry(self, body: bytes, *, sent_at: float) -> CacheEntry:
        """The answer as stored. Its age counts from the second the request was sent (RFC 9111 §4.2.3)."""
        return CacheEntry(
            status=200,
            headers=self.headers,
            body=body,
            stored_at=sent_at - self.age_s,
            ttl_s=self.ttl_s,
            stale_s=self.stale_s,
            stale_if_error_s=self.stale_if_error_s,
        )


def may_serve(method: str, headers: Iterable[str]) -> bool:
    """Whether the cache may answer a request with these header names (lower case, before it is authorised).

    A range, a condition, a Cache-Control or an Authorization of the caller's own goes to the origin.
    """
    return method == "GET" and _ASKS_FOR_ITSELF.isdisjoint(headers)


def admit(
    route: RouteTtl | None, *, method: str, request: Mapping[str, str], status: int, answer: Mapping[str, str]
) -> Admission | None:
    """Whether and for how long an answer may be stored, from the headers of both sides (names in lower case).

    A route's times go before the answer's max-age, but no-store, no-cache (RFC 9111 §5.2.2.4 and .5) and
    must-revalidate (§5.2.2.2: never stale) are the origin's to say. `private` is no hindrance: every key has a user.
    """
    if method != "GET" or status != 200 or "range" in request or "authorization" in request:
        return None
    told = cache_control(answer.get("cache-control", ""))
    if "no-store" in told or "no-cache" in told or "no-store" in cache_control(request.get("cache-control", "")):
        return None
    vary = vary_names(answer.get("vary", ""))
    if vary is None or (route is None and "max-age" not in told):
        return None
    if route is None:
        ttl_s, stale_s, error_s = (
            _delta_s(told.get(n)) for n in ("max-age", "stale-while-revalidate", "stale-if-error")
        )
    else:
        ttl_s, stale_s, error_s = route.ttl_s, route.stale_s, route.stale_if_error_s
    if "must-revalidate" in told:
        stale_s = error_s = 0.0
    age_s = _delta_s(answer.get("age"))
    if age_s >= ttl_s + max(stale_s, error_s):
        return None
    headers = tuple((name, value) for name, value in answer.items() if name not in _NOT_STORED)
    return Admission(vary, headers, age_s, ttl_s, stale_s, error_s)


def outdates(status: int) -> bool:
    """Whether an answer that was not stored still shows that the stored one is no longer so: gone, moved, forbidden."""
    return status < 500 and status not in _NOT_AN_OPINION


def cache_control(value: str) -> dict[str, str]:
    """The directives by lower-case name; of a repeated one the first counts (RFC 9111 §4.2.1)."""
    directives: dict[str, str] = {}
    for name, quoted, plain in _DIRECTIVE.findall(value):
        directives.setdefault(name.lower(), quoted or plain)
    return directives


def vary_names(value: str) -> tuple[str, ...] | None:
    """The header names of a Vary, sorted; None for `*`, which no request matches (RFC 9111 §4.1).

    Authorization is left out: the key's user stands for it, and a token's rotation must not empty the cache.
    """
    names = {name.strip().lower() for name in value.split(",")} - {"", "authorization"}
    return None if "*" in names else tuple(sorted(names))


def _delta_s(value: str | None) -> float:
    """RFC 9111 §1.2.2; what is no such number counts as 0, that is stale (§4.2.1)."""
    return float(min(int(value[:20]), DELTA_S_MAX)) if value and value.isascii() and value.isdigit() else 0.0
