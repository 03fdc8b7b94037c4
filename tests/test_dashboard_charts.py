"""Charts are made of what is asked, whether that is nothing, one row or much."""

from __future__ import annotations

import json

import pandas as pd
import plotly.io as pio
import pytest

from session_core.dashboard import charts, figures, theme
from session_core.session_health import HealthInputs, health
from session_core.store import TimeRange
from session_core.vocabulary import Band, State

SPAN = TimeRange(0, 3600)


def moments(*seconds: float) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(list(seconds), unit="s", utc=True))


def states(*rows: tuple[float, State, int]) -> pd.DataFrame:
    at, words, sessions = zip(*rows, strict=True) if rows else ((), (), ())
    return pd.DataFrame({"bucket": moments(*at), "state": list(words), "sessions": list(sessions)})


def test_every_bucket_of_the_range_is_drawn() -> None:
    """Where no session was, the area is at zero, not a slope between its neighbours."""
    figure = charts.states_over_time(states((0, State.ACTIVE, 2), (600, State.ACTIVE, 1)), SPAN)
    drawn = dict(zip(figure.data[0].x, figure.data[0].y, strict=True))
    assert list(drawn.values())[:3] == [2, 0, 0]
    assert len(drawn) == 3600 // SPAN.bucket_width_s + 1


def test_a_finished_figure_sends_what_it_was_and_makes_it_once() -> None:
    """Streamlit asks for it at every rerun of every reader."""
    figure = charts.states_over_time(states((0, State.ACTIVE, 2), (600, State.ACTIVE, 1)), SPAN)
    finished = figures.Finished(figure)
    assert json.loads(pio.to_json(finished.to_dict(), validate=False)) == json.loads(figure.to_json())
    assert finished.to_dict() is finished.to_dict()
    assert finished.layout.height == figure.layout.height


def test_an_axis_shortens_thousands_and_no_parts_of_one() -> None:
    """5,000 is 5k; half a per cent was 500m."""
    axis = figures.blank(200, "% of requests", None).layout.yaxis
    assert (axis.tickformat, axis.exponentformat) == (None, "SI")


def test_states_wear_their_colours() -> None:
    """Colour means state, and the name stands beside it."""
    figure = charts.states_over_time(states((0, State.ACTIVE, 2), (0, State.SUSPENDED, 1)), SPAN)
    assert {trace.name: trace.fillcolor for trace in figure.data} == {
        "Active": theme.STATE_COLOURS[State.ACTIVE],
        "Suspended": theme.STATE_COLOURS[State.SUSPENDED],
    }
    assert [trace.fillpattern.shape for trace in figure.data] == [None, "/"]


def test_times_are_those_of_the_reader() -> None:
    """In Kathmandu it is 5 h 45 min later."""
    figure = charts.states_over_time(states((0, State.ACTIVE, 1)), SPAN, zone="Asia/Kathmandu")
    assert figure.layout.xaxis.range[0].isoformat().endswith("05:30:00+05:30")
    assert str(figure.data[0].x[0]).startswith("1970-01-01T05:30") or figure.data[0].x[0].hour == 5


def test_a_bar_of_bands_says_its_words_and_counts() -> None:
    """Colour alone never carries the meaning."""
    figure = charts.bands_now(pd.DataFrame({"band": [Band.EXCELLENT, Band.POOR], "sessions": [1200, 3]}))
    assert [trace.text for trace in figure.data] == ["Excellent 1,200", "Poor 3"]


@pytest.mark.parametrize("question", charts.COUNTED)
def test_counts_are_stacked_by_their_word(question: str) -> None:
    """Each word is one trace, summed over whatever else the table tells apart."""
    view = charts.COUNTED[question]
    counts = pd.DataFrame({"bucket": moments(0, 0, 600), view.by: ["a", "a", "b"], view.of: [1, 2, 4]})
    figure = charts.counts_over_time(counts, SPAN, view)
    assert {trace.name: list(trace.y) for trace in figure.data} == {"A": [3, 0], "B": [0, 4]}


@pytest.mark.parametrize("question", charts.COUNTED)
def test_nothing_to_count_is_no_error(question: str) -> None:
    """An empty answer has its columns and no rows."""
    view = charts.COUNTED[question]
    empty = pd.DataFrame({"bucket": moments(), view.by: [], view.of: []})
    assert not charts.counts_over_time(empty, SPAN, view).data
    assert not charts.states_over_time(states(), SPAN).data
    assert not charts.bands_now(pd.DataFrame({"band": [], "sessions": []})).data


def test_the_lowest_part_is_named_and_stands_last() -> None:
    """One broken part cannot hide."""
    score = health(HealthInputs(state=State.ACTIVE, token_left_s=10, refresh_lead_s=100))
    (bars,) = charts.health_parts(score).data
    assert bars.y[-1] == "Token age"
    assert bars.text[-1] == "10"
    assert bars.marker.color[-1] == theme.BAND_COLOURS[Band.CRITICAL]


@pytest.mark.parametrize(
    ("left_s", "refresh_left_s", "shown_min", "mark_min"),
    [(3600, 3300, 60, 55), (300, 0, 5, 55), (0, -300, 0, 55), (-5, -305, 0, 54.916), (1800, 1500, 30, 55)],
)
def test_token_life_shrinks_and_the_mark_stands_still(
    left_s: float, refresh_left_s: float, shown_min: float, mark_min: float
) -> None:
    """The refresh point is a moment in the token's life; what is left of it runs towards zero."""
    figure = charts.token_life(life_s=3600, left_s=left_s, refresh_left_s=refresh_left_s)
    gone, left = (trace.x[0] for trace in figure.data)
    assert left == pytest.approx(shown_min)
    assert gone + left == pytest.approx(60)
    assert figure.layout.shapes[0].x0 == pytest.approx(mark_min, abs=0.1)
