"""What rules read off a stream of events: when devices stood still, and how long each token lives."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from session_core import events as e
from session_core.sim.rules import EDGE_S, of_kind, sent_at
from session_core.vocabulary import DeviceChange

TELL_OF_LIVES = (e.SessionStarted, e.TokenRefreshed, e.TokenFollowed)
"""The kinds of events that `Lives` learns from."""
AWAKE_S_MAX = 25.0
"""How long a program that runs freely may take to notice what is due: its tick, a second try, and some air."""
_ENDS = {DeviceChange.RESUMED: DeviceChange.SUSPENDED, DeviceChange.UNTHROTTLED: DeviceChange.THROTTLED}


class Devices:
    """When each device slept, stood still or had its timers throttled, in boot seconds."""

    def __init__(self, events: Iterable[e.Event]) -> None:
        self._hard: dict[str, list[tuple[float, float]]] = defaultdict(list)
        began: dict[tuple[str, DeviceChange], float] = {}
        for event, fact in of_kind(events, e.DeviceChanged):
            device = event.origin.device
            if fact.change in _ENDS.values():
                began.setdefault((device, fact.change), event.boot)
            elif fact.change in _ENDS:
                since = began.pop((device, _ENDS[fact.change]), None)
                if since is not None:
                    self._hard[device].append((since, event.boot))
            elif fact.change is DeviceChange.STALLED:
                self._hard[device].append((event.boot, event.boot + fact.seconds))
        for (device, _), since in began.items():
            self._hard[device].append((since, math.inf))

    def still_s(self, device: str, since: float, until: float) -> float:
        """How much of that time the device could not run freely."""
        reached, still_s = since, 0.0
        for began, ended in sorted(self._hard.get(device, ())):
            last = min(ended, until)
            if last > max(began, reached):
                still_s += last - max(began, reached)
                reached = last
        return still_s

    def awake_s(self, device: str, since: float, until: float) -> float:
        """How long the device ran freely from `since` to `until`; negative where that is still to come."""
        return until - since if until <= since else until - since - self.still_s(device, since, until)


class Lives:
    """The access tokens each process held of each session, as its log tells."""

    def __init__(self) -> None:
        self._held: dict[str, list[tuple[float, float, float]]] = {}
        self._life_s: dict[str, float] = {}

    def see(self, event: e.Event) -> None:
        fact, session = event.fact, event.origin.session_id
        match fact:
            case e.SessionStarted(life_s=life_s, left_s=left_s):
                self._note(event, event.boot + (life_s if left_s is None else left_s), life_s)
            case e.TokenRefreshed(life_s=life_s):
                self._note(event, sent_at(event, fact) + life_s, life_s)
            case e.TokenFollowed(left_s=left_s):
                self._note(event, event.boot + left_s, self._life_s.get(session, left_s))

    def _note(self, event: e.Event, expires_at: float, life_s: float) -> None:
        self._held.setdefault(event.origin.stream_id, []).append((event.boot, expires_at, life_s))
        self._life_s[event.origin.session_id] = life_s

    def expires_at(self, event: e.Event, at: float) -> float:
        """When the token expires that the event's process held at boot second `at`; never if not known."""
        held = self._held.get(event.origin.stream_id, [])
        return next((expires_at for since, expires_at, _ in reversed(held) if since <= at + EDGE_S), math.inf)

    def one_expired(self, since: float, until: float) -> bool:
        """Whether any process's token reached its end between these boot seconds."""
        return any(since <= expires_at <= until for held in self._held.values() for _, expires_at, _ in held)

    def life_s(self, event: e.Event, otherwise: float) -> float:
        """How long the token lives, altogether, that the event's process holds."""
        held = self._held.get(event.origin.stream_id)
        return held[-1][2] if held else otherwise
