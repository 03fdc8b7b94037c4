"""Each fault that can be ordered, and orders that make no sense."""

from __future__ import annotations

import json
import random
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_kit import ISSUER, START_S, Driver, error_of, said

from session_core.errors import ConfigError
from session_core.provider import Endpoint, Fate, Fault, FaultKind, FaultPlan, load_faults, read_fault

DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


def test_a_status_strikes_its_endpoint_only_and_only_in_its_window() -> None:
    """From the moment of ordering until just before the end."""
    driver = Driver()
    driver.order(FaultKind.STATUS, endpoint=Endpoint.TOKEN, status=503, from_s=10, until_s=20)
    seen = []
    for at in (0, 9.999, 10, 19.999, 20):
        driver.now = START_S + at
        seen.append(driver.refresh("x").status)
        assert driver.get("/jwks").status == 200
    assert seen == [400, 400, 503, 503, 400]


def test_an_absolute_window_is_in_epoch_seconds() -> None:
    """So that a scenario file can name the moment."""
    driver = Driver()
    driver.order(FaultKind.STATUS, status=500, absolute=True, from_s=START_S + 5, until_s=START_S + 6)
    assert driver.get("/jwks").status == 200
    driver.now = START_S + 5
    assert driver.get("/jwks").status == 500
    assert driver.get("/nothing").status == 500


@pytest.mark.parametrize(
    ("told", "retry_after"),
    [
        ({}, None),
        ({"retry_after_s": 7.0}, "7"),
        ({"retry_after_s": 60, "retry_after_is_date": True}, "Fri, 15 Jan 2027 08:01:00 GMT"),
    ],
)
def test_retry_after_comes_in_both_its_forms(told: dict[str, Any], retry_after: str | None) -> None:
    """RFC 9110 §10.2.3."""
    driver = Driver()
    driver.order(FaultKind.STATUS, endpoint=Endpoint.TOKEN, status=429, **told)
    answer = driver.refresh("x")
    assert error_of(answer) == (429, "temporarily_unavailable")
    assert answer.headers.get("retry-after") == retry_after
    assert answer.headers["date"] == DATE


@pytest.mark.parametrize(
    ("kind", "told", "acted"),
    [
        (FaultKind.STATUS, {"status": 504}, False),
        (FaultKind.STATUS, {"status": 504, "acts": True}, True),
        (FaultKind.HTML, {}, False),
        (FaultKind.HTML, {"status": 502, "acts": True}, True),
        (FaultKind.HANG, {}, False),
        (FaultKind.HANG, {"acts": True}, True),
        (FaultKind.REFUSE, {}, False),
        (FaultKind.DROP_BEFORE, {}, False),
        (FaultKind.DROP_AFTER, {}, True),
        (FaultKind.GARBLED_JSON, {}, True),
        (FaultKind.DELAY, {"delay_s": 5.0}, True),
    ],
)
def test_it_is_known_whether_the_provider_acted(kind: FaultKind, told: dict[str, Any], acted: bool) -> None:  # noqa: FBT001
    """Rotation happened or it did not: the fact on which every retry decision hangs."""
    driver = Driver()
    tokens = driver.tokens()
    driver.order(kind, endpoint=Endpoint.TOKEN, times=1, **told)
    driver.refresh(tokens["refresh_token"])
    assert driver.provider.statistics().facts.get("tokens_refreshed", 0) == int(acted)
    assert driver.refresh(tokens["refresh_token"]).status == (400 if acted else 200)


@pytest.mark.parametrize(
    ("kind", "fate"),
    [
        (FaultKind.HANG, Fate.HUNG),
        (FaultKind.REFUSE, Fate.REFUSED),
        (FaultKind.DROP_BEFORE, Fate.DROPPED),
        (FaultKind.DROP_AFTER, Fate.DROPPED),
    ],
)
def test_what_becomes_of_the_connection_is_data(kind: FaultKind, fate: Fate) -> None:
    """The faces carry it out."""
    driver = Driver()
    driver.order(kind)
    assert driver.get("/jwks").fate == fate
    assert driver.provider.statistics().requests["jwks"] == {f"fault:{kind}": 1}


@pytest.mark.parametrize(("told", "status", "text"), [({}, 200, b"Wi-Fi"), ({"status": 502}, 502, b"upstream")])
def test_html_comes_as_captive_portal_or_bad_gateway(told: dict[str, Any], status: int, text: bytes) -> None:
    """Where JSON was expected."""
    driver = Driver()
    driver.order(FaultKind.HTML, **told)
    answer = driver.get("/.well-known/openid-configuration")
    assert (answer.status, answer.headers["content-type"]) == (status, "text/html")
    assert text in answer.body


def test_garbled_json_cannot_be_read() -> None:
    """It is announced as JSON and is none; what is no JSON stays."""
    driver = Driver()
    driver.order(FaultKind.GARBLED_JSON)
    answer = driver.get("/jwks")
    assert answer.headers["content-type"] == "application/json"
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body.decode("utf-8", "replace"))
    assert b"test double" in driver.get("/").body


def test_delays_add_up_with_each_other_and_with_another_fault() -> None:
    """A slow 503 is two faults."""
    driver = Driver()
    driver.order(FaultKind.DELAY, delay_s=2)
    driver.order(FaultKind.DELAY, delay_s=3)
    driver.order(FaultKind.STATUS, status=503)
    answer = driver.get("/jwks")
    assert (answer.delay_s, answer.status) == (5, 503)


def test_times_counts_requests_and_the_next_fault_waits_its_turn() -> None:
    """Two 500 then one 429: the Auth0 shape, told as two orders."""
    driver = Driver()
    driver.order(FaultKind.STATUS, status=500, times=2)
    driver.order(FaultKind.STATUS, status=429, times=1)
    assert [driver.get("/jwks").status for _ in range(4)] == [500, 500, 429, 200]
    assert driver.provider.faults.active(driver.now) == ()


def test_a_share_strikes_about_so_often_and_replays_with_its_seed() -> None:
    """The randomness is handed in."""

    def seen() -> list[int]:
        driver = Driver()
        driver.provider.faults = FaultPlan(random.Random(7))
        driver.order(FaultKind.STATUS, status=503, share=0.3)
        return [driver.get("/").status for _ in range(400)]

    assert seen() == seen()
    assert 80 < seen().count(503) < 160


@pytest.mark.parametrize("offset_s", [900.0, -900.0])
def test_a_clock_offset_shifts_all_the_provider_knows(offset_s: float) -> None:
    """Date, iat, and what has expired."""
    driver = Driver(access_ttl_s=600)
    token = driver.tokens()["access_token"]
    driver.order(FaultKind.CLOCK_OFFSET, offset_s=offset_s, until_s=60)
    assert driver.works(token) is (offset_s < 0)
    tokens = said(driver.exchange(driver.code()))
    assert jwt.decode(tokens["id_token"], options={"verify_signature": False})["iat"] == START_S + offset_s
    assert parsedate_to_datetime(driver.get("/jwks").headers["date"]).timestamp() == START_S + offset_s
    driver.now += 60
    assert driver.get("/jwks").headers["date"] == "Fri, 15 Jan 2027 08:01:00 GMT"


def test_rotated_keys_sign_at_once_and_the_predecessor_stays_published() -> None:
    """An order takes effect once; a third key pushes the first one out."""
    driver = Driver()
    old = said(driver.get("/jwks"))["keys"]
    driver.order(FaultKind.ROTATE_KEYS)
    new = said(driver.get("/jwks"))["keys"]
    assert new[1:] == old
    assert said(driver.get("/jwks"))["keys"] == new
    assert jwt.get_unverified_header(driver.tokens()["id_token"])["kid"] == new[0]["kid"]
    driver.order(FaultKind.ROTATE_KEYS)
    assert [key["kid"] for key in said(driver.get("/jwks"))["keys"]][1:] == [new[0]["kid"]]


def test_revoked_refresh_tokens_leave_access_tokens_working() -> None:
    """The session learns of it at its next refresh; later sign-ins are unharmed."""
    driver = Driver()
    tokens = driver.tokens()
    driver.order(FaultKind.REVOKE_REFRESH_TOKENS)
    assert driver.works(tokens["access_token"])
    assert error_of(driver.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert driver.refresh(driver.tokens()["refresh_token"]).status == 200
    assert driver.provider.statistics().families_revoked == 1


def test_revoked_access_tokens_leave_refresh_tokens_working() -> None:
    """The session learns of it by a 401."""
    driver = Driver()
    tokens = driver.tokens()
    driver.order(FaultKind.REVOKE_ACCESS_TOKENS, from_s=10)
    assert driver.works(tokens["access_token"])
    driver.now += 10
    assert not driver.works(tokens["access_token"])
    assert driver.works(said(driver.refresh(tokens["refresh_token"]))["access_token"])


def test_an_unchanged_expiry_gives_new_tokens_with_the_old_end() -> None:
    """A loop waits for a client that does not notice."""
    driver = Driver()
    tokens = driver.tokens()
    driver.order(FaultKind.UNCHANGED_EXPIRY, until_s=2000)
    driver.now += 1000
    tokens = said(driver.refresh(tokens["refresh_token"]))
    assert tokens["expires_in"] == 2600
    driver.now += 1000
    tokens = said(driver.refresh(tokens["refresh_token"]))
    assert tokens["expires_in"] == 3600


@pytest.mark.parametrize(
    ("field", "value"),
    [("expires_in", -5), ("expires_in", 10**12), ("expires_in", "soon"), ("token_type", "mac"), ("scope", None)],
)
def test_a_field_of_the_answer_can_be_set(field: str, value: object) -> None:
    """Negative, huge, of the wrong type, null."""
    driver = Driver()
    driver.order(FaultKind.SET_FIELD, endpoint=Endpoint.TOKEN, field=field, value=value)
    answer = driver.refresh(driver.tokens()["refresh_token"])
    assert said(answer)[field] == value
    assert answer.headers["date"] == DATE


def test_a_field_can_be_left_out_and_discovery_can_lie() -> None:
    """The same two faults serve every JSON answer."""
    driver = Driver()
    driver.order(FaultKind.OMIT_FIELD, endpoint=Endpoint.TOKEN, field="expires_in")
    driver.order(FaultKind.SET_FIELD, endpoint=Endpoint.DISCOVERY, field="issuer", value="http://evil.example")
    assert "expires_in" not in said(driver.refresh(driver.tokens()["refresh_token"]))
    assert said(driver.get("/.well-known/openid-configuration"))["issuer"] == "http://evil.example"
    assert said(driver.get("/jwks")).keys() == {"keys"}


def test_an_id_token_can_be_unsigned_or_signed_by_a_stranger() -> None:
    """Both look right until the signature is checked; both count as issued secrets."""
    driver = Driver()
    driver.order(FaultKind.UNSIGNED_ID_TOKEN, times=1)
    driver.order(FaultKind.FOREIGN_ID_TOKEN, from_s=1)
    tokens = said(driver.refresh(driver.tokens()["refresh_token"]))
    assert jwt.get_unverified_header(tokens["id_token"])["alg"] == "none"
    driver.now += 1
    foreign = said(driver.refresh(tokens["refresh_token"]))["id_token"]
    keys = jwt.PyJWKSet.from_dict(said(driver.get("/jwks")))
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(foreign, keys[jwt.get_unverified_header(foreign)["kid"]], algorithms=["ES256"])
    assert {foreign, tokens["id_token"]} <= set(driver.provider.issued_secrets())
    assert "id_token" not in said(driver.refresh(driver.tokens(scope="api")["refresh_token"]))


def test_orders_can_be_listed_and_taken_back() -> None:
    """The page shows what is in force."""
    driver = Driver()
    fault = Fault(kind=FaultKind.STATUS, status=503, from_s=5)
    driver.provider.faults.order(fault, START_S)
    assert driver.provider.faults.active(START_S) == ()
    assert driver.provider.faults.active(START_S + 5) == (fault,)
    driver.provider.faults.clear()
    assert driver.provider.faults.active(START_S + 5) == ()
    assert driver.get("/").status == 200


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"kind": "explode"}, "kind is 'explode'; choose one of status, delay,"),
    ({"kind": "hang", "endpoint": "moon"}, "endpoint is 'moon'; choose one of discovery, jwks,"),
    ({"kind": "hang", "colour": 1}, "colour is unknown; choose from kind, endpoint,"),
    ({"endpoint": "token"}, "missing required field `kind`"),
    ({"kind": "hang", "times": "often"}, "Expected `int | null`, got `str` - at `$.times`"),
    ({"kind": "hang", "times": 0}, "times is 0; set it between 1 and"),
    ({"kind": "hang", "share": 1.5}, "share is 1.5; set it between 0 and 1"),
    ({"kind": "hang", "from_s": -1}, "from_s is -1; set it between 0 and"),
    ({"kind": "hang", "from_s": 5, "until_s": 4}, "until_s is 4; set it between 5 and"),
    ({"kind": "status"}, "status is missing; a fault of kind status needs status"),
    ({"kind": "status", "status": 200}, "status is 200; set it between 400 and 599"),
    ({"kind": "html", "status": 100}, "status is 100; set it between 200 and 599"),
    ({"kind": "status", "status": 503, "retry_after_s": -1}, "retry_after_s is -1; set it between 0 and"),
    ({"kind": "status", "status": 503, "retry_after_is_date": True}, "retry_after_s is missing"),
    ({"kind": "delay"}, "delay_s is missing"),
    ({"kind": "delay", "delay_s": 90_000}, "delay_s is 90000; set it between 0 and 86400"),
    ({"kind": "clock_offset"}, "offset_s is missing"),
    ({"kind": "clock_offset", "offset_s": 1e12}, "offset_s is 1e+12; set it between"),
    ({"kind": "clock_offset", "offset_s": 1, "endpoint": "token"}, "endpoint is token; a fault of kind clock_offset"),
    ({"kind": "rotate_keys", "endpoint": "jwks"}, "is only for: any"),
    ({"kind": "unchanged_expiry", "endpoint": "api"}, "is only for: token"),
    ({"kind": "hang", "delay_s": 1}, "delay_s means nothing for a fault of kind hang; leave it out"),
    ({"kind": "drop_before", "acts": True}, "acts means nothing for a fault of kind drop_before"),
    ({"kind": "omit_field", "endpoint": "token"}, "field is missing"),
    ({"kind": "set_field", "field": "a", "endpoint": "token"}, "value is missing; a fault of kind set_field needs"),
    ({"kind": "set_field", "field": "a", "value": 1}, "endpoint is any; a fault of kind set_field needs one endpoint"),
]


@pytest.mark.parametrize(("table", "message"), NONSENSE)
def test_an_order_that_makes_no_sense_is_explained(table: dict[str, Any], message: str) -> None:
    """The field, and what is allowed."""
    with pytest.raises(ConfigError) as raised:
        read_fault(table, where="faults.toml, fault 2")
    assert str(raised.value).startswith("faults.toml, fault 2: ")
    assert message in str(raised.value)


def test_an_order_must_be_a_table() -> None:
    """Not a word."""
    with pytest.raises(ConfigError, match="give a table"):
        read_fault("hang")


def test_a_fault_file_is_read_in_order(tmp_path: Path) -> None:
    """TOML, one table each."""
    path = tmp_path / "faults.toml"
    path.write_text(
        '[[fault]]\nkind = "status"\nendpoint = "token"\nstatus = 503\nuntil_s = 20\n'
        '[[fault]]\nkind = "set_field"\nendpoint = "token"\nfield = "expires_in"\nvalue = -1\n'
    )
    assert load_faults(path) == (
        Fault(kind=FaultKind.STATUS, endpoint=Endpoint.TOKEN, status=503, until_s=20),
        Fault(kind=FaultKind.SET_FIELD, endpoint=Endpoint.TOKEN, field="expires_in", value=-1),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff", "cannot be read: not UTF-8"),
        (b"[[fault", "is not valid TOML"),
        (b"x = 1", r"must hold \[\[fault\]\] tables"),
        (b"fault = 1", r"must hold \[\[fault\]\] tables"),
        (b'[[fault]]\nkind = "hang"\n[[fault]]\nkind = "burn"', "fault 2: kind is 'burn'"),
    ],
)
def test_a_bad_fault_file_is_one_sentence(tmp_path: Path, content: bytes | None, message: str) -> None:
    """It names the file and the place."""
    path = tmp_path / "faults.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_faults(path)


FAULTS = st.builds(
    Fault,
    kind=st.sampled_from([FaultKind.HANG, FaultKind.REFUSE, FaultKind.DROP_BEFORE, FaultKind.GARBLED_JSON]),
    endpoint=st.sampled_from(list(Endpoint)),
    from_s=st.floats(0, 50),
    until_s=st.none() | st.floats(50, 100),
    times=st.none() | st.integers(1, 3),
)


@given(FAULTS)
def test_a_fault_survives_json(fault: Fault) -> None:
    """Pages and scenario files carry the same data."""
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault
    assert read_fault(json.loads(msgspec.json.encode(fault))) == fault


@given(st.lists(FAULTS, max_size=4), st.lists(st.floats(0, 120), max_size=12), st.sampled_from(list(Endpoint)))
def test_a_fault_strikes_only_while_active_and_never_more_than_its_times(
    faults: list[Fault], moments: list[float], endpoint: Endpoint
) -> None:
    """Whatever is ordered and whenever it is asked."""
    plan = FaultPlan(random.Random(1))
    for fault in faults:
        plan.order(fault, START_S)
    struck: list[Fault] = []
    for moment in sorted(moments):
        active = plan.active(START_S + moment)
        met = plan.strike(endpoint, START_S + moment)
        assert all(fault in active and fault.endpoint in {Endpoint.ANY, endpoint} for fault in met)
        assert sum(fault.kind != FaultKind.GARBLED_JSON for fault in met) <= 1
        struck += met
    assert all(struck.count(fault) <= (fault.times or 99) * faults.count(fault) for fault in faults)


def test_a_fault_at_the_authorization_endpoint_leaves_redirects_alone() -> None:
    """What is no JSON object cannot be spoiled."""
    driver = Driver()
    driver.order(FaultKind.OMIT_FIELD, endpoint=Endpoint.AUTHORIZE, field="code")
    assert driver.authorize().status == 200
    assert driver.get(f"{ISSUER}/jwks").status == 200
