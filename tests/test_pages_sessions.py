"""Errors and sessions as pages: over an empty, a tiny and a normal store, by link, by search, and with nonsense."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_kit import ServedLab, fill, served_lab
from streamlit.testing.v1 import AppTest
from test_pages import STORES, OneSeat, texts

from session_core.dashboard import loaders

ERRORS, SESSIONS = "observe/errors.py", "observe/sessions.py"


@pytest.fixture(params=STORES, scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedLab, int]]:
    path = tmp_path_factory.mktemp(request.param) / "lab.duckdb"
    sessions = STORES[request.param]
    if sessions:
        fill(path, sessions=sessions, minutes=1 if request.param == "tiny" else 50)
    with served_lab(path) as lab:
        lab.lab.seats = OneSeat(None)
        yield lab, sessions


@pytest.fixture
def sessions(served: tuple[ServedLab, int]) -> int:
    """How many there are."""
    return served[1]


def opened(page: str, **address: str) -> AppTest:
    app = AppTest.from_file("../pages/menu.py", default_timeout=30).run()
    app.switch_page(page)
    for word, said in address.items():
        app.query_params[word] = said
    app.run()
    assert not app.exception
    assert not app.error
    return app


def test_errors_are_answered_or_there_is_a_button(sessions: int) -> None:
    """Each card has a picture or says why it has none."""
    app = opened(ERRORS)
    if not sessions:
        assert "No session was active" in texts(app)
        return
    assert "failed visibly" in texts(app)
    assert "to refresh failed" in texts(app)
    assert app.title[0].value == "Errors"
    assert "It comes back" not in texts(app)
    cards = [card.value for card in app.subheader]
    assert cards[:4] == ["Visible errors over time", "By class", "Why sessions ended", "Visible errors by endpoint"]


def test_rates_are_told_apart_as_the_address_says(sessions: int) -> None:
    """A link shows the same; what is chosen afterwards goes before it; nonsense is the default, and said."""
    if not sessions:
        return
    app = opened(ERRORS, rates_by="Policy")
    assert "Visible errors by policy" in texts(app)
    app.get_by_key("rates_by").set_value("Device").run()
    assert "Visible errors by device" in texts(app)
    assert "There is no breakdown" not in texts(app)
    nonsense = texts(opened(ERRORS, rates_by="zzz"))
    assert "Visible errors by endpoint" in nonsense
    assert "There is no breakdown 'zzz'" in nonsense


def test_a_kind_of_trouble_leads_to_a_session(sessions: int) -> None:
    """Its example is one that can be opened."""
    if sessions < 2:
        return
    tables = [table.value for table in opened(ERRORS).dataframe]
    kinds = next(table for table in tables if "Example session" in table.columns)
    link = kinds["Example session"].iloc[0]
    assert "sessions?session=session-" in link
    told = texts(opened(SESSIONS, session=link.rpartition("=")[2]))
    assert "What happened" in told
    assert "failed" in told


def test_sessions_are_found_by_name_and_by_what_befell_them(sessions: int) -> None:
    """The search is in the address, and how many there are is said."""
    app = opened(SESSIONS)
    if not sessions:
        assert "No session was active" in texts(app)
        return
    assert f"Showing {'the only session' if sessions == 1 else f'all {sessions} sessions'}" in texts(app)
    app.text_input(key="look_search").set_value("user-0").run()
    assert app.query_params["search"] == "user-0"
    assert "Showing the only session." in texts(app)
    assert app.dataframe[0].value["User"].tolist() == ["user-0"]
    app.get_by_key("look_only").set_value("ended").run()
    assert app.query_params == {"search": "user-0", "only": "ended"}
    assert "No session in this time range is like that" in texts(app)
    app.text_input(key="look_search").set_value("").run()
    app.get_by_key("look_only").set_value("all").run()
    assert app.query_params == {}


def test_one_session_is_told_by_link_and_left_by_a_button(sessions: int) -> None:
    """Whatever time range the link names besides."""
    if not sessions:
        return
    app = opened(SESSIONS, session="session-0", range="15m", source="imported", search="x")
    assert "Not ended" in texts(app)
    assert "user-0 · server · policy professional" in texts(app)
    assert app.subheader[0].value == "What happened"
    assert app.subheader[1].value.startswith("UX score")
    assert len(app.get("plotly_chart")) == 1
    app.toggle(key="table_session-0").set_value(True).run()
    assert len(app.dataframe[0].value) > 3
    app.button(key="back").click().run()
    assert app.query_params == {"range": "15m", "source": "imported", "search": "x"}


@pytest.mark.parametrize("name", ["nonesuch", "x" * 5_000, "\x00'; DROP TABLE events; --\n<b>", "  "])
@pytest.mark.usefixtures("served")
def test_a_session_that_is_not_there_is_a_calm_sentence(name: str) -> None:
    """With a way back."""
    app = opened(SESSIONS, session=name)
    assert "There is no session " in texts(app)
    assert app.button(key="back")


def test_nonsense_in_a_search_is_a_calm_sentence(sessions: int) -> None:
    """What is unknown is left at its default, and said."""
    if not sessions:
        return
    app = opened(SESSIONS, only="zzz", search="%_'\"\\" * 50)
    assert "There are no sessions 'zzz'" in texts(app)
    assert "No session in this time range is like that" in texts(app)


def test_a_session_is_told_once_until_there_is_more_of_it(sessions: int) -> None:
    """Everybody who opens it gets the same."""
    if sessions:
        assert loaders.session_opened("session-0", "UTC") is loaders.session_opened("session-0", "UTC")
    assert loaders.session_opened("nonesuch", "UTC") is None
