"""Events as Arrow columns: the envelope, the words and numbers the questions ask for, and the whole fact as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import Any, get_args

import msgspec
import pyarrow as pa

from session_core.events import AnyFact, BreakerChanged, Event, Fact, NetworkChanged, StateChanged, TokenRefreshed
from session_core.vocabulary import Outcome

_TEXT, _WORD, _REAL, _WHOLE = pa.string(), pa.string(), pa.float64(), pa.int32()
_MOMENT = pa.timestamp("us", tz="UTC")

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

_encode_lines = msgspec.json.Encoder().encode_lines

# Reads one column of facts of one kind.
_Read = Callable[[Sequence[Any]], Iterable[object]]


def micros(wall: float) -> int:
    """Wall seconds as the microseconds the table keeps."""
    return round(wall * 1e6)


def fields_of(fact: type[Fact]) -> dict[str, str]:
    """Which field of this kind of fact fills which promoted column."""
    if fact in (BreakerChanged, NetworkChanged):
        return {}  # Their states are not the session's.
    names = {name: name for name in fact.__struct_fields__ if name in PROMOTED}
    return names | {"state": "state_to"} if fact is StateChanged else names


def _readers(fact: type[Fact]) -> dict[str, _Read]:
    """What reads each promoted column that this kind fills."""
    readers: dict[str, _Read] = {column: partial(map, attrgetter(field)) for column, field in fields_of(fact).items()}
    if fact is TokenRefreshed:
        # A successful refresh has no outcome of its own, yet every question counts it beside the failed ones.
        readers["outcome"] = lambda facts: repeat(Outcome.OK.value, len(facts))
    return readers


_READERS = {fact: _readers(fact) for fact in get_args(AnyFact)}


def to_table(events: Sequence[Event]) -> pa.Table:
    """One Arrow table with the columns of `events` in schema.sql. Raises ValueError or OverflowError on what cannot be held.

    It is made column by column: a tuple for each event would keep the garbage collector busier than the writer. No step
    lets go of the interpreter, which under load takes longer to come back than the whole table to make.
    """
    origins = [event.origin for event in events]
    facts = [event.fact for event in events]
    columns = {
        "stream_id": pa.array([origin.stream_id for origin in origins], _TEXT),
        "seq": pa.array([event.seq for event in events], pa.int64()),
        "happened_at": pa.array([round(event.happened_at * 1e6) for event in events], _MOMENT),
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
    return pa.table(columns | _promoted(facts) | {"fact": _lines(facts)})


def _promoted(facts: Sequence[AnyFact]) -> dict[str, pa.Array]:
    """The promoted columns, filled kind by kind."""
    rows_of: dict[type[AnyFact], list[int]] = defaultdict(list)
    for row, fact in enumerate(facts):
        rows_of[type(fact)].append(row)
    filled: dict[str, list[object]] = {}
    for kind, rows in rows_of.items():
        alike = [facts[row] for row in rows]
        for name, read in _READERS[kind].items():
            column = filled.get(name) or filled.setdefault(name, [None] * len(facts))
            for row, value in zip(rows, read(alike), strict=True):
                column[row] = value
    return {
        name: pa.array(filled[name], kind) if name in filled else pa.nulls(len(facts), kind)
        for name, kind in PROMOTED.items()
    }


def _lines(facts: Sequence[AnyFact]) -> pa.Array:
    """The JSON of each; written by one call, because none has a bare newline in it."""
    return pa.array(_encode_lines(facts).split(b"\n")[: len(facts)], _TEXT)
