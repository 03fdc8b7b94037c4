"""How healthy a session is, 0–100: the score is the lowest part, not a mean, so one broken part cannot hide."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from session_core.vocabulary import Band, BreakerState, State

FULL = 100.0
OVER = frozenset({State.SIGNED_OUT, State.LOCKED, State.EXPIRED})
FAILURE_COST = 16.0
BREAKER_SCORES = {BreakerState.CLOSED: FULL, BreakerState.HALF_OPEN: 50.0, BreakerState.OPEN: 20.0}
NOT_PERSISTED = 30.0
LIMIT_WARNINGS_FULL = 2.0
BEATS_FULL, BEATS_ZERO = 2.0, 6.0
SKEW_S_FULL, SKEW_S_LOWEST = 5.0, 900.0
SKEW_LOWEST = 40.0
NO_SUSPEND_COUNT = 80.0


class HealthInputs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the score is made of. Every duration is in boot seconds.

    `token_left_s` is None without a token; `refresh_lead_s` is how long before expiry the refresh is due;
    `heartbeat_age_s` is None where the policy has no heartbeat.
    """

    state: State
    token_left_s: float | None
    refresh_lead_s: float
    refresh_failures: int = 0
    breaker: BreakerState = BreakerState.CLOSED
    limit_left_s: float = math.inf
    limit_warn_s: float = 60.0
    persisted: bool = True
    heartbeat_age_s: float | None = None
    heartbeat_interval_s: float = 300.0
    skew_s: float = 0.0
    counts_suspend: bool = True


class HealthParts(NamedTuple):
    """One score for each part, 0–100."""

    state: float
    token_age: float
    failures: float
    breaker: float
    limits: float
    persistence: float
    heartbeat: float
    clock_confidence: float


class HealthScore(NamedTuple):
    """`lowest` names the part that decides (the first of equals). Show `int(score)`: it never leaves its band."""

    score: float
    band: Band
    parts: HealthParts
    lowest: str


WHOLE = HealthScore(FULL, Band.EXCELLENT, HealthParts(*[FULL] * len(HealthParts._fields)), HealthParts._fields[0])


def health(inputs: HealthInputs) -> HealthScore:
    """Score one session.

    | part             | 100                     | falls                                   | why                                  |
    |------------------|-------------------------|-----------------------------------------|--------------------------------------|
    | state            | any other state         | 0 when SIGNED_OUT, LOCKED or EXPIRED    | nothing works then                   |
    | token_age        | left_s ≥ refresh_lead_s | 100 · left_s / lead_s; 0 from expiry    | after that point a refresh is late   |
    | failures         | 0 in a row              | 16 for each; 0 from the 7th             | a band each; as an open breaker at 5 |
    | breaker          | CLOSED                  | 50 HALF_OPEN, 20 OPEN                   | no refresh is tried while it is open |
    | limits           | left_s ≥ 2 · warn_s     | 50 at the warning, 0 at the limit       | the user is about to be interrupted  |
    | persistence      | last write worked       | 30                                      | a restart would lose the session     |
    | heartbeat        | age ≤ 2 intervals       | linear, 0 from 6 intervals              | one late beat is no news             |
    | clock_confidence | skew ≤ 5 s either way   | linear, 40 from 15 min; at most 80 when | expiry is judged less surely, but is |
    |                  |                         | the boot clock misses suspended time    | still judged on the boot clock       |
    """
    if _is_whole(inputs):
        return WHOLE
    parts = HealthParts(
        0.0 if inputs.state in OVER else FULL,
        _token_age(inputs.token_left_s, inputs.refresh_lead_s),
        max(0.0, FULL - FAILURE_COST * inputs.refresh_failures),
        BREAKER_SCORES[inputs.breaker],
        _rising(inputs.limit_left_s, 0.0, LIMIT_WARNINGS_FULL * inputs.limit_warn_s),
        FULL if inputs.persisted else NOT_PERSISTED,
        _heartbeat(inputs.heartbeat_age_s, inputs.heartbeat_interval_s),
        _clock_confidence(inputs.skew_s, counts_suspend=inputs.counts_suspend),
    )
    score = min(parts)
    return HealthScore(score, band(score), parts, parts._fields[parts.index(score)])


def _is_whole(inputs: HealthInputs) -> bool:
    """Whether every part is at 100, as it nearly always is: this is asked at every heartbeat."""
    left_s, age_s = inputs.token_left_s, inputs.heartbeat_age_s
    return (
        left_s is not None
        and left_s >= inputs.refresh_lead_s
        and left_s > 0.0
        and inputs.state not in OVER
        and inputs.refresh_failures == 0
        and BREAKER_SCORES[inputs.breaker] == FULL
        and inputs.limit_left_s >= LIMIT_WARNINGS_FULL * inputs.limit_warn_s
        and inputs.limit_left_s > 0.0
        and inputs.persisted
        and (age_s is None or age_s <= BEATS_FULL * inputs.heartbeat_interval_s)
        and -SKEW_S_FULL <= inputs.skew_s <= SKEW_S_FULL
        and inputs.counts_suspend
    )


def band(score: float) -> Band:
    """The band of a score: contiguous for fractions too, 79.9 is Good."""
    if score >= 80.0:
        return Band.EXCELLENT
    if score >= 60.0:
        return Band.GOOD
    if score >= 40.0:
        return Band.FAIR
    return Band.POOR if score >= 20.0 else Band.CRITICAL


def _rising(value: float, zero_at: float, full_at: float) -> float:
    """0 up to and at `zero_at`, 100 from `full_at`, linear between."""
    if value <= zero_at:
        return 0.0
    if value >= full_at:
        return FULL
    return FULL * (value - zero_at) / (full_at - zero_at)


def _token_age(left_s: float | None, lead_s: float) -> float:
    return 0.0 if left_s is None else _rising(left_s, 0.0, lead_s)


def _heartbeat(age_s: float | None, interval_s: float) -> float:
    return FULL if age_s is None else FULL - _rising(age_s, BEATS_FULL * interval_s, BEATS_ZERO * interval_s)


def _clock_confidence(skew_s: float, *, counts_suspend: bool) -> float:
    lost = (FULL - SKEW_LOWEST) / FULL * _rising(abs(skew_s), SKEW_S_FULL, SKEW_S_LOWEST)
    return FULL - lost if counts_suspend else min(NO_SUSPEND_COUNT, FULL - lost)
