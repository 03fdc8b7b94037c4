"""Who may come in where no cookie is asked for: whoever has the key; without one, whoever is on this very machine."""

from __future__ import annotations

import hashlib
import hmac

from starlette.requests import Request

from session_core.provider_metadata import is_loopback


class TurnedAwayError(Exception):
    """A request that is not answered as it wishes: status, a sentence, and what its headers must say."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Door:
    """`address` is the one the app listens at, None for all; `mends` says what lets people in from elsewhere."""

    def __init__(self, key: str | None, *, address: str | None, mends: str) -> None:
        self._key = None if key is None else _digest(key)
        self._is_private = address is not None and is_loopback(address)
        self._mends = mends

    def pass_through(self, request: Request) -> None:
        """Raises TurnedAwayError."""
        if self._key is not None:
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(self._key, _digest(key.strip())):
                raise TurnedAwayError(
                    401, "The key is missing or wrong; send it as “Authorization: Bearer …”.", www_authenticate="Bearer"
                )
        elif not self._is_private or _comes_through_a_proxy(request) or not _asks_for_this_machine(request):
            raise TurnedAwayError(403, f"This app can be reached from elsewhere; {self._mends}.")


def comes_from_this_machine(request: Request) -> bool:
    client = request.client
    return client is not None and is_loopback(client.host) and not _comes_through_a_proxy(request)


def _comes_through_a_proxy(request: Request) -> bool:
    """Then it comes from anywhere, although it arrives at this machine's own address."""
    return any(name in request.headers for name in ("forwarded", "x-forwarded-for", "via"))


def _asks_for_this_machine(request: Request) -> bool:
    """By name too: a page of another site can give its own name this machine's address, and read the answer."""
    return is_loopback(request.url.hostname or "")


def _digest(key: str) -> bytes:
    """Keys are compared by it: of the same length, and none is kept."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
