"""What runs behind the pages: started and stopped by the app's lifespan, found by the pages through one holder."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from random import Random
from typing import TypeVar

import msgspec

from session_core.clock import Clock, SystemClock
from session_core.config import SessionConfig
from session_core.errors import EventStoreError, ProviderError, SessionCoreError
from session_core.events import AnyFact, Emit, Event, FaultOrdered, Journal, Origin, SessionEnded
from session_core.provider import EmbeddedProvider
from session_core.provider.asgi import ProviderFace
from session_core.service import SessionService, drop_event
from session_core.session import Session
from session_core.session_store import SessionForeignError, SessionStoreError
from session_core.store import Recorder
from session_core.store.alert_desk import AlertDesk
from session_core.store.late_store import LateStore
from session_core.vocabulary import EndReason, State
from session_core.web import alert_watch
from session_core.web.door import Door
from session_core.web.farewells import Farewell, Farewells, make_farewell
from session_core.web.faults import FaultOffer, Provocation
from session_core.web.ingest import Intake
from session_core.web.metrics import Metrics
from session_core.web.providers import Providers, read_providers
from session_core.web.retention import retaining
from session_core.web.settings import LabSettings, alert_settings, provider_config, retention
from session_core.web.sign_in import CookieNames, PendingLogins, Seat, Seats, User, cookie_names
from session_core.web.stored_sessions import provider_face, shelf_of, stored_sessions
from session_core.web.taking_up import taking_up
from session_core.web.turnstile import Turnstile
from session_core.web.used_tokens import UsedTokens

T = TypeVar("T")
log = logging.getLogger("session_lab")
SIGN_INS_AT_ONCE_MAX = 60
OVER = frozenset({State.SIGNED_OUT, State.EXPIRED, State.LOCKED})


class Lab(msgspec.Struct, kw_only=True):
    """One running app. `provider` is None where another issuer signs people in."""

    config: SessionConfig
    providers: Providers
    clock: Clock
    service: SessionService
    store: LateStore
    recorder: Recorder
    emit: Emit
    alerts: AlertDesk
    pending: PendingLogins
    seats: Seats
    farewells: Farewells
    logouts: UsedTokens
    cookies: CookieNames
    turnstile: Turnstile
    intake: Intake
    metrics: Metrics
    metrics_door: Door
    provider: EmbeddedProvider | None = None
    face: ProviderFace | None = None

    def trouble(self) -> str | None:
        """What keeps events from being stored, in one sentence."""
        try:
            self.store.opened()
        except EventStoreError as error:
            return str(error)
        return self.recorder.statistics().last_error

    def order(self, offer: FaultOffer, session: Session) -> None:
        """Have the embedded provider misbehave, and say so in this session's log."""
        if self.provider is not None:
            self.provider.faults.order(offer.fault, self.clock.wall())
            self._note(session, FaultOrdered(endpoint=offer.fault.endpoint, fault=offer.label))

    async def provoke(self, provocation: Provocation, session: Session) -> None:
        """Let the session meet the fault now; what comes of it is in its log."""
        if provocation is Provocation.CALL:
            await session.client.get("echo", timeout=30.0)
        else:
            await session.force_refresh_session()

    async def sign_out(self, session_id: str, *, cookie: str | None, return_to: str) -> bool:
        """End a session for its user; whether the browser with this cookie has to go on to the provider."""
        farewell = await self._farewell(session_id, return_to)
        await self.leave(session_id)
        if farewell is None or not cookie:
            return False
        self.farewells.keep(farewell, cookie=cookie, now=self.clock.boot())
        return True

    async def _farewell(self, session_id: str, return_to: str) -> Farewell | None:
        session = self.service.get(session_id)
        if session is None or session.ended is not None:
            return None
        try:
            metadata = await session.oauth.metadata()
        except ProviderError:
            # Nobody waits for a provider that is away to be signed out here.
            return None
        return make_farewell(
            metadata,
            session.oauth.registration,
            session.config,
            id_token=session.id_token(),
            return_to=return_to,
            entropy=secrets.token_bytes,
        )

    async def seat(self, session: Session, user: User, *, before: str | None) -> str:
        """A cookie for `session`. The one `before` opens nothing any more, and its session ends."""
        left = await self.seats.give_up(before)
        cookie, moved = await self.seats.take(Seat(session_id=session.session_id, user=user))
        if left is not None:
            await self.leave(left.session_id)
        await self._make_room(moved)
        return cookie

    async def recall(self, cookie: str | None) -> tuple[Seat, Session] | None:
        """Who sits behind a cookie, also if the app was restarted since. Raises SessionStoreError, fit to be shown."""
        try:
            seat, moved = await self.seats.recall(cookie)
            await self._make_room(moved)
            if seat is None:
                return None
            name = seat.session_id
            session = self.service.get(name) or await self.service.resume(name) or await self.service.recollect(name)
        except SessionForeignError as error:
            # Nobody waits for it to become readable; should it be, this seat still leads to it.
            log.warning("%s", error)
            return None
        except SessionStoreError as error:
            log.warning("%s", error)
            raise SessionStoreError("Who you are cannot be read just now; try again in a moment.") from None
        if session is None:
            await self.seats.give_up(cookie)
            return None
        return seat, session

    async def leave(self, session_id: str) -> None:
        """End a session and free its seats, also one that rests in the store since a restart."""
        await self.seats.leave(session_id)
        if self.service.get(session_id) is None:
            with suppress(SessionStoreError):
                await self.service.resume(session_id)
        await self.service.sign_out(session_id)

    async def _make_room(self, moved: list[Seat]) -> None:
        for seat in moved:
            await (self.service.let_go if self.seats.durable else self.leave)(seat.session_id)

    def note_stop(self) -> None:
        """Say of each session that nobody looks after it from now on, or it would look alive for a day.

        A stored one is taken up again at the next start, which the log says as well.
        """
        for session in self.service.sessions():
            if session.state not in OVER:
                self._note(session, SessionEnded(reason=EndReason.STOPPED))

    def _note(self, session: Session, fact: AnyFact) -> None:
        origin = Origin(
            stream_id=secrets.token_hex(12),
            session_id=session.session_id,
            user_id=session.user_id,
            policy=session.config.policy.name,
        )
        Journal(clock=self.clock, emit=self.emit, origin=origin).record(fact)


_lab: Lab | None = None


def current() -> Lab:
    """The running app. Raises SessionCoreError, for a page that was started by itself."""
    if _lab is None:
        raise SessionCoreError("The session service is not running; start the app with `streamlit run app.py`.")
    return _lab


@asynccontextmanager
async def run_lab(
    settings: LabSettings, environment: Mapping[str, str], *, port: int, address: str | None = "127.0.0.1"
) -> AsyncIterator[Lab]:
    """Everything behind the pages, from first to last; it listens at `address`, None for all that there are.

    Raises ConfigError; an event store that cannot be used stops nothing.
    """
    global _lab  # noqa: PLW0603 - the one holder; this function alone sets it
    clock = SystemClock()
    providers = read_providers(settings, environment, port=port)
    config = providers.first
    store = LateStore(settings.db_path, clock=clock)
    desk = AlertDesk(
        store,
        clock=clock,
        new_id=lambda: secrets.token_hex(12),
        configured=alert_settings(settings),
        told_to=settings.alert_webhook.host if settings.alert_webhook else "",
    )
    # The port is in the name, so that two apps told to use one file do not share what they could not write.
    spill = settings.db_path.with_name(f"{settings.db_path.name}.spill-{port}.jsonl")
    recorder = Recorder(store, clock=clock, spill_path=spill)
    metrics = Metrics()
    emit = tee(await asyncio.to_thread(_start, store, recorder), metrics.observe)
    provider = None
    if providers.embedded:
        provider = EmbeddedProvider(provider_config(settings, config, port=port), entropy=secrets.token_bytes)
    try:
        async with (
            _keeping(
                stored_sessions(settings, environment, config, others=providers.others.values(), clock=clock)
            ) as sessions,
            SessionService(config, others=providers.others, emit=emit, clock=clock, store=sessions) as service,
            retaining(store, retention(settings), clock=clock),
            alert_watch.watching(desk, settings.alert_webhook, clock=clock, rng=Random(secrets.token_bytes(16))),
        ):
            face = None if provider is None else await provider_face(provider, sessions, config, clock=clock)
            _lab = Lab(
                config=config,
                providers=providers,
                clock=clock,
                service=service,
                store=store,
                recorder=recorder,
                emit=emit,
                alerts=desk,
                pending=PendingLogins(entropy=secrets.token_bytes, shelf=shelf_of(sessions, config, "login")),
                seats=Seats(entropy=secrets.token_bytes, shelf=shelf_of(sessions, config, "seat")),
                farewells=Farewells(),
                logouts=UsedTokens(shelf_of(sessions, config, "logout")),
                cookies=cookie_names(config.redirect_uri),
                turnstile=Turnstile(per_minute=settings.sign_ins_per_minute, burst=SIGN_INS_AT_ONCE_MAX),
                intake=Intake(
                    store.append_once, clock=clock, settings=settings, home=config.redirect_uri, address=address
                ),
                metrics=metrics,
                metrics_door=Door(
                    settings.metrics_key, address=address, mends="set SESSION_LAB_METRICS_KEY to read its metrics"
                ),
                provider=provider,
                face=face,
            )
            try:
                async with taking_up(service, sessions, _lab.seats):
                    yield _lab
            finally:
                _lab.note_stop()
                await _lab.seats.catch_up()
                _lab = None
    finally:
        await asyncio.to_thread(recorder.stop)
        store.close()


@asynccontextmanager
async def _keeping(opening: AbstractContextManager[T]) -> AsyncIterator[T]:
    """What is opened and closed at once, held beside what is waited for."""
    with opening as opened:
        yield opened


def tee(keep: Emit, count: Emit) -> Emit:
    """Both hear of every event."""

    def emit(event: Event) -> None:
        keep(event)
        count(event)

    return emit


def _start(store: LateStore, recorder: Recorder) -> Emit:
    """Begin to record; where not even the disk takes events, sessions go on without a log."""
    with suppress(EventStoreError):
        store.opened()  # What cannot be opened now is tried again; `trouble` says why it could not.
    try:
        recorder.start()
    except EventStoreError:
        return drop_event
    return recorder.emit
