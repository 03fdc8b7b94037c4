"""Clocks: a gap is named before anyone acts on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.clock import (
    CLOCK_STEP_S_MIN,
    STALL_S_MIN,
    SUSPEND_S_MIN,
    THROTTLED_TICKS_MIN,
    Gap,
    Reading,
    SystemClock,
    classify_gap,
    read,
)
from session_core.vocabulary import GapKind

START = Reading(wall=1_800_000_000.0, monotonic=500.0, boot=1_000.0)
SECONDS = st.integers(0, 10**6).map(float)
STEPS = st.integers(-(10**6), 10**6).map(float)


def after(*, awake_s: float, asleep_s: float = 0.0, stepped_s: float = 0.0) -> Reading:
    boot_s = awake_s + asleep_s
    return Reading(START.wall + boot_s + stepped_s, START.monotonic + awake_s, START.boot + boot_s)


@pytest.mark.parametrize(
    ("later", "gap"),
    [
        (after(awake_s=15), None),
        (after(awake_s=15 + STALL_S_MIN - 1), None),
        (after(awake_s=15 + STALL_S_MIN), Gap(GapKind.STALL, STALL_S_MIN)),
        (after(awake_s=15, asleep_s=SUSPEND_S_MIN - 1), None),
        (after(awake_s=15, asleep_s=SUSPEND_S_MIN), Gap(GapKind.SUSPEND, SUSPEND_S_MIN)),
        (after(awake_s=15, stepped_s=CLOCK_STEP_S_MIN - 1), None),
        (after(awake_s=15, stepped_s=CLOCK_STEP_S_MIN), Gap(GapKind.CLOCK_STEP, CLOCK_STEP_S_MIN)),
        (after(awake_s=15, stepped_s=-CLOCK_STEP_S_MIN), Gap(GapKind.CLOCK_STEP, -CLOCK_STEP_S_MIN)),
        (after(awake_s=15, asleep_s=3_600, stepped_s=60), Gap(GapKind.SUSPEND, 3_600.0)),
        (after(awake_s=15, asleep_s=60, stepped_s=-3_600), Gap(GapKind.CLOCK_STEP, -3_600.0)),
    ],
)
def test_each_gap_has_one_name_and_its_length(later: Reading, gap: Gap | None) -> None:
    """A gap begins at its smallest length, and the larger of a sleep and a step names it."""
    assert classify_gap(START, later, planned_s=15.0) == gap


@pytest.mark.parametrize("late_ticks", range(THROTTLED_TICKS_MIN + 2))
def test_the_third_late_tick_in_a_row_is_throttling(late_ticks: int) -> None:
    """One late tick is a stall; a timer that is regularly late is being throttled."""
    gap = classify_gap(START, after(awake_s=60), planned_s=15.0, late_ticks=late_ticks)
    expected = GapKind.THROTTLE if late_ticks + 1 >= THROTTLED_TICKS_MIN else GapKind.STALL
    assert gap == Gap(expected, 45.0)


@given(awake_s=SECONDS, asleep_s=SECONDS, stepped_s=STEPS, late_ticks=st.integers(0, 5))
def test_a_gap_is_named_exactly_when_one_of_its_causes_is_large_enough(
    awake_s: float, asleep_s: float, stepped_s: float, late_ticks: int
) -> None:
    """Nothing large goes unnamed, nothing small is named, and the length is the cause's own."""
    later = after(awake_s=awake_s, asleep_s=asleep_s, stepped_s=stepped_s)
    gap = classify_gap(START, later, planned_s=15.0, late_ticks=late_ticks)
    lengths = {
        GapKind.SUSPEND: (asleep_s, SUSPEND_S_MIN),
        GapKind.CLOCK_STEP: (stepped_s, CLOCK_STEP_S_MIN),
        GapKind.STALL: (awake_s - 15.0, STALL_S_MIN),
        GapKind.THROTTLE: (awake_s - 15.0, STALL_S_MIN),
    }
    if gap is None:
        late_s, late_s_min = lengths.pop(GapKind.STALL)
        assert late_s < late_s_min
        assert asleep_s < SUSPEND_S_MIN
        assert abs(stepped_s) < CLOCK_STEP_S_MIN
    else:
        length, least = lengths[gap.kind]
        assert gap.seconds == length
        assert abs(length) >= least


def test_the_device_clocks_never_go_back() -> None:
    """Monotonic and boot do not run backwards, and boot counts at least what monotonic counts."""
    clock = SystemClock()
    first, second = read(clock), read(clock)
    assert second.monotonic >= first.monotonic
    assert second.boot >= first.boot
    assert second.wall > 1_700_000_000
    assert not clock.counts_suspend or second.boot >= first.monotonic
