"""Idle and absolute limits of a session: how long it may go on, whoever keeps it alive."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import NamedTuple

import msgspec

from session_core.bounds import require
from session_core.errors import ConfigError
from session_core.vocabulary import Limit

DAY_S = 86_400.0
HOUR_S = 3_600.0
LIMIT_S_MAX = 366 * DAY_S


class Standing(StrEnum):
    """How a session stands towards its limits. IDLE and ABSOLUTE: that limit is reached."""

    OK = "ok"
    WARN = "warn"
    IDLE = "idle"
    ABSOLUTE = "absolute"


class LimitVerdict(NamedTuple):
    """`limit` is the one meant (for OK the nearest, None without limits); `left_s` is the time to it, 0 once reached."""

    standing: Standing
    limit: Limit | None = None
    left_s: float = math.inf


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None means no such limit. Every time is in boot seconds, so a suspended device grows idle as well.

    A limit is reached *at* its second, not after it. Activity moves the idle limit only; `last_activity_at` is the
    user's, never a refresh's or a heartbeat's, for a token is not proof of presence.
    """

    idle_s: float | None = None
    absolute_s: float | None = None
    warn_s: float = 60.0

    def __post_init__(self) -> None:
        require("limits.idle_s", self.idle_s, 1, LIMIT_S_MAX)
        require("limits.absolute_s", self.absolute_s, 1, LIMIT_S_MAX)
        require("limits.warn_s", self.warn_s, 0, DAY_S)
        if self.idle_s is not None and self.absolute_s is not None and self.idle_s > self.absolute_s:
            raise ConfigError(
                f"limits.idle_s is {self.idle_s:g}; set it between 1 and limits.absolute_s, {self.absolute_s:g}."
            )
        shortest_s = min((s for s in (self.idle_s, self.absolute_s) if s is not None), default=math.inf)
        if self.warn_s >= shortest_s:
            raise ConfigError(f"limits.warn_s is {self.warn_s:g}; set it below the shortest limit, {shortest_s:g}.")

    def verdict(
        self, now: float, started_at: float, last_activity_at: float, *, warned: AbstractSet[Limit] = frozenset()
    ) -> LimitVerdict:
        """ABSOLUTE before IDLE, since it is final; then WARN for the nearest limit not yet `warned` of; else OK."""
        nearest = LimitVerdict(Standing.OK)
        warning = None
        for limit, end in self._ends(started_at, last_activity_at):
            if now >= end:
                return LimitVerdict(Standing(limit.value), limit, 0.0)
            if end - now < nearest.left_s:
                nearest = LimitVerdict(Standing.OK, limit, end - now)
            if limit not in warned and now >= end - self.warn_s and (warning is None or end - now < warning.left_s):
                warning = LimitVerdict(Standing.WARN, limit, end - now)
        return warning or nearest

    def next_due(
        self, now: float, started_at: float, last_activity_at: float, *, warned: AbstractSet[Limit] = frozenset()
    ) -> float | None:
        """The next boot second at which the verdict can change without activity; None if never.

        It is `now` itself only while a warning is still to be given.
        """
        ends = dict(self._ends(started_at, last_activity_at))
        if now >= ends.get(Limit.ABSOLUTE, math.inf):
            return None
        if now >= ends.get(Limit.IDLE, math.inf):
            return ends.get(Limit.ABSOLUTE)
        points = (end if limit in warned else max(now, end - self.warn_s) for limit, end in ends.items())
        return min(points, default=None)

    def quiet_until(self, started_at: float, last_activity_at: float, *, warned: AbstractSet[Limit]) -> float:
        """The boot second up to which the verdict is OK without activity; infinity without limits."""
        ends = self._ends(started_at, last_activity_at)
        return min((end if limit in warned else end - self.warn_s for limit, end in ends), default=math.inf)

    def reached_at(self, started_at: float, last_activity_at: float) -> float:
        """The boot second at which the first limit is reached without further activity; infinity without limits."""
        absolute_s = math.inf if self.absolute_s is None else started_at + self.absolute_s
        idle_s = math.inf if self.idle_s is None else last_activity_at + self.idle_s
        return min(absolute_s, idle_s)

    def _ends(self, started_at: float, last_activity_at: float) -> Iterator[tuple[Limit, float]]:
        if self.absolute_s is not None:
            yield Limit.ABSOLUTE, started_at + self.absolute_s
        if self.idle_s is not None:
            yield Limit.IDLE, last_activity_at + self.idle_s


# NIST SP 800-63B-4: AAL1 in §2.1.3, AAL2 in §2.2.3, AAL3 in §2.3.3.
AAL1 = SessionLimits(absolute_s=30 * DAY_S)
AAL2 = SessionLimits(absolute_s=24 * HOUR_S, idle_s=HOUR_S)
AAL3 = SessionLimits(absolute_s=12 * HOUR_S, idle_s=HOUR_S / 4)


def widest(every: Iterable[SessionLimits]) -> SessionLimits:
    """The limits that no session of any of these outlasts."""

    def longest(seconds: Iterable[float | None]) -> float | None:
        known = [math.inf if each is None else each for each in seconds]
        return None if math.inf in known else max(known)

    limits = tuple(every)
    return SessionLimits(
        idle_s=longest(each.idle_s for each in limits),
        absolute_s=longest(each.absolute_s for each in limits),
        warn_s=0.0,
    )


class LimitWatch:
    """One session against its limits: since when it runs, when its user last acted, and what was warned of."""

    __slots__ = ("_limits", "_quiet_until", "_warned", "last_activity_at", "reached_at", "started_at")

    def __init__(self, limits: SessionLimits, now: float) -> None:
        self._limits = limits
        self.begin(now, now)

    def begin(self, started_at: float, last_activity_at: float) -> None:
        self.started_at = started_at
        self.last_activity_at = last_activity_at
        self.reached_at = self._limits.reached_at(started_at, last_activity_at)
        self._warned: frozenset[Limit] = frozenset()
        self._quiet_until: float | None = None

    def acted(self, now: float) -> None:
        """The user did something: only the idle limit moves."""
        self.last_activity_at = now
        if self._limits.idle_s is not None:
            self.reached_at = self._limits.reached_at(self.started_at, now)
            self._warned -= {Limit.IDLE}
            self._quiet_until = None

    def warned_of(self, limit: Limit) -> None:
        self._warned |= {limit}
        self._quiet_until = None

    def quiet(self, now: float) -> bool:
        """Whether the verdict is OK; asked far more often than it is not."""
        if self._quiet_until is None:
            self._quiet_until = self._limits.quiet_until(self.started_at, self.last_activity_at, warned=self._warned)
        return now < self._quiet_until

    def verdict(self, now: float) -> LimitVerdict:
        return self._limits.verdict(now, self.started_at, self.last_activity_at, warned=self._warned)

    def nearest(self, now: float) -> LimitVerdict:
        """As `verdict`, of the nearest limit, whether or not it was warned of."""
        return self._limits.verdict(now, self.started_at, self.last_activity_at, warned=frozenset(Limit))

    def next_due(self, now: float) -> float | None:
        if self.quiet(now) and self._quiet_until != math.inf:
            return self._quiet_until
        return self._limits.next_due(now, self.started_at, self.last_activity_at, warned=self._warned)
