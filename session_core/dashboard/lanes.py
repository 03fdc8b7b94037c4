"""What a picture of one session is made of: lanes, marks, stretches and lives of tokens, all values in wall seconds."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from session_core.events import Event
from session_core.sim.clock import EPOCH_S
from session_core.vocabulary import Source, State

DAY_S = 86_400.0


class Lane(StrEnum):
    """From top to bottom."""

    USER = "User"
    DEVICE = "Device"
    NETWORK = "Network"
    PROVIDER = "Provider"
    STATE = "State"
    TOKEN = "Token"  # noqa: S105 - a lane's name
    REQUESTS = "Requests"


class Look(StrEnum):
    """How a mark or a stretch is drawn; a session's states are looks too."""

    ACTED = "acted"
    ANSWERED = "answered"
    STALE = "stale"
    ERROR = "error"
    SIGN_IN = "sign-in page"
    SIGNED_IN = "signed in"
    ASLEEP = "suspended"
    STALLED = "stopped"
    THROTTLED = "slowed timers"
    OFF = "not running"
    DISK = "disk fails"
    CHANGED = "changed"
    DOWN = "down"
    SLOW = "slow"
    LOSSY = "losing requests"
    PORTAL = "guest page"
    LOST = "lost"
    FAULT = "fault"
    NOTED = "noted"
    EXPIRED = "expired"
    SERVED = "served"
    CACHED = "from cache"
    FAILED = "failed"
    REFRESHED = "refreshed"
    RETRY = "refresh failed"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One event, or `count` alike where there are too many to draw; `place` is the (first) event's in the timeline."""

    lane: Lane
    at_s: float
    look: Look
    says: str
    place: int
    count: int = 1


class Span(msgspec.Struct, frozen=True, kw_only=True):
    lane: Lane
    from_s: float
    until_s: float
    look: Look | State
    says: str
    place: int


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """An access token, from when it was got until it was followed by another; it lasts `life_s`."""

    from_s: float
    until_s: float
    life_s: float
    says: str
    place: int

    @property
    def expires_s(self) -> float:
        return self.from_s + self.life_s


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time in which more happens than usual."""

    at_s: float
    from_s: float
    until_s: float
    says: str


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Wall seconds throughout. `events` are in order; marks and spans point into them."""

    began_s: float
    ended_s: float
    marks: tuple[Mark, ...] = ()
    spans: tuple[Span, ...] = ()
    lives: tuple[Life, ...] = ()
    moments: tuple[Moment, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def days(self) -> bool:
        """Whether it lasts so long that a time of day does not tell a moment."""
        return self.ended_s - self.began_s >= DAY_S


NOTHING = Timeline(began_s=0.0, ended_s=0.0)


def when(event: Event) -> float:
    """The moment of an event. In a simulation devices' clocks may be wrong on purpose, so it is the world's own time."""
    return EPOCH_S + event.boot if event.origin.source is Source.SIM else event.happened_at


def users_of(events: Iterable[Event]) -> tuple[str, ...]:
    """Everyone with a session, in order of their names' length and letters: u2 comes before u10."""
    users = {event.origin.user_id for event in events if event.origin.user_id}
    return tuple(sorted(users, key=lambda user: (len(user), user)))


def about(events: Iterable[Event], user_id: str) -> tuple[Event, ...]:
    """What concerns one user: their own events, those of their devices, and the provider's."""
    kept = list(events)
    devices = {event.origin.device for event in kept if event.origin.user_id == user_id} | {"provider"}
    return tuple(event for event in kept if event.origin.user_id in ("", user_id) and event.origin.device in devices)
