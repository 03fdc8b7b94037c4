"""Sessions in a SQLite file: private, durable, put aside when damaged, swept when dead, sealed anew with a new key."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import Hands, aged, database, keys, record

from session_core import session_codec, session_file
from session_core.errors import ConfigError
from session_core.session_database import BATCH, DAY_S, QUARANTINED_FOR_S, SessionDatabase, dead_at
from session_core.session_limits import AAL1, AAL2, AAL3, SessionLimits
from session_core.session_store import SessionDamagedError, SessionStoreError
from session_core.sqlite_session_store import SqliteSessionStore

ROOT = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def sessions(path: Path, hands: Hands) -> Iterator[SessionDatabase]:
    with database(path, clock=hands.clock) as opened:
        yield opened


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """As another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement, values).fetchall()


# The file


def test_every_file_is_for_its_owner_only(path: Path) -> None:
    """The database, its log, its index of the log, and the key that was made beside it, under any umask."""
    before = os.umask(0)
    try:
        with database(path, keys=None) as sessions:
            sessions.save(record())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["sessions.db", "sessions.db-wal", "sessions.db-shm", "sessions.db.key"], 0o600)


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    """Whoever made it first."""
    path.touch()
    path.chmod(0o644)
    with database(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_write_is_on_the_disk_before_it_is_said_to_be_done(sessions: SessionDatabase) -> None:
    """With a log ahead of the file, and each commit forced to the disk."""
    assert sessions._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert sessions._db.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("writes", [1, 7, 150])
def test_what_was_written_survives_a_process_that_is_killed(path: Path, writes: int) -> None:
    """In the middle of the next write: whatever was said to be done is there, whole."""
    script = """
import sys; from pathlib import Path
sys.path.insert(0, "tests")
from stores import database, record
store = database(Path(sys.argv[1]))
held = record()
while True:
    held = store.save(held)
    print(held.version, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writing:
        assert writing.stdout is not None
        said = [int(writing.stdout.readline()) for _ in range(writes)][-1]
        writing.kill()
    with database(path) as sessions:
        found = sessions.load("s")
        assert found is not None
        assert found.version >= said
        assert sessions.save(found) is not None


def test_many_processes_may_open_a_new_file_at_once(path: Path) -> None:
    """One makes it, with its key, and all find one another's sessions."""
    script = """
import asyncio, sys; from pathlib import Path
sys.path.insert(0, "tests")
from session_core.sqlite_session_store import SqliteSessionStore; from stores import record
sys.stdin.read(1)
with SqliteSessionStore(Path(sys.argv[1])) as store:
    print(asyncio.run(store.save(record(sys.argv[2]))) is not None)
"""
    command = [sys.executable, "-c", script, str(path)]
    racing = [
        subprocess.Popen([*command, f"s{n}"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(6)
    ]
    for process in racing:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    assert [process.communicate()[0] for process in racing] == ["True\n"] * 6
    with SqliteSessionStore(path) as store:
        assert len(asyncio.run(store.list_of("ada"))) == 6


def test_of_many_processes_that_write_one_version_one_does(path: Path) -> None:
    """The compare-and-swap is the file's, not the process's."""
    script = """
import sys; from pathlib import Path
sys.path.insert(0, "tests")
from stores import database
with database(Path(sys.argv[1])) as sessions:
    wins = 0
    for _ in range(200):
        found = sessions.load("s")
        wins += sessions.save(found) is not None
print(wins)
"""
    with database(path) as sessions:
        sessions.save(record())
        command = [sys.executable, "-c", script, str(path)]
        racing = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        wins = [int(process.communicate()[0]) for process in racing]
        found = sessions.load("s")
    assert found is not None
    assert found.version == 1 + sum(wins)
    assert 200 <= sum(wins) <= 600


def test_another_program_s_file_is_left_as_it_is(path: Path) -> None:
    """Neither its database nor its text is touched, and the sentence says so."""
    sql(path, "CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(SessionStoreError, match="another program's database"):
        database(path)
    assert path.read_bytes() == before
    path.write_text("Dear diary, " * 100, encoding="utf-8")
    with pytest.raises(SessionStoreError, match="cannot be read as a session store and was left untouched"):
        database(path)
    assert path.read_text(encoding="utf-8").startswith("Dear diary")


def test_a_file_of_a_newer_version_is_left_as_it_is(path: Path) -> None:
    """Its tables may mean something else."""
    with database(path):
        pass
    sql(path, f"PRAGMA user_version = {session_file.LAYOUT + 1}")
    before = path.read_bytes()
    with pytest.raises(SessionStoreError, match=r"newer version of session_core .* update"):
        database(path)
    assert path.read_bytes() == before


def test_new_tokens_wait_for_the_disk_and_a_claim_does_not(sessions: SessionDatabase) -> None:
    """A claim need only outlive its process; every other write outlives a loss of power."""
    said: list[str] = []
    sessions._db.set_trace_callback(said.append)

    def synced() -> bool:
        modes = [line.split()[-1] for line in said if line.startswith("PRAGMA synchronous")]
        said.clear()
        assert sessions._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL again"
        said.clear()
        return modes == []

    kept = sessions.save(record())
    assert kept is not None
    assert synced()
    claimed = sessions.save(msgspec.structs.replace(kept, refresh_sent_at=1.0, lease_until=7.0))
    assert claimed is not None
    assert not synced()
    assert sessions.save(msgspec.structs.replace(claimed, refresh_sent_at=None, lease_until=None)) is not None
    assert synced()


def test_a_damaged_file_is_left_as_it_is(path: Path) -> None:
    """One sentence says what to do with it."""
    with database(path) as sessions:
        sessions.save(record())
    path.write_bytes(path.read_bytes()[:4096] + b"\x00" * 20_000)
    with pytest.raises(SessionStoreError, match=r"left untouched \(.*\); move it away"), database(path) as sessions:
        sessions.load("s")


@pytest.mark.parametrize("place", ["missing/sessions.db", "."])
def test_a_file_that_cannot_be_made_is_named(tmp_path: Path, place: str) -> None:
    """With what to see to."""
    with pytest.raises(SessionStoreError, match="see that its directory exists"):
        database(tmp_path / place)


def test_a_file_that_may_not_be_written_is_named(path: Path, sessions: SessionDatabase) -> None:
    """A session goes on in memory meanwhile."""
    first = sessions.save(record())
    assert first is not None
    sessions._db.execute("PRAGMA query_only = ON")
    with pytest.raises(SessionStoreError, match=f"{path} cannot be opened or written .*readonly"):
        sessions.save(first)
    sessions._db.execute("PRAGMA query_only = OFF")
    assert sessions.load("s") == first


def test_a_full_disk_keeps_what_was_there_and_the_store_in_use(path: Path, sessions: SessionDatabase) -> None:
    """Once there is room again, storing goes on."""
    held = sessions.save(record())
    assert held is not None
    # No lower than what it has already.
    sessions._db.execute("PRAGMA max_page_count = 1")
    big = msgspec.structs.replace(held, device="x" * 100_000)
    with pytest.raises(SessionStoreError, match=f"The disk with the session store {path} is full; free some space"):
        sessions.save(big)
    assert sessions.load("s") == held
    sessions._db.execute("PRAGMA max_page_count = 1000000")
    assert sessions.save(big) is not None


def test_a_file_held_by_another_is_waited_for_and_no_longer_than_that(
    path: Path, sessions: SessionDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading goes on meanwhile."""
    held = sessions.save(record())
    assert held is not None
    assert session_file.BUSY_S_MAX == 5.0
    monkeypatch.setattr(session_file, "BUSY_S_MAX", 0.05)
    with database(path) as impatient, closing(sqlite3.connect(path, isolation_level=None)) as greedy:
        greedy.execute("BEGIN IMMEDIATE")
        with pytest.raises(SessionStoreError, match=f"{path} is held by another process; sessions go on"):
            impatient.save(held)
        assert impatient.load("s") == held
        greedy.execute("ROLLBACK")
        assert impatient.save(held) is not None


def test_a_closed_store_says_so(path: Path) -> None:
    """Rather than what SQLite calls it."""
    sessions = database(path)
    sessions.close()
    with pytest.raises(SessionStoreError, match="closed"):
        sessions.load("s")


# Keys


def test_a_store_without_its_key_is_not_begun_anew(path: Path) -> None:
    """A new key would lock everybody out for good; the sentence says where the old one belongs."""
    with database(path, keys=None) as sessions:
        sessions.save(record())
    beside = path.with_name("sessions.db.key")
    kept = beside.read_bytes()
    beside.unlink()
    with pytest.raises(SessionStoreError, match=f"bring back {beside}"):
        database(path, keys=None)
    assert not beside.exists()
    beside.touch(0o600)
    beside.write_bytes(kept)
    with database(path, keys=None) as sessions:
        assert sessions.load("s") is not None


def test_a_store_is_not_opened_with_another_key(path: Path) -> None:
    """Nothing in it is taken for damaged."""
    with database(path, keys=keys("a")) as sessions:
        sessions.save(record())
    with pytest.raises(SessionStoreError, match="sealed with a key that is not in SESSION_CORE_STORE_KEY"):
        database(path, keys=keys("b"))
    with database(path, keys=keys("b", "a")) as sessions:
        assert sessions.load("s") is not None


def test_a_key_file_that_others_may_read_stops_the_store(path: Path) -> None:
    """Before anything is sealed with it."""
    beside = path.with_name("sessions.db.key")
    beside.touch()
    beside.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        database(path, keys=None)


def test_writing_seals_with_the_newest_key_and_rotation_does_the_rest(path: Path) -> None:
    """Afterwards the old key is not needed for anything, and no version has moved."""
    with database(path, keys=keys("a")) as sessions:
        held = [sessions.save(record(f"s{n}")) for n in range(BATCH + 5)]
    with database(path, keys=keys("b", "a")) as sessions:
        assert held[0] is not None
        written = sessions.save(held[0])
        assert [sessions.rotate(), sessions.rotate(), sessions.rotate()] == [BATCH, 4, 0]
    with database(path, keys=keys("b")) as sessions:
        assert sessions.load("s0") == written
        assert [sessions.load(f"s{n}") for n in range(1, BATCH + 5)] == held[1:]


def test_rotation_passes_over_what_another_process_writes_meanwhile(path: Path) -> None:
    """The later write stands."""
    with database(path, keys=keys("a")) as old:
        first = old.save(record())
        assert first is not None
        with database(path, keys=keys("b", "a")) as new:
            moves = iter([lambda: old.save(first)])
            entropy = new._entropy

            def write_between(count: int) -> bytes:
                for move in moves:
                    move()
                return entropy(count)

            new._entropy = write_between
            assert new.rotate() == 1
            found = new.load("s")
            assert found is not None
            assert found.version == 2


def test_a_record_sealed_with_a_key_that_is_missing_is_not_taken_for_damaged(path: Path) -> None:
    """A process that knows a newer key wrote it; it stays where it is."""
    with database(path, keys=keys("a")) as old:
        with database(path, keys=keys("b", "a")) as new:
            held = new.save(record())
        with pytest.raises(SessionStoreError, match="not in SESSION_CORE_STORE_KEY or the key file") as caught:
            old.load("s")
        assert not isinstance(caught.value, SessionDamagedError)
    with database(path, keys=keys("a", "b")) as both:
        assert both.load("s") == held


# Damaged records


def damage(path: Path, session_count: int = 1) -> None:
    """Turn bits in the middle of what is sealed."""
    for place, box in sql(path, "SELECT place, box FROM sessions LIMIT ?", session_count):
        assert isinstance(box, bytes)
        sql(path, "UPDATE sessions SET box = ? WHERE place = ?", box[:40] + bytes([box[40] ^ 1]) + box[41:], place)


def test_a_damaged_record_is_put_aside_and_the_others_stay(path: Path, sessions: SessionDatabase) -> None:
    """With the reason, for whoever looks into it."""
    sessions.save(record("damaged"))
    damage(path)
    sound = sessions.save(record("sound"))
    for _ in range(2):
        with pytest.raises(SessionDamagedError, match=f"{path} is damaged and was put aside") as caught:
            sessions.load("damaged")
        assert caught.value.code == "session_damaged"
    assert sessions.load("sound") == sound
    assert sql(path, "SELECT count(*) FROM sessions") == [(1,)]
    [(version, reason)] = sql(path, "SELECT version, reason FROM quarantine")
    assert version == 1
    assert "changed since it was sealed" in str(reason)


def test_who_holds_a_session_whose_record_was_put_aside_writes_it_anew(path: Path, sessions: SessionDatabase) -> None:
    """Nobody is signed out by a disk that forgets, and only the version that was lost counts as known."""
    held = sessions.save(record())
    assert held is not None
    damage(path)
    with pytest.raises(SessionDamagedError):
        sessions.load("s")
    assert sessions.save(msgspec.structs.replace(held, version=7)) is None
    again = sessions.save(held)
    assert again is not None
    assert again.version == 2
    assert sessions.load("s") == again
    assert sessions.save(held) is None


def test_a_sign_out_of_a_damaged_session_is_for_good(path: Path, sessions: SessionDatabase) -> None:
    """What was put aside does not let a late write bring it back."""
    held = sessions.save(record())
    assert held is not None
    damage(path)
    with pytest.raises(SessionDamagedError):
        sessions.load("s")
    sessions.delete("s")
    assert sessions.load("s") is None
    assert sessions.save(held) is None
    assert sql(path, "SELECT count(*) FROM quarantine") == [(0,)]


def test_a_damaged_record_does_not_hide_a_user_s_other_sessions(path: Path, sessions: SessionDatabase) -> None:
    """It is put aside on the way."""
    sessions.save(record("damaged"))
    damage(path)
    sound = sessions.save(record("sound"))
    assert sessions.list_of("ada") == (sound,)
    assert sql(path, "SELECT count(*) FROM quarantine") == [(1,)]


def test_a_record_that_is_written_anew_while_it_is_put_aside_is_read_again(path: Path) -> None:
    """Another process healed it in that very moment."""
    with database(path) as sessions, database(path) as other:
        held = sessions.save(record())
        assert held is not None
        damage(path)
        aside = sessions._put_aside
        sessions._put_aside = lambda row, reason: (other.save(held), aside(row, reason))[1]
        found = sessions.load("s")
        assert found is not None
        assert found.version == 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("version", -1),
        ("version", 2**62),
        ("owner", b""),
        ("owner", b"x" * 32),
        ("key_name", b""),
        ("box", b""),
        ("format", 0),
        ("format", -(2**63)),
        ("dead_at", -1.0),
    ],
)
def test_whatever_is_changed_in_a_row_nothing_crashes(
    path: Path, sessions: SessionDatabase, column: str, value: object
) -> None:
    """It is read as it was written, or put aside."""
    held = sessions.save(record())
    sql(path, f"UPDATE sessions SET {column} = ?", value)
    if column in ("key_name", "dead_at"):
        assert sessions.load("s") == held
    else:
        with pytest.raises(SessionDamagedError):
            sessions.load("s")


def test_what_is_sealed_and_is_no_record_is_put_aside(path: Path, sessions: SessionDatabase) -> None:
    """A mistake of another version of ours, for one."""
    sessions.save(record())
    [row] = sessions._rows("")
    sql(path, "UPDATE sessions SET box = ?", sessions._filled(row, b'{"record": 3}').box)
    with pytest.raises(SessionDamagedError):
        sessions.load("s")
    assert sql(path, "SELECT reason FROM quarantine") == [("What is stored is no session.",)]


def test_a_record_of_a_newer_version_is_left_as_it_is(path: Path, sessions: SessionDatabase) -> None:
    """It is neither read, put aside, swept nor sealed anew here."""
    sessions.save(record())
    sql(path, "UPDATE sessions SET format = ?, dead_at = 0.0", session_codec.FORMAT + 1)
    before = sql(path, "SELECT * FROM sessions")
    with pytest.raises(SessionStoreError, match=r"newer version of session_core .*update") as caught:
        sessions.load("s")
    assert not isinstance(caught.value, SessionDamagedError)
    assert sessions.sweep() == 0
    with database(path, keys=keys("b", "a")) as rotating:
        assert rotating.rotate() == 0
    assert sql(path, "SELECT * FROM sessions") == before


# Dead sessions


@given(
    started_at=st.floats(0, 1e6),
    active_s=st.floats(0, 1e6),
    life_s=st.floats(1, 1e5),
    refresh_s=st.none() | st.floats(1, 1e7),
    limits=st.sampled_from([AAL1, AAL2, AAL3, SessionLimits()]),
)
def test_no_session_that_may_be_in_use_is_dead(
    started_at: float, active_s: float, life_s: float, refresh_s: float | None, limits: SessionLimits
) -> None:
    """While its access token serves and its absolute limit is not reached, whatever the idle limit seems to say."""
    written_at = started_at + active_s
    facts = aged(at=written_at, life_s=life_s)
    expires_at = None if refresh_s is None else written_at + refresh_s
    tokens = msgspec.structs.replace(facts.tokens, refresh_expires_at=expires_at)
    facts = msgspec.structs.replace(facts, tokens=tokens, started_at=started_at)
    absolute_s = float("inf") if limits.absolute_s is None else started_at + limits.absolute_s
    assert dead_at(facts, limits) >= min(absolute_s, tokens.expires_at)
    assert dead_at(facts, limits) <= absolute_s
    if limits.idle_s is not None:
        assert dead_at(facts, limits) <= max(written_at + limits.idle_s, tokens.expires_at)
    if expires_at is not None:
        assert dead_at(facts, limits) <= max(expires_at, tokens.expires_at)


def test_a_session_without_a_refresh_token_dies_with_its_access_token() -> None:
    """Nothing is left to go on with."""
    tokens = msgspec.structs.replace(aged().tokens, refresh_token=None)
    assert dead_at(msgspec.structs.replace(aged(), tokens=tokens), SessionLimits()) == 1060
    assert dead_at(aged(), SessionLimits()) == float("inf")


def test_dead_sessions_are_swept_a_day_later_and_the_living_stay(
    path: Path, sessions: SessionDatabase, hands: Hands
) -> None:
    """To the second; and they stay swept."""
    sessions.save(aged("old"))
    hands.at += 3 * DAY_S
    living = sessions.save(aged("young", at=hands.at))
    hands.at = 1000 + 31 * DAY_S - 1
    assert sessions.sweep() == 0
    hands.at += 1
    assert [sessions.sweep(), sessions.sweep()] == [1, 0]
    assert sessions.load("old") is None
    assert sessions.load("young") == living
    assert sql(path, "SELECT count(*) FROM quarantine") == [(0,)]


def test_a_sweep_takes_a_batch_at_most(sessions: SessionDatabase, hands: Hands) -> None:
    """Nobody waits long for it."""
    for number in range(BATCH + 3):
        sessions.save(aged(f"s{number}"))
    hands.at += 32 * DAY_S
    assert [sessions.sweep(), sessions.sweep(), sessions.sweep()] == [BATCH, 3, 0]


def test_a_wall_clock_that_was_set_ahead_sweeps_nobody(sessions: SessionDatabase, hands: Hands) -> None:
    """Within one boot the boot clock decides."""
    held = sessions.save(aged())
    hands.clock.step_wall(400 * DAY_S)
    assert sessions.sweep() == 0
    assert sessions.load("s") == held


def test_a_session_written_again_while_it_is_swept_stays(
    path: Path, sessions: SessionDatabase, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user signed in again at that moment."""
    held = sessions.save(aged())
    assert held is not None
    hands.at += 32 * DAY_S
    found = sessions._rows("")
    with database(path, clock=hands.clock) as other:
        fresh = other.save(msgspec.structs.replace(aged(at=hands.at), version=held.version))
    monkeypatch.setattr(sessions, "_rows", lambda *_: found)
    monkeypatch.setattr(sessions, "_is_dead", lambda _row: True)
    assert sessions.sweep() == 0
    monkeypatch.undo()
    assert sessions.load("s") == fresh


def test_what_nobody_can_read_is_swept_by_the_wall_clock(path: Path, hands: Hands) -> None:
    """A key that was taken away too early leaves no rubbish for ever; damaged records go after a month."""
    with database(path, keys=keys("b", "a"), clock=hands.clock) as new:
        new.save(aged("lost"))
    with database(path, keys=keys("a", "b"), clock=hands.clock) as old:
        old.save(aged("damaged"))
        sql(path, "UPDATE sessions SET version = 9 WHERE key_name = ?", keys("a").newest)
        with pytest.raises(SessionDamagedError):
            old.load("damaged")
    sql(path, "UPDATE sessions SET key_name = ?", b"gone")
    with database(path, keys=keys("c", "a", "b"), clock=hands.clock) as last:
        hands.at += QUARANTINED_FOR_S - 1
        last.sweep()
        assert sql(path, "SELECT count(*) FROM quarantine") == [(1,)]
        hands.at += 2 * DAY_S
        assert last.sweep() == 1
        assert sql(path, "SELECT count(*) FROM quarantine") == [(0,)]
