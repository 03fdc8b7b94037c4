"""Rules of the log itself: no gap, no secret, no crash, no state beyond its deadline, health in its band."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from types import NoneType
from typing import get_args

import msgspec
from msgspec.structs import fields

from session_core import events as e
from session_core.session_health import band
from session_core.session_state import DEADLINE_S
from session_core.sim.rules import Events, Finding, Found, Setting, of_kind
from session_core.sim.timelines import AWAKE_S_MAX, Devices
from session_core.vocabulary import DeviceChange, State

SECRET_PART_CHARS = 16
_WORDS_APART = bytes(byte if byte > 127 or chr(byte).isalnum() or chr(byte) in "_.~-" else 32 for byte in range(256))


def no_state_past_its_deadline(events: Events, setting: Setting) -> Finding:
    """A state with a deadline is left by then, as soon as the program runs again."""
    devices = Devices(events)
    entered: dict[str, tuple[e.Event, State]] = {}
    for event, fact in of_kind(events, e.StateChanged):
        before = entered.pop(event.origin.stream_id, None)
        if before is not None:
            yield from _overstay(devices, *before, until=event.boot)
        if fact.state_to in DEADLINE_S:
            entered[event.origin.stream_id] = event, fact.state_to
    killed = {
        event.origin.device
        for event, fact in of_kind(events, e.DeviceChanged)
        if fact.change in (DeviceChange.KILLED, DeviceChange.STARTED)
    }
    for event, state in entered.values():
        if event.origin.device not in killed:
            yield from _overstay(devices, event, state, until=setting.ended_at)


def _overstay(devices: Devices, entered: e.Event, state: State, *, until: float) -> Finding:
    stayed_s = devices.awake_s(entered.origin.device, entered.boot, until)
    if stayed_s > DEADLINE_S[state] + AWAKE_S_MAX:
        yield Found(entered, f"it stayed {stayed_s:.0f} s in {state}")


def no_part_crashes(events: Events, _setting: Setting) -> Finding:
    """Trouble outside is an outcome, never an exception that nobody expected."""
    for event, fact in of_kind(events, e.PartCrashed):
        yield Found(event, f"{fact.part} crashed with {fact.error}")


def health_in_its_band(events: Events, _setting: Setting) -> Finding:
    """Health is 0–100 and named by its own band."""
    for event, fact in of_kind(events, e.HeartbeatBeat):
        if not 0 <= fact.health <= 100 or fact.band is not band(fact.health):
            yield Found(event, f"health {fact.health:g} was called {fact.band}")


def no_gap_in_the_log(events: Events, _setting: Setting) -> Finding:
    """The events of a stream are numbered from 1, without a gap, and its states follow each other."""
    latest: dict[str, int] = {}
    states: dict[str, State] = {}
    for event in events:
        stream, fact = event.origin.stream_id, event.fact
        if event.seq != latest.get(stream, 0) + 1:
            yield Found(event, f"event {event.seq} follows number {latest.get(stream, 0)}")
        latest[stream] = event.seq
        if isinstance(fact, e.StateChanged):
            if fact.state_from is not states.get(stream, State.SIGNED_OUT):
                yield Found(event, f"a way led out of {fact.state_from}, where it was not")
            states[stream] = fact.state_to


def no_secret(events: Events, setting: Setting) -> Finding:
    """No event holds a secret the provider made, whole or in its first or last part."""
    parts = {part for secret in setting.secrets for part in _parts_of(secret.encode())}
    told: dict[object, e.Event] = {event.origin: event for event in reversed(events)}
    for kind in get_args(e.AnyFact):
        # Few texts are ever told, again and again.
        if texts := _texts_of(kind):
            told |= {texts(fact): event for event, fact in reversed([*of_kind(events, kind)])}
    for said, event in told.items():
        words = msgspec.json.encode(said).translate(_WORDS_APART).split()
        if any(not parts.isdisjoint(_parts_of(word)) for word in words if len(word) >= SECRET_PART_CHARS):
            yield Found(event, f"{event.kind} holds a secret")


@cache
def _texts_of(kind: type[e.Fact]) -> Callable[[e.Fact], object] | None:
    """What of these facts can hold a text: all but their numbers."""
    names = [field.name for field in fields(kind) if not all(map(_is_number, get_args(field.type) or (field.type,)))]
    return attrgetter(*names) if names else None


def _is_number(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, (int, float, NoneType))


def _parts_of(word: bytes) -> tuple[bytes, bytes]:
    return word[:SECRET_PART_CHARS], word[-SECRET_PART_CHARS:]
