"""Keeps what was granted and decides what a token still opens. Everything is found in one look-up."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

from session_core.provider.answers import RefusedError
from session_core.provider.config import ProviderConfig
from session_core.provider.granted import Access, CodeGrant, Family, Grant, Issued
from session_core.provider.keys import KeyRing
from session_core.provider.ledger import Ledger
from session_core.provider.mint import Mint

SWEPT_PER_ISSUE = 2
SERIAL_DIGITS_MAX = 12
TOKENS_KEPT_MAX = 8
EXPIRES_IN_S_MIN = 1.0  # Whole seconds are told, and an access token of none is refused.

Held = TypeVar("Held", "CodeGrant", "Family", "Access")


class Grants:
    """Keeps what was granted. Refresh tokens carry their family, serial and a MAC, so spent ones need no memory."""

    def __init__(
        self, config: ProviderConfig, *, entropy: Callable[[int], bytes], keys: KeyRing, ledger: Ledger
    ) -> None:
        self._config = config
        self._ledger = ledger
        self.mint = Mint(config, entropy=entropy, keys=keys, ledger=ledger)
        self._codes: OrderedDict[str, CodeGrant] = OrderedDict()
        self._families: OrderedDict[str, Family] = OrderedDict()
        self._access: OrderedDict[str, Access] = OrderedDict()
        self._changed: dict[str, Family] | None = None

    def statistics(self) -> tuple[int, int]:
        """Families and access tokens held."""
        return len(self._families), len(self._access)

    def granted(self) -> tuple[Grant, ...]:
        return tuple(family.grant for family in self._families.values())

    # What is to outlive the process

    def remember_changes(self) -> None:
        """From now on `take_changed` says what to write; somebody has to ask it."""
        self._changed = {}

    def take_changed(self) -> tuple[Family, ...]:
        """The families that changed since this was asked last."""
        changed, self._changed = self._changed or {}, {}
        return tuple(changed.values())

    def holds(self, family: Family) -> bool:
        return self._families.get(family.family_id) is family

    def access_of(self, family: Family) -> list[tuple[str, Access]]:
        """Its latest access tokens, as far as they are held."""
        return [(token, self._access[token]) for token in family.tokens if token in self._access]

    def restore(self, family: Family, tokens: Mapping[str, Access]) -> None:
        self._families[family.family_id] = family
        self._access.update(tokens)
        for token in tokens:
            self._ledger.keep_secret(token)

    def _mark(self, family: Family, token: str | None = None) -> None:
        if self._changed is not None and family.family_id:
            self._changed[family.family_id] = family
            if token is not None:
                held = [each for each in family.tokens if each in self._access]
                family.tokens = (*held[-TOKENS_KEPT_MAX + 1 :], token)

    # Authorization codes

    def issue_code(self, grant: Grant, *, redirect_uri: str, code_challenge: str, now: float) -> str:
        _sweep(self._codes, now)
        code = self._ledger.keep_secret(self.mint.random("code"))
        self._codes[code] = CodeGrant(
            grant=grant,
            redirect_uri=redirect_uri,
            code_challenge=code_challenge,
            expires_at=now + self._config.code_ttl_s,
        )
        self._note("code_issued", grant, now)
        return code

    def find_code(self, code: str, *, client_id: str, now: float) -> CodeGrant:
        """RFC 6749 §4.1.2: a code used twice is refused, and what it gave is revoked."""
        held = self._codes.get(code)
        if held is None or held.grant.client_id != client_id or now >= held.expires_at:
            raise _invalid_grant("The code is unknown or expired.")
        if held.family is not None:
            self._note("code_reused", held.grant, now)
            self.revoke_family(held.family, now=now)
            raise _invalid_grant("The code has been used already.")
        return held

    # Families of refresh tokens

    def open_family(self, grant: Grant, *, now: float) -> Family:
        _sweep(self._families, now)
        family = Family(family_id=self.mint.random("rt"), grant=grant, expires_at=now + self._config.refresh_ttl_s)
        self._families[family.family_id] = family
        return family

    def first_tokens(self, family: Family, *, now: float, dpop_jkt: str | None = None) -> Issued:
        self._note("tokens_issued", family.grant, now)
        return self._issue(family, family.grant.scope, self.mint.refresh_token(family), now=now, dpop_jkt=dpop_jkt)

    def service_tokens(self, grant: Grant, *, now: float, dpop_jkt: str | None = None) -> Issued:
        """Client credentials: an access token only (RFC 6749 §4.4.3)."""
        self._note("tokens_issued", grant, now)
        lone = Family(family_id="", grant=grant, expires_at=now + self._config.access_ttl_s)
        return self._issue(lone, grant.scope, None, now=now, dpop_jkt=dpop_jkt)

    def refresh(
        self,
        token: str,
        *,
        client_id: str,
        scope: str | None,
        now: float,
        keeps_expiry: bool = False,
        dpop_jkt: str | None = None,
    ) -> Issued:
        """RFC 9700 §4.14.2: a spent refresh token outside the grace window revokes its whole family.

        Not where its key is missing: a thief without it must not be able to sign the user out either.
        """
        family, serial = self._find_refresh(token)
        if family is None or family.grant.client_id != client_id or not family.stands(now):
            raise _invalid_grant("The refresh token is unknown, expired or revoked.")
        if family.grant.dpop_jkt not in {None, dpop_jkt}:
            raise _invalid_grant("The refresh token is bound to a key, and no proof by it came along.")
        if serial == family.serial:
            narrowed = _narrowed(family.grant, scope)
            return self._rotate(family, narrowed, now=now, keeps_expiry=keeps_expiry, dpop_jkt=dpop_jkt)
        if serial == family.serial - 1 and family.successor and now < family.rotated_at + self._config.grace_s:
            self._note("replay_answered", family.grant, now)
            return self._answer_again(family, family.successor, now=now)
        self._note("reuse_detected", family.grant, now)
        self.revoke_family(family, now=now)
        raise _invalid_grant("The refresh token was used before; every token of its family is revoked.")

    def find_family(self, token: str, *, now: float) -> Family | None:
        """The family a refresh token opens, if it is the valid one."""
        family, serial = self._find_refresh(token)
        return family if family and serial == family.serial and family.stands(now) else None

    def revoke_family(self, family: Family, *, now: float) -> None:
        if not family.revoked:
            family.revoked = True
            family.successor = None
            self._mark(family)
            self._note("family_revoked", family.grant, now)

    def revoke_session(self, session_id: str, *, now: float) -> None:
        """OpenID Connect Core §11: offline access outlives the session at the provider; the rest ends with it."""
        for family in self._families.values():
            if family.grant.session_id == session_id and "offline_access" not in family.grant.scopes:
                self.revoke_family(family, now=now)

    def revoke_families_of(self, username: str, *, now: float) -> None:
        for family in self._families.values():
            if family.grant.username == username:
                self.revoke_family(family, now=now)

    def standing_families(self, *, now: float) -> int:
        """How many families a refresh token can still open."""
        return sum(family.stands(now) for family in self._families.values())

    def forget_refresh_tokens(self, *, now: float) -> None:
        """Every refresh token stops working; access tokens live on."""
        self._ledger.note("family_revoked", at=now, times=len(self._families))
        for family in self._families.values():
            self._mark(family)
        self._families.clear()

    # Access tokens

    def find_access(self, token: str, *, now: float) -> Access | None:
        """RFC 7519 §4.1.4: not accepted on or after its expiry."""
        access = self._access.get(token)
        return access if access and now < access.expires_at and not access.family.revoked else None

    def forget_access(self, token: str, *, now: float) -> None:
        family = self._access.pop(token).family
        self._mark(family)
        self._note("access_token_revoked", family.grant, now)

    def forget_access_tokens(self, *, now: float) -> None:
        """Every access token stops working; refresh tokens live on."""
        self._ledger.note("access_token_revoked", at=now, times=len(self._access))
        self._access.clear()
        for family in self._families.values():
            self._mark(family)

    def revoke_any(self, token: str, *, client_id: str, now: float) -> None:
        """RFC 7009 §2.1: an unknown token needs no revoking; another client's is refused."""
        family, _ = self._find_refresh(token)
        access = self._access.get(token)
        owner = family or (access.family if access else None)
        if owner and owner.grant.client_id != client_id:
            raise _invalid_grant("The token was issued to another client.")
        if family:
            self.revoke_family(family, now=now)
        elif access:
            self.forget_access(token, now=now)

    # Making tokens

    def _rotate(self, family: Family, scope: str, *, now: float, keeps_expiry: bool, dpop_jkt: str | None) -> Issued:
        expires_at = family.access_expires_at if keeps_expiry else None
        self._note("tokens_refreshed", family.grant, now)
        if not self._config.rotates:
            return self._issue(family, scope, None, now=now, expires_at=expires_at, dpop_jkt=dpop_jkt)
        family.serial += 1
        family.rotated_at = now
        family.expires_at = now + self._config.refresh_ttl_s
        refresh_token = self.mint.refresh_token(family)
        issued = self._issue(family, scope, refresh_token, now=now, expires_at=expires_at, dpop_jkt=dpop_jkt)
        family.successor = issued if self._config.grace_s else None
        return issued

    def _answer_again(self, family: Family, successor: Issued, *, now: float) -> Issued:
        """The same refresh token, with an access token that lives: the one it first came with may be over by now."""
        if successor.expires_at - now < EXPIRES_IN_S_MIN:
            token, dpop_jkt = successor.refresh_token, successor.dpop_jkt
            successor = family.successor = self._issue(family, successor.scope, token, now=now, dpop_jkt=dpop_jkt)
        return successor

    def _issue(
        self,
        family: Family,
        scope: str,
        refresh_token: str | None,
        *,
        now: float,
        dpop_jkt: str | None,
        expires_at: float | None = None,
    ) -> Issued:
        _sweep(self._access, now)
        access = Access(
            family=family,
            scope=scope,
            issued_at=now,
            expires_at=expires_at or now + self._config.access_ttl_s,
            dpop_jkt=dpop_jkt,
        )
        family.access_expires_at = access.expires_at
        token = self._ledger.keep_secret(self.mint.access_token(access))
        self._access[token] = access
        self._mark(family, token)
        return Issued(
            access_token=token,
            expires_at=access.expires_at,
            scope=scope,
            refresh_token=refresh_token,
            id_token=self.mint.id_token(family, now=now),
            dpop_jkt=dpop_jkt,
        )

    def _find_refresh(self, token: str) -> tuple[Family | None, int]:
        family_id, _, rest = token.partition(".")
        serial = rest.partition(".")[0]
        family = self._families.get(family_id)
        if family is None or not (serial.isascii() and serial.isdecimal() and len(serial) <= SERIAL_DIGITS_MAX):
            return None, 0
        genuine = hmac.compare_digest(self.mint.with_mac(family_id, int(serial)).encode(), token.encode())
        return (family, int(serial)) if genuine else (None, 0)

    def _note(self, what: str, grant: Grant, now: float) -> None:
        self._ledger.note(what, at=now, client_id=grant.client_id, username=grant.username)


def _narrowed(grant: Grant, scope: str | None) -> str:
    """RFC 6749 §6: a refresh may ask for less, never for more."""
    if scope is None:
        return grant.scope
    if not frozenset(scope.split()) <= grant.scopes:
        raise RefusedError("invalid_scope", "A refresh cannot widen the scope.")
    return scope


def _sweep(held: OrderedDict[str, Held], now: float) -> None:
    """Look at the oldest few: drop the expired, send the others to the back of the queue."""
    for _ in range(min(SWEPT_PER_ISSUE, len(held))):
        name, one = next(iter(held.items()))
        if now < one.expires_at:
            held.move_to_end(name)
        else:
            del held[name]


def _invalid_grant(description: str) -> RefusedError:
    return RefusedError("invalid_grant", description)
