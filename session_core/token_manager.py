"""Holds one session's tokens, refreshes them one request at a time, and hands out a valid one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from session_core.clock import Clock
from session_core.errors import LoginRequest, LoginRequiredError, SessionEndedError, TokenUnavailableError
from session_core.events import PartCrashed, Record, RefreshDiscarded, RefreshFailed, TokenRefreshed, TokenRevoked
from session_core.fallback_auth_manager import FallbackAuthManager, LoginNeeded, Postponed, Recovered
from session_core.oauth_client import OAuthClient
from session_core.refresh_plan import PROBE_S, ProviderProfile, blocked, pause_s, probe_pause_s
from session_core.retry_manager import BreakerPolicy, Call, CircuitBreaker, RetryManager
from session_core.token_answers import TokenGrant, TokenRefusal
from session_core.tokens import Action, RefreshPolicy, TokenSet, decide, moved
from session_core.vocabulary import BreakerState, EndReason, FallbackStep, Outcome, RefreshReason, Signal


class RefreshResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt came to. `retry_at` is the boot second before which no other is made."""

    outcome: Outcome
    retry_at: float = 0.0


class TokenStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the session began; `failures_in_row` is the current streak."""

    refreshes: int
    refresh_failures: int
    failures_in_row: int
    last_outcome: Outcome | None
    breaker: BreakerState
    retry_at: float


Persist = Callable[[TokenSet | None, float | None], Awaitable[bool]]

# Longer than the slowest honest refresh and chain; a refresh under way for longer is stuck.
REFRESH_S_MAX = 120.0
FORGET_TRIES = 3


class TokenManager:
    """One owner for one session's tokens.

    Invariants: at most one refresh is under way; new tokens are durable before the old are dropped; a refresh token
    that may be spent is sent again only inside the provider's grace window; only REJECTED, or a refresh token that
    cannot be used any more, leads to the fallback chain, and the access token serves to its end before it.

    `persist(tokens, refresh_sent_at)` writes durably and says whether it could; without tokens it forgets the session.
    """

    __slots__ = (
        "_breaker",
        "_chain",
        "_clock",
        "_failed_at",
        "_generation",
        "_lost",
        "_maybe_spent_at",
        "_oauth",
        "_offline_since",
        "_on_change",
        "_on_end",
        "_persist",
        "_policy",
        "_probe_first",
        "_profile",
        "_record",
        "_refresh_failures",
        "_refreshes",
        "_retry",
        "_return_to",
        "_rng",
        "_signal",
        "_subject",
        "_task",
        "_task_began_at",
        "_unauthorized_until",
        "ended",
        "failures",
        "last_outcome",
        "login",
        "persisted",
        "retry_at",
        "tokens",
    )

    def __init__(
        self,
        *,
        oauth: OAuthClient,
        chain: FallbackAuthManager,
        policy: RefreshPolicy,
        profile: ProviderProfile,
        breaker: BreakerPolicy,
        retry: RetryManager,
        clock: Clock,
        rng: random.Random,
        record: Record,
        signal: Callable[[Signal], object],
        persist: Persist,
        on_change: Callable[[], object],
        on_end: Callable[[EndReason], object],
        return_to: Callable[[], str],
        subject: str | None = None,
    ) -> None:
        self._oauth = oauth
        self._chain = chain
        self._policy = policy
        self._profile = profile
        self._breaker = CircuitBreaker(breaker, record=record)
        self._retry = retry
        self._clock = clock
        self._rng = rng
        self._record = record
        self._signal = signal
        self._persist = persist
        self._on_change = on_change
        self._on_end = on_end
        self._subject = subject
        self._return_to = return_to
        self.tokens: TokenSet | None = None
        self.ended: EndReason | None = None
        self.login: LoginRequest | None = None
        self.failures = 0
        self.last_outcome: Outcome | None = None
        self.persisted = True
        self.retry_at = 0.0
        self._refreshes = 0
        self._refresh_failures = 0
        self._generation = 0
        self._failed_at: float | None = None
        self._lost: EndReason | None = None
        self._maybe_spent_at: float | None = None
        self._offline_since: float | None = None
        self._probe_first = False
        self._unauthorized_until = 0.0
        self._task: asyncio.Task[RefreshResult] | None = None
        self._task_began_at = 0.0

    @property
    def refreshing(self) -> bool:
        return self._task is not None

    @property
    def stuck_at(self) -> float | None:
        """The boot second from which the refresh under way counts as stuck, whatever the state it runs in."""
        return None if self._task is None else self._task_began_at + REFRESH_S_MAX

    @property
    def breaker_state(self) -> BreakerState:
        return self._breaker.state

    def statistics(self) -> TokenStatistics:
        return TokenStatistics(
            refreshes=self._refreshes,
            refresh_failures=self._refresh_failures,
            failures_in_row=self.failures,
            last_outcome=self.last_outcome,
            breaker=self._breaker.state,
            retry_at=self.retry_at,
        )

    async def adopt(self, grant: TokenGrant, *, sent_at: float) -> None:
        """Begin with the tokens of a sign-in asked for at boot second `sent_at`."""
        self._generation += 1
        self._forget_troubles()
        self.ended = self.login = None
        tokens = self._token_set(grant, None, sent_at)
        self.persisted = await self._persist(tokens, None)
        self.tokens = tokens

    def restore(self, tokens: TokenSet, *, refresh_sent_at: float | None) -> None:
        """Go on after a restart; a refresh that was under way then may have spent the refresh token."""
        self.tokens = tokens
        self._maybe_spent_at = refresh_sent_at

    def peek(self) -> str | None:
        """A token that is valid now and not due for replacement. Safe from any thread; never starts anything."""
        tokens = self.tokens
        if tokens is None or self._clock.boot() >= tokens.refresh_due_at:
            return None
        return tokens.access_token

    async def get(self, *, timeout_s: float | None = None) -> str:
        """A valid access token, refreshed first if need be.

        Raises LoginRequiredError or SessionEndedError when the session is over, TokenUnavailableError when no valid
        token can be had within `timeout_s` (the policy's caller_wait_s_max by default).
        """
        tokens = self.require()
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

    def refresh_soon(self, now: float, reason: RefreshReason = RefreshReason.DUE) -> None:
        """Start a refresh in the background if one is due and allowed at boot second `now`."""
        due_at = self.next_due()
        if due_at is not None and now >= due_at:
            self._start(RefreshReason.RETRY if self.failures else reason)

    def next_due(self) -> float | None:
        """The boot second at which `refresh_soon` has something to do; None while there is nothing to wait for."""
        tokens = self.tokens
        if tokens is None or self._task is not None or not self._policy.proactive:
            return None
        now, due_at = self._clock.boot(), tokens.refresh_due_at
        troubled = self.failures > 0 or self._maybe_spent_at is not None
        if troubled and self._blocked(tokens, max(now, self.retry_at)) is None:
            # What failed is tried again until it works; a replay must even come inside the grace window.
            return self.retry_at
        if self._blocked(tokens, max(due_at, now)) is not None:
            due_at = tokens.expires_at
        return max(due_at, self.retry_at)

    async def refresh(self, reason: RefreshReason = RefreshReason.FORCED) -> RefreshResult:
        """Refresh now, or join the refresh under way. A throttled provider and a spent refresh token are left alone."""
        tokens = self.require()
        now = self._clock.boot()
        if self._task is None:
            if self._blocked(tokens, now) is not None and not tokens.expired(now):
                return RefreshResult(outcome=self.last_outcome or Outcome.REJECTED, retry_at=tokens.expires_at)
            if self._breaker.rests(now):
                return RefreshResult(outcome=self.last_outcome or Outcome.TRANSIENT, retry_at=self._breaker.retry_at)
        task = self._task or self._start(reason)
        await asyncio.wait({task}, timeout=self._policy.caller_wait_s_max)
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        return RefreshResult(outcome=Outcome.AMBIGUOUS, retry_at=self.retry_at)

    async def replace(self, rejected: str) -> str | None:
        """A valid token other than `rejected`, which an API refused; None if one refresh does not bring it."""
        tokens = self.tokens
        if tokens is None:
            return None
        now = self._clock.boot()
        if tokens.access_token == rejected:
            if self._task is None:
                if now < max(self._unauthorized_until, self.retry_at):
                    return None
                self._unauthorized_until = now + min(self._policy.unmoved_pause_s, tokens.life_s / 5)
                self._start(RefreshReason.UNAUTHORIZED)
            if self._task is not None:
                await asyncio.wait({self._task}, timeout=self._policy.caller_wait_s_max)
        tokens = self.tokens
        if tokens is None or tokens.access_token == rejected or tokens.expired(self._clock.boot()):
            return None
        return tokens.access_token

    def resume(self, now: float) -> None:
        """The device woke, and the network may not be there yet. A provider's wish to be left alone still stands."""
        tokens = self.tokens
        if tokens is None:
            return
        self._probe_first = True
        if self._offline_since is not None:
            # However long ago the network was lost, waking is when it comes back.
            self._offline_since = now
            self.retry_at = min(self.retry_at, now + PROBE_S[1])
        if not tokens.expired(now):
            if now >= tokens.refresh_due_at:
                self.retry_at = max(self.retry_at, now + self._policy.spread_s(tokens, now=now, rng=self._rng))
            self._signal(Signal.RESUMED)
        elif self._task is None and now >= self.retry_at and self._policy.proactive:
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
        tokens = self.tokens
        if tokens is not None and not self.persisted and self._task is None:
            durable = await self._persist(tokens, self._maybe_spent_at)
            if tokens is self.tokens:
                self.persisted = durable
        return self.persisted

    def end(self, reason: EndReason, *, revoke: bool) -> Coroutine[Any, Any, None]:
        """Drop the tokens for `reason`, at once; what is awaited forgets them in the store and gives them back.

        A refresh under way loses: what it brings is revoked.
        """
        return self._forget(self._drop(reason), revoke=revoke)

    async def _forget(self, tokens: TokenSet | None, *, revoke: bool) -> None:
        await self._forget_stored()
        if revoke and tokens is not None and tokens.refresh_token is not None:
            self._record(TokenRevoked(outcome=await self._oauth.revoke(tokens.refresh_token)))

    async def _forget_stored(self) -> None:
        """What stays in the store would undo a sign-out at the next restart; a new sign-in replaces it."""
        for _ in range(FORGET_TRIES):
            if await self._persist(None, None) or self.tokens is not None:
                return

    def _drop(self, reason: EndReason) -> TokenSet | None:
        tokens, self.tokens = self.tokens, None
        self._generation += 1
        self.ended = reason
        return tokens

    def require(self) -> TokenSet:
        """The tokens. Raises LoginRequiredError or SessionEndedError when the session is over."""
        if self.tokens is not None:
            return self.tokens
        if self.login is not None and self.ended is not None:
            raise LoginRequiredError(self.ended, self.login)
        raise SessionEndedError(self.ended or EndReason.SIGNED_OUT)

    def _blocked(self, tokens: TokenSet, now: float) -> EndReason | None:
        if not self._chain.allows(FallbackStep.REFRESH_TOKEN):
            return EndReason.NO_REFRESH_TOKEN
        reason = blocked(tokens, now=now, maybe_spent_at=self._maybe_spent_at, profile=self._profile)
        return self._lost if reason is EndReason.NO_REFRESH_TOKEN and self._lost is not None else reason

    async def _wait_for_token(self, deadline: float) -> str:
        tries_left = self._retry.policy(Call.TOKEN).attempts_max
        while True:
            # Asked anew after every wait: another's refresh may have landed, or the session have ended.
            tokens, now = self.require(), self._clock.boot()
            if not tokens.expired(now):
                return tokens.access_token
            waits = self._task is None and now < self.retry_at
            if now >= deadline or not tries_left or (waits and self.retry_at > deadline):
                raise TokenUnavailableError(self.last_outcome or Outcome.AMBIGUOUS, max(0.0, self.retry_at - now))
            if waits:
                await asyncio.sleep(self.retry_at - now)
            else:
                tries_left -= 1
                await asyncio.wait({self._task or self._start(RefreshReason.EXPIRED)}, timeout=deadline - now)

    def _start(self, reason: RefreshReason) -> asyncio.Task[RefreshResult]:
        assert self._task is None, "one refresh at a time"
        self._task_began_at = self._clock.boot()
        self._task = asyncio.get_running_loop().create_task(self._run(reason), name="session refresh")
        self._task.add_done_callback(self._finished)
        self._on_change()
        return self._task

    def _finished(self, task: asyncio.Task[RefreshResult]) -> None:
        self._task = None
        crash = None if task.cancelled() else task.exception()
        if task.cancelled() or crash is not None:
            self.failures += 1
            self.last_outcome = Outcome.AMBIGUOUS
            self.retry_at = self._clock.boot() + self._retry.policy(Call.TOKEN).backoff_s(self.failures, self._rng)
        if crash is not None:
            self._record(PartCrashed(part="refresh", error=type(crash).__name__))
            self._signal(Signal.REFRESH_FAILED)
        self._on_change()

    async def _run(self, reason: RefreshReason) -> RefreshResult:
        tokens = self.tokens
        if tokens is None:
            return await self._discard(None)
        why = self._blocked(tokens, self._clock.boot())
        if why is not None:
            return await self._recover(why)
        if not self._breaker.allows(self._clock.boot()):
            self.retry_at = max(self.retry_at, self._breaker.retry_at)
            return RefreshResult(outcome=Outcome.THROTTLED, retry_at=self.retry_at)
        self._signal(Signal.REFRESH_STARTED)
        probed, generation = self._probe_first, self._generation
        if probed and not await self._reachable():
            refusal = TokenRefusal(outcome=Outcome.OFFLINE, error="unreachable")
            if generation == self._generation:
                return await self._refused(tokens, refusal, reason, self._clock.boot())
        if generation != self._generation:
            return await self._discard(None)
        return await self._refresh(tokens, reason, probed=probed)

    async def _reachable(self) -> bool:
        reachable = await self._oauth.probe()
        if reachable:
            self._probe_first = False
            if self._offline_since is not None:
                self._offline_since = None
                self._signal(Signal.NETWORK_BACK)
        return reachable

    async def _refresh(self, tokens: TokenSet, reason: RefreshReason, *, probed: bool) -> RefreshResult:
        assert tokens.refresh_token is not None, "blocked() lets no session without one through"
        generation, spent_before = self._generation, self._maybe_spent_at
        if self._profile.rotates:
            # Written ahead: a crash between the answer and the commit must not be followed by a blind replay.
            self._maybe_spent_at = spent_before if spent_before is not None else self._clock.boot()
            durable = await self._persist(tokens, self._maybe_spent_at)
            if generation != self._generation:
                return await self._discard(None)
            self.persisted = durable
        sent_at = self._clock.boot()
        result = await self._oauth.refresh(tokens.refresh_token, subject=self._subject)
        if generation != self._generation:
            return await self._discard(result)
        if isinstance(result, TokenGrant):
            return await self._commit(result, sent_at, reason, Signal.REFRESH_SUCCEEDED)
        if result.outcome is not Outcome.AMBIGUOUS:
            self._maybe_spent_at = spent_before
        if result.outcome is Outcome.OFFLINE and probed:
            # The network is there and only this endpoint is not: that is the provider's trouble, at its pace.
            result = msgspec.structs.replace(result, outcome=Outcome.TRANSIENT)
            self._probe_first = True
        return await self._refused(tokens, result, reason, sent_at)

    async def _commit(self, grant: TokenGrant, sent_at: float, reason: RefreshReason, signal: Signal) -> RefreshResult:
        generation, old = self._generation, self.tokens
        new = self._token_set(grant, old, sent_at)
        durable = await self._persist(new, None)
        if generation != self._generation:
            return await self._discard(grant)
        now = self._clock.boot()
        refreshed = TokenRefreshed(
            reason=reason,
            attempt=self.failures + 1,
            duration_ms=(now - sent_at) * 1000,
            waited_s=now - (sent_at if self._failed_at is None else self._failed_at),
            left_s=0.0 if old is None else old.expires_at - sent_at,
            life_s=new.life_s,
            rotated=grant.refresh_token is not None and (old is None or grant.refresh_token != old.refresh_token),
            moved=moved(old, new),
        )
        self.tokens, self.persisted = new, durable
        self._forget_troubles()
        self._refreshes += 1
        self.last_outcome = Outcome.OK
        # Told last: a listener that asks for a token gets the new one.
        self._record(refreshed)
        self._breaker.observe(Outcome.OK, now=now, retry_after_s=None)
        self._signal(signal)
        if not durable:
            self._signal(Signal.PERSIST_FAILED)
        slept = now - sent_at > self._policy.request_timeout_s
        if not moved(old, new) and not slept:
            self.retry_at = now + self._policy.unmoved_pause_s
        return RefreshResult(outcome=Outcome.OK, retry_at=self.retry_at)

    def _forget_troubles(self) -> None:
        self.failures = 0
        self.retry_at = 0.0
        self._failed_at = self._lost = self._maybe_spent_at = self._offline_since = None
        self._probe_first = False

    def _token_set(self, grant: TokenGrant, old: TokenSet | None, sent_at: float) -> TokenSet:
        expires_at = sent_at + grant.life_s
        # RFC 6749 section 6: an answer without a refresh token leaves the old one in force.
        kept = old is not None and grant.refresh_token is None
        refresh_expires_at = None if grant.refresh_life_s is None else sent_at + grant.refresh_life_s
        return TokenSet(
            access_token=grant.access_token,
            refresh_token=old.refresh_token if old is not None and kept else grant.refresh_token,
            id_token=grant.id_token or (None if old is None else old.id_token),
            scope=grant.scope or ("" if old is None else old.scope),
            issued_at=sent_at,
            expires_at=expires_at,
            refresh_due_at=self._policy.due_at(expires_at=expires_at, life_s=grant.life_s, rng=self._rng),
            refresh_expires_at=old.refresh_expires_at if old is not None and kept else refresh_expires_at,
        )

    async def _refused(
        self, tokens: TokenSet, refusal: TokenRefusal, reason: RefreshReason, sent_at: float
    ) -> RefreshResult:
        now = self._clock.boot()
        self._count_failure(refusal, now, sent_at)
        self._record(
            RefreshFailed(
                reason=reason,
                attempt=self.failures,
                outcome=refusal.outcome,
                status=refusal.status,
                error=refusal.error,
                duration_ms=(now - sent_at) * 1000,
                left_s=tokens.expires_at - now,
            )
        )
        if refusal.outcome is Outcome.REJECTED:
            self._lost = EndReason.REFRESH_REJECTED
            tokens = self.tokens = msgspec.structs.replace(tokens, refresh_token=None)
            generation = self._generation
            durable = await self._persist(tokens, None)
            if generation != self._generation:
                return await self._discard(None)
            self.persisted = durable
        why = self._blocked(tokens, now)
        if why is not None:
            if tokens.expired(now) or reason is RefreshReason.UNAUTHORIZED:
                return await self._recover(why)
            self.retry_at = tokens.expires_at
            self._signal(Signal.REFRESH_FAILED)
        else:
            self._plan_retry(tokens, refusal, now)
        return RefreshResult(outcome=refusal.outcome, retry_at=self.retry_at)

    def _count_failure(self, refusal: TokenRefusal, now: float, sent_at: float) -> None:
        self.failures += 1
        self._refresh_failures += 1
        self.last_outcome = refusal.outcome
        if self._failed_at is None:
            self._failed_at = sent_at
        self._breaker.observe(refusal.outcome, now=now, retry_after_s=refusal.retry_after_s)

    def _plan_retry(self, tokens: TokenSet, refusal: TokenRefusal, now: float) -> None:
        if refusal.outcome is Outcome.OFFLINE:
            delay_s = self._probe_pause_s(now)
            self._signal(Signal.NETWORK_LOST)
        else:
            delay_s = self._pause_s(tokens, refusal, now)
            self._signal(Signal.REFRESH_FAILED)
        self.retry_at = now + delay_s
        self._retry.note(
            Call.TOKEN, self.failures, refusal.outcome, delay_s, told_by_server=refusal.retry_after_s is not None
        )

    def _probe_pause_s(self, now: float) -> float:
        self._probe_first = True
        if self._offline_since is None:
            self._offline_since = now
        return probe_pause_s(now - self._offline_since, self._rng)

    def _pause_s(self, tokens: TokenSet, refusal: TokenRefusal, now: float) -> float:
        if not self._profile.honours_retry_after:
            refusal = msgspec.structs.replace(refusal, retry_after_s=None)
        delay_s = pause_s(
            refusal,
            tokens=tokens,
            now=now,
            failures=self.failures,
            policy=self._policy,
            retry=self._retry.policy(Call.TOKEN),
            rng=self._rng,
        )
        if self._breaker.state is BreakerState.OPEN:
            cooldown_s = self._breaker.retry_at - now
            return max(delay_s, cooldown_s + self._rng.uniform(0, 0.1 * cooldown_s))
        if self._maybe_spent_at is not None:
            replay_left_s = self._profile.replay_until(self._maybe_spent_at) - now
            if replay_left_s > 0:
                # The replay must come inside the grace window or not at all.
                return min(delay_s, replay_left_s / 2)
        return delay_s

    async def _recover(self, reason: EndReason) -> RefreshResult:
        generation = self._generation
        self._signal(Signal.FALLBACK_STARTED)
        recovery = await self._chain.recover(reason, return_to=self._return_to())
        if generation != self._generation:
            return await self._discard(recovery.grant if isinstance(recovery, Recovered) else None)
        match recovery:
            case Recovered(grant=grant, sent_at=sent_at):
                return await self._commit(grant, sent_at, RefreshReason.RECOVERY, Signal.FALLBACK_SUCCEEDED)
            case Postponed(outcome=outcome, retry_after_s=retry_after_s):
                now = self._clock.boot()
                refusal = TokenRefusal(outcome=outcome, error="postponed", retry_after_s=retry_after_s)
                self._count_failure(refusal, now, now)
                self._plan_retry(self.require(), refusal, now)
                return RefreshResult(outcome=outcome, retry_at=self.retry_at)
            case LoginNeeded(login=login):
                self.login = login
                self._drop(reason)
                self._signal(Signal.FALLBACK_EXHAUSTED)
                self._on_end(reason)
                await self._forget_stored()
                return RefreshResult(outcome=Outcome.REJECTED)

    async def _discard(self, result: TokenGrant | TokenRefusal | None) -> RefreshResult:
        """The session ended or moved on while we asked: what came is revoked, and nobody ever sees it."""
        token = result.refresh_token if isinstance(result, TokenGrant) else None
        revoked = token is not None and await self._oauth.revoke(token) is Outcome.OK
        self._record(RefreshDiscarded(revoked=revoked))
        return RefreshResult(outcome=Outcome.REJECTED)
