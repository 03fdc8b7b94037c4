"""One user's session, wired together: what an application holds on to."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import msgspec

from session_core.api_client import ApiClient, SessionAuth, SharedTransport, is_running_here, origin_of
from session_core.cache_manager import CacheManager
from session_core.clock import Clock, Gap
from session_core.config import SessionConfig
from session_core.errors import SessionCoreError, SessionEndedError, SessionLockedError, TokenVerificationError
from session_core.events import (
    Emit,
    HeartbeatBeat,
    Journal,
    LimitWarned,
    Origin,
    PartCrashed,
    SessionEnded,
    SessionStarted,
    StuckFound,
    UserActed,
)
from session_core.fallback_auth_manager import FallbackAuthManager, StoredCredential, UserAgent
from session_core.jwt_checks import read_unverified, sid_of, subject_of
from session_core.oauth_client import OAuthClient
from session_core.prover import Prover
from session_core.refresh_troubles import RefreshTroubles
from session_core.retry_manager import RetryManager
from session_core.session_health import OVER, HealthInputs, HealthScore, health
from session_core.session_heartbeat import SessionHeartbeat
from session_core.session_keeper import SessionKeeper
from session_core.session_limits import LimitVerdict, LimitWatch, Standing
from session_core.session_state import SessionStateMachine, stuck_at
from session_core.session_store import NOWHERE, SeenOn, SessionRecord, SessionStore
from session_core.session_worker import SessionWorker
from session_core.token_answers import TokenGrant
from session_core.token_manager import TokenManager, TokenStatistics
from session_core.token_refresher import RefreshResult
from session_core.tokens import TokenSet
from session_core.vocabulary import EndReason, GapKind, RefreshReason, Signal, State

CACHE_SWEEP_S = 60.0
PERSIST_RETRY_S = 30.0
LOOK_ELSEWHERE_S = 30.0
# Once more just before a limit: the user may be there in another process.
LOOK_BEFORE_LIMIT_S = 2.0
KEEP_ACTIVITY_S_MAX = 60.0
PERSIST_S_MAX = 10.0


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the sessions of one process share."""

    config: SessionConfig
    oauth: OAuthClient
    store: SessionStore
    clock: Clock
    emit: Emit
    entropy: Callable[[int], bytes]
    loop: asyncio.AbstractEventLoop
    pool: httpx.AsyncBaseTransport
    worker: SessionWorker
    heartbeat: SessionHeartbeat
    note_end: Callable[[str], object]
    prover: Prover


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A session at one moment, for people to look at. Times are boot seconds, `left` in seconds from now."""

    session_id: str
    user_id: str
    state: State
    since: float
    path: tuple[State, ...]
    managed: bool
    health: HealthScore
    tokens: TokenStatistics
    token_life_s: float | None
    token_left_s: float | None
    refresh_left_s: float | None
    limit: LimitVerdict
    ended: EndReason | None


class Session:
    """Keeps one user signed in. Made by SessionService; every call belongs on the service's event loop.

    `client` is an `httpx.AsyncClient` that stays authorised; `auth` an `httpx.Auth` for a client of your own, from any
    thread.
    """

    __slots__ = (
        "__weakref__",
        "_around",
        "_auth",
        "_beat_at",
        "_cache",
        "_client",
        "_closed",
        "_counts_suspend",
        "_journal",
        "_keep_at",
        "_keeper",
        "_kept_activity_at",
        "_limits",
        "_looked_at",
        "_machine",
        "_maintaining",
        "_managed",
        "_persist_at",
        "_retry",
        "_sid",
        "_subject",
        "_swept_at",
        "_tasks",
        "_tokens",
        "return_to",
        "seen_on",
        "session_id",
        "user_id",
    )

    def __init__(
        self,
        around: Surroundings,
        *,
        origin: Origin,
        rng: random.Random,
        user_agent: UserAgent | None = None,
        subject: str | None = None,
        credential: StoredCredential | None = None,
    ) -> None:
        policy, clock = around.config.policy, around.clock
        self._around = around
        self._counts_suspend: bool = getattr(clock, "counts_suspend", True)
        self._journal = Journal(clock=clock, emit=around.emit, origin=origin)
        record = self._journal.record
        self.session_id = origin.session_id
        self.user_id = origin.user_id
        self.return_to = "/"
        self.seen_on = NOWHERE
        self._limits = LimitWatch(policy.limits, clock.boot())
        self._machine = SessionStateMachine(clock=clock, record=record)
        self._retry = RetryManager(policies=policy.retry.by_call(), budget=policy.retry_budget, rng=rng, record=record)
        chain = FallbackAuthManager(
            policy=policy.fallback,
            oauth=around.oauth,
            clock=clock,
            record=record,
            entropy=around.entropy,
            within_limits=self._within_limits,
            credential=credential,
            user_agent=user_agent,
            subject=subject,
        )
        self._keeper = SessionKeeper(
            around.store,
            session_id=self.session_id,
            facts=self._facts,
            clock=clock,
            record=record,
            on_seen=self._see_elsewhere,
        )
        self._tokens = TokenManager(
            oauth=around.oauth,
            chain=chain,
            policy=policy.refresh,
            profile=around.config.profile,
            troubles=RefreshTroubles(
                policy=policy.refresh,
                profile=around.config.profile,
                breaker=policy.breaker,
                retry=self._retry,
                rng=rng,
                record=record,
            ),
            retry=self._retry,
            clock=clock,
            rng=rng,
            record=record,
            signal=self._machine.fire,
            keeper=self._keeper,
            on_change=self._look_again,
            on_end=self._note_end,
            return_to=lambda: self.return_to,
            subject=subject,
        )
        self._cache = CacheManager(policy.cache, clock=clock, record=record)
        self._client: ApiClient | None = None
        self._auth: SessionAuth | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._managed = self._closed = self._maintaining = False
        self._subject = subject
        self._sid: str | None = None
        self._swept_at = self._looked_at = clock.boot()
        self._beat_at: float | None = None
        self._persist_at: float | None = None
        self._keep_at = self._kept_activity_at = clock.boot()

    def __repr__(self) -> str:
        return f"Session({self.session_id!r}, {self._machine.state})"

    @property
    def state(self) -> State:
        return self._machine.state

    @property
    def ended(self) -> EndReason | None:
        """Why the session is over, or None while it is not."""
        return self._tokens.ended

    async def begin(self, grant: TokenGrant, *, sent_at: float) -> None:
        """Start with the tokens of a sign-in asked for at boot second `sent_at`; again after a lock or an end.

        Raises TokenVerificationError when they belong to another user, who must not find what this one left.
        """
        if self._subject is not None and grant.id_token is not None and subject_of(grant.id_token) != self._subject:
            raise TokenVerificationError("These tokens belong to another user; give that user a session of their own.")
        now = self._around.clock.boot()
        self._sid = sid_of(grant.id_token)
        self._limits.begin(now, now)
        self._kept_activity_at = now
        self._machine.fire(Signal.SIGN_IN_STARTED)
        await self._tokens.adopt(grant, sent_at=sent_at)
        self._machine.fire(Signal.SIGNED_IN)
        if not self._tokens.persisted:
            self._machine.fire(Signal.PERSIST_FAILED)
        self._note_start(resumed=False)
        self._look_again()

    def resume_from(self, record: SessionRecord) -> None:
        """Go on from a stored record after a restart."""
        self.seen_on = SeenOn(record.device, record.address)
        self._sid = record.sid
        self._limits.begin(record.started_at, record.last_activity_at)
        self._kept_activity_at = record.last_activity_at
        self._keeper.resume(record)
        self._tokens.restore(record.tokens, refresh_sent_at=record.refresh_sent_at)
        self._machine.fire(Signal.SIGNED_IN)
        self._note_start(resumed=True)

    def ended_before(self, reason: EndReason) -> None:
        """It was over when this process came to it, and whoever asks is told why; the log has it already."""
        self._tokens.ended_before(reason)

    @property
    def config(self) -> SessionConfig:
        """How it is kept, which may differ from provider to provider."""
        return self._around.config

    @property
    def oauth(self) -> OAuthClient:
        """The provider that signed its user in."""
        return self._around.oauth

    def claims(self) -> dict[str, Any]:
        """What the provider's ID token, verified at sign-in, says of the user; empty where there is none."""
        tokens = self._tokens.tokens
        said = None if tokens is None or tokens.id_token is None else read_unverified(tokens.id_token)
        return said or {}

    def id_token(self) -> str | None:
        """What tells the provider who signs out; None where it gave none or the session is over."""
        tokens = self._tokens.tokens
        return None if tokens is None else tokens.id_token

    def known_sid(self) -> str | None:
        """The session at the provider that this one belongs to, if the provider says."""
        return sid_of(self.id_token()) or self._sid

    # The six calls.

    def start_session_management(self) -> None:
        """Let the worker and the heartbeat look after this session; nothing changes if they do."""
        if not self._managed and self._around.config.policy.background:
            self._managed = True
            self._around.worker.add(self)
            self._around.heartbeat.add(self)

    async def stop_session_management(self) -> None:
        """Leave the session as it is, signed in and unattended. A refresh under way is let finish."""
        self._managed = False
        self._around.worker.remove(self)
        self._around.heartbeat.remove(self)
        self._beat_at = None
        await self._tokens.settle(self._around.config.policy.refresh.request_timeout_s)

    def get_session_health(self) -> HealthScore:
        around, manager, beat_at = self._around, self._tokens, self._beat_at
        now, policy, tokens = around.clock.boot(), around.config.policy, manager.tokens
        failures, breaker, persisted = manager.condition()
        return health(
            HealthInputs(
                state=self._machine.state,
                token_left_s=None if tokens is None else tokens.expires_at - now,
                refresh_lead_s=0.0 if tokens is None else tokens.expires_at - tokens.refresh_due_at,
                refresh_failures=failures,
                breaker=breaker,
                limit_left_s=self._limits.reached_at - now,
                limit_warn_s=policy.limits.warn_s,
                persisted=persisted,
                heartbeat_age_s=now - beat_at if self._managed and beat_at is not None else None,
                heartbeat_interval_s=policy.heartbeat_s,
                skew_s=around.oauth.skew_s,
                counts_suspend=self._counts_suspend,
            )
        )

    async def force_refresh_session(self) -> RefreshResult:
        """Refresh now. A throttled provider and a refresh token that may be spent are left alone."""
        self._pass_gate()
        return await self._tokens.refresh(RefreshReason.FORCED)

    def get_cache_manager(self) -> CacheManager:
        return self._cache

    def update_activity(self, action: str = "activity") -> None:
        """The user did something; the only thing that moves the idle limit."""
        if self._machine.state in OVER:
            return
        now = self._around.clock.boot()
        if now >= self._limits.reached_at:
            self._enforce(self._limits.verdict(now))
            return
        self._limits.acted(now)
        self._journal.record(UserActed(action=action))
        if self._keeper.shared:
            self._keep_activity(now)
            self._look_again()

    async def catch_up(self) -> None:
        """Learn now what other processes on the same store did to this session, and whether its user was there."""
        if self._keeper.shared:
            self._looked_at = self._around.clock.boot()
            await self._tokens.look_elsewhere()

    @property
    def last_activity_at(self) -> float:
        """The boot second at which the user did something last."""
        return self._limits.last_activity_at

    def hold_to_limits(self) -> None:
        """Lock or end the session at once if a limit is reached; being asked is no activity.

        What other processes did to it is looked at now and then, whether or not a worker looks after it.
        """
        now = self._around.clock.boot()
        if self._tokens.tokens is None:
            return
        if now >= self._limits.reached_at:
            self._enforce(self._limits.verdict(now))
        self._look_elsewhere(now)

    @property
    def auth(self) -> SessionAuth:
        """An `httpx.Auth` for `httpx.AsyncClient` here and for `httpx.Client` in any thread."""
        if self._auth is None:
            config = self._around.config
            origins = [url for url in (config.api_url, *config.api_origins) if url]
            self._auth = SessionAuth(
                tokens=self._tokens,
                origins=frozenset(origin_of(httpx.URL(url)) for url in origins),
                gate=self._pass_gate,
                clock=self._around.clock,
                wait_s_max=config.policy.refresh.caller_wait_s_max,
                loop=self._around.loop,
                prover=self._around.prover,
            )
        return self._auth

    @property
    def client(self) -> ApiClient:
        """The session's own `httpx.AsyncClient`; relative addresses are under `api_url`."""
        if self._client is None:
            around = self._around
            self._client = ApiClient(
                session_auth=self.auth,
                gate=self._pass_gate,
                cache=self._cache,
                user_id=self.user_id,
                retry=self._retry,
                clock=around.clock,
                record=self._journal.record,
                on_kept=self._plan_sweep,
                base_url=around.config.api_url,
                transport=SharedTransport(around.pool),
                trust_env=False,
            )
        return self._client

    async def sign_out(self, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        """End the session here, forget its tokens and answers, and give the refresh token back."""
        if self._tokens.tokens is None:
            return
        self._machine.fire(Signal.SIGNED_OUT)
        self._note_end(reason)
        await self._tokens.end(reason, revoke=True)

    async def aclose(self) -> None:
        """Stop looking after it and close its client; the session itself goes on in the store."""
        self._closed = True
        await self.stop_session_management()
        self._tokens.abandon()
        await self._tokens.settle(PERSIST_S_MAX)
        await self._cache.aclose()
        if self._client is not None:
            await self._client.aclose()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def status(self) -> SessionStatus:
        now = self._around.clock.boot()
        tokens = self._tokens.tokens
        return SessionStatus(
            session_id=self.session_id,
            user_id=self.user_id,
            state=self._machine.state,
            since=self._machine.since,
            path=self._machine.path,
            managed=self._managed,
            health=self.get_session_health(),
            tokens=self._tokens.statistics(),
            token_life_s=None if tokens is None else tokens.life_s,
            token_left_s=None if tokens is None else tokens.expires_at - now,
            refresh_left_s=None if tokens is None else tokens.refresh_due_at - now,
            limit=self._limits.nearest(now),
            ended=self._tokens.ended,
        )

    # What the worker and the heartbeat ask.

    def maintain(self, now: float) -> float | None:
        """Do what is due at boot second `now`; when to be asked again, or None once there is nothing to look after."""
        if self._tokens.tokens is None:
            return None
        self._free_if_stuck(now)
        if not self._limits.quiet(now):
            self._enforce(self._limits.verdict(now))
        if self._machine.state in (State.LOCKED, State.EXPIRED):
            return self._limits.next_due(now)
        # What it starts is counted below, and need not have the session looked at again.
        self._maintaining = True
        try:
            refresh_due_at = self._tokens.refresh_soon(now)
        finally:
            self._maintaining = False
        self._retry_persist(now)
        dues = (
            refresh_due_at,
            self._limits.next_due(now),
            self._persist_at,
            self._keep_in_step(now) if self._keeper.shared else None,
            self._sweep(now),
            stuck_at(self._machine.state, self._machine.since),
            self._tokens.stuck_at,
        )
        return min([due for due in dues if due is not None], default=None)

    def beat(self, now: float) -> None:
        """Check and log the health. Never counts as the user's activity."""
        tokens = self._tokens.tokens
        if tokens is None:
            return
        self._beat_at = now
        score, band, _, lowest = self.get_session_health()
        left_s = tokens.expires_at - now
        self._journal.record(
            HeartbeatBeat(state=self._machine.state, health=score, band=band, lowest=lowest, left_s=left_s)
        )

    def observe_gap(self, gap: Gap) -> None:
        """The device slept: say so, and come back carefully, unless a limit was reached in its sleep."""
        if gap.kind is not GapKind.SUSPEND or self._tokens.tokens is None:
            return
        self._machine.fire(Signal.SUSPENDED)
        self._machine.fire(Signal.WOKE)
        now = self._around.clock.boot()
        self._enforce(self._limits.verdict(now))
        if self._machine.state is State.RESUMING:
            self._tokens.resume(now)

    def _within_limits(self) -> bool:
        return self._limits.verdict(self._around.clock.boot()).standing in (Standing.OK, Standing.WARN)

    def _enforce(self, verdict: LimitVerdict) -> None:
        match verdict.standing:
            case Standing.WARN if verdict.limit is not None:
                self._limits.warned_of(verdict.limit)
                self._journal.record(LimitWarned(limit=verdict.limit, left_s=verdict.left_s))
            case Standing.IDLE:
                self._machine.fire(Signal.IDLE_LIMIT_REACHED)
            case Standing.ABSOLUTE if self._tokens.tokens is not None:  # Threads that meet it together end it once.
                self._machine.fire(Signal.ABSOLUTE_LIMIT_REACHED)
                self._note_end(EndReason.ABSOLUTE_LIMIT)
                self._spawn(self._tokens.end(EndReason.ABSOLUTE_LIMIT, revoke=True))

    def _pass_gate(self) -> None:
        """Raises while no call may be made. Any thread may ask, so what follows from it is done on the loop."""
        if self._around.worker.overslept() and is_running_here(self._around.loop):
            # A sleep is named before anybody acts on what was true before it.
            self._around.worker.notice()
        now = self._around.clock.boot()
        if self._closed:
            self._tokens.require()
            raise SessionCoreError("This session is not looked after any more: its service was closed.")
        if now >= self._limits.reached_at and self._tokens.tokens is not None:
            # The limit holds to the second, whether or not the worker has come by.
            verdict, loop = self._limits.verdict(now), self._around.loop
            if is_running_here(loop):
                self._enforce(verdict)
            elif loop.is_running():
                loop.call_soon_threadsafe(self._enforce, verdict)
            if verdict.standing is Standing.ABSOLUTE:
                raise SessionEndedError(EndReason.ABSOLUTE_LIMIT)
            raise SessionLockedError
        if self._machine.state is State.LOCKED:
            raise SessionLockedError

    def _free_if_stuck(self, now: float) -> None:
        stuck_since = self._tokens.stuck_at
        if self._machine.force_on(now):
            self._tokens.abandon()
        elif stuck_since is not None and now >= stuck_since:
            # In a state that has no deadline of its own, such as DEGRADED.
            self._journal.record(StuckFound(state=self._machine.state, stuck_s=now - stuck_since))
            self._tokens.abandon()

    def _plan_sweep(self) -> None:
        if len(self._cache) == 1:
            self._look_again()

    def _sweep(self, now: float) -> float | None:
        if not len(self._cache):
            return None
        if now >= self._swept_at + CACHE_SWEEP_S:
            self._swept_at = now
            self._cache.sweep(now)
        return self._swept_at + CACHE_SWEEP_S

    def _retry_persist(self, now: float) -> None:
        if self._tokens.persisted:
            self._persist_at = None
        elif self._persist_at is None:
            self._persist_at = now + PERSIST_RETRY_S
        elif now >= self._persist_at:
            self._persist_at = now + PERSIST_RETRY_S
            self._spawn(self._write_again())

    def _keep_in_step(self, now: float) -> float | None:
        """With the other processes on the store; when to do so again."""
        self._look_elsewhere(now)
        self._keep_activity(now)
        look_at = self._look_due_at()
        return look_at if look_at is None or not self._owes_activity() else min(look_at, self._keep_at)

    def _look_elsewhere(self, now: float) -> None:
        due_at = self._look_due_at()
        if due_at is not None and now >= due_at:
            self._spawn(self.catch_up())
            self._looked_at = now

    def _look_due_at(self) -> float | None:
        if not self._keeper.shared:
            return None
        regular, last = self._looked_at + LOOK_ELSEWHERE_S, self._limits.reached_at - LOOK_BEFORE_LIMIT_S
        return min(regular, last) if self._looked_at < last else regular

    def _see_elsewhere(self, last_activity_at: float) -> None:
        if last_activity_at > self._limits.last_activity_at:
            self._limits.acted(last_activity_at)
            self._kept_activity_at = last_activity_at

    def _owes_activity(self) -> bool:
        return self._keeper.shared and self._limits.last_activity_at > self._kept_activity_at

    def _keep_activity(self, now: float) -> None:
        """For other processes, and for this one after a restart; not each time, because it costs a write."""
        if self._owes_activity() and now >= self._keep_at:
            idle_s = self._around.config.policy.limits.idle_s
            self._keep_at = now + min(KEEP_ACTIVITY_S_MAX, (idle_s or math.inf) / 10)
            self._spawn(self._write_activity())

    async def _write_activity(self) -> None:
        last_activity_at = self._limits.last_activity_at
        if (await self._keeper.touch(last_activity_at)).durable:
            self._kept_activity_at = max(self._kept_activity_at, last_activity_at)

    async def _write_again(self) -> None:
        if await self._tokens.retry_persist() and self._tokens.failures == 0:
            self._machine.fire(Signal.PERSIST_RECOVERED)

    def _facts(self, tokens: TokenSet, refresh_sent_at: float | None) -> SessionRecord:
        return SessionRecord(
            session_id=self.session_id,
            user_id=self.user_id,
            tokens=tokens,
            started_at=self._limits.started_at,
            last_activity_at=self._limits.last_activity_at,
            refresh_sent_at=refresh_sent_at,
            device=self.seen_on.device,
            address=self.seen_on.address,
            issuer=self._around.config.issuer,
            sid=self._sid,
        )

    def _note_start(self, *, resumed: bool) -> None:
        tokens, limits = self._tokens.tokens, self._around.config.policy.limits
        assert tokens is not None, "a session starts with tokens"
        self._journal.record(
            SessionStarted(
                resumed=resumed,
                life_s=tokens.life_s,
                idle_limit_s=limits.idle_s,
                absolute_limit_s=limits.absolute_s,
                left_s=tokens.expires_at - self._around.clock.boot(),
            )
        )

    def _note_end(self, reason: EndReason) -> None:
        self._cache.clear()
        self._managed = False
        self._around.worker.remove(self)
        self._around.heartbeat.remove(self)
        self._around.note_end(self.session_id)
        self._journal.record(SessionEnded(reason=reason))

    def _look_again(self) -> None:
        if self._managed and not self._maintaining:
            self._around.worker.touch(self)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = self._around.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        crash = None if task.cancelled() else task.exception()
        if crash is not None:
            self._journal.record(PartCrashed(part="session", error=type(crash).__name__))
