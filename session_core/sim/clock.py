"""A device's three clocks, told by virtual time."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nextafter

from session_core.clock import Reading

EPOCH_S = 1_767_225_600.0
"""2026-01-01T00:00:00Z: where virtual time starts on the wall, unless told otherwise."""

# What Reading(…) does in the end: every wait is read three clocks for.
_NEW = tuple.__new__


class VirtualClock:
    """A Clock over `now`, which counts from 0 and never stops: `loop.world_time`, or any callable of a test's own.

    `boot` is `now` itself, `wall` is `boot` plus epoch, skew and steps, and `monotonic` leaves out suspended time.
    """

    def __init__(self, now: Callable[[], float], *, epoch_s: float = EPOCH_S, wall_skew_s: float = 0.0) -> None:
        self._now = now
        # `now` itself and not a method around it: it is asked more often than anything else.
        self.boot = now
        self.epoch_s = epoch_s
        self.wall_skew_s = wall_skew_s
        self.before_jump: list[Callable[[], None]] = []
        self.steady = True
        self._wall_at_boot = epoch_s + wall_skew_s
        self._slept_s = 0.0
        self._suspended_at: float | None = None

    def __repr__(self) -> str:
        return f"VirtualClock(boot={self.boot()}, monotonic={self.monotonic()}, wall_skew_s={self.wall_skew_s})"

    def wall(self) -> float:
        return self._wall_at_boot + self._now()

    def monotonic(self) -> float:
        awake_until = self._now() if self._suspended_at is None else self._suspended_at
        return awake_until - self._slept_s

    def moments(self) -> tuple[float, float, float]:
        now = self._now()
        if self._suspended_at is None and not self._slept_s:
            return self._wall_at_boot + now, now, now
        return self._wall_at_boot + now, self.monotonic(), now

    def reading(self) -> Reading:
        """All three at once."""
        return _NEW(Reading, self.moments())

    def foretell(self) -> None:
        """Tell whoever relies on time passing evenly that it is about not to; `steady` says whether timers do."""
        for told in self.before_jump:
            told()

    @property
    def suspended(self) -> bool:
        return self._suspended_at is not None

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forwards or, with negative `seconds`, back."""
        self.foretell()
        self.wall_skew_s += seconds
        self._wall_at_boot = self.epoch_s + self.wall_skew_s

    def suspend(self) -> None:
        """Stop `monotonic`; `boot` and `wall` go on."""
        if self._suspended_at is None:
            self.foretell()
            self._suspended_at = self._now()

    def resume(self) -> None:
        if self._suspended_at is None:
            return
        stood_at_s = self.monotonic()
        now_s = self._now()
        self._suspended_at = None
        self._slept_s = now_s - stood_at_s
        while now_s - self._slept_s < stood_at_s:
            self._slept_s = nextafter(self._slept_s, -inf)

    def boot_when(self, monotonic_s: float) -> float:
        """The first boot time at which `monotonic` will read `monotonic_s` or more, if nothing is suspended from here on.

        Rounded up: a timer that fired one bit too early would find its deadline still ahead, and set itself for ever.
        """
        boot_s = monotonic_s + self._slept_s
        while boot_s - self._slept_s < monotonic_s:
            boot_s = nextafter(boot_s, inf)
        return boot_s
