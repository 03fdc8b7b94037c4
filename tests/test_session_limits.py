"""Limits: reached at their second, moved by activity only where they may be."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.errors import ConfigError
from session_core.session_limits import AAL1, AAL2, AAL3, LimitWatch, SessionLimits, Standing
from session_core.vocabulary import Limit

LIMITS = SessionLimits(idle_s=900.0, absolute_s=43_200.0, warn_s=60.0)
TIMES = st.floats(0, 1e6)


@st.composite
def limits(draw: st.DrawFn) -> SessionLimits:
    absolute_s = draw(st.none() | st.floats(2, 1e5))
    idle_s = draw(st.none() | st.floats(2, absolute_s or 1e5))
    shortest_s = min(idle_s or 1e5, absolute_s or 1e5)
    return SessionLimits(
        idle_s=idle_s, absolute_s=absolute_s, warn_s=draw(st.floats(0, min(shortest_s, 86_400), exclude_max=True))
    )


WARNED = st.frozensets(st.sampled_from(Limit))


@pytest.mark.parametrize(
    ("now", "standing", "left_s"),
    [
        (839.0, Standing.OK, 61.0),
        (840.0, Standing.WARN, 60.0),
        (899.0, Standing.WARN, 1.0),
        (900.0, Standing.IDLE, 0.0),
        (901.0, Standing.IDLE, 0.0),
    ],
)
def test_the_idle_limit_warns_and_is_reached_at_its_second(now: float, standing: Standing, left_s: float) -> None:
    """The warning begins 60 s before, the limit counts at the very second."""
    assert LIMITS.verdict(now, 0.0, 0.0) == (standing, Limit.IDLE, left_s)


@pytest.mark.parametrize(
    ("now", "standing", "left_s"),
    [
        (43_139.0, Standing.OK, 61.0),
        (43_140.0, Standing.WARN, 60.0),
        (43_199.0, Standing.WARN, 1.0),
        (43_200.0, Standing.ABSOLUTE, 0.0),
        (43_201.0, Standing.ABSOLUTE, 0.0),
    ],
)
def test_the_absolute_limit_is_reached_in_spite_of_activity(now: float, standing: Standing, left_s: float) -> None:
    """A user who never stops is still asked to sign in again."""
    assert LIMITS.verdict(now, 0.0, now) == (standing, Limit.ABSOLUTE, left_s)


def test_the_absolute_limit_goes_before_the_idle_limit() -> None:
    """Both reached at once: the session ends, it is not merely locked."""
    assert LIMITS.verdict(50_000.0, 0.0, 0.0).standing is Standing.ABSOLUTE


def test_a_warning_is_given_once_and_for_the_nearest_limit_first() -> None:
    """Warned of one limit, the user still hears of the other."""
    both = SessionLimits(idle_s=100.0, absolute_s=100.0, warn_s=60.0)
    assert both.verdict(60.0, 0.0, -10.0)[:2] == (Standing.WARN, Limit.IDLE)
    assert both.verdict(60.0, 0.0, -10.0, warned={Limit.IDLE})[:2] == (Standing.WARN, Limit.ABSOLUTE)
    assert both.verdict(60.0, 0.0, -10.0, warned=set(Limit))[:2] == (Standing.OK, Limit.IDLE)
    assert both.verdict(60.0, 0.0, 0.0, warned=set(Limit))[:2] == (Standing.OK, Limit.ABSOLUTE)


def test_a_session_without_limits_is_never_due() -> None:
    """No limit, no deadline, no end."""
    free = SessionLimits()
    assert free.verdict(1e9, 0.0, 0.0) == (Standing.OK, None, math.inf)
    assert free.next_due(1e9, 0.0, 0.0) is None
    assert free.reached_at(0.0, 0.0) == math.inf


@given(limits=limits(), started_at=TIMES, active_at=TIMES)
def test_the_first_limit_is_reached_at_its_second(limits: SessionLimits, started_at: float, active_at: float) -> None:
    """At `reached_at` a limit is reached, at the float before it none is."""
    at = limits.reached_at(started_at, active_at)
    reached = (Standing.IDLE, Standing.ABSOLUTE)
    assert limits.verdict(math.nextafter(at, 0), started_at, active_at).standing not in reached
    assert at == math.inf or limits.verdict(at, started_at, active_at).standing in reached


def test_the_presets_are_those_of_nist() -> None:
    """AAL1 30 d and no idle limit, AAL2 24 h and 1 h, AAL3 12 h and 15 min, each with a minute's warning."""
    assert (AAL1.absolute_s, AAL1.idle_s) == (2_592_000.0, None)
    assert (AAL2.absolute_s, AAL2.idle_s) == (86_400.0, 3_600.0)
    assert (AAL3.absolute_s, AAL3.idle_s) == (43_200.0, 900.0)
    assert {AAL1.warn_s, AAL2.warn_s, AAL3.warn_s} == {60.0}


def test_deadlines_follow_one_another_through_a_session() -> None:
    """Warn of idle, lock, and at the absolute limit end; then nothing is due any more."""
    due = LIMITS.next_due(0.0, 0.0, 0.0)
    assert due == 840.0
    assert LIMITS.next_due(due, 0.0, 0.0, warned={Limit.IDLE}) == 900.0
    assert LIMITS.next_due(900.0, 0.0, 0.0) == 43_200.0
    assert LIMITS.next_due(43_200.0, 0.0, 0.0) is None
    assert SessionLimits(idle_s=900.0).next_due(900.0, 0.0, 0.0) is None


@given(limits=limits(), now=TIMES, started_at=TIMES, idle_for_s=TIMES, warned=WARNED, part=st.floats(0, 1))
def test_the_verdict_changes_at_the_deadline_and_not_before(
    limits: SessionLimits, now: float, started_at: float, idle_for_s: float, warned: AbstractSet[Limit], part: float
) -> None:
    """A worker that sleeps until `next_due` misses nothing and never wakes for nothing."""
    active_at = now - idle_for_s
    before = limits.verdict(now, started_at, active_at, warned=warned)
    due = limits.next_due(now, started_at, active_at, warned=warned)
    if before.standing is Standing.WARN:
        assert due == now
        return
    until = now + 1e7 if due is None else due
    between = min(now + part * (until - now), until)
    if between < until or due is None:
        assert limits.verdict(between, started_at, active_at, warned=warned)[:2] == before[:2]
    if due is not None:
        assert due > now
        assert limits.verdict(due, started_at, active_at, warned=warned).standing is not before.standing


@given(limits=limits(), now=TIMES, started_at=TIMES, earlier=TIMES, later=TIMES)
def test_activity_never_moves_the_absolute_limit(
    limits: SessionLimits, now: float, started_at: float, earlier: float, later: float
) -> None:
    """Whatever the user does, ABSOLUTE is reached at the same second; and activity never brings a limit nearer."""
    earlier, later = sorted((earlier, later))
    before, after = limits.verdict(now, started_at, earlier), limits.verdict(now, started_at, later)
    assert (before.standing is Standing.ABSOLUTE) == (after.standing is Standing.ABSOLUTE)
    if before.standing in (Standing.OK, Standing.WARN):
        assert after.standing in (Standing.OK, Standing.WARN)
        assert after.left_s >= before.left_s


@given(limits=limits(), now=TIMES, started_at=TIMES, active_at=TIMES, warned=WARNED)
def test_time_left_is_never_negative_and_zero_only_at_a_limit(
    limits: SessionLimits, now: float, started_at: float, active_at: float, warned: AbstractSet[Limit]
) -> None:
    """`left_s` can be shown as it is."""
    verdict = limits.verdict(now, started_at, active_at, warned=warned)
    assert verdict.left_s >= 0
    assert (verdict.left_s == 0) == (verdict.standing in (Standing.IDLE, Standing.ABSOLUTE))
    assert (verdict.limit is None) == (limits.idle_s is None and limits.absolute_s is None)


@given(limits=limits(), started_at=TIMES, acts=st.lists(TIMES, max_size=4), warned=WARNED, now=TIMES)
def test_a_watch_is_quiet_exactly_while_nothing_is_to_be_said(
    limits: SessionLimits, started_at: float, acts: list[float], warned: AbstractSet[Limit], now: float
) -> None:
    """What it remembers of its limits is what asking them anew would say, whatever happened to it since."""
    watch = LimitWatch(limits, started_at)
    for befall in (*(partial(watch.acted, at) for at in acts), *(partial(watch.warned_of, limit) for limit in warned)):
        assert watch.quiet(now) is (watch.verdict(now).standing is Standing.OK)
        befall()
    assert watch.quiet(now) is (watch.verdict(now).standing is Standing.OK)
    assert watch.next_due(now) == limits.next_due(now, started_at, watch.last_activity_at, warned=watch._warned)


@given(started_at=st.integers(0, 120), active_at=st.integers(0, 120))
def test_no_warning_comes_twice(started_at: float, active_at: float) -> None:
    """Noting each warning leaves one for each limit within its window, nearest first, and then none."""
    near = SessionLimits(idle_s=200.0, absolute_s=200.0, warn_s=60.0)
    given: list[float] = []
    warned: set[Limit] = set()
    while (verdict := near.verdict(200.0, started_at, active_at, warned=warned)).standing is Standing.WARN:
        assert verdict.limit is not None
        assert verdict.limit not in warned
        warned.add(verdict.limit)
        given.append(verdict.left_s)
    assert given == (sorted(at for at in (started_at, active_at) if at <= 60) if min(started_at, active_at) > 0 else [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"idle_s": 0.5}, "limits.idle_s is 0.5; set it between 1 and"),
        ({"absolute_s": 1e9}, "limits.absolute_s is 1e[+]09; set it between 1 and"),
        ({"absolute_s": math.inf}, "limits.absolute_s must be a number"),
        ({"warn_s": -1.0}, "limits.warn_s is -1; set it between 0 and"),
        ({"idle_s": 60.0}, "limits.warn_s is 60; set it below the shortest limit, 60"),
        ({"idle_s": 7_200.0, "absolute_s": 3_600.0}, "limits.idle_s is 7200; set it between 1 and .*absolute_s, 3600"),
    ],
)
def test_a_limit_out_of_range_is_refused_by_name(settings: dict[str, float], message: str) -> None:
    """The message names the field, its value and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        SessionLimits(**settings)
