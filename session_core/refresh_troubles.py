"""What has gone wrong with one session's refreshes, and so what may be sent next, and when."""

from __future__ import annotations

import random

import msgspec

from session_core.events import Record
from session_core.refresh_plan import PROBE_S, ProviderProfile, blocked, pause_s, probe_pause_s
from session_core.retry_manager import BreakerPolicy, Call, CircuitBreaker, RetryManager
from session_core.token_answers import TokenRefusal
from session_core.tokens import RefreshPolicy, TokenSet
from session_core.vocabulary import BreakerState, EndReason, Outcome, Signal

UNATTENDED_S_MAX = 600.0


def unattended_s(delay_s: float, openings: int) -> float:
    """How long the background waits where a caller would wait `delay_s`: twice as long with each opening after the first."""
    return max(delay_s, min(UNATTENDED_S_MAX, delay_s * 2.0 ** min(max(openings - 1, 0), 10)))


class RefreshTroubles:
    """The memory between tries; it sends nothing itself. Every time is boot seconds.

    `maybe_spent_at` is when the refresh token was first sent without a clear answer, `lost` why there is none any more,
    `probe_first` that the network must show itself before the token is sent. `unattended_at` is when the background
    tries again while nobody waits: a provider that stays down is asked ever less, and a user who comes back is not held.
    """

    __slots__ = (
        "_policy",
        "_profile",
        "_retry",
        "_rng",
        "breaker",
        "failed_at",
        "failures",
        "last_outcome",
        "lost",
        "maybe_spent_at",
        "offline_since",
        "probe_first",
        "retry_at",
        "total",
        "unattended_at",
    )

    def __init__(
        self,
        *,
        policy: RefreshPolicy,
        profile: ProviderProfile,
        breaker: BreakerPolicy,
        retry: RetryManager,
        rng: random.Random,
        record: Record,
    ) -> None:
        self._policy = policy
        self._profile = profile
        self._retry = retry
        self._rng = rng
        self.breaker = CircuitBreaker(breaker, record=record)
        self.total = 0
        self.last_outcome: Outcome | None = None
        self.forget()

    def forget(self) -> None:
        """All is well again; counts and the last outcome stay for the statistics."""
        self.failures = 0
        self.retry_at = self.unattended_at = 0.0
        self.failed_at: float | None = None
        self.lost: EndReason | None = None
        self.maybe_spent_at: float | None = None
        self.offline_since: float | None = None
        self.probe_first = False

    def blocked(self, tokens: TokenSet, now: float) -> EndReason | None:
        """Why the refresh token must not be sent at `now`, or None if it may be."""
        reason = blocked(tokens, now=now, maybe_spent_at=self.maybe_spent_at, profile=self._profile)
        return self.lost if self.lost is not None and reason is EndReason.NO_REFRESH_TOKEN else reason

    def last_outcome_or(self, otherwise: Outcome) -> Outcome:
        return self.last_outcome or otherwise

    def pending(self) -> bool:
        """Whether something failed that is to be tried again whatever the refresh point."""
        return self.failures > 0 or self.maybe_spent_at is not None

    def count(self, refusal: TokenRefusal, *, now: float, sent_at: float, whole: bool = False) -> None:
        self.failures += 1
        self.total += 1
        self.last_outcome = refusal.outcome
        if self.failed_at is None:
            self.failed_at = sent_at
        self.breaker.observe(refusal.outcome, now=now, retry_after_s=refusal.retry_after_s, whole=whole)

    def crashed(self, now: float) -> None:
        """A try ended without an answer that could be read; its refresh token may be spent."""
        self.failures += 1
        self.last_outcome = Outcome.AMBIGUOUS
        self.retry_at = now + self._retry.policy(Call.TOKEN).backoff_s(self.failures, self._rng)

    def plan(self, tokens: TokenSet, refusal: TokenRefusal, now: float) -> Signal:
        """Set when to try again, and say what the refusal means for the session's state."""
        offline = refusal.outcome is Outcome.OFFLINE
        delay_s = self._probe_pause_s(now) if offline else self._pause_s(tokens, refusal, now)
        self.retry_at = now + delay_s
        self.unattended_at = now + (delay_s if offline else self._unattended_s(delay_s, now))
        self._retry.note(
            Call.TOKEN, self.failures, refusal.outcome, delay_s, told_by_server=refusal.retry_after_s is not None
        )
        return Signal.NETWORK_LOST if offline else Signal.REFRESH_FAILED

    def ask_in_vain(self) -> bool:
        """Somebody was refused a token, so the next try is not for nobody; whether that brings it forward."""
        sooner = self.retry_at < self.unattended_at
        self.unattended_at = min(self.unattended_at, self.retry_at)
        return sooner

    def wake(self, tokens: TokenSet, now: float) -> None:
        """The device woke, and the network may not be there yet. A provider's wish to be left alone still stands."""
        self.probe_first = True
        if self.offline_since is not None:
            # However long ago the network was lost, waking is when it comes back.
            self.offline_since = now
            self.retry_at = min(self.retry_at, now + PROBE_S[1])
        if tokens.refresh_due_at <= now < tokens.expires_at:
            self.retry_at = max(self.retry_at, now + self._policy.spread_s(tokens, now=now, rng=self._rng))

    def _probe_pause_s(self, now: float) -> float:
        self.probe_first = True
        if self.offline_since is None:
            self.offline_since = now
        return probe_pause_s(now - self.offline_since, self._rng)

    def _unattended_s(self, delay_s: float, now: float) -> float:
        if self.breaker.state is BreakerState.OPEN:
            delay_s = max(delay_s, (self.breaker.unattended_at - now) * self._rng.uniform(1, 1.1))
        return unattended_s(delay_s, self.breaker.openings)

    def _pause_s(self, tokens: TokenSet, refusal: TokenRefusal, now: float) -> float:
        if not self._profile.honours_retry_after:
            refusal = msgspec.structs.replace(refusal, retry_after_s=None)
        opened = self.breaker.state is BreakerState.OPEN
        delay_s = pause_s(
            refusal,
            tokens=tokens,
            now=now,
            # An open breaker sets the pace; only the wishes of the server go on growing.
            failures=1 if opened and refusal.retry_after_s is None else self.failures,
            policy=self._policy,
            retry=self._retry.policy(Call.TOKEN),
            rng=self._rng,
        )
        if opened:
            cooldown_s = self.breaker.retry_at - now
            return max(delay_s, cooldown_s + self._rng.uniform(0, 0.1 * cooldown_s))
        if self.maybe_spent_at is not None:
            replay_left_s = self._profile.replay_until(self.maybe_spent_at) - now
            if replay_left_s > 0:
                # The replay must come inside the grace window or not at all.
                return min(delay_s, replay_left_s / 2)
        return delay_s
