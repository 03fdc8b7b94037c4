"""The event store keeps what it is given, says clearly why it cannot, and may be read while it is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import session_core
from session_core.errors import EventStoreError, StoreCorruptError, StoreFullError, StoreHeldError
from session_core.events import (
    AnyFact,
    BreakerChanged,
    Event,
    HeartbeatBeat,
    Origin,
    RefreshFailed,
    StateChanged,
    TokenRefreshed,
    UserActed,
)
from session_core.store import EventStore, failures
from session_core.store.columns import PROMOTED, fields_of, to_table
from session_core.vocabulary import BreakerState, Outcome, RefreshReason, Signal, State

ROOT = Path(session_core.__file__).parents[1]
NOON = 1_700_000_000.0
ORIGIN = Origin(stream_id="stream", session_id="session", user_id="user")
REFRESHED = TokenRefreshed(
    reason=RefreshReason.DUE,
    attempt=1,
    duration_ms=12.5,
    waited_s=0.0,
    left_s=60.0,
    life_s=600.0,
    rotated=True,
    moved=True,
)


def event(seq: int, fact: AnyFact = REFRESHED, *, origin: Origin = ORIGIN) -> Event:
    return Event(seq, NOON + seq, float(seq), float(seq), origin, fact)


def count(store: EventStore) -> int:
    number: int = store.read("SELECT count(*) AS n FROM events").column("n")[0].as_py()
    return number


def in_another_process(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


PREAMBLE = """
import os, resource, sys
from pathlib import Path
import pyarrow, duckdb
from session_core.errors import EventStoreError, StoreFullError
from session_core.events import Event, Origin, UserActed
from session_core.store import EventStore
origin = Origin(stream_id="stream", session_id="session", user_id="user")
def event(seq, action="clicked"):
    return Event(seq, 1_700_000_000.0 + seq, float(seq), float(seq), origin, UserActed(action=action))
def count(store):
    return store.read("SELECT count(*) AS n FROM events").column("n")[0].as_py()
def limit_files_to(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    store = EventStore(path)
    yield store
    store.close()


def test_what_is_appended_is_there_after_reopening(path: Path) -> None:
    """Every column of an event survives the way through the file."""
    store = EventStore(path)
    store.append([event(1)])
    store.close()
    reopened = EventStore(path)
    row = reopened.read("FROM events").to_pylist()[0]
    reopened.close()
    assert row["happened_at"].timestamp() == NOON + 1
    assert (row["stream_id"], row["seq"], row["kind"]) == ("stream", 1, "TokenRefreshed")
    assert (row["outcome"], row["reason"], row["duration_ms"], row["state"]) == ("ok", "due", 12.5, None)
    assert '"left_s":60' in row["fact"]


def test_states_are_promoted_only_where_they_are_the_sessions(store: EventStore) -> None:
    """A breaker's states do not pass for the session's."""
    store.append(
        [
            event(1, StateChanged(state_from=State.ACTIVE, state_to=State.LOCKED, signal=Signal.IDLE_LIMIT_REACHED)),
            event(2, BreakerChanged(state_from=BreakerState.CLOSED, state_to=BreakerState.OPEN, cooldown_s=60.0)),
        ]
    )
    rows = store.read("SELECT state_from, state FROM events ORDER BY seq").to_pylist()
    assert rows == [{"state_from": "ACTIVE", "state": "LOCKED"}, {"state_from": None, "state": None}]


@pytest.mark.parametrize("fact", get_args(AnyFact))
def test_every_promoted_field_exists_in_its_fact(fact: type) -> None:
    """No kind promises a column that it cannot fill."""
    assert set(fields_of(fact)) <= set(PROMOTED)
    assert set(fields_of(fact).values()) <= set(fact.__struct_fields__)  # type: ignore[attr-defined]


def test_the_arrow_columns_are_those_of_the_schema(store: EventStore) -> None:
    """Neither side has a column the other does not know, in the same order; the last two are the store's own."""
    in_file = store.read("SELECT column_name FROM duckdb_columns() WHERE table_name = 'events'").column(0).to_pylist()
    assert [*to_table([]).column_names, "flush", "session_key"] == in_file


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seq=st.integers(),
    happened_at=st.floats(),
    text=st.text(st.characters(codec=None)),
    number=st.floats(),
    status=st.integers() | st.none(),
)
def test_any_event_is_stored_or_refused_as_a_value(
    store: EventStore, seq: int, happened_at: float, text: str, number: float, status: int | None
) -> None:
    """Whatever an event holds, the store keeps it or raises what the recorder knows how to set aside."""
    fact = RefreshFailed(
        reason=RefreshReason.DUE,
        attempt=1,
        outcome=Outcome.TRANSIENT,
        status=status,
        error=text,
        duration_ms=number,
        left_s=number,
    )
    origin = Origin(stream_id=text, session_id=text, user_id=text)
    before = count(store)
    try:
        store.append([Event(seq, happened_at, number, number, origin, fact)])
    except (ValueError, OverflowError):
        assert count(store) == before
    else:
        assert count(store) == before + 1
        store.read("FROM events")


def test_appending_once_adds_only_what_is_new(store: EventStore) -> None:
    """An event that was already there, or comes twice in a batch, counts once."""
    store.append([event(1), event(2)])
    assert store.append_once([event(2), event(3), event(3)]) == 1
    assert store.append_once([event(2), event(3)]) == 0
    assert store.append_once([]) == 0
    other = Origin(stream_id="another", session_id="session", user_id="user")
    assert store.append_once([event(2, origin=other)]) == 1
    assert count(store) == 4
    assert store.statistics().appended == 4


def test_a_batch_is_all_or_nothing(store: EventStore) -> None:
    """One event that cannot be held keeps its whole batch out."""
    with pytest.raises(ValueError, match="surrogates"):
        store.append([event(1), event(2, UserActed(action="\udc80"))])
    assert count(store) == 0


def test_a_checkpoint_waits_for_its_size_and_then_folds_the_log(store: EventStore) -> None:
    """The log grows with commits until the writer asks for a checkpoint."""
    store.checkpoint()
    assert not store.checkpoint()
    store.append([event(seq) for seq in range(2_000)])
    log_bytes = store.statistics().log_bytes
    assert log_bytes > 0
    assert not store.checkpoint(log_bytes_min=log_bytes + 1)
    assert store.checkpoint(log_bytes_min=log_bytes)
    assert store.statistics().log_bytes == 0
    assert count(store) == 2_000


def test_commits_never_checkpoint_by_themselves(store: EventStore) -> None:
    """Far past DuckDB's own 16 MiB the log still waits for the writer."""
    batch = [event(seq, UserActed(action="x" * 2_000)) for seq in range(5_000)]
    for _ in range(3):
        store.append(batch)
    assert store.statistics().log_bytes > 17 << 20


def test_no_checkpoint_is_begun_without_room_for_it(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full is left alone, because a checkpoint that fails costs the connection."""
    store.append([event(1)])
    usage = shutil.disk_usage(store.path.parent)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert not store.checkpoint()


def test_a_file_held_by_another_process_names_that_process(path: Path) -> None:
    """The message says who holds the file and what to do; when the holder ends, the file opens."""
    script = "store = EventStore(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", PREAMBLE + script, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreHeldError) as caught:
            EventStore(path)
        holder.communicate()
    assert str(caught.value) == (
        f"The event store {path} is in use by another process (PID {holder.pid}); "
        "stop that process or choose another file."
    )
    EventStore(path).close()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 1_000)


def _empty(path: Path) -> None:
    path.touch()


def _flipped(path: Path) -> None:
    EventStore(path).close()
    content = bytearray(path.read_bytes())
    content[5_000:9_000] = bytes(4_000)
    path.write_bytes(content)


def _cut(path: Path) -> None:
    EventStore(path).close()
    path.write_bytes(path.read_bytes()[:9_000])


def _sqlite(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00" + bytes(4_080))


def _foreign(path: Path) -> None:
    with duckdb.connect(path) as other:
        other.execute("CREATE TABLE recipes (name VARCHAR)")


@pytest.mark.parametrize("spoil", [_garbage, _empty, _flipped, _cut, _sqlite, _foreign])
def test_a_file_that_is_no_event_store_is_refused_and_left_untouched(path: Path, spoil: Callable[[Path], None]) -> None:
    """The message is one sentence with the remedy, and not one byte of the file changes."""
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StoreCorruptError) as caught:
        EventStore(path)
    assert path.read_bytes() == before
    assert str(caught.value).startswith(f"{path} cannot be read as an event store")
    assert "move it away" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_a_newer_version_asks_for_an_update(path: Path) -> None:
    """A schema from the future is not written to."""
    EventStore(path).close()
    with duckdb.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(EventStoreError, match="newer version"):
        EventStore(path)


@pytest.mark.parametrize("place", ["missing/events.duckdb", "file/events.duckdb", "folder"])
def test_a_place_that_cannot_hold_a_file_is_named(tmp_path: Path, place: str) -> None:
    """A missing directory, a file in its place or a directory where the file should be: the message names it."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(EventStoreError, match="see that its directory exists") as caught:
        EventStore(tmp_path / place)
    assert caught.value.code == "store"
    assert place in str(caught.value)


def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    """Someone without rights to the directory is told so."""
    tmp_path.chmod(0o555)
    script = """
if os.geteuid() == 0:
    os.chmod(Path(sys.argv[1]).parent.parent.parent, 0o755)
    os.chmod(Path(sys.argv[1]).parent.parent, 0o755)
    os.seteuid(65534)
try:
    EventStore(sys.argv[1])
except EventStoreError as error:
    print(error.code, error)
"""
    done = in_another_process(script, tmp_path / "events.duckdb")
    assert "Permission denied" in done.stdout, done.stderr
    assert "may be written to" in done.stdout


def test_a_full_disk_keeps_the_batch_out_and_the_store_in_use(path: Path) -> None:
    """What was committed stays, the refused batch leaves no trace, and with room again it can be written."""
    script = """
store = EventStore(sys.argv[1])
store.append([event(1)])
limit_files_to(1 << 20)
batch = [event(seq, "x" * 2_000) for seq in range(2, 2_002)]
try:
    store.append(batch)
except StoreFullError as error:
    print(error)
print(count(store))
limit_files_to(resource.RLIM_INFINITY)
store.append(batch)
store.close()
print(count(EventStore(sys.argv[1])))
"""
    done = in_another_process(script, path)
    assert done.stdout.splitlines() == [
        f"The disk with the event store {path} is full; free some space and recording goes on by itself.",
        "1",
        "2001",
    ], done.stderr


def test_a_disk_that_fills_during_a_checkpoint_loses_nothing(path: Path) -> None:
    """DuckDB gives up the connection then; the store opens the file anew and every committed event is there."""
    script = """
store = EventStore(sys.argv[1])
for start in range(0, 4_000, 1_000):
    store.append([event(seq, os.urandom(1_000).hex()) for seq in range(start, start + 1_000)])
limit_files_to(1 << 20)
try:
    store.checkpoint()
except StoreFullError as error:
    print(type(error).__name__)
print(count(store))
limit_files_to(resource.RLIM_INFINITY)
store.append([event(4_000)])
print(store.checkpoint(), count(store))
"""
    done = in_another_process(script, path)
    assert done.stdout.splitlines() == ["StoreFullError", "4000", "True 4001"], done.stderr


def test_readers_see_whole_batches_while_the_writer_commits(store: EventStore) -> None:
    """Several threads ask at once, each on its own cursor; every answer is right for the moment it was given."""
    batches, batch = 30, 200
    failed: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            seen = 0
            while not done.is_set():
                total = store.read("SELECT count(*) AS n, count(DISTINCT seq) AS d, max(seq) AS m FROM events")
                n, distinct, newest = (total.column(name)[0].as_py() for name in "ndm")
                assert n == distinct == (newest or 0)
                assert n % batch == 0
                assert n >= seen
                seen = n
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    for start in range(0, batches * batch, batch):
        store.append([event(seq) for seq in range(start + 1, start + batch + 1)])
        store.checkpoint(log_bytes_min=200_000)
    done.set()
    for reader in readers:
        reader.join()
    assert not failed
    assert count(store) == batches * batch


def test_a_closed_store_says_so(store: EventStore) -> None:
    """Closing twice is harmless; using it afterwards is answered with a sentence."""
    store.append([event(1)])
    store.close()
    store.close()
    with pytest.raises(EventStoreError, match="has been closed"):
        store.append([event(2)])
    assert store.statistics().log_bytes == 0


def test_a_question_with_a_mistake_is_not_blamed_on_the_file(store: EventStore) -> None:
    """A wrong column is our own mistake, not a broken store."""
    with pytest.raises(ValueError, match="nothing_of_the_kind"):
        store.read("SELECT nothing_of_the_kind FROM events")


def test_times_come_back_as_utc_whatever_the_machine_says(path: Path) -> None:
    """The time zone of the process does not move an answer."""
    script = (
        "s = EventStore(sys.argv[1]); s.append([event(1)]); print(s.read('FROM events').schema.field('happened_at'))"
    )
    env = {**os.environ, "TZ": "America/New_York"}
    command = [sys.executable, "-c", PREAMBLE + script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=env, cwd=ROOT)
    assert "tz=UTC" in done.stdout


@pytest.mark.parametrize(
    ("message", "opening", "kind"),
    [
        ("IO Error: Could not set lock on file x: Conflicting lock is held", True, StoreHeldError),
        ("Failed to commit: Could not write file: No space left on device", False, StoreFullError),
        ("IO Error: Cannot open file: Permission denied", True, EventStoreError),
        ("Corrupt database file: computed checksum", False, StoreCorruptError),
        ("something new", True, StoreCorruptError),
        ("something new", False, EventStoreError),
    ],
)
def test_each_complaint_becomes_one_sentence(message: str, *, opening: bool, kind: type[EventStoreError]) -> None:
    """The kind follows from the cause, and the sentence always names the file."""
    path = Path("/data/events.duckdb")
    error = failures.translate(path, duckdb.Error(message + "\nmore lines"), opening=opening)
    assert type(error) is kind
    assert str(path) in str(error)
    assert "\n" not in str(error)
    assert str(error).endswith(".")


def test_heartbeats_carry_health_into_their_columns(store: EventStore) -> None:
    """What pages chart does not have to be dug out of JSON."""
    facts: Sequence[AnyFact] = [
        HeartbeatBeat(state=State.ACTIVE, health=87.5, band="good", lowest="token_age", left_s=10.0),  # type: ignore[arg-type]
    ]
    store.append([event(1, fact) for fact in facts])
    assert store.read("SELECT state, health, band FROM events").to_pylist() == [
        {"state": "ACTIVE", "health": 87.5, "band": "good"}
    ]
