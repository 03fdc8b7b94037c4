"""How a story says things: lengths of time, numbers, and what the world does to a session. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from session_core.events import FaultOrdered
from session_core.vocabulary import DeviceChange, NetworkState

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
NETWORKS = {
    NetworkState.DOWN: "network down",
    NetworkState.SLOW: "network slow",
    NetworkState.LOSSY: "network losing requests",
    NetworkState.PORTAL: "behind a guest network's page",
    NetworkState.RESET: "every connection reset",
    NetworkState.ANSWER_LOST: "an answer lost on its way back",
}
_FAULTS = {
    "status": "{} answering with an error",
    "delay": "{} slow to answer",
    "hang": "{} never answering",
    "refuse": "{} refusing connections",
    "drop_before": "{} dropping requests",
    "drop_after": "{} acting and dropping its answers",
    "garbled_json": "{} answering with garbage",
    "html": "{} answering with a web page",
    "clock_offset": "the provider's clock wrong",
    "rotate_keys": "the provider's signing keys changed",
    "revoke_refresh_tokens": "refresh tokens revoked",
    "revoke_access_tokens": "access tokens revoked",
    "unchanged_expiry": "{} granting tokens that last no longer",
}
_ENDPOINTS = {"any": "every endpoint", "api": "the API"}
NOTES = {
    "reuse_detected": "the provider saw a spent refresh token",
    "family_revoked": "the provider revoked the whole family of tokens",
    "replay_answered": "the provider answered the repeated refresh",
}
_TIME = re.compile(r"(?:\d\d [A-Z][a-z]{2} )?\d\d:\d\d")
_MOMENT = re.compile(rf"at (?:once|{_TIME.pattern})", re.IGNORECASE)
# Browsers say some of what is told, and a page takes it for Markdown: formats, links, pictures, directives.
_FORMAT = re.compile(r"[\\`*_\[\]<>#$~|]|:(?=[a-zA-Z/])|\bwww(?=\.)")
# What is said as it begins, and what it is remembered by until it is over.
TROUBLES: Mapping[DeviceChange, tuple[str, str | None]] = {
    DeviceChange.KILLED: ("program killed", "program"),
    DeviceChange.THROTTLED: ("timers slowed down", None),
    DeviceChange.STORE_FAILED: ("disk refusing writes", "disk"),
    DeviceChange.STORE_CORRUPTED: ("stored session damaged", None),
}
CURES: Mapping[DeviceChange, tuple[str, str, str]] = {
    DeviceChange.STARTED: ("program", "started again", "the restart"),
    DeviceChange.STORE_RECOVERED: ("disk", "the disk well", "the disk"),
}


def length(seconds: float) -> str:
    """As a person says it: 8 h 02 m, 3 m 05 s, 19 s, 1.3 s, 100 ms."""
    if seconds < 0.9995:
        return f"{max(seconds, 0.0) * 1_000:.0f} ms" if seconds > 0 else "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for unit_s, unit, small_s, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit_s:
            rest = whole % unit_s // small_s
            return f"{whole // unit_s} {unit} {rest:02d} {small}" if rest else f"{whole // unit_s} {unit}"
    return f"{whole} s"


def ordinal(number: int) -> str:
    return _ORDINALS[number - 1] if number <= len(_ORDINALS) else f"{number}th"


def fault(fact: FaultOrdered) -> str:
    endpoint = _ENDPOINTS.get(fact.endpoint, f"the {fact.endpoint.replace('_', ' ')} endpoint")
    known = _FAULTS.get(fact.fault)
    return f"fault {fact.fault} at {endpoint}" if known is None else known.format(endpoint)


def capitalised(said: str) -> str:
    return said[:1].upper() + said[1:]


def abridged(said: Sequence[str], most: int, middle: str) -> list[str]:
    """Its beginning and its end, with a word on how much was left out between them."""
    if len(said) <= most:
        return list(said)
    return [*said[: most // 2], middle.format(len(said) - most + 1), *said[1 - most // 2 :]]


def without_repeats(said: Iterable[str]) -> Iterator[str]:
    """Of three or more in a row that differ only in their moments the first, and how often it happened again."""
    for _, alike in groupby(said, key=lambda sentence: _MOMENT.sub("", sentence)):
        first, *more = alike
        if len(more) < 2:
            yield from (first, *more)
        else:
            times = _TIME.findall(more[-1])
            last = f", at last at {times[0]}" if times else ""
            yield f"{first.rstrip('.')}; the same {len(more):,} times more{last}."


def counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}" if count else f"no {one}"


def unformatted(said: str) -> str:
    """Such that Markdown shows it as it is: one line, without a format, link or picture."""
    return _FORMAT.sub(lambda found: f"\\{found[0]}" if len(found[0]) == 1 else f"{found[0]}\\", " ".join(said.split()))


def time_of_day(at_s: float, zone: str, *, days: bool) -> str:
    moment = datetime.fromtimestamp(at_s, UTC).astimezone(ZoneInfo(zone))
    return moment.strftime("%d %b %H:%M" if days else "%H:%M")
