"""What an event from elsewhere may be: our own facts with every field bounded, and no field we do not know."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
from msgspec import Meta

from session_core.events import AnyFact, Event, Fact, Origin
from session_core.vocabulary import Source

ID_CHARS_MAX = 200
TEXT_CHARS_MAX = 1_000
SEQ_MAX = 2**53 - 1
WHOLE_MAX = 2**31 - 1
NUMBER_MAX = 1e12

# What is not between nothing and the largest number of its type.
RANGES: Mapping[str, tuple[float, float]] = {
    "status": (0, 999),
    "attempt": (1, WHOLE_MAX),
    "health": (0, 100),
    "left_s": (-NUMBER_MAX, NUMBER_MAX),
    "seconds": (-NUMBER_MAX, NUMBER_MAX),
    "skew_s": (-NUMBER_MAX, NUMBER_MAX),
}

Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARS_MAX)]
Name = Annotated[str, Meta(max_length=ID_CHARS_MAX)]
Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
Seconds = Annotated[float, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
DateTime = Annotated[str, Meta(max_length=40, extra_json_schema={"format": "date-time"})]


def bounded(name: str, kind: Any) -> Any:
    """The type of a fact's field with its bounds."""
    if options := get_args(kind):
        return reduce(or_, (bounded(name, option) for option in options))
    if kind is str:
        return Text
    if kind not in (int, float):
        return kind
    low, high = RANGES.get(name, (0, WHOLE_MAX if kind is int else NUMBER_MAX))
    return Annotated[kind, Meta(ge=kind(low), le=kind(high))]


def _strict(fact: type[Fact]) -> type[msgspec.Struct]:
    """The same fact as it may come from elsewhere."""
    fields = [(field.name, bounded(field.name, field.type), field) for field in msgspec.structs.fields(fact)]
    return msgspec.defstruct(
        fact.__name__,
        [(name, kind) if field.required else (name, kind, field.default) for name, kind, field in fields],
        namespace={"__doc__": " ".join((fact.__doc__ or "").split())},
        module=__name__,
        tag=True,
        tag_field="kind",
        forbid_unknown_fields=True,
        frozen=True,
        kw_only=True,
    )


FACTS: Mapping[str, type[Fact]] = {fact.__name__: fact for fact in get_args(AnyFact)}

if TYPE_CHECKING:
    StrictFact = Fact
else:
    StrictFact = reduce(or_, (_strict(fact) for fact in FACTS.values()))


class IncomingOrigin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose event it is. `stream_id` with `seq` names an event for ever: the same two again are the same event.

    `user_id` is a pseudonym, empty where nobody is signed in. `source` may be sent but is not believed: it is "import".
    """

    stream_id: Id
    session_id: Id
    user_id: Name
    device: Name = "unknown"
    source: Name = Source.IMPORT.value
    policy: Name = "unknown"
    app_version: Name = ""
    run_id: Id | None = None
    scenario: Id | None = None


class IncomingEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event: who, when and what.

    `happened_at` is an RFC 3339 time with its offset, or seconds since 1970. `monotonic` and `boot` are seconds of the
    device's clocks that stand still, or go on, while it sleeps; without them wall time stands in.
    """

    seq: Annotated[int, Meta(ge=0, le=SEQ_MAX)]
    happened_at: float | DateTime
    monotonic: Seconds | None = None
    boot: Seconds | None = None
    origin: IncomingOrigin
    fact: StrictFact

    def at(self, happened_at: float) -> Event:
        """The event as the store takes it; `happened_at` is its time, read."""
        origin = msgspec.structs.asdict(self.origin) | {"source": Source.IMPORT}
        fact = FACTS[type(self.fact).__name__]
        return Event(
            seq=self.seq,
            happened_at=happened_at,
            monotonic=happened_at if self.monotonic is None else self.monotonic,
            boot=happened_at if self.boot is None else self.boot,
            origin=Origin(**origin),
            fact=fact(**msgspec.structs.asdict(self.fact)),  # type: ignore[arg-type]
        )


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one event; what it allows and what is let in differ only in times and secrets."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(IncomingEvent)
