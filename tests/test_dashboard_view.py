"""An address says what is looked at, the same to everyone; what makes no sense in it is said calmly and left out."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.dashboard import view
from session_core.dashboard.view import View
from session_core.store import Filters, TimeRange
from session_core.store.selection import SPAN_S_MAX
from session_core.vocabulary import Source

NOW = 1_800_000_123.0
DAY_S = 86_400.0


def read(zone: str = "UTC", **address: str) -> view.Asked:
    return view.read({"from": address.pop("since"), **address} if "since" in address else address, NOW, zone)


def test_an_empty_address_asks_for_the_defaults() -> None:
    """The last day of live sessions beside the day before."""
    asked = read()
    assert asked.troubles == ()
    assert asked.view == View(span=TimeRange.last(DAY_S, NOW), filters=Filters(source=Source.LIVE), live=True)
    assert asked.view.before == asked.view.span.previous


@pytest.mark.parametrize(("word", "length_s"), view.RANGES.items())
def test_a_relative_range_ends_now_and_is_made_of_whole_buckets(word: str, length_s: float) -> None:
    """It holds this moment, so that what happens next is in it, and begins as long ago as it says."""
    span = read(range=word).view.span
    assert span.end_s - span.start_s == length_s
    assert span.start_s <= NOW < span.end_s
    assert span.aligned == span


def test_every_word_of_an_address_is_heeded() -> None:
    """A link shows the same view to whoever follows it, wherever they are."""
    words = {
        "from": "2026-11-14T08:00:00+01:00",
        "until": "2026-11-14T09:00:00Z",
        "source": "simulated",
        "policy": "basic",
        "version": "2.4.0",
        "device": "laptop",
        "scenario": "lunch",
        "compare": "0",
    }
    one, other = (view.read(words, NOW, zone).view for zone in ("Europe/Berlin", "America/New_York"))
    assert one.span == other.span == TimeRange(1_794_639_600.0, 1_794_646_800.0)
    assert one.filters == Filters(
        source=Source.SIM, policy="basic", app_version="2.4.0", device="laptop", scenario="lunch"
    )
    assert (one.compare, one.before, one.live) == (False, None, False)


def test_a_plus_sign_survives_an_address() -> None:
    """There it reads as a space."""
    assert view.read_moment("2026-11-14T08:00:00 01:00") == view.read_moment("2026-11-14T07:00:00Z")


def test_a_range_of_ones_own_goes_before_one_that_ends_now() -> None:
    """It says more."""
    asked = read(range="7d", since="2026-11-14T08:00:00Z", until="2026-11-14T09:00:00Z")
    assert asked.range == view.CUSTOM
    assert asked.view.span.end_s - asked.view.span.start_s == 3_600


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"range": "3w"}, "There is no time range '3w'"),
        ({"range": "x" * 500}, "…"),
        ({"source": "dead"}, "There is no source 'Dead'"),
        ({"compare": "maybe"}, "There is no comparison 'maybe'"),
        ({"since": "2026-11-14T08:00:00Z"}, "needs both from and until"),
        ({"until": "2026-11-14T08:00:00Z"}, "needs both from and until"),
        ({"since": "yesterday", "until": "2026-11-14T08:00:00Z"}, "'yesterday' is no time such as"),
        ({"since": "2026-11-14T08:00:00", "until": "2026-11-14T09:00:00Z"}, "names no time zone"),
        ({"since": "2026-11-14T08:00:00Z", "until": "2026-11-14T08:00:00Z"}, "must end after it starts"),
        ({"since": "0001-01-01T00:00:00+14:00", "until": "2026-11-14T08:00:00Z"}, "is not between 2000 and 2100"),
        ({"since": "2001-01-01T00:00:00Z", "until": "2026-11-14T08:00:00Z"}, "840 days long at most"),
    ],
)
def test_nonsense_is_said_and_the_default_is_shown(address: dict[str, str], said: str) -> None:
    """One calm sentence; the rest of the address still counts."""
    asked = read(policy="basic", **address)
    assert len(asked.troubles) == 1
    assert said in asked.troubles[0]
    assert len(asked.troubles[0]) < 200
    assert asked.view.span == TimeRange.last(DAY_S, NOW)
    assert asked.view.filters == Filters(source=Source.LIVE, policy="basic")


WORD = st.one_of(st.text(max_size=40), st.datetimes().map(datetime.isoformat), st.datetimes().map(lambda at: f"{at}Z"))


@given(st.dictionaries(st.sampled_from(view.WORDS), WORD))
def test_no_address_breaks_a_page(address: dict[str, str]) -> None:
    """Whatever somebody types, there is something to look at that can be drawn."""
    shown = view.read(address, NOW, "Asia/Kathmandu").view
    assert 0 < shown.span.end_s - shown.span.start_s <= SPAN_S_MAX + 2 * shown.span.bucket_width_s
    assert shown.span.aligned == shown.span
    assert view.words(shown)["Time"]


@given(st.dictionaries(st.sampled_from(view.WORDS), st.sampled_from(["7d", "24h", "live", "all", "0", "1", "basic"])))
def test_what_was_read_is_written_again(address: dict[str, str]) -> None:
    """Without what is as by default."""
    written = view.write(address)
    assert view.read(written, NOW, "UTC") == view.read(address, NOW, "UTC")
    assert written.items() <= address.items()
    assert not {("range", "24h"), ("source", "live"), ("compare", "1")} & written.items()


@given(st.integers(0, 4_000_000_000))
def test_a_moment_written_is_the_moment_read(at_s: int) -> None:
    """To the second, between 2000 and 2100."""
    if view.EARLIEST.timestamp() <= at_s <= view.LATEST.timestamp():
        assert view.read_moment(view.rfc3339(at_s)) == at_s


def test_an_export_says_what_was_looked_at() -> None:
    """Time in the reader's zone and in UTC, what it is compared with, and each filter that is set."""
    shown = read(
        "Asia/Kathmandu", since="2026-11-14T00:00:00Z", until="2026-11-14T01:00:00Z", source="all", device="phone"
    ).view
    assert view.words(shown) == {
        "Time": "14 Nov 2026 05:45 – 06:45 (Asia/Kathmandu)",
        "In UTC": "2026-11-14T00:00:00Z to 2026-11-14T01:00:00Z",
        "Compared with": "14 Nov 2026 04:45 – 05:45 (Asia/Kathmandu)",
        "Source": "All",
        "Device": "phone",
    }


def test_a_live_view_moves_on_and_another_stands_still() -> None:
    """By the clock, keeping its length."""
    live = read(range="1h").view
    assert live.at(NOW + 600) == view.read({"range": "1h"}, NOW + 600, "UTC").view
    fixed = read(since="2026-11-14T08:00:00Z", until="2026-11-14T09:00:00Z").view
    assert fixed.at(NOW + 600) == fixed
