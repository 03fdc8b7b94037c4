"""What is looked at: a stretch of time, filters, and whether the period before stands beside it; as an address says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from session_core.store import EVERYTHING, Filters, TimeRange
from session_core.store.selection import SPAN_S_MAX
from session_core.vocabulary import Source

DAY_S = 86_400.0
RANGES: Mapping[str, float] = {"15m": 900.0, "1h": 3_600.0, "24h": DAY_S, "7d": 7 * DAY_S, "30d": 30 * DAY_S}
RANGE_DEFAULT = "24h"
CUSTOM = "Custom"
SOURCES: Mapping[str, Source | None] = {
    "Live": Source.LIVE,
    "Simulated": Source.SIM,
    "Imported": Source.IMPORT,
    "All": None,
}
SOURCE_DEFAULT = "Live"
FILTERS: Mapping[str, str] = {
    "policy": "Policy",
    "app_version": "App version",
    "device": "Device",
    "scenario": "Scenario",
}
# The words of an address.
RANGE, FROM, UNTIL, SOURCE, COMPARE = "range", "from", "until", "source", "compare"
FILTER_WORDS: Mapping[str, str] = {
    "policy": "policy",
    "app_version": "version",
    "device": "device",
    "scenario": "scenario",
}
WORDS = (RANGE, FROM, UNTIL, SOURCE, *FILTER_WORDS.values(), COMPARE)
COMPARED = {"1": True, "0": False}
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
WORD_LENGTH_MAX = 40


class View(msgspec.Struct, frozen=True, kw_only=True):
    """`span` is made of whole buckets; a `live` one ends now and so moves on with the clock."""

    span: TimeRange
    filters: Filters = EVERYTHING
    compare: bool = True
    zone: str = "UTC"
    live: bool = False

    @property
    def before(self) -> TimeRange | None:
        """The period to compare with, if there is to be one."""
        return self.span.previous if self.compare else None

    def at(self, now_s: float) -> View:
        """The same a while later: a live one has moved on."""
        length_s = self.span.end_s - self.span.start_s
        return msgspec.structs.replace(self, span=TimeRange.last(length_s, now_s)) if self.live else self

    @property
    def source(self) -> Filters:
        """Of the filters only that by source."""
        return Filters(source=self.filters.source)


class Asked(NamedTuple):
    """What an address asks for; of what makes no sense in it there is the default, and a sentence in `troubles`."""

    view: View
    range: str
    source: str
    troubles: tuple[str, ...]


def read(address: Mapping[str, str], now_s: float, zone: str) -> Asked:
    """`address` holds any of WORDS. From and until, where they are given, go before a range that ends now."""
    troubles: list[str] = []
    custom = FROM in address or UNTIL in address
    span = _custom(address, troubles) if custom else None
    length = RANGE_DEFAULT if custom else _known("time range", address.get(RANGE), RANGES, RANGE_DEFAULT, troubles)
    source = _known("source", address.get(SOURCE, "").capitalize(), SOURCES, SOURCE_DEFAULT, troubles)
    compared = _known("comparison", address.get(COMPARE), COMPARED, "1", troubles)
    given = {name: address.get(word) or None for name, word in FILTER_WORDS.items()}
    view = View(
        span=TimeRange.last(RANGES[length], now_s) if span is None else span.aligned,
        filters=Filters(source=SOURCES[source], **given),
        compare=COMPARED[compared],
        zone=zone,
        live=span is None,
    )
    return Asked(view, CUSTOM if custom else length, source, tuple(troubles))


def write(words: Mapping[str, str | None]) -> dict[str, str]:
    """The address that says so: nothing that is as by default."""
    defaults = {RANGE: RANGE_DEFAULT, SOURCE: SOURCE_DEFAULT.lower(), COMPARE: "1"}
    return {word: said for word in WORDS if (said := words.get(word)) and said != defaults.get(word)}


def bucket_words(view: View, shown: str) -> dict[str, str]:
    """The address's words for the bucket at a point of a chart, whose time is written in the reader's zone."""
    at_s = datetime.fromisoformat(shown).replace(tzinfo=ZoneInfo(view.zone)).timestamp()
    return {FROM: rfc3339(at_s), UNTIL: rfc3339(at_s + view.span.bucket_width_s)}


def read_moment(word: str) -> float:
    """Wall seconds of an RFC 3339 time. Raises ValueError, which says what is wrong with it."""
    shown = _shortened(word)
    try:
        # An address turns a plus sign into a space.
        moment = datetime.fromisoformat(word.replace(" ", "+"))
    except ValueError:
        raise ValueError(f"{shown!r} is no time such as 2026-03-01T08:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{shown!r} names no time zone; end it with Z or an offset such as +01:00")
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"{shown!r} is not between {EARLIEST.year} and {LATEST.year}")
    return moment.timestamp()


def read_period(start: str, end: str) -> TimeRange:
    """From one RFC 3339 time to another. Raises ValueError, which says what is wrong with them."""
    start_s, end_s = read_moment(start), read_moment(end)
    if start_s >= end_s:
        raise ValueError("the range must end after it starts")
    if end_s - start_s > SPAN_S_MAX:
        raise ValueError(f"a range can be {SPAN_S_MAX / DAY_S:.0f} days long at most")
    return TimeRange(start_s, end_s)


def rfc3339(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def period_words(span: TimeRange, zone: str) -> str:
    """Such as: 14 Nov 2026 08:00 – 21 Nov 2026 08:00."""
    start, end = (datetime.fromtimestamp(at_s, ZoneInfo(zone)) for at_s in (span.start_s, span.end_s))
    return (
        f"{start:%d %b %Y %H:%M} – {end:%H:%M}"
        if start.date() == end.date()
        else (f"{start:%d %b %Y %H:%M} – {end:%d %b %Y %H:%M}")
    )


def filter_words(filters: Filters) -> Mapping[str, str]:
    """Each filter that is set, by its name; the source is always said."""
    source = next(word for word, source in SOURCES.items() if source is filters.source)
    given = {FILTERS[name]: str(getattr(filters, name)) for name in FILTERS if getattr(filters, name) is not None}
    return {"Source": source, **given}


def words(view: View) -> Mapping[str, str]:
    """What a reader of an export must know of what was looked at."""
    span, before = view.span, view.before
    compared = {} if before is None else {"Compared with": f"{period_words(before, view.zone)} ({view.zone})"}
    return {
        "Time": f"{period_words(span, view.zone)} ({view.zone})",
        "In UTC": f"{rfc3339(span.start_s)} to {rfc3339(span.end_s)}",
        **compared,
        **filter_words(view.filters),
    }


def _custom(address: Mapping[str, str], troubles: list[str]) -> TimeRange | None:
    if not {FROM, UNTIL} <= address.keys():
        troubles.append(f"A range of your own needs both from and until; shown are the last {RANGE_DEFAULT}.")
        return None
    try:
        return read_period(address[FROM], address[UNTIL])
    except ValueError as error:
        troubles.append(f"This time range cannot be shown: {error}; shown are the last {RANGE_DEFAULT}.")
        return None


def unknown(what: str, word: str | None, known: Iterable[str]) -> str | None:
    """What to say of a word of the address, if it is none of those known."""
    known = list(known)
    if not word or word in known:
        return None
    return f"There is no {what} {_shortened(word)!r}, so it is left at its default; known are {', '.join(known)}."


def _known(what: str, word: str | None, known: Mapping[str, object], default: str, troubles: list[str]) -> str:
    if trouble := unknown(what, word, known):
        troubles.append(trouble)
        return default
    return word or default


def _shortened(word: str) -> str:
    return word if len(word) <= WORD_LENGTH_MAX else f"{word[:WORD_LENGTH_MAX]}…"
