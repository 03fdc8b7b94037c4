"""The session of the person in front of a page: `auth = use_auth()`."""

from __future__ import annotations

import asyncio
import logging
import queue
from collections.abc import Callable, Collection, Coroutine, Iterator
from concurrent.futures import TimeoutError as StillRunningError
from html import escape
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from weakref import WeakKeyDictionary

import httpx
import msgspec
import streamlit as st

from session_core.cache_manager import CacheManager, CacheStatistics
from session_core.errors import SessionCoreError, SessionEndedError
from session_core.service import ServiceStatistics
from session_core.session import Session, SessionStatus
from session_core.session_health import HealthScore
from session_core.token_refresher import RefreshResult
from session_core.vocabulary import EndReason
from session_core.web.devices import Device, devices_of
from session_core.web.faults import FaultOffer
from session_core.web.presence import SCRIPT_PATH, Notice, why_over
from session_core.web.running import Lab, current
from session_core.web.sign_in import User

T = TypeVar("T")
log = logging.getLogger("session_lab")
PIECE_S_MAX = 60.0
# White text on it has a contrast of 6.7, in both themes.
_LINK_STYLE = (
    "display:inline-block;padding:.45rem 1rem;border-radius:.5rem;background:#1d4ed8;color:#fff;"
    "text-decoration:none;font-weight:600"
)


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a session at one moment; `now` is that boot second."""

    now: float
    status: SessionStatus
    cache: CacheStatistics
    service: ServiceStatistics
    heartbeat_s: float


class AuthContext:
    """Synchronous face of one session, for page scripts, which run in threads of their own."""

    def __init__(self, lab: Lab, session: Session | None, user: User | None) -> None:
        self._lab = lab
        self._session = session
        self.user = user

    @property
    def session(self) -> Session:
        if self._session is None:
            raise SessionEndedError(EndReason.SIGNED_OUT, "Nobody is signed in here; sign in first.")
        return self._session

    @property
    def signed_in(self) -> bool:
        return self._session is not None

    @property
    def session_id(self) -> str:
        return self.session.session_id

    # The six calls.

    def start_session_management(self) -> None:
        self._do(self.session.start_session_management)

    def stop_session_management(self) -> None:
        self._lab.service.call(self.session.stop_session_management())

    def get_session_health(self) -> HealthScore:
        return self._do(self.session.get_session_health)

    def force_refresh_session(self) -> RefreshResult:
        return self._lab.service.call(self.session.force_refresh_session())

    def get_cache_manager(self) -> CacheManager:
        """Its statistics may be read here; everything else belongs on the service's loop."""
        return self.session.get_cache_manager()

    def update_activity(self, action: str = "activity") -> None:
        self._do(lambda: self.session.update_activity(action))

    @property
    def client(self) -> httpx.Client:
        """An `httpx.Client` that stays authorised; relative addresses are under the API's. One for each session."""
        client = _clients.get(self.session)
        if client is None:
            client = _clients.setdefault(
                self.session,
                httpx.Client(auth=self.session.auth, base_url=self.session.config.api_url, trust_env=False),
            )
        return client

    def sign_out(self) -> None:
        """End the session, here at once. The browser then goes on to the provider, to be signed out there as well."""
        client = _clients.pop(self.session, None)
        if client is not None:
            client.close()
        leaving = self._lab.sign_out(self.session_id, cookie=_cookie(self._lab), return_to=_this_page())
        if self._lab.service.call(leaving):
            # Streamlit sends the browser to /auth/logout, which is a route of ours; nothing else leads out of a page.
            st.logout()
            st.stop()

    def require_user(self, why: str = "Sign in to go on.") -> User:
        """Who is signed in. Without a session that is alive the page shows how to sign in, and goes no further.

        What the user does in the page counts as activity from here on.
        """
        over = self.why_over()
        if over is not None:
            _ask_to_sign_in(f"{over.title}. {over.why}")
        if self.user is None or self.session.ended is not None:
            _ask_to_sign_in(why)
        watch_presence()
        return self.user

    # For pages.

    def shown_user(self) -> dict[str, str]:
        user = self.user or User(sub="–")
        return {
            "Name": user.name or "–",
            "Email": user.email or "–",
            "Subject": user.sub,
            "Session": self.session_id[:8],
        }

    def why_over(self) -> Notice | None:
        """Why nothing may be seen or done any more in this session, if that is so."""
        if self._session is None:
            return None
        self._do(self._session.hold_to_limits)
        return why_over(self._session.status(), self._session.config.policy.limits)

    def devices(self) -> tuple[Device, ...]:
        """Where this user is signed in. Raises SessionStoreError."""
        records = self._lab.service.call(self._lab.service.sessions_of(self.session.user_id))
        limits = self.session.config.policy.limits
        return devices_of(records, limits, this=self.session_id, clock=self._lab.clock)

    def end_devices(self, session_ids: Collection[str]) -> int:
        """Sign this user out on devices; on how many. Raises SessionStoreError."""
        return self._lab.service.call(self._lab.service.end_sessions_of(self.session.user_id, session_ids))

    def wall(self) -> float:
        """What the clock on the wall says, in seconds."""
        return self._lab.clock.wall()

    def picture(self) -> Picture:
        return self._do(self._picture)

    def stream_text(self, method: str, url: str, **options: Any) -> Iterator[str]:
        """The text of an answer piece by piece, as it comes; called on the session's own client, so it is logged.

        Raises httpx.HTTPError and SessionCoreError.
        """
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                async with self.session.client.stream(method, url, **options) as response:
                    response.raise_for_status()
                    async for piece in response.aiter_text():
                        pieces.put(piece)
            finally:
                pieces.put(None)

        asked = asyncio.run_coroutine_threadsafe(pump(), self._lab.service.around.loop)
        try:
            while (piece := pieces.get(timeout=PIECE_S_MAX)) is not None:
                yield piece
            asked.result(1.0)
        finally:
            asked.cancel()

    def attempt(self, work: Coroutine[Any, Any, T], *, patience_s: float = 1.5) -> T | None:
        """Its result, or None while it goes on in the background: a page must not stand still for it."""
        try:
            return self._lab.service.call(work, timeout_s=patience_s)
        except StillRunningError:
            return None

    def call_api(self) -> httpx.Response | None:
        return self.attempt(self.session.client.get("echo", timeout=30.0))

    @property
    def can_order_faults(self) -> bool:
        """Where the embedded provider is who signed this user in."""
        provider = self._lab.provider
        return provider is not None and provider.config.issuer == self.session.config.issuer

    def order_fault(self, offer: FaultOffer, *, provoke: bool) -> None:
        self._do(lambda: self._lab.order(offer, self.session))
        if provoke:
            self.attempt(self._lab.provoke(offer.provoke, self.session), patience_s=0.3)

    def clear_faults(self) -> None:
        if self._lab.provider is not None:
            self._do(self._lab.provider.faults.clear)

    def _picture(self) -> Picture:
        return Picture(
            now=self._lab.clock.boot(),
            status=self.session.status(),
            cache=self.session.get_cache_manager().statistics(),
            service=self._lab.service.statistics(),
            heartbeat_s=self._lab.config.policy.heartbeat_s,
        )

    def _do(self, what: Callable[[], T]) -> T:
        async def on_the_loop() -> T:
            return what()

        return self._lab.service.call(on_the_loop())


_clients: WeakKeyDictionary[Session, httpx.Client] = WeakKeyDictionary()


def use_auth() -> AuthContext:
    """Who is in front of this page, by the cookie of the browser. Raises SessionCoreError when the app is not running."""
    lab = current()
    cookie = _cookie(lab)
    seat = lab.seats.find(cookie)
    session = None if seat is None else lab.service.get(seat.session_id)
    if session is None and cookie:
        # After a restart the first who asks takes the session up again.
        seat, session = lab.service.call(lab.recall(cookie)) or (None, None)
    return AuthContext(lab, session, None if seat is None or session is None else seat.user)


def require_user(why: str) -> AuthContext:
    """Like `use_auth`, but a page does not go on without a session that is alive: it shows how to sign in, and stops."""
    auth = use_auth()
    if not auth.signed_in:
        _ask_to_sign_in(why)
    return auth


def _ask_to_sign_in(why: str) -> NoReturn:
    st.info(why, icon=":material/login:")
    sign_in_link()
    st.stop()


def watch_presence(*, again: bool = False) -> None:
    """Once on a page: its user's activity counts, and limits are announced there and held to, websocket or not.

    With `again` the page asks anew how the session stands, which it does not do by itself.
    """
    st.html(f'<script src="{SCRIPT_PATH}{"?again" * again}"></script>', unsafe_allow_javascript=True)


def sign_in_link(label: str = "Sign in") -> None:
    """In the same tab: a link button of Streamlit's opens a new one, and this page would never hear of the new cookie."""
    url = f"/auth/sign-in?return_to={quote(_this_page(), safe='')}"
    st.html(f'<a href="{escape(url)}" target="_self" style="{_LINK_STYLE}">{escape(label)}</a>')


def store_trouble() -> str | None:
    return current().trouble()


def embedded_provider() -> bool:
    return current().provider is not None


def explain_error(error: Exception) -> bool:
    """A page that failed says one sentence; the traceback goes to the console only."""
    if isinstance(error, SessionCoreError):
        st.error(str(error), icon=":material/error:")
    else:
        st.error(
            "This page ran into a problem. Reload it; if it stays, see the app's console.", icon=":material/error:"
        )
        log.error("A page failed.", exc_info=error)
    return True


def _cookie(lab: Lab) -> str | None:
    return st.context.cookies.get(lab.cookies.session)


def _this_page() -> str:
    path = urlsplit(st.context.url or "/").path or "/"
    query = urlencode(st.query_params.to_dict())
    return f"{path}?{query}" if query else path
