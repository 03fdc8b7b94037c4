"""What is wrong on the disk ends in a sign-in or in nothing at all, and in a safe state; over real HTTP."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
from lab_kit import ServedLab, served_lab
from test_bad_input import begin, standing


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def rest(served: ServedLab, browser: httpx.Client) -> None:
    """As after a restart: the session is on the disk only."""
    seat = served.lab.seats.find(browser.cookies[served.lab.cookies.session])
    assert seat is not None
    served.lab.service.call(served.lab.service.let_go(seat.session_id))
    served.lab.seats._seats.clear()


def test_a_record_of_another_version_asks_for_a_sign_in_and_is_left_alone(tmp_path: Path) -> None:
    """Its user is not shut out; and an app that is updated again finds it as it was."""
    with served_lab(tmp_path / "lab.duckdb") as served, served.browser() as browser:
        served.sign_in(browser)
        rest(served, browser)
        sql(tmp_path / "lab.sessions.db", "UPDATE sessions SET format = format + 1")
        assert [standing(browser), standing(browser)] == ["nobody", "nobody"]
        sql(tmp_path / "lab.sessions.db", "UPDATE sessions SET format = format - 1")
        assert standing(browser) == "open"
        rest(served, browser)
        sql(tmp_path / "lab.sessions.db", "UPDATE sessions SET format = format + 1")
        assert served.sign_in(browser, "/chat").url.path == "/chat"
        assert standing(browser) == "open"


def test_a_cookie_of_another_key_is_nobodys(tmp_path: Path) -> None:
    """Another app, or this one with another file and key: what opens a session there opens nothing here."""
    with served_lab(tmp_path / "other.duckdb") as other, other.browser() as visitor:
        other.sign_in(visitor)
        cookie = visitor.cookies[other.lab.cookies.session]
        assert standing(visitor) == "open"
    with served_lab(tmp_path / "lab.duckdb") as served, served.browser() as browser:
        told = {"cookie": f"{served.lab.cookies.session}={cookie}"}
        assert browser.get("/auth/activity", headers=told).json()["how"] == "nobody"


def test_a_damaged_record_asks_for_a_sign_in(tmp_path: Path) -> None:
    """It is put aside, and its user signs in anew."""
    with served_lab(tmp_path / "lab.duckdb") as served, served.browser() as browser:
        browser.get(begin(browser), follow_redirects=False)
        rest(served, browser)
        sql(tmp_path / "lab.sessions.db", "UPDATE sessions SET box = zeroblob(500)")
        assert [standing(browser), standing(browser)] == ["nobody", "nobody"]
        served.sign_in(browser)
        assert standing(browser) == "open"


def test_a_disk_that_is_full_while_tokens_are_written_costs_nobody_their_session(tmp_path: Path) -> None:
    """The sign-in ends at its page and the session works from memory; it is written as soon as there is room."""
    with served_lab(tmp_path / "lab.duckdb") as served, served.browser() as browser:
        lab, store = served.lab, served.lab.service._store
        url = begin(browser)

        def on_disk(pragma: str) -> None:
            lab.service.call(store._run(store._database._db.execute, pragma))

        on_disk("PRAGMA query_only = ON")
        answer = browser.get(url, follow_redirects=False)
        assert answer.headers["location"] == "/chat"
        assert standing(browser) == "open"
        seat = lab.seats.find(browser.cookies[lab.cookies.session])
        session = lab.service.get(seat.session_id)
        lab.service.call(session.force_refresh_session())
        assert standing(browser) == "open"
        assert lab.service.call(store.load(seat.session_id)) is None
        on_disk("PRAGMA query_only = OFF")
        assert lab.service.call(session._tokens.retry_persist())
        assert lab.service.call(store.load(seat.session_id)).tokens == session._tokens.tokens
        lab.service.call(lab.seats.catch_up())
        rest(served, browser)
        assert standing(browser) == "open"
