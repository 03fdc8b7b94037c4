"""Alert rules as a table that a person edits, and back again. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec
import pandas as pd

from session_core.alert_rules import DAY_S, HOUR_S, MINUTE_S, AlertRule, AlertSettings, Objective
from session_core.errors import ConfigError
from session_core.store.alert_words import MEASURES, condition
from session_core.vocabulary import Source

ON, NAME, MEASURE, THRESHOLD = "On", "Rule", "Looks at", "Threshold"
WINDOW, SHORT, SESSIONS, URGENT, WHEN = "Window", "Short window", "Sessions", "Urgent", "Fires when"
_UNITS: Mapping[str, float] = {"d": DAY_S, "h": HOUR_S, "min": MINUTE_S, "s": 1.0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|s)")
TABLES_MAX = 8
LENGTH_PATTERN = rf"^{_LENGTH.pattern}$"


@lru_cache(TABLES_MAX)
def to_table(settings: AlertSettings) -> pd.DataFrame:
    """One row for each rule; nobody may change it, for it is made once."""
    rows = [
        {
            ON: rule.enabled,
            NAME: rule.name,
            MEASURE: MEASURES[rule.measure],
            THRESHOLD: float(rule.threshold),
            WINDOW: length(rule.window_s),
            SHORT: None if rule.short_window_s is None else length(rule.short_window_s),
            SESSIONS: rule.sessions_min,
            URGENT: rule.urgent,
            WHEN: condition(rule),
        }
        for rule in settings.rules
    ]
    columns = [ON, NAME, MEASURE, THRESHOLD, WINDOW, SHORT, SESSIONS, URGENT, WHEN]
    return pd.DataFrame(rows, columns=columns).astype({NAME: "object", SHORT: "object", WINDOW: "object"})


def read(table: pd.DataFrame, *, target_percent: float, source: Source, settings: AlertSettings) -> AlertSettings:
    """The settings that the table says; the rest stays as it is. Raises ConfigError, which names the rule."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]
    rules = tuple(_rule(row) for row in rows if not _empty(row))
    objective = Objective(target=round(target_percent / 100, 9), window_s=settings.objective.window_s)
    return msgspec.structs.replace(settings, objective=objective, source=source, rules=rules)


def length(seconds: float) -> str:
    """A length of time that `read_length` reads again to the second."""
    unit = next(unit for unit, unit_s in _UNITS.items() if seconds % unit_s == 0 or unit == "s")
    return f"{seconds / _UNITS[unit]:.10g} {unit}"


def read_length(text: str, what: str) -> float:
    """Raises ConfigError, which says how it is written."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{what} is {text!r}; write a length of time such as 5 min, 6 h or 3 d.")
    return float(found[1]) * _UNITS[found[2]]


def _rule(row: Mapping[str, object]) -> AlertRule:
    name = _text(row[NAME]).strip()
    short = _text(row[SHORT]).strip()
    measures = {word: measure for measure, word in MEASURES.items()}
    if _text(row[MEASURE]) not in measures:
        raise ConfigError(f"{name or 'A rule'}: choose what it looks at.")
    measure = measures[_text(row[MEASURE])]
    if _missing(row[THRESHOLD]):
        raise ConfigError(f"{name or 'A rule'}: give a threshold.")
    return AlertRule(
        name=name,
        measure=measure,
        threshold=float(str(row[THRESHOLD])),
        window_s=read_length(_text(row[WINDOW]), f"{name}: window"),
        short_window_s=read_length(short, f"{name}: short window") if short else None,
        sessions_min=int(measure.is_share) if _missing(row[SESSIONS]) else int(float(str(row[SESSIONS]))),
        urgent=row[URGENT] is not False,
        enabled=row[ON] is not False,
    )


def _empty(row: Mapping[str, object]) -> bool:
    """A row that was added and not filled in."""
    return all(_missing(row[column]) for column in (NAME, MEASURE, THRESHOLD, WINDOW))


def _missing(value: object) -> bool:
    return value is None or value != value or value == ""  # noqa: PLR0124 - NaN


def _text(value: object) -> str:
    return "" if _missing(value) else str(value)
