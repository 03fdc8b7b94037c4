"""JSON Web Token Best Current Practices, section by section: what a token says of itself convinces nobody."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from test_oauth_client import CLAIMS, EC, ISSUER, KEYS, NOW, OTHER_RSA, RSA, answer, forged, jwk, keys_of, sign, verify

from session_core import oauth
from session_core.errors import ProviderError, TokenVerificationError


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signed(payload: bytes, **headers: object) -> str:
    """By the provider's own key, whatever it says."""
    return jwt.PyJWS().encode(payload, RSA, "RS256", headers={"kid": "rs"} | headers)


def refused(token: str, words: str) -> None:
    with pytest.raises(TokenVerificationError, match=words):
        verify(token)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "nOnE", "HS256", "HS512", "RS1", "RS384", "ES512", "RSA-OAEP", ""]
)
def test_3_1_only_listed_algorithms_are_used(algorithm: str) -> None:
    """§3.1 and §3.2: `none` in any spelling, everything symmetric, and what is not listed."""
    refused(forged({"alg": algorithm, "kid": "rs"}), "algorithm that is not accepted")


def test_3_1_a_key_is_used_with_its_own_algorithm_only() -> None:
    """§3.1: one key, one algorithm; the same key under another name does not verify."""
    refused(sign(RSA, "PS256", "rs"), "another algorithm")


def test_3_3_a_token_inside_a_token_is_not_opened() -> None:
    """§3.3: there are no nested tokens here, so none is half checked."""
    refused(signed(sign().encode(), cty="JWT"), "lacks a required claim")


@pytest.mark.parametrize(
    "signature",
    [b"", b"\0" * 64, b"\0" * 63 + b"\1", b"\xff" * 64, b"\0" * 8],
    ids=["empty", "zeros", "one", "ones", "short"],
)
def test_3_4_a_signature_that_any_key_would_fit_is_refused(signature: bytes) -> None:
    """§3.4: ECDSA with r and s of zero was taken for good by a famous library."""
    refused(forged({"alg": "ES256", "kid": "es"}, signature), "signature does not match")


@pytest.mark.parametrize("point", [{"x": b64(bytes(32)), "y": b64(bytes(32))}, {"y": jwk(EC)["x"]}])
def test_3_4_a_point_that_is_not_on_its_curve_is_no_key(point: dict[str, str]) -> None:
    """§3.4: cryptographic inputs are validated before they are used."""
    with pytest.raises(ProviderError, match="no key"):
        keys_of(jwk(EC, kid="es") | point)


def test_3_6_an_encrypted_or_compressed_token_is_refused() -> None:
    """§3.6: nothing is decrypted, so nothing is decompressed."""
    header = b64(json.dumps({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}).encode())
    refused(f"{header}..AAAA.AAAA.AAAA", "not a JWT|algorithm that is not accepted")
    refused(signed(json.dumps(CLAIMS).encode(), crit=["zip"], zip="DEF"), "not a JWT")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_3_7_claims_are_utf_8(encoding: str) -> None:
    """§3.7: in no other encoding does a name mean what it seems to."""
    refused(signed(json.dumps(CLAIMS | {"sub": "ü"}, ensure_ascii=False).encode(encoding)), "lacks a required claim")


@pytest.mark.parametrize("iss", ["", ISSUER + "/", ISSUER.upper(), "http://id.example", ISSUER + ".evil.example"])
def test_3_8_the_issuer_is_compared_letter_by_letter(iss: str) -> None:
    """§3.8: no case folding, no slash more, no longer name."""
    refused(sign(iss=iss), "not made by")


@pytest.mark.parametrize("aud", ["", "App", "app ", "apps", [], ["other"], [["app"]]])
def test_3_9_the_audience_is_this_very_client(aud: object) -> None:
    """§3.9: a token for somebody else, or for nobody, is not ours."""
    refused(sign(aud=aud), "another client|lacks a required claim")


ATTACKER = jwk(OTHER_RSA, kid="rs", use="sig")


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": ATTACKER},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["AAAA"]},
        {"kid": "../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"kid": "rs\0"},
    ],
    ids=lambda header: next(iter(header)),
)
def test_3_10_a_token_does_not_say_which_key_to_believe(header: dict[str, object]) -> None:
    """§3.10: a key or an address that comes with the token is not looked at; a `kid` only picks among the known."""
    token = jwt.encode(CLAIMS, OTHER_RSA, "RS256", headers={"kid": "rs"} | header)
    refused(token, "signature does not match|does not publish")


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE"])
def test_3_11_a_token_of_another_type_is_no_id_token(kind: str) -> None:
    """§3.11 and §3.12: the type is stated, and the kinds exclude each other."""
    refused(signed(json.dumps(CLAIMS).encode(), typ=kind), "another kind")


@pytest.mark.parametrize("kind", [None, "JWT", "logout+jwt", "dpop+jwt"])
def test_3_12_only_an_access_token_opens_an_api(kind: str | None) -> None:
    """§3.12: an ID token, signed by the same key for the same audience, is refused."""
    token = signed(json.dumps(CLAIMS).encode(), **({} if kind is None else {"typ": kind}))
    with pytest.raises(TokenVerificationError, match="another kind"):
        oauth.verify_access_token(token, KEYS, issuer=ISSUER, audience="app", now_wall=NOW)


@pytest.mark.parametrize(
    "change",
    [lambda t: t + ".x", lambda t: t.rpartition(".")[0], lambda t: t + "\n", lambda t: " " + t, lambda t: t + "é"],
    ids=["four parts", "two parts", "newline", "space", "not ASCII"],
)
def test_a_token_has_three_parts_and_nothing_around_them(change: Callable[[str], str]) -> None:
    """RFC 7515 §3.1: what is read in two ways by two programs is read by none here."""
    refused(change(sign()), "not a JWT|signature")


def test_a_key_set_holds_nothing_secret() -> None:
    """A provider that publishes a private or a shared key by mistake does not get it used."""
    shared: dict[str, Any] = {"kty": "oct", "k": b64(b"x" * 32), "alg": "HS256", "kid": "rs"}
    assert [key.algorithm for key in oauth.read_keys(answer({"keys": [shared, jwk(EC, kid="es")]})).keys] == ["ES256"]
