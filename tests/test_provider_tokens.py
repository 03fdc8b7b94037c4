"""Tokens of the embedded provider: given, rotated, replayed, reused, revoked and looked at."""

from __future__ import annotations

import json
import random

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from provider_kit import (
    CALLBACK,
    FORM,
    ISSUER,
    SERVICE,
    START_S,
    VERIFIER,
    Driver,
    bearer,
    config,
    error_of,
    said,
)
from tries import tries

from session_core.errors import ConfigError
from session_core.provider import (
    AccessTokenFormat,
    Client,
    EmbeddedProvider,
    ProviderConfig,
    SigningAlg,
    User,
    demo_clients,
)
from session_core.provider.inbound import BODY_BYTES_MAX, FORM_BYTES_MAX, read
from session_core.wire import WireRequest

GUESSES = ["", "x", ".", "rt_x.0.y", "rt_x.99999999999999999999.y"]


def test_a_code_buys_tokens_once_and_a_second_use_revokes_them() -> None:
    """RFC 6749 §4.1.2."""
    driver = Driver()
    code = driver.code()
    answer = driver.exchange(code)
    assert answer.headers["cache-control"] == "no-store"
    tokens = said(answer)
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    assert tokens["scope"] == "openid profile email api"
    assert driver.works(tokens["access_token"])
    assert error_of(driver.exchange(code)) == (400, "invalid_grant")
    assert not driver.works(tokens["access_token"])
    assert error_of(driver.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize(("late_s", "status"), [(59.999, 200), (60.0, 400), (61.0, 400)])
def test_a_code_is_dead_on_its_last_second(late_s: float, status: int) -> None:
    """Expired means on or after."""
    driver = Driver()
    code = driver.code()
    driver.now += late_s
    assert driver.exchange(code).status == status


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code": "guess"}, (400, "invalid_grant")),
        ({"redirect_uri": "http://localhost:8501/auth/callback"}, (400, "invalid_grant")),
        ({"code_verifier": "w" * 43}, (400, "invalid_grant")),
        ({"code_verifier": "short"}, (400, "invalid_grant")),
        ({"code_verifier": "é" * 43}, (400, "invalid_grant")),
        ({"code_verifier": ""}, (400, "invalid_grant")),
        ({"code": ""}, (400, "invalid_request")),
        ({"client_id": "stranger"}, (401, "invalid_client")),
        ({"client_id": "session-lab-service"}, (401, "invalid_client")),
        ({"client_secret": "public clients have none"}, (401, "invalid_client")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": ""}, (400, "invalid_request")),
        ({"grant_type": "client_credentials"}, (400, "unauthorized_client")),
    ],
)
def test_a_wrong_exchange_is_refused_in_the_words_of_the_rfc(changed: dict[str, str], error: tuple[int, str]) -> None:
    """RFC 6749 §5.2."""
    driver = Driver()
    assert error_of(driver.exchange(**{"code": driver.code(), **changed})) == error


def test_a_code_of_another_client_is_refused() -> None:
    """A stolen code needs its own client."""
    driver = Driver()
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    assert error_of(driver.post("/token", basic=SERVICE, code=driver.code(), **form)) == (400, "invalid_grant")


def test_a_confidential_client_can_run_the_whole_flow() -> None:
    """With its secret in the header or in the body."""
    driver = Driver()
    code = driver.code(client_id=SERVICE[0])
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    tokens = said(driver.post("/token", basic=SERVICE, **form))
    assert driver.refresh(tokens["refresh_token"], client_id=SERVICE[0], client_secret=SERVICE[1]).status == 200


def test_a_client_that_fails_to_prove_itself_is_challenged() -> None:
    """401 with a Basic challenge."""
    answer = Driver().post("/token", basic=(SERVICE[0], "wrong"), grant_type="client_credentials")
    assert error_of(answer) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_one_proof_per_request() -> None:
    """RFC 6749 §2.3: two ways at once are refused, and so are two names."""
    driver = Driver()
    both = driver.post("/token", basic=SERVICE, grant_type="client_credentials", client_secret=SERVICE[1])
    assert error_of(both) == (400, "invalid_request")
    other = driver.post("/token", basic=SERVICE, grant_type="client_credentials", client_id="session-lab")
    assert error_of(other) == (400, "invalid_request")


@pytest.mark.parametrize("header", ["Basic !!!", "Basic bm9jb2xvbg==", "Basic /w=="])
def test_a_broken_basic_header_is_an_invalid_request(header: str) -> None:
    """Not base64, no colon, not UTF-8."""
    answer = Driver().send(
        "POST", "/token", body=b"grant_type=x", headers=(("Authorization", header), ("Content-Type", FORM))
    )
    assert error_of(answer) == (400, "invalid_request")


def test_two_credentials_are_none() -> None:
    """Repeated headers are joined, and what is joined opens nothing."""
    driver = Driver()
    token = driver.tokens()["access_token"]
    assert driver.send("GET", "/api/echo", headers=bearer(token) + bearer(token)).status == 401


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"grant_type=a&grant_type=a", FORM, 400),
        (b"a=%ff", FORM, 400),
        (b"\xff", FORM, 400),
        (b"&".join(b"k%d=1" % n for n in range(100)), FORM, 400),
        (b"a=" + b"b" * FORM_BYTES_MAX, FORM, 413),
        (b"a=" + b"b" * BODY_BYTES_MAX, FORM, 413),
        (b'{"grant_type": "refresh_token"}', "application/json", 400),
        (b"", FORM, 401),
    ],
)
def test_a_malformed_body_is_refused(body: bytes, content_type: str, status: int) -> None:
    """Strict in what it accepts: a test double that forgives hides its client's mistakes."""
    assert Driver().send("POST", "/token", body=body, headers=(("Content-Type", content_type),)).status == status


def test_the_wrong_method_or_address_is_said() -> None:
    """405 names what is allowed; a path outside the issuer's is nowhere."""
    driver = Driver()
    answer = driver.get("/token")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert driver.get("/nothing").status == 404
    assert driver.get("http://idp.test/other/token").status == 404
    assert driver.get("http://idp.test/idpx").status == 404


def test_a_head_request_has_the_length_without_the_body() -> None:
    """RFC 9110 §9.3.2."""
    driver = Driver()
    answer = driver.send("HEAD", "/jwks")
    assert (answer.body, answer.headers["content-length"]) == (b"", str(len(driver.get("/jwks").body)))


@pytest.mark.parametrize(("age_s", "works"), [(9.999, True), (10.0, False), (11.0, False)])
def test_an_access_token_is_dead_on_its_last_second(age_s: float, works: bool) -> None:  # noqa: FBT001
    """RFC 7519 §4.1.4: not accepted on or after exp."""
    driver = Driver(access_ttl_s=10)
    token = driver.tokens()["access_token"]
    driver.now += age_s
    assert driver.works(token) is works


@pytest.mark.parametrize(("age_s", "status"), [(99.9, 200), (100.0, 400)])
def test_a_refresh_token_is_dead_on_its_last_second(age_s: float, status: int) -> None:
    """Counted from its own issue, so that rotation keeps the family alive."""
    driver = Driver(refresh_ttl_s=100)
    tokens = driver.tokens()
    driver.now += 60
    tokens = said(driver.refresh(tokens["refresh_token"]))
    driver.now += age_s
    assert driver.refresh(tokens["refresh_token"]).status == status


def test_refreshing_rotates_and_the_old_access_token_lives_to_its_end() -> None:
    """A new pair, the same scope, an id token without the nonce's absence or change."""
    driver = Driver()
    old = driver.tokens()
    driver.now += 100
    new = said(driver.refresh(old["refresh_token"]))
    assert new["refresh_token"] != old["refresh_token"]
    assert new["scope"] == old["scope"]
    assert "id_token" in new
    assert driver.works(old["access_token"])
    assert driver.works(new["access_token"])


def test_the_id_token_can_be_left_out_of_refreshes() -> None:
    """Providers differ (OpenID Connect Core §12.2)."""
    driver = Driver(id_token_on_refresh=False)
    old = driver.tokens()
    assert "id_token" in old
    assert "id_token" not in said(driver.refresh(old["refresh_token"]))


def test_a_spent_refresh_token_revokes_its_whole_family() -> None:
    """Without a grace window, even at once; access tokens of the family stop working too."""
    driver = Driver()
    first = driver.tokens()
    second = said(driver.refresh(first["refresh_token"]))
    assert error_of(driver.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert error_of(driver.refresh(second["refresh_token"])) == (400, "invalid_grant")
    assert not driver.works(first["access_token"])
    assert not driver.works(second["access_token"])
    assert driver.provider.statistics().reuse_events == 1
    assert driver.provider.statistics().families_revoked == 1


def test_reuse_in_one_family_leaves_others_alone() -> None:
    """Two devices of one user are two families."""
    driver = Driver()
    spent, other = driver.tokens(), driver.tokens()
    driver.refresh(spent["refresh_token"])
    driver.refresh(spent["refresh_token"])
    assert driver.works(other["access_token"])
    assert driver.refresh(other["refresh_token"]).status == 200


@pytest.mark.parametrize(("late_s", "status"), [(0.0, 200), (29.999, 200), (30.0, 400), (31.0, 400)])
def test_inside_the_grace_window_a_replay_gets_the_same_successor(late_s: float, status: int) -> None:
    """And what is left of its life, not the whole of it again."""
    driver = Driver(grace_s=30)
    first = driver.tokens()
    second = said(driver.refresh(first["refresh_token"]))
    driver.now += late_s
    replay = driver.refresh(first["refresh_token"])
    assert replay.status == status
    if status == 200:
        assert said(replay) == {**second, "expires_in": int(3600 - late_s)}
        assert driver.provider.statistics().replays_answered == 1
        assert driver.refresh(second["refresh_token"]).status == 200
    else:
        assert not driver.works(second["access_token"])


@pytest.mark.parametrize("late_s", [4.5, 5.0, 29.0])
def test_a_replay_after_the_access_token_gets_one_that_lives(late_s: float) -> None:
    """The successor is the same refresh token; an answer whose access token is over would be of no use."""
    driver = Driver(grace_s=30, access_ttl_s=5)
    first = driver.tokens()
    second = said(driver.refresh(first["refresh_token"]))
    driver.now += late_s
    replay = said(driver.refresh(first["refresh_token"]))
    assert (replay["expires_in"], replay["refresh_token"]) == (5, second["refresh_token"])
    assert driver.works(replay["access_token"])
    assert said(driver.refresh(first["refresh_token"])) == replay
    assert driver.refresh(second["refresh_token"]).status == 200


def test_grace_covers_only_the_token_just_spent() -> None:
    """The one before it is reuse, also inside the window."""
    driver = Driver(grace_s=30)
    first = driver.tokens()
    second = said(driver.refresh(first["refresh_token"]))
    driver.refresh(second["refresh_token"])
    assert error_of(driver.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert driver.provider.statistics().reuse_events == 1


def test_without_rotation_the_same_refresh_token_goes_on() -> None:
    """The answer then leaves it out, as many providers do."""
    driver = Driver(rotates=False)
    tokens = driver.tokens()
    answers = [said(driver.refresh(tokens["refresh_token"])) for _ in range(3)]
    assert all("refresh_token" not in answer for answer in answers)
    assert len({answer["access_token"] for answer in answers}) == 3


def test_a_refresh_may_narrow_the_scope_and_never_widen_it() -> None:
    """RFC 6749 §6; a refusal spends nothing."""
    driver = Driver()
    tokens = driver.tokens(scope="openid api")
    assert error_of(driver.refresh(tokens["refresh_token"], scope="openid email")) == (400, "invalid_scope")
    narrow = said(driver.refresh(tokens["refresh_token"], scope="api"))
    assert narrow["scope"] == "api"
    assert driver.get("/userinfo", token=narrow["access_token"]).status == 403
    assert said(driver.refresh(narrow["refresh_token"]))["scope"] == "openid api"


@pytest.mark.parametrize(
    "guess",
    [*GUESSES[1:], "{family}.1.00", "{family}.0.00", "{family}.00.{mac}", "{family}.².", "{family}." + "9" * 5000],
)
def test_a_guessed_refresh_token_opens_and_revokes_nothing(guess: str) -> None:
    """Only a token that was really issued counts as reuse."""
    driver = Driver()
    tokens = driver.tokens()
    family, _, mac = tokens["refresh_token"].split(".")
    assert error_of(driver.refresh(guess.format(family=family, mac=mac))) == (400, "invalid_grant")
    assert driver.refresh(tokens["refresh_token"]).status == 200


def test_another_clients_refresh_token_is_refused_and_unharmed() -> None:
    """RFC 6749 §6: bound to the client it was issued to."""
    driver = Driver()
    tokens = driver.tokens()
    stolen = driver.refresh(tokens["refresh_token"], client_id=SERVICE[0], client_secret=SERVICE[1])
    assert error_of(stolen) == (400, "invalid_grant")
    assert driver.refresh(tokens["refresh_token"]).status == 200


def test_client_credentials_give_an_access_token_only() -> None:
    """RFC 6749 §4.4.3."""
    driver = Driver()
    tokens = said(driver.post("/token", basic=SERVICE, grant_type="client_credentials"))
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert said(driver.get("/api/echo", token=tokens["access_token"]))["subject"] == SERVICE[0]
    assert driver.get("/userinfo", token=tokens["access_token"]).status == 403
    wide = driver.post("/token", basic=SERVICE, grant_type="client_credentials", scope="openid")
    assert error_of(wide) == (400, "invalid_scope")


def test_revoking_a_refresh_token_ends_its_family() -> None:
    """RFC 7009 §2.1, access tokens included."""
    driver = Driver()
    tokens = driver.tokens()
    assert driver.post("/revoke", client_id="session-lab", token=tokens["refresh_token"]).status == 200
    assert driver.refresh(tokens["refresh_token"]).status == 400
    assert not driver.works(tokens["access_token"])
    again = driver.post("/revoke", client_id="session-lab", token=tokens["refresh_token"])
    assert (again.status, driver.provider.statistics().families_revoked) == (200, 1)


def test_revoking_an_access_token_ends_only_that_one() -> None:
    """The session goes on with its refresh token."""
    driver = Driver()
    tokens = driver.tokens()
    assert driver.post("/revoke", client_id="session-lab", token=tokens["access_token"]).status == 200
    assert not driver.works(tokens["access_token"])
    assert driver.refresh(tokens["refresh_token"]).status == 200


@pytest.mark.parametrize("guess", GUESSES[1:])
def test_revoking_an_unknown_token_is_fine(guess: str) -> None:
    """RFC 7009 §2.2: the client's purpose is fulfilled already."""
    assert Driver().post("/revoke", client_id="session-lab", token=guess).status == 200


def test_another_clients_token_cannot_be_revoked() -> None:
    """Neither kind; a missing token is an invalid request."""
    driver = Driver()
    tokens = driver.tokens()
    for kind in ("access_token", "refresh_token"):
        assert error_of(driver.post("/revoke", basic=SERVICE, token=tokens[kind])) == (400, "invalid_grant")
    assert driver.works(tokens["access_token"])
    assert error_of(driver.post("/revoke", client_id="session-lab")) == (400, "invalid_request")


def test_introspection_tells_a_confidential_client_what_a_token_is() -> None:
    """RFC 7662: both kinds, and nothing but `active` of what is not valid."""
    driver = Driver()
    tokens = driver.tokens()
    access = said(driver.post("/introspect", basic=SERVICE, token=tokens["access_token"]))
    assert access == {
        "active": True,
        "token_type": "access_token",
        "client_id": "session-lab",
        "sub": "ada",
        "iss": ISSUER,
        "scope": "openid api",
        "iat": int(START_S),
        "exp": int(START_S) + 3600,
    }
    refresh = said(driver.post("/introspect", basic=SERVICE, token=tokens["refresh_token"]))
    assert (refresh["active"], refresh["token_type"]) == (True, "refresh_token")
    driver.refresh(tokens["refresh_token"])
    assert said(driver.post("/introspect", basic=SERVICE, token=tokens["refresh_token"])) == {"active": False}
    assert said(driver.post("/introspect", basic=SERVICE, token="guess")) == {"active": False}


def test_introspection_is_not_for_public_clients() -> None:
    """Anyone could ask otherwise."""
    assert error_of(Driver().post("/introspect", client_id="session-lab", token="x")) == (403, "unauthorized_client")


def test_userinfo_tells_what_the_scope_allows() -> None:
    """OpenID Connect Core §5.4."""
    driver = Driver()
    bare = driver.tokens(scope="openid")["access_token"]
    assert said(driver.get("/userinfo", token=bare)) == {"sub": "ada"}
    full = driver.tokens(scope="openid profile email")["access_token"]
    assert said(driver.send("POST", "/userinfo", headers=bearer(full))) == {
        "sub": "ada",
        "name": "Ada Lovelace",
        "preferred_username": "ada",
        "email": "ada@example.org",
    }


def test_a_jwt_access_token_is_what_rfc_9068_asks_for() -> None:
    """Typed, addressed to the API, signed by a published key."""
    driver = Driver(access_token_format=AccessTokenFormat.JWT)
    token = driver.tokens()["access_token"]
    key = jwt.PyJWKSet.from_dict(said(driver.get("/jwks")))[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=f"{ISSUER}/api", options={"verify_iat": False})
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert (claims["iss"], claims["sub"], claims["client_id"]) == (ISSUER, "ada", "session-lab")
    assert claims["exp"] - claims["iat"] == 3600
    assert driver.works(token)


def test_no_private_part_of_a_key_is_published() -> None:
    """Neither of an RSA nor of an EC key."""
    for alg in SigningAlg:
        keys = said(Driver(signing_alg=alg).get("/jwks"))["keys"]
        assert all(not key.keys() & {"d", "p", "q", "dp", "dq", "qi"} for key in keys)
        assert [key["alg"] for key in keys] == [alg]


def test_every_answer_carries_the_providers_date() -> None:
    """The client's estimate of the skew hangs on it."""
    driver = Driver()
    for answer in (driver.get("/jwks"), driver.refresh("guess"), driver.authorize(), driver.get("/nothing")):
        assert answer.headers["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"


def test_what_it_did_is_counted_and_told_without_secrets() -> None:
    """Statistics by endpoint and outcome; the audit names people and clients, never tokens."""
    driver = Driver()
    tokens = said(driver.exchange(driver.code()))
    driver.refresh(tokens["refresh_token"])
    driver.refresh(tokens["refresh_token"])
    statistics = driver.provider.statistics()
    assert statistics.requests == {"authorize": {"ok": 1}, "token": {"ok": 2, "invalid_grant": 1}}
    assert statistics.facts == {
        "signed_in": 1,
        "code_issued": 1,
        "tokens_issued": 1,
        "tokens_refreshed": 1,
        "reuse_detected": 1,
        "family_revoked": 1,
    }
    assert (statistics.families_held, statistics.access_tokens_held) == (1, 2)
    facts = driver.provider.audit()
    assert [fact.what for fact in facts][-2:] == ["reuse_detected", "family_revoked"]
    shown = repr((facts, statistics, driver.provider.config))
    assert not any(secret in shown for secret in driver.provider.issued_secrets())


def test_every_issued_secret_is_kept_for_leak_tests() -> None:
    """Tokens, codes, cookies and client secrets, and an honest refusal when there are too many."""
    driver = Driver()
    code = driver.code()
    tokens = said(driver.exchange(code))
    assert driver.cookie
    cookie = driver.cookie.partition("=")[2]
    issued = {code, cookie, SERVICE[1], *(tokens[kind] for kind in ("access_token", "refresh_token", "id_token"))}
    assert issued == set(driver.provider.issued_secrets())
    small = EmbeddedProvider(config(), entropy=random.Random(1).randbytes, secrets_max=1)
    small.tokens_for("ada", now=START_S)
    with pytest.raises(ConfigError, match="secrets_max is 1; 4 were issued"):
        small.issued_secrets()


def test_no_repr_shows_a_secret() -> None:
    """Neither answers, requests, grants nor clients."""
    driver = Driver(grace_s=30)
    tokens = said(driver.refresh(driver.tokens()["refresh_token"]))
    grants = driver.provider._parts.grants
    family = grants.find_family(tokens["refresh_token"], now=driver.now)
    assert family
    shown = repr(
        (
            driver.refresh(tokens["refresh_token"]),
            family,
            family.successor,
            driver.provider.config.users,
            driver.provider.config.clients,
            driver.provider._parts,
            read(WireRequest(method="GET", url=ISSUER, headers=bearer(tokens["access_token"])), below="/idp"),
        )
    )
    assert not any(secret in shown for secret in driver.provider.issued_secrets())
    assert "'demo'" not in shown


def test_what_has_expired_is_forgotten() -> None:
    """Months of refreshing hold a handful of tokens."""
    driver = Driver(access_ttl_s=60, refresh_ttl_s=600)
    for _ in range(10):
        driver.code()
    abandoned = [driver.tokens() for _ in range(20)]
    tokens = driver.tokens()
    for _ in range(200):
        driver.now += 50
        tokens = said(driver.refresh(tokens["refresh_token"]))
        driver.code(), driver.tokens()
    assert abandoned
    statistics = driver.provider.statistics()
    assert statistics.families_held < 40
    assert statistics.access_tokens_held < 10
    assert len(driver.provider._parts.grants._codes) < 5


def test_the_same_entropy_gives_the_same_tokens() -> None:
    """A simulation must replay; opaque tokens depend on nothing else."""
    one, two = (Driver().tokens(scope="api") for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"issuer": "idp.test"}, "issuer is 'idp.test'; give an http or https URL"),
        ({"issuer": "http://idp.test/"}, "without a slash at its end"),
        ({"issuer": "http://idp.test?x"}, "without a query"),
        ({"issuer": "http://[bad"}, "issuer is"),
        ({"access_ttl_s": 0.5}, "access_ttl_s is 0.5; set it between 1 and"),
        ({"access_ttl_s": float("nan")}, "access_ttl_s must be a number"),
        ({"refresh_ttl_s": 0}, "refresh_ttl_s is 0; set it between"),
        ({"grace_s": -1}, "grace_s is -1; set it between 0 and 86400"),
        ({"code_ttl_s": 601}, "code_ttl_s is 601; set it between 1 and 600"),
        ({"session_ttl_s": 0}, "session_ttl_s is 0; set it between"),
        ({"access_token_format": "saml"}, "access_token_format is 'saml'; choose one of jwt, opaque"),
        ({"signing_alg": "none"}, "signing_alg is 'none'; choose one of RS256, ES256"),
        ({"clients": ()}, "clients holds nothing"),
        ({"users": (User(username="a", name="", email=""),) * 2}, "users holds a, a"),
    ],
)
def test_a_setting_out_of_range_is_named_with_what_is_allowed(changed: dict[str, object], message: str) -> None:
    """One sentence that says what to do."""
    with pytest.raises(ConfigError) as raised:
        config(**changed)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"client_id": ""}, "client_id is empty"),
        ({"client_id": "a", "secret": ""}, "secret of client 'a' is empty"),
        ({"client_id": "a", "redirect_uris": ("app://x",)}, "redirect_uris is 'app://x'"),
        ({"client_id": "a", "redirect_uris": ("http://x/#y",)}, "no fragment"),
    ],
)
def test_a_client_that_cannot_work_is_refused(told: dict[str, object], message: str) -> None:
    """At registration, not at the first sign-in."""
    with pytest.raises(ConfigError) as raised:
        Client(**told)
    assert message in str(raised.value)


def test_the_demo_clients_take_their_addresses_and_secret_from_the_caller() -> None:
    """The app knows its own port."""
    clients = demo_clients(redirect_uris=("http://127.0.0.1:1/cb",), service_secret="told")
    assert [client.redirect_uris for client in clients] == [("http://127.0.0.1:1/cb",)] * 2
    assert clients[1].secret == "told"
    assert ProviderConfig(clients=clients).at("http://127.0.0.1:2").issuer == "http://127.0.0.1:2"


METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "TRACE"])
PATHS = st.sampled_from(["/", "/token", "/authorize", "/revoke", "/introspect", "/userinfo", "/end-session"])
APIS = st.sampled_from(["/api/echo", "/api/chat", "/api/slow", "/jwks", "/.well-known/openid-configuration"])
WORDS = st.sampled_from(["client_id", "session-lab", "token", "refresh_token", "grant_type", "=", "&", "%ff", "\ud800"])


@settings(deadline=None, max_examples=tries(300, in_ci=100))
@given(
    method=METHODS,
    path=PATHS | APIS | st.text(max_size=5),
    query=st.lists(WORDS | st.text(max_size=3), max_size=8).map("".join),
    body=st.binary(max_size=60) | st.lists(WORDS, max_size=8).map(lambda w: "".join(w).encode("utf-8", "replace")),
    authorization=st.sampled_from(["Bearer ", "Basic ", "Bearer x", "Basic c2Vzc2lvbi1sYWI6", ""]),
)
def test_any_request_gets_an_answer(method: str, path: str, query: str, body: bytes, authorization: str) -> None:
    """Whatever comes in is answered with a status below 500 and no exception."""
    driver = Driver()
    headers = (("Content-Type", FORM), ("Authorization", authorization), ("Cookie", query))
    request = WireRequest(method=method, url=f"{ISSUER}{path}?{query}", headers=headers, body=body)
    assert driver.provider.handle(request, now=START_S).status < 500


class Families(RuleBasedStateMachine):
    """Clients refresh, replay and reuse as they like; a model of what must still work says what they may get."""

    valid = Bundle("valid")
    spent = Bundle("spent")

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(grace_s=10, access_ttl_s=100, refresh_ttl_s=1000)
        self.alive: dict[str, bool] = {}
        self.access: dict[str, list[tuple[str, float]]] = {}
        self.reuses = 0

    @rule(target=valid)
    def signs_in(self) -> tuple[str, str]:
        tokens = self.driver.tokens(scope="api")
        family = tokens["refresh_token"].split(".")[0]
        self.alive[family] = True
        self.access[family] = [(tokens["access_token"], self.driver.now + 100)]
        return family, tokens["refresh_token"]

    @rule(target=spent, held=consumes(valid))
    def refreshes(self, held: tuple[str, str]) -> tuple[str, str, float, dict[str, object]]:
        family, token = held
        answer = self.driver.refresh(token)
        assert answer.status == (200 if self.alive[family] else 400)
        got = said(answer)
        if answer.status == 200:
            self.access[family].append((got["access_token"], self.driver.now + 100))
        return family, token, self.driver.now, got

    @rule(target=valid, old=consumes(spent))
    def goes_on_with_the_successor(self, old: tuple[str, str, float, dict[str, str]]) -> tuple[str, str]:
        family, _, _, got = old
        return family, got.get("refresh_token", "rt_none.0.x")

    @rule(old=spent)
    def replays(self, old: tuple[str, str, float, dict[str, str]]) -> None:
        family, token, at, got = old
        answer = self.driver.refresh(token)
        if self.alive[family] and self.driver.now < at + 10:
            assert said(answer)["refresh_token"] == got["refresh_token"]
        else:
            assert answer.status == 400
            self.reuses += self.alive[family]
            self.alive[family] = False

    @rule(seconds=st.sampled_from([1.0, 5.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.driver.now += seconds
        # Families must not run out here: their end by age is tested on its own.
        self.driver.now = min(self.driver.now, START_S + 999)

    @invariant()
    def exactly_the_living_work(self) -> None:
        for family, issued in self.access.items():
            for token, expires_at in issued:
                assert self.driver.works(token) is (self.alive[family] and self.driver.now < expires_at)
        assert self.driver.provider.statistics().reuse_events == self.reuses


Families.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=25)
TestFamilies = Families.TestCase


def test_the_answer_of_a_simulated_sign_in_is_the_token_endpoints_own() -> None:
    """`tokens_for` spares a simulation the pages, nothing else."""
    driver = Driver()
    tokens = json.loads(driver.provider.tokens_for("grace", now=driver.now, client_id=SERVICE[0], scope="openid"))
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope"}
    assert said(driver.get("/userinfo", token=tokens["access_token"]))["sub"] == "grace"
