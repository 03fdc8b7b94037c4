"""An app of one's own: one line of wiring, and a page that goes no further without a user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_kit import ServedLab, served_lab
from streamlit.testing.v1 import AppTest
from test_pages import OneSeat

from session_core.vocabulary import EndReason
from session_core.web.sign_in import Seat
from session_core.web.wiring import with_sessions

PAGE = Path(__file__).parents[1] / "examples" / "signed_in" / "page.py"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb", {"SESSION_LAB_SESSIONS": "memory"}) as lab:
        yield lab


@pytest.fixture
def seat(served: ServedLab) -> Iterator[Seat]:
    """Whoever opens a page sits here: AppTest has no cookies of its own."""
    seats = served.lab.seats
    with served.browser() as browser:
        served.sign_in(browser)
        found = seats.find(browser.cookies.get(served.lab.cookies.session))
    assert found is not None
    served.lab.seats = OneSeat(found)  # type: ignore[assignment]
    yield found
    served.lab.seats = seats


def test_a_page_goes_on_with_its_user(seat: Seat) -> None:
    """The gate gives the user, and the client calls on their behalf."""
    page = AppTest.from_file(str(PAGE)).run()
    assert [title.value for title in page.title] == ["Hello, Ada Lovelace"]
    page.button[0].click().run()
    assert '"ada"' in page.json[0].value


def test_a_page_without_a_user_shows_the_way_and_stops(served: ServedLab) -> None:
    """Nothing below the gate is run."""
    seats = served.lab.seats
    served.lab.seats = OneSeat(None)  # type: ignore[assignment]
    try:
        page = AppTest.from_file(str(PAGE)).run()
    finally:
        served.lab.seats = seats
    assert [info.value for info in page.info] == ["Sign in to see who you are to the API."]
    assert (len(page.title), len(page.exception)) == (0, 0)


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (EndReason.SIGNED_OUT_ELSEWHERE, "Signed out from elsewhere"),
        (EndReason.REFRESH_REJECTED, "Sign in to see who you are to the API."),
    ],
)
def test_a_session_that_is_over_is_no_user(served: ServedLab, seat: Seat, reason: EndReason, says: str) -> None:
    """The page says why, where there is something to say, and how to sign in."""
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    served.lab.service.call(session.sign_out(reason))
    page = AppTest.from_file(str(PAGE)).run()
    assert page.info[0].value.startswith(says)
    assert len(page.title) == 0


def test_the_wiring_says_what_is_wrong_before_anything_starts(tmp_path: Path) -> None:
    """One sentence, with the name of the app, and no file is left behind."""
    told = {"SESSION_LAB_DB": str(tmp_path / "lab.duckdb"), "SESSION_CORE_STORE_KEY": "short"}
    with pytest.raises(SystemExit, match=r"^My app cannot start\. .*SESSION_CORE_STORE_KEY.*\.$"):
        with_sessions(called="My app", environment=told)
    with pytest.raises(SystemExit, match="SESSION_LAB_DBB is not known"):
        with_sessions(environment={"SESSION_LAB_DBB": "x"})
    assert list(tmp_path.iterdir()) == []


def test_the_wiring_is_what_an_app_takes(tmp_path: Path) -> None:
    """Its life, its routes, its headers, and what it says of errors."""
    parts = with_sessions(environment={"SESSION_LAB_DB": str(tmp_path / "lab.duckdb")})
    assert set(parts) == {"lifespan", "routes", "middleware", "on_script_error"}
    assert any(getattr(route, "path", "") == "/auth/sign-in" for route in parts["routes"])
