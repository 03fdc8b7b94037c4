"""Holds one session's tokens, refreshes them one request at a time, and hands out a valid one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from session_core.clock import Clock
from session_core.errors import LoginRequest, LoginRequiredError, SessionEndedError, TokenUnavailableError
from session_core.events import (
    AlertRaised,
    PartCrashed,
    Record,
    RefreshDiscarded,
    RefreshFailed,
    TokenFollowed,
    TokenRefreshed,
    TokenRevoked,
)
from session_core.fallback_auth_manager import FallbackAuthManager, LoginNeeded, Postponed, Recovered
from session_core.oauth_client import OAuthClient
from session_core.refresh_plan import ProviderProfile
from session_core.refresh_troubles import RefreshTroubles
from session_core.retry_manager import Call, RetryManager
from session_core.session_keeper import Keeping, Kept, SessionKeeper, lease_holds
from session_core.session_store import SessionRecord
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


# Longer than the slowest honest refresh and chain; a refresh under way for longer is stuck.
REFRESH_S_MAX = 120.0
FORGET_TRIES = 3
# How often a process looks whether the one that refreshes has finished.
FOLLOW_S = 0.25


class TokenManager:
    """One owner for one session's tokens.

    Invariants: at most one refresh is under way; new tokens are durable before the old are dropped; a refresh token
    that may be spent is sent again only inside the provider's grace window; only REJECTED, or a refresh token that
    cannot be used any more, leads to the fallback chain, and the access token serves to its end before it.
    Of several processes that keep one session in a shared store, one refreshes and the others follow.
    """

    __slots__ = (
        "_chain",
        "_clock",
        "_generation",
        "_keeper",
        "_oauth",
        "_on_change",
        "_on_end",
        "_policy",
        "_profile",
        "_record",
        "_refreshes",
        "_retry",
        "_return_to",
        "_rng",
        "_signal",
        "_subject",
        "_task",
        "_task_began_at",
        "_troubles",
        "_unauthorized_until",
        "ended",
        "login",
        "persisted",
        "tokens",
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
        self._oauth = oauth
        self._chain = chain
        self._policy = policy
        self._profile = profile
        self._troubles = troubles
        self._retry = retry
        self._clock = clock
        self._rng = rng
        self._record = record
        self._signal = signal
        self._keeper = keeper
        self._on_change = on_change
        self._on_end = on_end
        self._subject = subject
        self._return_to = return_to
        self.tokens: TokenSet | None = None
        self.ended: EndReason | None = None
        self.login: LoginRequest | None = None
        self.persisted = True
        self._refreshes = 0
        self._generation = 0
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
        return self._troubles.breaker.state

    @property
    def failures(self) -> int:
        """Refreshes that failed since the last that worked."""
        return self._troubles.failures

    @property
    def retry_at(self) -> float:
        """The boot second before which no refresh is tried."""
        return self._troubles.retry_at

    def statistics(self) -> TokenStatistics:
        return TokenStatistics(
            refreshes=self._refreshes,
            refresh_failures=self._troubles.total,
            failures_in_row=self._troubles.failures,
            last_outcome=self._troubles.last_outcome,
            breaker=self._troubles.breaker.state,
            retry_at=self._troubles.retry_at,
        )

    async def adopt(self, grant: TokenGrant, *, sent_at: float) -> None:
        """Begin with the tokens of a sign-in asked for at boot second `sent_at`."""
        self._generation += 1
        self._troubles.forget()
        self.ended = self.login = None
        tokens = self._token_set(grant, None, sent_at)
        self.persisted = (await self._keeper.replace(tokens)).durable
        self.tokens = tokens

    def restore(self, tokens: TokenSet, *, refresh_sent_at: float | None) -> None:
        """Go on after a restart; a refresh that was under way then may have spent the refresh token."""
        self.tokens = tokens
        self._troubles.maybe_spent_at = refresh_sent_at

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
        if self._troubles.pending() and self._blocked(tokens, max(now, self.retry_at)) is None:
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
                return RefreshResult(outcome=self._last_outcome(Outcome.REJECTED), retry_at=tokens.expires_at)
            breaker = self._troubles.breaker
            if breaker.rests(now):
                return RefreshResult(outcome=self._last_outcome(Outcome.TRANSIENT), retry_at=breaker.retry_at)
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
        self._troubles.wake(tokens, now)
        if not tokens.expired(now):
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
            kept = await self._keeper.write(tokens, self._troubles.maybe_spent_at)
            if tokens is self.tokens:
                self._heed(kept)
        return self.persisted

    async def look_elsewhere(self) -> None:
        """Learn from a shared store what other processes did to this session: refreshed it, or ended it."""
        tokens = self.tokens
        if tokens is not None and self.persisted and self._at_rest_with(tokens):
            kept = await self._keeper.look()
            if self._at_rest_with(tokens) and kept.keeping is not Keeping.FAILED:
                self._heed(kept)

    def _at_rest_with(self, tokens: TokenSet) -> bool:
        return tokens is self.tokens and self._task is None

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
            if await self._keeper.forget() or self.tokens is not None:
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
        return self._troubles.blocked(tokens, now)

    def _last_outcome(self, otherwise: Outcome) -> Outcome:
        return self._troubles.last_outcome or otherwise

    async def _wait_for_token(self, deadline: float) -> str:
        tries_left = self._retry.policy(Call.TOKEN).attempts_max
        while True:
            # Asked anew after every wait: another's refresh may have landed, or the session have ended.
            tokens, now = self.require(), self._clock.boot()
            if not tokens.expired(now):
                return tokens.access_token
            waits = self._task is None and now < self.retry_at
            if now >= deadline or not tries_left or (waits and self.retry_at > deadline):
                raise TokenUnavailableError(self._last_outcome(Outcome.AMBIGUOUS), max(0.0, self.retry_at - now))
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
            self._keeper.release()
            self._troubles.crashed(self._clock.boot())
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
            return await self._news_or_chain(tokens, why, reason)
        troubles = self._troubles
        if not troubles.breaker.allows(self._clock.boot()):
            troubles.retry_at = max(troubles.retry_at, troubles.breaker.retry_at)
            return RefreshResult(outcome=Outcome.THROTTLED, retry_at=self.retry_at)
        self._signal(Signal.REFRESH_STARTED)
        probed, generation = troubles.probe_first, self._generation
        if probed and not await self._reachable():
            refusal = TokenRefusal(outcome=Outcome.OFFLINE, error="unreachable")
            if generation == self._generation:
                return await self._refused(tokens, refusal, reason, self._clock.boot())
        if generation != self._generation:
            return await self._discard(None)
        return await self._refresh(tokens, reason, probed=probed)

    async def _news_or_chain(self, tokens: TokenSet, why: EndReason, reason: RefreshReason) -> RefreshResult:
        """The refresh token is of no use here; another process may have had more luck."""
        if self._keeper.shared:
            kept = await self._keeper.look()
            if tokens is not self.tokens:
                return await self._discard(None)
            if kept.keeping is Keeping.GONE or (
                kept.latest is not None and kept.latest.tokens.access_token != tokens.access_token
            ):
                return self._heed(kept)
        return await self._give_up_refreshing(tokens, why, reason)

    async def _reachable(self) -> bool:
        reachable = await self._oauth.probe()
        if reachable:
            self._troubles.probe_first = False
            if self._troubles.offline_since is not None:
                self._troubles.offline_since = None
                self._signal(Signal.NETWORK_BACK)
        return reachable

    async def _refresh(self, tokens: TokenSet, reason: RefreshReason, *, probed: bool) -> RefreshResult:
        assert tokens.refresh_token is not None, "blocked() lets no session without one through"
        generation, troubles = self._generation, self._troubles
        spent_before = troubles.maybe_spent_at
        if self._profile.rotates or self._keeper.shared:
            # Written ahead: a crash between the answer and the commit must not be followed by a blind replay.
            settled = await self._claim(tokens, reason)
            if settled is not None:
                return settled
        sent_at = self._clock.boot()
        result = await self._oauth.refresh(tokens.refresh_token, subject=self._subject)
        if generation != self._generation:
            return await self._discard(result)
        if isinstance(result, TokenGrant):
            return await self._commit(result, sent_at, reason, Signal.REFRESH_SUCCEEDED)
        if result.outcome is not Outcome.AMBIGUOUS:
            troubles.maybe_spent_at = spent_before
        if result.outcome is Outcome.OFFLINE and probed:
            # The network is there and only this endpoint is not: that is the provider's trouble, at its pace.
            result = msgspec.structs.replace(result, outcome=Outcome.TRANSIENT)
            troubles.probe_first = True
        return await self._refused(tokens, result, reason, sent_at)

    async def _claim(self, tokens: TokenSet, reason: RefreshReason) -> RefreshResult | None:
        """Become the one process that refreshes; a result where that is not needed, or not possible, any more."""
        generation, troubles = self._generation, self._troubles
        while True:
            mark = troubles.maybe_spent_at if troubles.maybe_spent_at is not None else self._clock.boot()
            kept = await self._keeper.claim(tokens, mark)
            if generation != self._generation:
                return await self._discard(None)
            latest, now = kept.latest, self._clock.boot()
            if kept.durable or (kept.keeping is Keeping.FAILED and self._may_go_alone(tokens, now)):
                self.persisted = kept.durable
                troubles.maybe_spent_at = mark
                return None
            if kept.keeping is Keeping.FAILED:
                self.persisted = False
                refusal = TokenRefusal(outcome=Outcome.TRANSIENT, error="session_store")
                return await self._refused(tokens, refusal, reason, now)
            if latest is None or latest.tokens.access_token != tokens.access_token:
                return self._heed(kept)
            if lease_holds(latest, now=now):
                await asyncio.sleep(FOLLOW_S)
            elif latest.refresh_sent_at is not None:
                # The process that sent it died: as after a crash of our own, the refresh token may be spent.
                troubles.maybe_spent_at = latest.refresh_sent_at
                why = self._blocked(tokens, now)
                if why is not None:
                    return await self._give_up_refreshing(tokens, why, reason)

    def _may_go_alone(self, tokens: TokenSet, now: float) -> bool:
        """Without its store a process may refresh if no other can hold the session, or if nothing else is left."""
        return not self._keeper.shared or tokens.expired(now)

    def _heed(self, kept: Kept) -> RefreshResult:
        """Take in what the store says: that it is durable, or what another process made of the session."""
        self.persisted = kept.keeping is not Keeping.FAILED
        if kept.keeping is Keeping.GONE:
            self._drop(EndReason.SIGNED_OUT_ELSEWHERE)
            self._keeper.release()
            self._signal(Signal.SIGNED_OUT)
            self._on_end(EndReason.SIGNED_OUT_ELSEWHERE)
            return RefreshResult(outcome=Outcome.REJECTED)
        if kept.latest is not None:
            self._follow(kept.latest)
        return RefreshResult(outcome=Outcome.OK if kept.durable or kept.latest is not None else Outcome.TRANSIENT)

    def _follow(self, latest: SessionRecord) -> None:
        if self.tokens is None or latest.tokens.access_token == self.tokens.access_token:
            return
        self.tokens = latest.tokens
        self._troubles.forget()
        self._troubles.maybe_spent_at = latest.refresh_sent_at
        self._record(TokenFollowed(left_s=latest.tokens.expires_at - self._clock.boot()))
        self._signal(Signal.REFRESH_SUCCEEDED)

    async def _commit(self, grant: TokenGrant, sent_at: float, reason: RefreshReason, signal: Signal) -> RefreshResult:
        generation, old = self._generation, self.tokens
        new = self._token_set(grant, old, sent_at)
        kept = await self._keeper.write(new, None)
        if kept.latest is not None and old is not None and kept.latest.tokens.access_token == old.access_token:
            # Another process only took our lease for abandoned; what we hold is newer than what it has.
            kept = await self._keeper.replace(new)
        if generation != self._generation:
            return await self._discard(grant)
        if kept.keeping is Keeping.MOVED:
            return self._heed(kept)
        if kept.keeping is Keeping.GONE:
            self._heed(kept)
            return await self._discard(grant)
        durable, now = kept.durable, self._clock.boot()
        refreshed = TokenRefreshed(
            reason=reason,
            attempt=self._troubles.failures + 1,
            duration_ms=(now - sent_at) * 1000,
            waited_s=now - (sent_at if self._troubles.failed_at is None else self._troubles.failed_at),
            left_s=0.0 if old is None else old.expires_at - sent_at,
            life_s=new.life_s,
            rotated=grant.refresh_token is not None and (old is None or grant.refresh_token != old.refresh_token),
            moved=moved(old, new),
        )
        self.tokens, self.persisted = new, durable
        self._troubles.forget()
        self._refreshes += 1
        self._troubles.last_outcome = Outcome.OK
        # Told last: a listener that asks for a token gets the new one.
        self._record(refreshed)
        self._troubles.breaker.observe(Outcome.OK, now=now, retry_after_s=None)
        self._signal(signal)
        if not durable:
            self._signal(Signal.PERSIST_FAILED)
        slept = now - sent_at > self._policy.request_timeout_s
        if not moved(old, new) and not slept:
            self._troubles.retry_at = now + self._policy.unmoved_pause_s
        return RefreshResult(outcome=Outcome.OK, retry_at=self.retry_at)

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
        troubles, generation, now = self._troubles, self._generation, self._clock.boot()
        rejected = refusal.outcome is Outcome.REJECTED
        if refusal.outcome is Outcome.CONFIG and troubles.last_outcome is not Outcome.CONFIG:
            self._record(AlertRaised(alert="client_misconfigured", error=refusal.error))
        troubles.count(refusal, now=now, sent_at=sent_at)
        self._record(
            RefreshFailed(
                reason=reason,
                attempt=troubles.failures,
                outcome=refusal.outcome,
                status=refusal.status,
                error=refusal.error,
                duration_ms=(now - sent_at) * 1000,
                left_s=tokens.expires_at - now,
            )
        )
        if rejected:
            troubles.lost = EndReason.REFRESH_REJECTED
            tokens = self.tokens = msgspec.structs.replace(tokens, refresh_token=None)
        marked = self._profile.rotates or self._keeper.shared
        if rejected or (marked and self.persisted and refusal.outcome is not Outcome.AMBIGUOUS):
            # The answer is clear, so the mark written ahead must not outlive it.
            kept = await self._keeper.write(tokens, troubles.maybe_spent_at)
            if generation != self._generation:
                return await self._discard(None)
            self.persisted = kept.keeping is not Keeping.FAILED
        self._keeper.release()
        why = self._blocked(tokens, now)
        if why is not None:
            return await self._give_up_refreshing(tokens, why, reason)
        self._signal(troubles.plan(tokens, refusal, now))
        return RefreshResult(outcome=refusal.outcome, retry_at=troubles.retry_at)

    async def _give_up_refreshing(self, tokens: TokenSet, why: EndReason, reason: RefreshReason) -> RefreshResult:
        """The refresh token is of no use any more: the access token serves to its end, then the chain."""
        # An API that says no is believed once the provider has said no as well.
        refused = reason is RefreshReason.UNAUTHORIZED and why is EndReason.REFRESH_REJECTED
        if tokens.expired(self._clock.boot()) or refused:
            return await self._recover(why)
        self._troubles.retry_at = tokens.expires_at
        self._signal(Signal.REFRESH_FAILED)
        return RefreshResult(outcome=self._last_outcome(Outcome.AMBIGUOUS), retry_at=tokens.expires_at)

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
                self._troubles.count(refusal, now=now, sent_at=now)
                self._signal(self._troubles.plan(self.require(), refusal, now))
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
