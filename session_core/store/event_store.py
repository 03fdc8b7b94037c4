"""The event store: one DuckDB file, one append-only table, one owner process."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path

import msgspec
import pyarrow as pa

from session_core.errors import EventStoreError
from session_core.events import Event
from session_core.store import rollups
from session_core.store.columns import micros, to_table
from session_core.store.database import Database, on_batch
from session_core.store.rollups import Retention
from session_core.store.runs import StoredRun, to_row
from session_core.store.upkeep import Upkeep

ROOM_BYTES_MIN = 16 << 20

_ADD_RUN = "INSERT INTO runs BY NAME SELECT * FROM batch"

# An event keeps its time when it is sent again, so only the table's rows of the batch's own span need to be looked at.
_MISSING = """
SELECT place FROM batch
WHERE (stream_id, seq) NOT IN (
    SELECT (stream_id, seq) FROM events
    WHERE happened_at BETWEEN make_timestamptz(CAST($first AS BIGINT)) AND make_timestamptz(CAST($last AS BIGINT))
)
ORDER BY place
"""


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """`log_bytes` are committed but not yet folded into the file; `appended` counts events since it was opened."""

    path: str
    file_bytes: int
    log_bytes: int
    appended: int


class EventStore:
    """Opens or creates the file; any thread may call at any time."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._database = Database(self.path)
        self._upkeep = Upkeep(self._database)

    def append(self, events: Sequence[Event], *, hurry: bool = False) -> None:
        """Commit the events as one transaction: all of them are durable on return, none if it raises.

        In a hurry, what they add to the score is counted a little later, by `maintain`.
        """
        table = to_table(events)
        with self._upkeep.changing() as cursor:
            self._upkeep.insert(cursor, events, table, hurry=hurry)

    def append_once(self, events: Sequence[Event]) -> int:
        """Commit those events that are not there yet (by stream_id and seq), each once; how many that were."""
        if not events:
            return 0
        distinct = list({(event.origin.stream_id, event.seq): event for event in events}.values())
        moments = [micros(event.happened_at) for event in distinct]
        names = {
            "stream_id": pa.array([event.origin.stream_id for event in distinct], pa.string()),
            "seq": pa.array([event.seq for event in distinct], pa.int64()),
            "place": pa.array(range(len(distinct)), pa.int64()),
        }
        table = to_table(distinct)
        with self._upkeep.changing() as cursor:
            span = {"first": min(moments), "last": max(moments)}
            found = on_batch(cursor, _MISSING, pa.table(names), span).fetchall()
            places = [place for (place,) in found]
            if places:
                missing = [distinct[place] for place in places]
                self._upkeep.insert(cursor, missing, table if len(missing) == len(distinct) else table.take(places))
        return len(places)

    def record_run(self, run: StoredRun, events: Sequence[Event]) -> None:
        """Commit a run and its events as one transaction; they take the place of an earlier run of the same name."""
        with self._upkeep.standing_still() as cursor:
            self._upkeep.forget_sessions(events)
            for statement, given in rollups.forget_run(run.run_id):
                cursor.execute(statement, given)
            on_batch(cursor, _ADD_RUN, to_row(run))
            self._upkeep.insert(cursor, events, to_table(events))

    def write(self, statements: Iterable[tuple[str, Mapping[str, object]]]) -> None:
        """Commit what these do as one transaction."""
        with self._upkeep.altering() as cursor:
            for statement, given in statements:
                cursor.execute(statement, dict(given))

    def maintain(self, *, idle: bool = True) -> bool:
        """Do some of what is due: fold, merge, count sessions anew; whether there was anything.

        Answers are the same before and after; they only come quicker. While events pour in, less is done at a time.
        """
        return self._upkeep.maintain(idle=idle)

    def fold(self) -> None:
        """Do all of it now."""
        self._upkeep.fold()

    def forget_before(self, now_s: float, retention: Retention) -> None:
        """Drop what is older, at the wall second `now_s`, than it is to be kept."""
        self.fold()
        with self._upkeep.standing_still() as cursor:
            for statement, given in rollups.forget_before(now_s, retention):
                cursor.execute(statement, dict(given))

    def read(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """The answer to one question; times come back as UTC."""
        with self._database.cursor() as cursor:
            return cursor.sql(sql, params=dict(parameters or {})).to_arrow_table()

    @property
    def appended(self) -> int:
        """Events since it was opened."""
        return self._upkeep.appended

    def checkpoint(self, *, log_bytes_min: int = 1) -> bool:
        """Fold the log into the file if the log is that long and the disk has room for it; whether it was done."""
        log_bytes = self._database.log_bytes
        if log_bytes < max(log_bytes_min, 1):
            return False
        if shutil.disk_usage(self.path.parent).free < 2 * log_bytes + ROOM_BYTES_MIN:
            return False
        with self._upkeep.checkpointing() as cursor:
            cursor.execute("CHECKPOINT")
        return True

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            path=str(self.path),
            file_bytes=self._database.file_bytes,
            log_bytes=self._database.log_bytes,
            appended=self.appended,
        )

    def close(self) -> None:
        """Fold the log into the file and let go of it; closing twice is harmless."""
        # What cannot be counted now is counted anew at the next opening.
        with suppress(EventStoreError):
            self._upkeep.settle()
        self._database.close()
