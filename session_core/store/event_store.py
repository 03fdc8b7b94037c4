"""The event store: one DuckDB file, one append-only table, one owner process."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from os import PathLike
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa

from session_core.errors import EventStoreError
from session_core.events import Event
from session_core.store import failures, rollups
from session_core.store.columns import micros, to_table
from session_core.store.rollups import Retention
from session_core.store.runs import StoredRun, to_row
from session_core.store.ux_ledger import Additions, UxLedger

# Version n is what the first n of these make, run once each; a change to the schema is a further file.
_SCHEMAS = ("schema.sql", "runs.sql", "rollups.sql", "alerts.sql")
SCHEMA_VERSION = len(_SCHEMAS)
ROOM_BYTES_MIN = 16 << 20
_HOUR_US = 3_600_000_000
_BEGINNING_US = -62_135_596_800_000_000

# DuckDB's own checkpoints stall the commit that meets them, so the writer chooses the moment; and a library does not
# fetch extensions from the network because a file happens to look like SQLite's.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "checkpoint_threshold": "1TB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

_APPEND = """
INSERT INTO events BY NAME SELECT *, CAST($flush AS BIGINT) AS flush, key_of(session_id) AS session_key FROM batch
"""
_ADD_USE = "INSERT INTO ux_fresh BY NAME FROM batch WHERE bucket >= make_timestamptz(CAST($horizon AS BIGINT))"
_ADD_USE_VALUES = """
INSERT INTO ux_values_fresh BY NAME FROM batch WHERE bucket >= make_timestamptz(CAST($horizon AS BIGINT))
"""
_ADD_RUN = "INSERT INTO runs BY NAME SELECT * FROM batch"
_STANDING = """
SELECT coalesce((SELECT max(flush) FROM events), 0), (SELECT count(*) FROM events WHERE flush > (SELECT unfolded())),
    (SELECT count(*) > 0 FROM ux_anew)
"""
_COUNT_ANEW = "INSERT INTO ux_anew SELECT unnest($names)"
_TO_COUNT_ANEW = "SELECT DISTINCT session_id FROM ux_anew LIMIT $sessions_max"

# An event keeps its time when it is sent again, so only the table's rows of the batch's own span need to be looked at.
_MISSING = """
SELECT place FROM batch
WHERE (stream_id, seq) NOT IN (
    SELECT (stream_id, seq) FROM events
    WHERE happened_at BETWEEN make_timestamptz(CAST($first AS BIGINT)) AND make_timestamptz(CAST($last AS BIGINT))
)
ORDER BY place
"""

FOLD_EVENTS = 50_000
FOLD_EVENTS_IDLE = 5_000
MERGE_FOLDS = 16
ANEW_SESSIONS_MAX = 500
SORT_EVENTS_MAX = 2_000_000


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """`log_bytes` are committed but not yet folded into the file; `appended` counts events since it was opened."""

    path: str
    file_bytes: int
    log_bytes: int
    appended: int


class EventStore:
    """Opens or creates the file. Every call uses a cursor of its own, so any thread may call at any time.

    A fatal error (a disk that fills up during a checkpoint) makes DuckDB give up its connection, not the data; the
    next call opens the file anew.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._closed = False
        self._appended = 0
        self._writing = threading.Lock()
        self._ledger = UxLedger()
        self._folds = 0
        self._may_sort = True
        self._oldest_us: int | None = None
        self._connection: duckdb.DuckDBPyConnection | None = _open(self.path)
        with self._cursor() as cursor:
            ((self._flush, self._unfolded, self._anew),) = cursor.execute(_STANDING).fetchall()

    def append(self, events: Sequence[Event]) -> None:
        """Commit the events as one transaction: all of them are durable on return, none if it raises."""
        table = to_table(events)
        with self._writing, self._changing() as cursor:
            self._insert(cursor, events, table)

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
        with self._writing, self._changing() as cursor:
            with _registered(cursor, pa.table(names)):
                found = cursor.execute(_MISSING, {"first": min(moments), "last": max(moments)}).fetchall()
            places = [place for (place,) in found]
            if places:
                missing = [distinct[place] for place in places]
                self._insert(cursor, missing, table if len(missing) == len(distinct) else table.take(places))
        return len(places)

    def record_run(self, run: StoredRun, events: Sequence[Event]) -> None:
        """Commit a run and its events as one transaction; they take the place of an earlier run of the same name."""
        with self._writing, self._changing() as cursor:
            self._ledger.drop({event.origin.session_id for event in events})
            for statement, given in rollups.forget_run(run.run_id):
                cursor.execute(statement, given)
            with _registered(cursor, to_row(run)):
                cursor.execute(_ADD_RUN)
            self._insert(cursor, events, to_table(events))

    def write(self, statements: Iterable[tuple[str, Mapping[str, object]]]) -> None:
        """Commit what these do as one transaction."""
        with self._writing, self._changing() as cursor:
            for statement, given in statements:
                cursor.execute(statement, dict(given))

    def maintain(self, *, idle: bool = True) -> bool:
        """Do some of what is due: fold, merge, count sessions anew; whether there was anything.

        Answers are the same before and after; they only come quicker. While events pour in, less is done at a time.
        """
        if self._anew or self._unfolded >= (FOLD_EVENTS_IDLE if idle else FOLD_EVENTS):
            with self._writing:
                self._count_anew()
                if self._unfolded >= (FOLD_EVENTS_IDLE if idle else FOLD_EVENTS):
                    self._fold()
            return True
        if idle and self._folds >= MERGE_FOLDS:
            with self._writing:
                self._merge()
            return True
        return idle and self._may_sort and self._sort_a_day()

    def fold(self) -> None:
        """Do all of it now."""
        while self._anew:
            self.maintain()
        with self._writing:
            self._fold()
            self._merge()
        while self._sort_a_day():
            pass

    def forget_before(self, now_s: float, retention: Retention) -> None:
        """Drop what is older, at the wall second `now_s`, than it is to be kept."""
        self.fold()
        self.write(rollups.forget_before(now_s, retention))

    def read(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """The answer to one question; times come back as UTC."""
        with self._cursor() as cursor:
            return cursor.sql(sql, params=dict(parameters or {})).to_arrow_table()

    def checkpoint(self, *, log_bytes_min: int = 1) -> bool:
        """Fold the log into the file if the log is that long and the disk has room for it; whether it was done."""
        log_bytes = self._log_bytes()
        if log_bytes < max(log_bytes_min, 1):
            return False
        if shutil.disk_usage(self.path.parent).free < 2 * log_bytes + ROOM_BYTES_MIN:
            return False
        with self._cursor() as cursor:
            cursor.execute("CHECKPOINT")
        return True

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            path=str(self.path),
            file_bytes=_bytes_of(self.path),
            log_bytes=self._log_bytes(),
            appended=self._appended,
        )

    def close(self) -> None:
        """Fold the log into the file and let go of it; closing twice is harmless."""
        with self._lock:
            self._closed = True
            self._drop()

    def _insert(self, cursor: duckdb.DuckDBPyConnection, events: Sequence[Event], table: pa.Table) -> None:
        """The events and what they add to the score; `_writing` is held."""
        strangers = self._ledger.strangers(events)
        elsewhere = rollups.known_sessions(cursor, sorted(strangers)) if strangers else ()
        additions = self._ledger.take(events, elsewhere=elsewhere)
        with _registered(cursor, table):
            cursor.execute(_APPEND, {"flush": self._flush + 1})
        self._add_use(cursor, additions)
        if additions.anew:
            cursor.execute(_COUNT_ANEW, {"names": additions.anew})
            self._anew = True
        self._flush += 1
        self._unfolded += len(events)
        self._appended += len(events)
        oldest_us = min((micros(event.happened_at) for event in events), default=None)
        self._oldest_us = min((us for us in (oldest_us, self._oldest_us) if us is not None), default=None)

    def _add_use(
        self, cursor: duckdb.DuckDBPyConnection, additions: Additions, *, horizon_us: int = _BEGINNING_US
    ) -> None:
        for statement, table in ((_ADD_USE, additions.counts), (_ADD_USE_VALUES, additions.values)):
            if table.num_rows:
                with _registered(cursor, table):
                    cursor.execute(statement, {"horizon": horizon_us})

    def _fold(self) -> None:
        with self._changing() as cursor:
            for statement, given in rollups.fold(self._flush):
                cursor.execute(statement, dict(given))
        self._unfolded = 0
        self._folds += 1
        self._may_sort = True

    def _merge(self) -> None:
        """One row for each key in the hours that were folded into several times."""
        if self._folds > 1 and self._oldest_us is not None:
            with self._changing() as cursor:
                for statement, given in rollups.merge_since(self._oldest_us // _HOUR_US * _HOUR_US):
                    cursor.execute(statement, dict(given))
        self._folds, self._oldest_us = 0, None

    def _sort_a_day(self) -> bool:
        """Lay the events of each session of a day side by side, so that one session is found at once."""
        with self._writing, self._changing() as cursor:
            found = cursor.execute(rollups.UNSORTED_DAY, {"events_max": SORT_EVENTS_MAX}).fetchall()
            for (day_us,) in found:
                for statement, given in rollups.sort_day(day_us):
                    cursor.execute(statement, dict(given))
        self._may_sort = bool(found)
        return self._may_sort

    def _count_anew(self) -> None:
        with self._changing() as cursor:
            found = cursor.execute(_TO_COUNT_ANEW, {"sessions_max": ANEW_SESSIONS_MAX}).fetchall()
            names = [name for (name,) in found]
            ((horizon_us,),) = cursor.execute(rollups.HORIZON).fetchall()
            for statement, given in rollups.forget_use(names, horizon_us):
                cursor.execute(statement, dict(given))
            counted = self._ledger.recount(rollups.felt_events(cursor, names))
            self._add_use(cursor, counted, horizon_us=horizon_us)
        self._anew = len(names) == ANEW_SESSIONS_MAX

    @contextmanager
    def _changing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction. Where it fails nobody knows what the ledger may count, so it begins anew."""
        try:
            with self._cursor() as cursor, _transaction(cursor):
                yield cursor
        except BaseException:
            self._ledger.forget()
            raise

    def _log_bytes(self) -> int:
        return _bytes_of(self.path.with_name(self.path.name + ".wal"))

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor whose failures are said in our words; a wrong question or value is a ValueError, not the file's fault."""
        with self._lock:
            cursor = self._live().cursor()
        try:
            yield cursor
        except (duckdb.ProgrammingError, duckdb.DataError) as error:
            raise ValueError(str(error)) from error
        except duckdb.FatalException as error:
            with self._lock:
                self._drop()
            raise failures.translate(self.path, error, opening=False) from error
        except duckdb.Error as error:
            raise failures.translate(self.path, error, opening=False) from error
        finally:
            cursor.close()

    def _live(self) -> duckdb.DuckDBPyConnection:
        if self._closed:
            raise EventStoreError(f"The event store {self.path} has been closed; open it again to use it.")
        if self._connection is None:
            self._connection = _open(self.path)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _registered(cursor: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterator[None]:
    """Within a failed transaction nothing can be taken back; closing the cursor does that."""
    cursor.register("batch", table)
    yield
    cursor.unregister("batch")


@contextmanager
def _transaction(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    cursor.begin()
    yield
    cursor.commit()


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        connection = duckdb.connect(path, config=_SETTINGS)
    except duckdb.Error as error:
        raise failures.translate(path, error, opening=True) from error
    try:
        _lay(connection, version_of(connection, path))
    except duckdb.Error as error:
        connection.close()
        raise failures.translate(path, error, opening=True) from error
    except EventStoreError:
        connection.close()
        raise
    return connection


def version_of(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """The schema's version, 0 in a new file. Raises EventStoreError when the file is not ours or from the future."""
    connection.execute("SET GLOBAL timezone = 'UTC'")
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if not tables:
        return 0
    if "schema_version" not in tables:
        raise failures.corrupt(path, "it holds the tables of another program")
    version: int = connection.execute("FROM schema_version").fetchall()[0][0]
    if version > SCHEMA_VERSION:
        raise EventStoreError(
            f"The event store {path} was written by a newer version (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); update session_core or choose another file."
        )
    return version


def _lay(connection: duckdb.DuckDBPyConnection, version: int) -> None:
    """Bring the schema up to date. A file that is so already is not written to, so that a full disk can still be read."""
    if version == SCHEMA_VERSION:
        return
    connection.begin()
    for name in _SCHEMAS[version:]:
        connection.execute(files("session_core.store").joinpath(name).read_text(encoding="utf-8"))
    connection.execute("DELETE FROM schema_version")
    connection.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])
    connection.commit()
