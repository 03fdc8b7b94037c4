"""What was granted, as values: grants, codes, families of refresh tokens, access tokens."""

from __future__ import annotations

import math
from typing import Any

import msgspec

NEVER_S = -math.inf


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Who allowed what to whom. `username` is None where a client acts for itself.

    `dpop_jkt` is the thumbprint of the key without which the code or the refresh token is of no use.
    """

    client_id: str
    username: str | None
    scope: str
    auth_time: float
    nonce: str | None = None
    session_id: str | None = None
    dpop_jkt: str | None = None

    @property
    def subject(self) -> str:
        return self.username or self.client_id

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(self.scope.split())


class CodeGrant(msgspec.Struct, kw_only=True):
    """An authorization code's meaning; kept after use so that a second use can revoke what the first one gave."""

    grant: Grant
    redirect_uri: str
    code_challenge: str
    expires_at: float
    family: Family | None = None


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of one answer."""

    access_token: str
    expires_at: float
    scope: str
    refresh_token: str | None
    id_token: str | None
    dpop_jkt: str | None = None

    def __repr__(self) -> str:
        return f"Issued(expires_at={self.expires_at}, scope={self.scope!r})"


class Family(msgspec.Struct, kw_only=True):
    """All refresh tokens that descend from one sign-in. `serial` is the valid one's; lower ones are spent.

    `tokens` are its latest access tokens, where they are to outlive the process.
    """

    family_id: str
    grant: Grant
    expires_at: float
    serial: int = 0
    rotated_at: float = NEVER_S
    successor: Issued | None = None
    access_expires_at: float | None = None
    revoked: bool = False
    tokens: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Family(serial={self.serial}, revoked={self.revoked})"

    def stands(self, now: float) -> bool:
        return not self.revoked and now < self.expires_at


class Access(msgspec.Struct, kw_only=True):
    """What an access token allows, while its family stands."""

    family: Family
    scope: str
    issued_at: float
    expires_at: float
    dpop_jkt: str | None = None


def confirmation(dpop_jkt: str | None) -> dict[str, Any]:
    """RFC 9449 §6: what says of a token that it is bound to a key."""
    return {} if dpop_jkt is None else {"cnf": {"jkt": dpop_jkt}}
