"""Hands out a valid access token, and sees to it that it is refreshed by one request at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from session_core.clock import Clock
from session_core.dpop import ProofKey
from session_core.errors import LoginRequest, TokenUnavailableError
from session_core.events import PartCrashed, Record, TokenRevoked
from session_core.fallback_auth_manager import FallbackAuthManager
from session_core.oauth_client import OAuthClient
from session_core.refresh_plan import ProviderProfile, tokens_from
from session_core.refresh_troubles import RefreshTroubles
from session_core.retry_manager import Call, RetryManager
from session_core.session_keeper import Keeping, SessionKeeper
from session_core.token_answers import TokenGrant
from session_core.token_holder import TokenHolder
from session_core.token_refresher import RefreshResult, TokenRefresher
from session_core.tokens import Action, RefreshPolicy, TokenSet, decide
from session_core.vocabulary import BreakerState, EndReason, Outcome, RefreshReason, Signal

# Longer than the slowest honest refresh and chain; a refresh under way for longer is stuck.
REFRESH_S_MAX = 120.0


class TokenStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the session began; `failures_in_row` is the current streak."""

    refreshes: int
    refresh_failures: int
    failures_in_row: int
    last_outcome: Outcome | None
    breaker: BreakerState
    retry_at: float


class TokenManager:
    """The face of one session's tokens. At most one refresh is under way, whoever asks for it and how often."""

    __slots__ = (
        "_clock",
        "_held",
        "_keeper",
        "_oauth",
        "_on_change",
        "_policy",
        "_record",
        "_refresher",
        "_retry",
        "_rng",
        "_signal",
        "_task",
        "_task_began_at",
        "_troubles",
        "_unauthorized_until",
    )

    def __init__(
        self,
        *,
        oauth: OAuthClient,
        chain: FallbackAuthManager,
        policy: RefreshPolicy,
        profile: ProviderProfile,
        troubles: RefreshTroubles,
        retry: RetryManager,
        clock: Clock,
        rng: random.Random,
        record: Record,
        signal: Callable[[Signal], object],
        keeper: SessionKeeper,
        on_change: Callable[[], object],
        on_end: Callable[[EndReason], object],
        return_to: Callable[[], str],
        subject: str | None = None,
    ) -> None:
        self._held = TokenHolder(keeper)
        self._refresher = TokenRefresher(
            held=self._held,
            oauth=oauth,
            chain=chain,
            policy=policy,
            profile=profile,
            troubles=troubles,
            keeper=keeper,
            clock=clock,
            rng=rng,
            record=record,
            signal=signal,
            on_end=on_end,
            return_to=return_to,
            subject=subject,
        )
        self._oauth = oauth
        self._policy = policy
        self._troubles = troubles
        self._retry = retry
        self._clock = clock
        self._rng = rng
        self._record = record
        self._signal = signal
        self._keeper = keeper
        self._on_change = on_change
        self._unauthorized_until = 0.0
        self._task: asyncio.Task[RefreshResult] | None = None
        self._task_began_at = 0.0

    @property
    def tokens(self) -> TokenSet | None:
        return self._held.tokens

    @property
    def ended(self) -> EndReason | None:
        return self._held.ended

    @property
    def login(self) -> LoginRequest | None:
        return self._held.login

    @property
    def persisted(self) -> bool:
        """Whether the tokens are durable in the store."""
        return self._held.persisted

    def require(self) -> TokenSet:
        """The tokens. Raises LoginRequiredError or SessionEndedError when the session is over."""
        return self._held.require()

    @property
    def refreshing(self) -> bool:
        return self._task is not None

    @property
    def stuck_at(self) -> float | None:
        """The boot second from which the refresh under way counts as stuck, whatever the state it runs in."""
        return None if self._task is None else self._task_began_at + REFRESH_S_MAX

    @property
    def failures(self) -> int:
        """Refreshes that failed since the last that worked."""
        return self._troubles.failures

    @property
    def retry_at(self) -> float:
        """The boot second before which no refresh is tried."""
        return self._troubles.retry_at

    def condition(self) -> tuple[int, BreakerState, bool]:
        """`failures`, the breaker's state and `persisted`: what a look at the health asks every few minutes."""
        troubles = self._troubles
        return troubles.failures, troubles.breaker.state, self._held.persisted

    def statistics(self) -> TokenStatistics:
        return TokenStatistics(
            refreshes=self._refresher.refreshes,
            refresh_failures=self._troubles.total,
            failures_in_row=self._troubles.failures,
            last_outcome=self._troubles.last_outcome,
            breaker=self._troubles.breaker.state,
            retry_at=self._troubles.retry_at,
        )

    async def adopt(self, grant: TokenGrant, *, sent_at: float) -> None:
        """Begin with the tokens of a sign-in asked for at boot second `sent_at`."""
        self._held.begin()
        self._troubles.forget()
        tokens = tokens_from(grant, None, sent_at=sent_at, policy=self._policy, rng=self._rng)
        self._held.persisted = (await self._keeper.replace(tokens)).durable
        self._held.tokens = tokens

    def restore(self, tokens: TokenSet, *, refresh_sent_at: float | None) -> None:
        """Go on after a restart; a refresh that was under way then may have spent the refresh token."""
        self._held.tokens = tokens
        self._troubles.maybe_spent_at = refresh_sent_at

    def peek(self) -> str | None:
        """A token that is valid now and not due for replacement. Safe from any thread; never starts anything."""
        tokens = self._held.tokens
        if tokens is None or self._clock.boot() >= tokens.refresh_due_at:
            return None
        return tokens.access_token

    @property
    def proof_key(self) -> ProofKey | None:
        """The key by which each use of the access token must be proven; None for a bearer token."""
        tokens = self._held.tokens
        return None if tokens is None else tokens.proof_key

    async def get(self, *, timeout_s: float | None = None) -> str:
        """A valid access token, refreshed first if need be.

        Raises LoginRequiredError or SessionEndedError when the session is over, TokenUnavailableError when no valid
        token can be had within `timeout_s` (the policy's caller_wait_s_max by default).
        """
        tokens = self._held.require()
        now = self._clock.boot()
        match decide(tokens, now=now):
            case Action.USE:
                return tokens.access_token
            case Action.REFRESH_SOON:
                self.refresh_soon(now)
                return tokens.access_token
            case Action.REFRESH_NOW:
                wait_s = self._policy.caller_wait_s_max if timeout_s is None else timeout_s
                return await self._wait_for_token(now + wait_s)

    def refresh_soon(self, now: float, reason: RefreshReason = RefreshReason.DUE) -> float | None:
        """Start a refresh in the background if one is due and allowed at boot second `now`; else when to ask again."""
        due_at = self.next_due()
        if due_at is None or now < due_at:
            return due_at
        self._start(RefreshReason.RETRY if self._troubles.pending() else reason)
        return None

    def next_due(self) -> float | None:
        """The boot second at which `refresh_soon` has something to do; None while there is nothing to wait for."""
        tokens = self._held.tokens
        if tokens is None or self._task is not None or not self._policy.proactive:
            return None
        now, due_at = self._clock.boot(), tokens.refresh_due_at
        if self._troubles.pending() and self._refresher.blocked(tokens, max(now, self._troubles.retry_at)) is None:
            # What failed is tried again until it works; a replay must even come inside the grace window.
            replays = self._troubles.maybe_spent_at is not None
            return self._troubles.retry_at if replays else max(self._troubles.retry_at, self._troubles.unattended_at)
        if self._refresher.blocked(tokens, max(due_at, now)) is not None:
            due_at = tokens.expires_at
        return max(due_at, self._troubles.retry_at)

    async def refresh(self, reason: RefreshReason = RefreshReason.FORCED) -> RefreshResult:
        """Refresh now, or join the refresh under way. A throttled provider and a spent refresh token are left alone."""
        tokens = self._held.require()
        now = self._clock.boot()
        if self._task is None:
            if self._refresher.blocked(tokens, now) is not None and not tokens.expired(now):
                return RefreshResult(
                    outcome=self._troubles.last_outcome_or(Outcome.REJECTED), retry_at=tokens.expires_at
                )
            breaker = self._troubles.breaker
            if breaker.rests(now):
                return RefreshResult(
                    outcome=self._troubles.last_outcome_or(Outcome.TRANSIENT), retry_at=breaker.retry_at
                )
        task = self._task or self._start(reason)
        await asyncio.wait({task}, timeout=self._policy.caller_wait_s_max)
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        return RefreshResult(outcome=Outcome.AMBIGUOUS, retry_at=self._troubles.retry_at)

    async def replace(self, rejected: str) -> str | None:
        """A valid token other than `rejected`, which an API refused; None if one refresh does not bring it."""
        tokens = self._held.tokens
        if tokens is None:
            return None
        now = self._clock.boot()
        if tokens.access_token == rejected:
            if self._task is None:
                if now < max(self._unauthorized_until, self._troubles.retry_at):
                    return None
                self._unauthorized_until = now + min(self._policy.unmoved_pause_s, tokens.life_s / 5)
                self._start(RefreshReason.UNAUTHORIZED)
            if self._task is not None:
                await asyncio.wait({self._task}, timeout=self._policy.caller_wait_s_max)
        tokens = self._held.tokens
        if tokens is None or tokens.access_token == rejected or tokens.expired(self._clock.boot()):
            return None
        return tokens.access_token

    def resume(self, now: float) -> None:
        """The device woke, and the network may not be there yet. A provider's wish to be left alone still stands."""
        tokens = self._held.tokens
        if tokens is None:
            return
        self._troubles.wake(tokens, now)
        if not tokens.expired(now):
            self._signal(Signal.RESUMED)
        elif self._task is None and now >= self._troubles.retry_at and self._policy.proactive:
            self._start(RefreshReason.RESUME)

    def abandon(self) -> None:
        """Give up a refresh that is stuck. Its refresh token may be spent, and is treated so."""
        if self._task is not None:
            self._task.cancel()

    async def settle(self, timeout_s: float) -> None:
        """Let a refresh under way end by itself, so that its tokens are not lost."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout_s)

    async def retry_persist(self) -> bool:
        """Write again what could not be written; whether it is durable now."""
        tokens = self._held.tokens
        if tokens is not None and not self._held.persisted and self._task is None:
            kept = await self._keeper.write(tokens, self._troubles.maybe_spent_at)
            if tokens is self._held.tokens:
                self._refresher.heed(kept)
        return self._held.persisted

    async def look_elsewhere(self) -> None:
        """Learn from a shared store what other processes did to this session: refreshed it, or ended it."""
        tokens = self._held.tokens
        if tokens is not None and self._held.persisted and self._at_rest_with(tokens):
            kept = await self._keeper.look()
            if self._at_rest_with(tokens) and kept.keeping is not Keeping.FAILED:
                self._refresher.heed(kept)

    def _at_rest_with(self, tokens: TokenSet) -> bool:
        return tokens is self._held.tokens and self._task is None

    def ended_before(self, reason: EndReason) -> None:
        """It was over when this process came to it."""
        self._held.drop(reason)

    def end(self, reason: EndReason, *, revoke: bool) -> Coroutine[Any, Any, None]:
        """Drop the tokens for `reason`, at once; what is awaited forgets them in the store and gives them back.

        A refresh under way loses: what it brings is revoked.
        """
        return self._forget(self._held.drop(reason), revoke=revoke)

    async def _forget(self, tokens: TokenSet | None, *, revoke: bool) -> None:
        await self._held.forget_stored()
        if revoke and tokens is not None and tokens.refresh_token is not None:
            self._record(TokenRevoked(outcome=await self._oauth.revoke(tokens.refresh_token)))

    async def _wait_for_token(self, deadline: float) -> str:
        closed = self._troubles.breaker.state is BreakerState.CLOSED
        # Who finds the provider in trouble waits for one probe; what is done without a token is then done soon.
        tries_left = self._retry.policy(Call.TOKEN).attempts_max if closed else 1
        while True:
            # Asked anew after every wait: another's refresh may have landed, or the session have ended.
            tokens, now = self._held.require(), self._clock.boot()
            if not tokens.expired(now):
                return tokens.access_token
            waits = self._task is None and now < self._troubles.retry_at
            if now >= deadline or not tries_left or (waits and self._troubles.retry_at > deadline):
                if self._troubles.ask_in_vain():
                    self._on_change()
                raise TokenUnavailableError(
                    self._troubles.last_outcome_or(Outcome.AMBIGUOUS), max(0.0, self._troubles.retry_at - now)
                )
            if waits:
                await asyncio.sleep(self._troubles.retry_at - now)
            else:
                tries_left -= 1
                await asyncio.wait({self._task or self._start(RefreshReason.EXPIRED)}, timeout=deadline - now)

    def _start(self, reason: RefreshReason) -> asyncio.Task[RefreshResult]:
        assert self._task is None, "one refresh at a time"
        self._task_began_at = self._clock.boot()
        self._task = asyncio.get_running_loop().create_task(self._refresher.run(reason), name="session refresh")
        self._task.add_done_callback(self._finished)
        self._on_change()
        return self._task

    def _finished(self, task: asyncio.Task[RefreshResult]) -> None:
        self._task = None
        crash = None if task.cancelled() else task.exception()
        if task.cancelled() or crash is not None:
            self._keeper.release()
            self._troubles.crashed(self._clock.boot())
        if crash is not None:
            self._record(PartCrashed(part="refresh", error=type(crash).__name__))
            self._signal(Signal.REFRESH_FAILED)
        self._on_change()
