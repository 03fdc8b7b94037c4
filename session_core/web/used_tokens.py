"""Logout tokens that have been used, in this process and, where there is a shelf, in every other on it."""

from __future__ import annotations

from session_core.logout_token import REMEMBERED_S, LogoutClaims, SeenTokens
from session_core.shelf import Shelf, Shelved


class UsedTokens:
    """Times are boot seconds. Every call may raise SessionStoreError."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._here = SeenTokens()

    async def know(self, claims: LogoutClaims, *, now: float) -> bool:
        return self._here.knows(claims, now=now) or await self._shelf.get(_name(claims)) is not None

    async def add(self, claims: LogoutClaims, *, now: float) -> None:
        self._here.add(claims, now=now)
        await self._shelf.put(Shelved(name=_name(claims), body=b"used", life_s=REMEMBERED_S))


def _name(claims: LogoutClaims) -> str:
    # An issuer, unlike a number, has no blank in it.
    return f"{claims.jti} {claims.iss}"
