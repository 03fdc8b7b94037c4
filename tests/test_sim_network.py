"""The lab's network: it takes time, it can be cut, and what it does to a request is what a real one does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from session_core.events import AnyFact, NetworkChanged
from session_core.provider.config import AccessTokenFormat, ProviderConfig, SigningAlg
from session_core.provider.core import EmbeddedProvider
from session_core.provider.faults import Fault
from session_core.sim.device import Device
from session_core.sim.loop import run_virtual, running_loop
from session_core.sim.network import REFUSED_AFTER_S, Network
from session_core.vocabulary import NetworkState
from session_core.wire import FailureKind, WireAnswer, WireFailure, WireRequest

ISSUER = "http://127.0.0.1:9400/idp"
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"
EPOCH_S = 1_767_225_600.0
UNREACHABLE = WireFailure(kind=FailureKind.UNREACHABLE, maybe_sent=False)
TIMED_OUT = WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)
DROPPED = WireFailure(kind=FailureKind.DROPPED, maybe_sent=True)


class Wired:
    """A network with a provider behind it, on a device, and what was recorded of it."""

    def __init__(self) -> None:
        loop = running_loop()
        self.facts: list[AnyFact] = []
        self.device = Device(loop, "laptop")
        self.provider = EmbeddedProvider(
            ProviderConfig(issuer=ISSUER, access_token_format=AccessTokenFormat.OPAQUE, signing_alg=SigningAlg.ES256),
            entropy=random.Random("provider").randbytes,
        )
        self.network = Network(
            loop,
            self.provider,
            wall=lambda: EPOCH_S + loop.world_time(),
            latency_s=0.2,
            rng=random.Random("network"),
            record=self.facts.append,
        )

    @property
    def seen(self) -> int:
        return sum(sum(by.values()) for by in self.provider.statistics().requests.values())

    def order(self, **fault: Any) -> None:
        self.provider.faults.order(Fault(**fault), EPOCH_S + running_loop().world_time())

    async def ask(self, *, timeout_s: float = 10.0) -> tuple[WireAnswer | WireFailure, float]:
        """What came of one request of the device, and after how long."""
        began_at = running_loop().world_time()
        request = WireRequest(method="GET", url=DISCOVERY, timeout_s=timeout_s)
        result = await self.device.create_task(self.network.send(request))
        return result, round(running_loop().world_time() - began_at, 6)


def play(course: Callable[[Wired], Awaitable[None]]) -> Wired:
    worlds: list[Wired] = []

    async def main() -> None:
        worlds.append(Wired())
        await course(worlds[0])

    run_virtual(main(), until_s=100_000)
    return worlds[0]


def test_a_round_trip_takes_its_latency() -> None:
    """Half of it there, half of it back, and the provider's own delay between."""

    async def course(world: Wired) -> None:
        answer, took_s = await world.ask()
        assert isinstance(answer, WireAnswer)
        assert took_s == 0.2
        world.order(kind="delay", delay_s=3.0)
        assert (await world.ask())[1] == 3.2

    play(course)


def test_without_a_network_nothing_leaves() -> None:
    """The device knows at once that it has none, so nothing can have been acted on."""

    async def course(world: Wired) -> None:
        world.network.go_down()
        assert await world.ask() == (UNREACHABLE, REFUSED_AFTER_S)
        world.network.come_up()
        assert isinstance((await world.ask())[0], WireAnswer)

    assert play(course).seen == 1


@pytest.mark.parametrize(("cut_after_s", "seen"), [(0.05, 0), (0.15, 1)])
def test_a_cut_under_way_is_only_silence(cut_after_s: float, seen: int) -> None:
    """Before the provider saw it or after, the asker learns nothing but that its patience is over."""

    async def course(world: Wired) -> None:
        running_loop().call_later(cut_after_s, world.network.go_down, 1.0)
        assert await world.ask(timeout_s=5.0) == (TIMED_OUT, 5.0)
        assert isinstance((await world.ask())[0], WireAnswer)

    assert play(course).seen == seen + 1


def test_patience_runs_out_where_the_answer_is_too_slow() -> None:
    """Wherever it is then: on its way there, with a provider that takes its time or hangs, or on its way back."""

    async def course(world: Wired) -> None:
        assert await world.ask(timeout_s=0.05) == (TIMED_OUT, 0.05)
        assert await world.ask(timeout_s=0.15) == (TIMED_OUT, 0.15)
        world.order(kind="delay", delay_s=3.0, times=1)
        assert await world.ask(timeout_s=2.0) == (TIMED_OUT, 2.0)
        running_loop().call_later(0.05, world.network.slow_down, 10.0)
        assert await world.ask(timeout_s=3.0) == (TIMED_OUT, 3.0)
        world.network.come_up()
        world.order(kind="hang", times=1)
        assert await world.ask(timeout_s=4.0) == (TIMED_OUT, 4.0)
        assert isinstance((await world.ask(timeout_s=0.25))[0], WireAnswer)

    play(course)


def test_a_reset_breaks_what_is_under_way() -> None:
    """At once, and whether the provider had it is not known."""

    async def course(world: Wired) -> None:
        running_loop().call_later(0.15, world.network.reset)
        assert await world.ask() == (DROPPED, 0.15)

    assert play(course).seen == 1


def test_a_portal_answers_everything_itself() -> None:
    """With status 200 and a page, and the provider hears nothing."""

    async def course(world: Wired) -> None:
        world.network.stand_before(60.0)
        answer, _ = await world.ask()
        assert isinstance(answer, WireAnswer)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html")
        assert world.seen == 0
        await asyncio.sleep(60)
        assert b"issuer" in (await world.ask())[0].body  # type: ignore[union-attr]

    play(course)


def test_only_answers_of_the_token_endpoint_are_lost() -> None:
    """The provider has acted; of the next request it hears nothing bad."""

    async def course(world: Wired) -> None:
        world.network.lose_answers()
        assert isinstance((await world.ask())[0], WireAnswer)
        request = WireRequest(method="POST", url=f"{ISSUER}/token")
        assert await world.network.send(request) == DROPPED
        assert isinstance(await world.network.send(request), WireAnswer)

    assert sum(play(course).provider.statistics().requests["token"].values()) == 2


def test_a_lossy_network_loses_its_share() -> None:
    """About a third of 600, some before the provider saw them and some after."""

    async def course(world: Wired) -> None:
        world.network.lose(1 / 3)
        results = [(await world.ask())[0] for _ in range(600)]
        lost = sum(result == DROPPED for result in results)
        assert 160 <= lost <= 240
        assert 600 - lost < world.seen < 600

    play(course)


def test_what_happened_since_is_not_undone_by_an_old_end() -> None:
    """A planned end of a first trouble does not end a second one."""

    async def course(world: Wired) -> None:
        world.network.go_down(10.0)
        await asyncio.sleep(5)
        world.network.stand_before()
        await asyncio.sleep(10)
        world.network.go_down()
        await asyncio.sleep(10)
        assert (await world.ask())[0] == UNREACHABLE

    play(course)


def test_a_slow_network_is_slow_until_it_comes_up() -> None:
    """Each round trip takes what it was told, then what it took before."""

    async def course(world: Wired) -> None:
        world.network.slow_down(4.0, 60.0)
        assert (await world.ask())[1] == 4.0
        await asyncio.sleep(60)
        assert (await world.ask())[1] == 0.2

    facts = play(course).facts
    assert [fact.state for fact in facts if isinstance(fact, NetworkChanged)] == [NetworkState.SLOW, NetworkState.UP]


@pytest.mark.parametrize(("nap_s", "comes"), [(30.0, WireAnswer), (3_600.0, WireFailure)])
def test_an_answer_waits_for_a_short_nap_only(nap_s: float, comes: type) -> None:
    """The other side sends again for a minute; after a long sleep the connection is gone, though the provider acted."""

    async def course(world: Wired) -> None:
        def shut() -> None:
            world.network.fall_asleep()
            world.device.suspend()

        def open_() -> None:
            world.network.wake()
            world.device.resume()

        running_loop().call_later(0.05, shut)
        running_loop().call_later(0.05 + nap_s, open_)
        result, took_s = await world.ask()
        assert isinstance(result, comes)
        assert took_s == pytest.approx(nap_s + 0.05)

    assert play(course).seen == 1


def test_the_device_s_patience_stands_still_while_it_sleeps() -> None:
    """A time-out is a timer of the device, as asyncio keeps it on Linux."""

    async def course(world: Wired) -> None:
        world.order(kind="hang")
        running_loop().call_later(4.0, world.device.suspend)
        running_loop().call_later(1_004.0, world.device.resume)
        result, took_s = await world.ask(timeout_s=10.0)
        assert (result, took_s) == (TIMED_OUT, 1_010.0)

    play(course)


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (lambda network: network.go_down(), httpx.ConnectError),
        (lambda network: running_loop().call_later(0.15, network.reset), httpx.RemoteProtocolError),
        (lambda network: running_loop().call_later(0.15, network.go_down), httpx.ReadTimeout),
    ],
)
def test_httpx_meets_its_own_errors(trouble: Callable[[Network], Any], error: type[Exception]) -> None:
    """The same network under an httpx client raises what httpx raises."""

    async def course(world: Wired) -> None:
        async with httpx.AsyncClient(transport=world.network.pool) as client:
            assert (await client.get(DISCOVERY)).json()["issuer"] == ISSUER
            trouble(world.network)
            with pytest.raises(error):
                await client.get(DISCOVERY, timeout=3.0)

    play(course)
