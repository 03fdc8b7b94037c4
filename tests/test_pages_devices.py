"""The Devices page: nobody, one device, several; ending one, and all others after a question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from lab_kit import ServedLab, served_lab
from streamlit.testing.v1 import AppTest
from test_pages import OneSeat, texts

from session_core.session_store import SessionStoreError
from session_core.vocabulary import EndReason
from session_core.web.sign_in import Seat

AGENTS = ("Mozilla/5.0 (X11; Linux) Firefox/140.0", "Mozilla/5.0 (iPhone) Safari/605", "Chrome/*_*<b>")


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


def signed_in(served: ServedLab, count: int) -> list[Seat]:
    """Ada on so many devices; the page belongs to the first."""
    seats = []
    with ExitStack() as open_browsers:
        for agent in AGENTS[:count]:
            browser = open_browsers.enter_context(served.browser())
            browser.headers["user-agent"] = agent
            served.sign_in(browser)
            seats.append(served.lab.seats.find(browser.cookies.get(served.lab.cookies.session)))
    served.lab.seats = OneSeat(seats[0] if seats else None)
    return seats


def opened() -> AppTest:
    app = AppTest.from_file("../pages/menu.py", default_timeout=30).run()
    return app.switch_page("operate/devices.py").run()


def ended(served: ServedLab, seat: Seat) -> EndReason | None:
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    return session.ended


def test_nobody_is_told_how_to_sign_in(served: ServedLab) -> None:
    """No list, and no exception."""
    signed_in(served, 0)
    app = opened()
    assert not app.exception
    assert "Sign in to see where you are signed in" in texts(app)


def test_one_device_is_this_one(served: ServedLab) -> None:
    """It is marked, says where it is and since when, and there is nothing to end."""
    signed_in(served, 1)
    app = opened()
    assert not app.exception
    shown = texts(app)
    assert "You are signed in here, and nowhere else." in shown
    assert "Firefox on Linux" in shown
    assert "This one" in shown
    assert "From 127.0.0.1 · first seen" in shown
    assert "in use now" in shown
    assert [button.label for button in app.main if button.type == "button"] == []


def test_one_of_several_is_ended(served: ServedLab) -> None:
    """At once in this process, with a reason; the others go on."""
    here, phone, other = signed_in(served, 3)
    app = opened()
    shown = texts(app)
    assert "You are signed in here and on 2 other devices." in shown
    assert "Safari on iPhone" in shown
    assert "<b>" not in shown
    app.button(key=f"end_{phone.session_id}").click().run()
    assert "Signed out 1 device" in texts(app)
    assert "You are signed in here and on 1 other device." in texts(app)
    assert [ended(served, seat) for seat in (here, phone, other)] == [None, EndReason.SIGNED_OUT_ELSEWHERE, None]


def test_all_others_are_ended_after_a_question(served: ServedLab) -> None:
    """Whoever thinks again changes nothing."""
    seats = signed_in(served, 3)
    app = opened()
    app.button(key="end_others").click().run()
    assert "2 other devices will have to sign in again. You stay signed in here." in texts(app)
    app.button(key="end_others_not").click().run()
    assert [ended(served, seat) for seat in seats] == [None, None, None]
    app.button(key="end_others").click().run()
    app.button(key="end_others_sure").click().run()
    elsewhere = EndReason.SIGNED_OUT_ELSEWHERE
    assert [ended(served, seat) for seat in seats] == [None, elsewhere, elsewhere]
    assert "You are signed in here, and nowhere else." in texts(app)


def test_whoever_was_ended_learns_why(served: ServedLab) -> None:
    """The page of the device that was signed out says so, and nothing else."""
    here, phone = signed_in(served, 2)
    opened().button(key=f"end_{phone.session_id}").click().run()
    served.lab.seats = OneSeat(phone)
    app = opened()
    assert [title.value for title in app.title] == ["Signed out from elsewhere"]
    assert "ended on another of your devices" in texts(app)
    assert "/auth/sign-in?return_to=" in texts(app)
    assert ended(served, here) is None


def test_a_store_that_cannot_be_read_is_said_in_a_sentence(served: ServedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page goes on without its list."""
    signed_in(served, 1)

    async def fails(_user_id: str) -> None:
        raise SessionStoreError("The disk of the session store is full.")

    monkeypatch.setattr(served.lab.service._store, "list_of", fails)
    app = opened()
    assert not app.exception
    assert [warning.value for warning in app.warning] == ["The disk of the session store is full."]
