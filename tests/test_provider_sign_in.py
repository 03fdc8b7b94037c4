"""Signing in and out at the embedded provider."""

from __future__ import annotations

from urllib.parse import urlencode

import jwt
import pytest
from provider_kit import (
    AFTER_LOGOUT,
    CALLBACK,
    FORM,
    ISSUER,
    START_S,
    Driver,
    authorization,
    error_of,
    form_action,
    query_of,
    said,
)

from session_core.provider.accounts import SESSIONS_MAX


def test_the_sign_in_page_says_it_is_a_test_double_and_names_the_demo_users() -> None:
    """Nobody should type a real password there."""
    page = Driver().authorize(login_hint='"><script>')
    assert page.status == 200
    text = page.body.decode()
    assert "test double" in text
    assert all(f"<code>{name}</code>" in text for name in ("ada", "grace", "alan", "demo"))
    assert "<script>" not in text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_submitting_the_page_leads_home_with_code_state_and_issuer() -> None:
    """The page's own form carries the request; the answer is a 303 with RFC 9207's iss."""
    driver = Driver()
    action = form_action(driver.authorize())
    body = urlencode({"username": "ada", "password": "demo"}).encode()
    home = driver.send("POST", f"http://idp.test{action}", body=body, headers=(("Content-Type", FORM),))
    assert home.status == 303
    assert home.headers["location"].startswith(f"{CALLBACK}?")
    assert query_of(home).keys() == {"code", "state", "iss"}
    assert (query_of(home)["state"], query_of(home)["iss"]) == ("s&1", ISSUER)
    assert home.headers["set-cookie"].endswith("Path=/idp; HttpOnly; SameSite=Lax")


def test_the_cookie_is_secure_under_https_and_fits_an_issuer_without_a_path() -> None:
    """Where the issuer is https the browser must not send it in the clear."""
    driver = Driver(issuer="https://idp.test")
    form = urlencode({"username": "ada", "password": "demo"}).encode()
    path = f"https://idp.test/authorize?{urlencode(authorization())}"
    home = driver.send("POST", path, body=form, headers=(("Content-Type", FORM),))
    assert home.headers["set-cookie"].endswith("Path=/; HttpOnly; SameSite=Lax; Secure")


@pytest.mark.parametrize(("username", "password"), [("ada", "wrong"), ("nobody", "demo"), ("ada", "")])
def test_a_wrong_password_shows_the_page_again(username: str, password: str) -> None:
    """It says neither which half was wrong nor the password that was given."""
    page = Driver().sign_in(username, password)
    assert page.status == 403
    assert "do not fit together" in page.body.decode()
    assert "wrong" not in page.body.decode().replace('class="wrong"', "").replace("--wrong", "").replace(".wrong", "")


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "stranger"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK.upper()},
        {"redirect_uri": "https://evil.example/"},
    ],
)
def test_an_unknown_client_or_redirect_is_shown_and_never_redirected(changed: dict[str, str | None]) -> None:
    """RFC 6749 §4.1.2.1: an open redirector starts here."""
    page = Driver().authorize(**changed)
    assert page.status == 400
    assert "location" not in page.headers
    assert "invalid_request" in page.body.decode()


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "unheard of"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"prompt": "dance"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"request": "x"}, "request_not_supported"),
        ({"request_uri": "x"}, "request_uri_not_supported"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_what_else_is_wrong_goes_home_as_an_error_with_the_state(changed: dict[str, str | None], error: str) -> None:
    """The client learns the RFC's word for it."""
    answer = Driver().authorize(**changed)
    assert answer.status == 303
    assert query_of(answer)["error"] == error
    assert query_of(answer)["state"] == "s&1"


def test_an_error_without_a_state_carries_none() -> None:
    """What was not sent cannot be echoed."""
    assert "state" not in query_of(Driver().authorize(state=None, prompt="none"))


def test_a_parameter_given_twice_is_refused() -> None:
    """RFC 6749 §3.1, in the query, in the body, and across both."""
    driver = Driver()
    query = urlencode(authorization())
    assert driver.send("GET", f"/authorize?{query}&state=2").status == 400
    body = urlencode({"username": "ada", "password": "demo", "state": "2"}).encode()
    assert driver.send("POST", f"/authorize?{query}", body=body, headers=(("Content-Type", FORM),)).status == 400
    twice = b"username=ada&username=grace&password=demo"
    assert driver.send("POST", f"/authorize?{query}", body=twice, headers=(("Content-Type", FORM),)).status == 400


def test_the_request_itself_may_be_posted() -> None:
    """OpenID Connect Core §3.1.2.1: GET and POST are both for authorization requests."""
    assert Driver().post("/authorize", **authorization()).status == 200


def test_credentials_in_a_url_do_not_sign_in() -> None:
    """A link must not be able to do what the form does."""
    page = Driver().authorize(username="ada", password="demo")
    assert page.status == 200


def test_a_session_at_the_provider_makes_the_next_sign_in_silent() -> None:
    """prompt=none is answered with a code while the session lasts, and not a second longer."""
    driver = Driver(session_ttl_s=100)
    driver.sign_in()
    assert "code" in query_of(driver.authorize())
    driver.now = START_S + 99.9
    assert "code" in query_of(driver.authorize(prompt="none"))
    driver.now = START_S + 100
    assert query_of(driver.authorize(prompt="none"))["error"] == "login_required"


@pytest.mark.parametrize("prompt", ["login", "select_account", "login consent"])
def test_prompt_login_asks_again(prompt: str) -> None:
    """A session is not enough where the client wants the password."""
    driver = Driver()
    driver.sign_in()
    assert driver.authorize(prompt=prompt).status == 200
    assert driver.authorize(prompt="consent").status == 303


def test_max_age_counts_from_the_sign_in() -> None:
    """On the very second it is too old."""
    driver = Driver()
    driver.sign_in()
    driver.now = START_S + 59.9
    assert driver.authorize(max_age="60").status == 303
    driver.now = START_S + 60
    assert driver.authorize(max_age="60").status == 200
    assert query_of(driver.authorize(max_age="60", prompt="none"))["error"] == "login_required"


def test_the_id_token_says_who_when_for_whom_and_to_which_question() -> None:
    """Issuer, audience, subject, nonce and the time of the password."""
    driver = Driver()
    driver.sign_in()
    driver.now += 50
    tokens = said(driver.exchange(query_of(driver.authorize(nonce="n2"))["code"]))
    claims = jwt.decode(tokens["id_token"], options={"verify_signature": False})
    assert claims.pop("sid")
    assert claims == {
        "iss": ISSUER,
        "aud": "session-lab",
        "sub": "ada",
        "nonce": "n2",
        "auth_time": int(START_S),
        "iat": int(START_S) + 50,
        "exp": int(START_S) + 50 + 3600,
    }


def test_a_forged_cookie_is_no_session() -> None:
    """Only values that were issued open anything."""
    driver = Driver()
    driver.cookie = "idp_session=guess"
    assert driver.authorize().status == 200


def test_signing_out_with_a_hint_ends_session_and_refresh_and_leads_back() -> None:
    """RP-initiated logout: the refresh tokens of that session die with it."""
    driver = Driver()
    tokens = said(driver.exchange(driver.code()))
    answer = driver.get(
        "/end-session", id_token_hint=tokens["id_token"], post_logout_redirect_uri=AFTER_LOGOUT, state="bye"
    )
    assert (answer.status, answer.headers["location"]) == (303, f"{AFTER_LOGOUT}?state=bye")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert error_of(driver.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert not driver.works(tokens["access_token"])
    assert query_of(driver.authorize(prompt="none"))["error"] == "login_required"


def test_offline_access_outlives_signing_out() -> None:
    """OpenID Connect Core §11."""
    driver = Driver()
    tokens = said(driver.exchange(driver.code(scope="openid offline_access")))
    driver.get("/end-session", id_token_hint=tokens["id_token"])
    assert driver.refresh(tokens["refresh_token"]).status == 200


def test_a_bare_link_only_asks_whether_to_sign_out() -> None:
    """No page elsewhere can sign a user out; the confirmation can."""
    driver = Driver()
    driver.sign_in()
    page = driver.get("/end-session", client_id="session-lab", post_logout_redirect_uri=AFTER_LOGOUT)
    assert (page.status, "Sign out?" in page.body.decode()) == (200, True)
    assert "code" in query_of(driver.authorize(prompt="none"))
    action = f"http://idp.test{form_action(page)}"
    done = driver.send("POST", action, body=b"confirm=yes", headers=(("Content-Type", FORM),))
    assert done.headers["location"] == AFTER_LOGOUT
    assert query_of(driver.authorize(prompt="none"))["error"] == "login_required"


def test_signing_out_without_a_session_just_says_so() -> None:
    """There is nothing to end and nowhere to go."""
    page = Driver().get("/end-session")
    assert (page.status, "Signed out" in page.body.decode()) == (200, True)


@pytest.mark.parametrize(
    "params",
    [
        {"post_logout_redirect_uri": "https://evil.example/", "client_id": "session-lab"},
        {"post_logout_redirect_uri": AFTER_LOGOUT},
        {"id_token_hint": "forged"},
    ],
)
def test_signing_out_never_redirects_to_a_stranger(params: dict[str, str]) -> None:
    """What cannot be checked is shown."""
    page = Driver().get("/end-session", **params)
    assert page.status == 400
    assert "location" not in page.headers


def test_a_hint_for_another_client_is_refused() -> None:
    """The hint's audience and client_id must agree."""
    driver = Driver()
    tokens = driver.tokens()
    page = driver.get("/end-session", id_token_hint=tokens["id_token"], client_id="session-lab-service")
    assert page.status == 400


def test_a_hint_survives_one_key_rotation() -> None:
    """The predecessor of the signing key stays published, and so accepted."""
    driver = Driver()
    tokens = said(driver.exchange(driver.code()))
    driver.provider._parts.keys.rotate()
    assert driver.get("/end-session", id_token_hint=tokens["id_token"]).status == 200


def test_the_oldest_session_makes_room() -> None:
    """Sessions are bounded, so that a forgotten provider does not grow for ever."""
    driver = Driver()
    driver.sign_in()
    first = driver.cookie
    accounts = driver.provider._parts.accounts
    for _ in range(SESSIONS_MAX):
        accounts.start_session(accounts.user("grace"), now=driver.now)
    driver.cookie = first
    assert query_of(driver.authorize(prompt="none"))["error"] == "login_required"


def test_the_root_page_says_what_this_is() -> None:
    """Someone who opens the printed address learns where they are."""
    page = Driver().get("/")
    assert "test double" in page.body.decode()
    assert f"{ISSUER}/.well-known/openid-configuration" in page.body.decode()
