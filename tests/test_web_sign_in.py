"""Cookies stand for sign-ins and sessions, and only their hashes are kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as some
from stores import keys

from session_core.errors import LoginRequest
from session_core.session_store import SessionStoreError
from session_core.shelf import NoShelf, Shelf, Shelved
from session_core.sqlite_session_store import SqliteSessionStore
from session_core.web.sign_in import PendingLogins, Seat, Seats, User, cookie_names, new_cookie, user_of

T = TypeVar("T")


def done(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


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
    cookie = done(logins.keep(login("a"), cookie=None, now=0))
    assert (done(logins.take(cookie=cookie, state="a", now=after_s)) is not None) is found


def test_a_pending_login_is_used_once() -> None:
    """A call-back that comes twice finds nothing the second time."""
    logins = pending()
    cookie = done(logins.keep(login("a"), cookie=None, now=0))
    assert done(logins.take(cookie=cookie, state="a", now=1)) == login("a")
    assert done(logins.take(cookie=cookie, state="a", now=1)) is None


def test_a_pending_login_belongs_to_the_browser_that_began_it() -> None:
    """Another browser's cookie, or none, does not finish a sign-in, even with the right state."""
    logins = pending()
    done(logins.keep(login("a"), cookie=None, now=0))
    other = done(logins.keep(login("b"), cookie=None, now=0))
    assert done(logins.take(cookie=other, state="a", now=1)) is None
    assert done(logins.take(cookie=None, state="a", now=1)) is None


def test_two_tabs_can_sign_in_at_once() -> None:
    """The second tab keeps the cookie of the first, so that both can come back."""
    logins = pending()
    cookie = done(logins.keep(login("a"), cookie=None, now=0))
    assert done(logins.keep(login("b"), cookie=cookie, now=0)) == cookie
    assert done(logins.take(cookie=cookie, state="a", now=1)) == login("a")
    assert done(logins.take(cookie=cookie, state="b", now=1)) == login("b")


def test_a_cookie_that_is_not_ours_is_not_adopted() -> None:
    """Who plants a cookie in another browser learns nothing from it."""
    assert done(pending().keep(login("a"), cookie="planted", now=0)) != "planted"


def test_pending_logins_are_bounded() -> None:
    """A flood of started sign-ins keeps the newest and costs no more memory."""
    logins = pending(entries_max=3)
    cookies = [done(logins.keep(login(str(number)), cookie=None, now=0)) for number in range(10)]
    assert len(logins) == 3
    assert done(logins.take(cookie=cookies[0], state="0", now=0)) is None
    assert done(logins.take(cookie=cookies[-1], state="9", now=0)) == login("9")


def test_seats_are_found_by_their_cookie_only() -> None:
    """A guess, an empty cookie and none find nobody."""
    taken = seats()
    cookie, _ = done(taken.take(seat(1)))
    assert taken.find(cookie) == seat(1)
    assert [taken.find(guess) for guess in ("", None, cookie[:-1], cookie + "A")] == [None] * 4


def test_no_cookie_is_kept_in_the_clear() -> None:
    """Memory that leaks holds hashes, which open nothing."""
    taken = seats()
    cookie, _ = done(taken.take(seat(1)))
    assert cookie not in repr(vars(taken))


def test_the_oldest_seat_makes_room() -> None:
    """The session that lost its place is named, so that it can be ended."""
    taken = seats(entries_max=2)
    first, _ = done(taken.take(seat(1)))
    done(taken.take(seat(2)))
    _, moved = done(taken.take(seat(3)))
    assert moved == [seat(1)]
    assert taken.find(first) is None
    assert len(taken) == 2


def test_leaving_frees_every_cookie_of_the_session() -> None:
    """After a sign-out no browser is left in its place."""
    taken = seats()
    cookies = [done(taken.take(seat(1)))[0], done(taken.take(seat(1)))[0]]
    done(taken.leave("session-1"))
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


class BrokenShelf(NoShelf):
    """A disk that is full."""

    durable = True

    def __init__(self) -> None:
        self.kept: list[Shelved] = []
        self.broken = True

    async def put(self, *things: Shelved) -> None:
        self._refuse()
        self.kept += things

    async def take(self, name: str) -> bytes | None:
        self._refuse()
        return None

    async def remove_of(self, owner: str) -> None:
        self._refuse()

    def _refuse(self) -> None:
        if self.broken:
            raise SessionStoreError("The disk is full.")


async def restarted(path: Path, first: Any, second: Any) -> None:
    """Both with a shelf in the same file; nothing but the file is common to them."""
    for act in (first, second):
        with SqliteSessionStore(path, keys=keys("a")) as store:
            await act(store.shelf("seat"))


def seats_on(shelf: Shelf) -> Seats:
    return Seats(entropy=random.Random().randbytes, shelf=shelf, entries_max=2)


def test_a_seat_outlives_a_restart(tmp_path: Path) -> None:
    """It is found by its cookie alone, also where it made room in memory; what was left or given up is not."""
    cookies: dict[int, str] = {}

    async def before(shelf: Shelf) -> None:
        taken = seats_on(shelf)
        for number in range(1, 5):
            cookies[number], _ = await taken.take(seat(number))
        await taken.leave("session-3")
        assert await taken.give_up(cookies[4]) == seat(4)

    async def after(shelf: Shelf) -> None:
        taken = seats_on(shelf)
        assert taken.find(cookies[1]) is None
        found = [(await taken.recall(cookies[number]))[0] for number in range(1, 5)]
        assert found == [seat(1), seat(2), None, None]
        assert taken.find(cookies[1]) == seat(1)
        assert [await taken.recall(guess) for guess in ("", None, "guess")] == [(None, [])] * 3
        assert {each.session_id for each in await taken.stored()} == {"session-1", "session-2"}

    done(restarted(tmp_path / "s.db", before, after))


def test_a_seat_that_is_left_after_a_restart_is_gone(tmp_path: Path) -> None:
    """By its session or by its cookie, though memory never held it."""
    cookies: list[str] = []

    async def before(shelf: Shelf) -> None:
        taken = seats_on(shelf)
        cookies.extend([(await taken.take(seat(1)))[0], (await taken.take(seat(2)))[0]])

    async def after(shelf: Shelf) -> None:
        taken = seats_on(shelf)
        await taken.leave("session-1")
        assert await taken.give_up(cookies[1]) == seat(2)
        assert [await taken.recall(cookie) for cookie in cookies] == [(None, [])] * 2

    done(restarted(tmp_path / "s.db", before, after))


def test_a_pending_login_outlives_a_restart_and_is_still_used_once(tmp_path: Path) -> None:
    """By the browser that began it; what was taken before the restart is not found after it."""
    cookies: list[str] = []

    def logins_on(shelf: Shelf) -> PendingLogins:
        return PendingLogins(entropy=random.Random().randbytes, shelf=shelf, entries_max=2)

    async def before(shelf: Shelf) -> None:
        logins = logins_on(shelf)
        for state in "abcd":
            cookies.append(await logins.keep(login(state), cookie=cookies[-1] if cookies else None, now=0))
        assert await logins.take(cookie=cookies[3], state="d", now=1) == login("d")

    async def after(shelf: Shelf) -> None:
        logins = logins_on(shelf)
        found = [await logins.take(cookie=cookies[3], state=state, now=0) for state in "abcdcx"]
        assert found == [None, None, login("c"), None, None, None]
        assert await logins.take(cookie="other", state="c", now=0) is None

    done(restarted(tmp_path / "s.db", before, after))


def test_a_shelf_that_fails_costs_nobody_their_seat() -> None:
    """It goes on in memory and is put on the shelf with the next one."""
    shelf = BrokenShelf()
    taken = seats_on(shelf)
    first, _ = done(taken.take(seat(1)))
    assert taken.find(first) == seat(1)
    shelf.broken = False
    done(taken.take(seat(2)))
    assert {thing.owner for thing in shelf.kept} == {"session-1", "session-2"}
    assert first not in repr([thing.name for thing in shelf.kept])
    shelf.broken = True
    done(taken.leave("session-1"))
    assert taken.find(first) is None
    assert done(taken.give_up("unknown")) is None


def test_what_another_version_wrote_is_no_seat(tmp_path: Path) -> None:
    """Its user signs in."""

    async def play(shelf: Shelf) -> None:
        taken = seats_on(shelf)
        cookie, _ = await taken.take(seat(1))
        (name,) = taken._seats
        await shelf.put(Shelved(name=name, body=b'{"changed": true}'))
        assert await seats_on(shelf).recall(cookie) == (None, [])

    done(restarted(tmp_path / "s.db", play, lambda _: asyncio.sleep(0)))
