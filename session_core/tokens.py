"""The tokens of one session and when to replace them. Every time here is boot seconds, so a wrong clock cannot hurt."""

from __future__ import annotations

import random
from enum import StrEnum

import msgspec

from session_core.bounds import require
from session_core.dpop import BEARER, DPOP, ProofKey
from session_core.errors import ConfigError
from session_core.secrecy import Discreet

ROUNDING_S = 1.5


class Action(StrEnum):
    """What to do about the access token before a call."""

    USE = "use"
    REFRESH_SOON = "refresh_soon"
    REFRESH_NOW = "refresh_now"


class TokenSet(Discreet, frozen=True, kw_only=True):
    """What the provider issued. `expires_at` counts from when the request was *sent*, the earliest it can have begun.

    `dpop_key` is the key that was shown for them: the refresh token is of no use without it, nor is the access token
    where `token_type` is DPoP. It stays with them, so that whoever goes on with the session has both.
    """

    access_token: str
    refresh_token: str | None = None
    id_token: str | None = None
    scope: str = ""
    issued_at: float
    expires_at: float
    refresh_due_at: float
    refresh_expires_at: float | None = None
    token_type: str = BEARER
    dpop_key: ProofKey | None = None

    def shown(self) -> tuple[str, ...]:
        return ("issued_at", "expires_at", "refresh_due_at")

    @property
    def life_s(self) -> float:
        return self.expires_at - self.issued_at

    @property
    def proof_key(self) -> ProofKey | None:
        """The key by which each use of the access token must be proven; None for one that whoever holds it may use."""
        return self.dpop_key if self.token_type == DPOP else None

    def expired(self, now: float) -> bool:
        # RFC 7519 section 4.1.4: not accepted *on or after* the expiry.
        return now >= self.expires_at

    def refresh_token_expired(self, now: float) -> bool:
        return self.refresh_expires_at is not None and now >= self.refresh_expires_at


class RefreshPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to refresh: `exp − min(margin_s_max, margin_share × life) − U(0, jitter_share × margin)`.

    A margin in seconds alone loops on short tokens; without jitter a fleet refreshes in one second.
    """

    proactive: bool = True
    margin_s_max: float = 300.0
    margin_share: float = 0.2
    jitter_share: float = 0.1
    unmoved_pause_s: float = 60.0
    overdue_spread_s_max: float = 60.0
    request_timeout_s: float = 10.0
    caller_wait_s_max: float = 30.0

    def __post_init__(self) -> None:
        require("refresh.margin_s_max", self.margin_s_max, 0, 86_400)
        require("refresh.margin_share", self.margin_share, 0, 0.9)
        require("refresh.jitter_share", self.jitter_share, 0, 1)
        require("refresh.unmoved_pause_s", self.unmoved_pause_s, 0.1, 3_600)
        require("refresh.overdue_spread_s_max", self.overdue_spread_s_max, 0, 600)
        require("refresh.request_timeout_s", self.request_timeout_s, 0.1, 120)
        require("refresh.caller_wait_s_max", self.caller_wait_s_max, 0.05, 600)
        if self.margin_share * (1 + self.jitter_share) >= 1:
            # A refresh due before its token was issued would be followed by the next, without end.
            below = 1 / self.margin_share - 1
            raise ConfigError(
                f"refresh.jitter_share is {self.jitter_share:g}; set it below {below:.3f}, or margin_share lower."
            )

    def margin_s(self, life_s: float) -> float:
        return min(self.margin_s_max, self.margin_share * life_s)

    def due_at(self, *, expires_at: float, life_s: float, rng: random.Random) -> float:
        """The moment from which a refresh is wanted; `expires_at` itself where nothing is done ahead."""
        if not self.proactive:
            return expires_at
        margin_s = self.margin_s(life_s)
        return expires_at - margin_s - rng.uniform(0, self.jitter_share * margin_s)

    def spread_s(self, tokens: TokenSet, *, now: float, rng: random.Random) -> float:
        """How long a refresh found overdue may wait, so that a fleet that wakes together does not ask together.

        A third of what is left at most: the rest is for finding the nap out, for the request and for a second try.
        """
        if tokens.expired(now):
            return 0.0
        return rng.uniform(0, min(self.overdue_spread_s_max, (tokens.expires_at - now) / 3))


def decide(tokens: TokenSet, *, now: float) -> Action:
    if now < tokens.refresh_due_at:
        return Action.USE
    return Action.REFRESH_NOW if tokens.expired(now) else Action.REFRESH_SOON


def moved(old: TokenSet | None, new: TokenSet) -> bool:
    """Whether a refresh bought any life; one that did not must not be repeated at once.

    Providers round to whole seconds, which looks like a gain where little life is left.
    """
    if old is None:
        return True
    shrank = new.life_s < old.life_s / 2
    return new.expires_at > old.expires_at + (ROUNDING_S if shrank else min(1.0, 0.05 * new.life_s))
