"""Proofs of possession (RFC 9449) without I/O: a session's key, the proof that goes with a request, and its checks."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from session_core.secrecy import Discreet

ALGORITHM = "ES256"
PROOF_TYPE = "dpop+jwt"
BEARER, DPOP = "Bearer", "DPoP"
INVALID_PROOF, USE_NONCE = "invalid_dpop_proof", "use_dpop_nonce"
KEY_BYTES = 32
JTI_BYTES = 16
PROOF_CHARS_MAX = 8192
TEXT_CHARS_MAX = 1024
AGE_S_MAX = 60.0

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9_.~-]").fullmatch
_jws = jwt.PyJWS(algorithms=[ALGORITHM])

Entropy = Callable[[int], bytes]


class ProofKey(Discreet, frozen=True, kw_only=True, dict=True):
    """A session's private key on P-256. `secret` is what is stored of it, sealed with the session, and never shown."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES or not 0 < int.from_bytes(self.secret) < _ORDER:
            raise ValueError("This is no private key on P-256.")

    @cached_property
    def signer(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(self.secret), ec.SECP256R1())

    @cached_property
    def public_jwk(self) -> dict[str, Any]:
        return ECAlgorithm.to_jwk(self.signer.public_key(), as_dict=True)

    @cached_property
    def thumbprint(self) -> str:
        """What the provider binds tokens to: `jkt` in a token, `dpop_jkt` in an authorization request."""
        return thumbprint_of(self.public_jwk)


def make_key(entropy: Entropy) -> ProofKey:
    """FIPS 186-5 §A.2.1: 128 bits more than needed, so that no number is likelier than another."""
    number = int.from_bytes(entropy(KEY_BYTES + 16)) % (_ORDER - 1) + 1
    return ProofKey(secret=number.to_bytes(KEY_BYTES))


def thumbprint_of(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 §3: the members a key of its kind must have, in the order of their names."""
    needed = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}[jwk["kty"]]
    return _hashed(msgspec.json.encode({name: jwk[name] for name in needed}))


def make_proof(
    key: ProofKey,
    *,
    method: str,
    url: str,
    now: float,
    entropy: Entropy,
    access_token: str | None = None,
    nonce: str | None = None,
) -> str:
    """A proof for one request, sent at epoch second `now` of the server's clock (RFC 9449 §4.2)."""
    claims = {"jti": _base64url(entropy(JTI_BYTES)), "htm": method, "htu": target_of(url), "iat": int(now)}
    if access_token is not None:
        claims["ath"] = _hashed(access_token.encode())
    if nonce is not None:
        claims["nonce"] = nonce
    header = {"typ": PROOF_TYPE, "jwk": key.public_jwk}
    return _jws.encode(msgspec.json.encode(claims), key.signer, algorithm=ALGORITHM, headers=header)


def target_of(url: str) -> str:
    """The address without query and fragment."""
    return url.partition("#")[0].partition("?")[0]


class ProofRefusedError(ValueError):
    """`code` is what the answer says: `invalid_dpop_proof` or `use_dpop_nonce`."""

    def __init__(self, description: str, code: str = INVALID_PROOF) -> None:
        super().__init__(description)
        self.code = code


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof that passed the checks says; whether it was used before, and for whose token, is left to ask."""

    thumbprint: str
    jti: str
    made_at: float


class _Claims(msgspec.Struct, frozen=True):
    jti: str
    htm: str
    htu: str
    iat: float
    ath: str | None = None
    nonce: str | None = None


def check_proof(
    value: str,
    *,
    method: str,
    url: str,
    now: float,
    access_token: str | None = None,
    nonces: Collection[str] | None = None,
) -> Proof:
    """RFC 9449 §4.3, in its order. `nonces` are those that are good now, None where the server gives none.

    With a nonce the time is the server's own, so the client's clock may be as wrong as it likes.
    """
    jwk, claims = _opened(value)
    if claims.htm != method:
        raise ProofRefusedError("The proof is for another method (htm).")
    if _normalized(claims.htu) != _normalized(url):
        raise ProofRefusedError("The proof is for another address (htu).")
    if nonces is None:
        if not -AGE_S_MAX <= now - claims.iat <= AGE_S_MAX:
            raise ProofRefusedError("The proof is too old, or from the future (iat); check the clock.")
    elif claims.nonce not in nonces:
        raise ProofRefusedError("The proof needs the nonce of this answer.", USE_NONCE)
    if access_token is not None and not hmac.compare_digest(
        (claims.ath or "").encode(errors="replace"), _hashed(access_token.encode()).encode()
    ):
        raise ProofRefusedError("The proof is for another access token (ath).")
    return Proof(thumbprint=thumbprint_of(jwk), jti=claims.jti, made_at=claims.iat)


def _opened(value: str) -> tuple[dict[str, Any], _Claims]:
    """Checks 1 to 7: one well-formed JWT of this kind, signed with an allowed algorithm by the public key it names."""
    # Two header fields arrive joined by a comma, which no JWT has.
    if not value.isascii() or len(value) > PROOF_CHARS_MAX or value.count(".") != 2 or "," in value:
        raise ProofRefusedError("The DPoP header must be given once and hold one JWT.")
    try:
        header = _jws.get_unverified_header(value)
    except jwt.PyJWTError:
        raise ProofRefusedError("The proof is not a JWT.") from None
    if header.get("typ") != PROOF_TYPE:
        raise ProofRefusedError(f"The proof must be of the type {PROOF_TYPE}.")
    if header.get("alg") != ALGORITHM:
        raise ProofRefusedError(f"The proof must be signed with {ALGORITHM}.")
    jwk = _public_members(header.get("jwk"))
    try:
        payload = _jws.decode(value, jwt.PyJWK(jwk, ALGORITHM).key, algorithms=[ALGORITHM])
    except (jwt.PyJWTError, ValueError):
        raise ProofRefusedError("The proof's signature does not fit its key.") from None
    try:
        claims = msgspec.json.decode(payload, type=_Claims)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProofRefusedError("The proof lacks jti, htm, htu or iat, or has one of the wrong type.") from None
    if not 0 < len(claims.jti) <= TEXT_CHARS_MAX:
        raise ProofRefusedError(f"The proof's jti must have 1 to {TEXT_CHARS_MAX} characters.")
    return jwk, claims


def _public_members(jwk: object) -> dict[str, Any]:
    if not isinstance(jwk, dict):
        raise ProofRefusedError("The proof must carry its public key (jwk).")
    if _PRIVATE & jwk.keys():
        raise ProofRefusedError("The proof carries a private key, which is compromised now; make a new one.")
    members = {name: jwk.get(name) for name in ("kty", "crv", "x", "y")}
    if (
        members["kty"] != "EC"
        or members["crv"] != "P-256"
        or not all(isinstance(each, str) for each in members.values())
    ):
        raise ProofRefusedError(f"The proof's key is not one for {ALGORITHM}.")
    return members


def _normalized(url: str) -> str | None:
    """RFC 3986 §6.2.2 and §6.2.3, without query and fragment; None for what is no address."""
    try:
        parts = urlsplit(target_of(url))
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    at = "" if port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{port}"
    return f"{parts.scheme}://{host}{at}{_without_dots(_ESCAPED.sub(_unescaped, parts.path))}"


def _unescaped(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if _UNRESERVED(char) else found[0].upper()


def _without_dots(path: str) -> str:
    """RFC 3986 §5.2.4."""
    kept: list[str] = []
    segments = path.split("/")[1:] or [""]
    for segment in segments:
        if segment == ".." and kept:
            kept.pop()
        elif segment not in {".", ".."}:
            kept.append(segment)
    ends_in_folder = segments[-1] in {".", ".."}
    return "/" + "/".join([*kept, ""] if ends_in_folder else kept)


def _hashed(text: bytes) -> str:
    return _base64url(hashlib.sha256(text).digest())


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
