"""What may be sent to the token endpoint, and when again: every rule that keeps a refresh from doing harm."""

from __future__ import annotations

import random

import msgspec

from session_core.bounds import require
from session_core.retry_manager import RetryPolicy
from session_core.token_answers import TokenRefusal
from session_core.tokens import RefreshPolicy, TokenSet
from session_core.vocabulary import EndReason, Outcome

PROBE_S = (4.4, 5.0)
PROBE_S_SLOW = (12.0, 15.0)
PROBE_SLOW_AFTER_S = 900.0
CONFIG_PAUSE_S = 300.0
REPLAY_RESERVE_S_MAX = 2.0
RETRIES_PER_MARGIN_MAX = 15.0
RETRY_AFTER_S_MIN = 1.0


class ProviderProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the provider treats refresh tokens; the default is what hurts least where nothing is known."""

    rotates: bool = True
    grace_s: float = 0.0
    replay_is_idempotent: bool = True
    honours_retry_after: bool = True

    def __post_init__(self) -> None:
        require("profile.grace_s", self.grace_s, 0, 86_400)

    def replay_until(self, first_sent_at: float) -> float:
        """The boot second up to which a refresh token that may be spent can be sent again without harm.

        The provider's window opens when it acts, at the earliest when we sent; the reserve covers the way there.
        """
        if not self.rotates:
            return float("inf")
        if not self.replay_is_idempotent or self.grace_s == 0:
            return float("-inf")
        return first_sent_at + self.grace_s - min(REPLAY_RESERVE_S_MAX, self.grace_s / 5)


def blocked(
    tokens: TokenSet, *, now: float, maybe_spent_at: float | None, profile: ProviderProfile
) -> EndReason | None:
    """Why the refresh token must not be sent now, or None if it may be."""
    if tokens.refresh_token is None:
        return EndReason.NO_REFRESH_TOKEN
    if tokens.refresh_token_expired(now):
        return EndReason.REFRESH_TOKEN_EXPIRED
    if maybe_spent_at is not None and now >= profile.replay_until(maybe_spent_at):
        return EndReason.REFRESH_AMBIGUOUS
    return None


def retry_floor_s(policy: RefreshPolicy, tokens: TokenSet, *, now: float) -> float:
    """The least wait between refreshes while the access token is still good: there is no hurry, so there is no storm."""
    return 0.0 if tokens.expired(now) else policy.margin_s(tokens.life_s) / RETRIES_PER_MARGIN_MAX


def probe_pause_s(offline_s: float, rng: random.Random) -> float:
    """How long until the network is tried again, `offline_s` after it was lost; the band keeps a fleet apart."""
    return rng.uniform(*(PROBE_S_SLOW if offline_s >= PROBE_SLOW_AFTER_S else PROBE_S))


def pause_s(
    result: TokenRefusal,
    *,
    tokens: TokenSet,
    now: float,
    failures: int,
    policy: RefreshPolicy,
    retry: RetryPolicy,
    rng: random.Random,
) -> float:
    """How long to leave the token endpoint alone after a refusal, the breaker aside.

    A server's wish comes before our backoff, but not before the floor: `Retry-After: 0` would make a loop of a fault.
    """
    if result.outcome is Outcome.CONFIG:
        return CONFIG_PAUSE_S
    floor_s = retry_floor_s(policy, tokens, now=now)
    if result.retry_after_s is not None:
        return max(floor_s, result.retry_after_s, RETRY_AFTER_S_MIN)
    return max(floor_s, retry.backoff_s(failures, rng))
