"""The provider's signing keys, made when first needed and rotated on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from session_core.provider.config import SigningAlg

RSA_BITS = 2048
PUBLISHED_KEYS_MAX = 2

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Claims = Mapping[str, Any]


class KeyRing:
    """The newest key signs; it and its predecessor are published. Key material comes from the system's own source."""

    def __init__(self, alg: SigningAlg, entropy: Callable[[int], bytes]) -> None:
        self._alg = alg
        self._entropy = entropy
        self._keys: list[tuple[str, PrivateKey]] = []

    def sign(self, claims: Claims, *, typ: str = "JWT") -> str:
        kid, key = self._current()
        return self._sign(claims, key, kid, typ)

    def sign_with_foreign_key(self, claims: Claims) -> str:
        """Names the published key but is signed by another, as a forger would."""
        return self._sign(claims, self._make(), self._current()[0], "JWT")

    def leave_unsigned(self, claims: Claims) -> str:
        return jwt.encode(dict(claims), "", algorithm="none")

    def rotate(self) -> None:
        self._current()
        self._keys.insert(0, self._named())
        del self._keys[PUBLISHED_KEYS_MAX:]

    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._keys)

    def exported(self) -> tuple[tuple[str, bytes], ...]:
        """The private keys by their names, newest first, to be sealed by whoever asks."""
        return tuple(
            (name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())) for name, key in self._keys
        )

    def restore(self, named: Iterable[tuple[str, bytes]]) -> None:
        self._keys = [(name, cast("PrivateKey", load_pem_private_key(pem, None))) for name, pem in named]

    def jwks(self) -> dict[str, Any]:
        self._current()
        return {"keys": [{**_public(key), "kid": kid, "use": "sig", "alg": str(self._alg)} for kid, key in self._keys]}

    def own_claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token these keys signed, at whatever age."""
        unchecked = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
        for _, key in self._keys:
            try:
                return jwt.decode(token, key.public_key(), algorithms=[self._alg], options=unchecked)  # type: ignore[arg-type]
            except jwt.InvalidTokenError:
                continue
        return None

    def _current(self) -> tuple[str, PrivateKey]:
        if not self._keys:
            self._keys.append(self._named())
        return self._keys[0]

    def _named(self) -> tuple[str, PrivateKey]:
        return self._entropy(8).hex(), self._make()

    def _make(self) -> PrivateKey:
        if self._alg == SigningAlg.RS256:
            return rsa.generate_private_key(65537, RSA_BITS)
        return ec.generate_private_key(ec.SECP256R1())

    def _sign(self, claims: Claims, key: PrivateKey, kid: str, typ: str) -> str:
        return jwt.encode(dict(claims), key, algorithm=self._alg, headers={"kid": kid, "typ": typ})


def claims_unverified(token: str) -> dict[str, Any]:
    """For a token this provider has just made."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _public(key: PrivateKey) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
