"""`/metrics` and `/healthz` of a served app: what they answer, to whom, and while something is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import msgspec
import pytest
from lab_kit import ServedLab, served_lab

from session_core.deadlines import LoopStatistics
from session_core.errors import ConfigError
from session_core.service import ServiceStatistics
from session_core.web.health import LATE_S_MAX, ailments
from session_core.web.metrics import NOTHING_YET
from session_core.web.settings import read_settings

KEY = "scrape-me-if-you-can-4711"
RECORDING = msgspec.structs.replace(NOTHING_YET.recorder, running=True)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedLab]:
    with served_lab(tmp_path / "lab.duckdb") as lab:
        yield lab


def ask(served: ServedLab, path: str, **headers: str) -> httpx.Response:
    with served.browser() as browser:
        return browser.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def sample(text: str, series: str) -> float:
    [line] = [line for line in text.splitlines() if line.startswith(f"{series} ")]
    return float(line.rpartition(" ")[2])


def test_a_sign_in_shows_in_the_metrics(served: ServedLab) -> None:
    """Counted as it happens; and nothing about the person is in them."""
    before = ask(served, "/metrics").text
    with served.browser() as browser:
        served.sign_in(browser)
    after = ask(served, "/metrics")
    assert after.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert after.headers["cache-control"] == "no-store"
    started = 'session_core_sessions_started_total{resumed="no"}'
    assert sample(after.text, started) == sample(before, started) + 1
    assert sample(after.text, 'session_core_sessions{state="ACTIVE"}') >= 1
    assert sample(after.text, 'session_core_store_bytes{part="file"}') > 0
    [session, *_] = served.lab.service.sessions()
    for secret in (session.session_id, session.user_id, "ada", "127.0.0.1", "/idp"):
        assert secret not in after.text


def test_what_is_recorded_is_counted_as_well(served: ServedLab) -> None:
    """The tee hides nothing from the store."""
    with served.browser() as browser:
        served.sign_in(browser)
    assert served.lab.recorder.flush()
    assert sample(ask(served, "/metrics").text, "session_core_recorder_stored_events_total") > 0


def test_an_app_that_is_well_says_so(served: ServedLab) -> None:
    """In one line that a load balancer can read."""
    answer = ask(served, "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "reasons": []})


def test_a_store_that_cannot_be_used_is_told_of(tmp_path: Path) -> None:
    """With 503 and the sentence; the metrics go on."""
    (tmp_path / "lab.duckdb").write_bytes(b"no database" * 1_000)
    with served_lab(tmp_path / "lab.duckdb") as lab:
        answer = ask(lab, "/healthz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "degraded"
        [reason] = answer.json()["reasons"]
        assert reason["part"] == "event_store"
        assert str(tmp_path) in reason["says"]
        assert ask(lab, "/metrics").status_code == 200


@pytest.mark.parametrize("address", [None, "0.0.0.0", "192.168.1.4"])
def test_an_app_that_others_can_reach_keeps_its_metrics_to_itself(tmp_path: Path, address: str | None) -> None:
    """Until it has a key; and it says how to give it one."""
    with served_lab(tmp_path / "lab.duckdb", address=address) as lab:
        answer = ask(lab, "/metrics")
        assert answer.status_code == 403
        assert "SESSION_LAB_METRICS_KEY" in answer.text
        assert ask(lab, "/healthz").json() == {"status": "ok", "reasons": []}


def test_through_a_proxy_everyone_is_from_elsewhere(served: ServedLab) -> None:
    """However near the proxy is."""
    assert ask(served, "/metrics", x_forwarded_for="203.0.113.9").status_code == 403


def test_with_a_key_whoever_has_it_may_read(tmp_path: Path) -> None:
    """And nobody else, not even here."""
    given = {"SESSION_LAB_METRICS_KEY": KEY}
    with served_lab(tmp_path / "lab.duckdb", given, address="0.0.0.0") as lab:
        for wrong in ({}, {"authorization": "Bearer no"}, {"authorization": KEY}, {"authorization": f"Basic {KEY}"}):
            answer = ask(lab, "/metrics", **wrong)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert KEY not in answer.text
        assert ask(lab, "/metrics", authorization=f"Bearer {KEY}").status_code == 200
        assert KEY not in repr(lab.lab)


def test_what_is_wrong_is_said_in_words_only_to_whoever_may_read_the_metrics(tmp_path: Path) -> None:
    """The words name files and processes of the machine."""
    (tmp_path / "lab.duckdb").write_bytes(b"no database" * 1_000)
    given = {"SESSION_LAB_METRICS_KEY": KEY}
    with served_lab(tmp_path / "lab.duckdb", given, address="0.0.0.0") as lab:
        answer = ask(lab, "/healthz")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == [{"part": "event_store"}]
        assert "says" in ask(lab, "/healthz", authorization=f"Bearer {KEY}").json()["reasons"][0]


@pytest.mark.parametrize("weak", ["", "short", "fifteen-letters", "with a space in it"])
def test_a_weak_key_is_refused(weak: str) -> None:
    """By the name of its variable, and without saying it again."""
    with pytest.raises(ConfigError, match="SESSION_LAB_METRICS_KEY is too weak") as caught:
        read_settings({"SESSION_LAB_METRICS_KEY": weak})
    assert not weak or weak not in str(caught.value)
    assert KEY not in repr(read_settings({"SESSION_LAB_METRICS_KEY": KEY}))


# What counts as wrong


def loop(*, running: bool = True, last_run_at: float | None = 100.0) -> LoopStatistics:
    return LoopStatistics(
        running=running, members=0, visits=0, crashes=0, late_s_max=0.0, last_run_at=last_run_at, next_due_at=None
    )


def found(now: float = 110.0, **changes: object) -> list[str]:
    given = {"store_trouble": None, "recorder": RECORDING, "worker": loop(), "heartbeat": loop(), "background": True}
    given |= changes
    service = ServiceStatistics(sessions=1, worker=given.pop("worker"), heartbeat=given.pop("heartbeat"))
    return [each.part for each in ailments(now=now, service=service, **given)]


def test_nothing_is_wrong_while_everything_turns() -> None:
    """Also with a loop that has only just begun."""
    assert found() == []
    assert found(worker=loop(last_run_at=None)) == []


def test_a_loop_that_stands_still_is_told_of() -> None:
    """Not before it has missed several looks around, and at once where it does not run."""
    assert found(100.0 + LATE_S_MAX) == []
    assert found(100.1 + LATE_S_MAX) == ["worker", "heartbeat"]
    assert found(100.1 + LATE_S_MAX, worker=loop(last_run_at=150.0)) == ["heartbeat"]
    assert found(worker=loop(running=False)) == ["worker"]


def test_under_a_policy_without_background_no_loop_is_missed() -> None:
    """As `basic` is."""
    assert found(worker=loop(running=False), heartbeat=loop(running=False), background=False) == []


def test_the_recorders_trouble_is_told_once() -> None:
    """Where it is that of the store, the store says it."""
    held = "The event store is in use."
    failing = msgspec.structs.replace(RECORDING, last_error=held)
    assert found(recorder=failing) == ["recorder"]
    assert found(recorder=failing, store_trouble=held) == ["event_store"]
    assert found(recorder=msgspec.structs.replace(RECORDING, running=False)) == ["recorder"]


def test_sessions_that_are_in_no_store_are_told_of(tmp_path: Path) -> None:
    """They go on; a restart meanwhile would lose them. Written again, all is well again."""
    assert found(unsaved=2) == ["session_store"]
    with served_lab(tmp_path / "lab.duckdb") as served:
        with served.browser() as browser:
            served.sign_in(browser)
        [session] = served.lab.service.sessions()
        with closing(sqlite3.connect(tmp_path / "lab.sessions.db", isolation_level=None)) as db:
            db.execute("ALTER TABLE sessions RENAME TO away")
            served.lab.service.call(session.force_refresh_session())
            sick = ask(served, "/healthz")
            db.execute("ALTER TABLE away RENAME TO sessions")
        assert sick.status_code == 503
        assert sick.json()["reasons"][0]["says"].startswith("1 session is not in the session store")
        served.lab.service.call(session.force_refresh_session())
        assert ask(served, "/healthz").status_code == 200
