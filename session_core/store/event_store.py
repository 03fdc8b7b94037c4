"""The event store: one DuckDB file, one append-only table, one owner process."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from os import PathLike
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa

from session_core.errors import EventStoreError
from session_core.events import Event
from session_core.store import failures
from session_core.store.columns import micros, to_table
from session_core.store.runs import StoredRun, to_row

# Version n is what the first n of these make, run once each; a change to the schema is a further file.
_SCHEMAS = ("schema.sql", "runs.sql")
SCHEMA_VERSION = len(_SCHEMAS)
ROOM_BYTES_MIN = 16 << 20

# DuckDB's own checkpoints stall the commit that meets them, so the writer chooses the moment; and a library does not
# fetch extensions from the network because a file happens to look like SQLite's.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "checkpoint_threshold": "1TB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

_APPEND = "INSERT INTO events BY NAME SELECT * FROM batch"

# An event keeps its time when it is sent again, so only the table's rows of the batch's own span need to be looked at.
_APPEND_ONCE = """
INSERT INTO events BY NAME
SELECT * FROM batch
WHERE (stream_id, seq) NOT IN (
    SELECT (stream_id, seq) FROM events
    WHERE happened_at BETWEEN make_timestamptz(CAST($first AS BIGINT)) AND make_timestamptz(CAST($last AS BIGINT))
)
"""

_FORGET_RUN = "DELETE FROM runs WHERE run_id = ?"
_FORGET_EVENTS = "DELETE FROM events WHERE run_id = ?"
_ADD_RUN = "INSERT INTO runs BY NAME SELECT * FROM batch"


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
        self._connection: duckdb.DuckDBPyConnection | None = _open(self.path)

    def append(self, events: Sequence[Event]) -> None:
        """Commit the events as one transaction: all of them are durable on return, none if it raises."""
        table = to_table(events)
        with self._cursor() as cursor, _registered(cursor, table):
            cursor.execute(_APPEND)
        self._appended += len(events)

    def append_once(self, events: Sequence[Event]) -> int:
        """Commit those events that are not there yet (by stream_id and seq), each once; how many that were."""
        if not events:
            return 0
        distinct = list({(event.origin.stream_id, event.seq): event for event in events}.values())
        moments = [micros(event.happened_at) for event in distinct]
        with self._cursor() as cursor, _registered(cursor, to_table(distinct)):
            added: int = cursor.execute(_APPEND_ONCE, {"first": min(moments), "last": max(moments)}).fetchall()[0][0]
        self._appended += added
        return added

    def record_run(self, run: StoredRun, events: Sequence[Event]) -> None:
        """Commit a run and its events as one transaction; they take the place of an earlier run of the same name."""
        with self._cursor() as cursor, _transaction(cursor):
            if cursor.execute(_FORGET_RUN, [run.run_id]).fetchall() != [(0,)]:
                cursor.execute(_FORGET_EVENTS, [run.run_id])
            for statement, table in ((_ADD_RUN, to_row(run)), (_APPEND, to_table(events))):
                with _registered(cursor, table):
                    cursor.execute(statement)
        self._appended += len(events)

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
