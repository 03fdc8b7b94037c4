"""Sample data filled in by the running app: one button, how far it is, and where it leads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_kit import served_lab
from streamlit.testing.v1 import AppTest
from test_pages import OneSeat, texts

from session_core.clock import SystemClock
from session_core.dashboard import loaders
from session_core.dashboard.filling import Filling
from session_core.store import EventStore
from session_core.vocabulary import Source

FILL_S_MAX = 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = EventStore(tmp_path / "events.duckdb")
    yield opened
    opened.close()


def sources(store: EventStore) -> list[str]:
    found: list[str] = store.read("SELECT DISTINCT source FROM events").column("source").to_pylist()
    return found


def test_it_fills_a_store_in_the_background_and_counts_the_people(store: EventStore) -> None:
    """Whoever asks meanwhile is told that it is under way."""
    filling = Filling(SystemClock(), users=2, days=2)
    assert filling.start(store)
    assert not filling.start(store)
    assert filling.progress().planned == 4
    assert filling.wait(FILL_S_MAX)
    progress = filling.progress()
    assert (progress.running, progress.done, progress.trouble, progress.broke_off) == (False, 4, None, False)
    assert sources(store) == [Source.SIM]


def test_it_can_be_stopped_and_started_again(store: EventStore) -> None:
    """As when the app ends in the middle."""
    filling = Filling(SystemClock(), users=2, days=300)
    filling.start(store)
    filling.stop()
    assert filling.wait(FILL_S_MAX)
    progress = filling.progress()
    assert progress.done < progress.planned
    assert not progress.broke_off
    filling.users, filling.days = 1, 1
    assert filling.start(store)
    assert filling.wait(FILL_S_MAX)
    assert filling.progress().share == 1.0


def test_a_store_that_fails_is_told_of_in_its_own_sentence(store: EventStore) -> None:
    """And not with a traceback."""
    store.close()
    filling = Filling(SystemClock(), users=1, days=1)
    filling.start(store)
    assert filling.wait(FILL_S_MAX)
    assert "has been closed" in str(filling.progress().trouble)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Filling]:
    few = Filling(SystemClock(), users=2, days=2)
    monkeypatch.setattr(loaders, "filling", few)
    with served_lab(tmp_path / "lab.duckdb") as lab:
        lab.lab.seats = OneSeat(None)
        yield few
        few.stop()
        assert few.wait(FILL_S_MAX)


def overview() -> AppTest:
    return AppTest.from_file("../pages/menu.py", default_timeout=60).run()


def test_a_first_start_offers_sample_data_with_one_button(small: Filling) -> None:
    """Pressed, it shows how far it is; done, the page shows the data, with its badge."""
    app = overview()
    assert "2 days of 2 simulated people" in texts(app)
    app.button(key="fill_sample").click().run()
    assert not app.exception
    assert small.wait(FILL_S_MAX)
    app.query_params.update({"source": "simulated", "range": "30d"})
    app.run()
    assert not app.exception
    assert "Fill in sample data" not in [button.label for button in app.button]
    assert app.metric


def test_what_is_under_way_is_shown_instead_of_the_offer(small: Filling, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a button that stops it; it leads to the simulated month by itself."""
    going = small.progress()
    monkeypatch.setattr(small, "progress", lambda: type(going)(planned=10, done=3, running=True, stopping=False))
    app = overview()
    assert not app.exception
    assert app.button(key="stop_filling").label == "Stop"
    assert "fill_sample" not in [button.key for button in app.button]


def test_trouble_is_told_and_the_offer_stays(small: Filling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has made room on the disk can try again."""
    ended = type(small.progress())(planned=10, done=3, running=False, stopping=False, trouble="The disk is full.")
    monkeypatch.setattr(small, "progress", lambda: ended)
    app = overview()
    assert "The disk is full." in [warning.value for warning in app.warning]
    assert app.button(key="fill_sample")
