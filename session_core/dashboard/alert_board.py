"""What the Alerts page says: its answer, a line for every alert, the budget, and what became of them. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import pandas as pd

from session_core.alert_rules import AlertRule, Measure, Verdict
from session_core.alert_states import Alert, AlertState
from session_core.dashboard.phrases import capitalised, counted
from session_core.store.alert_desk import Board
from session_core.store.alert_words import condition, finding, why_frozen
from session_core.store.alerts import Delivery
from session_core.store.descriptions import for_how_long

SILENCES = {"1 h": 3_600.0, "8 h": 28_800.0, "1 d": 86_400.0}
NAMES_MAX = 3


class Group(StrEnum):
    """Where an alert stands on the page, the most pressing first; each value is its heading."""

    NEEDED = "Needs a person"
    ACKNOWLEDGED = "Somebody is at it"
    SILENCED = "Silenced"
    UNKNOWN = "Cannot be measured"
    QUIET = "Quiet"


class Mark(NamedTuple):
    """A state as a word, a shape and a colour, in Streamlit's names."""

    word: str
    icon: str
    colour: str


MARKS = {
    AlertState.FIRING: Mark("Fires", ":material/notifications_active:", "red"),
    AlertState.ACKNOWLEDGED: Mark("Acknowledged", ":material/person_check:", "orange"),
    AlertState.RESOLVED: Mark("Resolved", ":material/task_alt:", "green"),
    AlertState.QUIET: Mark("Quiet", ":material/check:", "green"),
}
FROZEN = Mark("Frozen", ":material/ac_unit:", "gray")
SILENT = Mark("Silenced", ":material/notifications_paused:", "gray")
_TOLD = {
    Delivery.UNTOLD: "–",
    Delivery.PENDING: "Waiting",
    Delivery.DELIVERED: "✓ Told",
    Delivery.GIVEN_UP: "✕ Given up",
}


class Line(NamedTuple):
    """One alert: `said` is what was found, or why nothing was; `when` is when it fires and since when it stands so."""

    rule: str
    group: Group
    marks: tuple[Mark, ...]
    said: str
    when: str
    can_acknowledge: bool
    silenced: bool


def needed(board: Board) -> int:
    """How many alerts need a person."""
    return sum(group_of(alert) is Group.NEEDED for _, alert, _ in board.rows())


def group_of(alert: Alert) -> Group:
    if alert.silenced_until is not None:
        return Group.SILENCED
    if alert.is_open:
        return Group.NEEDED if alert.state is AlertState.FIRING else Group.ACKNOWLEDGED
    return Group.QUIET if alert.frozen is None else Group.UNKNOWN


def lines(board: Board, now: float) -> list[Line]:
    """Every alert, in the order in which somebody should look at them."""
    found = [_line(board, rule, alert, verdict, now) for rule, alert, verdict in board.rows()]
    return sorted(found, key=lambda line: list(Group).index(line.group))


def answer(board: Board) -> str:
    """What needs a person?"""
    alerts = [alert for _, alert, _ in board.rows()]
    needed = [alert.rule for alert in alerts if group_of(alert) is Group.NEEDED]
    handled = [alert.rule for alert in alerts if group_of(alert) is Group.ACKNOWLEDGED]
    unknown = sum(alert.frozen is not None for alert in alerts)
    if not alerts:
        return "No rule is switched on, so nothing will ever ask for a person."
    if board.looked_at is None and board.trouble is None:
        return "The alerts have not been looked at yet."
    if needed:
        return f"{_listed(needed)} {'needs' if len(needed) == 1 else 'need'} a person."
    if unknown == len(alerts):
        return "Nobody knows whether a person is needed: nothing can be measured."
    seen = f", as far as can be seen: {unknown} of {len(alerts)} rules cannot be measured" if unknown else ""
    if handled:
        return f"Somebody is at {_listed(handled)}; nothing else needs a person{seen}."
    return f"Nothing needs a person{seen}."


def budget_sentence(board: Board) -> str:
    """What the objective asks for, and what became of it."""
    objective, budget = board.settings.objective, board.budget
    asked = f"The objective: {_percent(objective.target)} of sessions go uninterrupted over {for_how_long(objective.window_s)}."
    if budget is None or budget.left is None:
        return f"{asked} No session was in use."
    _, sessions, interrupted = budget.measured
    allowed = sessions * objective.budget
    return f"{asked} {interrupted:,} of {counted(sessions, 'session', 'sessions')} were interrupted; {allowed:,.3g} may be."


def budget_left(board: Board) -> str:
    if board.budget is None or board.budget.left is None:
        return "–"
    return f"{100 * board.budget.left:,.0f} %".replace("-", "−")


def uninterrupted(board: Board) -> str:
    if board.budget is None or not board.budget.measured.sessions:
        return "–"
    _, sessions, interrupted = board.budget.measured
    return _percent(1 - interrupted / sessions)


def looked_at(board: Board, now: float) -> str:
    """How fresh the page is, and who hears of changes."""
    age_s = None if board.looked_at is None else max(0.0, now - board.looked_at)
    looked = "Not looked at yet" if age_s is None else f"Looked at {for_how_long(age_s)} ago"
    told = f"changes are told to {board.told_to}" if board.told_to else "no webhook is set"
    return f"{looked} · {told}"


def burns(board: Board) -> pd.DataFrame:
    """Every burn rule's two windows: Rule, Window, Burn rate, Fires above, Sessions, and whether they can be judged."""
    rows = [
        (rule.name, for_how_long(window_s), value, rule.threshold, verdict.sessions if place == 0 else None, judged)
        for rule, alert, verdict in board.rows()
        if rule.measure is Measure.BURN
        for judged in [alert.frozen is None]
        for place, (window_s, value) in enumerate(
            zip(rule.windows_s, (verdict.value, verdict.short_value), strict=True)
        )
    ]
    columns = ["Rule", "Window", "Burn rate", "Fires above", "Sessions", "Judged"]
    return pd.DataFrame(rows, columns=columns).astype({"Burn rate": "float64", "Sessions": "Int64"})


def has_burns(table: pd.DataFrame) -> bool:
    """Whether there is anything to draw."""
    return bool(table["Burn rate"].notna().any())


def burns_alt(table: pd.DataFrame) -> str:
    if table.empty:
        return "No rule on the error budget is switched on."
    if not has_burns(table):
        return "No burn rate could be measured."
    said = (
        f"{rule} over {window} " + ("nothing measured" if rate != rate else f"{rate:.3g} × of {threshold:g} ×")  # noqa: PLR0124 - NaN
        for rule, window, rate, threshold in zip(
            table["Rule"], table["Window"], table["Burn rate"], table["Fires above"], strict=True
        )
    )
    return f"Burn rates: {', '.join(said)}."


def history(kept: pd.DataFrame, zone: str) -> pd.DataFrame:
    """Time (in `zone`), what happened, and whether it was told."""
    told = [
        " ".join(filter(None, (_TOLD[Delivery(delivery)], trouble)))
        for delivery, trouble in zip(kept["delivery"], kept["trouble"], strict=True)
    ]
    times = kept["changed_at"].dt.tz_convert(zone)
    return pd.DataFrame({"Time": times, "What happened": kept["sentence"], "Webhook": told})


def _line(board: Board, rule: AlertRule, alert: Alert, verdict: Verdict, now: float) -> Line:
    marks = [MARKS[alert.state]]
    if alert.frozen is not None:
        marks.append(FROZEN)
    if alert.silenced_until is not None:
        marks.append(SILENT)
    if alert.state is AlertState.QUIET and len(marks) > 1:
        marks.pop(0)
    return Line(
        rule=rule.name,
        group=group_of(alert),
        marks=tuple(marks),
        said=_said(board, rule, alert, verdict, now),
        when=_when(rule, alert, now),
        can_acknowledge=alert.state is AlertState.FIRING,
        silenced=alert.silenced_until is not None,
    )


def _said(board: Board, rule: AlertRule, alert: Alert, verdict: Verdict, now: float) -> str:
    if alert.frozen is None:
        return finding(rule, verdict)
    why = why_frozen(rule, board.settings.source, verdict, now=now)
    if alert.is_open:
        return f"Cannot be measured, because {why}. It fired when it was measured last."
    return f"{capitalised(why)}."


def _when(rule: AlertRule, alert: Alert, now: float) -> str:
    said = [f"Fires when {condition(rule)}"]
    if alert.silenced_until is not None:
        said.append(f"silenced for another {for_how_long(max(0.0, alert.silenced_until - now))}")
    if alert.state is not AlertState.QUIET:
        said.append(f"{alert.state} for {for_how_long(max(0.0, now - alert.since))}")
    if not rule.urgent:
        said.append("for the next working day")
    return " · ".join(said)


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= NAMES_MAX else [*names[: NAMES_MAX - 1], f"{len(names) - NAMES_MAX + 1} others"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _percent(share: float) -> str:
    return f"{100 * share:.5g} %"
