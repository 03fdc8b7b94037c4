"""The DuckDB file: opened once, laid out as the newest schema says, used through cursors that fail in our words."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa

from session_core.errors import EventStoreError
from session_core.store import failures

# Version n is what the first n of these make, run once each; a change to the schema is a further file.
_SCHEMAS = ("schema.sql", "runs.sql", "rollups.sql", "alerts.sql", "owed.sql", "labels.sql", "quarters.sql")
SCHEMA_VERSION = len(_SCHEMAS)

# DuckDB's own checkpoints stall the commit that meets them, so the writer chooses the moment. Merging what earlier ones
# wrote would make one last ten times as long, so that is done a little at each closing. And a library does not fetch
# extensions from the network because a file happens to look like SQLite's.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "checkpoint_threshold": "1TB",
    "max_vacuum_tasks": "0",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
_MERGE_A_LITTLE = "SET GLOBAL max_vacuum_tasks = 1"


class Database:
    """Opens or creates the file. Every call uses a cursor of its own, so any thread may call at any time.

    A fatal error (a disk that fills up during a checkpoint) makes DuckDB give up its connection, not the data; the
    next call opens the file anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._closed = False
        self._connection: duckdb.DuckDBPyConnection | None = _open(path)

    @property
    def file_bytes(self) -> int:
        return _bytes_of(self.path)

    @property
    def log_bytes(self) -> int:
        """Committed but not yet folded into the file."""
        return _bytes_of(self.path.with_name(self.path.name + ".wal"))

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
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

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.cursor() as cursor:
            cursor.begin()
            yield cursor
            cursor.commit()

    def close(self) -> None:
        """Fold the log into the file and let go of it; closing twice is harmless."""
        with self._lock:
            self._closed = True
            # A connection that has been given up merges nothing.
            with suppress(duckdb.Error):
                if self._connection is not None:
                    self._connection.execute(_MERGE_A_LITTLE)
            self._drop()

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


def on_batch(
    cursor: duckdb.DuckDBPyConnection,
    statement: str,
    batch: pa.Table,  # noqa: ARG001
    given: Mapping[str, object] | None = None,
) -> duckdb.DuckDBPyConnection:
    """Run a statement that reads `batch`. DuckDB finds it by that name in this frame, which costs less than a view of it."""
    return cursor.execute(statement, given)


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


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        connection = duckdb.connect(path, config=SETTINGS)
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


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
