"""What a restarted lab makes of what it finds: seats, sessions and grants, and what of them is damaged or over."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from lab_kit import ServedLab, served_lab
from stores import WatchedStore, record

from session_core.service import SessionService
from session_core.session import Session
from session_core.session_store import SessionDamagedError, SessionForeignError, SessionRecord, SessionStoreError
from session_core.shelf import NoShelf
from session_core.web.sign_in import Seat, Seats, User
from session_core.web.taking_up import take_up

KEY = {"SESSION_CORE_STORE_KEY": "a" * 43}


@contextmanager
def restarted(
    path: Path, before: Callable[[ServedLab, httpx.Client], None]
) -> Iterator[tuple[ServedLab, httpx.Client]]:
    """A lab, what is done in it, and the next one at the same address with the same browser."""
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=20) as browser:
        with served_lab(path, KEY) as lab:
            browser.base_url = lab.url
            lab.sign_in(browser)
            before(lab, browser)
        with served_lab(path, KEY, port=int(lab.url.rpartition(":")[2])) as lab:
            yield lab, browser


def cookie_of(lab: ServedLab, browser: httpx.Client) -> str:
    return browser.cookies[lab.lab.cookies.session]


def found(lab: ServedLab, browser: httpx.Client) -> tuple[Seat, Session] | None:
    return lab.lab.service.call(lab.lab.recall(cookie_of(lab, browser)))


def test_who_comes_back_after_a_restart_acts_without_a_login(tmp_path: Path) -> None:
    """The call goes through with the tokens of before; they are refreshed by the provider of before."""
    with restarted(tmp_path / "lab.duckdb", lambda _lab, _browser: None) as (lab, browser):
        seated = found(lab, browser)
        assert seated is not None
        seat, session = seated
        assert (seat.user.name, session.user_id) == ("Ada Lovelace", "ada")
        assert lab.lab.service.call(session.client.get("echo")).status_code == 200
        assert lab.lab.service.call(session.force_refresh_session()).outcome == "ok"


def test_nothing_in_the_files_opens_anything(tmp_path: Path) -> None:
    """Cookies, tokens, codes, names and private keys: none of them is there in the clear."""
    secrets: list[str] = []

    def note(lab: ServedLab, browser: httpx.Client) -> None:
        assert lab.lab.provider is not None
        seated = found(lab, browser)
        assert seated is not None
        secrets.extend([*lab.lab.provider.issued_secrets(), *browser.cookies.values(), seated[1].session_id])

    with restarted(tmp_path / "lab.duckdb", note):
        pass
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("*.sessions.db*") if file.suffix != ".key")
    assert len(kept) > 10_000
    assert len(secrets) > 6
    words = [*secrets, "Lovelace", "ada@example.org", "PRIVATE KEY", "127.0.0.1"]
    assert [word for word in words if word.encode() in kept] == []


def test_a_session_that_rests_can_be_ended(tmp_path: Path) -> None:
    """By its id, before anybody took it up: its refresh token is given back, and its cookie opens nothing."""
    names: list[str] = []

    def note(lab: ServedLab, browser: httpx.Client) -> None:
        seated = found(lab, browser)
        assert seated is not None
        names.append(seated[1].session_id)

    with restarted(tmp_path / "lab.duckdb", note) as (lab, browser):
        assert lab.lab.provider is not None
        lab.lab.service.call(lab.lab.leave(names[0]))
        assert found(lab, browser) is None
        assert lab.lab.provider.statistics().families_revoked == 1


def test_who_makes_room_in_memory_is_still_signed_in(tmp_path: Path) -> None:
    """The session goes on in its file, and is taken up again when its browser comes."""
    with served_lab(tmp_path / "lab.duckdb", KEY) as lab, lab.browser() as ada, lab.browser() as grace:
        lab.lab.seats._entries_max = 1
        for browser in (ada, grace):
            lab.sign_in(browser)
        assert len(lab.lab.service.sessions()) == 1
        assert lab.lab.seats.find(cookie_of(lab, ada)) is None
        for browser in (ada, grace):
            seated = found(lab, browser)
            assert seated is not None
            assert lab.lab.service.call(seated[1].client.get("echo")).status_code == 200
            assert len(lab.lab.service.sessions()) == 1


def test_in_memory_who_makes_room_is_signed_out(tmp_path: Path) -> None:
    """Nothing would find the session again, so it is given back."""
    memory = {"SESSION_LAB_SESSIONS": "memory"}
    with served_lab(tmp_path / "lab.duckdb", memory) as lab, lab.browser() as ada, lab.browser() as grace:
        assert lab.lab.provider is not None
        lab.lab.seats._entries_max = 1
        for browser in (ada, grace):
            lab.sign_in(browser)
        assert found(lab, ada) is None
        assert lab.lab.provider.statistics().families_revoked == 1


def test_another_app_on_the_same_file_finds_none_of_them(tmp_path: Path) -> None:
    """Its issuer is another one: neither a cookie of here nor a start takes up there what belongs here."""
    shared = {**KEY, "SESSION_LAB_SESSIONS": str(tmp_path / "shared.db")}
    with served_lab(tmp_path / "here.duckdb", shared) as here, here.browser() as browser:
        here.sign_in(browser)
        cookie = cookie_of(here, browser)
    with served_lab(tmp_path / "there.duckdb", shared) as there:
        assert there.url != here.url
        assert there.lab.service.call(there.lab.seats.stored()) == ()
        assert there.lab.service.call(there.lab.recall(cookie)) is None


@pytest.mark.parametrize("table", ["shelf", "sessions"])
def test_a_damaged_row_asks_its_user_to_sign_in(tmp_path: Path, table: str) -> None:
    """Nobody is let in by it, nobody else minds, and the next sign-in works."""
    path = tmp_path / "lab.duckdb"
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=20) as browser:
        with served_lab(path, KEY) as lab:
            browser.base_url = lab.url
            lab.sign_in(browser)
        with closing(sqlite3.connect(tmp_path / "lab.sessions.db", isolation_level=None)) as db:
            db.execute(f"UPDATE {table} SET box = zeroblob(200)")
        with served_lab(path, KEY, port=int(lab.url.rpartition(":")[2])) as lab:
            assert found(lab, browser) is None
            lab.sign_in(browser)
            assert found(lab, browser) is not None


def test_a_store_that_cannot_be_read_is_no_sign_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever comes meanwhile is told to try again; what is wrong with the file stands in the log only."""
    with restarted(tmp_path / "lab.duckdb", lambda _lab, _browser: None) as (lab, browser):
        seated = found(lab, browser)
        assert seated is not None
        lab.lab.service.call(lab.lab.service.let_go(seated[1].session_id))
        lab.lab.seats._seats.clear()
        with closing(sqlite3.connect(tmp_path / "lab.sessions.db", isolation_level=None)) as db:
            db.execute("ALTER TABLE shelf RENAME TO away")
            with pytest.raises(SessionStoreError, match="try again in a moment") as caught:
                found(lab, browser)
            answer = browser.get("/auth/activity")
            db.execute("ALTER TABLE away RENAME TO shelf")
        assert "sessions.db" not in str(caught.value)
        assert (answer.status_code, "sessions.db" in answer.text) == (503, False)
        assert "sessions.db" in caplog.text
        assert found(lab, browser) is not None


class Shelved(NoShelf):
    """Seats of sessions that are stored."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def all(self) -> tuple[bytes, ...]:
        seats = [Seat(session_id=name, user=User(sub="ada")) for name in self.names]
        return tuple(msgspec.json.encode(seat) for seat in seats)


class Resumed:
    """A service that only remembers whom it was asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def resume(self, session_id: str) -> None:
        if session_id == "foreign":
            raise SessionForeignError("A newer version wrote it.")
        self.names.append(session_id)


TROUBLE = {
    "broken": SessionStoreError("The disk is gone."),
    "damaged": SessionDamagedError("It was changed."),
    "foreign": SessionForeignError("A newer version wrote it."),
}


class Stored(WatchedStore):
    async def load(self, session_id: str) -> SessionRecord | None:
        for name, error in TROUBLE.items():
            if session_id == name:
                raise error
        return record(session_id, refresh_sent_at=1.0 if session_id == "cut off" else None)


class Busy(WatchedStore):
    """Others get their turn while it reads."""

    async def load(self, session_id: str) -> SessionRecord | None:
        await asyncio.sleep(0)
        return await super().load(session_id)


def taken_up(*names: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("session_core.web.taking_up.PAUSE_S", 0.0)
    service, seats = Resumed(), Seats(entropy=bytes, shelf=Shelved(*names))
    asyncio.run(take_up(service, Stored(), seats))  # type: ignore[arg-type]
    return service.names


def test_refreshes_that_were_cut_off_are_made_up_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then everybody else, each once, however many cookies they have."""
    names = taken_up("a", "b", "cut off", "a", monkeypatch=monkeypatch)
    assert names[0] == "cut off"
    assert sorted(names[1:]) == ["a", "b"]


def test_one_session_that_cannot_be_read_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged one is put aside by the service, one of a newer version stays where it is, and the rest go on."""
    with caplog.at_level(logging.WARNING):
        names = taken_up("damaged", "foreign", "a", "cut off", monkeypatch=monkeypatch)
    assert names[0] == "cut off"
    assert sorted(names[1:]) == ["a", "damaged"]
    assert "A newer version wrote it." in caplog.text


def test_a_store_that_fails_at_the_start_is_left_to_who_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log; the app runs."""
    with caplog.at_level(logging.WARNING):
        assert taken_up("broken", "a", monkeypatch=monkeypatch) == []
    assert "The disk is gone." in caplog.text


def test_the_service_resumes_a_session_once() -> None:
    """Who asks while it is being resumed gets the same; one that was let go can be taken up again."""
    from session_core.provider.demo import demo_provider

    async def play() -> None:
        demo, store = demo_provider(), Busy()
        async with SessionService(demo.config, store=store, transport=demo.transport, pool=demo.pool) as first:
            login = await first.login()
            session = await first.finish_login(await demo.browser.sign_in(login, "ada", "demo"), login)
            assert await first.resume(session.session_id) is session
            await first.let_go(session.session_id)
            await first.let_go("unknown")
            assert len(first) == 0
            found = await asyncio.gather(*(first.resume(session.session_id) for _ in range(5)))
            assert len({id(each) for each in found}) == 1
            assert found[0] is not session
            assert len(first) == 1

    asyncio.run(play())
