"""The provider in memory: behind the wire seam and behind a whole httpx client, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_kit import FORM, ISSUER, START_S, Driver, bearer, run

from session_core.provider import Endpoint, FaultKind
from session_core.provider.memory import MemoryHttpxTransport, MemoryTransport
from session_core.wire import ANSWER_BYTES_MAX, FailureKind, WireAnswer, WireFailure, WireRequest

DROPPED = WireFailure(kind=FailureKind.DROPPED, maybe_sent=True)
TIMED_OUT = WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)
REFUSED = WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)


def wall() -> float:
    return START_S + asyncio.get_running_loop().time()


def send(driver: Driver, path: str, *, latency_s: float = 0.0, timeout_s: float = 10.0, **told: Any) -> Coroutine:
    async def work() -> WireAnswer | WireFailure:
        transport = MemoryTransport(driver.provider, wall=wall, latency_s=latency_s)
        answer = await transport.send(WireRequest(method="GET", url=ISSUER + path, timeout_s=timeout_s, **told))
        await transport.aclose()
        return answer

    return work()


def test_an_answer_takes_its_latency_and_is_dated_on_arrival() -> None:
    """Half the way there, then the provider's clock, then back."""
    answer, took_s = run(send(Driver(), "/jwks", latency_s=4))
    assert isinstance(answer, WireAnswer)
    assert (answer.status, took_s) == (200, 4)
    assert answer.headers["date"] == "Fri, 15 Jan 2027 08:00:02 GMT"


@pytest.mark.parametrize(
    ("kind", "failure", "took_s"),
    [
        (FaultKind.REFUSE, REFUSED, 1.0),
        (FaultKind.DROP_BEFORE, DROPPED, 2.0),
        (FaultKind.DROP_AFTER, DROPPED, 2.0),
        (FaultKind.HANG, TIMED_OUT, 10.0),
    ],
)
def test_each_broken_connection_is_its_own_failure(kind: FaultKind, failure: WireFailure, took_s: float) -> None:
    """Kind, whether it can have been sent, and how long it took to know."""
    driver = Driver()
    driver.order(kind)
    assert run(send(driver, "/jwks", latency_s=2)) == (failure, took_s)


@pytest.mark.parametrize(("delay_s", "timed_out"), [(7.9, False), (8.0, True), (9.0, True)])
def test_a_delay_counts_towards_the_requests_own_timeout(delay_s: float, timed_out: bool) -> None:  # noqa: FBT001
    """The answer is lost, but the provider has acted."""
    driver = Driver()
    driver.order(FaultKind.DELAY, delay_s=delay_s)
    answer, took_s = run(send(driver, "/jwks", latency_s=2))
    assert (answer == TIMED_OUT) is timed_out
    assert took_s == pytest.approx(min(delay_s + 2, 10))
    assert driver.provider.statistics().requests == {"jwks": {"ok": 1}}


def test_a_request_still_on_its_way_at_the_timeout_never_arrives() -> None:
    """The provider does not act, and the client cannot know."""
    driver = Driver()
    assert run(send(driver, "/jwks", latency_s=20, timeout_s=10)) == (TIMED_OUT, 10)
    assert driver.provider.statistics().requests == {}


def test_without_latency_others_still_get_their_turn() -> None:
    """Ten requests interleave: none runs through in one step."""
    driver = Driver()
    turns: list[str] = []

    async def one(transport: MemoryTransport) -> None:
        turns.append("asks")
        await transport.send(WireRequest(method="GET", url=f"{ISSUER}/jwks"))
        turns.append("has")

    async def work() -> None:
        transport = MemoryTransport(driver.provider, wall=wall)
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(one(transport))

    run(work())
    assert turns == ["asks"] * 10 + ["has"] * 10


def test_a_streamed_answer_arrives_whole_and_bounded() -> None:
    """The seam has whole answers only, at most a mebibyte, like the live one."""
    driver = Driver()
    told = {"headers": bearer(driver.tokens()["access_token"])}
    answer, took_s = run(send(driver, "/api/slow?bytes=200000&delay_ms=500", **told))
    assert isinstance(answer, WireAnswer)
    assert (len(answer.body), took_s) == (200_000, 2.0)
    answer, _ = run(send(driver, "/api/slow?bytes=200000000", **told))
    assert isinstance(answer, WireAnswer)
    assert len(answer.body) == ANSWER_BYTES_MAX


def client(driver: Driver, **told: Any) -> httpx.AsyncClient:
    transport = MemoryHttpxTransport(driver.provider, wall=wall, latency_s=told.pop("latency_s", 0.0))
    return httpx.AsyncClient(transport=transport, base_url=ISSUER, **told)


def test_a_whole_httpx_client_refreshes_through_it() -> None:
    """Real requests, real forms, real headers."""
    driver = Driver()
    form = {"grant_type": "refresh_token", "client_id": "session-lab"}

    async def work() -> httpx.Response:
        async with client(driver, latency_s=1) as http:
            return await http.post("/token", data={**form, "refresh_token": driver.tokens()["refresh_token"]})

    response, took_s = run(work())
    assert (response.status_code, took_s) == (200, 1)
    assert response.request.headers["content-type"] == FORM
    assert response.json()["token_type"] == "Bearer"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.REFUSE, httpx.ConnectError),
        (FaultKind.DROP_BEFORE, httpx.RemoteProtocolError),
        (FaultKind.DROP_AFTER, httpx.RemoteProtocolError),
        (FaultKind.HANG, httpx.ReadTimeout),
    ],
)
def test_httpx_sees_its_own_errors(kind: FaultKind, error: type[httpx.TransportError]) -> None:
    """The same as on a real connection."""
    driver = Driver()
    driver.order(kind, endpoint=Endpoint.JWKS)

    async def work() -> None:
        async with client(driver, timeout=5) as http:
            with pytest.raises(error):
                await http.get("/jwks")

    _, took_s = run(work())
    assert took_s == (5 if kind == FaultKind.HANG else 0)


def test_without_a_timeout_a_hang_lasts_until_it_is_cancelled() -> None:
    """Nothing in here gives up for the caller."""
    driver = Driver()
    driver.order(FaultKind.HANG)

    async def work() -> None:
        async with client(driver, timeout=None) as http:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3600):
                    await http.get("/jwks")

    assert run(work())[1] == 3600


def test_a_stream_is_read_chunk_by_chunk_and_can_be_closed() -> None:
    """What was not read is never made."""
    driver = Driver()
    token = driver.tokens()["access_token"]

    async def work() -> list[float]:
        arrived = []
        async with client(driver) as http:
            url, auth = "/api/slow?bytes=268435456&delay_ms=1000", {"authorization": f"Bearer {token}"}
            async with http.stream("GET", url, headers=auth) as response:
                async for _ in response.aiter_raw():
                    arrived.append(asyncio.get_running_loop().time())
                    if len(arrived) == 3:
                        break
        return arrived

    assert run(work()) == ([1, 2, 3], 3)


def test_closing_a_stream_stops_a_reader_in_waiting() -> None:
    """Another task may hang up."""
    driver = Driver()
    headers = {"authorization": f"Bearer {driver.tokens()['access_token']}"}

    async def work() -> int:
        transport = MemoryHttpxTransport(driver.provider, wall=wall)
        url = f"{ISSUER}/api/slow?bytes=1000000&delay_ms=1000"
        response = await transport.handle_async_request(httpx.Request("GET", url, headers=headers))
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        asyncio.get_running_loop().call_later(2.5, lambda: asyncio.ensure_future(stream.aclose()))
        return len([chunk async for chunk in stream])

    assert run(work()) == (2, 3)


@given(now=st.floats(0, 4e9))
def test_every_answer_is_dated_as_http_wants_it(now: float) -> None:
    """RFC 9110 §5.6.7, to the second."""
    answer = Driver().provider.handle(WireRequest(method="GET", url=f"{ISSUER}/none"), now=now)
    assert answer.headers["date"] == formatdate(int(now), usegmt=True)
