"""A session as an application sees it: six calls, its limits, its health, and an end without leftovers."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from stores import WatchedStore
from transports import Watch, is_refresh
from world import World, live, with_

from session_core.config import BASIC, PROFESSIONAL, SessionPolicy
from session_core.errors import (
    LoginRequiredError,
    SessionCoreError,
    SessionEndedError,
    SessionLockedError,
    TokenVerificationError,
)
from session_core.events import (
    CacheSwept,
    GapObserved,
    HeartbeatBeat,
    LimitWarned,
    PartCrashed,
    PersistFailed,
    SessionEnded,
    SessionStarted,
    StateChanged,
    TokenRefreshed,
    TokenRevoked,
    UserActed,
)
from session_core.session import Session
from session_core.session_limits import SessionLimits, Standing
from session_core.session_store import SessionRecord
from session_core.vocabulary import EndReason, GapKind, Limit, Outcome, State

MIN_S, HOUR_S = 60.0, 3600.0
HALF_HOUR = with_(PROFESSIONAL, limits=SessionLimits(idle_s=30 * MIN_S))
TWELVE_HOURS = with_(PROFESSIONAL, limits=SessionLimits(absolute_s=12 * HOUR_S))
BOTH = with_(PROFESSIONAL, limits=SessionLimits(idle_s=30 * MIN_S, absolute_s=12 * HOUR_S))
UNATTENDED = with_(PROFESSIONAL, background=False)


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.events if event.origin.session_id != "service"]


# The six calls


def test_the_six_calls_do_what_they_say() -> None:
    """A short life with each of them."""

    async def play(world: World) -> None:
        session = await world.session()
        assert session.status().managed
        await session.stop_session_management()
        await session.stop_session_management()
        assert not session.status().managed
        session.start_session_management()
        session.start_session_management()
        assert session.status().managed
        assert session.get_session_health().score == 100
        assert (await session.force_refresh_session()).outcome is Outcome.OK
        assert len(session.get_cache_manager()) == 0
        session.update_activity("click")

    world = live(play)
    assert world.facts(UserActed) == [UserActed(action="click")]
    assert world.facts(SessionStarted) == [
        SessionStarted(resumed=False, life_s=3600.0, idle_limit_s=None, absolute_limit_s=30 * 86_400.0, left_s=3600.0)
    ]


def test_a_session_that_is_not_managed_is_left_alone() -> None:
    """No refresh, no beat, no limit warning while it is stopped; all of it again afterwards."""

    async def play(world: World) -> None:
        session = await world.session()
        await session.stop_session_management()
        before = len(world.events)
        await asyncio.sleep(3500)
        assert len(world.events) == before
        assert session.get_session_health().parts.heartbeat == 100
        session.start_session_management()
        await asyncio.sleep(90)
        assert len(world.facts(TokenRefreshed)) == 1

    live(play)


def test_stopping_lets_the_refresh_under_way_finish() -> None:
    """Its tokens would be lost otherwise."""

    async def play(world: World) -> None:
        session = await world.session()
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(0.05)
        await session.stop_session_management()
        assert len(world.facts(TokenRefreshed)) == 1
        await refresh

    live(play)


def test_the_basic_policy_has_nothing_to_manage() -> None:
    """No worker and no heartbeat, so nothing is started."""

    async def play(world: World) -> None:
        session = await world.session()
        session.start_session_management()
        assert not session.status().managed
        await asyncio.sleep(7200)
        assert world.facts(HeartbeatBeat) == []

    live(play, policy=BASIC)


def test_status_tells_everything_at_one_moment() -> None:
    """Numbers for people to look at, also after the end."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(600)
        status = session.status()
        assert (status.user_id, status.state) == ("ada", State.ACTIVE)
        assert status.path == (State.SIGNED_OUT, State.AUTHENTICATING, State.ACTIVE)
        assert status.token_life_s == 3600
        assert status.token_left_s == pytest.approx(3000)
        assert status.refresh_left_s is not None
        assert 2670 - 1 <= status.refresh_left_s <= 2700
        assert status.limit.limit is Limit.ABSOLUTE
        assert session.claims()["sub"] == "ada"
        await session.sign_out()
        status = session.status()
        assert (status.state, status.ended) == (State.SIGNED_OUT, EndReason.SIGNED_OUT)
        assert status.token_life_s is status.token_left_s is status.refresh_left_s is None
        assert session.claims() == {}
        assert repr(session) == f"Session({session.session_id!r}, SIGNED_OUT)"

    live(play)


# Limits


def test_the_idle_limit_warns_a_minute_before_and_locks_on_time() -> None:
    """Scenario 29: background work goes on and counts for nothing."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(300)
        session.update_activity()
        await asyncio.sleep(30 * MIN_S + 5)
        assert session.state is State.LOCKED
        with pytest.raises(SessionLockedError):
            await session.client.get("echo")
        with pytest.raises(SessionLockedError):
            await session.force_refresh_session()
        session.update_activity()
        assert session.state is State.LOCKED

    world = live(play, policy=with_(HALF_HOUR, heartbeat_s=60.0), access_ttl_s=240)
    warned_at, locked_at = (
        world.at(LimitWarned),
        [
            event.boot
            for event in world.events
            if isinstance(event.fact, StateChanged) and event.fact.state_to is State.LOCKED
        ],
    )
    assert warned_at == [pytest.approx(300 + 29 * MIN_S, abs=1)]
    assert locked_at == [pytest.approx(300 + 30 * MIN_S, abs=1)]
    assert len(world.facts(TokenRefreshed)) >= 8
    assert len(world.facts(HeartbeatBeat)) >= 30
    assert world.facts(SessionEnded) == []


def test_a_call_at_the_limit_is_refused_even_where_no_worker_came_by() -> None:
    """A second before, at and after the idle limit, in a world without background work."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(30 * MIN_S - 1)
        assert (await session.client.get("echo")).status_code == 200
        await asyncio.sleep(30 * MIN_S - world.clock.boot())
        for _ in range(2):
            with pytest.raises(SessionLockedError):
                await session.client.get("echo")
            await asyncio.sleep(1)
        assert session.state is State.LOCKED

    live(play, policy=with_(HALF_HOUR, background=False))


def test_activity_at_the_limit_comes_too_late() -> None:
    """The user who comes back exactly then finds the session locked."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(30 * MIN_S)
        session.update_activity()
        assert session.state is State.LOCKED

    assert live(play, policy=with_(HALF_HOUR, background=False)).facts(UserActed) == []


def test_suspended_time_counts_towards_the_idle_limit() -> None:
    """The lid is closed for forty minutes: locked when it opens, before any call."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(60)
        await world.close_lid(40 * MIN_S)
        await asyncio.sleep(16)
        assert session.state is State.LOCKED
        with pytest.raises(SessionLockedError):
            await session.client.get("echo")

    world = live(play, policy=HALF_HOUR, lid=True)
    assert [fact.gap for fact in world.facts(GapObserved)] == [GapKind.SUSPEND]


def test_activity_after_a_warning_brings_another_warning() -> None:
    """The limit moves with the user, and so does its warning."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(29.5 * MIN_S)
        session.update_activity()
        await asyncio.sleep(29.5 * MIN_S)
        session.update_activity()
        await asyncio.sleep(60)
        assert session.state is State.ACTIVE

    world = live(play, policy=HALF_HOUR)
    assert world.at(LimitWarned) == [pytest.approx(29 * MIN_S, abs=1), pytest.approx(58.5 * MIN_S, abs=1)]


def test_signing_in_again_after_a_lock_goes_on_where_they_were() -> None:
    """The same session, its cache and its place; and it is looked after again."""

    async def play(world: World) -> None:
        session = await world.session()
        session.return_to = "/report?page=3"
        await asyncio.sleep(31 * MIN_S)
        assert session.state is State.LOCKED
        await session.begin(world.grant(), sent_at=world.clock.boot())
        assert (session.state, session.return_to) == (State.ACTIVE, "/report?page=3")
        assert (await session.client.get("echo")).status_code == 200
        for _ in range(8):
            await asyncio.sleep(10 * MIN_S)
            session.update_activity()
        assert session.state is State.ACTIVE
        await asyncio.sleep(31 * MIN_S)

    world = live(play, policy=HALF_HOUR)
    refreshed_at = world.at(TokenRefreshed)
    assert refreshed_at[0] == pytest.approx(31 * MIN_S + 3300, abs=35)
    assert len(world.facts(LimitWarned)) == 2


def test_tokens_of_another_user_do_not_continue_a_locked_session() -> None:
    """Whoever signs in next must not find what the one before left in it."""

    async def play(world: World) -> None:
        session = await world.session("ada")
        await asyncio.sleep(31 * MIN_S)
        with pytest.raises(TokenVerificationError, match="another user"):
            await session.begin(world.grant("grace"), sent_at=world.clock.boot())
        assert session.state is State.LOCKED

    live(play, policy=HALF_HOUR)


@pytest.mark.parametrize("background", [True, False])
def test_the_absolute_limit_ends_the_session_on_time_whatever_the_user_does(background: bool) -> None:  # noqa: FBT001
    """Scenario 30: re-authentication at twelve hours, and the place to return to is kept."""

    async def play(world: World) -> None:
        session = await world.session()
        session.return_to = "/draft/7"
        for _ in range(12 * 60 - 1):
            await asyncio.sleep(MIN_S)
            session.update_activity()
        await asyncio.sleep(59)
        assert (await session.client.get("echo")).status_code == 200
        await asyncio.sleep(12 * HOUR_S - world.clock.boot())
        for _ in range(3):
            with pytest.raises(SessionEndedError) as caught:
                await session.client.get("echo")
            assert caught.value.reason is EndReason.ABSOLUTE_LIMIT
        assert session.state is State.EXPIRED
        assert session.return_to == "/draft/7"
        await asyncio.sleep(5)

    world = live(play, policy=with_(TWELVE_HOURS, background=background))
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.ABSOLUTE_LIMIT]
    assert world.at(SessionEnded) == [pytest.approx(12 * HOUR_S, abs=1)]
    assert [fact.outcome for fact in world.facts(TokenRevoked)] == [Outcome.OK]


def test_many_calls_at_the_absolute_limit_end_the_session_once_and_none_gets_through() -> None:
    """Fifty callers in the very second: one end, fifty errors, no request with the token."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(12 * HOUR_S)
        answers = await asyncio.gather(*(session.client.get("echo") for _ in range(50)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {SessionEndedError}
        await asyncio.sleep(1)

    world = live(play, policy=with_(TWELVE_HOURS, background=False))
    assert len(world.facts(SessionEnded)) == 1
    assert len(world.facts(TokenRevoked)) == 1
    assert world.outcomes("api") == {}


def test_a_locked_session_ends_at_its_absolute_limit() -> None:
    """The lock does not keep tokens for ever."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(13 * HOUR_S)
        assert session.state is State.EXPIRED

    world = live(play, policy=BOTH)
    assert world.at(SessionEnded) == [pytest.approx(12 * HOUR_S, abs=1)]


def test_a_lock_during_a_refresh_keeps_the_tokens_and_the_lock() -> None:
    """The refresh lands, the user is still away."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(30 * MIN_S - 0.05)
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(1)
        assert (await refresh).outcome is Outcome.OK
        assert session.state is State.LOCKED

    assert live(play, policy=HALF_HOUR).facts(SessionEnded) == []


# Health


def lowest_after(steps: str) -> str:
    """The part that decides the health after a hardship."""
    store, watch = WatchedStore(), Watch()
    found: list[str] = []

    async def play(world: World) -> None:
        session = await world.session()
        match steps:
            case "state":
                await session.sign_out()
            case "token_age":
                await asyncio.sleep(3500)
            case "failures":
                world.order(kind="status", status=503, endpoint="token")
                await session.force_refresh_session()
            case "breaker":
                world.order(kind="status", status=429, endpoint="token")
                await session.force_refresh_session()
            case "limits":
                await asyncio.sleep(29.5 * MIN_S)
            case "persistence":
                store.broken = True
                await session.force_refresh_session()
            case "heartbeat":
                await asyncio.sleep(HOUR_S / 4)
                await world.service.around.heartbeat.stop()
                await asyncio.sleep(HOUR_S / 2)
            case "clock_confidence":
                world.order(kind="clock_offset", offset_s=600.0)
                await session.force_refresh_session()
        score = session.get_session_health()
        assert score.score < 100
        found.append(score.lowest)

    limits = {"limits": HALF_HOUR.limits} if steps == "limits" else {}
    background = steps in ("limits", "heartbeat")
    live(play, store=store, wrap=watch.wrap, policy=with_(PROFESSIONAL, background=background, **limits))
    return found[0]


@pytest.mark.parametrize(
    "part",
    ["state", "token_age", "failures", "breaker", "limits", "persistence", "heartbeat", "clock_confidence"],
)
def test_each_part_of_the_health_can_be_the_one_that_decides(part: str) -> None:
    """The score is wired to all eight."""
    assert lowest_after(part) == part


def test_the_heartbeat_logs_the_health_and_counts_for_nothing_else() -> None:
    """Every five minutes, and silent after the end."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(HOUR_S / 2)
        beats = world.facts(HeartbeatBeat)
        assert 5 <= len(beats) <= 7
        assert {(beat.state, beat.health) for beat in beats} == {(State.ACTIVE, 100.0)}
        await session.sign_out()
        session.beat(world.clock.boot())
        assert session.maintain(world.clock.boot()) is None
        await asyncio.sleep(HOUR_S)
        assert len(world.facts(HeartbeatBeat)) == len(beats)

    live(play)


# Sleep


def test_waking_is_suspended_resuming_active() -> None:
    """Scenario 2: the path is logged, and the first call succeeds at once."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(60)
        await world.close_lid(8 * HOUR_S)
        woke_at = world.clock.boot()
        assert (await session.client.get("echo")).status_code == 200
        assert world.clock.boot() - woke_at < 2
        await asyncio.sleep(20)
        assert session.state is State.ACTIVE

    world = live(play, lid=True, provider={"refresh_ttl_s": 24 * HOUR_S})
    assert world.posts == 1
    assert State.SUSPENDED in [fact.state_to for fact in world.facts(StateChanged)]


def test_a_sleep_within_the_life_of_the_token_needs_no_refresh() -> None:
    """Awake again with a good token: ACTIVE without a request."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(60)
        await world.close_lid(10 * MIN_S)
        await asyncio.sleep(20)
        assert session.state is State.ACTIVE
        assert session.status().path[-3:] == (State.SUSPENDED, State.RESUMING, State.ACTIVE)

    assert live(play, lid=True).posts == 0


def test_an_ended_session_does_not_wake() -> None:
    """A gap after the sign-out changes nothing."""

    async def play(world: World) -> None:
        from session_core.clock import Gap

        session = await world.session()
        session.observe_gap(Gap(GapKind.STALL, 10.0))
        assert session.state is State.ACTIVE
        await session.sign_out()
        session.observe_gap(Gap(GapKind.SUSPEND, 10.0))
        assert session.state is State.SIGNED_OUT

    live(play)


# The end


def test_signing_out_ends_once_with_its_reason_and_empties_everything() -> None:
    """Tokens, store, cache and management; a second sign-out is silent."""
    store = WatchedStore()

    async def play(world: World) -> None:
        session = await world.session()
        await session.client.get("echo")
        assert len(store) == 1
        await session.sign_out(EndReason.SIGNED_OUT_ELSEWHERE)
        await session.sign_out()
        assert len(store) == len(session.get_cache_manager()) == 0
        assert not session.status().managed
        with pytest.raises(SessionEndedError):
            await session.client.get("echo")
        with pytest.raises(SessionEndedError):
            await session.force_refresh_session()
        session.update_activity()

    world = live(play, store=store)
    assert world.facts(SessionEnded) == [SessionEnded(reason=EndReason.SIGNED_OUT_ELSEWHERE)]
    assert world.facts(UserActed) == []
    assert world.provider.statistics().families_revoked == 1


def test_closing_leaves_no_task_behind() -> None:
    """Not the refresh that hangs, not the revalidation, not the write."""
    watch = Watch()

    async def play(world: World) -> None:
        session = await world.session()
        await session.client.get("echo")

        async def never() -> None:
            await asyncio.get_running_loop().create_future()

        watch.transport.before = lambda request: never() if is_refresh(request) else None
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(1)
        before = world.clock.boot()
        await session.aclose()
        assert world.clock.boot() - before < 15
        await refresh
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "session refresh" not in names

    live(play, wrap=watch.wrap)


def test_a_closed_session_says_that_it_is_closed() -> None:
    """One clear sentence rather than httpx's or a hang; and the real reason where it had ended before."""

    async def play(world: World) -> None:
        open_one, ended = await world.session(), await world.session("grace")
        await world.service.sign_out(ended.session_id)
        with pytest.raises(SessionEndedError):
            await ended.client.get("echo")
        await open_one.aclose()
        with pytest.raises(SessionCoreError, match="not looked after any more"):
            await open_one.client.get("echo")

    live(play)


def test_the_login_that_the_chain_asks_for_brings_them_back() -> None:
    """LoginRequiredError carries the place where they were."""

    async def play(world: World) -> None:
        session = await world.session()
        session.return_to = "/inbox/9"
        world.order(kind="revoke_refresh_tokens")
        await asyncio.sleep(3700)
        with pytest.raises(LoginRequiredError) as caught:
            await session.client.get("echo")
        assert caught.value.login is not None
        assert caught.value.login.return_to == "/inbox/9"
        await session.begin(world.grant(), sent_at=world.clock.boot())
        session.start_session_management()
        assert (await session.client.get("echo")).status_code == 200

    live(play)


# Maintenance


def test_the_cache_is_swept_every_minute_while_there_is_something_in_it() -> None:
    """What is past every window goes, without a call."""
    from session_core.cache_rules import CachePolicy, RouteTtl

    policy = with_(PROFESSIONAL, cache=CachePolicy(routes=(RouteTtl(pattern="*", ttl_s=10),)))

    async def fine(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200)

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(100)
        await session.client.get("echo")
        assert len(session.get_cache_manager()) == 1
        await asyncio.sleep(90)
        assert len(session.get_cache_manager()) == 0

    assert len(live(play, policy=policy, pool=httpx.MockTransport(fine)).facts(CacheSwept)) == 1


def test_a_store_that_crashes_while_written_again_is_logged() -> None:
    """A mistake in a store does not end as an exception nobody looks at."""

    class Crashing(WatchedStore):
        async def save(self, record: SessionRecord) -> SessionRecord | None:
            if self.broken:
                raise RuntimeError("boom")
            return await super().save(record)

    store = Crashing()

    async def play(world: World) -> None:
        session = await world.session()
        session._tokens._held.persisted = False
        session.update_activity()
        store.broken = True
        session._look_again()
        await asyncio.sleep(40)
        store.broken = False
        await asyncio.sleep(40)
        assert session.get_session_health().parts.persistence == 100

    world = live(play, store=store)
    assert world.facts(PartCrashed) == [PartCrashed(part="session", error="RuntimeError")]


def test_a_store_that_hangs_is_given_up_and_the_session_goes_on() -> None:
    """Ten seconds for one write, then PersistFailed."""
    store = WatchedStore()

    async def play(world: World) -> None:
        session = await world.session()
        store.latency_s = 1e6
        refresh = asyncio.create_task(session.force_refresh_session())
        await asyncio.sleep(25)
        assert (await refresh).outcome is Outcome.OK
        assert session.state is State.DEGRADED
        store.latency_s = 0.0
        await asyncio.sleep(60)
        assert session.state is State.ACTIVE

    world = live(play, store=store)
    assert {fact.error for fact in world.facts(PersistFailed)} == {"timeout"}


def test_a_session_goes_on_from_its_record() -> None:
    """The limits count from the first start, and the tokens are used as they are."""
    store = WatchedStore()

    async def play(world: World) -> None:
        first = await world.session()
        await asyncio.sleep(20 * MIN_S)
        record = await store.load(first.session_id)
        assert record is not None
        await first.aclose()
        again = Session(world.service.around, origin=first._journal.origin, rng=first._tokens._rng, subject="ada")
        again.resume_from(record)
        assert again.status().limit.standing is Standing.OK
        assert (await again.client.get("echo")).status_code == 200
        assert again.status().limit.left_s == pytest.approx(10 * MIN_S, abs=1)
        await again.aclose()

    world = live(play, store=store, policy=HALF_HOUR)
    assert [fact.resumed for fact in world.facts(SessionStarted)] == [False, True]
    assert world.posts == 0


def test_a_policy_decides_how_the_session_is_kept() -> None:
    """The same session code runs under any policy; only numbers differ."""
    policies: tuple[SessionPolicy, ...] = (PROFESSIONAL, BASIC, UNATTENDED)

    async def play(world: World) -> None:
        session = await world.session()
        assert (await session.client.get("echo")).status_code == 200

    assert [len(live(play, policy=policy).facts(SessionStarted)) for policy in policies] == [1, 1, 1]
