"""Three clocks, because idle is what makes them differ. The only module that reads real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from session_core.vocabulary import GapKind

STALL_S_MIN = 5.0
SUSPEND_S_MIN = 2.0
CLOCK_STEP_S_MIN = 5.0
THROTTLED_TICKS_MIN = 3


class Clock(Protocol):
    """What time it is, three ways, each in seconds."""

    def wall(self) -> float:
        """Seconds since the epoch as the device believes; may be wrong and may step."""
        ...

    def monotonic(self) -> float:
        """Stands still while a device is suspended."""
        ...

    def boot(self) -> float:
        """Never steps and counts suspended time; every deadline is kept on it."""
        ...


class ForetellingClock(Clock, Protocol):
    """A simulated clock: it says so before anything but the passing of time befalls it, so it need not be watched."""

    before_jump: list[Callable[[], None]]

    def moments(self) -> tuple[float, float, float]:
        """Wall, monotonic and boot at once, asked for with every event."""
        ...

    def reading(self) -> Reading:
        """The same with their names, as `read` puts them together where a clock does not."""
        ...

    @property
    def steady(self) -> bool:
        """Whether timers fire when they are due."""
        ...


class Reading(NamedTuple):
    """All three clocks at one moment."""

    wall: float
    monotonic: float
    boot: float


class Gap(NamedTuple):
    """Why time did not pass as planned, and by how much."""

    kind: GapKind
    seconds: float


def read(clock: Clock) -> Reading:
    return Reading(clock.wall(), clock.monotonic(), clock.boot())


def reader(clock: Clock) -> Callable[[], Reading]:
    """What reads all three clocks, by the clock's own short way where it has one."""
    return getattr(clock, "reading", None) or partial(read, clock)


def classify_gap(before: Reading, after: Reading, *, planned_s: float, late_ticks: int = 0) -> Gap | None:
    """Name what happened between two readings that should lie `planned_s` apart.

    The largest cause wins: SUSPEND is boot − monotonic, CLOCK_STEP is wall − boot, STALL is a late tick with all
    clocks together, THROTTLE the same for the third time in a row (`late_ticks` counts the earlier ones).
    """
    boot_s = after.boot - before.boot
    suspended_s = boot_s - (after.monotonic - before.monotonic)
    stepped_s = (after.wall - before.wall) - boot_s
    late_s = boot_s - suspended_s - planned_s
    if suspended_s >= SUSPEND_S_MIN and suspended_s >= abs(stepped_s):
        return Gap(GapKind.SUSPEND, suspended_s)
    if abs(stepped_s) >= CLOCK_STEP_S_MIN:
        return Gap(GapKind.CLOCK_STEP, stepped_s)
    if late_s >= STALL_S_MIN:
        kind = GapKind.THROTTLE if late_ticks >= THROTTLED_TICKS_MIN - 1 else GapKind.STALL
        return Gap(kind, late_s)
    return None


def read_boot_id() -> str | None:
    """Which boot of the machine this is, where the platform says: boot seconds mean nothing in another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


class SystemClock:
    """The device's own clocks.

    Where the platform has no clock that counts suspended time, `boot` falls back to the monotonic one and
    `counts_suspend` is False: a suspend then shows as a CLOCK_STEP.
    """

    counts_suspend = hasattr(time, "CLOCK_BOOTTIME")
    # The functions themselves: they are asked several times for every call of a user.
    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    boot = staticmethod(partial(time.clock_gettime, time.CLOCK_BOOTTIME) if counts_suspend else time.monotonic)
