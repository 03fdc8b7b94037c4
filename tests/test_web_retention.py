"""What is too old goes while the app runs; how old that is, a file says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from session_core.clock import SystemClock
from session_core.errors import ConfigError, EventStoreError
from session_core.store.rollups import Retention
from session_core.web import retention
from session_core.web.settings import LabSettings
from session_core.web.settings import retention as read_retention


class Held:
    """A store that another process holds the first time it is asked."""

    def __init__(self, done: asyncio.Event) -> None:
        self.asked: list[Retention] = []
        self._done, self._loop = done, asyncio.get_running_loop()

    def forget_before(self, now_s: float, retention: Retention) -> None:
        assert now_s > 1.7e9
        self.asked.append(retention)
        if len(self.asked) == 1:
            raise EventStoreError("Another process holds it.")
        self._loop.call_soon_threadsafe(self._done.set)


def test_a_store_that_could_not_be_used_is_looked_through_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the policy as given; and it ends with the app."""
    monkeypatch.setattr(retention, "FIRST_S", 0.0)
    monkeypatch.setattr(retention, "EVERY_S", 0.001)

    async def play() -> list[Retention]:
        done = asyncio.Event()
        store = Held(done)
        async with retention.retaining(store, Retention(events_days=7), clock=SystemClock()):
            async with asyncio.timeout(30):
                await done.wait()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "retention"]
        return store.asked

    assert set(asyncio.run(play())) == {Retention(events_days=7)}


def settings(tmp_path: Path, text: str) -> LabSettings:
    path = tmp_path / "lab.toml"
    path.write_text(text, encoding="utf-8")
    return LabSettings(config_path=path)


def test_the_policy_is_a_table_of_the_file(tmp_path: Path) -> None:
    """What it leaves out stands for itself, as does everything without a file."""
    assert read_retention(LabSettings()) == Retention()
    assert read_retention(settings(tmp_path, "[retention]\nevents_days = 7\n")) == Retention(events_days=7)


@pytest.mark.parametrize(
    ("text", "named"),
    [("events_days = 0", "events_days"), ("event_days = 7", "event_days"), ('hours_days = "long"', "hours_days")],
)
def test_nonsense_in_it_is_named(tmp_path: Path, text: str, named: str) -> None:
    """Too little, unknown, or no number."""
    with pytest.raises(ConfigError, match=named):
        read_retention(settings(tmp_path, f"[retention]\n{text}\n"))
