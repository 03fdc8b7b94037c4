"""Makes tokens: access tokens and ID tokens as JWTs, and refresh tokens that say by a MAC what they are."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from session_core.provider.config import AccessTokenFormat, ProviderConfig
from session_core.provider.granted import Access, Family, confirmation
from session_core.provider.keys import KeyRing
from session_core.provider.ledger import Ledger


class Mint:
    """`mac_key` is what its own refresh tokens are known by; whoever has it can make more."""

    def __init__(
        self, config: ProviderConfig, *, entropy: Callable[[int], bytes], keys: KeyRing, ledger: Ledger
    ) -> None:
        self._config = config
        self._entropy = entropy
        self._keys = keys
        self._ledger = ledger
        self.mac_key = entropy(32)

    def access_token(self, access: Access) -> str:
        """RFC 9068 where it is a JWT."""
        if self._config.access_token_format == AccessTokenFormat.OPAQUE:
            return self.random("at")
        claims = {
            "iss": self._config.issuer,
            "sub": access.family.grant.subject,
            "aud": f"{self._config.issuer}/api",
            "client_id": access.family.grant.client_id,
            "scope": access.scope,
            "jti": self.random("jti"),
            "iat": int(access.issued_at),
            "exp": int(access.expires_at),
            **confirmation(access.dpop_jkt),
        }
        return self._keys.sign(claims, typ="at+jwt")

    def id_token(self, family: Family, *, now: float) -> str | None:
        if family.serial and not self._config.id_token_on_refresh:
            return None
        grant = family.grant
        if grant.username is None or "openid" not in grant.scopes:
            return None
        claims = {
            "iss": self._config.issuer,
            "sub": grant.username,
            "aud": grant.client_id,
            "iat": int(now),
            "exp": int(now + self._config.access_ttl_s),
            "auth_time": int(grant.auth_time),
            **({"sid": grant.session_id} if grant.session_id else {}),
            **({"nonce": grant.nonce} if grant.nonce else {}),
        }
        return self._ledger.keep_secret(self._keys.sign(claims))

    def refresh_token(self, family: Family) -> str:
        return self._ledger.keep_secret(self.with_mac(family.family_id, family.serial))

    def with_mac(self, family_id: str, serial: int) -> str:
        stem = f"{family_id}.{serial}"
        mac = hashlib.blake2s(stem.encode(), key=self.mac_key, digest_size=16)
        return f"{stem}.{mac.hexdigest()}"

    def random(self, prefix: str) -> str:
        return f"{prefix}_{base64.urlsafe_b64encode(self._entropy(24)).decode()}"
