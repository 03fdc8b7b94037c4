"""Authorised httpx calls: token, cache, retry and one fresh start after a 401."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from datetime import timedelta
from functools import partial
from http.cookiejar import CookieJar
from typing import Any, NamedTuple, Protocol, TypeVar

import httpx
import msgspec

from session_core.cache_manager import CacheManager, Hit
from session_core.cache_rules import ERROR_STATUSES, Freshness, RouteTtl, admit, may_serve, outdates
from session_core.clock import Clock
from session_core.dpop import USE_NONCE
from session_core.errors import ForeignOriginError, SessionCoreError, TokenUnavailableError
from session_core.events import Record, RequestServed
from session_core.http_answers import read_date, read_retry_after
from session_core.prover import Prover
from session_core.retry_manager import Call, RetryManager, call_kind, classify_status
from session_core.token_manager import TokenManager
from session_core.vocabulary import ErrorClass, Outcome, Served

CookieTypes = httpx.Cookies | CookieJar | dict[str, str] | list[tuple[str, str]]

WAITED_S = "session_waited_s"
SERVED = "session_served"
AGE_S = "session_age_s"
"""Keys of `response.extensions`: where the answer came from (a `Served`) and how old it is in seconds."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_OURS = frozenset({"authorization", "dpop"})
_DESCRIBE_ENCODED = frozenset({"content-encoding", "content-length"})
_SERVED = {
    Freshness.FRESH: Served.CACHE,
    Freshness.STALE: Served.STALE,
    Freshness.STALE_IF_ERROR: Served.STALE_IF_ERROR,
}
_ROUTE_CHARS_MAX = 200
BUILT_MAX = 64
"""So many addresses are remembered with their request."""
Origin = tuple[bytes, bytes]
T = TypeVar("T")


def origin_of(url: httpx.URL) -> Origin:
    return url.raw_scheme, url.netloc


class Gate(Protocol):
    """Raises while the session may not make calls: it is locked or over."""

    def __call__(self) -> None: ...


class SessionAuth(httpx.Auth):
    """Adds a valid access token to each request to an allowed origin; after a 401 once more with a new one.

    A token that is bound to a key goes with a proof for the very request (RFC 9449), made anew for each try; where the
    API wants its nonce in it, it is asked once more.

    Serves `httpx.AsyncClient` on the session's loop and `httpx.Client` from any other thread.
    """

    def __init__(
        self,
        *,
        tokens: TokenManager,
        origins: frozenset[Origin],
        gate: Gate,
        clock: Clock,
        wait_s_max: float,
        loop: asyncio.AbstractEventLoop,
        prover: Prover,
    ) -> None:
        self._tokens = tokens
        self._origins = origins
        self._gate = gate
        self._clock = clock
        self._wait_s_max = wait_s_max
        self._loop = loop
        self._prover = prover

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        self._admit(request)
        token = self._tokens.peek()
        if token is None:
            token = await self._timed(request, self._tokens.get())
        if self._tokens.proof_key is not None:
            self._prove(request, token)
            response = yield request
            if self._wants_nonce(request, response):
                self._prove(request, token)
                response = yield request
        else:
            request.headers["Authorization"] = "Bearer " + token
            response = yield request
        if response.status_code == 401 and _repeatable(request):
            fresh = await self._timed(request, self._tokens.replace(token))
            if fresh is not None:
                self._prove(request, fresh)
                yield request

    async def _timed(self, request: httpx.Request, answer: Awaitable[T]) -> T:
        """What we make a call wait is logged with it, also where it waits in vain."""
        asked_at = self._clock.boot()
        try:
            return await answer
        finally:
            request.extensions[WAITED_S] = request.extensions.get(WAITED_S, 0.0) + self._clock.boot() - asked_at

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._admit(request)
        token = self._tokens.peek() or self._on_loop(self._tokens.get())
        self._prove(request, token)
        response = yield request
        if self._wants_nonce(request, response):
            self._prove(request, token)
            response = yield request
        if response.status_code == 401 and _repeatable(request):
            fresh = self._on_loop(self._tokens.replace(token))
            if fresh is not None:
                self._prove(request, fresh)
                yield request

    def _prove(self, request: httpx.Request, token: str) -> None:
        key = self._tokens.proof_key
        if key is None:
            request.headers["Authorization"] = "Bearer " + token
            return
        proof = self._prover.proof(key, method=request.method, url=_target(request), access_token=token)
        request.headers["Authorization"] = "DPoP " + token
        request.headers["DPoP"] = proof

    def _wants_nonce(self, request: httpx.Request, response: httpx.Response) -> bool:
        """RFC 9449 §9: whether the answer only asks for another proof; the nonce it brings is remembered anyway."""
        told = "DPoP" in request.headers and self._prover.heed(_target(request), response.headers)
        return (
            told
            and response.status_code == 401
            and USE_NONCE in response.headers.get("www-authenticate", "")
            and _repeatable(request)
        )

    def _admit(self, request: httpx.Request) -> None:
        self._gate()
        url = request.url
        if (url.raw_scheme, url.netloc) not in self._origins:
            raise ForeignOriginError(b"://".join(origin_of(url)).decode("ascii", "replace"))

    def _on_loop(self, call: Any) -> Any:
        try:
            return wait_on_loop(self._loop, call, timeout_s=self._wait_s_max + 1.0)
        except TimeoutError:
            raise TokenUnavailableError(Outcome.TRANSIENT, None) from None


def wait_on_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
    """Run `work` on `loop` and wait for it in this thread; after `timeout_s` it is cancelled and TimeoutError raised."""
    if not loop.is_running():
        work.close()
        raise SessionCoreError("The event loop of this session has ended; start its service again.")
    if is_running_here(loop):
        work.close()
        raise SessionCoreError(
            "This call would wait for the event loop that it blocks; await it here, or call from another thread."
        )
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result(timeout_s)
    finally:
        future.cancel()


def is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _target(request: httpx.Request) -> str:
    """Its address as it is sent, without what a user may have written before the host."""
    url = request.url
    return b"".join((url.raw_scheme, b"://", url.netloc, url.raw_path)).decode("ascii")


def _repeatable(request: httpx.Request) -> bool:
    """A body that is a stream has been consumed by the first try."""
    return isinstance(request.stream, httpx.ByteStream)


class _Call(msgspec.Struct):
    """One call under way: what the log will say of it."""

    request: httpx.Request
    route: str
    started_at: float
    attempts: int = 0
    slept_s: float = 0.0
    trouble: ErrorClass | None = None


class _Built(NamedTuple):
    """A request without a body as it was built once, and what of the client it was built from."""

    base_url: httpx.URL
    sent: list[tuple[bytes, bytes]]
    url: httpx.URL
    headers: httpx.Headers


class SharedTransport(httpx.AsyncBaseTransport):
    """A pool that many sessions use: closing one session's client leaves it open."""

    def __init__(self, pool: httpx.AsyncBaseTransport) -> None:
        self._pool = pool
        self.handle_async_request = pool.handle_async_request  # type: ignore[method-assign]

    async def aclose(self) -> None:
        return


class LeanCookies(httpx.Cookies):
    """A jar that is opened for an answer that brings a cookie; httpx's own is opened for each, at a tenth of a call."""

    def extract_cookies(self, response: httpx.Response) -> None:
        if "set-cookie" in response.headers:
            super().extract_cookies(response)


class ApiClient(httpx.AsyncClient):
    """`session.client`: an `httpx.AsyncClient` that stays authorised, caches, and retries what is safe to repeat.

    Answers from the cache carry `session_served` and `session_age_s` in `response.extensions`. Besides httpx's own
    errors a call can raise TokenUnavailableError, LoginRequiredError, SessionEndedError, SessionLockedError and
    ForeignOriginError. A call with an `auth` of its own is plain httpx: no token, cache, retry or log.
    """

    def __init__(
        self,
        *,
        session_auth: SessionAuth,
        gate: Gate,
        cache: CacheManager,
        user_id: str,
        retry: RetryManager,
        clock: Clock,
        record: Record,
        on_kept: Callable[[], object],
        **options: Any,
    ) -> None:
        super().__init__(auth=session_auth, **options)
        self._lean_cookies = LeanCookies()
        self._built: dict[str, _Built] = {}
        self._on_kept = on_kept
        self._gate = gate
        self._cache = cache
        self._user_id = user_id
        self._retry = retry
        self._clock = clock
        self._record = record

    @property
    def cookies(self) -> httpx.Cookies:
        return self._lean_cookies

    @cookies.setter
    def cookies(self, cookies: CookieTypes) -> None:
        self._lean_cookies = LeanCookies(cookies)

    def build_request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Request:
        """As httpx does; a GET of an address asked for before, with nothing added, begins from what was built then."""
        if (
            method != "GET"
            or not isinstance(url, str)
            or self.params
            or self._lean_cookies
            or any(value is not None and value is not httpx.USE_CLIENT_DEFAULT for value in options.values())
        ):
            return super().build_request(method, url, **options)
        base_url, sent = self.base_url, self.headers.raw
        known = self._built.get(url)
        if known is None or known.base_url is not base_url or known.sent != sent:
            request = super().build_request(method, url, **options)
            if len(self._built) >= BUILT_MAX:
                self._built.clear()
            self._built[url] = _Built(base_url, sent, request.url, request.headers.copy())
            return request
        timeouts = self.timeout.as_dict()
        request = httpx.Request(
            method, known.url, headers=known.headers, stream=httpx.ByteStream(b""), extensions={"timeout": timeouts}
        )
        request.read()
        return request

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        if auth is not httpx.USE_CLIENT_DEFAULT:
            # Somebody else's answer: neither ours to keep nor to retry.
            return await super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)
        path, cache = request.url.path, self._cache
        call = _Call(request, path[:_ROUTE_CHARS_MAX], self._clock.boot())
        reads = not stream and request.method == "GET"
        route = cache.policy.route_for(path) if reads else None
        if reads and (route is not None or len(cache)):
            return await self._ask_cache(call, route, follow_redirects)
        generation = cache.generation
        try:
            response = await self._ask(call, stream, follow_redirects)
        except (httpx.RequestError, SessionCoreError):
            self._note(call, 0, Served.NOTHING)
            raise
        self._note(call, response.status_code, Served.NETWORK)
        if reads:
            told = response.headers.get("cache-control")
            if told is not None and (told.lower() != "no-store" or len(cache)):
                self._keep(request, response, route, generation=generation, sent_at=call.started_at)
        elif request.method not in SAFE_METHODS and response.status_code < 400:
            cache.invalidate(self._user_id, str(request.url))
        return response

    async def _ask_cache(self, call: _Call, route: RouteTtl | None, follow_redirects: Any) -> httpx.Response:
        cache, request = self._cache, call.request
        key = None
        self._gate()
        if may_serve(request.method, request.headers.keys()):
            key = cache.key_for(self._user_id, str(request.url), request.headers)
            hit = cache.lookup(key, route=call.route)
            if hit is not None:
                if hit.freshness is Freshness.STALE:
                    cache.revalidate(key, partial(self._revalidate, request, route, follow_redirects))
                return self._serve(call, hit)
        generation, asked = cache.generation, call.started_at
        try:
            response = await self._ask(call, False, follow_redirects)
        except (httpx.RequestError, SessionCoreError) as error:
            bridged = key is not None and isinstance(error, httpx.TransportError | TokenUnavailableError)
            hit = cache.lookup(key, route=call.route, error=True) if bridged and key is not None else None
            if hit is None:
                self._note(call, 0, Served.NOTHING)
                raise
            return self._serve(call, hit)
        if response.status_code in ERROR_STATUSES and key is not None:
            hit = cache.lookup(key, route=call.route, error=True)
            if hit is not None:
                return self._serve(call, hit)
        self._note(call, response.status_code, Served.NETWORK)
        self._keep(request, response, route, generation=generation, sent_at=asked)
        return response

    async def _revalidate(self, request: httpx.Request, route: RouteTtl | None, follow_redirects: Any) -> None:
        again = httpx.Request(request.method, request.url, headers=request.headers, extensions=dict(request.extensions))
        call = _Call(again, request.url.path[:_ROUTE_CHARS_MAX], self._clock.boot())
        generation = self._cache.generation
        response = await self._ask(call, False, follow_redirects)
        if response.status_code in ERROR_STATUSES:
            response.raise_for_status()
        self._keep(again, response, route, generation=generation, sent_at=call.started_at)

    def _keep(
        self,
        request: httpx.Request,
        response: httpx.Response,
        route: RouteTtl | None,
        *,
        generation: int,
        sent_at: float,
    ) -> None:
        cache = self._cache
        if response.url != request.url:
            # It was found elsewhere, and where may change at any time.
            return
        # The token is ours, not the caller's: it must not keep an answer out of the cache.
        asked = {name: value for name, value in request.headers.items() if name not in _OURS}
        url = str(request.url)
        admission = admit(
            route, method=request.method, request=asked, status=response.status_code, answer=response.headers
        )
        if admission is None:
            if outdates(response.status_code):
                cache.invalidate(self._user_id, url)
            return
        key = cache.key_for(self._user_id, url, asked, admission.vary)
        if cache.store(key, admission.entry(response.content, sent_at=sent_at), generation=generation):
            self._on_kept()

    async def _ask(self, call: _Call, stream: bool, follow_redirects: Any) -> httpx.Response:  # noqa: FBT001 - hot
        request = call.request
        while True:
            if self.is_closed:
                # The session may have ended while this call waited for its next try.
                self._gate()
            call.attempts += 1
            try:
                response = await super().send(request, stream=stream, follow_redirects=False)
                if response.next_request is not None:
                    response = await self._follow(response, stream, follow_redirects)
            except httpx.RequestError as error:
                call.trouble = ErrorClass.NETWORK
                if not isinstance(error, httpx.TransportError):
                    raise
                delay_s = self._grant(call, ErrorClass.NETWORK, sent=not isinstance(error, _NOT_SENT))
                if delay_s is None:
                    raise
            except SessionCoreError:
                call.trouble = ErrorClass.AUTH
                raise
            else:
                status = response.status_code
                call.trouble = trouble = classify_status(status) if status >= 400 else None
                delay_s = None if trouble is None else self._grant(call, trouble, response=response)
                if delay_s is None:
                    return response
                await response.aclose()
            call.slept_s += delay_s
            await asyncio.sleep(delay_s)

    async def _follow(self, response: httpx.Response, stream: bool, follow_redirects: Any) -> httpx.Response:  # noqa: FBT001
        """Redirect by redirect, each let through like a call of its own, so that no token leaves for another origin."""
        if not (self.follow_redirects if follow_redirects is httpx.USE_CLIENT_DEFAULT else follow_redirects):
            return response
        history = list(response.history)
        while response.next_request is not None:
            if len(history) >= self.max_redirects:
                raise httpx.TooManyRedirects("Exceeded maximum allowed redirects.", request=response.request)
            await response.aread()
            history.append(response)
            response = await super().send(response.next_request, stream=stream, follow_redirects=False)
            response.history = [*history, *response.history]
        return response

    def _grant(
        self, call: _Call, trouble: ErrorClass, *, sent: bool = True, response: httpx.Response | None = None
    ) -> float | None:
        if not _repeatable(call.request):
            return None
        # What was never sent cannot have been acted on, so a write may be repeated like a read.
        kind = call_kind(call.request.method) if sent else Call.API_READ
        retry_after_s = None
        if response is not None:
            now = read_date(response.headers) or self._clock.wall()
            retry_after_s = read_retry_after(response.headers.get("retry-after"), wall=now)
        return self._retry.grant(kind, call.attempts, trouble, now=self._clock.boot(), retry_after_s=retry_after_s)

    def _serve(self, call: _Call, hit: Hit) -> httpx.Response:
        served = _SERVED[hit.freshness]
        call.trouble = None
        self._note(call, hit.entry.status, served)
        headers = [(name, value) for name, value in hit.entry.headers if name not in _DESCRIBE_ENCODED]
        response = httpx.Response(
            hit.entry.status,
            headers=headers,
            content=hit.entry.body,
            request=call.request,
            extensions={SERVED: served, AGE_S: hit.age_s},
        )
        response.elapsed = timedelta(0)
        return response

    def _note(self, call: _Call, status: int, served: Served) -> None:
        waited_s = call.request.extensions.pop(WAITED_S, 0.0) + call.slept_s
        self._record(
            RequestServed(
                method=call.request.method,
                route=call.route,
                status=status,
                served=served,
                duration_ms=(self._clock.boot() - call.started_at) * 1000,
                waited_ms=waited_s * 1000,
                attempts=call.attempts,
                error=call.trouble,
            )
        )
