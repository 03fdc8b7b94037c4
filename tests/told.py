"""Events of one session, written down as what happened when."""

from __future__ import annotations

from session_core.events import AnyFact, Event, Origin
from session_core.sim.clock import EPOCH_S
from session_core.vocabulary import Source

MORNING = 1_773_000_000.0 - 1_773_000_000.0 % 86_400


def simulated(*said: tuple[float, AnyFact], user: str = "u0", device: str = "device-1") -> list[Event]:
    """`said` is seconds since midnight and what happened."""
    origin = Origin(stream_id="s", session_id="s", user_id=user, device=device, source=Source.SIM)
    return [Event(place, EPOCH_S + at, at, at, origin, fact) for place, (at, fact) in enumerate(said, 1)]


def live(*said: tuple[float, AnyFact]) -> list[Event]:
    origin = Origin(stream_id="s", session_id="s", user_id="ada")
    return [Event(place, MORNING + at, at, at + 5_000, origin, fact) for place, (at, fact) in enumerate(said, 1)]
