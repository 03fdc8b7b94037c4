"""What may be sent to the token endpoint, and when again."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.errors import ConfigError
from session_core.refresh_plan import (
    CONFIG_PAUSE_S,
    PROBE_SLOW_AFTER_S,
    ProviderProfile,
    blocked,
    pause_s,
    probe_pause_s,
    retry_floor_s,
)
from session_core.retry_manager import DEFAULT_POLICIES, Call
from session_core.token_answers import TokenRefusal
from session_core.tokens import RefreshPolicy, TokenSet
from session_core.vocabulary import EndReason, Outcome

SEEDS = st.integers(0, 2**32).map(random.Random)
MOMENTS = st.floats(0, 1e7)
RETRY = DEFAULT_POLICIES[Call.TOKEN]
POLICY = RefreshPolicy()


def tokens(
    *, refresh_token: str | None = "rt", expires_at: float = 3600.0, refresh_expires_at: float | None = None
) -> TokenSet:
    return TokenSet(
        access_token="at",
        refresh_token=refresh_token,
        issued_at=expires_at - 3600,
        expires_at=expires_at,
        refresh_due_at=expires_at - 300,
        refresh_expires_at=refresh_expires_at,
    )


def refusal(outcome: Outcome = Outcome.TRANSIENT, retry_after_s: float | None = None) -> TokenRefusal:
    return TokenRefusal(outcome=outcome, error="x", retry_after_s=retry_after_s)


@given(sent_at=MOMENTS, grace_s=st.floats(0.001, 86_400))
def test_a_replay_keeps_a_reserve_inside_the_grace_window(sent_at: float, grace_s: float) -> None:
    """The last moment lies after the sending and before the window's end, by a fifth or two seconds."""
    until = ProviderProfile(grace_s=grace_s).replay_until(sent_at)
    assert sent_at <= until < sent_at + grace_s or grace_s < 1e-6
    assert sent_at + grace_s - until <= 2.000001


@pytest.mark.parametrize(
    ("profile", "until"),
    [
        (ProviderProfile(), -math.inf),
        (ProviderProfile(grace_s=30), 128.0),
        (ProviderProfile(grace_s=5), 104.0),
        (ProviderProfile(grace_s=30, replay_is_idempotent=False), -math.inf),
        (ProviderProfile(rotates=False), math.inf),
        (ProviderProfile(rotates=False, replay_is_idempotent=False), math.inf),
    ],
)
def test_the_profile_says_how_long_a_spent_token_may_be_sent_again(profile: ProviderProfile, until: float) -> None:
    """Never without a window, for ever where nothing is spent, else to the window's end with a reserve."""
    assert profile.replay_until(100.0) == until


@pytest.mark.parametrize(("now", "why"), [(127.999, None), (128.0, EndReason.REFRESH_AMBIGUOUS)])
def test_a_replay_is_blocked_from_the_very_end_of_its_window(now: float, why: EndReason | None) -> None:
    """At the last moment it is already too late."""
    assert blocked(tokens(), now=now, maybe_spent_at=100.0, profile=ProviderProfile(grace_s=30)) is why


@pytest.mark.parametrize(("now", "why"), [(999.999, None), (1000.0, EndReason.REFRESH_TOKEN_EXPIRED)])
def test_an_expired_refresh_token_is_not_sent(now: float, why: EndReason | None) -> None:
    """On or after its expiry."""
    held = tokens(refresh_expires_at=1000.0)
    assert blocked(held, now=now, maybe_spent_at=None, profile=ProviderProfile()) is why


def test_the_first_reason_is_the_plainest() -> None:
    """No token before an expired one before a spent one."""
    gone = {"now": 2000.0, "maybe_spent_at": 1.0, "profile": ProviderProfile()}
    assert blocked(tokens(refresh_token=None, refresh_expires_at=1.0), **gone) is EndReason.NO_REFRESH_TOKEN  # type: ignore[arg-type]
    assert blocked(tokens(refresh_expires_at=1.0), **gone) is EndReason.REFRESH_TOKEN_EXPIRED  # type: ignore[arg-type]
    assert blocked(tokens(), **gone) is EndReason.REFRESH_AMBIGUOUS  # type: ignore[arg-type]
    assert blocked(tokens(), now=2000.0, maybe_spent_at=None, profile=ProviderProfile()) is None


@given(now=MOMENTS, spent_at=st.none() | MOMENTS)
def test_a_provider_that_does_not_rotate_blocks_nothing(now: float, spent_at: float | None) -> None:
    """Nothing can be spent there."""
    assert blocked(tokens(), now=now, maybe_spent_at=spent_at, profile=ProviderProfile(rotates=False)) is None


@pytest.mark.parametrize(("now", "floor_s"), [(0, 20.0), (3599, 20.0), (3600, 0.0), (3601, 0.0)])
def test_there_is_a_floor_between_refreshes_only_while_the_token_is_good(now: float, floor_s: float) -> None:
    """A margin of 300 s holds 15 tries."""
    assert retry_floor_s(POLICY, tokens(), now=now) == floor_s


@given(offline_s=st.floats(0, 1e7), rng=SEEDS)
def test_the_network_is_probed_within_five_seconds_and_later_within_fifteen(
    offline_s: float, rng: random.Random
) -> None:
    """After a quarter of an hour there is less hurry."""
    low, high = (12.0, 15.0) if offline_s >= PROBE_SLOW_AFTER_S else (4.4, 4.7)
    assert low <= probe_pause_s(offline_s, rng) <= high


@given(
    now=st.floats(0, 7200),
    failures=st.integers(1, 1024),
    outcome=st.sampled_from([Outcome.TRANSIENT, Outcome.AMBIGUOUS, Outcome.THROTTLED]),
    retry_after_s=st.none() | st.floats(0, 3600),
    rng=SEEDS,
)
def test_a_refusal_is_never_followed_at_once(
    now: float, failures: int, outcome: Outcome, retry_after_s: float | None, rng: random.Random
) -> None:
    """At least what the server asks for, the floor while there is no hurry, and a pause that doubles to 15 s."""
    held = tokens()
    delay_s = pause_s(
        refusal(outcome, retry_after_s), tokens=held, now=now, failures=failures, policy=POLICY, retry=RETRY, rng=rng
    )
    floor_s = retry_floor_s(POLICY, held, now=now)
    if retry_after_s is None:
        assert floor_s <= delay_s <= max(floor_s, RETRY.delay_s_max)
    else:
        assert delay_s == max(floor_s, retry_after_s, min(15.0, 2.0 ** min(failures - 1, 10)))


def test_a_server_that_says_retry_at_once_is_not_taken_at_its_word() -> None:
    """Retry-After 0, or a date gone by, would make a loop of a fault that lasts."""
    for now, least_s in ((3599, 20.0), (3600, 1.0)):
        delay_s = pause_s(
            refusal(retry_after_s=0.0),
            tokens=tokens(),
            now=now,
            failures=1,
            policy=POLICY,
            retry=RETRY,
            rng=random.Random(1),
        )
        assert delay_s == least_s


@given(retry_after_s=st.none() | st.floats(0, 3600), rng=SEEDS)
def test_a_mistake_of_the_setup_is_asked_about_every_five_minutes(
    retry_after_s: float | None, rng: random.Random
) -> None:
    """Somebody must change something first."""
    result = refusal(Outcome.CONFIG, retry_after_s)
    delay_s = pause_s(result, tokens=tokens(), now=0, failures=9, policy=POLICY, retry=RETRY, rng=rng)
    assert delay_s == CONFIG_PAUSE_S


@pytest.mark.parametrize("grace_s", [-0.001, 86_400.001])
def test_a_grace_window_out_of_range_is_refused_by_name(grace_s: float) -> None:
    """From none to a day."""
    ProviderProfile(grace_s=0)
    ProviderProfile(grace_s=86_400)
    with pytest.raises(ConfigError, match=r"profile\.grace_s is .*; set it between 0 and 86400\."):
        ProviderProfile(grace_s=grace_s)
