"""The desk looks, keeps what changed and takes what people decide; what it cannot keep does not count."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from alert_kit import BURN, FEW, FORCED_OUT, NOW, STUCK, STUCK_RULE, Clock, History

from session_core.alert_rules import DAY_S, HOUR_S, AlertRule, AlertSettings, Measure, Objective, Verdict, Why
from session_core.alert_states import Alert, AlertState, Change, ChangeKind
from session_core.errors import EventStoreError
from session_core.store import alert_words, alerts
from session_core.store.alert_desk import AlertDesk
from session_core.store.alerts import Delivery
from session_core.store.event_store import EventStore
from session_core.store.late_store import LateStore
from session_core.vocabulary import Source


class Office:
    """A desk over a store, both of which can be closed and opened again."""

    def __init__(self, path: Path, *, tells: bool = True) -> None:
        self.path = path
        self.clock = Clock()
        self.numbers = itertools.count(1)
        self.notices: list[str] = []
        self.open(tells=tells)

    def open(self, settings: AlertSettings = FEW, *, tells: bool = True) -> None:
        self.late = LateStore(self.path, clock=self.clock, retry_s=0)
        self.desk = AlertDesk(
            self.late,
            clock=self.clock,
            new_id=lambda: f"change-{next(self.numbers)}",
            configured=settings,
            told_to="hooks.example" if tells else "",
        )
        self.desk.on_pending = lambda: self.notices.append("pending")

    def close(self) -> None:
        self.late.close()

    @property
    def store(self) -> EventStore:
        return self.late.opened()

    @property
    def history(self) -> History:
        return History(self.store)

    def alert(self, rule: str = "Burn") -> Alert:
        return self.desk.board().alerts[rule]

    def kinds(self) -> list[tuple[str, str]]:
        """What was kept, the oldest first."""
        kept = self.desk.history()
        return list(zip(kept["rule"][::-1], kept["kind"][::-1], strict=True))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path / "lab.duckdb")
    yield office
    office.close()


def burning(office: Office) -> None:
    """Four sessions within the last minutes, two of them thrown out."""
    office.history.used(2, NOW - 60)
    office.history.used(2, NOW - 30, FORCED_OUT, name="bad")
    office.desk.evaluate()


def test_an_empty_store_freezes_every_rule(office: Office) -> None:
    """Nothing is known, which is said, and which wakes nobody."""
    office.desk.evaluate()
    board = office.desk.board()
    assert {alert.frozen for _, alert, _ in board.rows()} == {Why.NO_EVENTS}
    assert (board.looked_at, board.trouble) == (NOW, None)
    assert office.kinds() == [("Burn", "frozen"), ("Stuck", "frozen")]
    assert office.desk.next_pending() is None
    assert alerts.open_alerts(office.store) == ()


def test_a_burn_is_kept_shown_and_to_be_told(office: Office) -> None:
    """With a sentence that holds its figures; a second look adds nothing."""
    burning(office)
    office.desk.evaluate()
    pending = office.desk.next_pending()
    assert pending is not None
    assert pending.sentence == (
        "Burn fires. 50 % of 4 sessions were interrupted in the last 1 h: 500 × what the objective allows, "
        "and 500 × in the last 5 min."
    )
    assert json.loads(pending.message) == {
        "version": 1,
        "id": "change-1",
        "change": "firing",
        "rule": "Burn",
        "state": "firing",
        "open": True,
        "text": pending.sentence,
        "changed_at": "2023-11-15T00:00:30Z",
        "silenced_until": None,
        "frozen": None,
        "urgent": True,
        "measure": "burn",
        "threshold": 6,
        "window_s": 3600.0,
        "short_window_s": 300.0,
        "objective": 0.999,
        "measured_to": "2023-11-15T00:00:00Z",
        "value": pytest.approx(500),
        "short_value": pytest.approx(500),
        "sessions": 4,
        "found": 2,
    }
    assert office.kinds() == [("Burn", "firing")]
    assert office.notices == ["pending"]
    assert [alert.rule for alert in alerts.open_alerts(office.store)] == ["Burn"]


def test_what_is_over_is_resolved(office: Office) -> None:
    """Once the short window is calm, whatever the long one still holds."""
    burning(office)
    office.clock.now = NOW + 600
    office.history.used(4, NOW + 600, name="calm")
    office.desk.evaluate()
    assert office.kinds() == [("Burn", "firing"), ("Burn", "resolved")]
    assert office.alert().state is AlertState.RESOLVED


def test_stale_data_neither_fire_nor_resolve(office: Office) -> None:
    """The newest event is a quarter of an hour old: what fired still fires, and is said to be unmeasured."""
    burning(office)
    office.clock.now = NOW + 2_000
    office.desk.evaluate()
    assert (office.alert().state, office.alert().frozen) == (AlertState.FIRING, Why.STALE)
    assert office.kinds() == [("Burn", "firing"), ("Burn", "frozen"), ("Stuck", "frozen")]
    told = office.desk.history()["delivery"].tolist()
    assert told == [Delivery.UNTOLD, Delivery.PENDING, Delivery.PENDING]


def test_a_person_acknowledges_and_silences(office: Office) -> None:
    """What was decided is kept, and so it is by the next process, which goes on from there."""
    burning(office)
    office.desk.acknowledge("Burn")
    office.desk.silence("Stuck", HOUR_S)
    office.close()
    office.open()
    office.desk.evaluate()
    assert office.alert().state is AlertState.ACKNOWLEDGED
    assert office.alert("Stuck").silenced_until == NOW + HOUR_S
    office.desk.end_silence("Stuck")
    assert office.alert("Stuck").silenced_until is None
    assert office.kinds()[1:] == [("Burn", "acknowledged"), ("Stuck", "silenced"), ("Stuck", "silence_over")]


def test_a_silenced_alert_is_kept_and_not_told(office: Office) -> None:
    """It fires in silence; when that is over, where it stands is told."""
    office.history.used(4, NOW - 300)
    office.desk.evaluate()
    office.desk.silence("Stuck", 60)
    office.history.add("s0", NOW - 5, STUCK)
    office.history.add("s1", NOW - 5, STUCK)
    office.desk.evaluate()
    office.clock.now = NOW + 60
    office.desk.evaluate()
    kept = office.desk.history()
    assert kept["kind"].tolist() == ["silence_over", "firing", "silenced"]
    assert kept["delivery"].tolist() == ["pending", "untold", "pending"]
    assert kept["sentence"][0] == "Stuck is silenced no longer. It fires."


def test_an_unknown_rule_is_nobody_s(office: Office) -> None:
    """A page that is a minute old may still show it."""
    office.desk.evaluate()
    office.desk.acknowledge("Gone")
    assert "Gone" not in office.desk.board().alerts


def test_rules_saved_on_the_page_hold(office: Office) -> None:
    """In the next process too, until they are forgotten; an open alert without a rule is withdrawn, not resolved."""
    burning(office)
    mine = AlertSettings(objective=Objective(target=0.9), rules=(STUCK_RULE,))
    office.desk.save(mine)
    assert office.kinds()[-1] == ("Burn", "withdrawn")
    assert set(alerts.load_alerts(office.store)) == {"Stuck"}
    office.close()
    office.open()
    office.desk.evaluate()
    assert office.desk.board().settings == mine
    office.desk.save(None)
    assert office.desk.board().settings == FEW
    assert office.alert().state is AlertState.FIRING


def test_a_rule_switched_off_is_withdrawn(office: Office) -> None:
    """And switched on again it begins anew."""
    burning(office)
    off = msgspec.structs.replace(FEW, rules=(msgspec.structs.replace(BURN, enabled=False), STUCK_RULE))
    office.desk.save(off)
    assert [rule.name for rule, _, _ in office.desk.board().rows()] == ["Stuck"]
    office.desk.save(FEW)
    assert office.kinds() == [("Burn", "firing"), ("Burn", "withdrawn"), ("Burn", "firing")]


def test_saved_rules_that_cannot_be_read_do_no_harm(office: Office) -> None:
    """Those of a newer version, say: the configured ones hold, and the board says so."""
    office.store.write([("INSERT INTO alert_settings VALUES ($settings)", {"settings": '{"objective": 99}'})])
    office.desk.evaluate()
    board = office.desk.board()
    assert board.settings == FEW
    assert "cannot be read" in str(board.trouble)
    office.desk.save(FEW)
    assert office.desk.board().trouble is None


def test_a_store_that_is_away_freezes_what_is_shown(office: Office) -> None:
    """Open alerts stay open on the board; nothing can be decided; and when it is back all goes on as it was kept."""
    burning(office)
    office.close()
    (office.path.parent / "nowhere").write_text("in the way")
    office.desk._store = LateStore(office.path.parent / "nowhere" / "lab.duckdb", clock=office.clock)
    office.desk.evaluate()
    board = office.desk.board()
    assert (office.alert().state, office.alert().frozen) == (AlertState.FIRING, Why.STORE)
    assert "SESSION_LAB_DB" in str(board.trouble)
    with pytest.raises(EventStoreError):
        office.desk.acknowledge("Burn")
    assert office.alert().state is AlertState.FIRING
    office.late = office.desk._store = LateStore(office.path, clock=office.clock)
    office.desk.evaluate()
    assert (office.alert().frozen, office.desk.board().trouble) == (None, None)
    assert office.kinds() == [("Burn", "firing")]


def test_what_could_not_be_kept_did_not_happen(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full takes no change: nothing fires unkept, and it is tried again."""
    office.desk.evaluate()
    store = office.store

    def full(_statements: object) -> None:
        raise EventStoreError("The disk is full.")

    monkeypatch.setattr(store, "write", full)
    burning(office)
    assert office.alert().state is AlertState.QUIET
    assert office.alert().frozen is Why.STORE
    assert office.desk.board().trouble == "The disk is full."
    monkeypatch.undo()
    office.desk.evaluate()
    assert office.alert().state is AlertState.FIRING
    assert office.kinds()[2:] == [("Burn", "thawed"), ("Burn", "firing"), ("Stuck", "thawed")]


def test_what_was_kept_without_saying_so_is_found(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store committed and then failed: the store's word counts, and nobody acknowledges twice."""
    burning(office)
    write = office.store.write

    def fails_after(statements: object) -> None:
        write(statements)
        raise EventStoreError("The disk went away.")

    monkeypatch.setattr(office.store, "write", fails_after)
    with pytest.raises(EventStoreError):
        office.desk.acknowledge("Burn")
    monkeypatch.undo()
    office.desk.evaluate()
    assert office.alert().state is AlertState.ACKNOWLEDGED
    assert office.kinds() == [("Burn", "firing"), ("Burn", "acknowledged")]


def test_without_a_webhook_nothing_waits_for_one(office: Office) -> None:
    """What was pending when it was taken away is given up, in words."""
    burning(office)
    office.close()
    office.open(tells=False)
    office.desk.evaluate()
    assert office.desk.next_pending() is None
    kept = office.desk.history()
    assert (kept["delivery"][0], kept["trouble"][0]) == (Delivery.GIVEN_UP, "There is no webhook any more.")


def test_old_changes_go(office: Office) -> None:
    """After 90 days, except what is still to be told."""
    burning(office)
    office.clock.now = NOW + 91 * DAY_S
    office.desk.evaluate()
    assert ("Burn", "firing") in office.kinds()
    change = office.desk.next_pending()
    assert change is not None
    office.desk.note_delivery(change, Delivery.DELIVERED)
    office.history.used(4, office.clock.now)
    office.desk.evaluate()
    assert ("Burn", "firing") not in office.kinds()


@pytest.mark.parametrize("kind", ChangeKind)
def test_every_change_has_a_sentence(kind: ChangeKind) -> None:
    """With and without its rule, measured or not."""
    for rule, verdict in ((BURN, Verdict(exceeded=None)), (STUCK_RULE, Verdict(exceeded=True, value=7, found=7))):
        for settings in (FEW, AlertSettings(rules=())):
            said = alert_words.tell(
                Change(kind, AlertState.FIRING, NOW, True), Alert(rule=rule.name), settings, verdict
            )
            assert said.startswith(rule.name)
            assert said.endswith(".")


@pytest.mark.parametrize(
    ("of", "verdict", "said"),
    [
        (
            Measure.HEALTH,
            Verdict(exceeded=True, value=0.25, sessions=80),
            "25 % of 80 sessions are in poor or critical",
        ),
        (Measure.STUCK, Verdict(exceeded=True, value=1, found=1), "1 session got stuck in the last 1 h."),
        (Measure.REUSE, Verdict(exceeded=True, value=2, found=2), "2 sessions had a refresh token used twice"),
        (Measure.RAISED, Verdict(exceeded=False, value=0, found=0), "No session reported what no retry mends"),
    ],
)
def test_a_finding_is_a_sentence(of: Measure, verdict: Verdict, said: str) -> None:
    """Figures first, in words a person would use."""
    rule = AlertRule(name="Rule", measure=of, threshold=0.5 if of is Measure.HEALTH else 1, sessions_min=1)
    assert alert_words.finding(rule, verdict).startswith(said)


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (Why.NO_EVENTS, "there is no simulated event in the store"),
        (Why.STALE, "the newest simulated event is too old (2 h)"),
        (Why.FEW_SESSIONS, "1 session within 1 h is too few; 4 are needed"),
        (Why.NOBODY_NOW, "nobody used a session in the last 5 min"),
        (Why.STORE, "the event store cannot be used"),
        (None, "it was not looked at yet"),
    ],
)
def test_a_freeze_says_why(why: Why | None, said: str) -> None:
    """As a part of a sentence."""
    verdict = Verdict(exceeded=None, why=why, sessions=1, as_of=NOW - 7_200)
    assert alert_words.why_frozen(BURN, Source.SIM, verdict, now=NOW) == said


def test_a_message_names_nobody(office: Office) -> None:
    """Neither a user nor a session, whatever happened."""
    burning(office)
    office.desk.acknowledge("Burn")
    assert not {"user_id", "session_id", "device"} & set(alert_words.AlertMessage.__struct_fields__)
    messages = office.store.read("SELECT message FROM alert_changes").column("message").to_pylist()
    assert len(messages) == 2
    assert not any(name in message for message in messages for name in ("bad0", "s0", "ann"))
