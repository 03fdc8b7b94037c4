"""The frame of the pages that look at something: what the address says is shown, whatever it says."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import plotly.graph_objects as go
import pytest
from lab_kit import fill, served_lab
from streamlit.runtime.parallel_coordinator import ParallelFragmentCoordinator
from streamlit.testing.v1 import AppTest
from test_pages import OneSeat

from session_core.dashboard import figures, loaders, view
from session_core.dashboard.cards import Answer, Card
from session_core.dashboard.view import View
from session_core.events import Event, Origin, UserActed
from session_core.store import EventStore
from session_core.vocabulary import Source

SESSIONS = 12


@pytest.fixture(scope="module", autouse=True)
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store with live sessions of the last hour, and a simulated one."""
    path = tmp_path_factory.mktemp("observe") / "lab.duckdb"
    fill(path, sessions=SESSIONS, minutes=40)
    store = EventStore(path)
    store.append([chatted("lunch", source=Source.SIM, policy="basic", scenario="lunch")])
    store.close()
    with served_lab(path) as served:
        served.lab.seats = OneSeat(None)
        yield


def chatted(session: str, **origin: object) -> Event:
    """Somebody said something a moment ago."""
    whole = Origin(**{"stream_id": session, "session_id": session, "user_id": session} | origin)  # type: ignore[arg-type]
    return Event(1, loaders.now_s() - 60, 0, 0, whole, UserActed(action="chat"))


def opened(page: str = "", **address: str) -> AppTest:
    app = AppTest.from_file("../pages/menu.py", default_timeout=30)
    for word, said in address.items():
        app.query_params[word.removesuffix("_")] = said
    app.run()
    app = app.switch_page(page).run() if page else app
    assert not app.exception
    return app


def texts(app: AppTest) -> str:
    return "\n".join(str(element.value) for element in [*app.markdown, *app.caption, *app.info, *app.title])


def headline(app: AppTest) -> str:
    return next(element.value for element in app.markdown if element.value.startswith("####"))


def badges(app: AppTest) -> str:
    return "\n".join(str(element.value) for element in app.get("markdown") if "badge" in str(element.value))


def test_the_address_sets_the_controls_and_the_controls_the_address() -> None:
    """A link shows the same view, and a choice makes one."""
    app = opened(range="7d", source="all", policy="basic", compare="0")
    assert app.get("segmented_control")[0].value == "7d"
    assert app.selectbox(key="look_policy").value == "basic"
    assert not app.toggle(key="look_compare").value
    app.toggle(key="look_compare").set_value(True).run()
    app.selectbox(key="look_policy").set_value(None).run()
    assert app.query_params == {"range": "7d", "source": "all"}


def test_a_choice_as_by_default_leaves_the_address() -> None:
    """What need not be said is not."""
    app = opened(range="7d", source="simulated")
    app.get_by_key("look_range").set_value("24h").run()
    app.get_by_key("look_source").set_value("Live").run()
    assert app.query_params == {}
    assert not app.exception


def test_two_quick_choices_both_count() -> None:
    """The second may leave before the address of the first has arrived; its controls know both."""
    app = opened()
    app.get_by_key("look_range").set_value("1h")
    app.get_by_key("look_source").set_value("All").run()
    assert app.query_params == {"range": "1h", "source": "all"}


def test_a_range_of_ones_own_begins_as_the_one_that_was_shown() -> None:
    """Then its ends are moved in the reader's own time; the address says them in UTC."""
    app = opened(range="1h")
    app.context = {"timezone": "Asia/Kathmandu"}
    app.get_by_key("look_range").set_value("Custom").run()
    start, end = (view.read_moment(app.query_params[word]) for word in ("from", "until"))
    assert end - start == 3_600
    field = app.get_by_key("look_from")
    assert field.value.timestamp() - start == pytest.approx(0, abs=86_400)
    field.set_value(field.value.replace(year=2026, month=1, day=1, hour=5, minute=45)).run()
    assert app.query_params["from"] == "2026-01-01T00:00:00Z"
    app.get_by_key("look_range").set_value("7d").run()
    assert app.query_params == {"range": "7d"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"range": "3w"}, "There is no time range '3w'"),
        ({"source": "nowhere"}, "There is no source 'Nowhere'"),
        ({"from_": "x", "until": "y"}, "This time range cannot be shown"),
        ({"from_": "2026-11-14T08:00:00Z"}, "needs both from and until"),
        ({"policy": "\x00'; DROP TABLE events; --\n<b>"}, "No session has this policy."),
        ({"device": "d" * 5_000, "version": "v"}, "No session has this app version and device."),
    ],
)
def test_nonsense_in_the_address_is_a_calm_sentence(address: dict[str, str], said: str) -> None:
    """Never a traceback; the rest of the page is there."""
    app = opened(**address)
    assert said in texts(app)
    assert app.title[0].value == "Overview"
    assert not app.error


def test_filters_stand_only_where_they_mean_something() -> None:
    """Not beside an experiment, nor beside one's own session; on the way back they are as they were."""
    app = opened(range="7d")
    assert app.get("segmented_control")
    for page in ("experiment/simulate.py", "operate/chat.py"):
        app = app.switch_page(page).run()
        assert not app.get("segmented_control")
    links = {link.proto.label or link.proto.page: link for link in app.get("page_link")}
    assert "range=7d" in str(next(link.proto for name, link in links.items() if "Overview" in name))


def test_simulated_data_wears_its_badge_wherever_it_shows() -> None:
    """Among all sources only when there is some, never beside live data alone."""
    assert "Simulated" in badges(opened(source="all"))
    assert "Simulated" in badges(opened(source="simulated"))
    assert "Simulated" not in badges(opened(source="live"))
    assert "Simulated" not in badges(opened(source="all", policy="professional"))


def test_what_can_be_chosen_is_what_occurs() -> None:
    """Of the source that is looked at; what a link says besides is kept."""
    app = opened(source="simulated", device="typewriter")
    assert app.selectbox(key="look_policy").options == ["basic"]
    assert app.selectbox(key="look_scenario").options == ["lunch"]
    assert app.selectbox(key="look_device").value == "typewriter"
    assert app.selectbox(key="look_device").options == ["server", "typewriter"]


def test_an_empty_page_has_one_button_that_mends_it() -> None:
    """And it does."""
    app = opened(policy="nonesuch")
    assert not app.metric
    app.button(key="mend").click().run()
    assert app.query_params == {}
    assert f"{SESSIONS} sessions" in headline(app)


def test_a_card_has_its_words_its_table_and_its_file() -> None:
    """What is drawn can be read, and taken away."""
    app = opened()
    assert "It comes back" not in texts(app)
    assert not app.dataframe
    app.toggle(key="table_states").set_value(True).run()
    assert list(app.dataframe[0].value.columns) == ["bucket", "state", "sessions"]
    assert app.get_by_key("csv_states")
    assert [element.proto.label for element in app.get("download_button")][:2] == ["Page as HTML", "Tables as CSV"]


def test_answers_are_kept_while_events_pour_in() -> None:
    """A first event is seen at once, those that follow it within ten seconds are not asked for again."""
    store, now = loaders.open_store(), view.read({}, loaders.now_s(), "UTC").view
    assert store is not None
    counted = []
    for name in ("first", "second"):
        store.append([chatted(name)])
        counted.append(loaders.sessions(now))
    assert counted == [SESSIONS + 1, SESSIONS + 1]


def test_a_card_is_drawn_once_for_all_who_look_at_the_same() -> None:
    """Another time range, filter or zone is another picture; a picture is as high as its place."""
    drawn: list[View] = []

    def ask(shown: View) -> Answer:
        drawn.append(shown)
        return Answer(pd.DataFrame({"n": [1]}), "One.", figures.blank(100, "", None))

    card = Card("drawn_once", "Drawn once", ask, height_px=321)
    one, other = (view.read({"range": word}, 1_700_000_000.0, "UTC").view for word in ("7d", "30d"))
    answers = [loaders.ask(card, shown) for shown in (one, one, other)]
    assert drawn == [one, other]
    assert answers[0].figure.layout.height == 321
    assert loaders.ask(card._replace(key="drawn_again"), one).alt == "One."
    assert len(drawn) == 3


def test_a_thread_is_started_only_for_what_must_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything is kept, the page is drawn in one go."""
    started: list[object] = []
    submit = ParallelFragmentCoordinator.submit

    def counting(coordinator: ParallelFragmentCoordinator, *given: object) -> None:
        started.append(given)
        submit(coordinator, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(ParallelFragmentCoordinator, "submit", counting)
    monkeypatch.setattr(loaders, "STALE_S", 1e9)
    app = opened(range="30d", source="all")
    assert len(started) >= 5
    started.clear()
    app.run()
    assert not started
    assert len(app.get("plotly_chart")) == 3


def test_no_two_cards_have_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a card shows is kept by its key."""
    monkeypatch.syspath_prepend("pages")
    pages = [
        import_module(f"parts.{path.stem}")
        for path in Path("pages/parts").glob("*.py")
        if "PAGE = " in path.read_text()
    ]
    keys = [card.key for page in pages for card in page.PAGE.cards]
    assert len(keys) == len(set(keys)) > 0


def test_what_was_clicked_outlives_the_chart_it_was_clicked_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live chart is made anew and forgets; the way to the sessions stays until the click is taken back."""
    points: list[dict[str, str]] = []
    drawn = [go.Figure()]
    chosen = SimpleNamespace(selection=SimpleNamespace(points=points))
    monkeypatch.setattr("streamlit.plotly_chart", lambda _, **asked: chosen if "on_select" in asked else None)
    monkeypatch.setattr(loaders, "ask", lambda *_: Answer(pd.DataFrame({"x": [1]}), "One", drawn[-1]))

    def ways(app: AppTest) -> list[str]:
        return [link.proto.label for link in app.get("page_link") if "the sessions" in link.proto.label]

    app = opened("observe/ux_trends.py", range="1h")
    assert ways(app) == []
    points.append({"x": "2026-03-01 08:00"})
    assert ways(app.run()) == ["Open the sessions behind this point"]
    points.clear()
    drawn.append(go.Figure())
    assert ways(app.run()) == ["Open the sessions of 2026-03-01 08:00"]
    points.append({"x": "2026-03-01 08:02"})
    assert ways(app.run()) == ["Open the sessions behind this point"]
    points.clear()
    assert ways(app.run()) == []
