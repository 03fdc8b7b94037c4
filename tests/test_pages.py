"""Every page, over an empty, a tiny and a normal store, signed in and not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_kit import ServedLab, fill, served_lab
from streamlit.testing.v1 import AppTest

from session_core.web import auth_context
from session_core.web.sign_in import Seat

PAGES = [
    "observe/overview.py",
    "operate/session_health.py",
    "operate/chat.py",
    "observe/errors.py",
    "observe/sessions.py",
]
FOR_ALL = [page for page in PAGES if page.startswith("observe/")]
STORES = {"empty": 0, "tiny": 1, "normal": 40}


class OneSeat:
    """AppTest has no cookies: whoever asks sits here."""

    def __init__(self, seat: Seat | None) -> None:
        self.seat = seat

    def find(self, _cookie: str | None) -> Seat | None:
        return self.seat

    async def recall(self, _cookie: str | None) -> tuple[Seat | None, list[Seat]]:
        return self.seat, []

    async def leave(self, _session_id: str) -> None:
        self.seat = None

    async def give_up(self, _cookie: str | None) -> Seat | None:
        seat, self.seat = self.seat, None
        return seat

    async def catch_up(self) -> None:
        """Nothing was put off."""


@pytest.fixture(params=STORES, scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    path = tmp_path_factory.mktemp(request.param) / "lab.duckdb"
    if STORES[request.param]:
        fill(path, sessions=STORES[request.param], minutes=1 if request.param == "tiny" else 50)
    with served_lab(path) as lab:
        yield lab


@pytest.fixture
def nobody(served: ServedLab) -> Iterator[None]:
    seats, served.lab.seats = served.lab.seats, OneSeat(None)
    yield
    served.lab.seats = seats


@pytest.fixture
def signed_in(served: ServedLab) -> Iterator[Seat]:
    seats = served.lab.seats
    with served.browser() as browser:
        served.sign_in(browser)
        seat = seats.find(browser.cookies.get(served.lab.cookies.session))
    assert seat is not None
    served.lab.seats = OneSeat(seat)
    yield seat
    served.lab.provider.faults.clear()
    served.lab.service.call(served.lab.leave(seat.session_id))
    served.lab.seats = seats


def opened(page: str) -> AppTest:
    app = AppTest.from_file("../pages/menu.py", default_timeout=30).run()
    return app if page == PAGES[0] else app.switch_page(page).run()


def texts(app: AppTest) -> str:
    shown = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.subheader, *app.title, *app.html]
    return "\n".join(str(element.value) for element in shown)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_without_a_sign_in(page: str) -> None:
    """It shows what it can, or how to sign in; never an exception."""
    app = opened(page)
    assert not app.exception
    assert not app.error
    assert app.title
    if page not in FOR_ALL:
        assert "/auth/sign-in?return_to=" in texts(app)


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_signed_in(page: str) -> None:
    """It knows who is there."""
    app = opened(page)
    assert not app.exception
    assert not app.error
    assert "Ada Lovelace" in "\n".join(element.value for element in app.text)


@pytest.mark.usefixtures("nobody")
def test_the_overview_answers_first() -> None:
    """An empty store says why it is empty and what mends it; a full one begins with its sentence."""
    app = opened(PAGES[0])
    if app.metric:
        assert "Sessions are" in texts(app)
        assert [tile.label for tile in app.metric] == [
            *("UX score", "Interruption-free", "Health", "Error budget left", "Open alerts")
        ]
    else:
        assert "No session was active" in texts(app)
        assert "Sign in and start a session" in texts(app)


@pytest.mark.usefixtures("signed_in")
def test_health_can_be_forced_broken_and_mended() -> None:
    """Force refresh, a 503, the answer of the page, and clearing it."""
    app = opened(PAGES[1])
    _button(app, "Force refresh").click().run()
    assert "The token was refreshed." in texts(app)
    app.button(key="fault_unavailable").click().run()
    assert "● degraded" in texts(app.run())
    app.button(key="clear_faults").click().run()
    _button(app, "Force refresh").click().run()
    assert "● active" in texts(app.run())
    _button(app, "Call the API now").click().run()
    assert "answered with status 200" in texts(app)


@pytest.mark.usefixtures("signed_in")
def test_management_can_be_stopped_and_started() -> None:
    """The two buttons take turns."""
    app = opened(PAGES[1])
    _button(app, "Stop").click().run()
    assert "Stopped: unattended." in texts(app.run())
    _button(app, "Start").click().run()
    assert "Running: the worker" in texts(app.run())


@pytest.mark.usefixtures("signed_in")
def test_chat_answers_and_remembers() -> None:
    """What was said and answered is still there at the next run."""
    app = opened(PAGES[2])
    app.chat_input[0].set_value("Hello").run()
    assert not app.exception
    assert "Hello" in texts(app)
    app.run()
    assert texts(app).count("Hello") >= 2


@pytest.mark.usefixtures("signed_in")
def test_chat_keeps_what_could_not_be_sent() -> None:
    """While the API fails the message waits, and goes out when asked again."""
    app = opened(PAGES[2])
    health = opened(PAGES[1])
    health.button(key="fault_api_down").click().run()
    app.chat_input[0].set_value("Are you there?").run()
    assert "Your message is kept" in texts(app)
    health.button(key="clear_faults").click().run()
    app.button(key="again_button").click().run()
    assert not app.warning
    assert len(app.session_state["talk"]) == 2


def test_signing_out_is_a_button(served: ServedLab, signed_in: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is over and the browser is sent on; back from the provider, the page asks for a sign-in."""
    monkeypatch.setattr(auth_context, "_cookie", lambda _lab: "of this browser")
    app = opened(PAGES[2])
    app.button(key="sign_out").click().run()
    assert not app.exception
    assert served.lab.service.get(signed_in.session_id) is None
    assert served.lab.farewells.take(cookie="of this browser", now=served.lab.clock.boot()) is not None
    assert "Sign in to chat" in texts(app.run())


def test_pages_stay_thin() -> None:
    """Ask, load, show: no query, grouping or database in a page, and none longer than 45 lines."""
    for page in Path("pages").rglob("*.py"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"SELECT |groupby|duckdb|\bpd\.(?!DataFrame)|pivot", text), page
        if page.parent.name != "parts":
            assert len(text.splitlines()) <= 45, page


def _button(app: AppTest, label: str) -> object:
    return next(button for button in app.button if button.label == label)
