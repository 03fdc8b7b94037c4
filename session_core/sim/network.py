"""The way between one device and the provider: it takes time, and it can be cut, slow, lossy or captive.

A request travels in the world's time, whatever the device does meanwhile; only the patience of who asked is measured on
the device's own clock. So the provider acts when a request arrives, also when nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

import httpx

from session_core.events import NetworkChanged, Record
from session_core.provider.answers import Fate, ProviderAnswer
from session_core.provider.core import EmbeddedProvider
from session_core.sim.handles import VirtualTimer
from session_core.sim.loop import VirtualLoop
from session_core.vocabulary import NetworkState
from session_core.wire import FailureKind, WireAnswer, WireFailure, WireRequest

REFUSED_AFTER_S = 0.02
"""How soon a device without a network knows that it has none."""
KEPT_ASLEEP_S = 60.0
"""How long the other side goes on sending to a device that sleeps, before it gives the connection up."""

Result = WireAnswer | WireFailure
Landing = asyncio.Future[Result]

_UNREACHABLE = WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)
_TIMED_OUT = WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)
_DROPPED = WireFailure(kind=FailureKind.DROPPED, maybe_sent=True)
_FATES = {Fate.REFUSED: _UNREACHABLE, Fate.DROPPED: _DROPPED, Fate.HUNG: None}
_PORTAL = WireAnswer(
    status=200,
    headers={"content-type": "text/html"},
    body=b"<!doctype html><html><head><title>Welcome</title></head><body><h1>Guest Wi-Fi</h1></body></html>",
)


class Network:
    """One device's network: a `wire.Transport`, and `pool`, the same for whole httpx clients.

    `wall` is the provider's clock, `latency_s` the way there and back together.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        provider: EmbeddedProvider,
        *,
        wall: Callable[[], float],
        latency_s: float,
        rng: random.Random,
        record: Record,
    ) -> None:
        self._loop = loop
        self._provider = provider
        self._wall = wall
        self._rng = rng
        self._record = record
        self._usual_leg_s = self._leg_s = latency_s / 2
        self._world = Context()
        self._down = self._portal = self._asleep = False
        self._loss_share = 0.0
        self._answers_to_lose = 0
        self._epoch = 0
        self._under_way: dict[Landing, tuple[float, Context]] = {}
        self._patience: dict[Landing, VirtualTimer] = {}
        self._kept: list[tuple[float, Landing, Result]] = []
        self.pool = NetworkPool(self)

    # What it does for a program

    async def send(self, request: WireRequest) -> Result:
        loop = self._loop
        landing: Landing = loop.create_future()
        self._under_way[landing] = (loop.time() + request.timeout_s, copy_context())
        leg_s = self._leg_s
        if self._down:
            self._be_patient(landing)
            self._after(REFUSED_AFTER_S, _settle, landing, _UNREACHABLE)
        else:
            # A device that sleeps grows no less patient: by the world's time it may wait longer, never shorter.
            if leg_s >= request.timeout_s:
                self._be_patient(landing)
            arrival = (self._arrive, request, landing, loop.world_time() + request.timeout_s)
            loop.call_in_world(leg_s, arrival, self._world)
        try:
            return await landing
        finally:
            del self._under_way[landing]
            if self._patience and (patience := self._patience.pop(landing, None)) is not None:
                patience.cancel()

    async def aclose(self) -> None:
        """Nothing is held."""

    def _be_patient(self, landing: Landing) -> None:
        """Let the asker's patience run out at its time: until something may come between, there is an answer by then."""
        if landing in self._under_way and landing not in self._patience and not landing.done():
            until_s, context = self._under_way[landing]
            self._patience[landing] = self._loop.call_at(until_s, _settle, landing, _TIMED_OUT, context=context)

    def _be_patient_with_all(self) -> None:
        for landing in self._under_way:
            self._be_patient(landing)

    def _answer(self, landing: Landing, result: Result, patient_until_s: float, delay_s: float = 0.0) -> None:
        """Send `result` on its way, which the asker's patience may be too short for."""
        way_s = self._leg_s + delay_s
        if self._loop.world_time() + way_s >= patient_until_s:
            self._be_patient(landing)
        self._loop.call_in_world(way_s, (self._land, landing, result), self._world)

    def _arrive(self, request: WireRequest, landing: Landing, patient_until_s: float) -> None:
        if self._down:
            return
        if self._portal:
            self._answer(landing, _PORTAL, patient_until_s)
            return
        lost_on_the_way = self._loss_share and self._rng.random() < self._loss_share
        if lost_on_the_way and self._rng.random() < 0.5:
            self._answer(landing, _DROPPED, patient_until_s)
            return
        answer = self._provider.handle(request, now=self._wall())
        result = _result(answer)
        if result is None:
            self._be_patient(landing)
            return
        if self._answers_to_lose and request.url.endswith("/token"):
            self._answers_to_lose -= 1
            self._record(NetworkChanged(state=NetworkState.ANSWER_LOST))
            result = _DROPPED
        self._answer(landing, _DROPPED if lost_on_the_way else result, patient_until_s, answer.delay_s)

    def _land(self, landing: Landing, result: Result) -> None:
        if self._asleep:
            self._kept.append((self._loop.world_time(), landing, result))
        elif not self._down and not landing.done():
            landing.set_result(result)

    def _after(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        self._loop.call_in_world(seconds, (do, *args), self._world)

    # What befalls it

    def go_down(self, for_s: float | None = None) -> None:
        """Nothing gets through, and what is under way never arrives."""
        self._change(NetworkState.DOWN, for_s)
        self._down = True
        self._be_patient_with_all()

    def come_up(self) -> None:
        """Nothing is wrong with it any more."""
        self._change(NetworkState.UP)
        self._down = self._portal = False
        self._leg_s, self._loss_share = self._usual_leg_s, 0.0

    def slow_down(self, latency_s: float, for_s: float | None = None) -> None:
        self._change(NetworkState.SLOW, for_s)
        self._leg_s = latency_s / 2

    def lose(self, share: float, for_s: float | None = None) -> None:
        """Lose a share of all requests, on their way there or with their answer."""
        self._change(NetworkState.LOSSY, for_s)
        self._loss_share = share

    def stand_before(self, for_s: float | None = None) -> None:
        """Answer everything with a guest network's page."""
        self._change(NetworkState.PORTAL, for_s)
        self._portal = True

    def lose_answers(self, times: int = 1) -> None:
        """Let the token endpoint act on the next requests, and lose its answers."""
        self._answers_to_lose += times

    def reset(self) -> None:
        """Break what is under way; whether the provider had it is not known."""
        self._record(NetworkChanged(state=NetworkState.RESET))
        for landing in list(self._under_way):
            _settle(landing, _DROPPED)

    def fall_asleep(self) -> None:
        """The device sleeps: its answers wait with whoever sent them."""
        self._asleep = True
        self._be_patient_with_all()

    def wake(self) -> None:
        self._asleep = False
        kept, self._kept = self._kept, []
        for arrived_at, landing, result in kept:
            given_up = self._loop.world_time() - arrived_at > KEPT_ASLEEP_S
            self._land(landing, _DROPPED if given_up else result)

    def _change(self, state: NetworkState, for_s: float | None = None) -> None:
        self._record(NetworkChanged(state=state, seconds=for_s or 0.0))
        self._epoch += 1
        if for_s is not None:
            self._after(for_s, self._recover, self._epoch)

    def _recover(self, epoch: int) -> None:
        # What happened since then stands.
        if epoch == self._epoch:
            self.come_up()


class NetworkPool(httpx.AsyncBaseTransport):
    """The same network under an `httpx.AsyncClient`: a request comes back as a response or as httpx's own error."""

    def __init__(self, network: Network) -> None:
        self._send = network.send

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout: dict[str, float | None] = request.extensions.get("timeout", {})
        result = await self._send(
            WireRequest(
                method=request.method,
                url=str(request.url),
                headers=tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw),
                body=await request.aread(),
                timeout_s=timeout.get("read") or 3_600.0,
            )
        )
        if isinstance(result, WireAnswer):
            return httpx.Response(result.status, headers=result.headers, content=result.body)
        raise _error(result, request)


def _error(failure: WireFailure, request: httpx.Request) -> httpx.TransportError:
    match failure.kind:
        case FailureKind.UNREACHABLE:
            return httpx.ConnectError("The network is unreachable.", request=request)
        case FailureKind.TIMEOUT:
            return httpx.ReadTimeout("The read operation timed out.", request=request)
        case _:
            return httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)


def _result(answer: ProviderAnswer) -> Result | None:
    """What comes of it on the wire; None where nothing ever does."""
    if answer.fate in _FATES:
        return _FATES[answer.fate]
    body = answer.body + b"".join(answer.chunks) if answer.chunks else answer.body
    return WireAnswer(status=answer.status, headers=answer.headers, body=body)


def _settle(landing: Landing, result: Result) -> None:
    if not landing.done():
        landing.set_result(result)
