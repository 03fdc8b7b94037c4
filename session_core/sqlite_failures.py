"""What SQLite's complaints mean for a person: each becomes one sentence that names the file and the remedy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from session_core.sealing import SealKeyMissingError
from session_core.session_store import SessionForeignError, SessionStoreError


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raises SessionStoreError in place of what SQLite, the file system and the key ring raise."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(path, error) from error
    except SealKeyMissingError as error:
        raise SessionForeignError(f"The session store {path} cannot be read: {error}") from error
    except OSError as error:
        raise out_of_reach(path, error.strerror or type(error).__name__) from error


def damaged(path: Path, why: str) -> SessionStoreError:
    return SessionStoreError(
        f"{path} cannot be read as a session store and was left untouched ({why.rstrip('.')}); "
        "move it away to begin a new one, or put a good copy in its place."
    )


def out_of_reach(path: Path, why: str) -> SessionStoreError:
    return SessionStoreError(
        f"The session store {path} cannot be opened or written ({why}); "
        "see that its directory exists and that both may be written to."
    )


def translate(path: Path, error: sqlite3.Error) -> SessionStoreError:
    why = str(error)
    # The low byte says what kind of trouble it is, the rest where it was met.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return SessionStoreError(
                f"The session store {path} is held by another process; sessions go on and it is tried again."
            )
        case sqlite3.SQLITE_FULL:
            return SessionStoreError(
                f"The disk with the session store {path} is full; free some space and storing goes on by itself."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return out_of_reach(path, why)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, why)
    return SessionStoreError(f"The session store {path} could not do its work ({why}); it is tried again.")
