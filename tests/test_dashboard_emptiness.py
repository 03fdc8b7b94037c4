"""Where there is nothing to see, the reason is said and the remedy offered; and what is asked again waits a little."""

from __future__ import annotations

import pytest

from session_core.dashboard import view
from session_core.dashboard.emptiness import Empty, why
from session_core.dashboard.freshness import SteadyCount
from session_core.store import Filters, TimeRange
from session_core.vocabulary import Source

NOW = 1_800_000_000.0
DAY_S = 86_400.0


def found(newest: dict[Filters, float], **address: str) -> Empty:
    return why(view.read(address, NOW, "UTC").view, newest.get, NOW)


LIVE, SIM, BASIC = Filters(source=Source.LIVE), Filters(source=Source.SIM), Filters(source=Source.LIVE, policy="basic")


@pytest.mark.parametrize(
    ("ago_s", "words"), [(1_000.0, "1h"), (5_000.0, "24h"), (3 * DAY_S, "7d"), (29 * DAY_S, "30d")]
)
def test_a_range_too_short_is_made_longer(ago_s: float, words: str) -> None:
    """As little as is enough."""
    empty = found({LIVE: NOW - ago_s}, range="15m")
    assert empty.button == f"Show the last {words}"
    assert empty.words == {"range": words, "from": None, "until": None}


@pytest.mark.parametrize("at_s", [NOW - 50 * DAY_S, NOW + DAY_S])
def test_what_no_range_that_ends_now_holds_is_shown_by_a_range_of_its_own(at_s: float) -> None:
    """Simulated events may be old, and a clock may be wrong."""
    empty = found({LIVE: at_s}, range="15m")
    assert empty.period is not None
    assert empty.period.start_s < at_s < empty.period.end_s


def test_filters_that_let_nothing_through_can_be_cleared() -> None:
    """If there is something without them."""
    empty = found({LIVE: NOW - 60}, policy="basic", device="phone")
    assert (empty.sentence, empty.button) == ("No session has this policy and device.", "Clear the filters")
    assert dict(empty.words) == {"policy": None, "version": None, "device": None, "scenario": None}


def test_another_source_is_offered_where_there_is_one() -> None:
    """A first start has simulated sessions at most."""
    empty = found({SIM: NOW - 60})
    assert (empty.button, dict(empty.words)) == ("Show simulated sessions", {"source": "simulated"})


def test_an_empty_store_has_no_such_remedy() -> None:
    """There the page offers to begin."""
    assert found({}).button is None
    assert found({BASIC: 0.0}).button is None


def test_a_remedy_shows_what_it_promises() -> None:
    """The words it asks for lead to a view that holds the newest event."""
    at_s = NOW - 3 * DAY_S
    address = {word: said for word, said in found({LIVE: at_s}, range="15m").words.items() if said}
    span = view.read(address, NOW, "UTC").view.span
    assert span.start_s <= at_s < span.end_s
    assert span == TimeRange.last(7 * DAY_S, NOW)


def test_a_busy_store_is_asked_again_every_ten_seconds() -> None:
    """A rerun in between finds its answers kept; after a quiet while the first event is seen at once."""
    steady = SteadyCount(10.0)
    assert [steady.read(count, now_s) for count, now_s in ((5, 100.0), (6, 101.0), (7, 109.9), (8, 110.0))] == [
        5,
        5,
        5,
        8,
    ]
    assert steady.read(9, 500.0) == 9
    assert steady.read(9, 501.0) == 9
