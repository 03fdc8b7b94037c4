"""The requests, answers and checks of OAuth, without a provider."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from session_core import oauth
from session_core.errors import (
    ConfigError,
    DiscoveryError,
    LoginRequest,
    ProviderError,
    ProviderUnreachableError,
    TokenAnswerError,
)
from session_core.http_answers import is_portal, read_object, trouble
from session_core.oauth import ClientRegistration, ProviderMetadata, TokenGrant, TokenRefusal
from session_core.token_answers import _KNOWN_ERRORS, LIFE_S_DEFAULT, LIFE_S_MAX
from session_core.vocabulary import Outcome
from session_core.wire import FailureKind, WireAnswer, WireFailure

ISSUER = "https://id.example"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
DATE_WALL = 784_111_777.0
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
    "revocation_endpoint": f"{ISSUER}/revoke",
    "end_session_endpoint": f"{ISSUER}/end?tenant=1",
}
METADATA = ProviderMetadata(**DOCUMENT)
PUBLIC = ClientRegistration(client_id="app", redirect_uri="https://app.example/cb", scope="openid api offline_access")
SECRET = "s3cr3t:/+ é"
BASIC = ClientRegistration(client_id="a b", client_secret=SECRET, scope="openid api", auth_method="client_secret_basic")
POST = ClientRegistration(client_id="app", client_secret=SECRET, scope="openid", auth_method="client_secret_post")
GRANT = {"access_token": "opaque-access", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "opaque-refresh"}
JSON = "application/json;charset=UTF-8"


def answer(body: object, status: int = 200, content_type: str | None = JSON, **headers: str) -> WireAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        given_headers["content-type"] = content_type
    return WireAnswer(status=status, headers=given_headers, body=raw)


def read(said: WireAnswer | WireFailure) -> TokenGrant | TokenRefusal:
    return oauth.read_token_answer(said, wall_received=DATE_WALL)


def grant(**changes: object) -> TokenGrant:
    found = read(answer(GRANT | changes, date=DATE))
    assert isinstance(found, TokenGrant)
    return found


def unsigned_jwt(claims: Mapping[str, object]) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}."


def zeros(count: int) -> bytes:
    return bytes(count)


def counting() -> Any:
    drawn = iter(range(256))
    return lambda count: bytes([next(drawn)]) * count


def login(**changes: str) -> LoginRequest:
    return oauth.make_login_request(
        METADATA, PUBLIC, entropy=counting(), return_to=changes.get("return_to", "/chat?a=1")
    )


HTML = b"\n <!doctype html><title>Welcome to the hotel</title>"

OUTCOMES: list[tuple[WireAnswer | WireFailure, Outcome, str]] = [
    (WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False), Outcome.OFFLINE, "unreachable"),
    (WireFailure(kind=FailureKind.BUSY, maybe_sent=False), Outcome.TRANSIENT, "busy"),
    (WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True), Outcome.AMBIGUOUS, "timeout"),
    (WireFailure(kind=FailureKind.DROPPED, maybe_sent=True), Outcome.AMBIGUOUS, "dropped"),
    (answer(HTML, 200, "text/html"), Outcome.OFFLINE, "portal"),
    (answer(HTML, 200, JSON), Outcome.OFFLINE, "portal"),
    (answer(HTML, 200, None), Outcome.OFFLINE, "portal"),
    (answer(b"ok", 200, "text/plain"), Outcome.OFFLINE, "portal"),
    (answer(b"", 302, None, location="http://hotel.example"), Outcome.OFFLINE, "portal"),
    (answer(HTML, 511, "text/html"), Outcome.OFFLINE, "portal"),
    (answer(b'{"access_tok', 200), Outcome.AMBIGUOUS, "broken_json"),
    (answer(b'{"access_tok', 200, "text/html"), Outcome.AMBIGUOUS, "broken_json"),
    (answer(b"", 200, None), Outcome.AMBIGUOUS, "broken_json"),
    (answer(b"[]", 200), Outcome.AMBIGUOUS, "broken_json"),
    (answer(b"[" * 50_000, 200), Outcome.AMBIGUOUS, "broken_json"),
    (answer({}, 200), Outcome.AMBIGUOUS, "no_access_token"),
    (answer(GRANT | {"access_token": ""}), Outcome.AMBIGUOUS, "no_access_token"),
    (answer(GRANT | {"access_token": "a\r\nx: y"}), Outcome.AMBIGUOUS, "no_access_token"),
    (answer(GRANT | {"access_token": 7}), Outcome.AMBIGUOUS, "no_access_token"),
    (answer(GRANT | {"token_type": "mac"}), Outcome.AMBIGUOUS, "bad_token_type"),
    (answer(GRANT | {"token_type": None}), Outcome.AMBIGUOUS, "bad_token_type"),
    (answer(GRANT | {"expires_in": 0}), Outcome.AMBIGUOUS, "bad_expires_in"),
    (answer(GRANT | {"expires_in": -1}), Outcome.AMBIGUOUS, "bad_expires_in"),
    (answer(GRANT | {"expires_in": -(10**400)}), Outcome.AMBIGUOUS, "bad_expires_in"),
    (answer(GRANT | {"expires_in": "soon"}), Outcome.AMBIGUOUS, "bad_expires_in"),
    (answer(GRANT | {"expires_in": True}), Outcome.AMBIGUOUS, "bad_expires_in"),
    (answer(GRANT | {"expires_in": [1]}), Outcome.AMBIGUOUS, "bad_expires_in"),
    (answer(GRANT | {"refresh_token": 7}), Outcome.AMBIGUOUS, "bad_token"),
    (answer(GRANT | {"id_token": "a b"}), Outcome.AMBIGUOUS, "bad_token"),
    (answer({"error": "invalid_grant"}, 400), Outcome.REJECTED, "invalid_grant"),
    (answer({"error": "invalid_grant"}, 401), Outcome.REJECTED, "invalid_grant"),
    (answer({"error": "interaction_required"}, 400), Outcome.REJECTED, "interaction_required"),
    (answer({"error": "invalid_grant"}, 403), Outcome.CONFIG, "invalid_grant"),
    (answer({"error": "invalid_grant"}, 500), Outcome.TRANSIENT, "server_error"),
    (answer({"error": "invalid_grant"}, 429), Outcome.THROTTLED, "throttled"),
    (answer({"error": "invalid_grant"}, 200), Outcome.AMBIGUOUS, "no_access_token"),
    (answer({"error": "invalid_client"}, 401), Outcome.CONFIG, "invalid_client"),
    (answer({"error": "invalid_client"}, 400), Outcome.CONFIG, "invalid_client"),
    (answer({"error": "unauthorized_client"}, 400), Outcome.CONFIG, "unauthorized_client"),
    (answer({"error": "invalid_scope"}, 400), Outcome.CONFIG, "invalid_scope"),
    (answer({"error": "unsupported_grant_type"}, 400), Outcome.CONFIG, "unsupported_grant_type"),
    (answer({"error": "invalid_request"}, 400), Outcome.CONFIG, "invalid_request"),
    (answer({"error": "my token is hunter2"}, 400), Outcome.CONFIG, "other"),
    (answer({"error": "slow_down"}, 400), Outcome.TRANSIENT, "slow_down"),
    (answer({"error": "temporarily_unavailable"}, 400), Outcome.TRANSIENT, "temporarily_unavailable"),
    (answer({"error": "server_error"}, 400), Outcome.TRANSIENT, "server_error"),
    (answer(b"", 404), Outcome.CONFIG, "no_such_endpoint"),
    (answer(HTML, 404, "text/html"), Outcome.CONFIG, "no_such_endpoint"),
    (answer(HTML, 400, "text/html"), Outcome.TRANSIENT, "not_oauth"),
    (answer(HTML, 403, "text/html"), Outcome.TRANSIENT, "not_oauth"),
    (answer(b'{"error": "invalid_gra', 400), Outcome.TRANSIENT, "not_oauth"),
    (answer({"error": {"code": 7}}, 400), Outcome.TRANSIENT, "not_oauth"),
    (answer(b"", 408), Outcome.TRANSIENT, "server_error"),
    (answer(b"", 425), Outcome.TRANSIENT, "server_error"),
    (answer(b"", 429), Outcome.THROTTLED, "throttled"),
    (answer(HTML, 429, "text/html"), Outcome.THROTTLED, "throttled"),
    (answer(b"", 500), Outcome.TRANSIENT, "server_error"),
    (answer(HTML, 502, "text/html"), Outcome.TRANSIENT, "server_error"),
    (answer(b"", 503), Outcome.TRANSIENT, "server_error"),
    (answer(b"", 504), Outcome.AMBIGUOUS, "gateway_timeout"),
]


@pytest.mark.parametrize(("said", "outcome", "error"), OUTCOMES)
def test_each_answer_of_the_token_endpoint_has_one_outcome(said: Any, outcome: Outcome, error: str) -> None:
    """The table of outcome classes, row by row."""
    found = read(said)
    assert isinstance(found, TokenRefusal)
    assert (found.outcome, found.error) == (outcome, error)
    assert found.status == (said.status if isinstance(said, WireAnswer) else None)


@pytest.mark.parametrize(("said", "outcome", "error"), OUTCOMES)
def test_each_refusal_is_one_sentence_and_its_error_tells_what_may_be_done(
    said: Any, outcome: Outcome, error: str
) -> None:
    """Unreachable errors keep their outcome; only a broken answer is a TokenAnswerError."""
    refusal = read(said)
    assert isinstance(refusal, TokenRefusal)
    raised = oauth.refusal_error(refusal)
    assert str(raised).startswith("The identity provider ")
    assert str(raised).endswith(".")
    if isinstance(raised, ProviderUnreachableError):
        assert raised.outcome == outcome
    else:
        assert isinstance(raised, TokenAnswerError) == (outcome is Outcome.AMBIGUOUS)


def test_a_grant_carries_what_the_provider_gave() -> None:
    """Every member of a full answer finds its place."""
    found = grant(scope="openid api", id_token="x.y.z", refresh_expires_in=7200)
    assert found == TokenGrant(
        access_token="opaque-access",
        refresh_token="opaque-refresh",
        id_token="x.y.z",
        token_type="Bearer",
        scope="openid api",
        life_s=3600.0,
        refresh_life_s=7200.0,
        provider_now=DATE_WALL,
    )


def test_a_small_grant_is_enough() -> None:
    """Only an access token and its type are required; lower case is fine, odd extras are ignored."""
    found = read(answer({"access_token": "a", "token_type": "bearer", "scope": 7, "refresh_token": ""}, 201, None))
    assert isinstance(found, TokenGrant)
    assert (found.refresh_token, found.id_token, found.scope) == (None, None, "")
    assert (found.life_s, found.refresh_life_s, found.provider_now) == (LIFE_S_DEFAULT, None, None)


@pytest.mark.parametrize(
    ("stated", "life_s"),
    [
        (1, 1.0),
        (0.5, 0.5),
        ("3600", 3600.0),
        (None, LIFE_S_DEFAULT),
        (LIFE_S_MAX, LIFE_S_MAX),
        (LIFE_S_MAX + 1, LIFE_S_MAX),
        (10**400, LIFE_S_MAX),
        (1e308, LIFE_S_MAX),
        ("9" * 400, LIFE_S_MAX),
    ],
)
def test_a_stated_life_is_believed_within_reason(stated: object, life_s: float) -> None:
    """Digits as text are a number, null is silence, and no life overflows a timer."""
    assert grant(expires_in=stated).life_s == life_s


@pytest.mark.parametrize(
    ("stated", "life_s"), [(0, None), (-5, None), ("soon", None), (10**400, LIFE_S_MAX), (60, 60.0)]
)
def test_a_refresh_tokens_life_is_only_ever_a_hint(stated: object, life_s: float | None) -> None:
    """It is not in the standard, so nonsense in it is no reason to refuse the grant."""
    assert grant(refresh_token_expires_in=stated).refresh_life_s == life_s


@pytest.mark.parametrize(
    ("claims", "date", "life_s", "provider_now"),
    [
        ({"exp": DATE_WALL + 60, "iat": DATE_WALL - 30}, DATE, 60.0, DATE_WALL),
        ({"exp": 1060, "iat": 1000}, "", 60.0, 1000.0),
        ({"exp": 1060}, "", LIFE_S_DEFAULT, None),
        ({"exp": "x", "iat": 1000}, "", LIFE_S_DEFAULT, 1000.0),
        ({"exp": 10**400, "iat": 1000}, "", LIFE_S_MAX, 1000.0),
        ({"exp": DATE_WALL, "iat": 5}, DATE, None, None),
        ({"exp": 10**400, "iat": 10**400}, "", None, None),
    ],
)
def test_a_life_left_unstated_is_read_from_the_jwt(
    claims: dict[str, object], date: str, life_s: float | None, provider_now: float | None
) -> None:
    """By the provider's own clock: its Date, else iat; never by the device's."""
    found = read(answer({"access_token": unsigned_jwt(claims), "token_type": "Bearer"}, date=date))
    if life_s is None:
        assert isinstance(found, TokenRefusal)
        assert found.error == "bad_expires_in"
    else:
        assert isinstance(found, TokenGrant)
        assert (found.life_s, found.provider_now) == (life_s, provider_now)


@pytest.mark.parametrize("access_token", ["a.b", "a.b.c", "e30.e30.", "x" * 60_000 + "..", "!.!.!"])
def test_an_opaque_access_token_stays_opaque(access_token: str) -> None:
    """What looks like a JWT but is none gets the default life."""
    found = read(answer({"access_token": access_token, "token_type": "Bearer"}))
    assert isinstance(found, TokenGrant)
    assert found.life_s == LIFE_S_DEFAULT


BODIES = st.binary() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*GRANT, "error", "id_token"]), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@given(
    body=BODIES,
    status=st.integers(100, 599),
    content_type=st.sampled_from([JSON, "text/html", None]),
    retry_after=st.text(),
    date=st.text(),
)
@example(body=b'{"error":"hunter2"}', status=400, content_type=JSON, retry_after="", date="")
@example(body=json.dumps(GRANT).encode(), status=200, content_type=JSON, retry_after="", date=DATE)
def test_no_answer_raises_or_is_repeated(
    body: bytes, status: int, content_type: str | None, retry_after: str, date: str
) -> None:
    """Any bytes give a grant or one of our own words."""
    said = answer(body, status, content_type, retry_after=retry_after, date=date)
    found = read(said)
    if isinstance(found, TokenGrant):
        assert 0 < found.life_s <= LIFE_S_MAX
        return
    assert found.outcome is not Outcome.OK
    assert found.error in _KNOWN_ERRORS | {error for _, _, error in OUTCOMES}
    if found.outcome is Outcome.REJECTED:
        assert status in {400, 401}
        assert b"error" in body
    assert oauth.read_revocation_answer(said) in set(Outcome)
    for check in (is_portal, trouble):
        check(said)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 60 ", 60.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 5000, 3600.0),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        (DATE, 7.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 7.0),
        ("Sun Nov  6 08:49:37 1994", 7.0),
        ("Sun, 06 Nov 1994 08:49:30 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:29 GMT", 0.0),
        ("Sun, 06 Nov 2094 08:49:37 GMT", 3600.0),
        ("Sun, 99 Nov 1994 99:49:37 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(value: str | None, seconds: float | None) -> None:
    """Seconds or a date, from 0 to an hour; garbage counts as silence."""
    assert oauth.read_retry_after(value, wall=DATE_WALL - 7) == seconds


def test_retry_after_as_a_date_counts_from_the_providers_clock() -> None:
    """A device whose clock is wrong still waits as long as it was asked to."""
    said = answer(b"", 503, date="Sun, 06 Nov 1994 08:49:07 GMT", retry_after=DATE)
    found = oauth.read_token_answer(said, wall_received=0.0)
    assert isinstance(found, TokenRefusal)
    assert found.retry_after_s == 30.0


@given(st.text())
@example("Mon, 1 Jan 99999999999 00:00:00 GMT")
@example("1 Jan 0 0:0:0 +99999999999")
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    """A header is whatever the other side likes."""
    seconds = oauth.read_retry_after(text, wall=0.0)
    assert seconds is None or 0 <= seconds <= 3600
    date = oauth.read_date({"date": text})
    assert date is None or isinstance(date, float)


@given(now=st.floats(0, 4e9), sent=st.floats(0, 4e9), took=st.floats(0, 60), skew_s=st.floats(-1e6, 1e6))
def test_skew_is_taken_at_the_middle_of_the_exchange(now: float, sent: float, took: float, skew_s: float) -> None:
    """A provider ahead by so much that answers halfway is found ahead by exactly that."""
    assert oauth.estimate_skew_s(sent + took / 2 + skew_s, sent, sent + took) == pytest.approx(skew_s, abs=1e-5)


def test_discovery_reads_a_providers_own_description() -> None:
    """What is optional may be missing and what is unknown is ignored."""
    assert oauth.read_discovery(answer(DOCUMENT | {"x": [1], "userinfo_endpoint": None}), issuer=ISSUER) == METADATA
    assert oauth.discovery_request(f"{ISSUER}/").url == f"{ISSUER}/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(DOCUMENT | {"issuer": "https://evil.example"}), [ISSUER, "https://evil.example"]),
        (answer(DOCUMENT | {"issuer": f"{ISSUER}/"}), [f"{ISSUER}/'", "exactly"]),
        (answer(DOCUMENT | {"issuer": None}), [ISSUER, "None"]),
        (answer(b"{oops"), ["not a JSON object"]),
        (answer(b"[]"), ["not a JSON object"]),
        (answer(b"{}", 404), ["status 404", "check the issuer"]),
        (answer(HTML, 404, "text/html"), ["status 404"]),
        (
            answer({name: value for name, value in DOCUMENT.items() if name != "token_endpoint"}),
            ["lacks token_endpoint"],
        ),
        (answer(DOCUMENT | {"jwks_uri": ""}), ["lacks jwks_uri"]),
        (answer(DOCUMENT | {"jwks_uri": 7}), ["not text"]),
        (answer(DOCUMENT | {"token_endpoint": "http://id.example/token"}), ["token_endpoint", "https"]),
        (answer(DOCUMENT | {"revocation_endpoint": "ftp://id.example"}), ["revocation_endpoint", "https"]),
        (answer(DOCUMENT | {"jwks_uri": "https://[::1"}), ["jwks_uri", "https"]),
        (answer(DOCUMENT | {"jwks_uri": "https://id.example\n/x"}), ["jwks_uri", "https"]),
        (answer(DOCUMENT | {"jwks_uri": "https://user@id.example/x"}), ["jwks_uri", "https"]),
    ],
)
def test_a_wrong_discovery_document_is_named_in_one_sentence(said: WireAnswer, words: list[str]) -> None:
    """Whoever reads it knows what is wrong and what to do."""
    with pytest.raises(DiscoveryError) as caught:
        oauth.read_discovery(said, issuer=ISSUER)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False), Outcome.OFFLINE),
        (WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True), Outcome.TRANSIENT),
        (answer(HTML, 200, "text/html"), Outcome.OFFLINE),
        (answer(b"", 302, None), Outcome.OFFLINE),
        (answer(b"", 503), Outcome.TRANSIENT),
        (answer(b"", 504), Outcome.TRANSIENT),
        (answer(b"", 429), Outcome.THROTTLED),
    ],
)
def test_a_provider_that_does_not_answer_is_unreachable_with_its_outcome(said: Any, outcome: Outcome) -> None:
    """A discovery request carries no token, so nothing about it is ambiguous."""
    with pytest.raises(ProviderUnreachableError) as caught:
        oauth.read_discovery(said, issuer=ISSUER)
    assert caught.value.outcome == outcome
    assert ISSUER in str(caught.value)


@given(body=BODIES, status=st.integers(100, 599))
def test_no_discovery_answer_raises_anything_but_its_errors(body: bytes, status: int) -> None:
    """Any bytes are refused by name."""
    with pytest.raises((DiscoveryError, ProviderUnreachableError)):
        oauth.read_discovery(answer(body, status), issuer=ISSUER)


@pytest.mark.parametrize(
    ("url", "plain", "insecure"),
    [
        ("https://id.example", True, True),
        ("https://id.example:8443/x?y=1", True, True),
        ("http://localhost:8000", True, True),
        ("http://idp.localhost", True, True),
        ("http://127.9.9.9", True, True),
        ("http://[::1]:1", True, True),
        ("http://id.example", False, True),
        ("http://10.0.0.1", False, True),
        ("https://id.example#x", False, False),
        ("https://id.example:x", False, False),
        ("https://", False, False),
        ("//id.example", False, False),
        ("javascript:alert(1)", False, False),
        ("https://id.example/a b", False, False),
    ],
)
def test_secrets_go_only_to_https_or_to_this_machine(url: str, plain: bool, insecure: bool) -> None:  # noqa: FBT001
    """Plain http elsewhere needs the unsafe door."""
    assert oauth.is_secure_url(url) is plain
    assert oauth.is_secure_url(url, allow_insecure_http=True) is insecure


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "x" * 2049}, "client_id"),
        ({"auth_method": "private_key_jwt"}, "auth_method"),
        ({"client_secret": "x"}, "client_secret"),
        ({"auth_method": "client_secret_basic"}, "client_secret"),
        ({"auth_method": "client_secret_post", "client_secret": ""}, "client_secret"),
        ({"redirect_uri": "/cb"}, "redirect_uri"),
        ({"redirect_uri": "https://app.example/cb#x"}, "redirect_uri"),
        ({"scope": "x" * 2049}, "scope"),
    ],
)
def test_a_registration_out_of_bounds_is_refused_with_the_setting_to_change(changes: dict[str, Any], word: str) -> None:
    """The sentence names the field."""
    with pytest.raises(ConfigError, match=word):
        ClientRegistration(**({"client_id": "app"} | changes))


def test_a_login_request_is_code_with_pkce_state_and_nonce() -> None:
    """All that OIDC, PKCE and the call-back need, each drawn apart from the same source."""
    made = login()
    assert made.url.startswith(f"{ISSUER}/authorize?")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(made.url).query).items()}
    digest = base64.urlsafe_b64encode(hashlib.sha256(made.code_verifier.encode()).digest()).rstrip(b"=").decode()
    assert asked == {
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": "https://app.example/cb",
        "scope": "openid api offline_access",
        "state": made.state,
        "nonce": made.nonce,
        "code_challenge": digest,
        "code_challenge_method": "S256",
    }
    assert len({made.state, made.nonce, made.code_verifier}) == 3
    assert {len(made.state), len(made.nonce), len(made.code_verifier)} == {43}
    assert made.return_to == "/chat?a=1"


def test_a_login_request_can_be_silent() -> None:
    """prompt=none asks without showing anything."""
    made = oauth.make_login_request(METADATA, PUBLIC, entropy=zeros, return_to="/", prompt="none")
    assert "prompt=none" in made.url


@pytest.mark.parametrize("prompt", ["", "maybe", "none login"])
def test_an_unknown_prompt_is_refused(prompt: str) -> None:
    """Only the words of OIDC Core §3.1.2.1, one at a time."""
    with pytest.raises(ConfigError, match="prompt"):
        oauth.make_login_request(METADATA, PUBLIC, entropy=zeros, return_to="/", prompt=prompt)


def test_a_login_without_a_redirect_uri_is_refused() -> None:
    """A client of the machine-to-machine kind has none."""
    with pytest.raises(ConfigError, match="redirect_uri"):
        oauth.make_login_request(METADATA, BASIC, entropy=zeros, return_to="/")


@pytest.mark.parametrize(
    "return_to",
    [
        "",
        "chat",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/a b",
        "/\n",
        "https://evil.example",
        "/" * 1 + "x" * 2048,
    ],
)
def test_the_place_to_return_to_is_never_another_site(return_to: str) -> None:
    """No open redirect, also not through what browsers make of odd characters."""
    with pytest.raises(ConfigError, match="path of this app"):
        login(return_to=return_to)


def callback(**changes: str | None) -> str:
    said = {"code": "the-code", "state": login().state} | changes
    return "&".join(f"{name}={value}" for name, value in said.items() if value is not None)


@pytest.mark.parametrize("form", ["https://app.example/cb?{}", "/cb?{}#x", "{}"])
def test_a_callback_gives_its_code_in_any_form(form: str) -> None:
    """As a URL, a path or a bare query, or as parameters."""
    assert oauth.read_callback(form.format(callback()), login(), metadata=METADATA) == "the-code"
    pairs = parse_qsl(callback(iss=ISSUER))
    assert oauth.read_callback(pairs, login(), metadata=METADATA) == "the-code"
    assert oauth.read_callback(dict(pairs), login(), metadata=METADATA) == "the-code"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "does not belong"),
        (callback(state=None), "does not belong"),
        (callback(state="x"), "does not belong"),
        (callback(state=""), "does not belong"),
        (f"{callback()}&state=x", "twice"),
        (f"{callback()}&code=x", "twice"),
        (callback(iss="https://evil.example"), "another provider"),
        (callback(error="access_denied", code=None), "access_denied"),
        (callback(error="login_required"), "login_required"),
        (callback(error="hunter2"), "other"),
        (callback(code=None), "no code"),
        (callback(code=""), "no code"),
    ],
)
def test_a_callback_that_cannot_be_trusted_is_refused_in_one_sentence(said: str, words: str) -> None:
    """A wrong, missing or repeated state, another issuer, an error, no code."""
    with pytest.raises(ProviderError, match=words) as caught:
        oauth.read_callback(said, login(), metadata=METADATA)
    assert "hunter2" not in str(caught.value)
    assert "the-code" not in str(caught.value)


def test_a_provider_that_promises_iss_must_send_it() -> None:
    """RFC 9207 §2.4: leaving it out is how a mix-up attack would look."""
    promised = ProviderMetadata(**DOCUMENT, authorization_response_iss_parameter_supported=True)
    with pytest.raises(ProviderError, match="another provider"):
        oauth.read_callback(callback(), login(), metadata=promised)
    assert oauth.read_callback(callback(iss=ISSUER), login(), metadata=promised) == "the-code"


@given(st.text() | st.lists(st.tuples(st.text() | st.just("state"), st.text())))
@example([("state", "\ud800")])
@example("?" * 5000)
@example("a&" * 5000)
def test_no_callback_raises_anything_but_a_provider_error(said: Any) -> None:
    """Whatever a browser is made to send."""
    with pytest.raises(ProviderError):
        oauth.read_callback(said, login(), metadata=METADATA)


def form_of(request: Any) -> dict[str, str]:
    assert request.method == "POST"
    assert ("content-type", "application/x-www-form-urlencoded") in request.headers
    return dict(parse_qsl(request.body.decode(), strict_parsing=True))


def test_a_public_client_names_itself_in_the_form() -> None:
    """Without a secret the client_id goes along."""
    request = oauth.code_request(METADATA, PUBLIC, code="c", code_verifier="v", timeout_s=3.0)
    assert (request.url, request.timeout_s) == (METADATA.token_endpoint, 3.0)
    assert form_of(request) == {
        "grant_type": "authorization_code",
        "code": "c",
        "redirect_uri": "https://app.example/cb",
        "code_verifier": "v",
        "client_id": "app",
    }


def test_a_secret_goes_encoded_into_the_header_or_into_the_form() -> None:
    """RFC 6749 §2.3.1, both ways."""
    basic = oauth.refresh_request(METADATA, BASIC, "r")
    raw = base64.b64decode(dict(basic.headers)["authorization"].removeprefix("Basic ")).decode()
    assert raw == "a+b:s3cr3t%3A%2F%2B+%C3%A9"
    assert form_of(basic) == {"grant_type": "refresh_token", "refresh_token": "r"}
    post = oauth.refresh_request(METADATA, POST, "r")
    assert form_of(post) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": "app",
        "client_secret": SECRET,
    }
    assert "authorization" not in dict(post.headers)


def test_client_credentials_ask_for_no_users_scopes() -> None:
    """The scope openid speaks of a user, and here is none."""
    assert form_of(oauth.client_credentials_request(METADATA, BASIC)) == {
        "grant_type": "client_credentials",
        "scope": "api",
    }
    assert "scope" not in form_of(oauth.client_credentials_request(METADATA, POST))
    with pytest.raises(ConfigError, match="client_secret"):
        oauth.client_credentials_request(METADATA, PUBLIC)


def test_a_refresh_token_is_given_back_where_that_is_possible() -> None:
    """RFC 7009; a provider without a revocation endpoint takes none."""
    request = oauth.revocation_request(METADATA, PUBLIC, "r")
    assert request is not None
    assert form_of(request) == {"token": "r", "token_type_hint": "refresh_token", "client_id": "app"}
    bare = ProviderMetadata(**{name: value for name, value in DOCUMENT.items() if name != "revocation_endpoint"})
    assert oauth.revocation_request(bare, PUBLIC, "r") is None


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (answer(b"", 200, None), Outcome.OK),
        (answer(b"", 200, "text/html"), Outcome.OK),
        (answer(HTML, 200, "text/html"), Outcome.OFFLINE),
        (answer(b"", 302, None), Outcome.OFFLINE),
        (answer({"error": "unsupported_token_type"}, 400), Outcome.CONFIG),
        (answer(b"", 503), Outcome.TRANSIENT),
        (WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True), Outcome.AMBIGUOUS),
    ],
)
def test_a_revocation_has_an_outcome_too(said: Any, outcome: Outcome) -> None:
    """RFC 7009 §2.2: the body of a 200 means nothing."""
    assert oauth.read_revocation_answer(said) == outcome


AFTERWARDS: dict[str, Any] = {
    "post_logout_redirect_uri": "https://app.example/",
    "state": "s",
    "id_token_hint": "i.d.t",
}


def test_signing_out_at_the_provider_has_an_address() -> None:
    """RP-initiated logout, with a query of the provider's own kept; None where there is no such place."""
    request = oauth.end_session_request(METADATA, PUBLIC, **AFTERWARDS)
    assert request is not None
    assert request.url == f"{ISSUER}/end?tenant=1"
    assert request.form == {
        "client_id": "app",
        "post_logout_redirect_uri": "https://app.example/",
        "state": "s",
        "id_token_hint": "i.d.t",
    }
    bare = ProviderMetadata(**{name: value for name, value in DOCUMENT.items() if name != "end_session_endpoint"})
    assert oauth.end_session_request(bare, PUBLIC, **AFTERWARDS) is None


def test_an_id_token_is_in_no_address_and_no_repr() -> None:
    """A provider that takes no POST gets none; a form that holds one does not show it."""
    linked = oauth.end_session_request(METADATA, PUBLIC, posted=False, **AFTERWARDS)
    posted = oauth.end_session_request(METADATA, PUBLIC, **AFTERWARDS)
    assert linked is not None
    assert linked.form == {}
    assert (
        linked.url
        == f"{ISSUER}/end?tenant=1&client_id=app&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2F&state=s"
    )
    assert "i.d.t" not in repr(posted)


def test_keys_are_asked_for_without_a_secret() -> None:
    """A GET that says it wants JSON."""
    request = oauth.keys_request(METADATA)
    assert (request.method, request.url, request.body) == ("GET", METADATA.jwks_uri, b"")
    assert request.headers == (("accept", "application/json"),)


@pytest.mark.parametrize(
    "shown", [grant(id_token="opaque-id"), BASIC, POST, login(), oauth.refresh_request(METADATA, POST, "r")]
)
def test_no_secret_shows_in_a_repr(shown: Any) -> None:
    """Not by repr, not by str, and for what holds tokens for long not by rich either."""
    made = login()
    secrets = ["opaque", SECRET, "s3cr3t", made.state, made.nonce, made.code_verifier]
    texts = [repr(shown), str(shown), f"{shown}"]
    if isinstance(shown, TokenGrant | ClientRegistration):
        texts.append(repr(list(shown.__rich_repr__())))
    assert not [secret for secret in secrets for text in texts if secret in text]


def test_an_object_of_any_size_that_is_read_is_bounded() -> None:
    """A document of a thousand members is no answer."""
    assert read_object(json.dumps({str(n): n for n in range(1001)}).encode()) is None
