"""Files of events: what is written can be brought in again, and what is no event is named."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_kit import NOW, Clock, lines, rows, said
from test_event_store import in_another_process

from session_core.config import PROFESSIONAL
from session_core.errors import ConfigError, EventStoreError, UnreadableEventsError
from session_core.events import Event, Origin, UserActed
from session_core.ingest import Refusal
from session_core.sim.run import run
from session_core.sim.scenario import read_catalogue
from session_core.store import EventStore
from session_core.store.columns import to_table
from session_core.store.exchange import BATCH_EVENTS, Taken, export, read_file, take_in
from session_core.vocabulary import Source

SUFFIXES = (".parquet", ".csv", ".jsonl")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "events.duckdb")
    yield store
    store.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "other.duckdb")
    yield store
    store.close()


def taken(store: EventStore, file: Path, *, now: float = NOW) -> tuple[Taken, list[Refusal]]:
    refused: list[Refusal] = []
    return take_in(store.append_once, read_file(file), now=now, on_refused=refused.append), refused


def acted(seq: int, *, at: float | None = None, source: Source = Source.LIVE, action: str = "opened") -> Event:
    origin = Origin(stream_id="s", session_id="a", user_id="", source=source)
    return Event(seq, NOW - 60 + seq if at is None else at, 1.5, 2.5, origin, UserActed(action=action))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_brought_in_again(store: EventStore, other: EventStore, tmp_path: Path, suffix: str) -> None:
    """Into another store, every column of every event to the last digit; a second time it adds nothing."""
    events = [
        event for name in ("workday", "captive-portal") for event in run(read_catalogue()[name], PROFESSIONAL, 1).events
    ]
    store.append([*events, acted(1, at=NOW - 0.123457, action='He said "no", 7 × 8 = 56; naïve?')])
    file = tmp_path / f"events{suffix}"
    assert export(store, file) == len(events) + 1
    later = max(event.happened_at for event in events)
    assert taken(other, file, now=later) == (Taken(accepted=len(events) + 1), [])
    assert [row | {"source": "import"} for row in rows(store)] == rows(other)
    assert taken(other, file, now=later) == (Taken(duplicates=len(events) + 1), [])
    assert len(rows(other)) == len(events) + 1


def test_the_columns_are_those_of_the_table(store: EventStore, tmp_path: Path) -> None:
    """Whoever opens the file finds what the docs say, and nothing the store keeps for itself."""
    store.append([acted(1)])
    export(store, tmp_path / "events.parquet")
    with (tmp_path / "events.csv").open("w") as text:
        text.write("replaced")
    export(store, tmp_path / "events.csv")
    with (tmp_path / "events.csv").open(encoding="utf-8", newline="") as text:
        header = next(csv.reader(text))
    columns = to_table([acted(1)]).column_names
    assert sorted(header) == sorted(columns)
    assert pq.read_schema(tmp_path / "events.parquet").names == header


def test_a_span_and_a_source_can_be_chosen(store: EventStore, tmp_path: Path) -> None:
    """From one moment up to but without another."""
    store.append([acted(1, at=NOW), acted(2, at=NOW + 1), acted(3, at=NOW + 2, source=Source.IMPORT)])
    file = tmp_path / "events.jsonl"
    assert export(store, file, from_at=NOW + 1) == 2
    assert export(store, file, until_at=NOW + 1) == 1
    assert export(store, file, from_at=NOW, until_at=NOW + 2) == 2
    assert export(store, file, source=Source.IMPORT) == 1
    assert export(store, file, from_at=NOW + 3) == 0
    assert file.read_bytes() == b""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_store_makes_a_file_without_events(
    store: EventStore, other: EventStore, tmp_path: Path, suffix: str
) -> None:
    """Which can be read."""
    file = tmp_path / f"events{suffix}"
    assert export(store, file) == 0
    assert taken(other, file) == (Taken(), [])


def test_a_file_is_there_when_it_is_whole(store: EventStore, tmp_path: Path) -> None:
    """Where writing fails the old one stays, and nothing half-written beside it."""
    store.append([acted(1)])
    file = tmp_path / "events.jsonl"
    export(store, file)
    before = file.read_bytes()
    store.append([acted(2)])
    with file.open("rb") as reader:
        export(store, file)
        assert reader.read() == before, "whoever was reading the old one goes on reading it"
    before = file.read_bytes()
    store.close()
    with pytest.raises(EventStoreError):
        export(store, file)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("*events.jsonl*")) == ["events.jsonl"]


def test_a_disk_that_is_full_is_said_of_the_right_file(tmp_path: Path) -> None:
    """It is the file that does not fit, not the store; the store goes on."""
    done = in_another_process(
        """
from session_core.store.exchange import export
store = EventStore(Path(sys.argv[1]) / "events.duckdb")
store.append([event(seq, action=f"clicked {seq} {os.urandom(200).hex()}") for seq in range(20_000)])
store.checkpoint()
limit_files_to(100_000)
try:
    export(store, Path(sys.argv[1]) / "events.jsonl")
except StoreFullError as error:
    print(error)
print(count(store), sorted(path.name for path in Path(sys.argv[1]).glob("*json*")))
""",
        tmp_path,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"There is no room for {tmp_path / 'events.jsonl'}; free some space or write it to another disk.",
        "20000 []",
    ]


def test_a_file_that_cannot_be_written_or_read_is_said(store: EventStore, tmp_path: Path) -> None:
    """With its name and the reason."""
    (tmp_path / "folder.csv").mkdir()
    for file in (tmp_path / "nowhere" / "events.csv", tmp_path / "folder.csv"):
        with pytest.raises(ConfigError, match=f"{file.name} cannot be written: "):
            export(store, file)
        with pytest.raises(ConfigError, match=f"There is no file {file}."):
            taken(store, file)
    assert list(tmp_path.glob(".*")) == []
    gone = tmp_path / "gone.jsonl"
    gone.touch()
    sent = read_file(gone)
    gone.unlink()
    with pytest.raises(ConfigError, match=r"gone.jsonl cannot be read: No such file"):
        next(sent)


def test_a_kind_of_file_that_is_not_known_is_said(store: EventStore, tmp_path: Path) -> None:
    """With those that are."""
    file = tmp_path / "events.xlsx"
    with pytest.raises(ConfigError, match=r"must end in \.parquet, \.csv, \.jsonl"):
        export(store, file)
    with pytest.raises(ConfigError, match=r"must end in \.jsonl, \.ndjson, \.csv, \.parquet"):
        taken(store, file)


def test_a_table_by_hand_is_brought_in(store: EventStore, tmp_path: Path) -> None:
    """From a spreadsheet: a column for each field of the fact, empty where a kind has none; any order, with a mark at its start."""
    file = tmp_path / "events.CSV"
    file.write_text(
        "\ufeffkind,stream_id,seq,happened_at,session_id,user_id,action,reason\n"
        "UserActed,s,1,2025-09-01T12:00:00Z,a,u,opened,\n"
        '\nSessionEnded,s,2,1756728001.5,a,,,"idle_limit"\n'
        "UserActed,s,3,2025-09-01T12:00:02Z,a,u,opened\n"
        "UserActed,s,x,2025-09-01T12:00:02Z,a,u,opened,\n",
        encoding="utf-8",
    )
    assert taken(store, file) == (
        Taken(accepted=2, refused=2),
        [
            Refusal(5, "there are 7 cells under 8 columns."),
            Refusal(6, "seq must be a whole number, not text."),
        ],
    )
    first, second = rows(store)
    assert (first["kind"], first["happened_at"].timestamp(), first["user_id"]) == ("UserActed", 1_756_728_000, "u")
    assert (second["reason"], second["happened_at"].timestamp(), second["user_id"]) == (
        "idle_limit",
        1_756_728_001.5,
        "",
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "These columns are missing"),
        ("a.csv", b"seq;kind\n", "A table of events has no such field"),
        ("a.csv", b'seq,"kind\n', "is not CSV in line 1: unexpected end of data."),
        ("a.csv", b"\xff\xfe\x00", "A table of events has no such field"),
        ("a.parquet", b"", "is not a whole Parquet file; write it again."),
        ("a.parquet", b"PAR1" * 100, "is not a whole Parquet file; write it again."),
    ],
)
def test_a_file_of_another_kind_is_refused_as_a_whole(
    store: EventStore, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    """Rather than line by line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableEventsError) as caught:
        taken(store, tmp_path / name)
    assert reason in str(caught.value)
    assert rows(store) == []


def test_text_that_is_not_utf_8_is_refused_where_it_is(store: EventStore, tmp_path: Path) -> None:
    """The other rows come in."""
    file = tmp_path / "events.csv"
    head = b"stream_id,seq,happened_at,session_id,user_id,kind,action\n"
    file.write_bytes(head + b"s,1,1756728000,a,u,UserActed,caf\xe9\ns,2,1756728000,a,u,UserActed,coffee\n")
    assert taken(store, file) == (
        Taken(accepted=1, refused=1),
        [Refusal(2, "action has characters that cannot be shown.")],
    )


def test_columns_of_any_writer_are_read(store: EventStore, tmp_path: Path) -> None:
    """Another program's Parquet: small numbers, large text, milliseconds of another zone."""
    columns = {
        "stream_id": pa.array(["s"], pa.large_string()),
        "seq": pa.array([1], pa.uint8()),
        "happened_at": pa.array([1_756_728_000_250], pa.timestamp("ms", "Asia/Tokyo")),
        "session_id": ["a"],
        "user_id": ["u"],
        "kind": ["HeartbeatBeat"],
        "state": ["ACTIVE"],
        "health": pa.array([97.5], pa.float32()),
        "band": ["excellent"],
        "lowest": ["token_age"],
        "left_s": pa.array([900], pa.int64()),
    }
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    assert taken(store, tmp_path / "events.parquet") == (Taken(accepted=1), [])
    [row] = rows(store)
    assert (row["health"], row["happened_at"].timestamp()) == (97.5, 1_756_728_000.25)


def test_what_was_stored_before_trouble_stays(store: EventStore, tmp_path: Path) -> None:
    """A long file whose middle cannot be stored: sent again when the trouble is over, each event counts once."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(lines(*(said(seq) for seq in range(2 * BATCH_EVENTS))))
    batches = 0

    def once_in_trouble(events: list[Event]) -> int:
        nonlocal batches
        batches += 1
        if batches == 2:
            raise EventStoreError("No more.")
        return store.append_once(events)

    with pytest.raises(EventStoreError):
        take_in(once_in_trouble, read_file(file), now=Clock.now, on_refused=print)  # type: ignore[arg-type]
    assert taken(store, file)[0] == Taken(accepted=BATCH_EVENTS, duplicates=BATCH_EVENTS)
