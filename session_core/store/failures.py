"""What DuckDB's complaints mean for a person: each becomes one sentence that names the file and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from session_core.errors import EventStoreError, StoreCorruptError, StoreFullError, StoreHeldError

_HELD = "Could not set lock on file"
_HOLDER = re.compile(r"\(PID (\d+)\)")
_FULL = ("No space left on device", "File too large", "Disk quota exceeded")
_OUT_OF_REACH = (
    "Permission denied",
    "No such file or directory",
    "Not a directory",
    "Is a directory",
    "Read-only file system",
    "Cannot open file",
    "different configuration",
)
_DAMAGED = ("Corrupt database file", "not a valid DuckDB database", "Could not read enough bytes", "replaying WAL")


def held(path: Path, message: str) -> StoreHeldError:
    holder = _HOLDER.search(message)
    who = f"another process (PID {holder[1]})" if holder else "another process"
    return StoreHeldError(f"The event store {path} is in use by {who}; stop that process or choose another file.")


def full(path: Path) -> StoreFullError:
    return StoreFullError(
        f"The disk with the event store {path} is full; free some space and recording goes on by itself."
    )


def corrupt(path: Path, why: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{path} cannot be read as an event store and was left untouched ({why}); "
        "move it away to begin a new one, or put a good copy in its place."
    )


def unreachable(path: Path, why: str) -> EventStoreError:
    return EventStoreError(
        f"The event store {path} cannot be opened ({why}); see that its directory exists and may be written to."
    )


def translate(path: Path, error: duckdb.Error, *, opening: bool) -> EventStoreError:
    """The error of ours that says what `error` means; on opening, what nothing else explains is a damaged file."""
    message = str(error)
    why = message.partition("\n")[0].rstrip(".!")
    if _HELD in message:
        return held(path, message)
    if any(sign in message for sign in _FULL):
        return full(path)
    if opening and any(sign in message for sign in _OUT_OF_REACH):
        return unreachable(path, why)
    if opening or any(sign in message for sign in _DAMAGED):
        return corrupt(path, why)
    return EventStoreError(f"The event store {path} could not do its work ({why}); it is opened anew at the next try.")
