"""Every fact has one plain sentence."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core import events as e
from session_core.store.descriptions import describe, describe_fact, fact_of, for_how_long
from session_core.vocabulary import (
    Band,
    EndReason,
    ErrorClass,
    FallbackStep,
    GapKind,
    Limit,
    Outcome,
    RefreshReason,
    Served,
    Signal,
    State,
    StepOutcome,
)

ORIGIN = e.Origin(stream_id="stream", session_id="session", user_id="user")
REFRESHED = e.TokenRefreshed(
    reason=RefreshReason.DUE,
    attempt=1,
    duration_ms=41.7,
    waited_s=0.0,
    left_s=290.0,
    life_s=3_600.0,
    rotated=True,
    moved=True,
)
FAILED = e.RefreshFailed(
    reason=RefreshReason.DUE,
    attempt=2,
    outcome=Outcome.TRANSIENT,
    status=503,
    error="server_error",
    duration_ms=10.0,
    left_s=120.0,
)
SERVED = e.RequestServed(
    method="GET", route="/api/echo", status=200, served=Served.NETWORK, duration_ms=12.3, waited_ms=0.1, attempts=1
)
change = msgspec.structs.replace


@given(st.sampled_from(get_args(e.AnyFact)).flatmap(st.from_type))
def test_every_fact_is_one_sentence(fact: e.AnyFact) -> None:
    """It starts with a capital or the product's own word, ends with a full stop and stays on one line."""
    try:
        stored = msgspec.json.decode(msgspec.json.encode(fact))
        again = fact_of(stored)
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError):
        return
    sentence = describe_fact(again)
    assert sentence.endswith(".")
    assert "{}" not in sentence
    assert describe(e.Event(1, 0.0, 0.0, 0.0, ORIGIN, again)) == sentence


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [
        (
            e.SessionStarted(resumed=False, life_s=3_600.0, idle_limit_s=None, absolute_limit_s=None),
            "The session started; its access token lasts 1 h.",
        ),
        (
            e.SessionStarted(resumed=True, life_s=90.0, idle_limit_s=None, absolute_limit_s=None),
            "The session was taken up again; its access token lasts 1.5 min.",
        ),
        (
            e.SessionEnded(reason=EndReason.IDLE_LIMIT),
            "The session ended: the user was away longer than the idle limit.",
        ),
        (
            e.StateChanged(state_from=State.ACTIVE, state_to=State.DEGRADED, signal=Signal.REFRESH_FAILED),
            "The session went from ACTIVE to DEGRADED (refresh_failed).",
        ),
        (
            e.StuckFound(state=State.REFRESHING, stuck_s=4.0),
            "The session was stuck in REFRESHING for 4 s too long and was moved on.",
        ),
        (
            e.LimitWarned(limit=Limit.ABSOLUTE, left_s=60.0),
            "The absolute limit will be reached in 1 min.",
        ),
        (REFRESHED, "The access token was refreshed 4.8 min before it expired in 42 ms (try 1)."),
        (
            change(REFRESHED, left_s=-2.0, moved=False),
            "The access token was refreshed 2 s after it expired in 42 ms (try 1), but the new one does not last longer.",
        ),
        (FAILED, "Try 2 to refresh failed (transient: server_error, status 503); 2 min are left."),
        (
            change(FAILED, status=None, left_s=0.0),
            "Try 2 to refresh failed (transient: server_error); the token has expired.",
        ),
        (
            e.RefreshDiscarded(revoked=False),
            "A refresh was answered too late and not used; its refresh token could not be revoked.",
        ),
        (
            e.FallbackTried(
                step=FallbackStep.SILENT_REAUTHENTICATION,
                outcome=StepOutcome.FAILED,
                detail="login_required",
                duration_ms=1.0,
            ),
            "Fallback to silent re-authentication failed (login_required).",
        ),
        (
            e.FallbackTried(step=FallbackStep.LOGIN, outcome=StepOutcome.SKIPPED, detail="", duration_ms=1.0),
            "Fallback to sign-in by the user was skipped by policy.",
        ),
        (
            e.RetryScheduled(call="token", attempt=1, delay_s=0.25, cause="throttled", told_by_server=True),
            "The token call will be tried again in 250 ms, as the server asked (throttled).",
        ),
        (SERVED, "GET /api/echo was served from the network in 12 ms (status 200)."),
        (
            change(SERVED, status=0, served=Served.STALE_IF_ERROR, error=ErrorClass.NETWORK),
            "GET /api/echo was served from the cache because the network failed in 12 ms (no answer, network error).",
        ),
        (
            e.HeartbeatBeat(state=State.ACTIVE, health=86.6, band=Band.EXCELLENT, lowest="token_age", left_s=1.0),
            "Health is 87 of 100 (excellent) in ACTIVE; lowest is token_age.",
        ),
        (e.GapObserved(gap=GapKind.SUSPEND, seconds=28_800.0), "The device slept for 8 h."),
        (e.GapObserved(gap=GapKind.THROTTLE, seconds=30.0), "Timers are being slowed down; this one came 30 s late."),
        (e.ClockSkewEstimated(skew_s=-900.0), "The provider's clock is 15 min behind this device's."),
    ],
)
def test_the_sentence_says_what_a_person_would_ask(fact: e.AnyFact, sentence: str) -> None:
    """In the unit a person would choose, with what went wrong in brackets."""
    assert describe_fact(fact) == sentence


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0.0, "0 s"), (0.0123, "12 ms"), (-0.5, "500 ms"), (1.0, "1 s"), (59.0, "59 s"), (60.0, "1 min")),
        *((3_599.0, "60 min"), (3_600.0, "1 h"), (5_400.0, "1.5 h"), (86_400.0, "1 d"), (-129_600.0, "1.5 d")),
    ],
)
def test_a_length_of_time_is_said_in_its_own_unit(seconds: float, words: str) -> None:
    """The sign is left to the sentence around it."""
    assert for_how_long(seconds) == words
