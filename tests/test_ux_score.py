"""The UX score: measured from events, weighed by its curves, explained by its parts."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.events import (
    AnyFact,
    CacheServed,
    Event,
    FallbackTried,
    HeartbeatBeat,
    Origin,
    RefreshFailed,
    RequestServed,
    SessionEnded,
    SessionStarted,
    StateChanged,
    TokenFollowed,
    TokenRefreshed,
    UserActed,
)
from session_core.histograms import SMALLEST, Histogram, bin_of, value_of
from session_core.ux_inputs import NOT_PENALISED
from session_core.ux_score import (
    CURVES,
    UxInputs,
    UxObserver,
    Window,
    log_normal,
    merge,
    observe,
    p75,
    score,
    score_session,
    told,
    wilson,
)
from session_core.vocabulary import (
    Band,
    EndReason,
    ErrorClass,
    FallbackStep,
    Outcome,
    RefreshReason,
    Served,
    Signal,
    State,
    StepOutcome,
)

PAGE = (Path(__file__).parents[1] / "docs" / "ux-score.md").read_text(encoding="utf-8")
EPOCH = 1_800_000_000.0
Timed = tuple[float, AnyFact]

STARTED = SessionStarted(resumed=False, life_s=3_600.0, idle_limit_s=None, absolute_limit_s=None)
RESUMED = msgspec.structs.replace(STARTED, resumed=True)
ACTED = UserActed(action="click")
FOCUSED = UserActed(action="focus")
REFRESHED = TokenRefreshed(
    reason=RefreshReason.DUE,
    attempt=1,
    duration_ms=80.0,
    waited_s=0.0,
    left_s=300.0,
    life_s=3_600.0,
    rotated=True,
    moved=True,
)
SLEPT = StateChanged(state_from=State.ACTIVE, state_to=State.SUSPENDED, signal=Signal.SUSPENDED)
WOKE = StateChanged(state_from=State.SUSPENDED, state_to=State.RESUMING, signal=Signal.WOKE)
OFFLINE = StateChanged(state_from=State.RESUMING, state_to=State.OFFLINE, signal=Signal.NETWORK_LOST)
BACK = StateChanged(state_from=State.OFFLINE, state_to=State.RESUMING, signal=Signal.NETWORK_BACK)
LOCKED = StateChanged(state_from=State.ACTIVE, state_to=State.LOCKED, signal=Signal.IDLE_LIMIT_REACHED)
LIMIT_SKIP = FallbackTried(
    step=FallbackStep.STORED_CREDENTIAL, outcome=StepOutcome.SKIPPED, detail="limit", duration_ms=0.0
)


def served(
    status: int = 200, *, ms: float = 100.0, waited_ms: float = 0.0, via: Served = Served.NETWORK, **changes: Any
) -> RequestServed:
    return RequestServed(
        method="GET",
        route="/api/echo",
        status=status,
        served=via,
        duration_ms=ms,
        waited_ms=waited_ms,
        attempts=1,
        error=changes.get("error", ErrorClass.AUTH if status == 401 else None),
    )


NO_NETWORK = served(0, via=Served.NOTHING, error=ErrorClass.NETWORK)
NO_TOKEN = served(0, via=Served.NOTHING, error=ErrorClass.AUTH)


def ended(reason: EndReason) -> SessionEnded:
    return SessionEnded(reason=reason)


def refused(outcome: Outcome) -> RefreshFailed:
    return RefreshFailed(
        reason=RefreshReason.DUE, attempt=1, outcome=outcome, status=None, error="x", duration_ms=1.0, left_s=9.0
    )


def cached(age_s: float, ttl_s: float = 30.0) -> CacheServed:
    return CacheServed(route="/api/echo", served=Served.STALE, age_s=age_s, ttl_s=ttl_s)


def log(facts: Iterable[Timed], *, session: str = "s1", stream: str = "a", boot_s: float = 0.0) -> list[Event]:
    """Facts at their seconds, on a device that booted `boot_s` before."""
    origin = Origin(stream_id=stream + session, session_id=session, user_id="user of " + session)
    return [Event(n, EPOCH + at, at, boot_s + at, origin, fact) for n, (at, fact) in enumerate(facts, 1)]


def seen(*facts: Timed) -> UxInputs:
    return observe(log(facts))


# The page and its examples.

MORNING: tuple[Timed, ...] = (
    (0, STARTED),
    (60, served()),
    (120, ACTED),
    (180, served(waited_ms=350.0)),
    (4_000, WOKE),
    (4_003, served(ms=2_500.0, waited_ms=2_400.0)),
    (4_100, cached(90.0)),
    (4_100, served(via=Served.STALE)),
    (4_200, served(401)),
    (4_230, ended(EndReason.REFRESH_REJECTED)),
    (4_260, STARTED),
    (4_300, served()),
)
WEEK = UxInputs(
    sessions=frozenset(f"s{n}" for n in range(250)),
    interrupted_sessions=frozenset(f"s{n}" for n in range(5)),
    users=frozenset(f"u{n}" for n in range(200)),
    interrupted_users=frozenset(f"u{n}" for n in range(4)),
    active_us=1_500 * 3_600_000_000,
    forced_sign_ins=4,
    surfaced_401s=2,
    resume_ms=Histogram.of((300.0, 500.0, 700.0, 900.0, 1_400.0, 2_000.0, 5_000.0, 9_000.0)),
    requests=60_000,
    auth_errors=90,
    waited_ms=Histogram.of((150.0,) * 20_000),
    answers=50_000,
    stale_ttls=Histogram.of((0.5,) * 20_000),
)


def test_the_morning_of_the_page_is_measured_as_it_says() -> None:
    """Every number of the first example, and its score to the last digit shown."""
    assert seen(*MORNING) == UxInputs(
        sessions=frozenset({"s1"}),
        interrupted_sessions=frozenset({"s1"}),
        users=frozenset({"user of s1"}),
        interrupted_users=frozenset({"user of s1"}),
        active_us=1_077_000_000,
        surfaced_401s=1,
        resume_ms=Histogram.of((2_500.0,)),
        requests=6,
        auth_errors=1,
        waited_ms=Histogram.of((350.0, 2_400.0)),
        answers=5,
        stale_ttls=Histogram.of((2.0,)),
    )
    assert f"the morning scores {score_session(log(MORNING)).score:.2f}." in PAGE


def test_the_week_of_the_page_is_scored_as_it_says() -> None:
    """Each part with its power and its share of the loss, and what stands beside, to the last digit shown."""
    result = score(WEEK)
    for name, part in result.parts.items():
        shown = (
            f"| .{part.value * 1e4:04.0f} | .{part.value**part.weight * 1e4:04.0f} | {part.loss_share * 100:.1f} % |"
        )
        assert any(line.startswith(f"| {name} |") and line.endswith(shown) for line in PAGE.splitlines()), name
    assert f"**{result.score:.2f}**, its badge {result.badge}" in PAGE
    for whole in (result.interruption_free_sessions, result.interruption_free_users):
        assert f"{whole.share or 0:.1%}".replace("%", " %") in PAGE
        assert f"({whole.low * 100:.1f} % to {whole.high * 100:.1f} %)" in PAGE
    assert f"overdrawn by {-result.error_budget_left:.0%}".replace("%", " %") in PAGE


def test_why_is_said_in_words_the_largest_loss_first() -> None:
    """Each sentence has its share and its counts."""
    assert score(WEEK).reasons[:3] == (
        "Continuity, 67% of the loss: 6 avoidable interruptions in 1,500.0 active hours.",
        "Resume, 23% of the loss: a quarter of 8 resumes took 2,004 ms or more.",
        "Errors, 8% of the loss: 90 auth errors in 60,000 requests.",
    )


# Curves and numbers.


@pytest.mark.parametrize("name", CURVES)
def test_a_part_is_90_at_its_p10_and_50_at_its_median(name: str) -> None:
    """That is how Lighthouse's curve is pinned."""
    curve = CURVES[name]
    assert log_normal(curve.p10, p10=curve.p10, median=curve.median) == pytest.approx(0.9, abs=1e-12)
    assert log_normal(curve.median, p10=curve.p10, median=curve.median) == 0.5
    assert log_normal(0.0, p10=curve.p10, median=curve.median) == 1.0


def test_weights_sum_to_1() -> None:
    """So that all parts at x make 100 · x."""
    assert math.fsum(curve.weight for curve in CURVES.values()) == pytest.approx(1.0, abs=1e-15)


@given(value=st.floats(0, math.inf), more=st.floats(0, math.inf))
def test_the_curve_only_falls(value: float, more: float) -> None:
    """Within 0 and 1, for the smallest and the largest floats too."""
    here, there = (log_normal(x, p10=200.0, median=500.0) for x in (value, value + more))
    assert 0.0 <= there <= here <= 1.0


@given(values=st.lists(st.floats(0, 1e9), min_size=1))
def test_p75_is_the_nearest_rank_as_its_bin_is_read(values: list[float]) -> None:
    """The smallest value that three quarters reach at most; zeros need not be listed."""
    ranked = sorted(values)
    expected = next(v for v in ranked if sum(x <= v for x in ranked) * 4 >= 3 * len(ranked))
    listed = Histogram.of(v for v in ranked if v >= SMALLEST)
    assert p75(Histogram.of(ranked)) == p75(listed, of=len(ranked)) == value_of(bin_of(expected))


def test_p75_of_nothing_is_0() -> None:
    """Nothing was felt."""
    assert p75(Histogram()) == p75(Histogram(), of=9) == 0.0


def test_wilson_agrees_with_a_worked_value() -> None:
    """10 of 100 lies between 5.52 % and 17.44 % (Wilson 1927, at 95 %)."""
    found = wilson(10, 100)
    assert (found.share, round(found.low, 4), round(found.high, 4)) == (0.1, 0.0552, 0.1744)


@given(total=st.integers(0, 10**7), part=st.floats(0, 1))
def test_wilson_bounds_hold_the_share_and_stay_possible(total: int, part: float) -> None:
    """Even for none, all, or nothing counted; four times the evidence is never less sure."""
    count = round(total * part)
    found = wilson(count, total)
    assert 0.0 <= found.low <= (count / total if total else 0.5) <= found.high <= 1.0
    wider = wilson(4 * count, 4 * total)
    assert wider.high - wider.low <= found.high - found.low


# The score.

COUNTS = st.integers(0, 10_000)
VALUES = st.lists(st.floats(0, 1e7, exclude_min=True), max_size=8)


@st.composite
def inputs(draw: st.DrawFn) -> UxInputs:
    requests, answers = draw(st.integers(1, 10_000)), draw(COUNTS)
    return UxInputs(
        sessions=frozenset(f"s{n}" for n in range(draw(st.integers(0, 120)))),
        active_us=draw(st.integers(0, 10**15)),
        forced_sign_ins=draw(COUNTS),
        surfaced_401s=draw(COUNTS),
        lost_inputs=draw(st.integers(0, 1)),
        resume_ms=Histogram.of(draw(VALUES)),
        requests=requests,
        auth_errors=draw(st.integers(0, requests - 1)),
        waited_ms=Histogram.of(draw(VALUES)[:requests]),
        answers=answers,
        stale_ttls=Histogram.of(draw(VALUES)[:answers]),
        reuse_revocations=draw(st.integers(0, 1)),
        uses_after_revocation=draw(st.integers(0, 1)),
    )


def test_nothing_felt_is_100() -> None:
    """No loss, no reason, and a badge that says on how little it rests."""
    result = score(UxInputs())
    assert (result.score, result.reasons, result.capped, result.error_budget_left) == (100.0, (), False, 1.0)
    assert {part.loss_share for part in result.parts.values()} == {0.0}
    assert result.badge == "100, from 0 sessions only"


@pytest.mark.parametrize(
    ("sessions", "badge"),
    [(1, "100, from 1 session only"), (99, "100, from 99 sessions only"), (100, "100"), (101, "100")],
)
def test_below_100_sessions_the_badge_says_so(sessions: int, badge: str) -> None:
    """At 100 it stands by itself."""
    result = score(UxInputs(sessions=frozenset(map(str, range(sessions)))))
    assert (result.badge, result.confident) == (badge, sessions >= 100)


@given(given_=inputs())
def test_the_score_is_the_geometric_mean_of_its_floored_parts(given_: UxInputs) -> None:
    """Within 1 and 100, at most 49 when capped; the shares of the loss sum to 1."""
    result = score(given_)
    parts = result.parts.values()
    uncapped = 100.0 * math.prod(part.value**part.weight for part in parts)
    assert result.score == pytest.approx(min(uncapped, 49.0) if result.capped else uncapped)
    assert all(0.01 <= part.value <= 1.0 for part in parts)
    assert 1.0 - 1e-9 <= result.score <= 100.0
    shares = math.fsum(part.loss_share for part in parts)
    assert shares == pytest.approx(1.0 if uncapped < 100.0 - 1e-9 else round(shares))


@pytest.mark.parametrize("felt", ["forced_sign_ins", "surfaced_401s", "lost_inputs", "auth_errors"])
@given(given_=inputs())
def test_more_trouble_never_raises_the_score(felt: str, given_: UxInputs) -> None:
    """One more of anything a person feels: equal or lower."""
    worse = msgspec.structs.replace(given_, **{felt: getattr(given_, felt) + 1})
    assert score(worse).score <= score(given_).score + 1e-9


@pytest.mark.parametrize("felt", ["resume_ms", "waited_ms", "stale_ttls"])
@given(given_=inputs(), bins=st.integers(0, 600))
def test_longer_waits_never_raise_the_score(felt: str, given_: UxInputs, bins: int) -> None:
    """Resumes, added latency and stale answers alike."""
    histogram = getattr(given_, felt)
    longer = Histogram(tuple(number + bins for number in histogram.bins), histogram.numbers)
    worse = msgspec.structs.replace(given_, **{felt: longer})
    assert score(worse).score <= score(given_).score + 1e-9


@pytest.mark.parametrize("must_not", ["reuse_revocations", "uses_after_revocation", "lost_inputs"])
def test_what_must_not_happen_caps_the_score_at_49(must_not: str) -> None:
    """However good the rest is; the first reason names it."""
    perfect = UxInputs(active_us=3_600_000_000_000_000, requests=1_000, sessions=frozenset("s"))
    assert score(perfect).score == 100.0
    result = score(told(perfect, **{must_not: 1}))
    assert (result.score, result.capped) == (49.0, True)
    assert result.reasons[0].startswith("Capped at 49: ")


@given(given_=st.lists(inputs(), min_size=1, max_size=4), rng=st.randoms(use_true_random=False))
def test_merging_knows_no_order(given_: list[UxInputs], rng: random.Random) -> None:
    """One after the other, all at once, or shuffled: the same inputs to the last bit."""
    together = merge(given_)
    shuffled = rng.sample(given_, len(given_))
    stepwise = UxInputs()
    for one in shuffled:
        stepwise = merge((stepwise, one))
    assert merge(shuffled) == together
    assert stepwise == together


def test_merged_sessions_are_scored_anew_and_not_averaged() -> None:
    """Ten calm sessions and a bad one are not ten elevenths of the way to 100."""
    calm = [seen((0, STARTED), (1, served())) for _ in range(10)]
    bad = observe(log(MORNING, session="s2"))
    mean = statistics.fmean([*(score(one).score for one in calm), score(bad).score])
    assert score(merge((*calm, bad))).score < mean - 30


# Interruptions.


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason not in NOT_PENALISED])
def test_a_forced_sign_in_is_an_interruption(reason: EndReason) -> None:
    """For whatever reason that is nobody's decision."""
    found = seen((0, STARTED), (10, ended(reason)))
    assert (found.forced_sign_ins, found.excused_ends) == (1, 0)
    assert found.interrupted_sessions == {"s1"}


@pytest.mark.parametrize("reason", sorted(NOT_PENALISED))
def test_what_somebody_decided_is_not_penalised(reason: EndReason) -> None:
    """Own sign-out, limits, the operator's stop: the score stays 100, also for what fails afterwards."""
    facts: list[Timed] = [(0, STARTED), (10, served()), (20, ended(reason)), (30, NO_TOKEN), (40, served(401, ms=1e5))]
    found = seen(*facts)
    assert (found.interruptions, found.excused_ends, found.requests, found.auth_errors) == (0, 1, 1, 0)
    assert score(found).score == 100.0


def test_a_locked_session_is_the_policy_s_doing_until_the_next_start() -> None:
    """Calls refused and a refresh token lost meanwhile cost nothing; after the sign-in things count again."""
    facts: list[Timed] = [
        (0, STARTED),
        (10, LOCKED),
        (20, NO_TOKEN),
        (30, ended(EndReason.REFRESH_REJECTED)),
        (40, STARTED),
        (50, served(401)),
    ]
    found = seen(*facts)
    assert (found.forced_sign_ins, found.surfaced_401s, found.auth_errors, found.excused_ends) == (0, 1, 1, 1)


def test_an_end_after_a_limit_that_the_chain_met_is_excused() -> None:
    """The chain says that it may not pass the limit before anyone has enforced it."""
    found = seen((0, STARTED), (10, LIMIT_SKIP), (11, ended(EndReason.REFRESH_REJECTED)))
    assert (found.forced_sign_ins, found.excused_ends) == (0, 1)


@pytest.mark.parametrize(("later_s", "count"), [(0.0, 1), (59.999, 1), (60.0, 2), (61.0, 2)])
def test_what_follows_within_a_minute_is_the_same_interruption(later_s: float, count: int) -> None:
    """Every 401 is an error to see, but one moment of trouble is one interruption."""
    found = seen((0, STARTED), (10, served(401)), (10 + later_s, served(401)))
    assert (found.surfaced_401s, found.auth_errors) == (count, 2)


def test_a_call_without_a_token_is_an_error_but_no_interruption() -> None:
    """It can be tried again; being thrown out cannot."""
    found = seen((0, STARTED), (10, NO_TOKEN))
    assert (found.interruptions, found.auth_errors, found.requests) == (0, 1, 1)


# Active time.


@pytest.mark.parametrize(("gap_s", "active_s"), [(0.0, 300.0), (299.0, 599.0), (300.0, 600.0), (301.0, 600.0)])
def test_use_lasts_to_the_next_sign_and_5_minutes_at_most(gap_s: float, active_s: float) -> None:
    """The hours of an idle session are not active ones."""
    assert seen((0, STARTED), (gap_s, ACTED)).active_s == active_s


def test_heartbeats_refreshes_and_restarts_are_no_use() -> None:
    """A session nobody uses has no active time, and is not among the sessions."""
    beat = HeartbeatBeat(state=State.ACTIVE, health=100.0, band=Band.EXCELLENT, lowest="state", left_s=100.0)
    assert seen((0, RESUMED), (300, beat), (600, REFRESHED)) == UxInputs()


def test_time_goes_on_by_the_wall_clock_where_a_new_process_counts_from_its_own_boot() -> None:
    """A restart on another machine is neither a gap of years nor a step back."""
    before = log([(0, STARTED), (100, ACTED)], boot_s=5e6)
    after = log([(150, RESUMED), (160, ACTED)], stream="b", boot_s=3.0)
    assert observe(before + after).active_s == 460.0


# Resume.


@pytest.mark.parametrize("begin", [WOKE, BACK, FOCUSED])
def test_a_resume_ends_with_the_first_usable_answer(begin: AnyFact) -> None:
    """A call refused or answered with trouble is not it, nor is an old answer from the cache."""
    trouble = served(503, error=ErrorClass.SERVER)
    stale = served(via=Served.STALE)
    found = seen((100, begin), (102, NO_TOKEN), (103, trouble), (104, stale), (106, served()), (109, served()))
    assert found.resume_ms == Histogram.of((4_100.0,))


def test_nobody_waits_before_they_ask() -> None:
    """Woken at 7, used at 9: the wait is that of the first call."""
    assert seen((0, WOKE), (7_200, served(ms=130.0))).resume_ms == Histogram.of((130.0,))


def test_a_call_that_was_under_way_at_the_wake_waits_from_the_wake() -> None:
    """It slept, too."""
    assert seen((8_000, WOKE), (8_002, served(ms=7_000_000.0))).resume_ms == Histogram.of((2_000.0,))


def test_a_missing_network_is_not_waited_for() -> None:
    """The resume begins when the network is back, or when a call first finds one."""
    away: list[Timed] = [(0, WOKE), (1, NO_NETWORK), (2, OFFLINE), (20, BACK), (21, served(ms=500.0))]
    assert seen(*away).resume_ms == Histogram.of((500.0,))
    assert seen((0, WOKE), (5, NO_NETWORK), (9, served(ms=6_000.0))).resume_ms == Histogram.of((4_000.0,))


@pytest.mark.parametrize("stop", [SLEPT, OFFLINE, LOCKED, ended(EndReason.SIGNED_OUT), WOKE, ACTED])
def test_a_resume_without_an_answer_counts_to_the_last_call_in_vain(stop: AnyFact) -> None:
    """Asked at 0.9 s and refused at 1 and 4 s, whatever stopped it after hours."""
    facts: list[Timed] = [(0, WOKE), (1, NO_TOKEN), (4, NO_TOKEN), (30_000, stop)]
    assert seen(*facts).resume_ms == Histogram.of((3_100.0,))


def test_a_resume_lasts_through_a_forced_sign_in() -> None:
    """The person is not back before their first answer."""
    facts: list[Timed] = [
        (0, WOKE),
        (1, NO_TOKEN),
        (1, ended(EndReason.REFRESH_REJECTED)),
        (30, STARTED),
        (31, served()),
    ]
    assert seen(*facts).resume_ms == Histogram.of((30_100.0,))


def test_without_a_call_there_was_no_resume() -> None:
    """Nothing was felt."""
    assert seen((0, WOKE), (100, SLEPT), (9_000, WOKE)).resume_ms == Histogram()


# Freshness and revocation.


@pytest.mark.parametrize(
    ("age_s", "ttl_s", "stale"), [(29.0, 30.0, ()), (30.0, 30.0, ()), (45.0, 30.0, (0.5,)), (3.0, 0.0, (3.0,))]
)
def test_an_answer_is_stale_by_what_it_is_past_its_ttl(age_s: float, ttl_s: float, stale: tuple[float, ...]) -> None:
    """Fresh ones count as 0, and a TTL of 0 as a second."""
    found = seen((0, cached(age_s, ttl_s)))
    assert (found.answers, found.stale_ttls) == (1, Histogram.of(stale))


def test_a_refusal_after_a_lost_answer_is_a_reuse_revocation() -> None:
    """Only where refresh tokens rotate, and only if nothing came between."""
    lost, rejected = refused(Outcome.AMBIGUOUS), refused(Outcome.REJECTED)
    assert seen((0, REFRESHED), (1, lost), (2, rejected)).reuse_revocations == 1
    for between in (REFRESHED, TokenFollowed(left_s=3_000.0), STARTED):
        assert seen((0, REFRESHED), (1, lost), (2, between), (3, rejected)).reuse_revocations == 0
    assert seen((0, REFRESHED), (2, rejected)).reuse_revocations == 0
    still = msgspec.structs.replace(REFRESHED, rotated=False)
    assert seen((0, still), (1, lost), (2, rejected)).reuse_revocations == 0


@pytest.mark.parametrize(("ms", "uses"), [(19_000.0, 0), (20_000.0, 0), (19_998.0, 1), (1_000.0, 1), (20_001.0, 0)])
def test_a_call_begun_after_the_end_uses_what_was_revoked(ms: float, uses: int) -> None:
    """What was under way at the end is not it, nor is what came from the cache or after a new sign-in."""
    end = ended(EndReason.SIGNED_OUT)
    ended_at = 100.0 if ms != 19_000.0 else 101.0
    assert seen((0, STARTED), (ended_at, end), (120, served(ms=ms))).uses_after_revocation == uses
    assert seen((0, STARTED), (100, end), (120, served(via=Served.CACHE))).uses_after_revocation == 0
    assert seen((0, STARTED), (100, end), (110, STARTED), (120, served())).uses_after_revocation == 0


def test_an_administrator_s_revocation_is_not_penalised_once_it_is_told() -> None:
    """To a client it is a refusal like any other."""
    found = seen((0, STARTED), (10, ended(EndReason.REFRESH_REJECTED)))
    assert score(found).score < 30
    excused = told(found, administrator_revocations=1)
    assert (score(excused).score, excused.interrupted_sessions, excused.excused_ends) == (100.0, frozenset(), 1)


def test_lost_input_interrupts_its_session() -> None:
    """No event says it; who knows tells."""
    found = told(seen((0, STARTED)), lost_inputs=2)
    assert (found.interruptions, found.interrupted_sessions) == (2, {"s1"})


def test_a_revocation_can_be_told_of_many_sessions_and_lost_input_of_one_only() -> None:
    """Whose input it was decides who was interrupted."""
    both = merge((seen((0, STARTED)), observe(log([(0, STARTED)], session="s2"))))
    assert told(both, reuse_revocations=1).capped
    with pytest.raises(AssertionError, match="one session"):
        told(both, lost_inputs=1)


# Whole logs.

FACTS: Sequence[AnyFact] = (
    *(served() for _ in range(6)),
    served(waited_ms=700.0),
    served(401),
    NO_TOKEN,
    NO_NETWORK,
    served(via=Served.STALE),
    cached(100.0),
    ACTED,
    FOCUSED,
    STARTED,
    RESUMED,
    REFRESHED,
    SLEPT,
    WOKE,
    OFFLINE,
    BACK,
    LOCKED,
    LIMIT_SKIP,
    refused(Outcome.AMBIGUOUS),
    refused(Outcome.REJECTED),
    *(ended(reason) for reason in EndReason),
)
LOGS = st.lists(st.tuples(st.floats(0, 900), st.sampled_from(FACTS)), max_size=40).map(
    lambda steps: [(sum(gap for gap, _ in steps[: n + 1]), fact) for n, (_, fact) in enumerate(steps)]
)
OK = served()


@given(facts=LOGS, chosen=st.randoms(use_true_random=False))
def test_a_401_in_place_of_an_answer_never_raises_the_score(facts: list[Timed], chosen: random.Random) -> None:
    """Whatever surrounds it: interruptions, resumes, errors and freshness only get worse."""
    worse = [(at, served(401) if fact == OK and chosen.random() < 0.5 else fact) for at, fact in facts]
    assert score(seen(*worse)).score <= score(seen(*facts)).score + 1e-9


@given(facts=LOGS, cuts=st.lists(st.floats(0, 36_000), max_size=3))
def test_windows_side_by_side_add_up_to_the_whole(facts: list[Timed], cuts: list[float]) -> None:
    """Each event counts in exactly one, and what came before is context."""
    edges = [-math.inf, *sorted(EPOCH + cut for cut in cuts), math.inf]
    windows = [Window(start, end) for start, end in itertools.pairwise(edges)]
    whole = observe(log(facts))
    pooled = merge(observe(log(facts), window=window) for window in windows)
    assert pooled == whole


@given(first=LOGS, second=LOGS, rng=st.randoms(use_true_random=False))
def test_sessions_may_be_interleaved(first: list[Timed], second: list[Timed], rng: random.Random) -> None:
    """Each keeps its own order; how they are shuffled together does not matter, nor whether they come one by one."""
    logs = [log(first), log(second, session="s2")]
    apart = merge(observe(one) for one in logs)
    observer = UxObserver()
    turns = rng.sample([0] * len(first) + [1] * len(second), len(first) + len(second))
    positions = [iter(one) for one in logs]
    for turn in turns:
        observer.add(next(positions[turn]))
    assert observer.inputs() == apart


@given(
    facts=st.lists(st.sampled_from((OK, served(401), NO_TOKEN, ACTED, cached(100.0))), max_size=12), rng=st.randoms()
)
def test_the_order_of_one_moment_does_not_matter(facts: list[AnyFact], rng: random.Random) -> None:
    """What happened at the same time, with no resume under way, can be read in any order."""
    shuffled = rng.sample(facts, len(facts))
    assert seen((0, STARTED), *((5, fact) for fact in facts)) == seen((0, STARTED), *((5, fact) for fact in shuffled))


@given(facts=LOGS)
def test_every_log_has_a_score_that_can_be_stored(facts: list[Timed]) -> None:
    """Within bounds, with its version, and as JSON."""
    result = score_session(log(facts))
    assert 1.0 - 1e-9 <= result.score <= 100.0
    stored = msgspec.json.decode(msgspec.json.encode(result))
    assert (stored["version"], list(stored["parts"])) == (1, list(CURVES))
