"""Values over time stand where they happened, the period before behind them, and a line where something changed."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from session_core.dashboard import charts, figures, theme, trends
from session_core.dashboard.figures import Mark
from session_core.store import TimeRange

SPAN = TimeRange(7_200, 10_800)
SCORE = trends.Measure("UX score", "score", "UX score, 0 to 100", total="sessions", top=100)
RETRIES = trends.Measure("Retries", "retries", "Retries", gaps=False)


def scores(*rows: tuple[float, float, int], policy: str = "basic") -> pd.DataFrame:
    at, values, sessions = zip(*rows, strict=True) if rows else ((), (), ())
    bucket = pd.DatetimeIndex(pd.to_datetime(list(at), unit="s", utc=True)).as_unit("us")
    frame = pd.DataFrame({"bucket": bucket, "score": list(values), "sessions": list(sessions)})
    return frame.assign(policy=policy, retries=frame["score"])


def at(line: object, moment_s: float) -> float:
    """What a line shows at a moment of SPAN."""
    place = [moment.timestamp() for moment in line.x].index(moment_s)  # type: ignore[attr-defined]
    return float(line.y[place])  # type: ignore[attr-defined]


def test_the_period_before_stands_behind_on_the_same_axis() -> None:
    """A value of an hour ago is drawn where its bucket is now, dashed and pale, and says when it was."""
    figure = trends.over_time(scores((7_260, 91.0, 5)), scores((3_660, 80.0, 4)), SPAN, SCORE)
    before, now = figure.data
    assert (at(before, 7_260), at(now, 7_260)) == (80.0, 91.0)
    assert (before.line.dash, now.line.dash) == ("dash", None)
    assert before.opacity < 1
    assert before.customdata[1] == "01 Jan 01:01"


def test_a_rate_over_nothing_is_a_gap_and_a_count_of_nothing_is_zero() -> None:
    """Nobody had a bad score where nobody was; but nobody retried either."""
    frame = scores((7_200, 91.0, 5), (7_380, 93.0, 5))
    (rate,) = trends.over_time(frame, None, SPAN, SCORE).data
    (count,) = trends.over_time(frame, None, SPAN, RETRIES).data
    assert math.isnan(at(rate, 7_260))
    assert at(count, 7_260) == 0


def test_a_value_between_two_gaps_is_a_point() -> None:
    """A line through one place would not be seen."""
    frame = scores((7_200, 91.0, 5), (7_260, 92.0, 5), (7_800, 93.0, 5))
    (line,) = trends.over_time(frame, None, SPAN, SCORE).data
    assert line.mode == "lines+markers"
    assert [size > 0 for size in line.marker.size][:12] == [*[False] * 10, True, False]


def test_every_point_of_a_line_can_be_clicked() -> None:
    """Plotly selects nothing where a trace has no markers, however near the pointer is."""
    frame = scores((7_200, 91.0, 5), (7_260, 92.0, 5))
    (line,) = trends.over_time(frame, None, SPAN, SCORE).data
    assert line.mode == "lines+markers"
    assert not any(line.marker.size)
    assert line.selected.marker.size > 0


def test_a_chart_has_at_most_one_point_a_bucket() -> None:
    """However much there was, at most 120 are drawn."""
    for length_s in (900, 3_600, 86_400, 30 * 86_400):
        span = TimeRange.last(length_s, 1_700_000_000)
        for line in trends.over_time(scores(), scores((span.previous.start_s, 1.0, 1)), span, SCORE).data:
            assert len(line.x) == len(line.y) == length_s / span.bucket_width_s <= 120


def test_values_near_the_top_are_not_drawn_from_zero() -> None:
    """99.5 and 99.9 % would look the same; but 40 and 90 are a long way apart either way."""
    near = trends.over_time(scores((7_200, 99.5, 5), (7_260, 99.9, 5)), None, SPAN, SCORE)
    far = trends.over_time(scores((7_200, 40.0, 5), (7_260, 90.0, 5)), None, SPAN, SCORE)
    assert 98 < near.layout.yaxis.range[0] < 99.5
    assert far.layout.yaxis.range[0] == 0


def test_a_unit_is_on_every_axis_of_values() -> None:
    """A figure alone says nothing."""
    assert trends.over_time(scores(), None, SPAN, SCORE).layout.yaxis.title.text == "UX score, 0 to 100"
    assert trends.multiples(scores((7_200, 1.0, 1)), None, SPAN, SCORE, by="policy").layout.yaxis.title.text


def test_releases_and_incidents_are_lines_with_labels() -> None:
    """A release is dotted, an incident dashed or as long as it was; neither by colour alone."""
    marks = [Mark(7_300, "2.4.0"), Mark(8_000, "outage", incident=True, until_s=9_000), Mark(99_000, "later")]
    marks += [Mark(1_000, "earlier"), Mark(1_000, "slow since", incident=True, until_s=7_300)]
    figure = trends.over_time(scores((7_260, 91.0, 5)), None, SPAN, SCORE, marks=marks)
    assert {(shape.type, shape.line.dash) for shape in figure.layout.shapes} == {("line", "dot"), ("rect", "dash")}
    labels = {(label.text, label.hovertext) for label in figure.layout.annotations}
    assert labels == {("▲ 2.4.0", "2.4.0"), ("✕", "outage"), ("✕", "slow since")}
    assert min(shape.x0.timestamp() for shape in figure.layout.shapes) == SPAN.start_s


def test_a_version_is_marked_where_it_was_first_seen() -> None:
    """As the store tells it."""
    seen = pd.DataFrame({"happened_at": pd.to_datetime([7_300], unit="s", utc=True), "app_version": ["2.4.0"]})
    assert figures.releases(seen) == (Mark(7_300, "2.4.0"),)
    assert figures.releases(seen.iloc[:0]) == ()


def test_many_marks_keep_their_lines_and_the_newest_their_labels() -> None:
    """Labels that cover each other cannot be read."""
    marks = [Mark(7_200 + 60 * number, f"2.{number}") for number in range(30)]
    layout = figures.marked(figures.blank(230, "", SPAN), marks, SPAN).layout
    assert len(layout.shapes) == 30
    assert next(label.text for label in layout.annotations) == "▲ 2.29"
    assert len(layout.annotations) == figures.LABELS_MAX


def test_multiples_draw_each_word_to_the_same_scale() -> None:
    """One small picture each, six at most, the period before only where there was one."""
    now = pd.concat([scores((7_200, 50.0 + number, 5), policy=f"p{number}") for number in range(8)])
    figure = trends.multiples(now, scores((3_600, 60.0, 5), policy="p1"), SPAN, SCORE, by="policy")
    assert [label.text for label in figure.layout.annotations] == [f"p{number}" for number in range(6)]
    assert len(figure.data) == 6 + 1
    assert len({tuple(figure.layout[f"yaxis{number or ''}"].range) for number in ("", 2, 3, 4, 5, 6)}) == 1


@pytest.mark.parametrize("panels", [0, 1])
def test_multiples_of_little_are_no_error(panels: int) -> None:
    """An empty answer has its columns and no rows."""
    now = scores(*[(7_200, 50.0, 5)] * panels)
    assert len(trends.multiples(now, None, SPAN, SCORE, by="policy").data) == panels


def test_shares_add_up_to_all_of_it_and_show_their_counts() -> None:
    """Percentages come with what they are of."""
    counts = pd.DataFrame(
        {
            "bucket": pd.to_datetime([7_200, 7_200], unit="s", utc=True),
            "outcome": ["ok", "rejected"],
            "refreshes": [3, 1],
        }
    )
    figure = trends.shares_over_time(counts, SPAN, charts.COUNTED["refreshes"])
    assert {bars.name: (bars.y[0], bars.customdata[0]) for bars in figure.data} == {"Ok": (75, 3), "Rejected": (25, 1)}
    assert {bars.name: bars.marker.color for bars in figure.data} == {"Ok": theme.WELL, "Rejected": theme.FAILURE}
    assert not trends.shares_over_time(counts.iloc[:0], SPAN, charts.COUNTED["refreshes"]).data
