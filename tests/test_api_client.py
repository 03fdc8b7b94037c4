"""`session.client` and `session.auth`: authorised, cached and retried httpx calls that stay httpx."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import httpx
import msgspec
import pytest
from transports import Watch, is_refresh
from world import ISSUER, World, live, with_

from session_core.api_client import AGE_S, SERVED
from session_core.cache_rules import CachePolicy, RouteTtl
from session_core.config import PROFESSIONAL, SessionConfig
from session_core.errors import (
    ForeignOriginError,
    SessionCoreError,
    SessionEndedError,
    SessionLockedError,
    TokenUnavailableError,
)
from session_core.events import RequestServed, RetryScheduled
from session_core.provider.config import ProviderConfig
from session_core.provider.core import EmbeddedProvider
from session_core.provider.memory import MemoryTransport
from session_core.retry_manager import BudgetPolicy
from session_core.service import SessionService
from session_core.session import Session
from session_core.session_limits import SessionLimits
from session_core.token_answers import TokenGrant, read_token_answer
from session_core.vocabulary import ErrorClass, Served
from session_core.wire import FailureKind, Transport, WireAnswer, WireFailure

Reply = httpx.Response | Exception
NOTES = RouteTtl(pattern="/idp/api/notes*", ttl_s=60.0, stale_s=120.0, stale_if_error_s=600.0)
CACHED = with_(PROFESSIONAL, cache=CachePolicy(routes=(NOTES,)))


class Api(httpx.AsyncBaseTransport):
    """An API that is a callable; keeps what it was asked. Its answers take `latency_s`."""

    def __init__(self, *replies: Reply, latency_s: float = 0.1) -> None:
        self.asked: list[httpx.Request] = []
        self.tokens: list[str | None] = []
        self.closed = False
        self.latency_s = latency_s
        coming = list(replies)
        self.reply: Callable[[httpx.Request], Reply] = lambda _request: (
            coming.pop(0) if coming else httpx.Response(200, text="fine")
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.tokens.append(request.headers.get("authorization"))
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for _ in request.stream:
            continue
        await asyncio.sleep(self.latency_s)
        reply = self.reply(request)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def aclose(self) -> None:
        self.closed = True


def run(api: Api, play: Callable[[World, Session], Awaitable[None]], **options: Any) -> World:
    async def main(world: World) -> None:
        await play(world, await world.session())

    return live(main, pool=api, **options)


def served(world: World) -> list[tuple[str, int, Served, int]]:
    return [(fact.method, fact.status, fact.served, fact.attempts) for fact in world.facts(RequestServed)]


# Authorisation


def test_a_401_brings_one_refresh_and_one_more_try() -> None:
    """Then the answer stands, whatever it is; and the wait for the new token is logged."""
    api = Api(httpx.Response(401), httpx.Response(200))

    async def play(world: World, session: Session) -> None:
        assert (await session.client.get("notes")).status_code == 200

    world = run(api, play)
    assert len(api.asked) == 2
    assert api.tokens[0] != api.tokens[1]
    assert world.posts == 1
    (fact,) = world.facts(RequestServed)
    assert (fact.status, fact.attempts, fact.error) == (200, 1, None)
    assert fact.waited_ms >= 100
    assert fact.duration_ms == pytest.approx(200 + fact.waited_ms, abs=1)


def test_a_401_that_stays_is_given_to_the_caller_and_logged_as_auth() -> None:
    """No loop, no third try."""
    api = Api(*[httpx.Response(401)] * 5)

    async def play(world: World, session: Session) -> None:
        assert (await session.client.post("notes", json={"a": 1})).status_code == 401

    world = run(api, play)
    assert len(api.asked) == 2
    assert [fact.error for fact in world.facts(RequestServed)] == [ErrorClass.AUTH]


def test_a_body_that_is_a_stream_is_never_sent_twice() -> None:
    """Not after a 401, not after a 503, not after a lost connection: it has been consumed."""

    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    for reply in (httpx.Response(401), httpx.Response(503), httpx.Response(429), httpx.ConnectError("refused")):
        api = Api(reply)

        async def play(world: World, session: Session) -> None:
            with contextlib.suppress(httpx.ConnectError):
                await session.client.put("notes", content=body())

        run(api, play)
        assert len(api.asked) == 1


def test_an_auth_of_the_callers_own_is_plain_httpx() -> None:
    """No token, no retry, no cache, no event, and any origin."""
    api = Api(httpx.Response(503))

    async def play(world: World, session: Session) -> None:
        answer = await session.client.get("https://elsewhere.example/", auth=("ada", "pw"))
        assert answer.status_code == 503
        assert (await session.client.get("notes", auth=None)).status_code == 200

    world = run(api, play, policy=CACHED)
    assert api.tokens == ["Basic YWRhOnB3", None]
    assert world.facts(RequestServed) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9401/idp/api/notes",
        "https://127.0.0.1:9400/idp/api/notes",
        "http://localhost:9400/idp/api/notes",
        "http://127.0.0.1:9400@evil.example/",
        "http://127.0.0.1/idp/api/notes",
    ],
)
def test_no_token_leaves_for_another_origin(url: str) -> None:
    """Another scheme, host or port is another origin; nothing is sent there at all."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        with pytest.raises(ForeignOriginError):
            await session.client.get(url)

    run(api, play)
    assert api.asked == []


def test_an_origin_that_was_allowed_gets_the_token() -> None:
    """`api_origins` names further ones; the default port may be written or not."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        await session.client.get("https://files.example:443/a")
        await session.client.get("https://files.example/a")

    run(api, play, api_origins=("https://files.example",))
    assert all(token is not None for token in api.tokens)


@pytest.mark.parametrize("target", ["https://evil.example/x", "https://127.0.0.1:9400/idp/api/x", "//127.0.0.1:1/x"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_redirect_to_another_origin_is_not_followed(target: str, stream: bool) -> None:  # noqa: FBT001
    """Also not to https on the same host, to which httpx itself would carry the token."""
    api = Api(httpx.Response(302, headers={"location": target}))

    async def play(world: World, session: Session) -> None:
        client = session.client
        with pytest.raises(ForeignOriginError):
            await client.send(client.build_request("GET", "notes"), stream=stream, follow_redirects=True)

    run(api, play)
    assert len(api.asked) == 1


def test_redirects_within_the_origin_are_followed_as_httpx_does() -> None:
    """With history, bounded, and only where asked for."""

    async def play(world: World, session: Session) -> None:
        client = session.client
        assert (await client.get("a")).status_code == 302
        answer = await client.get("a", follow_redirects=True)
        assert answer.status_code == 200
        assert [hop.status_code for hop in answer.history] == [302, 307]
        api.reply = lambda _request: httpx.Response(302, headers={"location": "/idp/api/a"})
        with pytest.raises(httpx.TooManyRedirects):
            await client.get("a", follow_redirects=True)

    hop = httpx.Response(302, headers={"location": "/idp/api/b"})
    api = Api(hop, hop, httpx.Response(307, headers={"location": "c"}), httpx.Response(200))
    world = run(api, play)
    assert [request.url.path.rpartition("/")[2] for request in api.asked[1:4]] == ["a", "b", "c"]
    assert None not in api.tokens
    assert [fact.status for fact in world.facts(RequestServed)] == [302, 200, 0]


def test_a_session_that_is_locked_over_or_closed_says_which() -> None:
    """The gate is the first thing a call meets."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        client = session.client
        await client.get("notes")
        await asyncio.sleep(100)
        with pytest.raises(SessionLockedError):
            await client.get("notes")
        with pytest.raises(SessionLockedError):
            await client.post("notes")
        with pytest.raises(SessionLockedError):
            async with client.stream("GET", "notes"):
                pass
        await session.sign_out()
        with pytest.raises(SessionEndedError):
            await client.get("notes")
        other = await world.session("grace")
        await other.client.get("notes")
        await other.aclose()
        with pytest.raises(SessionCoreError, match="not looked after"):
            await other.client.get("notes")
        await session.aclose()
        with pytest.raises(SessionEndedError):
            await client.get("notes")

    run(api, play, policy=with_(CACHED, limits=SessionLimits(idle_s=90.0)))
    assert len(api.asked) == 2


# Retries


CASES: dict[str, tuple[str, Reply, int]] = {
    "read, server error": ("GET", httpx.Response(503), 3),
    "read, timeout on the server": ("GET", httpx.Response(408), 3),
    "read, throttled": ("GET", httpx.Response(429), 3),
    "read, answer lost": ("GET", httpx.ReadError("lost"), 3),
    "read, not found": ("GET", httpx.Response(404), 1),
    "read, forbidden": ("GET", httpx.Response(403), 1),
    "idempotent write, server error": ("PUT", httpx.Response(500), 3),
    "removal, answer lost": ("DELETE", httpx.ReadTimeout("lost"), 3),
    "write, server error": ("POST", httpx.Response(503), 1),
    "write, answer lost": ("POST", httpx.ReadError("lost"), 1),
    "write, throttled": ("POST", httpx.Response(429), 2),
    "write, refused": ("POST", httpx.ConnectError("refused"), 3),
    "write, no connection in time": ("PATCH", httpx.ConnectTimeout("slow"), 3),
    "write, pool busy": ("POST", httpx.PoolTimeout("busy"), 3),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_safe_to_repeat_is_repeated_and_nothing_else(name: str) -> None:
    """By method, by status, and by whether the request can have been sent."""
    method, reply, tries = CASES[name]
    api = Api()
    api.reply = lambda _request: reply

    async def play(world: World, session: Session) -> None:
        with contextlib.suppress(httpx.TransportError):
            await session.client.request(method, "notes")

    world = run(api, play)
    assert len(api.asked) == tries
    (fact,) = world.facts(RequestServed)
    assert (fact.method, fact.attempts) == (method, tries)
    assert fact.status == (reply.status_code if isinstance(reply, httpx.Response) else 0)
    assert fact.waited_ms == pytest.approx(1000 * sum(fact.delay_s for fact in world.facts(RetryScheduled)))


@pytest.mark.parametrize("skew_s", [0.0, 7200.0, -7200.0])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured_in_both_forms(form: str, skew_s: float) -> None:
    """The date is read by the server's own clock, so a wrong device clock changes nothing."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        now = world.provider_wall()
        value = "7" if form == "seconds" else formatdate(now + 7, usegmt=True)
        replies = [
            httpx.Response(503, headers={"retry-after": value, "date": formatdate(now, usegmt=True)}),
            httpx.Response(200),
        ]
        api.reply = lambda _request: replies.pop(0)
        began = world.clock.boot()
        await session.client.get("notes")
        assert world.clock.boot() - began == pytest.approx(7 + 0.2, abs=1)

    assert run(api, play, wall_skew_s=skew_s).facts(RetryScheduled)[0].told_by_server


def test_a_server_that_asks_for_too_much_patience_is_not_asked_again() -> None:
    """The caller gets the 503 now rather than in an hour."""
    api = Api(httpx.Response(503, headers={"retry-after": "3600"}))

    async def play(world: World, session: Session) -> None:
        assert (await session.client.get("notes")).status_code == 503

    run(api, play)
    assert len(api.asked) == 1


def test_a_storm_ends_when_the_budget_is_spent() -> None:
    """Twenty calls against a dead API make twenty requests and five retries."""
    api = Api()
    api.reply = lambda _request: httpx.ConnectError("refused")

    async def play(world: World, session: Session) -> None:
        await asyncio.gather(*(session.client.get("notes") for _ in range(20)), return_exceptions=True)

    run(api, play, policy=with_(PROFESSIONAL, retry_budget=BudgetPolicy(retries_max=5, retries_per_minute=0)))
    assert len(api.asked) == 25


def test_no_token_is_one_logged_failure() -> None:
    """The call that waited in vain is in the log with the time it waited."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        await asyncio.sleep(3600)
        world.order(kind="hang", endpoint="token")
        with pytest.raises(TokenUnavailableError):
            await session.client.get("notes")

    policy = with_(PROFESSIONAL, background=False, refresh={"proactive": False, "caller_wait_s_max": 3.0})
    (fact,) = run(api, play, policy=policy).facts(RequestServed)
    assert (fact.status, fact.served, fact.error) == (0, Served.NOTHING, ErrorClass.AUTH)
    assert fact.waited_ms == pytest.approx(3000)
    assert api.asked == []


def test_an_answer_that_cannot_be_decoded_is_logged_and_not_repeated() -> None:
    """Asking again would bring the same."""
    api = Api(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"not gzip")))

    async def play(world: World, session: Session) -> None:
        with pytest.raises(httpx.DecodingError):
            await session.client.get("notes")

    assert served(run(api, play)) == [("GET", 0, Served.NOTHING, 1)]


# Streams


class Chunks(httpx.AsyncByteStream):
    def __init__(self, count: int, size: int) -> None:
        self.count, self.size, self.made, self.closed = count, size, 0, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.count):
            await asyncio.sleep(0.01)
            self.made += 1
            yield bytes(self.size)

    async def aclose(self) -> None:
        self.closed = True


def test_a_streamed_answer_passes_through_chunk_by_chunk() -> None:
    """Each chunk is there before the next is made, none is kept, and leaving early closes the source."""
    chunks = Chunks(1000, 64 << 10)
    api = Api(httpx.Response(200, stream=chunks, headers={"cache-control": "max-age=60"}))

    async def play(world: World, session: Session) -> None:
        async with session.client.stream("GET", "notes") as answer:
            seen = 0
            async for chunk in answer.aiter_raw():
                seen += 1
                assert chunks.made == seen
                assert len(chunk) == 64 << 10
                if seen == 500:
                    break
            with pytest.raises(httpx.ResponseNotRead):
                _ = answer.content
        assert chunks.closed
        assert len(session.get_cache_manager()) == 0

    world = run(api, play, policy=CACHED)
    assert chunks.made == 500
    assert [fact.status for fact in world.facts(RequestServed)] == [200]


def test_a_streamed_answer_is_retried_before_its_first_chunk_only() -> None:
    """The 503 is closed and asked again; what breaks later is the caller's."""

    class Breaking(Chunks):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"first"
            raise httpx.ReadError("lost")

    failed = Chunks(1, 1)
    api = Api(httpx.Response(503, stream=failed), httpx.Response(200, stream=Breaking(1, 1)))

    async def play(world: World, session: Session) -> None:
        async with session.client.stream("GET", "notes") as answer:
            with pytest.raises(httpx.ReadError):
                await answer.aread()

    run(api, play)
    assert failed.closed
    assert len(api.asked) == 2


def test_a_large_upload_is_sent_as_it_is_made() -> None:
    """The request body of a generator is not gathered by us."""
    made: list[int] = []

    class Reading(Api):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            count = 0
            assert isinstance(request.stream, httpx.AsyncByteStream)
            async for _ in request.stream:
                count += 1
                assert len(made) == count
            return httpx.Response(200, text=str(count))

    async def body() -> AsyncIterator[bytes]:
        for place in range(100):
            made.append(place)
            yield bytes(64 << 10)

    async def play(world: World, session: Session) -> None:
        assert (await session.client.put("notes", content=body())).text == "100"

    run(Reading(), play)


# The cache


def test_an_answer_is_fresh_then_stale_then_asked_for_again() -> None:
    """At ttl − 1, ttl, and past the stale window; the marks say which."""
    api = Api()
    api.reply = lambda _request: httpx.Response(200, text=f"answer {len(api.asked)}")

    async def play(world: World, session: Session) -> None:
        client = session.client
        first = await client.get("notes")
        assert SERVED not in first.extensions
        stored_at = world.clock.boot() - 0.1
        await asyncio.sleep(stored_at + 59.5 - world.clock.boot())
        fresh = await client.get("notes")
        assert (fresh.text, fresh.extensions[SERVED]) == ("answer 1", Served.CACHE)
        assert fresh.extensions[AGE_S] == pytest.approx(59.5)
        assert fresh.elapsed.total_seconds() == 0
        await asyncio.sleep(0.5)
        stale = await client.get("notes")
        assert (stale.text, stale.extensions[SERVED]) == ("answer 1", Served.STALE)
        await asyncio.sleep(1)
        renewed = await client.get("notes")
        assert (renewed.text, renewed.extensions[SERVED]) == ("answer 2", Served.CACHE)
        await asyncio.sleep(300)
        assert (await client.get("notes")).text == "answer 3"

    world = run(api, play, policy=CACHED)
    assert len(api.asked) == 3
    assert [fact.served for fact in world.facts(RequestServed)] == [
        Served.NETWORK,
        Served.CACHE,
        Served.STALE,
        Served.CACHE,
        Served.NETWORK,
    ]


def test_one_revalidation_serves_all_who_ask_meanwhile() -> None:
    """Fifty stale answers at once cost one request in the background."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        await session.client.get("notes")
        await asyncio.sleep(61)
        answers = await asyncio.gather(*(session.client.get("notes") for _ in range(50)))
        assert {answer.extensions[SERVED] for answer in answers} == {Served.STALE}
        await asyncio.sleep(1)

    run(api, play, policy=CACHED)
    assert len(api.asked) == 2


def test_an_api_that_is_down_is_bridged_with_marked_answers_and_asked_once_when_back() -> None:
    """Scenario 38: five minutes of 503, no failed call, one event for each call, one answer fresh afterwards."""
    api = Api()
    calls_made: list[int] = []

    async def play(world: World, session: Session) -> None:
        await session.client.get("notes")
        down_until = world.clock.boot() + 300
        api.reply = lambda _request: httpx.Response(503 if world.clock.boot() < down_until else 200, text="new")
        made = 0
        while world.clock.boot() < down_until - 20:
            await asyncio.sleep(10)
            made += 1
            answer = await session.client.get("notes")
            assert (answer.status_code, answer.text) == (200, "fine")
            assert answer.extensions[AGE_S] > 0
        await asyncio.sleep(down_until + 10 - world.clock.boot())
        before = len(api.asked)
        calls = [await session.client.get("notes") for _ in range(5)]
        await asyncio.sleep(1)
        assert len(api.asked) == before + 1
        assert (await session.client.get("notes")).text == "new"
        calls_made.append(1 + made + len(calls) + 1)

    world = run(api, play, policy=CACHED)
    facts = world.facts(RequestServed)
    assert {fact.served for fact in facts} == {Served.NETWORK, Served.CACHE, Served.STALE, Served.STALE_IF_ERROR}
    assert all(fact.status == 200 for fact in facts)
    assert len(facts) == calls_made[0]


@pytest.mark.parametrize("trouble", ["no connection", "no token"])
def test_a_stale_answer_stands_in_where_no_answer_can_be_had(trouble: str) -> None:
    """A dead network or a missing token; without one in the cache the error itself."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        await asyncio.sleep(3400)
        await session.client.get("notes")
        await asyncio.sleep(200)
        if trouble == "no token":
            world.order(kind="status", status=503, endpoint="token")
        else:
            api.reply = lambda _request: httpx.ConnectError("refused")
        answer = await session.client.get("notes")
        assert answer.extensions[SERVED] is Served.STALE_IF_ERROR
        assert answer.extensions[AGE_S] == pytest.approx(200, abs=40)
        with pytest.raises((TokenUnavailableError, httpx.ConnectError)):
            await session.client.get("notes/other")

    policy = with_(CACHED, background=False, refresh={"proactive": False, "caller_wait_s_max": 1.0})
    world = run(api, play, policy=policy)
    assert [fact.served for fact in world.facts(RequestServed)] == [
        Served.NETWORK,
        Served.STALE_IF_ERROR,
        Served.NOTHING,
    ]


def test_a_revalidation_that_fails_keeps_the_stale_answer() -> None:
    """It is counted and tried again later; the user sees no error."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        await session.client.get("notes")
        await asyncio.sleep(61)
        api.reply = lambda _request: httpx.Response(500)
        await session.client.get("notes")
        await asyncio.sleep(5)
        assert session.get_cache_manager().statistics().revalidation_failures == 1
        assert (await session.client.get("notes")).extensions[SERVED] is Served.STALE

    world = run(api, play, policy=CACHED)
    assert {fact.error for fact in world.facts(RequestServed)} == {None}
    assert len(world.facts(RequestServed)) == 3


def test_one_users_answer_never_reaches_another() -> None:
    """Two sessions, the same URL, at the same time and from the cache."""
    api = Api()
    api.reply = lambda request: httpx.Response(200, text=request.headers["authorization"])

    async def play(world: World, session: Session) -> None:
        other = await world.session("grace")
        mine, theirs = await asyncio.gather(session.client.get("notes"), other.client.get("notes"))
        assert mine.text != theirs.text
        assert (await session.client.get("notes")).text == mine.text
        assert (await other.client.get("notes")).text == theirs.text

    run(api, play, policy=CACHED)
    assert len(api.asked) == 2


def test_a_sign_out_empties_the_cache_and_refuses_what_is_under_way() -> None:
    """An answer asked for before the sign-out is not kept after it."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        await session.client.get("notes/1")
        late = asyncio.create_task(session.client.get("notes/2"))
        await asyncio.sleep(0.05)
        await session.sign_out()
        assert len(session.get_cache_manager()) == 0
        await late
        assert len(session.get_cache_manager()) == 0

    run(api, play, policy=CACHED)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_write_that_succeeded_outdates_what_is_cached(method: str) -> None:
    """And one that failed does not."""
    api = Api(httpx.Response(200), httpx.Response(409), httpx.Response(204))

    async def play(world: World, session: Session) -> None:
        client = session.client
        await client.get("notes")
        await client.request(method, "notes")
        assert SERVED in (await client.get("notes")).extensions
        await client.request(method, "notes")
        assert SERVED not in (await client.get("notes")).extensions

    run(api, play, policy=CACHED)


def test_what_the_origin_or_the_caller_forbids_is_not_cached() -> None:
    """no-store, a range, a condition, a header of the caller's own, and an answer that came by a redirect."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        client = session.client
        for headers in ({"range": "bytes=0-1"}, {"cache-control": "no-store"}):
            await client.get("notes", headers=headers)
            assert len(session.get_cache_manager()) == 0
        api.reply = lambda _request: httpx.Response(200, headers={"cache-control": "no-store"})
        await client.get("notes")
        hop = httpx.Response(302, headers={"location": "/idp/api/once"})
        api.reply = lambda request: hop if request.url.path.endswith("notes") else httpx.Response(200)
        await client.get("notes", follow_redirects=True)
        assert len(session.get_cache_manager()) == 0
        api.reply = lambda _request: httpx.Response(200)
        await client.get("notes")
        assert SERVED not in (await client.get("notes", headers={"if-none-match": "x"})).extensions
        api.reply = lambda _request: httpx.Response(404)
        await client.get("notes", headers={"if-none-match": "x"})
        assert len(session.get_cache_manager()) == 0

    run(api, play, policy=CACHED)


def test_without_a_route_the_answers_own_cache_control_decides() -> None:
    """max-age is honoured, silence is not an invitation; Vary selects."""
    told = {"cache-control": "max-age=60", "vary": "accept-language", "content-encoding": "gzip"}
    api = Api()

    async def play(world: World, session: Session) -> None:
        client = session.client
        await client.get("quiet")
        assert len(session.get_cache_manager()) == 0
        api.reply = lambda _request: httpx.Response(200, headers=told, stream=httpx.ByteStream(gzip.compress(b"hi")))
        await client.get("told", headers={"accept-language": "de"})
        again = await client.get("told", headers={"accept-language": "de"})
        assert (again.text, again.extensions[SERVED]) == ("hi", Served.CACHE)
        assert "content-encoding" not in again.headers
        assert SERVED not in (await client.get("told", headers={"accept-language": "en"})).extensions
        assert SERVED not in (await client.get("quiet")).extensions

    run(api, play)


# It stays httpx


def test_what_httpx_offers_still_works() -> None:
    """base_url, params, cookies, headers, event hooks, timeouts, head and options."""
    api = Api(httpx.Response(200, headers={"set-cookie": "seen=1; Path=/"}))
    hooks: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        hooks.append(f"> {request.method}")

    async def on_response(response: httpx.Response) -> None:
        hooks.append(f"< {response.status_code}")

    async def play(world: World, session: Session) -> None:
        async with session.client as client:
            client.event_hooks = {"request": [on_request], "response": [on_response]}
            client.params = client.params.set("lang", "de")
            client.headers["x-mine"] = "1"
            await client.get("notes", params={"page": 2}, timeout=3.0)
            await client.head("/notes")
            await client.options("notes")

    world = run(api, play)
    first, second, _ = api.asked
    assert str(first.url) == f"{ISSUER}/api/notes?lang=de&page=2"
    assert first.headers["x-mine"] == "1"
    assert first.extensions["timeout"]["read"] == 3.0
    assert second.headers["cookie"] == "seen=1"
    assert hooks == ["> GET", "< 200", "> HEAD", "< 200", "> OPTIONS", "< 200"]
    assert {fact.route for fact in world.facts(RequestServed)} == {"/idp/api/notes"}
    assert not any("lang" in fact.route for fact in world.facts(RequestServed))


def test_a_get_that_is_repeated_is_built_as_httpx_builds_it() -> None:
    """Again and again, and anew once the client's headers, cookies, parameters or base address have changed."""
    api = Api()
    seen: list[tuple[str, list[tuple[bytes, bytes]]]] = []

    async def play(_world: World, session: Session) -> None:
        client = session.client

        async def ask_twice() -> None:
            for _ in range(2):
                await client.get("notes")
                request, plain = api.asked[-1], httpx.AsyncClient.build_request(client, "GET", "notes")
                del request.headers["authorization"]
                assert (request.url, request.headers.raw) == (plain.url, plain.headers.raw)
                assert request.extensions["timeout"] == plain.extensions["timeout"]
                assert request.content == b""
            seen.append((str(request.url), request.headers.raw))

        await ask_twice()
        client.headers["x-tab"] = "2"
        await ask_twice()
        client.params = httpx.QueryParams({"page": "2"})
        await ask_twice()
        client.params = httpx.QueryParams()
        client.cookies = {"theme": "dark"}
        await ask_twice()
        client.cookies = {}
        client.base_url = httpx.URL(f"{ISSUER}/api/v2")
        client.timeout = httpx.Timeout(3.0)
        await ask_twice()

    run(api, play)
    assert len({(url, *raw) for url, raw in seen}) == 5


def test_closing_one_client_leaves_the_others_pool_open() -> None:
    """The pool is the service's."""
    api = Api()

    async def play(world: World, session: Session) -> None:
        other = await world.session("grace")
        await session.client.get("notes")
        await session.client.aclose()
        assert not api.closed
        assert (await other.client.get("notes")).status_code == 200

    run(api, play)
    assert not api.closed


def test_a_request_sent_twice_is_two_calls_in_the_log() -> None:
    """The wait of the first is not counted for the second."""
    api = Api(httpx.Response(401))

    async def play(world: World, session: Session) -> None:
        request = session.client.build_request("GET", "notes")
        await session.client.send(request)
        await session.client.send(request)

    first, second = run(api, play).facts(RequestServed)
    assert first.waited_ms >= 100
    assert second.waited_ms == 0


def test_the_auth_serves_a_client_of_the_users_own() -> None:
    """With its 401-once and its guard, and nothing else of ours."""
    api = Api(httpx.Response(401))

    async def play(world: World, session: Session) -> None:
        async with httpx.AsyncClient(auth=session.auth, transport=api) as client:
            assert (await client.get(f"{ISSUER}/api/notes")).status_code == 200
            with pytest.raises(ForeignOriginError):
                await client.get("https://evil.example/")

    world = run(api, play)
    assert len(api.asked) == 2
    assert world.facts(RequestServed) == []


# From threads, on real time


class Live:
    """A service on a real loop, with the provider in memory and an API that any thread can ask."""

    def __init__(self, *, latency_s: float = 0.02, **settings: Any) -> None:
        self.provider = EmbeddedProvider(ProviderConfig(issuer=ISSUER), entropy=secrets.token_bytes)
        self.provider_seconds = 1_767_225_600.0
        self.refused: set[str] = set()
        self.asked: list[str] = []
        watch = Watch()
        transport: Transport = watch.wrap(
            MemoryTransport(self.provider, wall=lambda: self.provider_seconds, latency_s=latency_s)
        )
        self.watch = watch
        self.service = SessionService(
            SessionConfig(
                issuer=ISSUER,
                client_id="session-lab",
                redirect_uri="http://127.0.0.1:8501/auth/callback",
                api_url=f"{ISSUER}/api/",
                **settings,
            ),
            transport=transport,
        )

    def grant(self, life_s: float) -> TokenGrant:
        answer = WireAnswer(status=200, headers={}, body=self.provider.tokens_for("ada", now=self.provider_seconds))
        grant = read_token_answer(answer, wall_received=self.provider_seconds)
        assert isinstance(grant, TokenGrant)
        return msgspec.structs.replace(grant, life_s=life_s)

    def api(self, request: httpx.Request) -> httpx.Response:
        token = request.headers["authorization"]
        self.asked.append(token)
        return httpx.Response(401 if token in self.refused else 200)

    def client(self, session: Session) -> httpx.Client:
        return httpx.Client(auth=session.auth, base_url=f"{ISSUER}/api/", transport=httpx.MockTransport(self.api))

    def refreshes(self) -> int:
        return sum(is_refresh(request) for request in self.watch.transport.begun)


def test_fifty_threads_at_expiry_make_one_post() -> None:
    """The threads wait for the one refresh on the loop, and all succeed."""
    world = Live()

    async def main() -> set[int]:
        async with world.service as service:
            session = await service.adopt(world.grant(life_s=0.001), sent_at=service._clock.boot() - 1)
            session.start_session_management()
            await session.stop_session_management()
            gate = threading.Barrier(50)

            def call() -> int:
                gate.wait()
                with world.client(session) as client:
                    return client.get("notes").status_code

            with ThreadPoolExecutor(50) as pool:
                loop = asyncio.get_running_loop()
                return set(await asyncio.gather(*(loop.run_in_executor(pool, call) for _ in range(50))))

    assert asyncio.run(main()) == {200}
    assert world.refreshes() == 1
    assert len(set(world.asked)) == 1


def test_a_401_in_fifty_threads_is_one_refresh_too() -> None:
    """Each repeats its own call once with the same new token."""
    world = Live()

    async def main() -> set[int]:
        async with world.service as service:
            session = await service.adopt(world.grant(life_s=3600), sent_at=service._clock.boot())
            token = await session._tokens.get()
            world.refused.add(f"Bearer {token}")
            gate = threading.Barrier(50)

            def call() -> int:
                gate.wait()
                with world.client(session) as client:
                    return client.get("notes").status_code

            with ThreadPoolExecutor(50) as pool:
                loop = asyncio.get_running_loop()
                return set(await asyncio.gather(*(loop.run_in_executor(pool, call) for _ in range(50))))

    assert asyncio.run(main()) == {200}
    assert world.refreshes() == 1


def test_a_thread_gets_the_errors_of_the_session() -> None:
    """Ended, foreign origin, no token in time, and a 401 that stays."""
    world = Live(policy=with_(PROFESSIONAL, refresh={"caller_wait_s_max": 0.2}))

    async def main() -> None:
        async with world.service as service:
            session = await service.adopt(world.grant(life_s=3600), sent_at=service._clock.boot())
            world.refused.add(f"Bearer {await session._tokens.get()}")
            unreachable = WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)
            world.watch.transport.before = lambda request: unreachable

            def foreign() -> None:
                with world.client(session) as client:
                    client.get("https://evil.example/")

            def plain() -> int:
                with world.client(session) as client:
                    return client.get("notes").status_code

            with pytest.raises(ForeignOriginError):
                await asyncio.to_thread(foreign)
            assert await asyncio.to_thread(plain) == 401
            late = await service.adopt(world.grant(life_s=0.001), sent_at=service._clock.boot() - 1)

            def waits() -> int:
                with world.client(late) as client:
                    return client.get("notes").status_code

            with pytest.raises(TokenUnavailableError):
                await asyncio.to_thread(waits)
            await session.sign_out()
            with pytest.raises(SessionEndedError):
                await asyncio.to_thread(plain)

    asyncio.run(main())


@pytest.mark.parametrize("limit", ["idle", "absolute"])
def test_a_thread_that_meets_a_limit_leaves_the_ending_to_the_loop(limit: str) -> None:
    """The error is raised in the thread, the lock or end happens where the session lives."""
    limits = SessionLimits(idle_s=1.0, warn_s=0.1) if limit == "idle" else SessionLimits(absolute_s=1.0, warn_s=0.1)
    world = Live(policy=with_(PROFESSIONAL, limits=limits), tick_s_max=15.0)

    async def main() -> None:
        async with world.service as service:
            session = await service.adopt(world.grant(life_s=3600), sent_at=service._clock.boot())
            await service.around.worker.stop()
            session._limits.begin(session._limits.started_at - 2.0, session._limits.last_activity_at - 2.0)

            def call() -> int:
                with world.client(session) as client:
                    return client.get("notes").status_code

            with pytest.raises(SessionLockedError if limit == "idle" else SessionEndedError):
                await asyncio.to_thread(call)
            for _ in range(3):
                await asyncio.sleep(0)
            assert session.state in ("LOCKED", "EXPIRED")

    asyncio.run(main())
    assert world.asked == []


def test_on_the_loops_own_thread_it_raises_rather_than_wait_for_itself() -> None:
    """A valid token needs no loop; a refresh does, and would deadlock."""
    world = Live()

    async def main() -> None:
        async with world.service as service:
            session = await service.adopt(world.grant(life_s=3600), sent_at=service._clock.boot())
            with world.client(session) as client:
                assert client.get("notes").status_code == 200
                expired = await service.adopt(world.grant(life_s=0.001), sent_at=service._clock.boot() - 1)
            with world.client(expired) as client, pytest.raises(SessionCoreError, match="event loop that it blocks"):
                client.get("notes")

    asyncio.run(main())


def test_after_the_service_closed_a_thread_is_told_so() -> None:
    """While the loop still runs, and after it has ended."""
    world = Live()
    kept: list[Session] = []

    def call() -> int:
        with world.client(kept[0]) as client:
            return client.get("notes").status_code

    async def main() -> None:
        async with world.service as service:
            kept.append(await service.adopt(world.grant(life_s=3600), sent_at=service._clock.boot()))
        with pytest.raises(SessionCoreError, match="closed"):
            await asyncio.to_thread(call)

    asyncio.run(main())
    with pytest.raises(SessionCoreError, match="closed"):
        call()


def test_a_loop_that_ended_under_its_service_is_said() -> None:
    """The service was never closed, and nobody answers any more."""
    world = Live()
    kept: list[Session] = []

    async def main() -> None:
        await world.service.__aenter__()
        await world.service.around.worker.stop()
        await world.service.around.heartbeat.stop()
        session = await world.service.adopt(world.grant(life_s=0.001), sent_at=world.service._clock.boot() - 1)
        kept.append(session)

    asyncio.run(main())
    with world.client(kept[0]) as client, pytest.raises(SessionCoreError, match="event loop of this session has ended"):
        client.get("notes")


def test_a_loop_that_is_blocked_frees_the_thread_in_time() -> None:
    """TokenUnavailableError a second after the policy's wait, not a hang."""
    world = Live(policy=with_(PROFESSIONAL, refresh={"caller_wait_s_max": 0.05}))

    async def main() -> None:
        async with world.service as service:
            session = await service.adopt(world.grant(life_s=0.001), sent_at=service._clock.boot() - 1)
            done = threading.Event()

            def call() -> None:
                try:
                    with world.client(session) as client, pytest.raises(TokenUnavailableError):
                        client.get("notes")
                finally:
                    done.set()

            thread = threading.Thread(target=call)
            thread.start()
            assert done.wait(10)
            thread.join()

    asyncio.run(main())


def test_a_cookie_is_kept_replaced_and_sent_like_httpx_does() -> None:
    """The jar that stays shut for answers without cookies is in all else httpx's own."""
    api = Api(httpx.Response(200, headers={"set-cookie": "seen=1; Path=/"}), httpx.Response(200), httpx.Response(200))

    async def play(world: World) -> None:
        session = await world.session()
        await session.client.get("a")
        assert session.client.cookies["seen"] == "1"
        await session.client.get("b")
        session.client.cookies = {"mine": "2"}
        await session.client.get("c")

    live(play, pool=api)
    assert [request.headers.get("cookie") for request in api.asked] == [None, "seen=1", "mine=2"]
