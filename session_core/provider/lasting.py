"""What of a provider is to outlive its process: signing keys, grants and the browsers it knows. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from session_core.provider.accounts import ProviderSession
from session_core.provider.granted import Access, Family
from session_core.provider.parts import Parts
from session_core.secrecy import Discreet
from session_core.shelf import Shelved

KEYS = "keys"


class KeptKeys(Discreet, frozen=True, kw_only=True, tag="keys"):
    """Private keys as PEM by their names, newest first; `mac_key` is what refresh tokens are known by."""

    alg: str
    named: tuple[tuple[str, bytes], ...]
    mac_key: bytes


class KeptAccess(msgspec.Struct, frozen=True, kw_only=True):
    """As Access, without its family."""

    scope: str
    issued_at: float
    expires_at: float
    dpop_jkt: str | None


class KeptFamily(Discreet, frozen=True, kw_only=True, tag="family"):
    """One sign-in's grant, with the access tokens of it that live."""

    family: Family
    tokens: dict[str, KeptAccess]


class KeptBrowser(Discreet, frozen=True, kw_only=True, tag="browser"):
    """Who is signed in at the provider behind a cookie of its own."""

    cookie: str
    session: ProviderSession


_decoder = msgspec.msgpack.Decoder(KeptKeys | KeptFamily | KeptBrowser)


class Changes(NamedTuple):
    put: tuple[Shelved, ...]
    gone: tuple[str, ...]


class Lasting:
    """Each family, each browser and the keys are written by themselves, so that one refresh costs one small record.

    Codes are not kept: who is between the provider's page and the call-back when it stops signs in once more.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._named: tuple[str, ...] = ()
        parts.grants.remember_changes()
        parts.accounts.remember_changes()

    def restore(self, bodies: Iterable[bytes]) -> None:
        """Go on with what was kept. What belongs to a user or a client that is no more is left out."""
        for body in bodies:
            match _decoder.decode(body):
                case KeptKeys() as keys if keys.alg == self._parts.config.signing_alg:
                    self._parts.keys.restore(keys.named)
                    self._parts.grants.mint.mac_key = keys.mac_key
                    self._named = self._parts.keys.names()
                case KeptFamily() as kept if self._is_known(kept.family):
                    self._parts.grants.restore(kept.family, _access_of(kept))
                case KeptBrowser() as kept if self._parts.accounts.knows(kept.session.username):
                    self._parts.accounts.restore(kept.cookie, kept.session)
                case _:
                    continue

    def take(self, *, now: float) -> Changes:
        """What changed since this was asked last."""
        put, gone = [], []
        if self._parts.keys.names() != self._named:
            self._named = self._parts.keys.names()
            put.append(Shelved(name=KEYS, body=msgspec.msgpack.encode(self._keys())))
        for family in self._parts.grants.take_changed():
            name, left_s = f"family {family.family_id}", family.expires_at - now
            if family.stands(now) and self._parts.grants.holds(family):
                put.append(Shelved(name=name, body=msgspec.msgpack.encode(self._family(family)), life_s=left_s))
            else:
                gone.append(name)
        for cookie, session in self._parts.accounts.take_changed():
            name = f"browser {cookie}"
            if session is None or session.expires_at <= now:
                gone.append(name)
            else:
                body = msgspec.msgpack.encode(KeptBrowser(cookie=cookie, session=session))
                put.append(Shelved(name=name, body=body, life_s=session.expires_at - now))
        return Changes(tuple(put), tuple(gone))

    def _keys(self) -> KeptKeys:
        return KeptKeys(
            alg=self._parts.config.signing_alg,
            named=self._parts.keys.exported(),
            mac_key=self._parts.grants.mint.mac_key,
        )

    def _family(self, family: Family) -> KeptFamily:
        tokens = {
            token: KeptAccess(
                scope=access.scope,
                issued_at=access.issued_at,
                expires_at=access.expires_at,
                dpop_jkt=access.dpop_jkt,
            )
            for token, access in self._parts.grants.access_of(family)
        }
        return KeptFamily(family=family, tokens=tokens)

    def _is_known(self, family: Family) -> bool:
        username = family.grant.username
        known = username is None or self._parts.accounts.knows(username)
        return known and self._parts.accounts.client(family.grant.client_id) is not None


def _access_of(kept: KeptFamily) -> dict[str, Access]:
    return {
        token: Access(
            family=kept.family,
            scope=access.scope,
            issued_at=access.issued_at,
            expires_at=access.expires_at,
            dpop_jkt=access.dpop_jkt,
        )
        for token, access in kept.tokens.items()
    }
