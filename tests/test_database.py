"""The file keeps its shape: checkpoints stay short, and closing tidies up a little."""

from __future__ import annotations

from pathlib import Path

from session_core.events import Event, Origin, UserActed
from session_core.store import EventStore

NOON = 1_700_000_000.0


def events(first: int, number: int) -> list[Event]:
    origin = Origin(stream_id="stream", session_id="session", user_id="user")
    seqs = range(first, first + number)
    return [Event(seq, NOON + seq, float(seq), float(seq), origin, UserActed(action="clicked")) for seq in seqs]


def row_groups(store: EventStore) -> int:
    question = "SELECT count(DISTINCT row_group_id) AS n FROM pragma_storage_info('events')"
    number: int = store.read(question).column("n")[0].as_py()
    return number


def test_a_checkpoint_only_writes_what_is_new_and_closing_merges(tmp_path: Path) -> None:
    """A merge can take ten times as long as the checkpoint it comes with, and commits would wait for it."""
    store = EventStore(tmp_path / "events.duckdb")
    for number in range(6):
        store.append(events(100 * number, 100))
        assert store.checkpoint()
    assert row_groups(store) == 6
    store.append(events(600, 100))
    store.close()
    reopened = EventStore(store.path)
    assert row_groups(reopened) < 6
    assert reopened.statistics().log_bytes == 0
    reopened.close()
