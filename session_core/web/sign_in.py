"""Who sits at which browser: sign-ins under way and sessions, each behind a cookie of which only the hash is kept."""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from session_core.errors import LoginRequest

COOKIE_BYTES = 32
PENDING_S_MAX = 600.0
PENDING_MAX = 1_000
SEATS_MAX = 10_000

Entropy = Callable[[int], bytes]


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

    def __init__(self, *, entropy: Entropy, ttl_s: float = PENDING_S_MAX, entries_max: int = PENDING_MAX) -> None:
        self._entropy = entropy
        self._ttl_s = ttl_s
        self._entries_max = entries_max
        self._logins: OrderedDict[tuple[str, str], tuple[float, LoginRequest]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._logins)

    def keep(self, login: LoginRequest, *, cookie: str | None, now: float) -> str:
        """The cookie that finds it again: the browser's own while it has a sign-in open in another tab."""
        self._expire(now)
        known = cookie is not None and any(owner == digest(cookie) for owner, _ in self._logins)
        value = cookie if cookie is not None and known else new_cookie(self._entropy)
        while len(self._logins) >= self._entries_max:
            self._logins.popitem(last=False)
        self._logins[digest(value), digest(login.state)] = (now + self._ttl_s, login)
        return value

    def take(self, *, cookie: str | None, state: str, now: float) -> LoginRequest | None:
        self._expire(now)
        found = self._logins.pop((digest(cookie or ""), digest(state)), None)
        return None if found is None else found[1]

    def _expire(self, now: float) -> None:
        while self._logins and next(iter(self._logins.values()))[0] <= now:
            self._logins.popitem(last=False)


class Seats:
    """Which session a browser's cookie stands for. The one not used for longest makes room."""

    def __init__(self, *, entropy: Entropy, entries_max: int = SEATS_MAX) -> None:
        self._entropy = entropy
        self._entries_max = entries_max
        self._seats: OrderedDict[str, Seat] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seats)

    def take(self, seat: Seat) -> tuple[str, list[Seat]]:
        """A new cookie for `seat`, and the seats that had to make room."""
        moved = [self._seats.popitem(last=False)[1] for _ in range(len(self._seats) - self._entries_max + 1)]
        cookie = new_cookie(self._entropy)
        self._seats[digest(cookie)] = seat
        return cookie, moved

    def find(self, cookie: str | None) -> Seat | None:
        return self._seats.get(digest(cookie)) if cookie else None

    def leave(self, session_id: str) -> None:
        for key in [key for key, seat in self._seats.items() if seat.session_id == session_id]:
            del self._seats[key]

    def give_up(self, cookie: str | None) -> Seat | None:
        """Free the seat behind a cookie; whose it was."""
        return self._seats.pop(digest(cookie), None) if cookie else None


def new_cookie(entropy: Entropy) -> str:
    return base64.urlsafe_b64encode(entropy(COOKIE_BYTES)).rstrip(b"=").decode()


def digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
