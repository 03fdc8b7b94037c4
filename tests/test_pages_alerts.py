"""The Alerts page over an empty store, one session and many in trouble; and what a person can do there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from alert_kit import ACTED, FORCED_OUT, STARTED, STUCK, beat
from lab_kit import ServedLab, served_lab
from streamlit.testing.v1 import AppTest
from test_pages import OneSeat

from session_core.alert_rules import AlertSettings
from session_core.alert_states import AlertState
from session_core.clock import SystemClock
from session_core.errors import EventStoreError
from session_core.events import AnyFact, Event, Origin
from session_core.store import EventStore
from session_core.vocabulary import Source

ANSWERS = {
    "empty": "Nobody knows whether a person is needed: nothing can be measured.",
    "one": "Nothing needs a person, as far as can be seen: 4 of 7 rules cannot be measured.",
    "busy": "Fast burn, Steady burn and 3 others need a person.",
}


def lived(name: str, now: float, *facts: AnyFact) -> list[Event]:
    """A session of the last minutes, with these facts at its end."""
    origin = Origin(stream_id=name, session_id=name, user_id=name)
    told = [(now - 200, STARTED), (now - 100, ACTED), (now - 90, beat(95)), *((now - 60, fact) for fact in facts)]
    return [Event(seq, at, at, at, origin, fact) for seq, (at, fact) in enumerate(told, start=1)]


def fill(path: Path, sessions: int) -> None:
    """Of many sessions some are thrown out, some are unwell and some get stuck."""
    store, now = EventStore(path), SystemClock().wall()
    for number in range(sessions):
        trouble = (FORCED_OUT,) if number % 25 == 7 else (beat(8),) if number % 3 == 1 else ()
        stuck = (STUCK,) if number % 20 == 3 else ()
        store.append(lived(f"s{number}", now, *trouble, *stuck))
    store.close()


@pytest.fixture(params=ANSWERS, scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    path = tmp_path_factory.mktemp(request.param) / "lab.duckdb"
    fill(path, {"empty": 0, "one": 1, "busy": 120}[request.param])
    with served_lab(path) as served:
        served.said = ANSWERS[request.param]
        served.lab.alerts.evaluate()
        yield served


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    """Somebody is signed in."""
    path = tmp_path_factory.mktemp("acting") / "lab.duckdb"
    fill(path, 120)
    with served_lab(path) as served:
        with served.browser() as browser:
            served.sign_in(browser)
            seat = served.lab.seats.find(browser.cookies.get(served.lab.cookies.session))
        assert seat is not None
        served.lab.seats = OneSeat(seat)
        served.lab.recorder.flush()
        yield served


@pytest.fixture
def acting(busy: ServedLab) -> ServedLab:
    """As it was at the beginning."""
    busy.lab.alerts.save(None)
    for rule in busy.lab.alerts.board().alerts:
        busy.lab.alerts.end_silence(rule)
    return busy


def opened() -> AppTest:
    app = AppTest.from_file("../pages/menu.py", default_timeout=30).run()
    return app.switch_page("operate/alerts.py").run()


def texts(app: AppTest) -> str:
    shown = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.subheader, *app.title]
    return "\n".join(str(element.value) for element in shown)


def test_the_page_answers_first(served: ServedLab) -> None:
    """And shows every rule, with why it cannot be measured where it cannot."""
    served.lab.seats = OneSeat(None)
    app = opened()
    assert not app.exception
    assert not app.error
    assert app.title[0].value == "Alerts"
    assert served.said in texts(app)
    for rule in served.lab.alerts.board().settings.rules:
        assert f"**{rule.name}**" in texts(app)


def test_nobody_acts_without_a_sign_in(served: ServedLab) -> None:
    """What can be seen can be seen by all; what can be done is not offered."""
    served.lab.seats = OneSeat(None)
    app = opened()
    assert "Sign in to acknowledge, silence and change rules" in texts(app)
    assert not [button for button in app.button if button.key and button.key.startswith("acknowledge")]
    assert not app.menu_button
    assert app.button(key="save_rules").disabled


def test_an_alert_is_acknowledged_by_a_button(acting: ServedLab) -> None:
    """It moves to where somebody is at it, and the history says so."""
    app = opened()
    app.button(key="acknowledge_Fast burn").click().run()
    assert not app.exception
    assert acting.lab.alerts.board().alerts["Fast burn"].state is AlertState.ACKNOWLEDGED
    assert "Somebody is at it · 1" in texts(app)
    assert "Fast burn was acknowledged." in app.dataframe[0].value["What happened"].tolist()


def test_an_alert_is_silenced_and_spoken_to_again(acting: ServedLab) -> None:
    """For as long as was chosen."""
    app = opened()
    app.menu_button(key="silence_Token reuse").click("8 h").run()
    assert not app.exception
    until = acting.lab.alerts.board().alerts["Token reuse"].silenced_until
    assert until is not None
    assert 28_700 < until - SystemClock().wall() <= 28_800
    assert "Silenced · 1" in texts(app)
    app.button(key="speak_Token reuse").click().run()
    assert acting.lab.alerts.board().alerts["Token reuse"].silenced_until is None


def test_rules_are_saved_and_taken_back(acting: ServedLab) -> None:
    """A lower objective makes the alerts rest; the configured rules are one button away."""
    app = opened()
    assert app.button(key="save_rules").disabled
    app.number_input[0].set_value(90.0).run()
    assert not app.exception
    assert "This cannot be saved. Fast burn could never fire" in app.error[0].value
    assert app.button(key="save_rules").disabled
    app.number_input[0].set_value(99.0)
    app.selectbox[-1].set_value("Simulated").run()
    assert not app.error
    assert "Not saved yet." in texts(app)
    app.button(key="save_rules").click().run()
    assert "Saved; the alerts were judged by these rules just now." in texts(app)
    settings = acting.lab.alerts.board().settings
    assert (settings.objective.target, settings.source) == (0.99, Source.SIM)
    assert settings.rules == AlertSettings().rules
    app.button(key="configured").click().run()
    assert acting.lab.alerts.board().settings == AlertSettings()


def test_what_could_not_be_kept_is_said(acting: ServedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The click was not for nothing: the page says what to do."""

    def full(_statements: object) -> None:
        raise EventStoreError("The disk is full; free some space.")

    app = opened()
    monkeypatch.setattr(acting.lab.store.opened(), "write", full)
    app.button(key="acknowledge_Steady burn").click().run()
    assert "That was not kept: The disk is full; free some space." in app.error[0].value


def test_a_store_that_is_away_leaves_the_alerts_in_sight(acting: ServedLab) -> None:
    """Frozen, with the reason on top."""
    acting.lab.alerts.lose_sight("The event store is in use by another process.")
    app = opened()
    assert not app.exception
    assert "in use by another process" in app.warning[-1].value
    assert "Frozen" in texts(app)
    acting.lab.alerts.evaluate()
    assert msgspec.structs.asdict(acting.lab.alerts.board())["trouble"] is None
