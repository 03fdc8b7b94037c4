"""Makes one refresh: claims the session, asks the provider, commits what comes, or falls back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec

from session_core.clock import Clock
from session_core.events import AlertRaised, Record, RefreshDiscarded, RefreshFailed, TokenFollowed, TokenRefreshed
from session_core.fallback_auth_manager import FallbackAuthManager, LoginNeeded, Postponed, Recovered, Stopped
from session_core.oauth_client import OAuthClient
from session_core.refresh_plan import ProviderProfile, tokens_from
from session_core.refresh_troubles import RefreshTroubles
from session_core.session_keeper import Keeping, Kept, SessionKeeper, is_news
from session_core.session_store import SessionRecord
from session_core.token_answers import TokenGrant, TokenRefusal
from session_core.token_holder import TokenHolder
from session_core.tokens import RefreshPolicy, TokenSet, moved
from session_core.vocabulary import EndReason, FallbackStep, Outcome, RefreshReason, Signal

# How often a process looks whether the one that refreshes has finished.
FOLLOW_S = 0.25
# And for how long: of many that fail one after another the last would ask when its state is long past its deadline.
FOLLOW_S_MAX = 20.0


class RefreshResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt came to. `retry_at` is the boot second before which no other is made."""

    outcome: Outcome
    retry_at: float = 0.0


class TokenRefresher:
    """The road from old tokens to new ones; TokenManager sees to it that only one walks it at a time.

    Invariants: new tokens are durable before the old are dropped; a refresh token that may be spent is sent again only
    inside the provider's grace window; only REJECTED, or a refresh token that cannot be used any more, leads to the
    fallback chain, and the access token serves to its end before it. Of several processes that keep one session in a
    shared store, one refreshes and the others follow.
    """

    __slots__ = (
        "_chain",
        "_clock",
        "_held",
        "_keeper",
        "_oauth",
        "_on_end",
        "_policy",
        "_profile",
        "_record",
        "_return_to",
        "_rng",
        "_signal",
        "_subject",
        "_troubles",
        "refreshes",
    )

    def __init__(
        self,
        *,
        held: TokenHolder,
        oauth: OAuthClient,
        chain: FallbackAuthManager,
        policy: RefreshPolicy,
        profile: ProviderProfile,
        troubles: RefreshTroubles,
        keeper: SessionKeeper,
        clock: Clock,
        rng: random.Random,
        record: Record,
        signal: Callable[[Signal], object],
        on_end: Callable[[EndReason], object],
        return_to: Callable[[], str],
        subject: str | None,
    ) -> None:
        self._held = held
        self._oauth = oauth
        self._chain = chain
        self._policy = policy
        self._profile = profile
        self._troubles = troubles
        self._keeper = keeper
        self._clock = clock
        self._rng = rng
        self._record = record
        self._signal = signal
        self._on_end = on_end
        self._return_to = return_to
        self._subject = subject
        self.refreshes = 0

    def blocked(self, tokens: TokenSet, now: float) -> EndReason | None:
        """Why the refresh token must not be sent at `now`, or None if it may be."""
        if not self._chain.allows(FallbackStep.REFRESH_TOKEN):
            return EndReason.NO_REFRESH_TOKEN
        return self._troubles.blocked(tokens, now)

    async def run(self, reason: RefreshReason) -> RefreshResult:
        tokens = self._held.tokens
        if tokens is None:
            return await self._discard(None)
        why = self.blocked(tokens, self._clock.boot())
        if why is not None:
            return await self._news_or_chain(tokens, why, reason)
        troubles = self._troubles
        if not troubles.breaker.allows(self._clock.boot()):
            troubles.retry_at = max(troubles.retry_at, troubles.breaker.retry_at)
            return RefreshResult(outcome=Outcome.THROTTLED, retry_at=self._troubles.retry_at)
        self._signal(Signal.REFRESH_STARTED)
        probed, generation = troubles.probe_first, self._held.generation
        if probed and not await self._reachable():
            refusal = TokenRefusal(outcome=Outcome.OFFLINE, error="unreachable")
            if generation == self._held.generation:
                return await self._refused(tokens, refusal, reason, self._clock.boot())
        if generation != self._held.generation:
            return await self._discard(None)
        return await self._refresh(tokens, reason, probed=probed)

    async def _news_or_chain(self, tokens: TokenSet, why: EndReason, reason: RefreshReason) -> RefreshResult:
        """The refresh token is of no use here; another process may have had more luck."""
        if self._keeper.shared:
            kept = await self._keeper.look()
            if tokens is not self._held.tokens:
                return await self._discard(None)
            if kept.keeping is Keeping.GONE or _is_news(kept, tokens):
                return self.heed(kept)
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
        generation, troubles = self._held.generation, self._troubles
        # Before the claim: between it and the request nothing waits, or the claim could lapse in a sleep.
        undiscovered = await self._oauth.discover()
        if generation != self._held.generation:
            return await self._discard(None)
        if undiscovered is not None:
            return await self._refused(tokens, self._unreached(undiscovered, probed=probed), reason, self._clock.boot())
        mark = None
        if self._profile.rotates or self._keeper.shared:
            # Written ahead: a crash between the answer and the commit must not be followed by a blind replay.
            claimed = await self._claim(tokens, reason)
            if isinstance(claimed, RefreshResult):
                return claimed
            mark = claimed
        # Taken after the claim, which may have found that another process has spent it.
        spent_before = troubles.maybe_spent_at
        troubles.maybe_spent_at = spent_before if mark is None else mark
        sent_at = self._clock.boot()
        result = await self._oauth.refresh(
            tokens.refresh_token,
            subject=self._subject,
            dpop_key=tokens.dpop_key,
            # The answer that asks for another proof may have come after a sleep, in which another process took over.
            may_repeat=lambda: generation == self._held.generation and self._keeper.leads(self._clock.boot()),
        )
        if generation != self._held.generation:
            return await self._discard(result)
        if isinstance(result, TokenGrant):
            return await self._commit(result, sent_at, reason, Signal.REFRESH_SUCCEEDED)
        marked = mark is not None and self._held.persisted
        if result.outcome is not Outcome.AMBIGUOUS:
            troubles.maybe_spent_at = spent_before
        return await self._refused(tokens, self._unreached(result, probed=probed), reason, sent_at, marked=marked)

    def _unreached(self, refusal: TokenRefusal, *, probed: bool) -> TokenRefusal:
        if refusal.outcome is not Outcome.OFFLINE or not probed:
            return refusal
        # The network is there and only this endpoint is not: that is the provider's trouble, at its pace.
        self._troubles.probe_first = True
        return msgspec.structs.replace(refusal, outcome=Outcome.TRANSIENT)

    async def _claim(self, tokens: TokenSet, reason: RefreshReason) -> RefreshResult | float:
        """Become the one process that refreshes: the mark written ahead, or a result where that is over already."""
        generation, troubles, loop = self._held.generation, self._troubles, asyncio.get_running_loop()
        follow_until = loop.time() + FOLLOW_S_MAX
        while True:
            mark = troubles.maybe_spent_at if troubles.maybe_spent_at is not None else self._clock.boot()
            kept = await self._lead(tokens, mark)
            if generation != self._held.generation:
                return await self._discard(None)
            latest, now = kept.latest, self._clock.boot()
            if kept.durable or (kept.keeping is Keeping.FAILED and self._may_go_alone(tokens, now)):
                self._held.persisted = kept.durable
                # The wait for the store, or for another's lease, may have outlasted the grace window.
                why = self.blocked(tokens, now)
                if why is not None:
                    self._keeper.release()
                    return await self._give_up_refreshing(tokens, why, reason)
                return mark
            follows = kept.keeping is Keeping.LEASED and not _is_news(kept, tokens)
            if kept.keeping is Keeping.FAILED or (follows and loop.time() >= follow_until):
                return await self._unsent(tokens, kept, reason)
            if follows:
                await asyncio.sleep(FOLLOW_S)
            elif latest is None or is_news(latest, tokens):
                return self.heed(kept)
            elif latest.refresh_sent_at is not None:
                # The process that sent it died: as after a crash of our own, the refresh token may be spent.
                troubles.maybe_spent_at = latest.refresh_sent_at
                why = self.blocked(tokens, now)
                if why is not None:
                    return await self._give_up_refreshing(tokens, why, reason)

    async def _unsent(self, tokens: TokenSet, kept: Kept, reason: RefreshReason) -> RefreshResult:
        failed = kept.keeping is Keeping.FAILED
        self._held.persisted = self._held.persisted and not failed
        refusal = TokenRefusal(outcome=Outcome.TRANSIENT, error="session_store" if failed else "leased")
        return await self._refused(tokens, refusal, reason, self._clock.boot())

    async def _lead(self, tokens: TokenSet, mark: float) -> Kept:
        while True:
            kept = await self._keeper.claim(tokens, mark)
            # Where the device slept as it was written, another may have taken over by now.
            if not kept.durable or self._keeper.leads(self._clock.boot()):
                return kept

    def _may_go_alone(self, tokens: TokenSet, now: float) -> bool:
        """Without its store a process may refresh if no other can hold the session, or if nothing else is left."""
        return not self._keeper.shared or tokens.expired(now)

    def heed(self, kept: Kept) -> RefreshResult:
        """Take in what the store says: that it is durable, or what another process made of the session."""
        self._held.persisted = kept.keeping is not Keeping.FAILED
        if kept.keeping is Keeping.GONE:
            self._held.drop(kept.why)
            self._keeper.release()
            self._signal(Signal.SIGNED_OUT)
            self._on_end(kept.why)
            return RefreshResult(outcome=Outcome.REJECTED)
        if kept.latest is not None:
            self._keeper.resume(kept.latest)
            self._follow(kept.latest)
            # What a failed write of ours has left there is not what we hold.
            held = self._held.tokens
            self._held.persisted = held is not None and kept.latest.tokens.access_token == held.access_token
        return RefreshResult(outcome=Outcome.OK if kept.durable or kept.latest is not None else Outcome.TRANSIENT)

    def _follow(self, latest: SessionRecord) -> None:
        if self._held.tokens is None or not is_news(latest, self._held.tokens):
            return
        self._held.tokens = latest.tokens
        self._troubles.forget()
        self._troubles.maybe_spent_at = latest.refresh_sent_at
        self._record(TokenFollowed(left_s=latest.tokens.expires_at - self._clock.boot()))
        self._signal(Signal.REFRESH_SUCCEEDED)

    async def _commit(self, grant: TokenGrant, sent_at: float, reason: RefreshReason, signal: Signal) -> RefreshResult:
        generation, old = self._held.generation, self._held.tokens
        new = tokens_from(grant, old, sent_at=sent_at, policy=self._policy, rng=self._rng)
        kept = await self._keeper.write(new, None)
        if kept.latest is not None and old is not None and kept.latest.tokens.access_token == old.access_token:
            # Another process only took our lease for abandoned; what we hold is newer than what it has.
            kept = await self._keeper.replace(new)
        if generation != self._held.generation:
            return await self._discard(grant)
        if kept.keeping is Keeping.MOVED:
            return self.heed(kept)
        if kept.keeping is Keeping.GONE:
            self.heed(kept)
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
        self._held.tokens, self._held.persisted = new, durable
        self._troubles.forget()
        self.refreshes += 1
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
        return RefreshResult(outcome=Outcome.OK, retry_at=self._troubles.retry_at)

    async def _refused(
        self, tokens: TokenSet, refusal: TokenRefusal, reason: RefreshReason, sent_at: float, *, marked: bool = False
    ) -> RefreshResult:
        troubles, generation, now = self._troubles, self._held.generation, self._clock.boot()
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
            tokens = self._held.tokens = msgspec.structs.replace(tokens, refresh_token=None)
        if rejected or (marked and refusal.outcome is not Outcome.AMBIGUOUS):
            # The answer is clear, so the mark written ahead must not outlive it.
            kept = await self._keeper.write(tokens, troubles.maybe_spent_at)
            if generation != self._held.generation:
                return await self._discard(None)
            if kept.keeping is Keeping.GONE or _is_news(kept, tokens):
                return self.heed(kept)
            self._held.persisted = kept.keeping is not Keeping.FAILED
        self._keeper.release()
        why = self.blocked(tokens, now)
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
        return RefreshResult(outcome=self._troubles.last_outcome_or(Outcome.AMBIGUOUS), retry_at=tokens.expires_at)

    async def _recover(self, reason: EndReason) -> RefreshResult:
        generation, tokens = self._held.generation, self._held.tokens
        self._signal(Signal.FALLBACK_STARTED)
        recovery = await self._chain.recover(
            reason,
            return_to=self._return_to(),
            wanted=lambda: generation == self._held.generation,
            dpop_key=None if tokens is None else tokens.dpop_key,
        )
        if generation != self._held.generation or isinstance(recovery, Stopped):
            return await self._discard(recovery.grant if isinstance(recovery, Recovered) else None)
        match recovery:
            case Recovered(grant=grant, sent_at=sent_at):
                return await self._commit(grant, sent_at, RefreshReason.RECOVERY, Signal.FALLBACK_SUCCEEDED)
            case Postponed(outcome=outcome, retry_after_s=retry_after_s):
                now = self._clock.boot()
                refusal = TokenRefusal(outcome=outcome, error="postponed", retry_after_s=retry_after_s)
                # A try of the chain is several requests.
                self._troubles.count(refusal, now=now, sent_at=now, whole=True)
                self._signal(self._troubles.plan(self._held.require(), refusal, now))
                return RefreshResult(outcome=outcome, retry_at=self._troubles.retry_at)
            case LoginNeeded(login=login):
                self._held.login = login
                self._held.drop(reason)
                self._signal(Signal.FALLBACK_EXHAUSTED)
                self._on_end(reason)
                await self._held.forget_stored()
                return RefreshResult(outcome=Outcome.REJECTED)

    async def _discard(self, result: TokenGrant | TokenRefusal | None) -> RefreshResult:
        """The session ended or moved on while we asked: what came is revoked, and nobody ever sees it."""
        token = result.refresh_token if isinstance(result, TokenGrant) else None
        revoked = token is not None and await self._oauth.revoke(token) is Outcome.OK
        self._record(RefreshDiscarded(revoked=revoked))
        return RefreshResult(outcome=Outcome.REJECTED)


def _is_news(kept: Kept, tokens: TokenSet) -> bool:
    """Whether the store holds later tokens than these: another process has refreshed."""
    return kept.latest is not None and is_news(kept.latest, tokens)
