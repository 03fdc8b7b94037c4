"""What may be sent to the token endpoint, and when again: every rule that keeps a refresh from doing harm."""

from __future__ import annotations

import random

import msgspec

from session_core.bounds import require
from session_core.retry_manager import RetryPolicy
from session_core.token_answers import TokenGrant, TokenRefusal
from session_core.tokens import RefreshPolicy, TokenSet
from session_core.vocabulary import EndReason, Outcome

PROBE_S = (4.4, 4.7)
PROBE_S_SLOW = (12.0, 15.0)
PROBE_SLOW_AFTER_S = 900.0
CONFIG_PAUSE_S = 300.0
REPLAY_RESERVE_S_MAX = 2.0
RETRIES_PER_MARGIN_MAX = 15.0
RETRY_AFTER_S_MIN = 1.0
RETRY_AFTER_S_MIN_REPEATED = 15.0


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

    A server's wish comes before our backoff, but not before the floor: `Retry-After: 0` would make a loop of a fault,
    and one second, wished for again and again, a storm.
    """
    if result.outcome is Outcome.CONFIG:
        return CONFIG_PAUSE_S
    floor_s = retry_floor_s(policy, tokens, now=now)
    if result.retry_after_s is not None:
        doubled_s = RETRY_AFTER_S_MIN * 2.0 ** min(failures - 1, 10)
        return max(floor_s, result.retry_after_s, min(doubled_s, RETRY_AFTER_S_MIN_REPEATED))
    return max(floor_s, retry.backoff_s(failures, rng))


def tokens_from(
    grant: TokenGrant, old: TokenSet | None, *, sent_at: float, policy: RefreshPolicy, rng: random.Random
) -> TokenSet:
    """The tokens of an answer to what was asked at boot second `sent_at`, completed from the `old` ones."""
    expires_at = sent_at + grant.life_s
    # RFC 6749 section 6: an answer without a refresh token leaves the old one in force, for the key it is bound to.
    kept = old is not None and grant.refresh_token is None and grant.dpop_key == old.dpop_key
    refresh_expires_at = None if grant.refresh_life_s is None else sent_at + grant.refresh_life_s
    return TokenSet(
        access_token=grant.access_token,
        refresh_token=old.refresh_token if old is not None and kept else grant.refresh_token,
        id_token=grant.id_token or (None if old is None else old.id_token),
        scope=grant.scope or ("" if old is None else old.scope),
        issued_at=sent_at,
        expires_at=expires_at,
        refresh_due_at=policy.due_at(expires_at=expires_at, life_s=grant.life_s, rng=rng),
        refresh_expires_at=old.refresh_expires_at if old is not None and kept else refresh_expires_at,
        token_type=grant.token_type,
        dpop_key=grant.dpop_key,
    )
