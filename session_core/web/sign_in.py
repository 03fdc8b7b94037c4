"""Who sits at which browser: sign-ins under way and sessions, each behind a cookie of which only the hash is kept.

What is on a shelf outlives the process. A shelf that fails costs only that: what is in memory goes on.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from session_core.errors import LoginRequest
from session_core.session_store import SessionStoreError
from session_core.shelf import NoShelf, Shelf, Shelved

COOKIE_BYTES = 32
PENDING_S_MAX = 600.0
PENDING_MAX = 1_000
SEATS_MAX = 10_000
SEAT_S_MAX = 30 * 86_400.0

Entropy = Callable[[int], bytes]
T = TypeVar("T")
log = logging.getLogger("session_lab")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Who the provider says this is."""

    sub: str
    name: str = ""
    email: str = ""

    @property
    def shown(self) -> str:
        return self.name or self.email or self.sub


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """A browser's place: the session it belongs to, and its user."""

    session_id: str
    user: User


class CookieNames(msgspec.Struct, frozen=True, kw_only=True):
    """Browsers do not tell ports apart, so the port is in the name; under HTTPS the prefix ties it to this host."""

    session: str
    pending: str
    leaving: str
    secure: bool


def cookie_names(redirect_uri: str) -> CookieNames:
    public = urlsplit(redirect_uri)
    if public.scheme == "https":
        return CookieNames(
            session="__Host-session_lab",
            pending="__Host-session_lab_sign_in",
            leaving="__Host-session_lab_sign_out",
            secure=True,
        )
    port = public.port or 80
    return CookieNames(
        session=f"session_lab_{port}",
        pending=f"session_lab_sign_in_{port}",
        leaving=f"session_lab_sign_out_{port}",
        secure=False,
    )


def user_of(*sources: dict[str, Any] | None) -> User:
    """The first source that knows a thing says it."""

    def first(claim: str) -> str:
        return next((str(source[claim]) for source in sources if source and source.get(claim)), "")

    return User(sub=first("sub"), name=first("name"), email=first("email"))


class PendingLogins:
    """Sign-ins under way. Each is bound to the browser that began it, ends after `ttl_s` and is used once."""

    def __init__(
        self,
        *,
        entropy: Entropy,
        shelf: Shelf | None = None,
        ttl_s: float = PENDING_S_MAX,
        entries_max: int = PENDING_MAX,
    ) -> None:
        self._entropy = entropy
        self._shelf = shelf or NoShelf()
        self._ttl_s = ttl_s
        self._entries_max = entries_max
        self._logins: OrderedDict[tuple[str, str], tuple[float, LoginRequest]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._logins)

    async def keep(self, login: LoginRequest, *, cookie: str | None, now: float) -> str:
        """The cookie that finds it again: the browser's own while it has a sign-in open in another tab."""
        self._expire(now)
        theirs = None if cookie is None else digest(cookie)
        known = any(owner == theirs for owner, _ in self._logins)
        value = cookie if cookie is not None and known else new_cookie(self._entropy)
        key = (digest(value), digest(login.state))
        crowded_out = [
            ".".join(self._logins.popitem(last=False)[0]) for _ in range(len(self._logins) - self._entries_max + 1)
        ]
        self._logins[key] = (now + self._ttl_s, login)
        if crowded_out:
            await _tried(self._shelf.remove(*crowded_out))
        kept = Shelved(name=".".join(key), body=msgspec.json.encode(login), life_s=self._ttl_s)
        await _tried(self._shelf.put(kept))
        return value

    async def take(self, *, cookie: str | None, state: str, now: float) -> LoginRequest | None:
        self._expire(now)
        key = (digest(cookie or ""), digest(state))
        found = self._logins.pop(key, None)
        # Also where it is in memory: after a restart it must not be found once more.
        kept = await _tried(self._shelf.take(".".join(key)))
        return _read(kept, LoginRequest) if found is None else found[1]

    def _expire(self, now: float) -> None:
        while self._logins and next(iter(self._logins.values()))[0] <= now:
            self._logins.popitem(last=False)


class Seats:
    """Which session a browser's cookie stands for. The one not used for longest makes room in memory.

    With a durable shelf that is all it loses, and `recall` finds it again.
    """

    def __init__(self, *, entropy: Entropy, shelf: Shelf | None = None, entries_max: int = SEATS_MAX) -> None:
        self._entropy = entropy
        self._shelf = shelf or NoShelf()
        self._entries_max = entries_max
        self._seats: OrderedDict[str, Seat] = OrderedDict()
        self._unwritten: dict[str, Seat] = {}

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def durable(self) -> bool:
        return self._shelf.durable

    async def take(self, seat: Seat) -> tuple[str, list[Seat]]:
        """A new cookie for `seat`, and the seats that had to make room."""
        cookie = new_cookie(self._entropy)
        moved = self._remember(digest(cookie), seat)
        self._unwritten[digest(cookie)] = seat
        await self.catch_up()
        return cookie, moved

    def find(self, cookie: str | None) -> Seat | None:
        """What is in memory. Any thread may ask."""
        if not cookie:
            return None
        name = digest(cookie)
        with suppress(KeyError):  # It may be left at the same moment.
            self._seats.move_to_end(name)
        return self._seats.get(name)

    async def recall(self, cookie: str | None) -> tuple[Seat | None, list[Seat]]:
        """As `find`, and from the shelf where memory has nothing; also who had to make room. Raises SessionStoreError."""
        seat = self.find(cookie)
        kept = None if seat is not None or not cookie else await self._shelf.get(digest(cookie))
        stored = _read(kept, Seat)
        if stored is None or not cookie:
            return seat, []
        return stored, self._remember(digest(cookie), stored)

    async def leave(self, session_id: str) -> None:
        for held in (self._seats, self._unwritten):
            # Copied at once, for `find` moves what it finds, and any thread may ask.
            for key in [key for key, seat in tuple(held.items()) if seat.session_id == session_id]:
                del held[key]
        await _tried(self._shelf.remove_of(session_id))

    async def give_up(self, cookie: str | None) -> Seat | None:
        """Free the seat behind a cookie; whose it was."""
        if not cookie:
            return None
        name = digest(cookie)
        self._unwritten.pop(name, None)
        seat, kept = self._seats.pop(name, None), await _tried(self._shelf.take(name))
        return seat or _read(kept, Seat)

    async def stored(self) -> tuple[Seat, ...]:
        """Every seat that is on the shelf. Raises SessionStoreError."""
        return tuple(seat for kept in await self._shelf.all() if (seat := _read(kept, Seat)) is not None)

    async def catch_up(self) -> None:
        """Put on the shelf what could not be put there before."""
        waiting = dict(self._unwritten)
        things = [
            Shelved(name=name, body=msgspec.json.encode(seat), owner=seat.session_id, life_s=SEAT_S_MAX)
            for name, seat in waiting.items()
        ]
        if await _tried(self._put(things)):
            for name in waiting:
                self._unwritten.pop(name, None)

    async def _put(self, things: list[Shelved]) -> bool:
        await self._shelf.put(*things)
        return True

    def _remember(self, name: str, seat: Seat) -> list[Seat]:
        moved = [self._seats.popitem(last=False)[1] for _ in range(len(self._seats) - self._entries_max + 1)]
        self._seats[name] = seat
        return moved


def _read(kept: bytes | None, kind: type[T]) -> T | None:
    """None also where another version wrote something else."""
    if kept is None:
        return None
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(kept, type=kind)
    return None


async def _tried(work: Awaitable[T]) -> T | None:
    """Its result; None, and a line in the log, where the shelf fails."""
    try:
        return await work
    except SessionStoreError as error:
        log.warning("%s", error)
        return None


def new_cookie(entropy: Entropy) -> str:
    return base64.urlsafe_b64encode(entropy(COOKIE_BYTES)).rstrip(b"=").decode()


def digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
