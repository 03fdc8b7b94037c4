"""What alerts say: one sentence for a rule, a measurement, a freeze and a change; and the message a webhook is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from session_core.alert_rules import AlertRule, AlertSettings, Measure, Verdict, Why
from session_core.alert_states import OPEN, Alert, AlertState, Change, ChangeKind
from session_core.store.descriptions import for_how_long
from session_core.vocabulary import Source

VERSION = 1
SOURCES: Mapping[Source, str] = MappingProxyType(
    {Source.LIVE: "live", Source.SIM: "simulated", Source.IMPORT: "imported"}
)
MEASURES: Mapping[Measure, str] = MappingProxyType(
    {
        Measure.BURN: "Budget burn",
        Measure.HEALTH: "Poor health",
        Measure.STUCK: "Stuck sessions",
        Measure.REUSE: "Token reuse",
        Measure.RAISED: "Raised alerts",
    }
)


class AlertMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is sent. It names nobody: neither user nor session. Moments are RFC 3339, in UTC.

    `id` is the same when a message comes twice; `text` says all of it in words. The figures are None where nothing
    was measured, and the rule's own where it is no longer there.
    """

    version: int = VERSION
    id: str
    change: ChangeKind
    rule: str
    state: AlertState
    open: bool
    text: str
    changed_at: str
    silenced_until: str | None
    frozen: Why | None
    urgent: bool | None
    measure: Measure | None
    threshold: float | None
    window_s: float | None
    short_window_s: float | None
    objective: float
    measured_to: str | None
    value: float | None
    short_value: float | None
    sessions: int
    found: int


def message(
    change: Change, alert: Alert, *, change_id: str, settings: AlertSettings, verdict: Verdict, text: str
) -> AlertMessage:
    """`alert` as it stands after the change."""
    rule = rule_of(settings, alert.rule)
    return AlertMessage(
        id=change_id,
        change=change.kind,
        rule=alert.rule,
        state=change.state,
        open=change.state in OPEN,
        text=text,
        changed_at=_moment(change.at),
        silenced_until=None if alert.silenced_until is None else _moment(alert.silenced_until),
        frozen=alert.frozen,
        urgent=None if rule is None else rule.urgent,
        measure=None if rule is None else rule.measure,
        threshold=None if rule is None else rule.threshold,
        window_s=None if rule is None else rule.window_s,
        short_window_s=None if rule is None else rule.short_window_s,
        objective=settings.objective.target,
        measured_to=None if verdict.as_of is None else _moment(verdict.as_of),
        value=verdict.value,
        short_value=verdict.short_value,
        sessions=verdict.sessions,
        found=verdict.found,
    )


def rule_of(settings: AlertSettings, name: str) -> AlertRule | None:
    return next((rule for rule in settings.rules if rule.name == name), None)


def condition(rule: AlertRule) -> str:
    """When it fires, as a part of a sentence."""
    over = " and ".join(for_how_long(window_s) for window_s in rule.windows_s)
    match rule.measure:
        case Measure.BURN:
            return f"the error budget burns more than {rule.threshold:g} × too fast over {over}"
        case Measure.HEALTH:
            return f"more than {_percent(rule.threshold)} of sessions are in poor or critical health over {over}"
        case Measure.STUCK:
            return f"at least {_counted(int(rule.threshold), 'session')} got stuck within {over}"
        case Measure.REUSE:
            return f"at least {_counted(int(rule.threshold), 'session')} had a refresh token used twice within {over}"
        case Measure.RAISED:
            return f"at least {_counted(int(rule.threshold), 'session')} reported what no retry mends within {over}"


def finding(rule: AlertRule, verdict: Verdict) -> str:
    """What was measured, in a sentence."""
    if verdict.value is None:
        return "Nothing was measured."
    return _FINDINGS[rule.measure](rule, verdict)


def why_frozen(rule: AlertRule, source: Source, verdict: Verdict, *, now: float) -> str:
    """What keeps the rule from being judged, as a part of a sentence."""
    match verdict.why:
        case Why.NO_EVENTS:
            return f"there is no {SOURCES[source]} event in the store"
        case Why.STALE:
            age = "" if verdict.as_of is None else f" ({for_how_long(now - verdict.as_of)})"
            return f"the newest {SOURCES[source]} event is too old{age}"
        case Why.FEW_SESSIONS:
            return (
                f"{_counted(verdict.sessions, 'session')} within {for_how_long(rule.window_s)} "
                f"{'is' if verdict.sessions == 1 else 'are'} too few; {rule.sessions_min:,} are needed"
            )
        case Why.NOBODY_NOW:
            return f"nobody used a session in the last {for_how_long(rule.windows_s[-1])}"
        case Why.STORE:
            return "the event store cannot be used"
        case None:
            return "it was not looked at yet"


def tell(change: Change, alert: Alert, settings: AlertSettings, verdict: Verdict) -> str:
    """What became of the alert, in one or two sentences; `alert` as it stands after the change."""
    rule, name = rule_of(settings, alert.rule), alert.rule
    found = "" if rule is None or verdict.value is None else f" {finding(rule, verdict)}"
    match change.kind:
        case ChangeKind.FIRING:
            return f"{name} fires.{found}"
        case ChangeKind.ACKNOWLEDGED:
            return f"{name} was acknowledged."
        case ChangeKind.RESOLVED:
            return f"{name} is resolved.{found}"
        case ChangeKind.WITHDRAWN:
            return f"{name} is withdrawn, because its rule was switched off or removed; nobody found it resolved."
        case ChangeKind.SILENCED:
            until = "" if alert.silenced_until is None else f" until {_moment(alert.silenced_until)}"
            return f"{name} is silenced{until}. {_stands(change.state)}"
        case ChangeKind.SILENCE_OVER:
            return f"{name} is silenced no longer. {_stands(change.state)}"
        case ChangeKind.FROZEN:
            why = "" if rule is None else f", because {why_frozen(rule, settings.source, verdict, now=change.at)}"
            return f"{name} cannot be measured{why}. {_stands(change.state)}"
        case ChangeKind.THAWED:
            return f"{name} can be measured again. {_stands(change.state)}"


def _stands(state: AlertState) -> str:
    return _STANDS[state]


_STANDS: Mapping[AlertState, str] = MappingProxyType(
    {
        AlertState.QUIET: "It does not fire.",
        AlertState.FIRING: "It fires.",
        AlertState.ACKNOWLEDGED: "It fires and is acknowledged.",
        AlertState.RESOLVED: "It is resolved.",
    }
)


def _burnt(rule: AlertRule, verdict: Verdict) -> str:
    share = _percent(verdict.found / verdict.sessions if verdict.sessions else 0.0)
    lately = "" if verdict.short_value is None else f", and {verdict.short_value:.3g} × in {_last(rule.windows_s[-1])}"
    return (
        f"{share} of {_counted(verdict.sessions, 'session')} were interrupted in {_last(rule.window_s)}: "
        f"{verdict.value:.3g} × what the objective allows{lately}."
    )


def _unwell(_rule: AlertRule, verdict: Verdict) -> str:
    return (
        f"{_percent(verdict.value or 0.0)} of {_counted(verdict.sessions, 'session')} are in poor or critical health."
    )


def _within(what: str) -> Callable[[AlertRule, Verdict], str]:
    return lambda rule, verdict: f"{_counted(verdict.found, 'session').capitalize()} {what} in {_last(rule.window_s)}."


_FINDINGS: Mapping[Measure, Callable[[AlertRule, Verdict], str]] = MappingProxyType(
    {
        Measure.BURN: _burnt,
        Measure.HEALTH: _unwell,
        Measure.STUCK: _within("got stuck"),
        Measure.REUSE: _within("had a refresh token used twice and revoked"),
        Measure.RAISED: _within("reported what no retry mends"),
    }
)


def _last(window_s: float) -> str:
    return f"the last {for_how_long(window_s)}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}" if count else f"no {noun}"


def _moment(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
