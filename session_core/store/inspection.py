"""A look into an event store's file from outside: nothing is created, changed or kept open."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb
import msgspec

from session_core.store import failures
from session_core.store.database import SETTINGS, version_of

_CONTENTS = "SELECT count(*), epoch(max(happened_at)) FROM events"


class StoreContents(msgspec.Struct, frozen=True, kw_only=True):
    """`newest_at` is in wall seconds; None without events."""

    events: int
    newest_at: float | None


def look_into(path: Path) -> StoreContents:
    """What the existing file holds. Raises EventStoreError when it is held by another process, damaged or not ours."""
    try:
        with closing(duckdb.connect(path, read_only=True, config=SETTINGS)) as connection:
            if version_of(connection, path) == 0:
                return StoreContents(events=0, newest_at=None)
            [(events, newest_at)] = connection.execute(_CONTENTS).fetchall()
            return StoreContents(events=events, newest_at=newest_at)
    except duckdb.Error as error:
        raise failures.translate(path, error, opening=True) from error
