"""Signing out at the embedded provider: who is asked, what no address holds, and which clients are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

import jwt
import pytest
from provider_kit import (
    AFTER_LOGOUT,
    CALLBACK,
    FORM,
    ISSUER,
    START_S,
    Driver,
    error_of,
    form_action,
    query_of,
    run,
    said,
)

from session_core.errors import ConfigError
from session_core.provider import Client, Fault, FaultKind
from session_core.provider.courier import PAUSES_S, Courier
from session_core.provider.parts import LogoutNotice
from session_core.wire import FailureKind, Transport, WireAnswer, WireFailure, WireRequest

HEARS = "http://127.0.0.1:8501/auth/backchannel-logout"
CLIENTS = (
    Client(
        client_id="session-lab",
        redirect_uris=(CALLBACK,),
        post_logout_redirect_uris=(AFTER_LOGOUT,),
        backchannel_logout_uri=HEARS,
    ),
    Client(client_id="other", redirect_uris=(CALLBACK,), backchannel_logout_uri="http://other.test/out"),
    Client(client_id="deaf", redirect_uris=(CALLBACK,)),
)


def driver() -> Driver:
    return Driver(clients=CLIENTS)


def told(driver: Driver) -> list[tuple[str, dict[str, Any]]]:
    """What clients hear, by address."""
    return [
        (notice.uri, jwt.decode(notice.token, options={"verify_signature": False}))
        for notice in driver.provider.take_notices()
    ]


def press(driver: Driver, page: Any, button: str) -> Any:
    url = f"http://idp.test{form_action(page)}"
    return driver.send("POST", url, body=urlencode({"confirm": button}).encode(), headers=(("Content-Type", FORM),))


def test_every_client_of_the_session_is_told_once() -> None:
    """Back-Channel Logout §2.4: each its own token, with the session it knows from the ID token."""
    provider = driver()
    tokens = said(provider.exchange(provider.code()))
    code = query_of(provider.authorize(client_id="other"))["code"]
    provider.exchange(code, client_id="other")
    provider.exchange(query_of(provider.authorize(client_id="deaf"))["code"], client_id="deaf")
    sid = jwt.decode(tokens["id_token"], options={"verify_signature": False})["sid"]
    provider.get("/end-session", id_token_hint=tokens["id_token"])
    heard = told(provider)
    assert [(uri, claims["aud"]) for uri, claims in heard] == [
        ("http://other.test/out", "other"),
        (HEARS, "session-lab"),
    ]
    assert len({claims.pop("jti") for _, claims in heard}) == 2
    assert heard[1][1] == {
        "iss": ISSUER,
        "aud": "session-lab",
        "sub": "ada",
        "sid": sid,
        "iat": int(START_S),
        "exp": int(START_S) + 120,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    assert told(provider) == []


def test_a_logout_token_says_what_it_is() -> None:
    """RFC 8725 §3.11: the type is stated; and it is a secret to leak tests, for whoever holds it can sign out."""
    provider = driver()
    tokens = said(provider.exchange(provider.code()))
    provider.get("/end-session", id_token_hint=tokens["id_token"])
    (notice,) = provider.provider.take_notices()
    assert jwt.get_unverified_header(notice.token)["typ"] == "logout+jwt"
    assert notice.token in provider.provider.issued_secrets()
    assert notice.token not in repr(notice)


def test_another_browser_of_the_user_is_not_signed_out_with_this_one() -> None:
    """Each has a session of its own at the provider, unless the user wants them all to end."""
    provider = driver()
    provider.exchange(provider.code())
    here = provider.cookie
    tokens = said(provider.exchange(provider.code()))
    provider.get("/end-session", id_token_hint=tokens["id_token"])
    sid = jwt.decode(tokens["id_token"], options={"verify_signature": False})["sid"]
    assert [claims["sid"] for _, claims in told(provider)] == [sid]
    provider.cookie = here
    assert "code" in query_of(provider.authorize(prompt="none"))


def test_signing_out_on_every_device_ends_them_all() -> None:
    """A token without `sid` speaks of the user (§2.4); offline access outlives it as it outlives a sign-out."""
    provider = driver()
    provider.exchange(provider.code())
    here = provider.cookie
    offline = said(provider.exchange(provider.code(scope="openid offline_access")))
    page = provider.get("/end-session", client_id="session-lab", post_logout_redirect_uri=AFTER_LOGOUT)
    assert "Sign out on every device" in page.body.decode()
    assert press(provider, page, "everywhere").headers["location"] == AFTER_LOGOUT
    ((_, claims),) = told(provider)
    assert (claims["sub"], "sid" in claims) == ("ada", False)
    provider.cookie = here
    assert query_of(provider.authorize(prompt="none"))["error"] == "login_required"
    assert provider.refresh(offline["refresh_token"]).status == 200


def test_an_operator_who_ends_a_users_sessions_tells_the_clients_too() -> None:
    """All their tokens stop working, and other users are left alone."""
    provider = driver()
    tokens = said(provider.exchange(provider.code(scope="openid offline_access")))
    provider.exchange(query_of(provider.sign_in("grace"))["code"])
    provider.provider.end_sessions_of("ada", now=provider.now)
    assert [claims["sub"] for _, claims in told(provider)] == ["ada"]
    assert error_of(provider.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_a_tester_can_end_every_session_at_the_provider() -> None:
    """The fault of that name strikes with the next request."""
    provider = driver()
    provider.exchange(provider.code())
    provider.exchange(query_of(provider.sign_in("grace"))["code"])
    provider.provider.faults.order(Fault(kind=FaultKind.END_SESSIONS), provider.now)
    provider.get("/jwks")
    assert [claims["sub"] for _, claims in told(provider)] == ["ada", "grace"]
    assert query_of(provider.authorize(prompt="none"))["error"] == "login_required"


@pytest.mark.parametrize("confirm", ["yes", "everywhere"])
def test_an_address_cannot_confirm(confirm: str) -> None:
    """Only our own page can: a link that says yes would sign out whoever follows it."""
    provider = driver()
    provider.sign_in()
    page = provider.get("/end-session", client_id="session-lab", confirm=confirm)
    assert "Sign out?" in page.body.decode()
    assert "confirm=" not in form_action(page)
    assert "code" in query_of(provider.authorize(prompt="none"))
    assert told(provider) == []


def test_a_posted_id_token_goes_into_no_address() -> None:
    """Who is signed in as somebody else is asked, and the way back is known without the token."""
    provider = driver()
    tokens = said(provider.exchange(provider.code()))
    provider.sign_in("grace")
    page = provider.post(
        "/end-session", id_token_hint=tokens["id_token"], post_logout_redirect_uri=AFTER_LOGOUT, state="s"
    )
    assert "grace" in page.body.decode()
    assert tokens["id_token"] not in page.body.decode()
    assert press(provider, page, "yes").headers["location"] == f"{AFTER_LOGOUT}?state=s"


def test_discovery_tells_of_it() -> None:
    """Back-Channel Logout §2.1."""
    found = said(driver().get("/.well-known/openid-configuration"))
    assert found["backchannel_logout_supported"] is True
    assert found["backchannel_logout_session_supported"] is True


def test_an_address_to_tell_is_an_address() -> None:
    """A mistake is found when the provider is made."""
    with pytest.raises(ConfigError, match="backchannel_logout_uri"):
        Client(client_id="app", backchannel_logout_uri="app.example/out")


class Ear:
    """A client's end: answers one after the other."""

    def __init__(self, *answers: int | WireFailure) -> None:
        self._answers: Iterator[int | WireFailure] = iter(answers)
        self.heard: list[tuple[float, WireRequest]] = []

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        self.heard.append((asyncio.get_running_loop().time(), request))
        answer = next(self._answers)
        return answer if isinstance(answer, WireFailure) else WireAnswer(status=answer, headers={}, body=b"")

    async def aclose(self) -> None:
        """Nothing is held."""


GONE = WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)


@pytest.mark.parametrize(
    ("answers", "tries", "outcome"),
    [
        ((200,), 1, "logout_told"),
        ((204,), 1, "logout_told"),
        ((400,), 1, "logout_refused"),
        ((503, GONE, 200), 3, "logout_told"),
        ((GONE, 500, GONE), 3, "logout_undelivered"),
    ],
)
def test_a_courier_tries_a_few_times_and_says_how_it_ended(
    answers: tuple[int | WireFailure, ...], tries: int, outcome: str
) -> None:
    """A client in trouble gets it again, soon; one that says no does not."""
    ear, ends = Ear(*answers), []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Transport]:
        yield ear

    async def main() -> None:
        courier = Courier(lambda what, notice: ends.append((what, notice.client_id)), opening=opening)
        courier.send([LogoutNotice(uri=HEARS, client_id="app", token="t.o.k")])
        await asyncio.wait(courier._errands)

    _, took_s = run(main())
    assert ends == [(outcome, "app")]
    assert len(ear.heard) == tries
    assert took_s == pytest.approx(sum(PAUSES_S[:tries]))
    request = ear.heard[0][1]
    assert (request.method, request.url, parse_qs(request.body.decode())) == (
        "POST",
        HEARS,
        {"logout_token": ["t.o.k"]},
    )
