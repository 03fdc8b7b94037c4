"""Devices that sleep, stall, are throttled or lose their clock: scenarios 2 to 6 and 25, as written."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest
from world import World, live, with_

from session_core.config import PROFESSIONAL
from session_core.errors import SessionEndedError, SessionLockedError, TokenUnavailableError
from session_core.events import GapObserved, RefreshFailed, SessionEnded, StateChanged, StuckFound, TokenRefreshed
from session_core.session import Session
from session_core.session_limits import SessionLimits
from session_core.vocabulary import EndReason, GapKind, State
from session_core.wire import Transport, WireAnswer, WireFailure, WireRequest

NIGHT_S = 8 * 3600.0


class Counting:
    """Counts every request that leaves the device for the provider, whether or not there is a network."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.requests: list[WireRequest] = []

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        self.requests.append(request)
        return await self.inner.send(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def call(session: Session) -> int:
    return (await session.client.get("echo")).status_code


async def until_good(world: World, session: Session, *, within_s: float) -> float:
    """Call four times a second until an answer comes; how long that took."""
    began = world.clock.boot()
    while world.clock.boot() - began < within_s:
        with suppress(TokenUnavailableError, httpx.TransportError):
            assert await call(session) == 200
            return world.clock.boot() - began
        await asyncio.sleep(0.25)
    raise AssertionError(f"no answer within {within_s} s")


def way(world: World) -> str:
    """The states in order, as one word."""
    return " ".join(["ACTIVE", *(fact.state_to for fact in world.facts(StateChanged))])


def expired_tokens_seen(world: World) -> int:
    return sum(times for outcome, times in world.outcomes("api").items() if outcome == "invalid_token")


def gaps(world: World) -> list[GapKind]:
    return [fact.gap for fact in world.facts(GapObserved)]


@pytest.mark.parametrize("asleep_from_s", [100.0, 107.7, 1800.0, 3299.0, 3400.0])
@pytest.mark.parametrize("calls", ["at wake", "a minute later"])
def test_lid_close_overnight(asleep_from_s: float, calls: str) -> None:
    """Scenario 2: one POST at wake, the first call within 2 s, no expired token leaves, the way is logged."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(asleep_from_s)
        await world.close_lid(NIGHT_S)
        woke_at, posts = world.clock.boot(), world.posts
        if calls == "a minute later":
            await asyncio.sleep(60)
        asked_at = world.clock.boot()
        assert await call(session) == 200
        assert world.clock.boot() - asked_at <= 2
        await asyncio.sleep(30)
        assert world.posts - posts == 1
        assert session.state is State.ACTIVE
        assert woke_at >= NIGHT_S

    world = live(play, lid=True)
    assert expired_tokens_seen(world) == 0
    assert gaps(world) == [GapKind.SUSPEND]
    assert "SUSPENDED RESUMING ACTIVE" in way(world)
    assert world.facts(SessionEnded) == []
    assert world.reuse_events == 0


@pytest.mark.parametrize("calls", [True, False])
@pytest.mark.parametrize("asleep_from_s", [100.0, 103.3, 107.7, 111.0, 114.9])
@pytest.mark.parametrize("offline_before", [False, True])
def test_wake_before_network(asleep_from_s: float, *, calls: bool, offline_before: bool) -> None:
    """Scenario 3: the network comes 20 s after the lid opens; no sign-out, back within 5 s, at most 6 attempts."""
    counting: list[Counting] = []

    def wrap(inner: Transport) -> Transport:
        counting.append(Counting(inner))
        return counting[0]

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(asleep_from_s + (3250 if offline_before else 0))
        woke_at = world.clock.boot() + NIGHT_S
        world.order(
            kind="refuse", absolute=True, from_s=world.provider_wall(), until_s=world.provider_wall() + NIGHT_S + 20
        )
        if offline_before:
            with suppress(TokenUnavailableError):
                await session.force_refresh_session()
        await world.close_lid(woke_at - world.clock.boot())
        before = len(counting[0].requests)
        if calls:
            took_s = await until_good(world, session, within_s=40)
            assert took_s <= 25
        else:
            await asyncio.sleep(25.5)
            assert await call(session) == 200
        await asyncio.sleep(30)
        assert len(counting[0].requests) - before <= 8, "besides one for each attempt: a discovery, and the POST"
        assert session.state is State.ACTIVE

    world = live(play, lid=True, wrap=wrap)
    attempted = [at for kind in (RefreshFailed, TokenRefreshed) for at in world.at(kind) if at >= NIGHT_S]
    assert len(attempted) <= 6
    assert world.facts(SessionEnded) == []
    assert expired_tokens_seen(world) == 0
    assert gaps(world) == [GapKind.SUSPEND]


@pytest.mark.parametrize("shift_s", range(0, 15, 2))
def test_nap_inside_margin(shift_s: int) -> None:
    """Scenario 4: asleep from 6 to 2 min before the expiry; refreshed at least 60 s before it."""

    async def play(world: World) -> None:
        await asyncio.sleep(shift_s)
        await world.session()
        await asyncio.sleep(3600 - 360)
        await world.close_lid(240)
        await asyncio.sleep(150)

    world = live(play, lid=True)
    refreshed = world.facts(TokenRefreshed)
    assert len(refreshed) == 1
    assert refreshed[0].left_s >= 60
    assert "SUSPENDED RESUMING ACTIVE" in way(world)


def test_throttled_tab() -> None:
    """Scenario 5: timers once a minute; the token in use always has half a minute left, and no step is imagined."""
    left_s: list[float] = []

    async def play(world: World) -> None:
        assert world.device is not None
        session = await world.session()
        world.device.throttle(60)
        for _ in range(180):
            await asyncio.sleep(55)
            assert await call(session) == 200
            left = session.status().token_left_s
            assert left is not None
            left_s.append(left)

    # Throttled are the device's timers, not its network, whose delay in this world is one of them.
    world = live(play, lid=True, latency_s=0.0)
    assert min(left_s) >= 30
    assert GapKind.CLOCK_STEP not in gaps(world)
    assert GapKind.SUSPEND not in gaps(world)
    assert gaps(world)[2:5] == [GapKind.THROTTLE] * 3
    assert 3 <= world.posts <= 4
    assert world.facts(SessionEnded) == []


@pytest.mark.parametrize("stopped_at_s", [100.0, 3200.0, 3310.0, 3550.0])
def test_frozen_process(stopped_at_s: float) -> None:
    """Scenario 6: stopped for ten minutes; missed ticks come as one, at most one POST, one gap named STALL."""

    async def play(world: World) -> None:
        assert world.device is not None
        session = await world.session()
        await asyncio.sleep(stopped_at_s)
        posts = world.posts
        world.device.stall(600)
        await asyncio.sleep(610)
        assert world.posts - posts <= 1
        assert await call(session) == 200

    world = live(play, lid=True)
    assert gaps(world) == [GapKind.STALL]
    assert expired_tokens_seen(world) == 0
    assert world.facts(SessionEnded) == []
    assert world.facts(StuckFound) == []


@pytest.mark.parametrize("steps", [(-3600,), (3600,), (-3600, 3600), (3600, -7200, 3600)])
def test_clock_step_mid_session(steps: tuple[int, ...]) -> None:
    """Scenario 25: an hour back, an hour forward; nothing expired leaves, at most one POST more, named CLOCK_STEP."""

    def played(steps: tuple[int, ...]) -> World:
        async def play(world: World) -> None:
            session = await world.session()
            for minute in range(150):
                if minute % 40 == 30 and minute // 40 < len(steps):
                    world.clock.step_wall(steps[minute // 40])
                assert await call(session) == 200
                await asyncio.sleep(60)

        return live(play)

    plain, stepped = played(()), played(steps)
    assert stepped.posts <= plain.posts + 1
    assert gaps(stepped) == [GapKind.CLOCK_STEP] * len(steps)
    assert [fact.seconds for fact in stepped.facts(GapObserved)] == [pytest.approx(step) for step in steps]
    assert expired_tokens_seen(stepped) == 0
    assert stepped.facts(SessionEnded) == []


# Besides


def test_a_limit_reached_in_its_sleep_keeps_the_session_from_resuming() -> None:
    """The idle limit passed at night: locked at wake, and no refresh is asked for on behalf of who is not there."""
    policy = with_(PROFESSIONAL, limits=SessionLimits(idle_s=3600, absolute_s=86_400))

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(100)
        await world.close_lid(NIGHT_S)
        await asyncio.sleep(30)
        assert session.state is State.LOCKED
        with pytest.raises(SessionLockedError):
            await call(session)

    world = live(play, lid=True, policy=policy)
    assert world.posts == 0
    assert world.facts(SessionEnded) == []


@pytest.mark.parametrize("called", [True, False])
def test_the_absolute_limit_reached_in_its_sleep_ends_the_session_once(*, called: bool) -> None:
    """Found at wake by whoever comes first: the worker or a call."""
    policy = with_(PROFESSIONAL, limits=SessionLimits(absolute_s=7200))

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(100)
        await world.close_lid(NIGHT_S)
        if called:
            for _ in range(3):
                with pytest.raises(SessionEndedError) as caught:
                    await call(session)
                assert caught.value.reason is EndReason.ABSOLUTE_LIMIT
        await asyncio.sleep(60)
        assert session.state is State.EXPIRED

    world = live(play, lid=True, policy=policy)
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.ABSOLUTE_LIMIT]
    assert world.posts == 0


def test_a_nap_does_not_cut_the_servers_wish_short() -> None:
    """A provider that asked for ten minutes is left alone for ten minutes, with or without a nap between."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=503, retry_after_s=600, endpoint="token", until_s=3900.0)
        await asyncio.sleep(3305)
        assert world.posts == 1
        await world.close_lid(30)
        await asyncio.sleep(200)
        assert world.posts == 1
        assert session.state in (State.ACTIVE, State.DEGRADED)

    assert live(play, lid=True).facts(SessionEnded) == []


def test_a_session_asleep_while_a_refresh_is_under_way_wakes_to_one_answer() -> None:
    """The request that slept is finished or given up; nothing is spent twice."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="delay", endpoint="token", delay_s=4.0, times=1)
        refreshing = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(1)
        await world.close_lid(NIGHT_S)
        await refreshing
        await asyncio.sleep(30)
        assert await call(session) == 200
        assert session.state is State.ACTIVE

    world = live(play, lid=True, grace_s=30)
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


def test_a_night_offline_but_awake_ends_with_one_post() -> None:
    """Until the network is back there are only probes."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="refuse", until_s=NIGHT_S)
        await asyncio.sleep(NIGHT_S + 16)
        assert await call(session) == 200

    world = live(play, lid=True)
    assert world.outcomes("token").get("ok") == 1
    assert world.facts(SessionEnded) == []
