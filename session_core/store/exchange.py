"""Events in files: JSON Lines, CSV and Parquet, as they come in and as they go out."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from session_core.errors import ConfigError, StoreFullError, UnreadableEventsError
from session_core.events import Event, Origin
from session_core.ingest import Refusal, Row, Sent, check_columns, lines_of, sift
from session_core.store.arrow_rows import rows_of_parquet
from session_core.store.columns import PROMOTED, micros
from session_core.store.event_store import EventStore
from session_core.vocabulary import Source

BATCH_EVENTS = 5_000

# Stores those events that are not there yet; how many that were.
Append = Callable[[Sequence[Event]], int]


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events that came in."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(
            accepted=self.accepted + other.accepted,
            duplicates=self.duplicates + other.duplicates,
            refused=self.refused + other.refused,
        )


def take_in(append: Append, sent: Sent, *, now: float, on_refused: Callable[[Refusal], object]) -> Taken:
    """Store what can be let in, batch by batch. What was stored stays so, also if a later batch raises."""
    taken = Taken()
    while batch := list(islice(sent, BATCH_EVENTS)):
        sifted = sift(batch, now=now)
        for refusal in sifted.refused:
            on_refused(refusal)
        added = append(sifted.events)
        taken += Taken(accepted=added, duplicates=len(sifted.events) - added, refused=len(sifted.refused))
    return taken


def read_file(file: Path) -> Sent:
    """What is in the file, each with the number of its line or row.

    Raises ConfigError where there is none or of no known kind, and while it is read UnreadableEventsError.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise ConfigError(f"The kind of the file {file} is not known; its name must end in {', '.join(_READERS)}.")
    if not file.is_file():
        raise ConfigError(f"There is no file {file}.")
    return _reading(reader, file)


def export(
    store: EventStore,
    file: Path,
    *,
    from_at: float | None = None,
    until_at: float | None = None,
    source: Source | None = None,
) -> int:
    """Write the events from one moment up to another, or all; how many they are.

    The file is there when it is whole, and what was there before stays until then. Raises ConfigError and
    EventStoreError.
    """
    copy = _COPIES.get(file.suffix.lower())
    if copy is None:
        raise ConfigError(f"Events are not written as {file.name}; its name must end in {', '.join(_COPIES)}.")
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    asked = {
        "from": None if from_at is None else micros(from_at),
        "until": None if until_at is None else micros(until_at),
        "source": source,
        "file": str(beside),
    }
    try:
        beside.open("wb").close()
        events: int = store.read(copy, asked).column(0)[0].as_py()
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(file)
    except StoreFullError as error:
        raise StoreFullError(f"There is no room for {file}; free some space or write it to another disk.") from error
    except OSError as error:
        raise ConfigError(f"The file {file} cannot be written: {error.strerror}.") from None
    finally:
        beside.unlink(missing_ok=True)
    return events


def _reading(reader: Callable[[Path], Sent], file: Path) -> Sent:
    try:
        yield from reader(file)
    except OSError as error:
        raise ConfigError(f"The file {file} cannot be read: {error.strerror}.") from None


def _read_json_lines(file: Path) -> Sent:
    with file.open("rb") as stream:
        yield from lines_of(stream)


def _read_csv(file: Path) -> Sent:
    """The rows under the header; an empty cell is a value left out. What is not UTF-8 shows when a row is looked at."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        lines = csv.reader(text, strict=True)
        try:
            header = next(lines, [])
            check_columns(header)
            for cells in lines:
                if cells:
                    yield lines.line_num, _row(header, cells)
        except csv.Error as error:
            raise UnreadableEventsError(f"{file} is not CSV in line {lines.line_num}: {error}.") from None


def _row(header: list[str], cells: list[str]) -> Row | str:
    if len(cells) != len(header):
        return f"there are {len(cells)} cells under {len(header)} columns"
    return {name: cell for name, cell in zip(header, cells, strict=True) if cell or name == "user_id"}


_READERS: Mapping[str, Callable[[Path], Sent]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".csv": _read_csv,
    ".parquet": rows_of_parquet,
}

_COLUMNS = ", ".join((*Event.__struct_fields__[:4], *Origin.__struct_fields__, "kind", *PROMOTED, "fact"))
_RFC_3339 = "strftime(make_timestamp(epoch_us(happened_at)), '%Y-%m-%dT%H:%M:%S.%fZ') AS happened_at"
_CHOSEN = """
FROM events
WHERE ($from IS NULL OR happened_at >= make_timestamptz(CAST($from AS BIGINT)))
  AND ($until IS NULL OR happened_at < make_timestamptz(CAST($until AS BIGINT)))
  AND ($source IS NULL OR source = $source)
"""

_COPIES: Mapping[str, str] = {
    ".parquet": f"COPY (SELECT {_COLUMNS} {_CHOSEN}) TO $file (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)",
    ".csv": f"""
        COPY (
            SELECT {_COLUMNS.replace("happened_at", _RFC_3339)} {_CHOSEN}
        ) TO $file (FORMAT csv, HEADER, USE_TMP_FILE false)
    """,
    ".jsonl": f"""
        COPY (
            SELECT seq, epoch_us(happened_at) / 1e6 AS happened_at, monotonic, boot,
                struct_pack(
                    stream_id := stream_id, session_id := session_id, user_id := user_id, device := device,
                    source := source, policy := policy, app_version := app_version, run_id := run_id,
                    scenario := scenario
                ) AS origin,
                fact
            {_CHOSEN}
        ) TO $file (FORMAT json, USE_TMP_FILE false)
    """,
}
