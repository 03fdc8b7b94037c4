"""The live door over real loopback sockets: what did not leave, what may have, and nothing that lasts for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from session_core.wire import (
    ANSWER_BYTES_MAX,
    FailureKind,
    HttpxTransport,
    WireAnswer,
    WireFailure,
    WireRequest,
)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


class Server:
    """A server on the loopback address whose whole behaviour is `serve`; `asked` keeps what it was sent."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.asked: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if b"content-length" in line]
                self.asked.append(head + await reader.readexactly(int(lengths[0]) if lengths else 0))
                await self.serve(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Server]:
    server = Server(serve)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(server.accept(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def door(library: ModuleType, **options: Any) -> AsyncIterator[HttpxTransport]:
    settings = {"limits": library.Limits(max_keepalive_connections=0), "trust_env": False, **options}
    transport = HttpxTransport(library.AsyncClient(**settings))
    try:
        yield transport
    finally:
        await transport.aclose()


def answering(answer: bytes) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return serve


async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


async def ask(library: ModuleType, serve: Serve, **request: Any) -> tuple[WireAnswer | WireFailure, Server]:
    async with serving(serve) as server, door(library) as transport:
        fields: dict[str, Any] = {"method": "POST", "url": server.url, "body": b"a=b", "timeout_s": 0.25, **request}
        return await transport.send(WireRequest(**fields)), server


@LIBRARIES
def test_an_answer_comes_back_whole(library: ModuleType) -> None:
    """Status, lower-case headers and body; the request arrives as it was given."""
    serve = answering(OK + b"Content-Length: 2\r\nX-Custom: Yes\r\n\r\n{}")
    answer, server = asyncio.run(ask(library, serve, headers=(("x-mine", "1"),), timeout_s=5.0))
    assert isinstance(answer, WireAnswer)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["x-custom"] == "Yes"
    assert answer.headers["content-type"] == "application/json"
    assert server.asked[0].startswith(b"POST /token HTTP/1.1")
    assert b"x-mine: 1" in server.asked[0]
    assert server.asked[0].endswith(b"a=b")


@LIBRARIES
def test_a_refused_port_was_never_reached(library: ModuleType) -> None:
    """Nothing was sent, so anything may be sent again."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"

        async def main() -> WireAnswer | WireFailure:
            async with door(library) as transport:
                return await transport.send(WireRequest(method="GET", url=url, timeout_s=2.0))

        assert asyncio.run(main()) == WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)


@LIBRARIES
@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://"])
def test_an_address_that_leads_nowhere_was_never_reached(library: ModuleType, url: str) -> None:
    """A scheme nobody speaks is no exception of the caller's."""

    async def main() -> WireAnswer | WireFailure:
        async with door(library) as transport:
            return await transport.send(WireRequest(method="GET", url=url, timeout_s=2.0))

    assert asyncio.run(main()) == WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)


@LIBRARIES
def test_a_server_that_never_answers_is_given_up_in_time(library: ModuleType) -> None:
    """It may have acted, so the request counts as sent."""

    async def main() -> tuple[WireAnswer | WireFailure, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        failure, server = await ask(library, silent)
        assert len(server.asked) == 1
        return failure, loop.time() - began

    failure, took_s = asyncio.run(main())
    assert failure == WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)
    assert 0.2 <= took_s < 1.0


@LIBRARIES
@pytest.mark.parametrize("where", ["head", "body"])
def test_a_server_that_drips_is_given_up_in_time(library: ModuleType, where: str) -> None:
    """The deadline is for the whole exchange: each byte comes soon enough, and the answer does not."""
    head = OK + b"content-length: 1000\r\n\r\n"

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if where == "body":
            writer.write(head)
        for number in range(200):
            writer.write(head[number : number + 1] if where == "head" else b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        failure, _ = await ask(library, drip)
        assert failure == WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)
        return loop.time() - began

    assert 0.2 <= asyncio.run(main()) < 1.0


@LIBRARIES
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"nonsense\r\n\r\n",
        OK + b"content-length: 50\r\n\r\nshort",
        OK + b"content-encoding: gzip\r\n\r\nno",
    ],
    ids=["nothing", "half a line", "no HTTP", "half a body", "no gzip"],
)
def test_a_connection_that_ends_without_an_answer_may_have_been_acted_on(library: ModuleType, answer: bytes) -> None:
    """Closed, cut short or not to be understood: the request was sent, the answer is lost."""
    failure, server = asyncio.run(ask(library, answering(answer), timeout_s=5.0))
    assert failure == WireFailure(kind=FailureKind.DROPPED, maybe_sent=True)
    assert len(server.asked) == 1


@LIBRARIES
def test_a_body_without_end_is_cut_off(library: ModuleType) -> None:
    """No more than the bound is kept, and the connection is closed."""
    gone = asyncio.Event()

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except ConnectionError:
            gone.set()

    async def main() -> WireAnswer | WireFailure:
        async with serving(flood) as server, door(library) as transport:
            answer = await transport.send(WireRequest(method="GET", url=server.url, timeout_s=5.0))
            await asyncio.wait_for(gone.wait(), 5)
            return answer

    answer = asyncio.run(main())
    assert isinstance(answer, WireAnswer)
    assert answer.body == b"x" * ANSWER_BYTES_MAX


@LIBRARIES
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(library: ModuleType, status: int) -> None:
    """A token request must not be carried elsewhere, not even by a client set up to follow."""

    async def main() -> None:
        answer = f"HTTP/1.1 {status} Elsewhere\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n".encode()
        async with serving(answering(answer)) as server, door(library, follow_redirects=True) as transport:
            found = await transport.send(WireRequest(method="POST", url=server.url, body=b"secret", timeout_s=5.0))
            assert isinstance(found, WireAnswer)
            assert (found.status, found.headers["location"]) == (status, "/other")
            assert len(server.asked) == 1

    asyncio.run(main())


@LIBRARIES
def test_a_pool_without_a_free_connection_is_busy_and_sent_nothing(library: ModuleType) -> None:
    """Whoever waits for a connection in vain has sent nothing."""

    async def main() -> None:
        limits = library.Limits(max_connections=1, max_keepalive_connections=0)
        async with serving(silent) as server, door(library, limits=limits) as transport:
            slow = WireRequest(method="GET", url=server.url, timeout_s=1.0)
            first = asyncio.create_task(transport.send(slow))
            while not server.asked:
                await asyncio.sleep(0)
            quick = WireRequest(method="GET", url=server.url, timeout_s=0.2)
            assert await transport.send(quick) == WireFailure(kind=FailureKind.BUSY, maybe_sent=False)
            assert await first == WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)
            assert len(server.asked) == 1

    asyncio.run(main())


@LIBRARIES
def test_one_users_cookies_do_not_travel_with_anothers_request(library: ModuleType) -> None:
    """The door is shared by all sessions, so it keeps nothing of an exchange."""

    async def main() -> None:
        answer = OK + b"set-cookie: who=ada; Path=/\r\ncontent-length: 2\r\n\r\n{}"
        async with serving(answering(answer)) as server, door(library) as transport:
            for _ in range(2):
                found = await transport.send(WireRequest(method="GET", url=server.url, timeout_s=5.0))
                assert isinstance(found, WireAnswer)
                assert found.headers["set-cookie"] == "who=ada; Path=/"
            mine = WireRequest(method="GET", url=server.url, headers=(("cookie", "mine=1"),), timeout_s=5.0)
            await transport.send(mine)
            assert b"cookie" not in server.asked[1].lower()
            assert b"cookie: mine=1" in server.asked[2].lower()

    asyncio.run(main())


@LIBRARIES
def test_a_client_of_the_callers_own_class_will_do(library: ModuleType) -> None:
    """Its library is found from where its base class comes from."""
    own: Any = type("OwnClient", (type("Base", (library.AsyncClient,), {}),), {})
    assert HttpxTransport(own())._library is library


@LIBRARIES
def test_giving_up_a_request_gives_it_up(library: ModuleType) -> None:
    """A cancelled caller is cancelled: it does not look like a timeout."""

    async def main() -> None:
        async with serving(silent) as server, door(library) as transport:
            task = asyncio.create_task(transport.send(WireRequest(method="GET", url=server.url, timeout_s=30.0)))
            while not server.asked:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_nothing_secret_shows() -> None:
    """Neither the query, the headers and the body of a request, nor those of an answer."""
    request = WireRequest(
        method="POST",
        url="https://idp.test/token?code=the-secret",
        headers=(("authorization", "the-secret"),),
        body=b"the-secret",
    )
    answer = WireAnswer(status=200, headers={"set-cookie": "the-secret"}, body=b"the-secret")
    for value in (request, answer):
        assert "secret" not in repr(value)
        assert "secret" not in f"{value}"
        assert "secret" not in str(list(value.__rich_repr__()))
    assert "https://idp.test/token" in repr(request)
    assert "10 bytes" in repr(answer) or "bytes=10" in repr(answer)
