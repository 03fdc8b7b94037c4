"""Events as Arrow columns: the envelope, the words and numbers the questions ask for, and the whole fact as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import msgspec
import pyarrow as pa

from session_core.events import AnyFact, BreakerChanged, Event, Fact, StateChanged, TokenRefreshed
from session_core.vocabulary import Outcome

_TEXT, _WORD, _REAL, _WHOLE = pa.string(), pa.string(), pa.float64(), pa.int32()

PROMOTED: Mapping[str, pa.DataType] = {
    "state_from": _WORD,
    "state": _WORD,
    "outcome": _WORD,
    "reason": _WORD,
    "error": _WORD,
    "step": _WORD,
    "served": _WORD,
    "route": _TEXT,
    "call": _WORD,
    "cause": _WORD,
    "status": _WHOLE,
    "attempt": _WHOLE,
    "duration_ms": _REAL,
    "waited_ms": _REAL,
    "health": _REAL,
    "band": _WORD,
}

_encode_fact = msgspec.json.Encoder().encode


def micros(wall: float) -> int:
    """Wall seconds as the microseconds the table keeps."""
    return round(wall * 1e6)


def fields_of(fact: type[Fact]) -> dict[str, str]:
    """Which field of this kind of fact fills which promoted column."""
    if fact is BreakerChanged:
        return {}  # A breaker's states are not the session's.
    names = {name: name for name in fact.__struct_fields__ if name in PROMOTED}
    return names | {"state": "state_to"} if fact is StateChanged else names


def _reader(fact: type[Fact]) -> Callable[[Any], tuple[object, ...]]:
    """A function that reads the promoted values of this kind in the order of PROMOTED."""
    by_column = fields_of(fact)
    fields = [by_column.get(column) for column in PROMOTED]
    # A successful refresh has no outcome of its own, yet every question counts it beside the failed ones.
    fixed = {"outcome": Outcome.OK.value} if fact is TokenRefreshed else {}
    blank: list[object] = [fixed.get(column) for column in PROMOTED]
    filled = [(place, field) for place, field in enumerate(fields) if field is not None]

    def read(event_fact: Any) -> tuple[object, ...]:
        row = blank.copy()
        for place, field in filled:
            row[place] = getattr(event_fact, field)
        return tuple(row)

    return read


_READERS = {fact: _reader(fact) for fact in get_args(AnyFact)}


def to_table(events: Sequence[Event]) -> pa.Table:
    """One Arrow table with the columns of `events` in schema.sql. Raises ValueError or OverflowError on what cannot be held."""
    origins = [event.origin for event in events]
    facts = [event.fact for event in events]
    promoted = zip(*(_READERS[type(fact)](fact) for fact in facts), strict=True) if events else [()] * len(PROMOTED)
    moments = pa.array([micros(event.happened_at) for event in events], pa.int64())
    columns = {
        "stream_id": pa.array([origin.stream_id for origin in origins], _TEXT),
        "seq": pa.array([event.seq for event in events], pa.int64()),
        "happened_at": moments.cast(pa.timestamp("us", tz="UTC")),
        "monotonic": pa.array([event.monotonic for event in events], _REAL),
        "boot": pa.array([event.boot for event in events], _REAL),
        "session_id": pa.array([origin.session_id for origin in origins], _TEXT),
        "user_id": pa.array([origin.user_id for origin in origins], _TEXT),
        "device": pa.array([origin.device for origin in origins], _TEXT),
        "source": pa.array([origin.source for origin in origins], _WORD),
        "policy": pa.array([origin.policy for origin in origins], _TEXT),
        "app_version": pa.array([origin.app_version for origin in origins], _TEXT),
        "run_id": pa.array([origin.run_id for origin in origins], _TEXT),
        "scenario": pa.array([origin.scenario for origin in origins], _TEXT),
        "kind": pa.array([type(fact).__name__ for fact in facts], _WORD),
    }
    columns |= {name: pa.array(values, kind) for (name, kind), values in zip(PROMOTED.items(), promoted, strict=True)}
    return pa.table(columns | {"fact": pa.array([_encode_fact(fact) for fact in facts], _TEXT)})
