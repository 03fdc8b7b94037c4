"""The embedded provider binds tokens to the key of whoever asked for them, and gives nothing to anyone else."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_kit import CALLBACK, FORM, ISSUER, SERVICE, START_S, VERIFIER, Driver, error_of, query_of, said

from session_core.dpop import AGE_S_MAX, ProofKey, make_key, make_proof
from session_core.errors import ConfigError
from session_core.provider import AccessTokenFormat, FaultKind, ProviderAnswer, ProviderConfig

KEY = make_key(random.Random(1).randbytes)
OTHER = make_key(random.Random(2).randbytes)


class Holder:
    """A client with a key, at a driver's provider."""

    def __init__(self, driver: Driver, key: ProofKey = KEY) -> None:
        self.driver, self.key = driver, key
        self._chance = random.Random(3)

    def proof(self, method: str, path: str, **told: Any) -> str:
        when = {"now": self.driver.now, "entropy": self._chance.randbytes}
        return make_proof(self.key, method=method, url=ISSUER + path, **{**when, **told})

    def post(self, *, proof: str | None = None, nonce: str | None = None, **form: str) -> ProviderAnswer:
        value = self.proof("POST", "/token", nonce=nonce) if proof is None else proof
        headers = (("Content-Type", FORM), *((("DPoP", value),) if value else ()))
        body = urlencode({"client_id": "session-lab", **form}).encode()
        return self.driver.send("POST", "/token", body=body, headers=headers)

    def exchange(self, code: str, **changed: Any) -> ProviderAnswer:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return self.post(**form, **changed)

    def refresh(self, token: str, **changed: Any) -> ProviderAnswer:
        return self.post(grant_type="refresh_token", refresh_token=token, **changed)

    def tokens(self) -> dict[str, Any]:
        return json.loads(self.driver.provider.tokens_for("ada", now=self.driver.now, dpop_jkt=self.key.thumbprint))

    def call(self, token: str, path: str = "/api/echo", *, scheme: str = "DPoP", **told: Any) -> ProviderAnswer:
        value = told.pop("proof", None)
        value = self.proof("GET", path, **{"access_token": token, **told}) if value is None else value
        headers = (("Authorization", f"{scheme} {token}"), *((("DPoP", value),) if value else ()))
        return self.driver.send("GET", path, headers=headers)


@pytest.fixture
def holder() -> Holder:
    return Holder(Driver())


def thief_of(holder: Holder) -> Holder:
    """Somebody with the tokens and a key of their own."""
    return Holder(holder.driver, OTHER)


def challenge_of(answer: ProviderAnswer) -> tuple[int, str, str]:
    return (*error_of(answer), answer.headers["www-authenticate"])


def test_discovery_says_which_proofs_are_taken(holder: Holder) -> None:
    """RFC 9449 §5.1."""
    document = said(holder.driver.get("/.well-known/openid-configuration"))
    assert document["dpop_signing_alg_values_supported"] == ["ES256"]


def test_a_code_exchanged_with_a_proof_gives_tokens_bound_to_its_key(holder: Holder) -> None:
    """RFC 9449 §5: the type says so, and the token works with a proof for each call."""
    tokens = said(holder.exchange(holder.driver.code()))
    assert tokens["token_type"] == "DPoP"
    assert [holder.call(tokens["access_token"]).status for _ in range(3)] == [200, 200, 200]
    assert holder.call(tokens["access_token"], "/userinfo").status == 200


def test_without_a_proof_all_stays_as_it_was(holder: Holder) -> None:
    """Tokens are bearer tokens, and a nonce is nobody's business."""
    tokens = said(holder.driver.exchange(holder.driver.code()))
    assert tokens["token_type"] == "Bearer"
    assert holder.driver.works(tokens["access_token"])
    assert "dpop-nonce" not in holder.driver.get("/api/echo", token=tokens["access_token"]).headers


def test_a_code_bound_to_a_key_is_of_no_use_without_it(holder: Holder) -> None:
    """RFC 9449 §10: neither to another key nor without one; and nothing is lost by the attempt."""
    code = holder.driver.code(dpop_jkt=KEY.thumbprint)
    assert error_of(thief_of(holder).exchange(code)) == (400, "invalid_grant")
    assert error_of(holder.driver.exchange(code)) == (400, "invalid_grant")
    assert holder.exchange(code).status == 200


@pytest.mark.parametrize("wrong", ["x", "x" * 42, "x" * 44, "x" * 42 + "=", "x" * 42 + "é"])
def test_what_is_no_thumbprint_is_refused_at_once(holder: Holder, wrong: str) -> None:
    """At the call-back, as every other mistake in the request."""
    assert query_of(holder.driver.authorize(dpop_jkt=wrong))["error"] == "invalid_request"


def test_a_stolen_refresh_token_is_of_no_use_and_its_theft_costs_the_user_nothing(holder: Holder) -> None:
    """RFC 9449 §5: no other key, no proof, no old proof; the family stands all the while."""
    first, thief = holder.tokens(), thief_of(holder)
    seen = holder.proof("POST", "/token")
    second = said(holder.refresh(first["refresh_token"], proof=seen))
    for token in (first["refresh_token"], second["refresh_token"]):
        assert error_of(thief.refresh(token)) == (400, "invalid_grant")
        assert error_of(holder.driver.refresh(token)) == (400, "invalid_grant")
        assert error_of(holder.refresh(token, proof=seen)) == (400, "invalid_dpop_proof")
    third = said(holder.refresh(second["refresh_token"]))
    assert (third["token_type"], holder.call(third["access_token"]).status) == ("DPoP", 200)
    assert holder.driver.provider.statistics().reuse_events == 0


def test_reuse_by_the_holder_of_the_key_still_ends_the_family(holder: Holder) -> None:
    """The key proves who asks, not that a token is fresh."""
    first = holder.tokens()
    second = said(holder.refresh(first["refresh_token"]))
    assert error_of(holder.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert error_of(holder.refresh(second["refresh_token"])) == (400, "invalid_grant")
    assert holder.driver.provider.statistics().reuse_events == 1


def test_a_replay_inside_the_grace_window_needs_the_key_too() -> None:
    """And gets the same successor, of the same type."""
    holder = Holder(Driver(grace_s=30.0))
    first = holder.tokens()
    answers = [said(holder.refresh(first["refresh_token"])) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["token_type"] == "DPoP"
    assert error_of(thief_of(holder).refresh(first["refresh_token"])) == (400, "invalid_grant")


def test_a_confidential_client_may_change_its_key(holder: Holder) -> None:
    """RFC 9449 §5: its refresh token is bound to the client itself; each access token to the key that asked for it."""
    form = {"client_id": SERVICE[0], "client_secret": SERVICE[1]}
    code = holder.driver.code(client_id=SERVICE[0])
    tokens = said(holder.exchange(code, **form))
    other = thief_of(holder)
    second = said(other.refresh(tokens["refresh_token"], **form))
    assert other.call(second["access_token"]).status == 200
    assert holder.call(second["access_token"]).status == 401
    assert said(holder.refresh(second["refresh_token"], proof="", **form))["token_type"] == "Bearer"


def test_a_client_that_acts_for_itself_may_bind_its_token(holder: Holder) -> None:
    """Client credentials with a proof."""
    form = {"client_id": SERVICE[0], "client_secret": SERVICE[1]}
    tokens = said(holder.post(grant_type="client_credentials", **form))
    assert tokens["token_type"] == "DPoP"
    assert holder.call(tokens["access_token"]).status == 200
    assert holder.driver.works(tokens["access_token"]) is False


def test_a_bound_token_says_to_which_key(holder: Holder) -> None:
    """RFC 9449 §6: as a claim of a JWT and in introspection."""
    holder = Holder(Driver(access_token_format=AccessTokenFormat.JWT))
    tokens = holder.tokens()
    bound = {"jkt": KEY.thumbprint}
    assert jwt.decode(tokens["access_token"], options={"verify_signature": False})["cnf"] == bound
    for name in ("access_token", "refresh_token"):
        assert said(holder.driver.post("/introspect", basic=SERVICE, token=tokens[name]))["cnf"] == bound
    unbound = holder.driver.tokens()["access_token"]
    assert "cnf" not in jwt.decode(unbound, options={"verify_signature": False})
    assert "cnf" not in said(holder.driver.post("/introspect", basic=SERVICE, token=unbound))


def test_a_stolen_access_token_opens_nothing(holder: Holder) -> None:
    """RFC 9449 §7: not as a bearer token, not with another key, not without a proof or with one for something else."""
    token = holder.tokens()["access_token"]
    seen = holder.proof("GET", "/api/echo", access_token=token)
    assert holder.call(token, proof=seen).status == 200
    invalid = 'DPoP realm="session-lab", algs="ES256", error="invalid_{}"'
    stolen = {
        "bearer": (holder.driver.get("/api/echo", token=token), "token"),
        "bearer with a proof": (holder.call(token, scheme="Bearer"), "token"),
        "no proof": (holder.call(token, proof=""), "token"),
        "another key": (thief_of(holder).call(token), "token"),
        "a proof seen before": (holder.call(token, proof=seen), "dpop_proof"),
        "a proof without the token": (holder.call(token, proof=holder.proof("GET", "/api/echo")), "dpop_proof"),
        "a proof for another token": (holder.call(token, access_token=f"{token}x"), "dpop_proof"),
        "a proof for another path": (
            holder.call(token, "/api/profile", proof=holder.proof("GET", "/api/echo")),
            "dpop_proof",
        ),
        "a proof for the token request": (holder.call(token, proof=holder.proof("POST", "/token")), "dpop_proof"),
        "an old proof": (holder.call(token, now=START_S - AGE_S_MAX - 1), "dpop_proof"),
        "two proofs": (holder.call(token, proof=f"{seen}, {seen}"), "dpop_proof"),
    }
    for answer, word in stolen.values():
        assert challenge_of(answer) == (401, f"invalid_{word}", invalid.format(word))
    assert holder.call(token).status == 200


def test_a_token_that_is_not_bound_is_no_dpop_token(holder: Holder) -> None:
    """A proof adds nothing to it; and an unknown token has no proof looked at."""
    token = holder.driver.tokens()["access_token"]
    assert error_of(holder.call(token)) == (401, "invalid_token")
    answer = holder.call("unknown")
    assert answer.headers["www-authenticate"] == 'DPoP realm="session-lab", algs="ES256", error="invalid_token"'


def test_a_proof_is_remembered_for_as_long_as_it_could_be_taken(holder: Holder) -> None:
    """Also one from the future, and no longer."""
    token = holder.tokens()["access_token"]
    early = holder.proof("GET", "/api/echo", access_token=token, now=START_S + AGE_S_MAX)
    assert holder.call(token, proof=early).status == 200
    for _ in range(4):
        holder.driver.now += AGE_S_MAX / 2
        assert error_of(holder.call(token, proof=early)) == (401, "invalid_dpop_proof")
    holder.driver.now += 1
    assert holder.call(token).status == 200
    assert len(holder.driver.provider._parts.proofs._seen) == 1


def test_the_memory_of_proofs_has_an_end(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of them pushes out the oldest, and costs no more room."""
    monkeypatch.setattr("session_core.provider.proofs.SEEN_MAX", 3)
    token = holder.tokens()["access_token"]
    assert [holder.call(token).status for _ in range(5)] == [200] * 5
    assert len(holder.driver.provider._parts.proofs._seen) == 3


def test_two_keys_may_use_the_same_jti(holder: Holder) -> None:
    """Nobody can use up another's."""
    twin = Holder(holder.driver, OTHER)
    answers = [each.call(each.tokens()["access_token"]) for each in (holder, twin)]
    assert [answer.status for answer in answers] == [200, 200]


def nonce_of(answer: ProviderAnswer) -> str:
    return answer.headers["dpop-nonce"]


def test_with_nonces_a_proof_without_one_is_told_which_to_use() -> None:
    """RFC 9449 §8 and §9: at the token endpoint and at the API; nothing is spent by it."""
    holder = Holder(Driver(dpop_nonce_s=300.0))
    tokens = holder.tokens()
    refused = holder.refresh(tokens["refresh_token"])
    assert error_of(refused) == (400, "use_dpop_nonce")
    renewed = holder.refresh(tokens["refresh_token"], nonce=nonce_of(refused))
    assert renewed.status == 200
    token = said(renewed)["access_token"]
    told = holder.call(token)
    assert challenge_of(told)[:2] == (401, "use_dpop_nonce")
    assert holder.call(token, nonce=nonce_of(told)).status == 200
    assert holder.driver.provider.statistics().reuse_events == 0


def test_nonces_change_and_the_one_before_is_good_for_a_while() -> None:
    """RFC 9449 §8.2: every answer brings the one to use, so nobody who keeps calling is ever refused."""
    holder = Holder(Driver(dpop_nonce_s=300.0))
    token = holder.tokens()["access_token"]
    nonce = first = nonce_of(holder.call(token))
    for _ in range(8):
        holder.driver.now += 250.0
        answer = holder.call(token, nonce=nonce)
        assert answer.status == 200
        nonce = nonce_of(answer)
    assert nonce != first
    holder.driver.now += 600.0
    assert error_of(holder.call(token, nonce=nonce)) == (401, "use_dpop_nonce")
    assert error_of(holder.call(token, nonce="made-up")) == (401, "use_dpop_nonce")


def test_with_nonces_a_wrong_clock_is_no_reason() -> None:
    """A day ahead or behind; and the proof still works once only."""
    holder = Holder(Driver(dpop_nonce_s=300.0))
    token = holder.tokens()["access_token"]
    nonce = nonce_of(holder.call(token))
    for off_s in (-86_400, 86_400):
        made = holder.proof("GET", "/api/echo", access_token=token, nonce=nonce, now=START_S + off_s)
        assert holder.call(token, proof=made).status == 200
        holder.driver.now += 250.0
        assert error_of(holder.call(token, proof=made)) == (401, "invalid_dpop_proof")
        holder.driver.now -= 250.0


@pytest.mark.parametrize("seconds", [0, 0.5, 86_401, float("nan")])
def test_nonces_change_in_reasonable_time(seconds: float) -> None:
    """Anything else is a mistake in the configuration."""
    with pytest.raises(ConfigError, match="dpop_nonce_s"):
        ProviderConfig(dpop_nonce_s=seconds)


def test_a_provider_that_does_not_offer_it_can_be_had() -> None:
    """By a fault, for tests of clients."""
    driver = Driver()
    driver.order(FaultKind.OMIT_FIELD, field="dpop_signing_alg_values_supported", endpoint="discovery")
    assert "dpop_signing_alg_values_supported" not in said(driver.get("/.well-known/openid-configuration"))


@given(
    value=st.text(max_size=80)
    | st.builds(
        lambda header, claims: ".".join(
            [*(jwt.utils.base64url_encode(msgspec.json.encode(part)).decode() for part in (header, claims)), "AA"]
        ),
        st.dictionaries(
            st.sampled_from(["typ", "alg", "jwk", "kid", "crit", "b64"]),
            st.none()
            | st.booleans()
            | st.text(max_size=9)
            | st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3),
        ),
        st.none()
        | st.lists(st.integers(), max_size=3)
        | st.dictionaries(st.text(max_size=4), st.text(max_size=5), max_size=4),
    )
)
def test_no_header_makes_the_provider_stumble(value: str) -> None:
    """Whatever stands there is refused with a word of the standard, and is not repeated."""
    driver = FUZZED
    token = FUZZED_TOKEN
    headers: Mapping[str, str] = {"Authorization": f"DPoP {token}", "DPoP": value}
    answer = driver.send("GET", "/api/echo", headers=tuple(headers.items()))
    assert error_of(answer)[0] == 401
    assert error_of(answer)[1] in {"invalid_dpop_proof", "invalid_token"}


FUZZED = Driver()
FUZZED_TOKEN = Holder(FUZZED).tokens()["access_token"]
