"""Why there is nothing to see, and the one thing that mends it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from session_core.dashboard.view import (
    DAY_S,
    FILTER_WORDS,
    FILTERS,
    FROM,
    RANGE,
    RANGES,
    SOURCE,
    SOURCES,
    UNTIL,
    View,
)
from session_core.store import Filters, TimeRange
from session_core.store.descriptions import for_how_long

Newest = Callable[[Filters], float | None]


class Empty(NamedTuple):
    """`button` is what the reader can do about it, without one nothing is there at all; it asks for other words of the
    address, or for a period of its own.
    """

    sentence: str
    button: str | None = None
    words: Mapping[str, str | None] = MappingProxyType({})
    period: TimeRange | None = None


def why(view: View, newest: Newest, now_s: float) -> Empty:
    """`newest` tells when the newest event that passes the filters happened."""
    at_s = newest(view.filters)
    if at_s is not None:
        return _elsewhen(at_s, now_s)
    if view.filters != view.source and newest(view.source) is not None:
        set_ones = [name.lower() for key, name in FILTERS.items() if getattr(view.filters, key) is not None]
        return Empty(
            f"No session has this {' and '.join(set_ones)}.", "Clear the filters", dict.fromkeys(FILTER_WORDS.values())
        )
    for word, other in SOURCES.items():
        if other not in (None, view.filters.source) and newest(Filters(source=other)) is not None:
            return Empty(
                f"There are no such sessions, but there are {word.lower()} ones.",
                f"Show {word.lower()} sessions",
                {SOURCE: word.lower()},
            )
    return Empty("No session was active yet: nothing has been recorded.")


def _elsewhen(at_s: float, now_s: float) -> Empty:
    sentence = (
        f"No session was active in this time range; the newest event was {for_how_long(max(0.0, now_s - at_s))} ago."
    )
    for word, length_s in RANGES.items():
        if TimeRange.last(length_s, now_s).start_s <= at_s <= now_s:
            return Empty(sentence, f"Show the last {word}", {RANGE: word, FROM: None, UNTIL: None})
    period = TimeRange(at_s - DAY_S, at_s + 1.0).aligned
    return Empty(sentence, "Show the day before the newest event", period=period)
