"""A simulated run is one row and its events, and the same run recorded again is not two."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import duckdb
import msgspec
import pytest

from session_core.events import Event, Origin, UserActed
from session_core.store import EventStore, Filters, StoredRun, queries
from session_core.store.inspection import look_into
from session_core.vocabulary import Source

RUN = StoredRun(
    scenario="lid-close-overnight",
    policy="basic",
    seed=7,
    version="1.2.3",
    passed=False,
    failures=("sign_outs was 1; it should be 0.", 'It\'s a "quoted" word.'),
    survived=False,
    sign_outs=1,
    sign_out_reasons=("no_refresh_token",),
    visible_errors=2,
    wake_to_success_ms=None,
    token_posts=0,
    reuse_events=0,
    stuck_ms=0.0,
    health_min=None,
    health_mean=87.5,
    ux_score=49.0,
    ux_parts={"continuity": 0.4},
    virtual_seconds=32_400.0,
    digest="d1",
    started_at=1_800_000_000.25,
    finished_at=1_800_000_001.5,
)


def events_of(run: StoredRun, many: int) -> list[Event]:
    origin = Origin(
        stream_id=run.run_id, session_id="s", user_id="u", source=Source.SIM, run_id=run.run_id, scenario=run.scenario
    )
    return [Event(seq, 1e9 + seq, 0.0, 0.0, origin, UserActed(action="call")) for seq in range(1, many + 1)]


def count(store: EventStore) -> int:
    number: int = store.read("SELECT count(*) AS n FROM events").column("n")[0].as_py()
    return number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    opened = EventStore(path)
    yield opened
    opened.close()


def test_a_run_comes_back_as_it_was_recorded(store: EventStore) -> None:
    """Every figure, list and moment."""
    store.record_run(RUN, events_of(RUN, 3))
    [row] = queries.runs(store).to_dict("records")
    assert row["run_id"] == "lid-close-overnight/basic/7/1.2.3"
    assert (row["started_at"].timestamp(), row["finished_at"].timestamp()) == (RUN.started_at, RUN.finished_at)
    assert list(row["failures"]) == list(RUN.failures)
    plain = {"failures", "sign_out_reasons", "started_at", "finished_at", "wake_to_success_ms", "health_min"}
    expected = msgspec.structs.asdict(RUN)
    assert all(row[name] == value for name, value in expected.items() if name not in plain)
    assert count(store) == 3


def test_the_same_run_again_takes_the_earlier_ones_place(store: EventStore) -> None:
    """One row, and the events of the latest."""
    store.record_run(RUN, events_of(RUN, 3))
    store.append(events_of(msgspec.structs.replace(RUN, seed=8), 1))
    store.record_run(msgspec.structs.replace(RUN, digest="d2"), events_of(RUN, 2))
    assert list(queries.runs(store)["digest"]) == ["d2"]
    assert count(store) == 3


def test_runs_are_chosen_by_name_and_listed_newest_first(store: EventStore) -> None:
    """By scenario, policy or run_id."""
    later = msgspec.structs.replace(RUN, policy="professional", finished_at=RUN.finished_at + 5)
    for run in (RUN, later):
        store.record_run(run, [])
    assert list(queries.runs(store)["policy"]) == ["professional", "basic"]
    assert list(queries.runs(store, Filters(policy="basic"))["run_id"]) == [RUN.run_id]
    assert list(queries.runs(store, Filters(run_id=later.run_id))["policy"]) == ["professional"]
    assert queries.runs(store, Filters(scenario="workday")).empty


def test_a_run_that_cannot_be_stored_leaves_nothing_behind(store: EventStore) -> None:
    """The row and the events are one transaction."""
    store.record_run(RUN, events_of(RUN, 2))
    with pytest.raises(ValueError, match="Conversion Error"):
        store.record_run(msgspec.structs.replace(RUN, sign_outs=1 << 40), events_of(RUN, 5))
    assert count(store) == 2
    assert list(queries.runs(store)["sign_outs"]) == [1]


def test_a_file_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    """It keeps its events, can be looked into before that, and takes runs after it."""
    with duckdb.connect(path) as connection:
        connection.execute("SET GLOBAL timezone = 'UTC'")
        connection.execute(files("session_core.store").joinpath("schema.sql").read_text(encoding="utf-8"))
        connection.execute("INSERT INTO schema_version VALUES (1)")
    before = path.read_bytes()
    assert look_into(path).events == 0
    assert path.read_bytes() == before
    store = EventStore(path)
    store.record_run(RUN, [])
    store.close()
    again = EventStore(path)
    assert len(queries.runs(again)) == 1
    again.close()
