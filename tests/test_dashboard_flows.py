"""What was lost, and what became of what was tried, add up in the pictures as they do in the tables."""

from __future__ import annotations

import pandas as pd
import pytest

from session_core.dashboard import flows, theme

LOSSES = pd.DataFrame({"part": ["Latency", "Continuity", "Freshness"], "points": [2.0, 7.0, 0.01]})


def links(*rows: tuple[str, str, str | None, int]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["source", "target", "label", "n"])


def test_a_waterfall_leads_from_a_hundred_to_the_score_by_the_largest_loss() -> None:
    """What lost next to nothing is left out."""
    (steps,) = flows.waterfall(LOSSES, 91.0).data
    assert list(zip(steps.y, steps.x, steps.measure, strict=True)) == [
        ("Nothing lost", 100, "absolute"),
        ("Continuity", -7, "relative"),
        ("Latency", -2, "relative"),
        ("Score", 91, "total"),
    ]
    assert list(steps.text) == ["100", "−7.0", "−2.0", "91"]


@pytest.mark.parametrize(("score", "begins"), [(91.0, 80), (100.0, 90), (4.0, 0)])
def test_an_axis_that_does_not_begin_at_zero_says_so(score: float, begins: float) -> None:
    """A shortened bar is no lie where it is announced."""
    axis = flows.waterfall(LOSSES, score).layout.xaxis
    assert axis.range[0] == begins
    assert ("begins" in axis.title.text) == (begins > 0)


def test_a_score_without_losses_is_drawn_too() -> None:
    """Two bars of a hundred."""
    (steps,) = flows.waterfall(LOSSES.iloc[:0], 100.0).data
    assert list(steps.y) == ["Nothing lost", "Score"]


def test_a_flow_has_one_place_for_each_word_with_its_count() -> None:
    """Widths are counts, places are told by words, and colour is that of the outcome."""
    (drawn,) = flows.flow(
        links(
            ("Refresh", "Refreshed", "", 90),
            ("Refresh", "Failed", "transient", 8),
            ("Refresh", "Failed", "rejected", 2),
            ("Failed", "Retried", None, 9),
        ),
        of="refreshes",
    ).data
    assert list(drawn.node.label) == ["Refresh 100", "Failed 10", "Refreshed 90", "Retried 9"]
    assert list(drawn.node.color) == [theme.NEUTRAL, theme.TROUBLE, theme.WELL, theme.NEUTRAL]
    assert list(drawn.link.value) == [90, 8, 2, 9]
    assert drawn.link.customdata[3] == "100 % of failed → retried"
    assert drawn.link.customdata[2] == "2 % of refresh → failed (rejected)"
    assert [drawn.node.label[place] for place in drawn.link.target[:2]] == ["Refreshed 90", "Failed 10"]
    assert len(set(drawn.link.color[1:3])) == 2


def test_a_flow_of_nothing_is_no_error() -> None:
    """An empty answer has its columns and no rows."""
    (drawn,) = flows.flow(links(), of="refreshes").data
    assert not drawn.node.label
