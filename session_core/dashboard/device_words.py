"""The sentences of the Devices page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from session_core.dashboard.phrases import unformatted
from session_core.store.descriptions import for_how_long

JUST_NOW_S = 120.0
PHONES = ("iPhone", "Android", "iPad")


class Seen(Protocol):
    """What a page knows of a session on some device. Times are wall seconds."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def first_seen_at(self) -> float: ...
    @property
    def last_seen_at(self) -> float: ...
    @property
    def is_this(self) -> bool: ...
    @property
    def is_locked(self) -> bool: ...


def answer(devices: Sequence[Seen]) -> str:
    others = sum(not device.is_this for device in devices)
    if not others:
        return "You are signed in here, and nowhere else."
    return f"You are signed in here and on {_devices(others, 'other ')}."


def name(device: Seen) -> str:
    return unformatted(device.name or "Unknown device")


def icon(device: Seen) -> str:
    return ":material/smartphone:" if device.name.endswith(PHONES) else ":material/computer:"


def when(device: Seen, now: float, zone: str) -> str:
    """Where from, and when first and last."""
    moment = datetime.fromtimestamp(device.first_seen_at, UTC).astimezone(ZoneInfo(zone))
    idle_s = now - device.last_seen_at
    last = "in use now" if idle_s < JUST_NOW_S else f"last seen {for_how_long(_rounded(idle_s))} ago"
    words = [f"first seen {moment:%-d %b %Y, %H:%M}", last]
    if device.address:
        words.insert(0, f"from {unformatted(device.address)}")
    said = " · ".join(words)
    return said[0].upper() + said[1:]


def ended(count: int) -> str:
    if not count:
        return "That session had ended already."
    return f"Signed out {_devices(count, '')}: at once, or within a minute where another process serves it."


def question(others: Sequence[Seen]) -> str:
    return f"{_devices(len(others), 'other ').capitalize()} will have to sign in again. You stay signed in here."


def _devices(count: int, kind: str) -> str:
    return f"{count} {kind}device{'s' if count > 1 else ''}"


def _rounded(seconds: float) -> float:
    """To whole minutes, and whole hours from one on: a live page does not flicker."""
    unit_s = 60 if seconds < 3_600 else 3_600
    return seconds // unit_s * unit_s
