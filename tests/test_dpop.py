"""Keys, proofs and their checks, with the examples of RFC 9449 and RFC 7638."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from leaks import leaks

from session_core.dpop import (
    AGE_S_MAX,
    INVALID_PROOF,
    USE_NONCE,
    ProofKey,
    ProofRefusedError,
    check_proof,
    make_key,
    make_proof,
    thumbprint_of,
)

NOW = 1_800_000_000.0
URL = "https://api.example.org/things"
TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
KEY = make_key(random.Random(1).randbytes)
OTHER = make_key(random.Random(2).randbytes)

# RFC 9449, figures 1, 9 and 12.
RFC_HEADER = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscE"
    "JoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
)
RFC_TOKEN_PROOF = (
    f"{RFC_HEADER}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rv"
    "a2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37x"
    "RZT3Lg"
)
RFC_API_PROOF = (
    f"{RFC_HEADER}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9w"
    "cm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFF"
    "byJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
RFC_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def proof(key: ProofKey = KEY, **changed: Any) -> str:
    told = {"method": "GET", "url": URL, "now": NOW, "entropy": random.Random(3).randbytes, **changed}
    return make_proof(key, **told)


def claims_of(value: str) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(value.split(".")[1] + "=="))


def forged(
    *,
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
    key: Any = None,
    algorithm: str = "ES256",
) -> str:
    """A proof that is right but for what is changed; None takes a member away."""
    headers = {"typ": "dpop+jwt", "jwk": KEY.public_jwk, **(header or {})}
    said = {"jti": "j", "htm": "GET", "htu": URL, "iat": int(NOW), **(claims or {})}
    return jwt.PyJWS().encode(
        json.dumps({name: value for name, value in said.items() if value is not None}).encode(),
        KEY.signer if key is None else key,
        algorithm=algorithm,
        headers={name: value for name, value in headers.items() if value is not None},
    )


def refusal(value: str, **changed: Any) -> tuple[str, str]:
    with pytest.raises(ProofRefusedError) as caught:
        check_proof(value, **{"method": "GET", "url": URL, "now": NOW, **changed})
    return caught.value.code, str(caught.value)


def test_the_token_request_of_the_rfc_passes() -> None:
    """RFC 9449, figure 1, at the second it was made."""
    found = check_proof(RFC_TOKEN_PROOF, method="POST", url="https://server.example.com/token", now=1562262616)
    assert (found.thumbprint, found.jti) == (RFC_JKT, "-BwC3ESc6acc2lTc")


def test_the_resource_request_of_the_rfc_passes_with_its_token_only() -> None:
    """RFC 9449, figure 12."""
    told = {"method": "GET", "url": "https://resource.example.org/protectedresource", "now": 1562262618}
    assert check_proof(RFC_API_PROOF, access_token=TOKEN, **told).thumbprint == RFC_JKT
    assert refusal(RFC_API_PROOF, access_token=TOKEN + "x", **told)[1].endswith("(ath).")


def test_the_thumbprint_of_the_rfc_is_found() -> None:
    """RFC 7638 §3.1, whose other members do not count."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert thumbprint_of(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_a_key_is_made_of_what_is_handed_in() -> None:
    """The same entropy gives the same key, other entropy another, and its stored form gives it back."""
    assert make_key(random.Random(1).randbytes) == KEY != OTHER
    again = msgspec.json.decode(msgspec.json.encode(KEY), type=ProofKey)
    assert again.thumbprint == KEY.thumbprint != OTHER.thumbprint
    assert KEY.signer.curve.name == "secp256r1"


@pytest.mark.parametrize("secret", [b"", bytes(32), b"\xff" * 32, b"\x01" * 31])
def test_what_is_no_key_is_not_taken_for_one(secret: bytes) -> None:
    """Not even from a store."""
    with pytest.raises(msgspec.DecodeError, match="private key"):
        msgspec.json.decode(msgspec.json.encode({"secret": secret}), type=ProofKey)


def test_a_key_never_shows_itself() -> None:
    """In no repr and no JWK."""
    number = str(int.from_bytes(KEY.secret))
    hidden = [repr(KEY.secret)[2:-1], KEY.secret.hex(), number, base64.urlsafe_b64encode(KEY.secret).decode()]
    assert leaks([repr(KEY), str(KEY), repr(KEY.__rich_repr__()), repr(KEY.signer), repr(KEY.public_jwk)], hidden) == []
    assert KEY.public_jwk.keys() == {"kty", "crv", "x", "y"}


def test_a_proof_says_what_it_is_for() -> None:
    """RFC 9449 §4.2: method, address without query and fragment, time, token and nonce."""
    made = proof(method="POST", url=f"{URL}?q=secret#part", access_token=TOKEN, nonce="n-1", now=NOW + 0.9)
    assert jwt.get_unverified_header(made) == {"alg": "ES256", "typ": "dpop+jwt", "jwk": KEY.public_jwk}
    said = claims_of(made)
    assert said.pop("jti") == base64.urlsafe_b64encode(random.Random(3).randbytes(16)).decode().rstrip("=")
    ath = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    assert said == {"htm": "POST", "htu": URL, "iat": 1_800_000_000, "ath": ath, "nonce": "n-1"}


@given(
    seed=st.integers(),
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=st.text("abc/~%.-_é ", max_size=20),
    query=st.text("a=&?%", max_size=10),
    token=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
)
def test_every_proof_made_passes_and_only_for_its_request(
    seed: int, method: str, path: str, query: str, token: str | None
) -> None:
    """Whatever key, method, address and token."""
    key = make_key(random.Random(seed).randbytes)
    url = f"https://api.example.org/{path}?{query}"
    told = {"method": method, "url": url, "access_token": token}
    made = make_proof(key, now=NOW, entropy=random.Random(seed).randbytes, **told)
    assert check_proof(made, now=NOW, **told).thumbprint == key.thumbprint
    assert refusal(made, **{**told, "method": "PATCH"})[0] == INVALID_PROOF
    assert refusal(made, **{**told, "url": "https://api.example.com/"})[0] == INVALID_PROOF
    if token is not None:
        assert refusal(made, **{**told, "access_token": f"{token}."})[0] == INVALID_PROOF


def private_jwk() -> dict[str, Any]:
    return {**KEY.public_jwk, "d": base64.urlsafe_b64encode(KEY.secret).decode()}


RSA_KEY = rsa.generate_private_key(65537, 2048)
P384_KEY = ec.generate_private_key(ec.SECP384R1())
WRONG: dict[str, tuple[Callable[[], str], str]] = {
    "two proofs": (lambda: f"{proof()}, {proof()}", "once"),
    "no proof": (lambda: "", "once"),
    "no JWT": (lambda: "a.b.c", "not a JWT"),
    "not ASCII": (lambda: proof() + "é", "once"),
    "endless": (lambda: proof(url=URL + "x" * 9000), "once"),
    "another type": (lambda: forged(header={"typ": "JWT"}), "type"),
    "no type": (lambda: forged(header={"typ": ""}), "type"),
    "unsigned": (lambda: forged(key="", algorithm="none"), "signed with"),
    "symmetric": (lambda: forged(key="k" * 32, algorithm="HS256"), "signed with"),
    "RSA": (lambda: forged(key=RSA_KEY, algorithm="RS256"), "signed with"),
    "another curve": (lambda: forged(key=P384_KEY, algorithm="ES384"), "signed with"),
    "no key": (lambda: forged(header={"jwk": None}), "public key"),
    "a key that is text": (lambda: forged(header={"jwk": "key"}), "public key"),
    "a private key": (lambda: forged(header={"jwk": private_jwk()}), "private key"),
    "a symmetric key": (lambda: forged(header={"jwk": {"kty": "oct", "k": "c2VjcmV0"}}), "private key"),
    "a key of another kind": (lambda: forged(header={"jwk": {"kty": "RSA", "n": "AQ", "e": "AQAB"}}), "not one for"),
    "a key off the curve": (lambda: forged(header={"jwk": {**KEY.public_jwk, "y": KEY.public_jwk["x"]}}), "signature"),
    "half a key": (lambda: forged(header={"jwk": {"kty": "EC", "crv": "P-256", "x": "AQ"}}), "not one for"),
    "another's key": (lambda: forged(header={"jwk": OTHER.public_jwk}), "signature"),
    "a changed claim": (
        lambda: ".".join([proof().split(".")[0], proof(now=1).split(".")[1], proof().split(".")[2]]),
        "s",
    ),
    "no jti": (lambda: forged(claims={"jti": None}), "lacks jti"),
    "an empty jti": (lambda: forged(claims={"jti": ""}), "jti must"),
    "an endless jti": (lambda: forged(claims={"jti": "j" * 1025}), "jti must"),
    "no htm": (lambda: forged(claims={"htm": None}), "lacks"),
    "no htu": (lambda: forged(claims={"htu": None}), "lacks"),
    "no iat": (lambda: forged(claims={"iat": None}), "lacks"),
    "iat as text": (lambda: forged(claims={"iat": str(NOW)}), "lacks"),
    "another method": (lambda: forged(claims={"htm": "POST"}), "(htm)"),
    "a method in small letters": (lambda: forged(claims={"htm": "get"}), "(htm)"),
    "another host": (lambda: forged(claims={"htu": "https://api.example.com/things"}), "(htu)"),
    "another scheme": (lambda: forged(claims={"htu": "http://api.example.org/things"}), "(htu)"),
    "another path": (lambda: forged(claims={"htu": URL + "/1"}), "(htu)"),
    "another case": (lambda: forged(claims={"htu": "https://api.example.org/Things"}), "(htu)"),
    "a path alone": (lambda: forged(claims={"htu": "/things"}), "(htu)"),
    "a broken address": (lambda: forged(claims={"htu": "https://[api"}), "(htu)"),
    "an old proof": (lambda: forged(claims={"iat": NOW - AGE_S_MAX - 1}), "(iat)"),
    "a proof from the future": (lambda: forged(claims={"iat": NOW + AGE_S_MAX + 1}), "(iat)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_proof_is_refused_and_says_why(name: str) -> None:
    """RFC 9449 §4.3, one break at a time."""
    make, why = WRONG[name]
    code, said = refusal(make())
    assert code == INVALID_PROOF
    assert why in said


def test_the_proofs_broken_above_are_right_but_for_that() -> None:
    """Broken on purpose: without this the refusals would prove nothing."""
    assert check_proof(forged(), method="GET", url=URL, now=NOW).thumbprint == KEY.thumbprint
    for off_s in (AGE_S_MAX, -AGE_S_MAX):
        assert check_proof(forged(), method="GET", url=URL, now=NOW + off_s).made_at == NOW


@pytest.mark.parametrize("ath", [None, "", "x", "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo=", "ü"])
def test_a_proof_with_a_token_must_name_its_hash(ath: str | None) -> None:
    """RFC 9449 §4.3, 12."""
    assert refusal(forged(claims={"ath": ath}), access_token=TOKEN)[1].endswith("(ath).")


@pytest.mark.parametrize(
    "written",
    [
        "HTTPS://API.example.ORG/things",
        "https://api.example.org:443/things",
        "https://api.example.org/th%69ngs",
        "https://api.example.org/a/../things",
        "https://api.example.org/./things",
        "https://api.example.org/things?q=1#f",
    ],
)
def test_one_address_may_be_written_in_several_ways(written: str) -> None:
    """RFC 9449 §4.3: compared after the normalisation of RFC 3986 §6.2."""
    assert check_proof(forged(claims={"htu": written}), method="GET", url=URL, now=NOW)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h.example", "https://h.example/"),
        ("https://h.example/a/b/..", "https://h.example/a/"),
        ("https://h.example/../a", "https://h.example/a"),
        ("https://h.example/%c3%a9", "https://h.example/%C3%A9"),
    ],
)
def test_paths_are_compared_as_the_standard_asks(one: str, other: str) -> None:
    """RFC 3986 §5.2.4 and §6.2.2."""
    assert check_proof(forged(claims={"htu": one}), method="GET", url=other, now=NOW)


@pytest.mark.parametrize("other", ["https://h.example/%2F", "https://h.example/a//b", "https://h.example:8443/a/b"])
def test_what_is_another_address_stays_one(other: str) -> None:
    """An encoded slash is no slash, an empty segment is one, and so is a port."""
    assert refusal(forged(claims={"htu": "https://h.example/a/b"}), url=other)[1].endswith("(htu).")


@pytest.mark.parametrize("nonce", [None, "", "old", "new "])
def test_a_server_that_gives_nonces_wants_one_of_its_own(nonce: str | None) -> None:
    """Any other is answered with the one to use."""
    assert refusal(forged(claims={"nonce": nonce}), nonces=("new", "newer"))[0] == USE_NONCE


def test_with_the_server_s_nonce_a_wrong_clock_does_no_harm() -> None:
    """RFC 9449 §8: the nonce is the server's own time; without it the same proof is too old."""
    made = proof(now=NOW - 86_400, nonce="new")
    assert check_proof(made, method="GET", url=URL, now=NOW, nonces=("new",)).jti
    assert refusal(made)[1].endswith("check the clock.")
