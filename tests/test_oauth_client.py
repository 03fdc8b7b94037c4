"""The client of one provider, and the JWTs and keys it believes."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import traceback
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from session_core import oauth
from session_core.errors import (
    ConfigError,
    DiscoveryError,
    LoginRequest,
    ProviderError,
    ProviderUnreachableError,
    TokenAnswerError,
    TokenVerificationError,
)
from session_core.events import AnyFact, ClockSkewEstimated, KeysFetched
from session_core.jwt_checks import KeySet, UnknownKeyError, VerifyingKey, read_unverified
from session_core.oauth import ClientRegistration, TokenGrant, TokenRefusal
from session_core.oauth_client import KEYS_AGE_S_MAX, OAuthClient
from session_core.vocabulary import Outcome
from session_core.wire import FailureKind, WireAnswer, WireFailure, WireRequest

ISSUER = "https://id.example"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
NOW = 784_111_777.0
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def jwk(private_key: Any, **more: object) -> dict[str, Any]:
    maker: Any = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    kind = next(base for base in maker if isinstance(private_key, base))
    return dict(maker[kind].to_jwk(private_key.public_key(), as_dict=True)) | more


def answer(body: object, status: int = 200, **headers: str) -> WireAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WireAnswer(status=status, headers={"content-type": "application/json"} | headers, body=raw)


def keys_of(*jwks: dict[str, Any]) -> KeySet:
    return oauth.read_keys(answer({"keys": list(jwks)}))


KEYS = keys_of(
    jwk(RSA, kid="rs", use="sig"),
    jwk(RSA, kid="ps", alg="PS256"),
    jwk(EC, kid="es", alg="ES256"),
    jwk(ED, kid="ed"),
)
CLAIMS = {"iss": ISSUER, "sub": "u1", "aud": "app", "exp": NOW + 60, "iat": NOW, "nonce": "n"}


def sign(private_key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rs", /, **changes: object) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not ...}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims, private_key, algorithm=algorithm, headers=headers)


def verify(token: str, keys: KeySet = KEYS, **changes: Any) -> oauth.Claims:
    asked = {"issuer": ISSUER, "client_id": "app", "nonce": "n", "now_wall": NOW, "leeway_s": 0.0}
    return oauth.verify_id_token(token, keys, **(asked | changes))


@pytest.mark.parametrize(
    ("private_key", "algorithm", "kid"),
    [(RSA, "RS256", "rs"), (RSA, "PS256", "ps"), (EC, "ES256", "es"), (ED, "EdDSA", "ed")],
)
def test_an_id_token_of_each_allowed_algorithm_is_verified(private_key: Any, algorithm: str, kid: str) -> None:
    """RS256, PS256, ES256 and EdDSA, and nothing else."""
    claims = verify(sign(private_key, algorithm, kid, name="Ada", sid="s1"))
    assert (claims.sub, claims.audiences, claims.name, claims.sid) == ("u1", ("app",), "Ada", "s1")
    assert "Ada" not in repr(claims)


@pytest.mark.parametrize(("now", "accepted"), [(NOW + 59, True), (NOW + 60, False), (NOW + 61, False)])
def test_a_token_has_expired_on_or_after_exp(now: float, accepted: bool) -> None:  # noqa: FBT001
    """RFC 7519 §4.1.4 at exp − 1, exp and exp + 1, and the same 30 s later with the usual leeway."""
    token = sign()
    for leeway_s in (0.0, 30.0):
        if accepted:
            assert verify(token, now_wall=now + leeway_s, leeway_s=leeway_s).exp == NOW + 60
        else:
            with pytest.raises(TokenVerificationError, match="expired"):
                verify(token, now_wall=now + leeway_s, leeway_s=leeway_s)


@given(exp=st.integers(0, 2**40), now=st.integers(0, 2**40), leeway_s=st.integers(0, 300))
@settings(max_examples=50)
def test_only_the_time_that_is_handed_in_counts(exp: int, now: int, leeway_s: int) -> None:
    """A token of any century is judged by `now` alone."""
    token = sign(exp=exp)
    if now - leeway_s < exp:
        assert verify(token, now_wall=float(now), leeway_s=float(leeway_s)).exp == exp
    else:
        with pytest.raises(TokenVerificationError, match="expired"):
            verify(token, now_wall=float(now), leeway_s=float(leeway_s))


@pytest.mark.parametrize(("now", "accepted"), [(NOW - 1, False), (NOW, True), (NOW + 1, True)])
def test_a_token_is_valid_from_nbf_on(now: float, accepted: bool) -> None:  # noqa: FBT001
    """RFC 7519 §4.1.5, at the edge."""
    token = sign(nbf=NOW)
    if accepted:
        assert verify(token, now_wall=now).nbf == NOW
    else:
        with pytest.raises(TokenVerificationError, match="not valid yet"):
            verify(token, now_wall=now)


def forged(header: dict[str, object], signature: bytes = b"x") -> str:
    parts = [json.dumps(header).encode(), json.dumps(CLAIMS).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def hs256_with_public_key() -> str:
    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    unsigned = forged({"alg": "HS256", "kid": "rs"}).rpartition(".")[0]
    digest = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(unsigned.encode(), pem)
    return f"{unsigned}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


BAD_TOKENS: list[tuple[str, str]] = [
    (forged({"alg": "none", "kid": "rs"}, b""), "algorithm that is not accepted"),
    (forged({"alg": "NONE"}, b""), "algorithm that is not accepted"),
    (forged({"kid": "rs"}), "algorithm that is not accepted"),
    (forged({"alg": ["RS256"], "kid": "rs"}), "algorithm that is not accepted"),
    (hs256_with_public_key(), "algorithm that is not accepted"),
    (sign(RSA, "RS512", "rs"), "algorithm that is not accepted"),
    (forged({"alg": "RS256", "kid": "rs"}), "signature"),
    (sign(OTHER_RSA), "signature"),
    (sign(RSA, "PS256", "rs"), "another algorithm"),
    (sign(RSA, "RS256", "ps"), "another algorithm"),
    (sign(EC, "ES256", "rs"), "another algorithm"),
    (sign(RSA, "RS256", "new"), "does not publish"),
    (forged({"alg": "RS256", "kid": 7}), "not a JWT"),
    (forged({"alg": "RS256", "kid": "rs", "crit": ["x"]}), "not a JWT"),
    (forged({"alg": "RS256", "kid": "rs", "typ": "at+jwt"}), "another kind"),
    (forged({"alg": "RS256", "kid": "rs", "typ": 7}), "another kind"),
    ("", "not a JWT"),
    ("a.b.c", "not a JWT"),
    ("é.b.c", "not a JWT"),
    ("a" * 70_000, "not a JWT"),
    (sign(iss="https://evil.example"), "not made by https://id.example"),
    (sign(aud="other"), "another client"),
    (sign(aud=["other"]), "another client"),
    (sign(aud=["app", "other"]), "azp"),
    (sign(aud=["app", "other"], azp="other"), "azp"),
    (sign(azp="other"), "azp"),
    (sign(nonce="m"), "nonce"),
    (sign(nonce=...), "nonce"),
    *((sign(**{name: ...}), "lacks a required claim") for name in ("iss", "sub", "aud", "exp", "iat")),
    (sign(exp="soon"), "wrong type"),
    (sign(exp=True), "wrong type"),
]


@pytest.mark.parametrize(("token", "words"), BAD_TOKENS)
def test_a_token_that_is_not_what_it_claims_is_refused(token: str, words: str) -> None:
    """Every lie has its sentence, and no sentence repeats the token."""
    with pytest.raises(TokenVerificationError, match=words) as caught:
        verify(token)
    text = "".join(traceback.format_exception(caught.value))
    assert not [part for part in token.split(".") if len(part) > 10 and part in text]


def test_a_token_without_kid_needs_the_only_key_of_its_algorithm() -> None:
    """One candidate is enough, two are a guess."""
    assert verify(sign(RSA, "RS256", None)).sub == "u1"
    with pytest.raises(UnknownKeyError):
        verify(sign(RSA, "RS256", None), keys_of(jwk(RSA), jwk(OTHER_RSA)))


def test_several_audiences_need_the_right_azp() -> None:
    """OIDC Core §3.1.3.7, 4 and 5."""
    assert verify(sign(aud=["app", "api"], azp="app")).audiences == ("app", "api")


def test_a_nonce_is_checked_only_where_one_was_sent() -> None:
    """A refreshed token carries none."""
    assert verify(sign(nonce=...), nonce=None).nonce is None


def test_an_access_token_is_no_id_token_and_the_other_way_round() -> None:
    """RFC 9068 §4: typ at+jwt is required, and mutually exclusive rules keep the kinds apart."""
    key = {"algorithm": "RS256", "headers": {"kid": "rs", "typ": "at+jwt"}}
    token = jwt.encode(CLAIMS | {"aud": "api", "scope": "a b"}, RSA, **key)
    asked: dict[str, Any] = {"issuer": ISSUER, "audience": "api", "now_wall": NOW}
    assert oauth.verify_access_token(token, KEYS, **asked).scope == "a b"
    with pytest.raises(TokenVerificationError, match="another kind"):
        verify(token)
    with pytest.raises(TokenVerificationError, match="another kind"):
        oauth.verify_access_token(sign(aud="api"), KEYS, **asked)
    with pytest.raises(TokenVerificationError, match="another audience"):
        oauth.verify_access_token(token, KEYS, **(asked | {"audience": "x"}))
    with pytest.raises(TokenVerificationError, match="not made by"):
        oauth.verify_access_token(token, KEYS, **(asked | {"issuer": "x"}))
    with pytest.raises(TokenVerificationError, match="expired"):
        oauth.verify_access_token(token, KEYS, **(asked | {"now_wall": NOW + 90}))


@given(st.text() | st.builds("{}.{}.{}".format, st.text(max_size=40), st.text(max_size=40), st.text(max_size=40)))
@example(f"{base64.urlsafe_b64encode(b'[' * 9000).decode()}.e30.x")
@example("\ud800.a.b")
def test_no_text_is_taken_for_a_token_or_breaks_the_check(token: str) -> None:
    """Anything but a signed JWT is refused by name."""
    with pytest.raises(TokenVerificationError):
        verify(token)
    assert read_unverified(token) is None or isinstance(read_unverified(token), dict)


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "azp", "nbf", "scope"]), st.none() | st.integers() | st.text() | st.lists(st.text())
    )
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_no_signed_claims_break_the_check(claims: dict[str, Any]) -> None:
    """Even a provider's own key does not make nonsense believable."""
    token = jwt.PyJWS().encode(json.dumps(claims).encode(), RSA, "RS256", headers={"kid": "rs"})
    with pytest.raises(TokenVerificationError):
        verify(token)


SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.mark.parametrize(
    "useless",
    [
        jwk(RSA, use="enc"),
        jwk(RSA, key_ops=["encrypt"]),
        jwk(RSA, key_ops="verify"),
        jwk(RSA, d="AQAB"),
        jwk(RSA, alg="RS512"),
        jwk(RSA, alg="HS256"),
        jwk(RSA, alg="ES256"),
        jwk(RSA, alg=["RS256"]),
        jwk(RSA, kid=7),
        jwk(RSA, n="!"),
        jwk(RSA, n=7),
        jwk(RSA, e="AA"),
        jwk(EC, crv="P-384"),
        jwk(EC, x="AAAA"),
        jwk(EC, y=jwk(EC)["x"]),
        jwk(ED, x="AAAA"),
        jwk(ec.generate_private_key(ec.SECP384R1())),
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": ["RSA"]},
        {"kty": "RSA"},
        {},
    ],
)
def test_a_key_that_must_not_verify_is_dropped(useless: dict[str, Any]) -> None:
    """Private, symmetric, broken, for encryption, or of an algorithm that is not its own."""
    assert [key.kid for key in keys_of(useless, jwk(EC, kid="es")).keys] == ["es"]
    with pytest.raises(ProviderError, match="no key"):
        keys_of(useless)


def test_a_short_rsa_key_is_dropped_without_a_warning() -> None:
    """RFC 7518 §3.3: 2048 bits at least."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ProviderError, match="no key"):
            keys_of(jwk(SMALL_RSA))


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"keys": {}}', b"oops", b'{"keys": []}', b'{"keys": [1, null]}'])
def test_an_answer_without_keys_is_refused(body: bytes) -> None:
    """What is no JWKS says so in one sentence."""
    with pytest.raises(ProviderError, match="jwks_uri"):
        oauth.read_keys(answer(body))


@given(st.binary(), st.integers(100, 599))
def test_no_bytes_are_taken_for_keys(body: bytes, status: int) -> None:
    """Any other answer is a ProviderError."""
    with pytest.raises(ProviderError):
        oauth.read_keys(answer(body, status))


def test_a_key_shows_only_its_algorithm() -> None:
    """Public, but long."""
    assert repr(KEYS.keys[0]) == "VerifyingKey(RS256)"
    assert isinstance(KEYS.keys[0], VerifyingKey)


class HandClock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now = NOW

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    boot = monotonic


Said = WireAnswer | WireFailure
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
    "revocation_endpoint": f"{ISSUER}/revoke",
}
REFUSED = WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)
HTML = WireAnswer(status=200, headers={"content-type": "text/html"}, body=b"<html>")


class Provider:
    """Says what it was told to say at each address, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[WireRequest] = []
        self.says: dict[str, Said | Callable[[], Awaitable[Said]]] = {
            "/.well-known/openid-configuration": answer(DOCUMENT),
            "/keys": answer({"keys": [jwk(RSA, kid="rs")]}),
            "/revoke": answer(b""),
        }

    async def send(self, request: WireRequest) -> Said:
        self.asked.append(request)
        await asyncio.sleep(0)
        said = self.says[request.url.removeprefix(ISSUER)]
        return said if isinstance(said, WireAnswer | WireFailure) else await said()

    async def aclose(self) -> None:
        raise AssertionError("The client does not own its transport.")

    def discovers(self, said: Said | Callable[[], Awaitable[Said]]) -> None:
        self.says["/.well-known/openid-configuration"] = said

    def grants(self, **more: object) -> None:
        body = {
            "access_token": "opaque-access",
            "token_type": "Bearer",
            "expires_in": 60,
            "refresh_token": "opaque-new",
        }
        self.says["/token"] = answer(body | more, date=DATE)

    def count(self, path: str) -> int:
        return sum(request.url == ISSUER + path for request in self.asked)


class World:
    """A client, its provider, its clock and what it recorded."""

    def __init__(self, **settings: Any) -> None:
        self.provider = Provider()
        self.clock = HandClock()
        self.facts: list[AnyFact] = []
        registration = ClientRegistration(client_id="app", redirect_uri="https://app.example/cb", scope="openid api")
        self.client = OAuthClient(
            self.provider,
            **{
                "issuer": ISSUER,
                "registration": registration,
                "clock": self.clock,
                "record": self.facts.append,
            }
            | settings,
        )

    def fetched(self) -> list[tuple[Outcome, int]]:
        return [(fact.outcome, fact.keys) for fact in self.facts if isinstance(fact, KeysFetched)]


def after(gate: asyncio.Event, said: Said) -> Callable[[], Awaitable[Said]]:
    async def say() -> Said:
        await gate.wait()
        return said

    return say


LOGIN = LoginRequest(url="", state="st", nonce="n", code_verifier="verifier", return_to="/")


def test_the_provider_is_discovered_once_for_all_who_ask() -> None:
    """Fifty at once make one request, and later ones none."""

    async def main() -> None:
        world = World(timeout_s=3.0)
        found = await asyncio.gather(*(world.client.metadata() for _ in range(50)))
        assert {metadata.token_endpoint for metadata in found} == {f"{ISSUER}/token"}
        await world.client.metadata()
        assert len(world.provider.asked) == 1
        assert world.provider.asked[0].timeout_s == 3.0

    asyncio.run(main())


def test_a_failed_discovery_is_shared_but_not_remembered() -> None:
    """All who waited hear of it; the next one asks again."""

    async def main() -> None:
        world = World()
        world.provider.discovers(REFUSED)
        heard = await asyncio.gather(*(world.client.metadata() for _ in range(5)), return_exceptions=True)
        assert [type(error) for error in heard] == [ProviderUnreachableError] * 5
        assert len(world.provider.asked) == 1
        world.provider.discovers(answer(DOCUMENT))
        assert (await world.client.metadata()).issuer == ISSUER

    asyncio.run(main())


def test_one_who_gives_up_waiting_does_not_take_the_others_along() -> None:
    """The shared discovery goes on for those who still wait."""

    async def main() -> None:
        world = World()
        gate = asyncio.Event()
        world.provider.discovers(after(gate, answer(DOCUMENT)))
        impatient = asyncio.ensure_future(world.client.metadata())
        patient = asyncio.ensure_future(world.client.metadata())
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert (await patient).issuer == ISSUER
        assert impatient.cancelled()

    asyncio.run(main())


def test_a_failure_nobody_waits_for_any_more_is_not_reported_as_forgotten() -> None:
    """Who gave up does not want to read of it in the log."""

    async def main() -> None:
        world = World()
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        gate = asyncio.Event()
        world.provider.discovers(after(gate, REFUSED))
        impatient = asyncio.ensure_future(world.client.metadata())
        await asyncio.sleep(0)
        impatient.cancel()
        gate.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(world.provider.asked) == 1
        del world, impatient
        gc.collect()
        assert complaints == []

    asyncio.run(main())


def test_tokens_are_refreshed_and_the_skew_is_noted() -> None:
    """One POST; the provider's Date moves the estimate only when it differs by more than a second."""

    async def main() -> None:
        world = World()
        world.provider.grants()
        world.clock.now = NOW + 7200
        found = await world.client.refresh("opaque-old")
        assert isinstance(found, TokenGrant)
        assert found.refresh_token == "opaque-new"
        assert world.client.skew_s == -7200.0
        world.clock.now += 1
        await world.client.refresh("opaque-new")
        assert world.client.skew_s == -7200.0
        world.clock.now += 1
        await world.client.refresh("opaque-new")
        assert world.facts == [ClockSkewEstimated(skew_s=-7200.0), ClockSkewEstimated(skew_s=-7202.0)]

    asyncio.run(main())


@pytest.mark.parametrize(("took_s", "believed"), [(5.0, True), (5.1, False), (-1.0, False)])
def test_a_slow_exchange_says_nothing_about_the_clock(took_s: float, believed: bool) -> None:  # noqa: FBT001
    """Nor does one in which the device's clock was set back."""

    async def main() -> None:
        world = World()
        world.provider.grants()
        said: Any = world.provider.says["/token"]

        async def slow() -> Said:
            world.clock.now = NOW - 100 + took_s
            return said

        world.clock.now = NOW - 100
        world.provider.says["/token"] = slow
        assert isinstance(await world.client.refresh("opaque-old"), TokenGrant)
        assert (world.client.skew_s != 0.0) is believed

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "outcome", "error"),
    [
        (REFUSED, Outcome.OFFLINE, "provider_unreachable"),
        (WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True), Outcome.TRANSIENT, "provider_unreachable"),
        (HTML, Outcome.OFFLINE, "provider_unreachable"),
        (answer(b"", 503), Outcome.TRANSIENT, "provider_unreachable"),
        (answer(DOCUMENT | {"issuer": "https://evil.example"}), Outcome.CONFIG, "discovery"),
    ],
)
def test_what_needs_the_endpoints_says_why_it_has_none(said: Said, outcome: Outcome, error: str) -> None:
    """Refresh and client credentials refuse with a value, and no token has left."""

    async def main() -> None:
        world = World()
        world.provider.discovers(said)
        refusal = TokenRefusal(outcome=outcome, error=error)
        assert await world.client.refresh("opaque-old") == refusal
        assert await world.client.client_credentials() == refusal
        assert await world.client.revoke("opaque-old") == outcome
        assert not [request for request in world.provider.asked if b"opaque" in request.body]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("id_token", "subject", "accepted"),
    [
        (None, "u1", True),
        (sign(nonce=...), "u1", True),
        (sign(nonce=...), None, True),
        (sign(OTHER_RSA, "RS256", "new"), "u1", True),
        (sign(sub="u2"), "u1", False),
        (sign(iss="https://evil.example"), "u1", False),
        (sign(aud="other"), "u1", False),
        ("not-a-jwt", None, False),
    ],
)
def test_a_refresh_never_changes_the_user(id_token: str | None, subject: str | None, accepted: bool) -> None:  # noqa: FBT001
    """OIDC Core §12.2; the answer is not used, and the old refresh token may be spent."""

    async def main() -> None:
        world = World()
        world.provider.grants(id_token=id_token)
        found = await world.client.refresh("opaque-old", subject=subject)
        if accepted:
            assert isinstance(found, TokenGrant)
        else:
            assert found == TokenRefusal(outcome=Outcome.AMBIGUOUS, error="id_token_mismatch", status=200)
        assert world.provider.count("/keys") == 0

    asyncio.run(main())


def test_a_refusal_of_the_token_endpoint_is_handed_on() -> None:
    """With its status and how long to wait."""

    async def main() -> None:
        world = World()
        world.provider.says["/token"] = answer(b"", 429, **{"retry-after": "60"})
        found = await world.client.refresh("opaque-old")
        assert found == TokenRefusal(outcome=Outcome.THROTTLED, error="throttled", status=429, retry_after_s=60.0)

    asyncio.run(main())


def test_client_credentials_fetch_tokens_for_the_client_itself() -> None:
    """No user, no ID token."""

    async def main() -> None:
        registration = ClientRegistration(client_id="app", client_secret="x", auth_method="client_secret_basic")
        world = World(registration=registration)
        world.provider.grants(refresh_token=None)
        found = await world.client.client_credentials()
        assert isinstance(found, TokenGrant)
        assert world.provider.asked[-1].body == b"grant_type=client_credentials"

    asyncio.run(main())


def test_a_sign_in_runs_from_the_request_to_verified_tokens() -> None:
    """State, PKCE and nonce go out and come back."""

    async def main() -> None:
        world = World()
        drawn = iter(range(3))
        login = await world.client.login_request(lambda count: bytes([next(drawn)]) * count, return_to="/chat")
        world.provider.grants(id_token=sign(nonce=login.nonce))
        found = await world.client.exchange_callback(f"https://app.example/cb?code=c&state={login.state}", login)
        assert found.access_token == "opaque-access"
        assert login.code_verifier.encode() in world.provider.asked[-2].body
        assert world.fetched() == [(Outcome.OK, 1)]

    asyncio.run(main())


def test_a_provider_without_openid_signs_in_without_an_id_token() -> None:
    """Plain OAuth is enough where only that was asked for."""

    async def main() -> None:
        world = World(registration=ClientRegistration(client_id="app", scope="api"))
        world.provider.grants()
        assert (await world.client.exchange_code("c", LOGIN)).id_token is None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (answer({"error": "invalid_grant"}, 400), ProviderError, "sign in again"),
        (answer({"error": "invalid_client"}, 401), ProviderError, "client_id"),
        (answer({"access_token": "a", "token_type": "mac"}), TokenAnswerError, "Bearer"),
        (answer({"access_token": "a", "token_type": "Bearer", "expires_in": -5}), TokenAnswerError, "expires_in"),
        (answer({"access_token": "a", "token_type": "Bearer"}), TokenVerificationError, "no ID token"),
        (
            answer({"access_token": "a", "token_type": "Bearer", "id_token": sign(nonce="m")}),
            TokenVerificationError,
            "nonce",
        ),
        (REFUSED, ProviderUnreachableError, "unreachable"),
        (answer(b"", 503), ProviderUnreachableError, "server_error"),
    ],
)
def test_a_sign_in_that_fails_says_so_in_one_sentence(said: Said, kind: type[ProviderError], words: str) -> None:
    """The exact class, one sentence, and no code, verifier or token in it."""

    async def main() -> None:
        world = World()
        world.provider.says["/token"] = said
        with pytest.raises(ProviderError, match=words) as caught:
            await world.client.exchange_code("the-code", LOGIN)
        assert type(caught.value) is kind
        text = "".join(traceback.format_exception(caught.value))
        assert "the-code" not in str(caught.value)
        assert "verifier" not in str(caught.value)
        assert sign(nonce="m")[-20:] not in text

    asyncio.run(main())


def test_a_refresh_token_is_given_back() -> None:
    """And a provider that takes none is a matter of configuration."""

    async def main() -> None:
        world = World()
        assert await world.client.revoke("opaque-old") is Outcome.OK
        assert world.provider.count("/revoke") == 1
        world = World()
        world.provider.discovers(answer(DOCUMENT | {"revocation_endpoint": None}))
        assert await world.client.revoke("opaque-old") is Outcome.CONFIG

    asyncio.run(main())


def test_an_unknown_key_is_looked_up_afresh_once_a_minute() -> None:
    """Rotated signing keys cost one refetch; a stranger's key cannot make more."""

    async def main() -> None:
        world = World()
        assert (await world.client.verify_id_token(sign(), nonce="n")).sub == "u1"
        world.provider.says["/keys"] = answer({"keys": [jwk(OTHER_RSA, kid="new")]})
        rotated = sign(OTHER_RSA, "RS256", "new", exp=NOW + 1000)
        assert (await world.client.verify_id_token(rotated)).sub == "u1"
        world.clock.now += 59
        for _ in range(10):
            with pytest.raises(UnknownKeyError):
                await world.client.verify_id_token(sign(RSA, "RS256", "stranger", exp=NOW + 1000))
        assert world.provider.count("/keys") == 2
        world.clock.now += 1
        with pytest.raises(UnknownKeyError):
            await world.client.verify_id_token(sign(RSA, "RS256", "stranger", exp=NOW + 1000))
        assert world.provider.count("/keys") == 3
        assert world.fetched() == [(Outcome.OK, 1)] * 3

    asyncio.run(main())


def test_all_who_meet_a_rotated_key_share_one_refetch() -> None:
    """Nobody is refused because another's refetch is still under way."""

    async def main() -> None:
        world = World()
        await world.client.verify_id_token(sign())
        world.clock.now += 60
        rotated = sign(OTHER_RSA, "RS256", "new", exp=NOW + 1000)
        gate = asyncio.Event()
        world.provider.says["/keys"] = after(gate, answer({"keys": [jwk(OTHER_RSA, kid="new")]}))
        early = [asyncio.ensure_future(world.client.verify_id_token(rotated)) for _ in range(10)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert world.provider.count("/keys") == 2
        late = [asyncio.ensure_future(world.client.verify_id_token(rotated)) for _ in range(10)]
        await asyncio.sleep(0)
        gate.set()
        assert {claims.sub for claims in await asyncio.gather(*early, *late)} == {"u1"}
        assert world.provider.count("/keys") == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "outcome"),
    [(REFUSED, Outcome.OFFLINE), (answer(b"", 503), Outcome.TRANSIENT), (answer(b"{}"), Outcome.CONFIG)],
)
def test_a_failed_refetch_keeps_the_good_keys(said: Said, outcome: Outcome) -> None:
    """PyJWT's own client erases them; here old tokens stay verifiable."""

    async def main() -> None:
        world = World()
        token = sign(exp=NOW + 1000)
        await world.client.verify_id_token(token)
        world.provider.says["/keys"] = said
        world.clock.now += 60
        with pytest.raises(UnknownKeyError):
            await world.client.verify_id_token(sign(RSA, "RS256", "new", exp=NOW + 1000))
        assert (await world.client.verify_id_token(token)).sub == "u1"
        assert world.fetched() == [(Outcome.OK, 1), (outcome, 0)]

    asyncio.run(main())


def test_keys_of_a_day_are_renewed_so_that_withdrawn_ones_go() -> None:
    """At a day, not a second before; a failure keeps the old and is tried again only a minute later."""

    async def main() -> None:
        world = World()
        token = sign(exp=NOW + 10 * KEYS_AGE_S_MAX)
        await world.client.verify_id_token(token)
        world.clock.now += KEYS_AGE_S_MAX - 1
        await world.client.verify_id_token(token)
        assert world.provider.count("/keys") == 1
        world.clock.now += 1
        world.provider.says["/keys"] = REFUSED
        await world.client.verify_id_token(token)
        await world.client.verify_id_token(token)
        assert world.provider.count("/keys") == 2
        world.clock.now += 60
        world.provider.says["/keys"] = answer({"keys": [jwk(OTHER_RSA, kid="new")]})
        with pytest.raises(UnknownKeyError):
            await world.client.verify_id_token(token)
        assert world.provider.count("/keys") == 3

    asyncio.run(main())


def test_no_keys_at_all_is_an_error_that_a_later_call_can_outgrow() -> None:
    """Without keys nothing can be verified, and nothing is remembered of the failure."""

    async def main() -> None:
        world = World()
        world.provider.says["/keys"] = REFUSED
        with pytest.raises(ProviderUnreachableError):
            await world.client.verify_id_token(sign())
        world.provider.says["/keys"] = answer({"keys": [jwk(RSA, kid="rs")]})
        assert (await world.client.verify_id_token(sign())).sub == "u1"

    asyncio.run(main())


def test_tokens_are_judged_by_the_providers_clock() -> None:
    """A device two hours ahead does not take a fresh token for an expired one."""

    async def main() -> None:
        world = World()
        world.clock.now = NOW + 7200
        with pytest.raises(TokenVerificationError, match="expired"):
            await world.client.verify_id_token(sign())
        world.provider.grants(id_token=sign())
        assert (await world.client.exchange_code("c", LOGIN)).id_token == sign()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "reachable"),
    [
        (answer(DOCUMENT), True),
        (answer(b"", 503), True),
        (answer(b"<html>", 502, **{"content-type": "text/html"}), True),
        (answer(b"", 404), True),
        (answer(b"", 429), True),
        (REFUSED, False),
        (WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True), False),
        (HTML, False),
        (answer(b"", 302), False),
        (answer(b"", 511), False),
    ],
)
def test_a_probe_tells_a_provider_in_trouble_from_no_provider(said: Said, reachable: bool) -> None:  # noqa: FBT001
    """A guest network's page is not the provider; a 503 is."""

    async def main() -> None:
        world = World()
        world.provider.discovers(said)
        assert await world.client.probe() is reachable

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"issuer": "http://id.example"}, "issuer"),
        ({"issuer": ""}, "issuer"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 301}, "timeout_s"),
        ({"keys_refetch_s_min": 0}, "keys_refetch_s_min"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any], word: str) -> None:
    """At once, not at the first request."""
    with pytest.raises(ConfigError, match=word):
        World(**settings)


def test_plain_http_needs_the_unsafe_door_open_all_the_way() -> None:
    """For the issuer and for each of its endpoints."""

    async def main() -> None:
        insecure = {name: value.replace("https", "http") for name, value in DOCUMENT.items()}
        world = World()
        world.provider.discovers(answer(insecure | {"issuer": ISSUER}))
        with pytest.raises(DiscoveryError, match="https"):
            await world.client.metadata()
        world = World(allow_insecure_http=True)
        world.provider.discovers(answer(insecure | {"issuer": ISSUER}))
        assert (await world.client.metadata()).token_endpoint == "http://id.example/token"

    asyncio.run(main())
