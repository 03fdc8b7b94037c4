"""The virtual clock: three readings of one time."""

from __future__ import annotations

import itertools
from math import inf, nextafter

from hypothesis import given
from hypothesis import strategies as st

from session_core.clock import Gap, classify_gap, read
from session_core.sim.clock import EPOCH_S, VirtualClock
from session_core.vocabulary import GapKind


class HandTime:
    """Time moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_all_three_clocks_follow_the_world() -> None:
    """Without hardship boot and monotonic are the world's time and wall adds epoch and skew."""
    time = HandTime()
    clock = VirtualClock(time, epoch_s=1_000.0, wall_skew_s=-5.0)
    time.now_s = 2.5
    assert read(clock) == (997.5, 2.5, 2.5)


def test_the_epoch_is_the_first_second_of_2026() -> None:
    """Unless told otherwise virtual time starts at 2026-01-01T00:00:00Z."""
    assert VirtualClock(HandTime()).wall() == EPOCH_S == 1_767_225_600.0


def test_a_suspended_device_reads_as_suspend() -> None:
    """Monotonic stands still at once and leaves the sleep out afterwards; boot and wall go on."""
    time = HandTime()
    clock = VirtualClock(time, epoch_s=0.0)
    before = read(clock)
    time.now_s = 10.0
    clock.suspend()
    time.now_s = 25.0
    assert clock.suspended
    assert read(clock) == (25.0, 10.0, 25.0)
    clock.resume()
    time.now_s = 30.0
    assert not clock.suspended
    assert read(clock) == (30.0, 15.0, 30.0)
    assert classify_gap(before, read(clock), planned_s=15.0) == Gap(GapKind.SUSPEND, 15.0)


def test_suspending_twice_is_suspending_once() -> None:
    """A lid that is closed already, or open already, changes nothing."""
    time = HandTime()
    clock = VirtualClock(time)
    clock.resume()
    time.now_s = 1.0
    clock.suspend()
    time.now_s = 3.0
    clock.suspend()
    time.now_s = 4.0
    clock.resume()
    clock.resume()
    assert clock.monotonic() == 1.0


def test_a_stepped_wall_reads_as_clock_step() -> None:
    """Setting the wall clock moves nothing else."""
    time = HandTime()
    clock = VirtualClock(time)
    before = read(clock)
    clock.step_wall(-3_600.0)
    time.now_s = 15.0
    assert classify_gap(before, read(clock), planned_s=15.0) == Gap(GapKind.CLOCK_STEP, -3_600.0)


def test_the_repr_tells_the_readings() -> None:
    """A failing test shows what time it was."""
    assert repr(VirtualClock(HandTime())) == "VirtualClock(boot=0.0, monotonic=0.0, wall_skew_s=0.0)"


seconds = st.floats(0.0, 1e8, allow_nan=False)


@given(naps=st.lists(st.tuples(seconds, seconds), max_size=5), ahead_s=seconds)
def test_a_deadline_on_monotonic_is_reached_exactly_when_boot_says(
    naps: list[tuple[float, float]], ahead_s: float
) -> None:
    """At `boot_when` monotonic reads the deadline or more, and one bit earlier it reads no more: no timer fires early."""
    time = HandTime()
    clock = VirtualClock(time)
    for awake_s, asleep_s in naps:
        time.now_s += awake_s
        clock.suspend()
        time.now_s += asleep_s
        clock.resume()
    deadline_s = clock.monotonic() + ahead_s
    boot_s = clock.boot_when(deadline_s)
    time.now_s = boot_s
    assert clock.monotonic() >= deadline_s
    time.now_s = nextafter(boot_s, -inf)
    assert clock.monotonic() <= deadline_s


@given(steps=st.lists(st.tuples(st.sampled_from(["suspend", "resume"]), seconds), max_size=20))
def test_no_clock_but_wall_ever_goes_back(steps: list[tuple[str, float]]) -> None:
    """Whatever happens, boot and monotonic never decrease and monotonic never overtakes boot."""
    time = HandTime()
    clock = VirtualClock(time)
    readings = [read(clock)]
    for verb, wait_s in steps:
        getattr(clock, verb)()
        readings.append(read(clock))
        time.now_s += wait_s
        readings.append(read(clock))
    for earlier, later in itertools.pairwise(readings):
        assert later.boot >= earlier.boot
        assert later.monotonic >= earlier.monotonic
        assert later.monotonic <= later.boot
