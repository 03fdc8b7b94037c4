"""Logout tokens: what signs somebody out, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as some
from test_oauth_client import EC, KEYS, RSA, answer, forged, jwk

from session_core import oauth
from session_core.errors import TokenVerificationError
from session_core.jwt_checks import UnknownKeyError
from session_core.logout_token import (
    AGE_S_MAX,
    LOGOUT_EVENT,
    REMEMBERED_S,
    LogoutClaims,
    SeenTokens,
    verify_logout_token,
)

ISSUER = "https://idp.example"
NOW = 1_800_000_000
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "app",
    "iat": NOW,
    "exp": NOW + 120,
    "jti": "j1",
    "events": {LOGOUT_EVENT: {}},
    "sub": "ada",
    "sid": "s1",
}


def sign(private_key: Any = RSA, algorithm: str = "RS256", /, typ: str | None = "logout+jwt", **changes: object) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not ...}
    # The layer below, which signs whatever it is given.
    return jwt.PyJWS().encode(
        json.dumps(claims).encode(), private_key, algorithm=algorithm, headers={"kid": "rs", "typ": typ}
    )


def verify(token: str, **changes: Any) -> LogoutClaims:
    asked = {"issuer": ISSUER, "client_id": "app", "now_wall": NOW, "leeway_s": 0.0}
    return verify_logout_token(token, KEYS, **(asked | changes))


@pytest.mark.parametrize("typ", ["logout+jwt", "application/logout+jwt", "Logout+JWT", "JWT", None])
@pytest.mark.parametrize("named", [{}, {"sub": ...}, {"sid": ...}, {"aud": ["other", "app"]}, {"extra": [1]}])
def test_a_logout_token_says_who_is_signed_out(typ: str | None, named: dict[str, object]) -> None:
    """By session, by user or both; providers older than the standard do not state the type."""
    claims = verify(sign(typ=typ, **named))
    assert (claims.sub, claims.sid) == (
        None if named.get("sub") is ... else "ada",
        None if named.get("sid") is ... else "s1",
    )
    assert "ada" not in repr(claims)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://evil.example"}, "not made by"),
        ({"aud": "other"}, "another client"),
        ({"aud": []}, "another client"),
        ({"exp": NOW}, "expired"),
        ({"iat": NOW + 1}, "future"),
        ({"iat": NOW - AGE_S_MAX}, "older than"),
        ({"events": {}}, "does not speak of a logout"),
        ({"events": {LOGOUT_EVENT: True}}, "does not speak of a logout"),
        ({"events": {LOGOUT_EVENT + "x": {}}}, "does not speak of a logout"),
        ({"nonce": "n"}, "has a nonce"),
        ({"nonce": None}, "has a nonce"),
        ({"jti": ""}, "no number"),
        ({"sub": ..., "sid": ...}, "neither"),
        ({"sub": "", "sid": ""}, "neither"),
        *(({name: ...}, "lacks a required claim") for name in ("iss", "aud", "iat", "exp", "jti", "events")),
        ({"events": [LOGOUT_EVENT]}, "wrong type"),
        ({"sub": 7}, "wrong type"),
        ({"exp": "soon"}, "wrong type"),
    ],
)
def test_a_token_that_breaks_a_rule_is_refused(changes: dict[str, object], why: str) -> None:
    """Back-Channel Logout §2.6, one rule each; to the second, without leeway."""
    with pytest.raises(TokenVerificationError, match=why):
        verify(sign(**changes))


def test_the_leeway_is_for_clocks_that_differ() -> None:
    """Half a minute either way, and no second more."""
    assert verify(sign(iat=NOW + 30), leeway_s=30.0)
    assert verify(sign(exp=NOW - 29), leeway_s=30.0)
    for late in ({"iat": NOW + 31}, {"exp": NOW - 30}):
        with pytest.raises(TokenVerificationError):
            verify(sign(**late), leeway_s=30.0)


def test_an_id_token_signs_nobody_out_and_a_logout_token_signs_nobody_in() -> None:
    """RFC 8725 §3.12: the rules of the two exclude each other."""
    with pytest.raises(TokenVerificationError):
        verify(sign(typ="JWT", events=..., jti=..., nonce="n"))
    with pytest.raises(TokenVerificationError, match="another kind"):
        verify(sign(typ="at+jwt"))
    with pytest.raises(TokenVerificationError):
        oauth.verify_id_token(sign(), KEYS, issuer=ISSUER, client_id="app", nonce="n", now_wall=NOW)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c",
        "\udce4.b.c",
        "x" * 70_000,
        forged({"alg": "none", "typ": "logout+jwt"}, b""),
        jwt.encode(CLAIMS, "s" * 64, algorithm="HS256"),
    ],
)
def test_what_no_key_vouches_for_is_refused(token: str) -> None:
    """Unsigned, signed with a secret, or no token at all."""
    with pytest.raises(TokenVerificationError):
        verify(token)


def test_a_key_of_somebody_else_is_unknown() -> None:
    """It may be a new one of the provider's, so newer keys are asked for."""
    with pytest.raises(UnknownKeyError):
        verify_logout_token(
            sign(),
            oauth.read_keys(answer({"keys": [jwk(EC, kid="es")]})),
            issuer=ISSUER,
            client_id="app",
            now_wall=NOW,
        )


@given(some.dictionaries(some.sampled_from([*CLAIMS, "nonce", "typ"]), some.none() | some.text() | some.integers()))
def test_no_signed_claims_break_the_check(changes: dict[str, Any]) -> None:
    """Whatever a provider signs is accepted or refused in a sentence."""
    changes.pop("typ", None)
    with suppress(TokenVerificationError):
        assert verify(sign(**changes)).iss == ISSUER


def test_a_token_is_known_again_for_as_long_as_it_could_be_accepted() -> None:
    """By issuer and number, so that providers do not hinder each other."""
    seen, claims = SeenTokens(), verify(sign())
    assert not seen.knows(claims, now=0)
    seen.add(claims, now=0)
    assert seen.knows(claims, now=REMEMBERED_S - 1)
    other = verify_logout_token(
        sign(iss="https://b.example"), KEYS, issuer="https://b.example", client_id="app", now_wall=NOW
    )
    assert not seen.knows(other, now=0)
    assert not seen.knows(claims, now=REMEMBERED_S)
    assert len(seen) == 0


def test_what_is_remembered_is_bounded() -> None:
    """A flood costs no more memory than this."""
    seen = SeenTokens(entries_max=3)
    for number in range(10):
        seen.add(verify(sign(jti=f"j{number}")), now=0)
    assert len(seen) == 3
