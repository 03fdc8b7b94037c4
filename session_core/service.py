"""Many sessions in one process: their worker, heartbeat, connections and stores."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack
from random import Random
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from session_core.api_client import wait_on_loop
from session_core.clock import Clock, SystemClock
from session_core.config import SessionConfig
from session_core.deadlines import LoopStatistics
from session_core.errors import ConfigError, LoginRequest, SessionCoreError
from session_core.events import Emit, Event, Journal, Origin, PersistFailed
from session_core.fallback_auth_manager import ClientCredential, StoredCredential, UserAgent
from session_core.jwt_checks import subject_of
from session_core.oauth_client import OAuthClient
from session_core.prover import Prover
from session_core.session import Session, Surroundings
from session_core.session_heartbeat import SessionHeartbeat
from session_core.session_store import (
    NOWHERE,
    MemorySessionStore,
    SeenOn,
    SessionDamagedError,
    SessionRecord,
    SessionStore,
    latest_first,
    told_elsewhere,
)
from session_core.session_worker import SessionWorker
from session_core.token_answers import TokenGrant, TokenRefusal, refusal_error
from session_core.vocabulary import EndReason, Source
from session_core.wire import HttpxTransport, Transport

T = TypeVar("T")
SERVICE_ID = "service"
FIRST = ""
ENDED_KEPT_S = 3_600.0


def user_id_of(provider: str, subject: str) -> str:
    """A user as the log, the cache and the store know them: providers may call different people the same.

    A subject is ASCII (OpenID Connect Core §2), so none that the first provider gives can pass for another's.
    """
    return subject if provider == FIRST else f"{provider}·{subject}"


class ServiceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    sessions: int
    worker: LoopStatistics
    heartbeat: LoopStatistics


def drop_event(_event: Event, /) -> None:
    """The sink where nobody keeps a log."""


class SessionService:
    """Owns every session of a process. Use it as `async with SessionService(config) as service:`.

    All that real time, chance and the network bring can be handed in: `clock`, `entropy`, `seed`, `transport` (to the
    provider) and `pool` (to the API). Every call belongs on the loop it was entered on; from another thread use `call`.

    `others` are further providers by name, each with its own client and policy. Their users are told apart from those of
    the first, whatever both call them, and the worker and the heartbeat are as the first one's settings want them.
    """

    def __init__(
        self,
        config: SessionConfig,
        *,
        others: Mapping[str, SessionConfig] = MappingProxyType({}),
        emit: Emit = drop_event,
        clock: Clock | None = None,
        store: SessionStore | None = None,
        transport: Transport | None = None,
        pool: httpx.AsyncBaseTransport | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        seed: str | None = None,
        source: Source = Source.LIVE,
        device: str = "server",
        run_id: str | None = None,
        scenario: str | None = None,
    ) -> None:
        self.config = config
        self._configs = {FIRST: config, **others}
        self._clock = clock or SystemClock()
        self._emit = emit
        self._entropy = entropy
        self._seed = seed
        self._source = source
        self._device = device
        self._run_id = run_id
        # An empty store is a store: it must not be taken for none.
        self._store = MemorySessionStore() if store is None else store
        self._transport = transport
        self._pool = pool
        self._sessions: dict[str, Session] = {}
        self._ended: deque[tuple[float, str]] = deque()
        self._resuming = asyncio.Lock()
        self._origin = Origin(
            stream_id=self._named(self._new_id()),
            session_id=SERVICE_ID,
            user_id="",
            device=device,
            source=source,
            policy=config.policy.name,
            run_id=run_id,
            scenario=scenario,
        )
        self._journal = Journal(clock=self._clock, emit=emit, origin=self._origin)
        self._around: dict[str, Surroundings] = {}
        self._owned = AsyncExitStack()

    @property
    def around(self) -> Surroundings:
        return self._around_of(FIRST)

    @property
    def oauth(self) -> OAuthClient:
        return self.around.oauth

    def provider_of(self, issuer: str) -> str | None:
        """The name of the provider that calls itself so."""
        return next((name for name, config in self._configs.items() if config.issuer == issuer), None)

    def oauth_of(self, provider: str) -> OAuthClient:
        return self._around_of(provider).oauth

    def _around_of(self, provider: str) -> Surroundings:
        if not self._around:
            raise SessionCoreError("The session service is not running; enter it with `async with` first.")
        if provider not in self._around:
            raise ConfigError("This way to sign in is not offered; choose another one.")
        return self._around[provider]

    async def __aenter__(self) -> Self:
        config, record = self.config, self._journal.record
        transport = self._transport or self._own_transport()
        pool = self._pool or self._own_pool()
        worker = SessionWorker(clock=self._clock, record=record, tick_s_max=config.tick_s_max)
        heartbeat = SessionHeartbeat(
            interval_s=config.policy.heartbeat_s,
            clock=self._clock,
            rng=self._rng("heartbeat"),
            record=record,
            tick_s_max=config.tick_s_max,
        )
        for name, each in self._configs.items():
            oauth = self._oauth(each, transport)
            self._around[name] = Surroundings(
                config=each,
                oauth=oauth,
                store=self._store,
                clock=self._clock,
                emit=self._emit,
                entropy=self._entropy,
                loop=asyncio.get_running_loop(),
                pool=pool,
                worker=worker,
                heartbeat=heartbeat,
                note_end=self._note_end,
                # An API has nonces of its own, also where it lives beside the provider.
                prover=Prover(entropy=self._entropy, server_now=oauth.provider_now),
            )
        if any(each.policy.background for each in self._configs.values()):
            worker.start()
            heartbeat.start()
        return self

    def _oauth(self, config: SessionConfig, transport: Transport) -> OAuthClient:
        return OAuthClient(
            transport,
            issuer=config.issuer,
            registration=config.registration(),
            clock=self._clock,
            record=self._journal.record,
            timeout_s=config.policy.refresh.request_timeout_s,
            allow_insecure_http=config.allow_insecure_http,
            dpop=config.dpop,
            entropy=self._entropy,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        around, self._around = self.around, {}
        await around.worker.stop()
        await around.heartbeat.stop()
        async with asyncio.TaskGroup() as closing:
            for session in self._sessions.values():
                closing.create_task(session.aclose())
        self._sessions.clear()
        await self._owned.aclose()

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self) -> tuple[Session, ...]:
        return tuple(self._sessions.values())

    def get(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def statistics(self) -> ServiceStatistics:
        around = self.around
        return ServiceStatistics(
            sessions=len(self._sessions),
            worker=around.worker.statistics(),
            heartbeat=around.heartbeat.statistics(),
        )

    async def login(self, *, return_to: str = "/", prompt: str | None = None, provider: str = FIRST) -> LoginRequest:
        """Where to send a user to sign in. Raises ProviderError when the provider cannot be asked.

        With the `prompt` "login" the provider asks for proof anew even if it knows the browser.
        """
        oauth = self.oauth_of(provider)
        # What the configuration asks for is asked for as well: consent may be what a refresh token depends on.
        prompts = " ".join(dict.fromkeys(filter(None, (prompt, self._configs[provider].prompt))))
        login = await oauth.login_request(self._entropy, return_to=return_to, prompt=prompts or None)
        return msgspec.structs.replace(login, provider=provider)

    async def finish_login(
        self,
        callback: str | list[tuple[str, str]],
        login: LoginRequest,
        *,
        user_agent: UserAgent | None = None,
        seen_on: SeenOn = NOWHERE,
    ) -> Session:
        """The session of a user who came back from the provider. Raises ProviderError, which says what went wrong."""
        sent_at = self._clock.boot()
        grant = await self.oauth_of(login.provider).exchange_callback(callback, login)
        return await self.adopt(
            grant,
            sent_at=sent_at,
            user_agent=user_agent,
            return_to=login.return_to,
            seen_on=seen_on,
            provider=login.provider,
        )

    async def sign_in_as_service(self) -> Session:
        """A session of the program itself, by its client credential."""
        sent_at = self._clock.boot()
        answer = await self.oauth.client_credentials()
        if isinstance(answer, TokenRefusal):
            raise refusal_error(answer)
        return await self.adopt(answer, sent_at=sent_at, credential=ClientCredential(self.oauth))

    async def adopt(
        self,
        grant: TokenGrant,
        *,
        sent_at: float,
        user_agent: UserAgent | None = None,
        credential: StoredCredential | None = None,
        return_to: str = "/",
        seen_on: SeenOn = NOWHERE,
        provider: str = FIRST,
    ) -> Session:
        """A managed session from tokens asked for at boot second `sent_at`.

        `credential` fetches tokens for the very same subject; a client's own never stands in for a user.
        """
        subject = None if grant.id_token is None else subject_of(grant.id_token)
        session = self._make(provider, self._named(self._new_id()), subject, user_agent, credential)
        session.return_to, session.seen_on = return_to, seen_on
        await session.begin(grant, sent_at=sent_at)
        return self._look_after(session)

    async def resume(
        self, session_id: str, *, user_agent: UserAgent | None = None, credential: StoredCredential | None = None
    ) -> Session | None:
        """Go on with a stored session, after a restart or beside another process; None if none is stored, or no sound one.

        One that lives here already is the one; who asks meanwhile gets the same. Raises SessionStoreError when the store
        cannot be read.
        """
        async with self._resuming:
            here = self._sessions.get(session_id)
            if here is not None and here.ended is None:
                return here
            try:
                record = await self._store.load(session_id)
            except SessionDamagedError as error:
                self._journal.record(PersistFailed(error=error.code))
                return None
            provider = None if record is None else self._provider_of(record)
            if record is None or provider is None:
                return None
            subject = None if record.tokens.id_token is None else subject_of(record.tokens.id_token)
            session = self._make(provider, session_id, subject, user_agent, credential)
            session.resume_from(record)
            return self._look_after(session)

    async def recollect(self, session_id: str) -> Session | None:
        """A session that is over, for whoever comes back to it and wants to know why; None once that is forgotten.

        Raises SessionStoreError when the store cannot be read.
        """
        reason = await self._store.ended(session_id)
        if reason is None:
            return None
        session = self._make(FIRST, session_id, None, None, None)
        session.ended_before(told_elsewhere(reason))
        self._sessions[session_id] = session
        self._note_end(session_id)
        return session

    async def let_go(self, session_id: str) -> None:
        """Look after it no more here; it goes on in its store, and `resume` takes it up again."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            await session.aclose()

    def _provider_of(self, record: SessionRecord) -> str | None:
        """Whose tokens these are; None if it is not among the configured any more. Early records do not say."""
        return self.provider_of(record.issuer) if record.issuer else FIRST

    def _make(
        self,
        provider: str,
        session_id: str,
        subject: str | None,
        user_agent: UserAgent | None,
        credential: StoredCredential | None,
    ) -> Session:
        stream_id, around = self._new_id(), self._around_of(provider)
        names = {
            "stream_id": self._named(stream_id),
            "session_id": session_id,
            "user_id": user_id_of(provider, subject or "service"),
            "policy": around.config.policy.name,
        }
        return Session(
            around,
            origin=msgspec.structs.replace(self._origin, **names),
            rng=self._rng(stream_id),
            user_agent=user_agent,
            subject=subject,
            credential=credential,
        )

    def _look_after(self, session: Session) -> Session:
        self._sessions[session.session_id] = session
        session.start_session_management()
        return session

    async def sign_out(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        """End a session and forget it; nothing happens if it is not known."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            await session.sign_out(reason)
            await session.aclose()

    async def sessions_of(self, user_id: str) -> tuple[SessionRecord, ...]:
        """A user's sessions, wherever they live, the one in use last first. Raises SessionStoreError."""
        return latest_first(map(self._as_known_here, await self._store.list_of(user_id)))

    async def end_sessions_of(
        self,
        user_id: str,
        session_ids: Collection[str] | None = None,
        *,
        reason: EndReason = EndReason.SIGNED_OUT_ELSEWHERE,
    ) -> int:
        """End a user's sessions, or those of them that are named, wherever they live; how many there were.

        What lives in another process ends when it looks at the store, within a minute. Raises SessionStoreError.
        """
        records = [
            record
            for record in await self._store.list_of(user_id)
            if session_ids is None or record.session_id in session_ids
        ]
        for record in records:
            await self._end(record, reason)
        return len(records)

    async def end_sessions_at_provider(self, *, sub: str | None, sid: str | None, provider: str = FIRST) -> int:
        """What a provider says is over: its session `sid`, or every one of `sub`; how many there were.

        One that names no user is looked for among the sessions that live here. Raises SessionStoreError; those that
        live here have ended then.
        """
        reason, oauth = EndReason.SIGNED_OUT_AT_PROVIDER, self.oauth_of(provider)
        named = None if sub is None else user_id_of(provider, sub)
        here = [
            session
            for session in self.sessions()
            if session.ended is None
            and session.oauth is oauth
            and named in (None, session.user_id)
            and (sid is None or session.known_sid() == sid)
        ]
        await asyncio.gather(*(session.sign_out(reason) for session in here))
        ended = len(here)
        for user_id in {session.user_id for session in here} if named is None else {named}:
            records = await self._store.list_of(user_id)
            meant = [record.session_id for record in records if sid is None or record.known_sid() == sid]
            ended += await self.end_sessions_of(user_id, meant, reason=reason)
        return ended

    async def _end(self, record: SessionRecord, reason: EndReason) -> None:
        here = self._sessions.get(record.session_id)
        if here is not None and here.ended is None:
            # Kept for a while, so that whoever comes to it learns why it ended.
            await here.sign_out(reason)
            return
        await self._store.delete(record.session_id, reason)
        provider = self._provider_of(record)
        if provider is not None and record.tokens.refresh_token is not None:
            await self.oauth_of(provider).revoke(record.tokens.refresh_token)

    def _as_known_here(self, record: SessionRecord) -> SessionRecord:
        here = self._sessions.get(record.session_id)
        if here is None or here.last_activity_at <= record.last_activity_at:
            return record
        return msgspec.structs.replace(record, last_activity_at=here.last_activity_at)

    def call(self, work: Coroutine[Any, Any, T], *, timeout_s: float = 60.0) -> T:
        """Run `work` on the service's loop and wait for it here, in another thread.

        Raises TimeoutError after `timeout_s`, and `work` is then cancelled.
        """
        if not self._around:
            work.close()
        return wait_on_loop(self.around.loop, work, timeout_s=timeout_s)

    def _note_end(self, session_id: str) -> None:
        """An ended session is kept for a while, so that whoever asks for it learns why it ended; then it goes."""
        now = self._clock.boot()
        self._ended.append((now, session_id))
        while self._ended[0][0] <= now - ENDED_KEPT_S:
            _, old = self._ended.popleft()
            session = self._sessions.get(old)
            if session is not None and session.ended is not None:
                del self._sessions[old]

    def _new_id(self) -> str:
        return self._entropy(12).hex()

    def _named(self, number: str) -> str:
        """An id that no other run has: runs with one seed draw the same numbers."""
        return number if self._run_id is None else f"{self._run_id}/{number}"

    def _rng(self, part: str) -> Random:
        """One stream of chance per part: from the seed where one was given, so that a run can be repeated."""
        return Random(f"{self._seed}/{part}") if self._seed is not None else Random(self._entropy(16))

    def _own_transport(self) -> Transport:
        client = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)
        self._owned.push_async_callback(client.aclose)
        return HttpxTransport(client)

    def _own_pool(self) -> httpx.AsyncBaseTransport:
        pool = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=100, max_keepalive_connections=20))
        self._owned.push_async_callback(pool.aclose)
        return pool
