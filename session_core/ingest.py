"""What is let in of what others send: each event becomes one of ours, or a sentence that says why it cannot."""

from __future__ import annotations

import codecs
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import BinaryIO

import msgspec

from session_core.errors import UnreadableEventsError
from session_core.events import Event
from session_core.incoming import FACTS, IncomingEvent
from session_core.refusals import ENVELOPE, ORIGIN, SECRET, RefusedError, no_event, not_json, sentence, shown, unknown

EARLIEST_AT = 946_684_800.0
AHEAD_S_MAX = 300.0
LINE_BYTES_MAX = 64 << 10
REQUIRED = ("stream_id", "seq", "happened_at", "session_id", "user_id")
COLUMNS = ENVELOPE | ORIGIN | {"kind", "fact"} | {name for fact in FACTS.values() for name in fact.__struct_fields__}

Row = Mapping[str, object]
# Each with the number of its line or row: JSON, a row of a table, or why there is neither.
Sent = Iterator[tuple[int, bytes | Row | str]]

_MILLISECONDS_AT = 1e11
# Control characters, those that turn the direction of text, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_decode = msgspec.json.Decoder(IncomingEvent).decode


class Refusal(msgspec.Struct, frozen=True):
    """Why an event is not let in. `line` counts from 1: lines of text, or rows of a table."""

    line: int
    error: str


class Sifted(msgspec.Struct, frozen=True):
    """What was sent, told apart."""

    events: list[Event]
    refused: list[Refusal]


def sift(sent: Iterable[tuple[int, bytes | Row | str]], *, now: float) -> Sifted:
    told = Sifted([], [])
    for line, raw in sent:
        try:
            told.events.append(_read(raw, now))
        except RefusedError as error:
            told.refused.append(Refusal(line, sentence(str(error))))
    return told


def lines_of(stream: BinaryIO) -> Sent:
    """The lines that are not blank, each with its number; of one that is too long only the beginning."""
    for line in count(1):
        text = stream.readline(LINE_BYTES_MAX + 1)
        if not text:
            return
        rest = text
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(LINE_BYTES_MAX)
        text = text.removeprefix(codecs.BOM_UTF8) if line == 1 else text
        if text.strip():
            yield line, text.rstrip(b"\n")


def check_columns(names: Sequence[str]) -> None:
    """Whether rows with these columns can be events. Raises UnreadableEventsError, which names what is wrong."""
    for name, times in Counter(names).items():
        if times > 1:
            raise UnreadableEventsError(f"There are {times} columns {shown(name) or 'of one name'}; leave one.")
    if wrong := next(unknown("A table of events", names, COLUMNS), None):
        raise UnreadableEventsError(sentence(wrong))
    needed = [*REQUIRED, *(["kind"] if "fact" not in names else [])]
    if missing := [name for name in needed if name not in names]:
        raise UnreadableEventsError(f"These columns are missing: {', '.join(missing)}.")


def _read(raw: bytes | Row | str, now: float) -> Event:
    match raw:
        case bytes():
            return read_json(raw, now=now)
        case str():
            raise RefusedError(raw)
        case _:
            return read_row(raw, now=now)


def read_json(text: bytes, *, now: float) -> Event:
    """The event of one JSON object."""
    if len(text) > LINE_BYTES_MAX:
        raise RefusedError(f"the event is longer than {LINE_BYTES_MAX} bytes")
    try:
        incoming = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(no_event(str(error), _plain(text))) from None
    return _checked(incoming, now)


def read_row(row: Row, *, now: float) -> Event:
    """The event of one row, whose columns are those of the store's table; a value may also come as text."""
    plain = nested(row)
    try:
        incoming = msgspec.convert(plain, IncomingEvent, strict=False)
    except msgspec.ValidationError as error:
        raise RefusedError(no_event(str(error), plain)) from None
    return _checked(incoming, now)


def nested(row: Row) -> dict[str, object]:
    """A flat row as an event: the fact is in the column `fact` as JSON, or in columns of its own beside `kind`."""
    given = {name: value for name, value in row.items() if value is not None}
    plain = {name: given.pop(name) for name in ENVELOPE & given.keys()}
    if "happened_at" in plain:
        plain["happened_at"] = _time_of(plain["happened_at"])
    origin = {name: given.pop(name) for name in ORIGIN & given.keys()}
    return plain | {"origin": origin, "fact": _fact_of(given)}


def _fact_of(given: dict[str, object]) -> dict[str, object]:
    """Where the whole fact is there, the columns that repeat parts of it are not looked at."""
    if "fact" not in given:
        return given
    try:
        fact = msgspec.json.decode(str(given["fact"]).encode("utf-8", "surrogatepass"), type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusedError("fact must be a JSON object") from None
    kind = given.get("kind", fact.get("kind"))
    if fact.setdefault("kind", kind) != kind:
        raise RefusedError("fact is of another kind than the column kind says")
    return fact


def _time_of(value: object) -> object:
    """A row's time as an event may say it."""
    if isinstance(value, datetime):
        return value.timestamp() if value.tzinfo else value.isoformat()
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _checked(incoming: IncomingEvent, now: float) -> Event:
    """What no type can say: times, and texts that must not be kept."""
    event = incoming.at(_moment(incoming.happened_at, now))
    for part in (event.origin, event.fact):
        for name, text in msgspec.structs.asdict(part).items():
            if type(text) is str:
                _check_text(name, text)
    return event


def _moment(given: float | str, now: float) -> float:
    at = given if isinstance(given, float) else _parsed(given)
    if EARLIEST_AT <= at <= now + AHEAD_S_MAX:
        return at
    bounds = f"happened_at must lie between {_written(EARLIEST_AT)} and {AHEAD_S_MAX / 60:g} minutes from now"
    if at >= _MILLISECONDS_AT:
        raise RefusedError(f"{bounds}; this looks like milliseconds, and seconds are wanted")
    raise RefusedError(f"{bounds}, not at {_written(at)}" if math.isfinite(at) else bounds)


def _parsed(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise RefusedError("happened_at must be seconds or a time with its offset, such as 2026-01-31T09:30:00Z")
    return moment.timestamp()


def _written(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at:g} s"


def _check_text(name: str, text: str) -> None:
    if _UNPRINTABLE.search(text):
        raise RefusedError(f"{name} has characters that cannot be shown")
    if SECRET.search(text):
        raise RefusedError(f"{name} looks like it holds a token; send no secrets")
    if name == "route" and ("?" in text or "#" in text):
        raise RefusedError("route must be a path alone; a query may hold secrets")


def _plain(text: bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(not_json(error)) from None
