"""Cookies stand for sign-ins and sessions, and only their hashes are kept."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from session_core.errors import LoginRequest
from session_core.web.sign_in import PendingLogins, Seat, Seats, User, cookie_names, new_cookie, user_of


def login(state: str) -> LoginRequest:
    return LoginRequest(url="https://idp/authorize", state=state, nonce="n", code_verifier="v", return_to="/chat")


def pending(**bounds: float) -> PendingLogins:
    return PendingLogins(entropy=random.Random(1).randbytes, **bounds)


def seats(entries_max: int = 10) -> Seats:
    return Seats(entropy=random.Random(2).randbytes, entries_max=entries_max)


def seat(number: int) -> Seat:
    return Seat(session_id=f"session-{number}", user=User(sub=f"user-{number}"))


@pytest.mark.parametrize(("after_s", "found"), [(599, True), (600, False), (601, False)])
def test_a_pending_login_ends_at_its_second(after_s: float, *, found: bool) -> None:
    """Ten minutes are enough to type a password, and not one second more."""
    logins = pending()
    cookie = logins.keep(login("a"), cookie=None, now=0)
    assert (logins.take(cookie=cookie, state="a", now=after_s) is not None) is found


def test_a_pending_login_is_used_once() -> None:
    """A call-back that comes twice finds nothing the second time."""
    logins = pending()
    cookie = logins.keep(login("a"), cookie=None, now=0)
    assert logins.take(cookie=cookie, state="a", now=1) == login("a")
    assert logins.take(cookie=cookie, state="a", now=1) is None


def test_a_pending_login_belongs_to_the_browser_that_began_it() -> None:
    """Another browser's cookie, or none, does not finish a sign-in, even with the right state."""
    logins = pending()
    logins.keep(login("a"), cookie=None, now=0)
    other = logins.keep(login("b"), cookie=None, now=0)
    assert logins.take(cookie=other, state="a", now=1) is None
    assert logins.take(cookie=None, state="a", now=1) is None


def test_two_tabs_can_sign_in_at_once() -> None:
    """The second tab keeps the cookie of the first, so that both can come back."""
    logins = pending()
    cookie = logins.keep(login("a"), cookie=None, now=0)
    assert logins.keep(login("b"), cookie=cookie, now=0) == cookie
    assert logins.take(cookie=cookie, state="a", now=1) == login("a")
    assert logins.take(cookie=cookie, state="b", now=1) == login("b")


def test_a_cookie_that_is_not_ours_is_not_adopted() -> None:
    """Who plants a cookie in another browser learns nothing from it."""
    assert pending().keep(login("a"), cookie="planted", now=0) != "planted"


def test_pending_logins_are_bounded() -> None:
    """A flood of started sign-ins keeps the newest and costs no more memory."""
    logins = pending(entries_max=3)
    cookies = [logins.keep(login(str(number)), cookie=None, now=0) for number in range(10)]
    assert len(logins) == 3
    assert logins.take(cookie=cookies[0], state="0", now=0) is None
    assert logins.take(cookie=cookies[-1], state="9", now=0) == login("9")


def test_seats_are_found_by_their_cookie_only() -> None:
    """A guess, an empty cookie and none find nobody."""
    taken = seats()
    cookie, _ = taken.take(seat(1))
    assert taken.find(cookie) == seat(1)
    assert [taken.find(guess) for guess in ("", None, cookie[:-1], cookie + "A")] == [None] * 4


def test_no_cookie_is_kept_in_the_clear() -> None:
    """Memory that leaks holds hashes, which open nothing."""
    taken = seats()
    cookie, _ = taken.take(seat(1))
    assert cookie not in repr(vars(taken))


def test_the_oldest_seat_makes_room() -> None:
    """The session that lost its place is named, so that it can be ended."""
    taken = seats(entries_max=2)
    first, _ = taken.take(seat(1))
    taken.take(seat(2))
    _, moved = taken.take(seat(3))
    assert moved == [seat(1)]
    assert taken.find(first) is None
    assert len(taken) == 2


def test_leaving_frees_every_cookie_of_the_session() -> None:
    """After a sign-out no browser is left in its place."""
    taken = seats()
    cookies = [taken.take(seat(1))[0], taken.take(seat(1))[0]]
    taken.leave("session-1")
    assert [taken.find(cookie) for cookie in cookies] == [None, None]


def test_a_cookie_has_256_random_bits() -> None:
    """Guessing one is not worth trying."""
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    assert len(new_cookie(entropy)) == 43
    assert asked == [32]


def test_cookies_are_locked_to_the_host_under_https() -> None:
    """Over plain loopback HTTP the port is in the name instead, since browsers do not tell ports apart."""
    public = cookie_names("https://lab.example/auth/callback")
    local = cookie_names("http://127.0.0.1:8501/auth/callback")
    assert public.session.startswith("__Host-")
    assert public.secure
    assert local.session.endswith("8501")
    assert not local.secure


@given(some.dictionaries(some.sampled_from(["sub", "name", "email"]), some.text()))
def test_a_user_has_something_to_be_called(claims: dict[str, str]) -> None:
    """Whatever the claims leave out, the subject is shown."""
    assert user_of(claims, {"sub": "ada"}).shown
