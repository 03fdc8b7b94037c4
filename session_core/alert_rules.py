"""When a person is needed: rules over windows of event time, and what was measured held against them. Pure.

A burn rate is the share of sessions that were interrupted over the share the objective allows: at 1 × the budget lasts
exactly as long as it is meant to. A burn rule fires when it is exceeded over both of its windows (Google's SRE Workbook,
chapter 5): the long one shows that it matters, the short one that it is still going on.

Windows end at the newest event, not at the reader's clock, so that what arrives late is judged by when it happened.
Whether the newest event is new is a question of its own: when it is not, nothing is known, and nothing is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from session_core.bounds import require
from session_core.errors import ConfigError
from session_core.vocabulary import Source

MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0
RULES_MAX = 50
NAME_CHARS_MAX = 60


class Measure(StrEnum):
    """What a rule looks at. BURN and HEALTH are shares of sessions, the others are counts."""

    BURN = "burn"
    HEALTH = "health"
    STUCK = "stuck"
    REUSE = "reuse"
    RAISED = "raised"

    @property
    def is_share(self) -> bool:
        return self in (Measure.BURN, Measure.HEALTH)


class Why(StrEnum):
    """What keeps a rule from being judged."""

    NO_EVENTS = "no_events"
    STALE = "stale"
    FEW_SESSIONS = "few_sessions"
    NOBODY_NOW = "nobody_now"
    STORE = "store"


THRESHOLDS: Mapping[Measure, tuple[float, float]] = MappingProxyType(
    {
        Measure.BURN: (0.1, 10_000),
        Measure.HEALTH: (0.001, 0.999),
        Measure.STUCK: (1, 1_000_000),
        Measure.REUSE: (1, 1_000_000),
        Measure.RAISED: (1, 1_000_000),
    }
)


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`target` of all sessions are to go uninterrupted over any `window_s`."""

    target: float = 0.999
    window_s: float = 30 * DAY_S

    def __post_init__(self) -> None:
        require("objective.target", self.target, 0.5, 0.99999)
        require("objective.window_s", self.window_s, DAY_S, 90 * DAY_S)

    @property
    def budget(self) -> float:
        """The share of sessions that may be interrupted."""
        return round(1.0 - self.target, 9)


class AlertRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """BURN and HEALTH fire above `threshold`, counts from it on; never with fewer than `sessions_min` in the window.

    `urgent` is for now, the others are for the next working day.
    """

    name: str
    measure: Measure
    threshold: float
    window_s: float = HOUR_S
    short_window_s: float | None = None
    sessions_min: int = 0
    urgent: bool = True
    enabled: bool = True

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > NAME_CHARS_MAX or not self.name.isprintable():
            raise ConfigError(f"A rule needs a name of 1 to {NAME_CHARS_MAX} letters; {self.name[:80]!r} is none.")
        require(f"{self.name}: threshold", self.threshold, *THRESHOLDS[self.measure])
        if not self.measure.is_share and self.threshold != int(self.threshold):
            raise ConfigError(f"{self.name}: threshold is {self.threshold:g}; sessions are counted in whole numbers.")
        require(f"{self.name}: window_s", self.window_s, MINUTE_S, 90 * DAY_S)
        require(f"{self.name}: sessions_min", self.sessions_min, int(self.measure.is_share), 1_000_000)
        if (self.short_window_s is not None) != (self.measure is Measure.BURN):
            need = "needs a short window too" if self.measure is Measure.BURN else "has one window only"
            raise ConfigError(f"{self.name}: a rule on {self.measure} {need}.")
        require(f"{self.name}: short_window_s", self.short_window_s, MINUTE_S, self.window_s)

    @property
    def windows_s(self) -> tuple[float, ...]:
        return (self.window_s,) if self.short_window_s is None else (self.window_s, self.short_window_s)


def _burn(name: str, threshold: float, window_s: float, short_window_s: float, *, urgent: bool = True) -> AlertRule:
    return AlertRule(
        name=name,
        measure=Measure.BURN,
        threshold=threshold,
        window_s=window_s,
        short_window_s=short_window_s,
        sessions_min=100,
        urgent=urgent,
    )


DEFAULT_RULES = (
    _burn("Fast burn", 14.4, HOUR_S, 5 * MINUTE_S),
    _burn("Steady burn", 6.0, 6 * HOUR_S, 30 * MINUTE_S),
    _burn("Slow burn", 1.0, 3 * DAY_S, 6 * HOUR_S, urgent=False),
    AlertRule(name="Poor health", measure=Measure.HEALTH, threshold=0.2, window_s=30 * MINUTE_S, sessions_min=20),
    AlertRule(name="Stuck sessions", measure=Measure.STUCK, threshold=5),
    AlertRule(name="Token reuse", measure=Measure.REUSE, threshold=1, window_s=DAY_S),
    AlertRule(name="Raised by a session", measure=Measure.RAISED, threshold=1),
)


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is watched. Events of one `source` only; the newest may be `stale_s` old before nothing is judged any more."""

    objective: Objective = Objective()
    source: Source = Source.LIVE
    stale_s: float = 15 * MINUTE_S
    rules: tuple[AlertRule, ...] = DEFAULT_RULES

    def __post_init__(self) -> None:
        require("stale_s", self.stale_s, MINUTE_S, 7 * DAY_S)
        require("The number of rules", len(self.rules), 0, RULES_MAX)
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"Two rules are called {name!r}; give each a name of its own.")
        for rule in self.rules:
            if rule.measure is Measure.BURN and rule.threshold * self.objective.budget >= 1:
                raise ConfigError(
                    f"{rule.name} could never fire: {rule.threshold:g} × the {self.objective.budget * 100:.3g} % that the "
                    "objective allows is more than every session; lower the threshold or raise the objective."
                )

    @property
    def enabled(self) -> tuple[AlertRule, ...]:
        return tuple(rule for rule in self.rules if rule.enabled)


class Measured(NamedTuple):
    """What one window held: `found` of its `sessions` were interrupted or unwell, or how often it was counted."""

    window_s: float
    sessions: int
    found: int


class Observation(msgspec.Struct, frozen=True):
    """Windows that end at `as_of`, the newest event's wall second; None and nothing measured where there is none."""

    as_of: float | None
    measured: Mapping[tuple[Measure, float], Measured] = MappingProxyType({})


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule comes to. `exceeded` is None where it cannot be judged, and `why` says what is missing.

    `value` over the long window and `short_value` are a burn rate, a share or a count; None without a session.
    """

    exceeded: bool | None
    why: Why | None = None
    value: float | None = None
    short_value: float | None = None
    sessions: int = 0
    found: int = 0
    as_of: float | None = None


OUT_OF_REACH = Verdict(exceeded=None, why=Why.STORE)


def needs(settings: AlertSettings) -> frozenset[tuple[Measure, float]]:
    """Which measure over which window has to be known for every rule and for the budget."""
    asked = {(rule.measure, window_s) for rule in settings.enabled for window_s in rule.windows_s}
    return frozenset(asked | {(Measure.BURN, settings.objective.window_s)})


def judge(rule: AlertRule, settings: AlertSettings, seen: Observation, *, now: float) -> Verdict:
    """What the observation means for a rule at wall second `now`."""
    if seen.as_of is None:
        return Verdict(exceeded=None, why=Why.NO_EVENTS)
    of = settings.objective
    windows = [seen.measured[rule.measure, window_s] for window_s in rule.windows_s]
    values = [value_of(rule.measure, measured, of) for measured in windows]
    exceeded, why = _decide(rule, windows[0].sessions, values, age_s=now - seen.as_of, stale_s=settings.stale_s)
    return Verdict(
        exceeded=exceeded,
        why=why,
        value=values[0],
        short_value=values[-1] if len(values) > 1 else None,
        sessions=windows[0].sessions,
        found=windows[0].found,
        as_of=seen.as_of,
    )


def _decide(
    rule: AlertRule, sessions: int, values: list[float | None], *, age_s: float, stale_s: float
) -> tuple[bool | None, Why | None]:
    if age_s > stale_s:
        return None, Why.STALE
    if sessions < rule.sessions_min:
        return None, Why.FEW_SESSIONS
    if any(value is not None and not exceeds(rule, value) for value in values):
        return False, None
    return (None, Why.NOBODY_NOW) if None in values else (True, None)


def exceeds(rule: AlertRule, value: float) -> bool:
    return value > rule.threshold if rule.measure.is_share else value >= rule.threshold


def value_of(measure: Measure, measured: Measured, objective: Objective) -> float | None:
    """The burn rate, the share, or the count itself; None for a share of nobody."""
    if not measure.is_share:
        return float(measured.found)
    if not measured.sessions:
        return None
    share = measured.found / measured.sessions
    return share / objective.budget if measure is Measure.BURN else share


def budget_left(objective: Objective, measured: Measured) -> float | None:
    """What is left of the objective's window's budget: 1 untouched, 0 spent, less when overdrawn; None without sessions."""
    burn = value_of(Measure.BURN, measured, objective)
    return None if burn is None else 1.0 - burn
