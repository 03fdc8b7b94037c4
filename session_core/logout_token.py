"""Logout tokens (OpenID Connect Back-Channel Logout 1.0): who is signed out, checked against the time that is handed in."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec

from session_core.errors import TokenVerificationError
from session_core.jwt_checks import LEEWAY_S, KeySet, verified_payload

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
AGE_S_MAX = 600.0
# From the earliest moment at which one is accepted to the last.
REMEMBERED_S = AGE_S_MAX + 2 * LEEWAY_S
SEEN_MAX = 10_000


class LogoutClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified logout token states: the session `sid` is over, or every session of `sub` where it names none."""

    iss: str
    aud: str | tuple[str, ...]
    iat: float
    exp: float
    jti: str
    events: dict[str, Any]
    sub: str | None = None
    sid: str | None = None
    nonce: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"LogoutClaims(iss={self.iss!r}, exp={self.exp:.0f})"


def verify_logout_token(
    token: str, keys: KeySet, *, issuer: str, client_id: str, now_wall: float, leeway_s: float = LEEWAY_S
) -> LogoutClaims:
    """The claims of a logout token (§2.6). Raises TokenVerificationError.

    The type need not be stated, because providers older than the standard do not; what no ID token may have and what
    this one must not (`events`, `nonce`) keeps the two apart even so.
    """
    payload = verified_payload(token, keys, types={"logout+jwt", "jwt"}, typed=False)
    try:
        claims = msgspec.json.decode(payload, type=LogoutClaims)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refused(
            "lacks a required claim (iss, aud, iat, exp, jti, events) or has one of the wrong type"
        ) from None
    for wrong, why in _faults_in(claims, issuer=issuer, client_id=client_id, now_wall=now_wall, leeway_s=leeway_s):
        if wrong:
            raise _refused(why)
    return claims


def _faults_in(
    claims: LogoutClaims, *, issuer: str, client_id: str, now_wall: float, leeway_s: float
) -> tuple[tuple[bool, str], ...]:
    audiences = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    return (
        (claims.iss != issuer, f"was not made by {issuer}"),
        (client_id not in audiences, "was made for another client"),
        # RFC 7519 §4.1.4: not accepted on or after exp.
        (now_wall - leeway_s >= claims.exp, "has expired"),
        (claims.iat > now_wall + leeway_s, "was made in the future"),
        (claims.iat <= now_wall - leeway_s - AGE_S_MAX, "is older than ten minutes"),
        (not isinstance(claims.events.get(LOGOUT_EVENT), dict), "does not speak of a logout"),
        (claims.nonce is not msgspec.UNSET, "has a nonce, as only an ID token may"),
        (not claims.jti, "has no number of its own"),
        (not claims.sub and not claims.sid, "names neither a session nor a user"),
    )


def _refused(why: str) -> TokenVerificationError:
    return TokenVerificationError(f"A logout token {why}; it is not accepted.")


class SeenTokens:
    """Which logout tokens have been used, for as long as one could be accepted again."""

    def __init__(self, *, entries_max: int = SEEN_MAX) -> None:
        self._entries_max = entries_max
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def knows(self, claims: LogoutClaims, *, now: float) -> bool:
        """Whether this very one has been used; `now` is a boot second."""
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        return (claims.iss, claims.jti) in self._until

    def add(self, claims: LogoutClaims, *, now: float) -> None:
        while len(self._until) >= self._entries_max:
            self._until.popitem(last=False)
        self._until[claims.iss, claims.jti] = now + REMEMBERED_S
