"""When to replace tokens: the refresh point, its margin and jitter, and every edge of expiry."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from session_core.errors import ConfigError
from session_core.tokens import Action, RefreshPolicy, TokenSet, decide, moved

DAY_S = 86_400.0
ROUNDING_S = 1e-5  # What a sum of boot seconds as large as 2³⁰ loses.
SEEDS = st.integers(0, 2**32).map(random.Random)
MOMENTS = st.floats(0, 2**30)
LIVES = st.floats(0, 400 * DAY_S)


@st.composite
def policies(draw: st.DrawFn) -> RefreshPolicy:
    margin_share = draw(st.floats(0, 0.9))
    jitter_share = draw(st.floats(0, 1))
    assume(margin_share * (1 + jitter_share) < 1)
    return RefreshPolicy(
        margin_s_max=draw(st.floats(0, DAY_S)),
        margin_share=margin_share,
        jitter_share=jitter_share,
        overdue_spread_s_max=draw(st.floats(0, 600)),
    )


def tokens(*, issued_at: float = 0.0, expires_at: float = 3600.0, due_at: float = 3300.0, **more: object) -> TokenSet:
    return TokenSet(
        access_token="the-access-token",
        refresh_token="the-refresh-token",
        id_token="the-id-token",
        issued_at=issued_at,
        expires_at=expires_at,
        refresh_due_at=due_at,
        **more,  # type: ignore[arg-type]
    )


@given(policy=policies(), issued_at=MOMENTS, life_s=LIVES, rng=SEEDS)
def test_a_refresh_is_due_within_the_jitter_before_the_margin(
    policy: RefreshPolicy, issued_at: float, life_s: float, rng: random.Random
) -> None:
    """Due lies in [exp − margin·(1 + jitter), exp − margin]: never after the expiry and never before the issue."""
    expires_at, margin_s = issued_at + life_s, policy.margin_s(life_s)
    due_at = policy.due_at(expires_at=expires_at, life_s=life_s, rng=rng)
    assert expires_at - margin_s * (1 + policy.jitter_share) - ROUNDING_S <= due_at <= expires_at - margin_s
    assert issued_at - ROUNDING_S <= due_at <= expires_at


@given(policy=policies(), life_s=LIVES)
def test_the_margin_is_a_share_of_short_lives_and_a_fixed_time_of_long_ones(
    policy: RefreshPolicy, life_s: float
) -> None:
    """Neither bound is ever passed, and one of them is always reached."""
    margin_s = policy.margin_s(life_s)
    assert margin_s in (policy.margin_s_max, policy.margin_share * life_s)
    assert margin_s <= policy.margin_s_max
    assert margin_s <= policy.margin_share * life_s


@given(expires_at=MOMENTS, life_s=LIVES, rng=SEEDS)
def test_without_looking_ahead_a_refresh_is_due_at_the_expiry(
    expires_at: float, life_s: float, rng: random.Random
) -> None:
    """A policy that is not proactive does nothing before it must."""
    assert RefreshPolicy(proactive=False).due_at(expires_at=expires_at, life_s=life_s, rng=rng) == expires_at


def test_the_default_refreshes_five_minutes_before_the_end_of_an_hour() -> None:
    """300 s before the expiry, and up to 30 s earlier."""
    due = [RefreshPolicy().due_at(expires_at=3600, life_s=3600, rng=random.Random(n)) for n in range(500)]
    assert 3270 <= min(due) < 3272
    assert 3298 < max(due) <= 3300


@pytest.mark.parametrize(
    ("now", "action"),
    [
        (0, Action.USE),
        (3299.999, Action.USE),
        (3300, Action.REFRESH_SOON),
        (3599, Action.REFRESH_SOON),
        (3599.999, Action.REFRESH_SOON),
        (3600, Action.REFRESH_NOW),
        (3601, Action.REFRESH_NOW),
    ],
)
def test_the_decision_turns_exactly_when_due_and_exactly_at_expiry(now: float, action: Action) -> None:
    """A token is not accepted on or after its expiry (RFC 7519 §4.1.4)."""
    assert decide(tokens(), now=now) is action
    assert tokens().expired(now) is (action is Action.REFRESH_NOW)


@given(now=MOMENTS, due_at=MOMENTS, left_s=st.floats(0, DAY_S))
def test_a_token_in_use_is_never_expired(now: float, due_at: float, left_s: float) -> None:
    """USE and REFRESH_SOON hand out a token that is good; REFRESH_NOW never does."""
    held = tokens(expires_at=due_at + left_s, due_at=due_at)
    assert (decide(held, now=now) is Action.REFRESH_NOW) is held.expired(now)


@pytest.mark.parametrize(("now", "expired"), [(99.999, False), (100, True), (101, True)])
def test_a_refresh_token_ends_at_its_own_second(now: float, *, expired: bool) -> None:
    """On or after its expiry it is not sent any more."""
    assert tokens(refresh_expires_at=100.0).refresh_token_expired(now) is expired


def test_a_refresh_token_without_an_end_does_not_expire() -> None:
    """Most providers do not say how long one lives."""
    assert not tokens().refresh_token_expired(1e12)


@given(old_at=MOMENTS, gain_s=st.floats(-DAY_S, DAY_S), life_s=st.floats(0.001, 400 * DAY_S))
def test_a_refresh_moved_the_expiry_if_it_bought_more_than_noise(old_at: float, gain_s: float, life_s: float) -> None:
    """More than a second, or more than a twentieth of a life too short for seconds to mean anything.

    A life that shrank to less than half may owe a second and a half to the provider's rounding.
    """
    old = tokens(issued_at=old_at - 1, expires_at=old_at)
    new = tokens(issued_at=old_at + gain_s - life_s, expires_at=old_at + gain_s)
    noise_s = 1.5 if new.life_s < old.life_s / 2 else min(1.0, 0.05 * new.life_s)
    assume(abs(gain_s - noise_s) > ROUNDING_S)
    assert moved(old, new) is (gain_s > noise_s)


def test_the_first_tokens_always_count_as_moved() -> None:
    """There was nothing to move from."""
    assert moved(None, tokens())


@given(policy=policies(), now=MOMENTS, left_s=st.floats(-DAY_S, 40 * DAY_S), rng=SEEDS)
def test_an_overdue_refresh_waits_at_most_its_share_of_what_is_left(
    policy: RefreshPolicy, now: float, left_s: float, rng: random.Random
) -> None:
    """A fleet that wakes together is spread, while its tokens are good and with most of their life kept in reserve."""
    held = tokens(expires_at=now + left_s)
    spread_s = policy.spread_s(held, now=now, rng=rng)
    if held.expired(now):
        assert spread_s == 0
    else:
        assert 0 <= spread_s <= min(policy.overdue_spread_s_max, (held.expires_at - now) / 3)


def test_a_token_with_two_minutes_left_after_a_nap_is_refreshed_a_minute_before_its_end() -> None:
    """15 s until the nap is noticed, the longest spread, and 10 s for the request still leave a minute."""
    for seed in range(1000):
        spread_s = RefreshPolicy().spread_s(tokens(expires_at=105), now=0, rng=random.Random(seed))
        assert 105 - spread_s - 10 >= 60


@pytest.mark.parametrize("text", [repr, str, lambda held: str(list(held.__rich_repr__()))])
def test_no_token_shows_in_any_representation(text: object) -> None:
    """Neither repr nor a rich traceback shows a token, or a part of one."""
    shown = text(tokens())  # type: ignore[operator]
    assert "3600" in shown
    assert "the-" not in shown


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("margin_s_max", 0, 86_400),
        ("margin_share", 0, 0.9),
        ("unmoved_pause_s", 0.1, 3_600),
        ("overdue_spread_s_max", 0, 600),
        ("request_timeout_s", 0.1, 120),
        ("caller_wait_s_max", 0.05, 600),
    ],
)
def test_each_setting_names_its_range(field: str, low: float, high: float) -> None:
    """The ends of the range pass, and just outside it one sentence says which setting and what is allowed."""
    for value in (low, high):
        RefreshPolicy(**{field: value})
    for value in (low - 0.001, high + 0.001):
        with pytest.raises(ConfigError, match=rf"refresh\.{field} is .*; set it between {low:g} and {high:g}\."):
            RefreshPolicy(**{field: value})


def test_a_refresh_is_never_due_before_its_token_begins() -> None:
    """A margin whose jitter reaches back past the issue would ask for tokens without end."""
    with pytest.raises(ConfigError, match=r"refresh\.jitter_share is 0\.5; set it below 0\.111"):
        RefreshPolicy(margin_share=0.9, jitter_share=0.5)
    RefreshPolicy(margin_share=0.5, jitter_share=0.99)
    RefreshPolicy(margin_share=0, jitter_share=1)
    with pytest.raises(ConfigError, match=r"refresh\.jitter_share is 1\.5; set it between 0 and 1"):
        RefreshPolicy(margin_share=0, jitter_share=1.5)


def test_a_misspelt_setting_is_refused() -> None:
    """A setting that does nothing would be worse than an error."""
    with pytest.raises(msgspec.ValidationError, match="margin_max"):
        msgspec.convert({"margin_max": 3}, RefreshPolicy)
