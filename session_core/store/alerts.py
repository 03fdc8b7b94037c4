"""What the store keeps of alerts: where each stands, what became of it and who was told, and the rules saved on the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
import pandas as pd

from session_core.alert_rules import DAY_S, AlertSettings, Why
from session_core.alert_states import OPEN, Alert, AlertState, ChangeKind
from session_core.errors import ConfigError
from session_core.store.event_store import EventStore

HISTORY_S_MAX = 90 * DAY_S
Statement = tuple[str, Mapping[str, object]]


class Delivery(StrEnum):
    """Whether a change has reached the webhook; UNTOLD is not meant to."""

    UNTOLD = "untold"
    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class KeptChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an alert with its message; `changed_at` is wall seconds, `trouble` why it was not delivered."""

    change_id: str
    rule: str
    kind: ChangeKind
    state: AlertState
    changed_at: float
    sentence: str
    message: str
    delivery: Delivery
    tries: int = 0
    trouble: str = ""


def saved_settings(store: EventStore) -> AlertSettings | None:
    """The rules saved on the page; None if there are none. Raises ConfigError when they cannot be read."""
    found = store.read(_SETTINGS).column("settings").to_pylist()
    if not found:
        return None
    try:
        return msgspec.json.decode(found[0], type=AlertSettings)
    except (msgspec.DecodeError, ConfigError):
        raise ConfigError(
            "The saved alert rules cannot be read, so the configured ones hold; save them anew."
        ) from None


def save_settings(store: EventStore, settings: AlertSettings | None) -> None:
    """None forgets what was saved, so that the configured settings hold again."""
    statements: list[Statement] = [(_FORGET_SETTINGS, {})]
    if settings is not None:
        statements.append((_SAVE_SETTINGS, {"settings": msgspec.json.encode(settings).decode()}))
    store.write(statements)


def load_alerts(store: EventStore) -> dict[str, Alert]:
    """Every alert that is kept, by its rule's name."""
    alerts = [
        Alert(
            rule=row["rule"],
            state=AlertState(row["state"]),
            since=row["since"].timestamp(),
            silenced_until=None if row["silenced_until"] is None else row["silenced_until"].timestamp(),
            frozen=None if row["frozen"] is None else Why(row["frozen"]),
        )
        for row in store.read(_ALERTS).to_pylist()
    ]
    return {alert.rule: alert for alert in alerts}


def open_alerts(store: EventStore) -> tuple[Alert, ...]:
    """Those that fire or are acknowledged, frozen or not, the oldest first."""
    return tuple(
        sorted((each for each in load_alerts(store).values() if each.state in OPEN), key=lambda each: each.since)
    )


def keep(store: EventStore, *, alerts: Iterable[Alert], dropped: Iterable[str], changes: Iterable[KeptChange]) -> None:
    """Commit what became of alerts as one transaction, and let go of changes that are older than 90 days."""
    kept, added = list(alerts), list(changes)
    statements: list[Statement] = [(_FORGET, {"rule": rule}) for rule in (*dropped, *(each.rule for each in kept))]
    statements += [(_KEEP, _row(alert)) for alert in kept]
    statements += [(_ADD, _moments(msgspec.structs.asdict(change))) for change in added]
    if added:
        newest = max(change.changed_at for change in added)
        statements.append((_FORGET_OLD, {"before": _moment(newest - HISTORY_S_MAX)}))
    store.write(statements)


def next_pending(store: EventStore) -> KeptChange | None:
    """The oldest change that the webhook has yet to hear of."""
    rows = store.read(_PENDING).to_pylist()
    return msgspec.convert(rows[0] | {"changed_at": rows[0]["changed_at"].timestamp()}, KeptChange) if rows else None


def note_delivery(store: EventStore, change_id: str, delivery: Delivery, *, tries: int, trouble: str = "") -> None:
    noted = {"change_id": change_id, "delivery": str(delivery), "tries": tries, "trouble": trouble}
    store.write([(_NOTE, noted)])


def give_up_pending(store: EventStore, why: str) -> None:
    """Nothing that waits is sent any more."""
    store.write([(_GIVE_UP, {"trouble": why})])


def history(store: EventStore, *, rows_max: int = 200) -> pd.DataFrame:
    """The latest changes, newest first: changed_at, rule, kind, state, sentence, delivery, tries, trouble."""
    found: pd.DataFrame = store.read(_HISTORY, {"rows_max": rows_max}).to_pandas()
    return found


def _row(alert: Alert) -> dict[str, object]:
    return _moments(msgspec.structs.asdict(alert))


def _moments(row: dict[str, object]) -> dict[str, object]:
    """Words and moments as the table takes them."""
    return {
        name: _moment(value) if isinstance(value, float) else str(value) if isinstance(value, StrEnum) else value
        for name, value in row.items()
    }


def _moment(wall: float) -> datetime:
    return datetime.fromtimestamp(wall, UTC)


_SETTINGS = "SELECT settings FROM alert_settings"
_FORGET_SETTINGS = "DELETE FROM alert_settings"
_SAVE_SETTINGS = "INSERT INTO alert_settings VALUES ($settings)"
_ALERTS = "SELECT * FROM alerts ORDER BY rule"
_FORGET = "DELETE FROM alerts WHERE rule = $rule"
_KEEP = "INSERT INTO alerts VALUES ($rule, $state, $since, $silenced_until, $frozen)"
_ADD = """
INSERT INTO alert_changes
SELECT coalesce(max(number), 0) + 1, $change_id, $rule, $kind, $state, $changed_at, $sentence, $message,
    $delivery, $tries, $trouble
FROM alert_changes
"""
_FORGET_OLD = "DELETE FROM alert_changes WHERE changed_at < $before AND delivery <> 'pending'"
_PENDING = "SELECT * EXCLUDE (number) FROM alert_changes WHERE delivery = 'pending' ORDER BY number LIMIT 1"
_NOTE = "UPDATE alert_changes SET delivery = $delivery, tries = $tries, trouble = $trouble WHERE change_id = $change_id"
_GIVE_UP = "UPDATE alert_changes SET delivery = 'given_up', trouble = $trouble WHERE delivery = 'pending'"
_HISTORY = """
SELECT * EXCLUDE (number, change_id, message)
FROM alert_changes
ORDER BY number DESC
LIMIT $rows_max
"""
