"""Sentences say what is, in words a person would use."""

from __future__ import annotations

import math
from types import SimpleNamespace

import httpx
import pandas as pd
import pytest

from session_core.dashboard import ux_words, wording
from session_core.errors import (
    ForeignOriginError,
    LoginRequiredError,
    SessionLockedError,
    TokenUnavailableError,
)
from session_core.session_health import HealthInputs, HealthParts, health
from session_core.token_refresher import RefreshResult
from session_core.vocabulary import EndReason, Outcome, State


def of(sessions: float, now: float, before: float = math.nan) -> wording.Measures:
    return {"used_sessions": (sessions, 0), "interruption_free_percent": (now, before)}


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        (of(0, math.nan), "Nobody used a session in this time range."),
        (of(1, 100), "Sessions are good: 100 % of 1 session went uninterrupted."),
        (of(1500, 99.93, 99.53), "good: 99.93 % of 1,500 sessions went uninterrupted, 0.4 points better than"),
        (of(20, 95, 100), "fair: 95 % of 20 sessions went uninterrupted, 5 points worse than"),
        (of(20, 94.9, 94.9), "in trouble: 94.9 % of 20 sessions went uninterrupted."),
        (of(20, 99.00, 98.96), "good: 99 % of 20 sessions went uninterrupted."),
    ],
)
def test_the_overview_answers_its_question(measures: wording.Measures, said: str) -> None:
    """How it is, and whether it is better or worse than before by more than noise."""
    assert said in ux_words.overview_sentence(measures)


def test_a_change_is_said_only_beyond_noise_and_against_something() -> None:
    """No delta against a period in which nothing was, nor where comparing is switched off."""
    bands = pd.DataFrame({"band": ["excellent"], "sessions": [3], "health": [97.0]})

    def changes(before: float, *, compare: bool = True) -> list[str | None]:
        names = (
            "ux_score",
            "interruption_free_percent",
            "interruption_free_users_percent",
            "error_budget_left_percent",
        )
        measures = dict.fromkeys(names, (90.0, before)) | {"used_sessions": (200.0, 100.0)}
        return [tile.change for tile in ux_words.tiles(measures, bands, compare=compare)]

    assert changes(80.0) == ["+10.0", "+10.00 points", None, "+10 points"]
    assert changes(89.99) == changes(math.nan) == changes(80.0, compare=False) == [None] * 4


def test_a_budget_that_is_far_overdrawn_is_said_as_a_multiple() -> None:
    """Minus eight thousand percent says nothing; a figure nobody knows is a dash."""
    bands = pd.DataFrame({"band": [], "sessions": [], "health": []})
    names = ("ux_score", "interruption_free_percent", "interruption_free_users_percent", "error_budget_left_percent")
    measures = dict.fromkeys(names, (-8294.0, math.nan)) | {"used_sessions": (5.0, 0.0)}
    tiles = {tile.label: tile for tile in ux_words.tiles(measures, bands, compare=True)}
    assert tiles["Error budget left"].value == "84 × spent"
    assert tiles["Health"].value == "–"
    assert "From 5 sessions only." in tiles["UX score"].help


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0:00"), (59.9, "0:59"), (60, "1:00"), (3600, "1:00:00"), (3725, "1:02:05")]
)
def test_a_countdown_counts_in_steps(seconds: float, shown: str) -> None:
    """Digits stand where they stood a second ago."""
    assert wording.clock_time(seconds) == shown


def test_every_part_and_state_has_words() -> None:
    """No code word reaches a reader."""
    assert all(wording.part_name(part) for part in HealthParts._fields)
    assert all(wording.state_sentence(state).endswith(".") for state in State)


def test_health_names_the_lowest_part() -> None:
    """The sentence says what holds the score down."""
    score = health(HealthInputs(state=State.ACTIVE, token_left_s=50, refresh_lead_s=100))
    assert wording.health_sentence(score) == "Health is 50 of 100, fair; the lowest part is token age."
    assert "Token age 50" in wording.parts_alt(score)


@pytest.mark.parametrize(
    ("left_s", "refresh_left_s", "said"),
    [
        (None, None, "no access token"),
        (0, -1, "expired"),
        (100, 0, "due now"),
        (100, 40, "lasts 1:40; its refresh is due in 0:40"),
    ],
)
def test_a_token_is_described_to_the_second(left_s: float | None, refresh_left_s: float | None, said: str) -> None:
    """Expired on its very second, due on its very second."""
    assert said in wording.token_sentence(left_s=left_s, refresh_left_s=refresh_left_s)


REQUEST = httpx.Request("POST", "http://api/chat")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SessionLockedError(), "locked. Sign in again"),
        (LoginRequiredError(EndReason.REFRESH_REJECTED, None), "has ended. Sign in again"),
        (TokenUnavailableError(Outcome.OFFLINE, 3.0), "try again in 3 s. Your message is kept"),
        (ForeignOriginError("https://else"), "add it to api_origins"),
        (httpx.ReadTimeout("x", request=REQUEST), "took too long"),
        (httpx.ConnectError("x", request=REQUEST), "connection was lost"),
        (httpx.HTTPStatusError("x", request=REQUEST, response=httpx.Response(503, request=REQUEST)), "status 503"),
    ],
)
def test_an_error_is_calm_and_says_what_to_do(error: Exception, said: str) -> None:
    """A sentence or two; the message is never lost."""
    assert said in wording.calm(error)


def test_alternative_texts_say_what_is_shown_now() -> None:
    """For those who cannot see the chart, its content and not its kind."""
    bucket = pd.to_datetime([0, 60], unit="s", utc=True)
    states = pd.DataFrame({"bucket": bucket, "state": ["ACTIVE", "DEGRADED"], "sessions": [1, 2]})
    assert wording.states_alt(states).endswith("at the end 2 degraded.")
    assert wording.states_alt(states.head(0)) == "No session in any state."
    assert wording.bands_alt(pd.DataFrame({"band": ["good"], "sessions": [3]})).endswith("3 good.")
    counts = pd.DataFrame({"outcome": ["ok", "ok"], "refreshes": [1, 2]})
    assert wording.counts_alt(counts, "Refreshes", by="outcome", of="refreshes") == "Refreshes over time: 3 ok."
    assert wording.counts_alt(counts.head(0), "API errors", by="outcome", of="refreshes").startswith("No API errors")


def test_what_a_button_did_is_said() -> None:
    """Done, not done, or still under way."""
    assert wording.refresh_outcome(RefreshResult(outcome=Outcome.OK, retry_at=0)) == "The token was refreshed."
    assert "throttled" in wording.refresh_outcome(RefreshResult(outcome=Outcome.THROTTLED, retry_at=0))
    assert "under way" in wording.refresh_outcome(None)
    assert "status 200" in wording.call_outcome(httpx.Response(200))
    assert "under way" in wording.call_outcome(None)


def test_the_path_ends_with_the_present_state() -> None:
    """A word, a mark and a colour."""
    html = wording.path_html((State.SIGNED_OUT, State.ACTIVE, State.LOCKED), State.LOCKED)
    assert html.index("signed out") < html.index("active") < html.index("locked")
    assert "●" in html


def test_what_never_ran_is_said_so() -> None:
    """No date from the year 1970."""
    assert wording.ago(None, 5) == "not yet"
    assert wording.ago(5, 65) == "1 min ago"
    picture = SimpleNamespace(
        status=SimpleNamespace(
            token_left_s=None, token_life_s=None, state=State.EXPIRED, tokens=SimpleNamespace(refreshes=2)
        ),
        cache=SimpleNamespace(hits=1, stale_served=1, stale_if_error_served=1),
    )
    assert [line.split(": ")[-1] for line in wording.underneath(picture)]
    assert "no token" in wording.underneath(picture)[0]
    assert "3 from cache" in wording.underneath(picture)[2]
