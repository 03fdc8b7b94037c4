"""JWTs and the keys that vouch for them, checked as RFC 8725 asks, against the time that is handed in."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm

from session_core.errors import ProviderError, ProviderUnreachableError, TokenVerificationError
from session_core.http_answers import read_object, reading_trouble
from session_core.wire import WireAnswer, WireFailure

KEYS_MAX = 100
JWT_CHARS_MAX = 1 << 16
LEEWAY_S = 30.0
RSA_BITS_MIN = 2048

# The allow-list. Nothing symmetric is on it, so a public key can never be taken for an HMAC secret.
_KEY_TYPE: Final = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
_CURVE: Final = {"ES256": "P-256", "EdDSA": "Ed25519"}
_ALGORITHM_OF: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
_jws = jwt.PyJWS(algorithms=list(_KEY_TYPE))


class UnknownKeyError(TokenVerificationError):
    """No key at hand fits the token: newer keys may."""


class VerifyingKey(msgspec.Struct, frozen=True, kw_only=True):
    """One public key with the one algorithm it may be used for."""

    kid: str | None
    algorithm: str
    public_key: Any

    def __repr__(self) -> str:
        return f"VerifyingKey({self.algorithm})"


class KeySet(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's signing keys."""

    keys: tuple[VerifyingKey, ...]

    def find(self, *, kid: str | None, algorithm: str) -> VerifyingKey:
        """The one key a token's header may mean. Without a `kid` it must be the only one of its algorithm."""
        named = [key for key in self.keys if kid is None or key.kid == kid]
        fitting = [key for key in named if key.algorithm == algorithm]
        if kid is not None and named and not fitting:
            raise TokenVerificationError("A token names a key that belongs to another algorithm; it is not accepted.")
        if len(fitting) != 1:
            raise UnknownKeyError("A token is signed with a key that the provider does not publish.")
        return fitting[0]


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified JWT states. Times are wall seconds on the provider's clock."""

    iss: str
    sub: str
    aud: str | tuple[str, ...]
    exp: float
    iat: float
    nbf: float | None = None
    azp: str | None = None
    nonce: str | None = None
    sid: str | None = None
    auth_time: float | None = None
    scope: str | None = None
    name: str | None = None
    preferred_username: str | None = None
    email: str | None = None

    @property
    def audiences(self) -> tuple[str, ...]:
        return (self.aud,) if isinstance(self.aud, str) else self.aud

    def __repr__(self) -> str:
        return f"Claims(iss={self.iss!r}, exp={self.exp:.0f})"


def read_keys(answer: WireAnswer | WireFailure) -> KeySet:
    """The usable signing keys of a JWKS answer. Keys that are private, symmetric, weak or not for signing are dropped."""
    if found := reading_trouble(answer):
        outcome, word = found
        raise ProviderUnreachableError(f"The provider's signing keys cannot be had now ({word}); try again.", outcome)
    assert isinstance(answer, WireAnswer)
    document = read_object(answer.body) if answer.status == 200 else None
    listed = document.get("keys") if document else None
    if not isinstance(listed, list):
        raise ProviderError(
            f"The provider's jwks_uri does not answer with keys (status {answer.status}); check the provider."
        )
    keys = [key for jwk in listed[:KEYS_MAX] if isinstance(jwk, dict) and (key := _read_key(jwk))]
    if not keys:
        raise ProviderError("The provider publishes no key that can verify a signature; check its jwks_uri.")
    return KeySet(keys=tuple(keys))


def _read_key(jwk: Mapping[str, Any]) -> VerifyingKey | None:
    kid, key_type = jwk.get("kid"), jwk.get("kty")
    algorithm = str(jwk.get("alg") or _ALGORITHM_OF.get(str(key_type)))
    if not _is_for_verifying(jwk) or not isinstance(kid, str | None) or algorithm not in _KEY_TYPE:
        return None
    if key_type != _KEY_TYPE[algorithm] or jwk.get("crv") != _CURVE.get(algorithm):
        return None
    members = {name: value for name, value in jwk.items() if name in {"kty", "crv", "n", "e", "x", "y"}}
    try:
        public_key = jwt.PyJWK(members, algorithm).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, AttributeError):
        return None
    if key_type == "RSA" and public_key.key_size < RSA_BITS_MIN:
        return None
    return VerifyingKey(kid=kid, algorithm=algorithm, public_key=public_key)


def _is_for_verifying(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and not {"d", "k"} & jwk.keys()
    )


def verify_id_token(
    token: str,
    keys: KeySet,
    *,
    issuer: str,
    client_id: str,
    nonce: str | None,
    now_wall: float,
    leeway_s: float = LEEWAY_S,
) -> Claims:
    """The claims of an ID token (OIDC Core §3.1.3.7). `nonce` None leaves the nonce unchecked."""
    claims = read_claims(verified_payload(token, keys, types={"jwt"}, typed=False))
    check_id_claims(claims, issuer=issuer, client_id=client_id)
    _check_times(claims, now_wall=now_wall, leeway_s=leeway_s)
    if nonce is not None and not hmac.compare_digest((claims.nonce or "").encode(errors="replace"), nonce.encode()):
        raise TokenVerificationError("An ID token does not belong to this sign-in (its nonce differs); sign in again.")
    return claims


def verify_access_token(
    token: str, keys: KeySet, *, issuer: str, audience: str, now_wall: float, leeway_s: float = LEEWAY_S
) -> Claims:
    """The claims of a JWT access token (RFC 9068 §4); an ID token is not one."""
    claims = read_claims(verified_payload(token, keys, types={"at+jwt"}, typed=True))
    _check_issuer(claims, issuer)
    if audience not in claims.audiences:
        raise TokenVerificationError("A token was made for another audience; it is not accepted.")
    _check_times(claims, now_wall=now_wall, leeway_s=leeway_s)
    return claims


def read_unverified(token: str) -> dict[str, Any] | None:
    """The claims of a JWT that came straight from its issuer, or None when it is not a JWT. Proves nothing."""
    if token.count(".") != 2 or not token.isascii() or len(token) > JWT_CHARS_MAX:
        return None
    try:
        header, payload, _ = (urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    except ValueError:
        return None
    return None if read_object(header) is None else read_object(payload)


def subject_of(id_token: str) -> str | None:
    """Whom an ID token is about; None where it does not say. Proves nothing."""
    claims = read_unverified(id_token)
    return str(claims["sub"]) if claims is not None and "sub" in claims else None


def sid_of(id_token: str | None) -> str | None:
    """The session at the provider that an ID token belongs to; None where it does not say. Proves nothing."""
    claims = None if id_token is None else read_unverified(id_token)
    return str(claims["sid"]) if claims is not None and "sid" in claims else None


def check_id_claims(claims: Claims, *, issuer: str, client_id: str) -> None:
    """Made by this issuer, for this client (OIDC Core §3.1.3.7, 2 to 5)."""
    _check_issuer(claims, issuer)
    if client_id not in claims.audiences:
        raise TokenVerificationError("An ID token was made for another client; check client_id.")
    if claims.azp != client_id and (claims.azp is not None or len(claims.audiences) > 1):
        raise TokenVerificationError("An ID token was handed to another client (its azp differs); it is not accepted.")


def check_proof(claims: Claims, proof_from: float | None) -> None:
    """That the user proved who they are since that second of the provider's clock (OIDC Core §3.1.2.1, max_age).

    What asks for it stands in an address, which whoever sits at the browser can change; so the answer counts.
    """
    if proof_from is not None and (claims.auth_time is None or claims.auth_time < proof_from - LEEWAY_S):
        raise TokenVerificationError("You were not asked who you are; sign in once more, with your password.")


def read_claims(payload: bytes) -> Claims:
    try:
        return msgspec.json.decode(payload, type=Claims)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenVerificationError(
            "A token lacks a required claim (iss, sub, aud, exp, iat) or has one of the wrong type."
        ) from None


def verified_payload(token: str, keys: KeySet, *, types: set[str], typed: bool) -> bytes:
    """What a JWT of one of these types says, if one of `keys` vouches for it; `typed`: its type must be stated."""
    if not token.isascii() or len(token) > JWT_CHARS_MAX:
        raise TokenVerificationError("A token is not a JWT.")
    try:
        header = _jws.get_unverified_header(token)
    except jwt.PyJWTError:
        raise TokenVerificationError("A token is not a JWT.") from None
    algorithm, kind = str(header.get("alg")), header.get("typ")
    if algorithm not in _KEY_TYPE:
        raise TokenVerificationError(
            f"A token is signed with an algorithm that is not accepted; the provider must use {' or '.join(_KEY_TYPE)}."
        )
    if (kind is not None or typed) and str(kind).lower().removeprefix("application/") not in types:
        raise TokenVerificationError("A token is of another kind than the one asked for; it is not accepted.")
    key = keys.find(kid=header.get("kid"), algorithm=algorithm)
    try:
        said: bytes = _jws.decode(token, key.public_key, algorithms=[key.algorithm])
    except jwt.PyJWTError:
        raise TokenVerificationError(
            "A token's signature does not match the provider's key; it is not accepted."
        ) from None
    return said


def _check_issuer(claims: Claims, issuer: str) -> None:
    if claims.iss != issuer:
        raise TokenVerificationError(f"A token was not made by {issuer}; it is not accepted.")


def _check_times(claims: Claims, *, now_wall: float, leeway_s: float) -> None:
    # RFC 7519 §4.1.4: not accepted on or after exp, hence >= and not >.
    if now_wall - leeway_s >= claims.exp:
        raise TokenVerificationError("A token has expired; check this device's clock if it was issued just now.")
    if claims.nbf is not None and now_wall + leeway_s < claims.nbf:
        raise TokenVerificationError("A token is not valid yet; check this device's clock.")
