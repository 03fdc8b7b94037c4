"""What a rule that holds in every run is handed, what it may find, and how its events are picked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, TypeVar, overload

import msgspec

from session_core import events as e
from session_core.config import SessionPolicy
from session_core.vocabulary import Outcome

EDGE_S = 1e-6
"""Times told in milliseconds and read back differ by less than this."""
Try = e.TokenRefreshed | e.RefreshFailed
TRIES = (e.TokenRefreshed, e.RefreshFailed)
"""What tells of one try to refresh, from `sent_at` to its event."""
_BEFORE_SENDING = ("discovery", "leased", "provider_unreachable", "session_store")

A = TypeVar("A", bound=e.Fact)
B = TypeVar("B", bound=e.Fact)
C = TypeVar("C", bound=e.Fact)
D = TypeVar("D", bound=e.Fact)
E = TypeVar("E", bound=e.Fact)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was played with, as far as it decides what is allowed: the policy with the limits in force."""

    policy: SessionPolicy
    refresh_ttl_s: float
    latency_s: float
    ended_at: float
    secrets: frozenset[str] = frozenset()


class Found(NamedTuple):
    """Where a rule was broken, and how, in one sentence."""

    event: e.Event
    says: str


class Told(tuple[e.Event, ...]):  # noqa: SLOT001 - it remembers what it looked up
    """What a run told, in order; those of one kind are found without going through all of it."""

    @cached_property
    def places(self) -> Mapping[type[Any], list[int]]:
        places: dict[type[Any], list[int]] = defaultdict(list)
        for place, event in enumerate(self):
            places[type(event.fact)].append(place)
        return places


Events = tuple[e.Event, ...]
Finding = Iterator[Found]
Rule = Callable[[Events, Setting], Finding]


@overload
def of_kind(events: Iterable[e.Event], a: type[A], /) -> Iterator[tuple[e.Event, A]]: ...
@overload
def of_kind(events: Iterable[e.Event], a: type[A], b: type[B], /) -> Iterator[tuple[e.Event, A | B]]: ...
@overload
def of_kind(
    events: Iterable[e.Event], a: type[A], b: type[B], c: type[C], /
) -> Iterator[tuple[e.Event, A | B | C]]: ...
@overload
def of_kind(
    events: Iterable[e.Event], a: type[A], b: type[B], c: type[C], d: type[D], /, *more: type[E]
) -> Iterator[tuple[e.Event, A | B | C | D | E]]: ...
def of_kind(events: Iterable[e.Event], *kinds: type[e.Fact]) -> Iterator[tuple[e.Event, e.Fact]]:
    """The events of these kinds in order, each with its fact."""
    if isinstance(events, Told):
        places = sorted(chain.from_iterable(events.places.get(kind, ()) for kind in kinds))
        return ((event, event.fact) for event in map(events.__getitem__, places))
    return ((event, event.fact) for event in events if type(event.fact) in kinds)


def sent_at(event: e.Event, fact: Try) -> float:
    """When the request of a try went out, in boot seconds."""
    return event.boot - fact.duration_ms / 1000


def asked_at(event: e.Event, fact: e.RequestServed) -> float:
    """When a call of one request went out, once it had its token; one that was refused waited afterwards, and in vain."""
    return event.boot - (fact.duration_ms - (0.0 if fact.status == 401 else fact.waited_ms)) / 1000


def went_out(fact: Try) -> bool:
    """Whether the try got as far as the token endpoint: where network, discovery or store failed, it did not."""
    return isinstance(fact, e.TokenRefreshed) or not (fact.outcome is Outcome.OFFLINE or fact.error in _BEFORE_SENDING)
