"""Why there is nothing to see, and the one thing that mends it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from session_core.dashboard.view import DAY_S, FILTERS, RANGES, SOURCES, View
from session_core.store import Filters, TimeRange
from session_core.store.descriptions import for_how_long

Newest = Callable[[Filters], float | None]


class Empty(NamedTuple):
    """`button` is what the reader can do about it, and one of the others what it does; without it nothing is there at all."""

    sentence: str
    button: str | None = None
    range: str | None = None
    period: TimeRange | None = None
    source: str | None = None
    clears_filters: bool = False


def why(view: View, newest: Newest, now_s: float) -> Empty:
    """`newest` tells when the newest event that passes the filters happened."""
    at_s = newest(view.filters)
    if at_s is not None:
        return _elsewhen(at_s, now_s)
    source = Filters(source=view.filters.source)
    if view.filters != source and newest(source) is not None:
        set_ones = [name.lower() for key, name in FILTERS.items() if getattr(view.filters, key) is not None]
        return Empty(f"No session has this {' and '.join(set_ones)}.", "Clear the filters", clears_filters=True)
    for word, other in SOURCES.items():
        if other not in (None, view.filters.source) and newest(Filters(source=other)) is not None:
            return Empty(
                f"There are no such sessions, but there are {word.lower()} ones.",
                f"Show {word.lower()} sessions",
                source=word,
            )
    return Empty("No session was active yet: nothing has been recorded.")


def _elsewhen(at_s: float, now_s: float) -> Empty:
    sentence = (
        f"No session was active in this time range; the newest event was {for_how_long(max(0.0, now_s - at_s))} ago."
    )
    for word, length_s in RANGES.items():
        if TimeRange.last(length_s, now_s).start_s <= at_s <= now_s:
            return Empty(sentence, f"Show the last {word}", range=word)
    period = TimeRange(at_s - DAY_S, at_s + 1.0).aligned
    return Empty(sentence, "Show the day before the newest event", period=period)
