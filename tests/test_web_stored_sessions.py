"""The file of the app's sessions at the start: what is unsafe stops the app with one sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from session_core.config import SessionConfig
from session_core.errors import ConfigError
from session_core.web.settings import LabSettings
from session_core.web.stored_sessions import stored_sessions

CONFIG = SessionConfig(
    issuer="https://idp.example", client_id="lab", redirect_uri="http://127.0.0.1:8501/auth/callback", scope="openid"
)
KEY = {"SESSION_CORE_STORE_KEY": "a" * 43}
OTHER_KEY = {"SESSION_CORE_STORE_KEY": "b" * 43}


def open_once(path: Path, environment: dict[str, str]) -> None:
    with stored_sessions(LabSettings(sessions=str(path)), environment, CONFIG) as store:
        assert store is not None


def of_a_newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def of_another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")


def no_database(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "environment", "sentence"),
    [
        (of_a_newer_version, KEY, "newer version"),
        (of_another_program, KEY, "another program"),
        (no_database, KEY, "cannot be read as a session store"),
        (a_directory, KEY, "cannot be opened or written"),
        (lambda _: None, OTHER_KEY, "sealed with a key that is not in SESSION_CORE_STORE_KEY"),
        (lambda _: None, {}, "cannot be read without their key"),
        (lambda _: None, {"SESSION_CORE_STORE_KEY": "short"}, "SESSION_CORE_STORE_KEY"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_app(
    tmp_path: Path, spoil: Callable[[Path], None], environment: dict[str, str], sentence: str
) -> None:
    """One sentence with what to do and how to start without it; what is in the file is left as it is."""
    path = tmp_path / "sessions.db"
    open_once(path, KEY)
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(ConfigError, match=sentence) as caught:
        open_once(path, environment)
    assert str(caught.value).endswith("or to memory, which forgets every session when the app stops.")
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_key_file_that_others_may_read_stops_the_app(tmp_path: Path) -> None:
    """Its sessions may be known already; going on would say that they are not."""
    path = tmp_path / "sessions.db"
    open_once(path, {})
    path.with_name("sessions.db.key").chmod(0o644)
    with pytest.raises(ConfigError, match="may be read by others"):
        open_once(path, {})


def test_the_directory_is_made_and_the_key_beside_the_file(tmp_path: Path) -> None:
    """A first start needs no preparation."""
    open_once(tmp_path / "new" / "sessions.db", {})
    assert (tmp_path / "new" / "sessions.db.key").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file stands where it should be."""
    (tmp_path / "taken").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        open_once(tmp_path / "taken" / "sessions.db", KEY)


def test_memory_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word stands for no store of their own."""
    monkeypatch.chdir(tmp_path)
    with stored_sessions(LabSettings(sessions="memory"), {}, CONFIG) as store:
        assert store is None
    assert list(tmp_path.iterdir()) == []
