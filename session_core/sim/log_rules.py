"""Rules of the log itself: no gap, no secret, no crash, no state beyond its deadline, health in its band."""

from __future__ import annotations

import re

import msgspec

from session_core import events as e
from session_core.session_health import band
from session_core.session_state import DEADLINE_S
from session_core.sim.rules import Events, Finding, Found, Setting, of_kind
from session_core.sim.timelines import Devices
from session_core.sim.use_rules import AWAKE_S_MAX
from session_core.vocabulary import DeviceChange, State

SECRET_PART_CHARS = 16
_WORD = re.compile(rf"[\w.~-]{{{SECRET_PART_CHARS},}}")


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
    parts = {secret[:SECRET_PART_CHARS] for secret in setting.secrets}
    parts |= {secret[-SECRET_PART_CHARS:] for secret in setting.secrets}
    streams: set[str] = set()
    for event in events:
        said = msgspec.json.encode(event.fact).decode()
        if event.origin.stream_id not in streams:
            streams.add(event.origin.stream_id)
            said += msgspec.json.encode(event.origin).decode()
        if any(_parts_of(word) & parts for word in _WORD.findall(said)):
            yield Found(event, f"{event.kind} holds a secret")


def _parts_of(word: str) -> set[str]:
    return {word[:SECRET_PART_CHARS], word[-SECRET_PART_CHARS:]}
