"""Health: the lowest part decides, each part falls where its table says."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.session_health import OVER, HealthInputs, HealthParts, HealthScore, band, health
from session_core.vocabulary import Band, BreakerState, State

WELL = HealthInputs(state=State.ACTIVE, token_left_s=3_600.0, refresh_lead_s=300.0)
SECONDS = st.floats(0, 1e7)
INPUTS = st.builds(
    HealthInputs,
    state=st.sampled_from(State),
    token_left_s=st.none() | st.floats(-1e6, 1e6),
    refresh_lead_s=SECONDS,
    refresh_failures=st.integers(0, 1000),
    breaker=st.sampled_from(BreakerState),
    limit_left_s=SECONDS | st.just(math.inf),
    limit_warn_s=SECONDS,
    persisted=st.booleans(),
    heartbeat_age_s=st.none() | SECONDS,
    heartbeat_interval_s=SECONDS,
    skew_s=st.floats(-1e7, 1e7),
    counts_suspend=st.booleans(),
)


def scored(**changes: object) -> HealthScore:
    return health(msgspec.structs.replace(WELL, **changes))


def test_a_session_without_trouble_is_at_100() -> None:
    """Nothing is wrong, nothing is missing."""
    assert scored() == HealthScore(100.0, Band.EXCELLENT, HealthParts(*[100.0] * 8), "state")


@pytest.mark.parametrize(
    ("changes", "lowest", "score"),
    [
        ({"token_left_s": 301.0}, "state", 100.0),
        ({"token_left_s": 300.0}, "state", 100.0),
        ({"token_left_s": 299.0}, "token_age", 100 * 299 / 300),
        ({"token_left_s": 150.0}, "token_age", 50.0),
        ({"token_left_s": 1.0}, "token_age", 100 / 300),
        ({"token_left_s": 0.0}, "token_age", 0.0),
        ({"token_left_s": -1.0}, "token_age", 0.0),
        ({"token_left_s": None}, "token_age", 0.0),
        ({"token_left_s": 1.0, "refresh_lead_s": 0.0}, "state", 100.0),
        ({"refresh_failures": 1}, "failures", 84.0),
        ({"refresh_failures": 5}, "failures", 20.0),
        ({"refresh_failures": 6}, "failures", 4.0),
        ({"refresh_failures": 7}, "failures", 0.0),
        ({"breaker": BreakerState.HALF_OPEN}, "breaker", 50.0),
        ({"breaker": BreakerState.OPEN}, "breaker", 20.0),
        ({"limit_left_s": 121.0}, "state", 100.0),
        ({"limit_left_s": 120.0}, "state", 100.0),
        ({"limit_left_s": 60.0}, "limits", 50.0),
        ({"limit_left_s": 0.0}, "limits", 0.0),
        ({"limit_left_s": 1.0, "limit_warn_s": 0.0}, "state", 100.0),
        ({"persisted": False}, "persistence", 30.0),
        ({"heartbeat_age_s": 600.0}, "state", 100.0),
        ({"heartbeat_age_s": 1_200.0}, "heartbeat", 50.0),
        ({"heartbeat_age_s": 1_800.0}, "heartbeat", 0.0),
        ({"heartbeat_age_s": 1_801.0}, "heartbeat", 0.0),
        ({"skew_s": 5.0}, "state", 100.0),
        ({"skew_s": -452.5}, "clock_confidence", 70.0),
        ({"skew_s": 900.0}, "clock_confidence", 40.0),
        ({"skew_s": -901.0}, "clock_confidence", 40.0),
        ({"counts_suspend": False}, "clock_confidence", 80.0),
        ({"counts_suspend": False, "skew_s": 900.0}, "clock_confidence", 40.0),
    ],
)
def test_each_part_falls_where_the_table_says(changes: dict[str, object], lowest: str, score: float) -> None:
    """One trouble at a time: it is named, and it alone decides."""
    result = scored(**changes)
    assert result.lowest == lowest
    assert result.score == pytest.approx(score)


@pytest.mark.parametrize("failures", range(7))
def test_each_failure_in_a_row_costs_about_a_band(failures: int) -> None:
    """1 is Excellent's edge, 5 is as bad as an open breaker, 6 is Critical."""
    bands = [
        Band.EXCELLENT,
        Band.EXCELLENT,
        Band.GOOD,
        Band.FAIR,
        Band.POOR,
        Band.POOR,
        Band.CRITICAL,
    ]
    assert scored(refresh_failures=failures).band is bands[failures]


@pytest.mark.parametrize("state", State)
def test_a_session_that_is_over_is_at_0_for_that_reason(state: State) -> None:
    """LOCKED, EXPIRED and SIGNED_OUT are named even where the token is gone as well."""
    result = scored(state=state, token_left_s=None)
    assert result.score == 0.0
    assert result.lowest == ("state" if state in OVER else "token_age")


@given(inputs=INPUTS)
def test_the_score_is_its_lowest_part(inputs: HealthInputs) -> None:
    """One broken part cannot hide; each part is within 0–100."""
    result = health(inputs)
    assert all(0.0 <= part <= 100.0 for part in result.parts)
    assert result.score == min(result.parts) == getattr(result.parts, result.lowest)
    assert result.band is band(result.score) is band(int(result.score))


@given(inputs=INPUTS, worse_s=SECONDS)
def test_trouble_never_raises_the_score(inputs: HealthInputs, worse_s: float) -> None:
    """Less life, less time to a limit, an older heartbeat, more skew, one more failure: equal or lower."""
    changes: list[dict[str, object]] = [
        {"refresh_failures": inputs.refresh_failures + 1},
        {"limit_left_s": inputs.limit_left_s - worse_s},
        {"skew_s": inputs.skew_s + math.copysign(worse_s, inputs.skew_s)},
        {"persisted": False},
        {"breaker": BreakerState.OPEN},
        {"state": State.LOCKED},
        {"token_left_s": None if inputs.token_left_s is None else inputs.token_left_s - worse_s},
        {"heartbeat_age_s": (inputs.heartbeat_age_s or 0.0) + worse_s},
    ]
    score = health(inputs).score
    for change in changes:
        assert health(msgspec.structs.replace(inputs, **change)).score <= score


@given(score=st.floats(0, 100))
def test_bands_leave_no_gap(score: float) -> None:
    """Every score has one band, and its whole part has the same."""
    lows = {Band.EXCELLENT: 80, Band.GOOD: 60, Band.FAIR: 40, Band.POOR: 20, Band.CRITICAL: 0}
    found = band(score)
    assert score >= lows[found]
    assert all(score < low for other, low in lows.items() if low > lows[found])
    assert band(int(score)) is found


@pytest.mark.parametrize(
    ("edge", "above", "below"),
    [
        (80.0, Band.EXCELLENT, Band.GOOD),
        (60.0, Band.GOOD, Band.FAIR),
        (40.0, Band.FAIR, Band.POOR),
        (20.0, Band.POOR, Band.CRITICAL),
    ],
)
def test_a_band_begins_at_its_edge(edge: float, above: Band, below: Band) -> None:
    """80 is Excellent and the float just below it is Good; so at each edge."""
    assert band(edge) is above
    assert band(math.nextafter(edge, 0)) is below
