"""Each fault of the embedded provider against a session: no needless sign-out, no loop, no harmful replay."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from world import World, live, with_

from session_core.config import PROFESSIONAL
from session_core.errors import LoginRequiredError, TokenUnavailableError
from session_core.events import FallbackTried, PartCrashed, RefreshFailed, SessionEnded, StateChanged, TokenRefreshed
from session_core.vocabulary import EndReason, FallbackStep, Outcome, State, StepOutcome

DUE_S = 3600 - 330  # Before any refresh of a one-hour token can be due.


async def call(world: World, session: Any) -> int:
    """The status of one call to the demo API."""
    return int((await session.client.get("echo")).status_code)


async def use_for(world: World, session: Any, seconds: float, *, every_s: float = 10.0) -> list[int | str]:
    """One call each `every_s`; the status of each, or the code of the error."""
    seen: list[int | str] = []
    for _ in range(int(seconds / every_s)):
        try:
            seen.append(await call(world, session))
        except TokenUnavailableError as error:
            seen.append(error.code)
        except httpx.TransportError as error:
            seen.append(type(error).__name__)
        await asyncio.sleep(every_s)
    return seen


PASSING: Mapping[str, tuple[dict[str, Any], int]] = {
    "503 for four minutes": ({"kind": "status", "status": 503, "until_s": DUE_S + 300}, 9),
    "500 for four minutes": ({"kind": "status", "status": 500, "until_s": DUE_S + 300}, 9),
    "502 page": ({"kind": "html", "status": 502, "until_s": DUE_S + 200}, 8),
    "429 with Retry-After": ({"kind": "status", "status": 429, "retry_after_s": 60, "until_s": DUE_S + 150}, 6),
    "429 with a date": (
        {"kind": "status", "status": 429, "retry_after_s": 60, "retry_after_is_date": True, "until_s": DUE_S + 150},
        6,
    ),
    "429 bare": ({"kind": "status", "status": 429, "until_s": DUE_S + 150}, 6),
    "refused": ({"kind": "refuse", "until_s": DUE_S + 200}, 60),
    "portal": ({"kind": "html", "status": 200, "until_s": DUE_S + 200}, 9),
    "slow": ({"kind": "delay", "delay_s": 5.0, "until_s": DUE_S + 200}, 2),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_inside_the_margin_is_not_felt(name: str) -> None:
    """While the access token is good, trouble at the token endpoint costs no call and no session."""
    fault, posts_max = PASSING[name]

    async def play(world: World) -> None:
        session = await world.session()
        world.order(endpoint="token", **fault)
        await asyncio.sleep(DUE_S)
        assert set(await use_for(world, session, 3600)) == {200}
        assert session.state is State.ACTIVE

    world = live(play)
    assert world.facts(SessionEnded) == []
    assert world.reuse_events == 0
    assert len(world.facts(TokenRefreshed)) >= 1
    assert world.posts <= posts_max + 1


@pytest.mark.parametrize("offline", [{"kind": "refuse"}, {"kind": "html", "status": 200}])
def test_offline_sends_no_refresh_token_and_recovers_at_once(offline: dict[str, Any]) -> None:
    """Behind a dead or captive network only probes go out, and five seconds after it the session is back."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(DUE_S)
        world.order(endpoint="any", until_s=900.0, **offline)
        await asyncio.sleep(700)
        assert session.state is State.OFFLINE
        await asyncio.sleep(205.5)
        assert session.state is State.ACTIVE
        assert await call(world, session) == 200

    world = live(play)
    assert world.outcomes("token").get("ok") == 1
    assert world.facts(SessionEnded) == []


def test_503_past_the_end_of_the_token_keeps_the_session() -> None:
    """Calls fail while nothing valid can be had, and succeed again afterwards without a sign-in."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=503, endpoint="token", until_s=5000.0)
        await asyncio.sleep(3700)
        with pytest.raises(TokenUnavailableError) as caught:
            await call(world, session)
        assert caught.value.outcome is Outcome.TRANSIENT
        assert session.state is State.DEGRADED
        await asyncio.sleep(1400)
        assert await call(world, session) == 200

    world = live(play)
    assert world.facts(SessionEnded) == []
    assert world.posts <= 40


def test_throttled_and_expired_waits_out_the_cooldown() -> None:
    """A bare 429 with an expired token: DEGRADED, no POST for 60 s, no sign-out."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=429, endpoint="token", from_s=DUE_S, until_s=4000.0)
        await asyncio.sleep(3650)
        assert session.state is State.DEGRADED
        for _ in range(20):
            with pytest.raises(TokenUnavailableError):
                await call(world, session)

    world = live(play)
    failed_at = world.at(RefreshFailed)
    assert len(failed_at) >= 2
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(failed_at))
    assert world.facts(SessionEnded) == []


LOST: Mapping[str, dict[str, Any]] = {
    "answer dropped": {"kind": "drop_after"},
    "answer hung": {"kind": "hang", "acts": True},
    "answer garbled": {"kind": "garbled_json"},
    "gateway gave up": {"kind": "status", "status": 504, "acts": True},
}


@pytest.mark.parametrize("name", LOST)
def test_a_lost_answer_is_replayed_inside_the_grace_window(name: str) -> None:
    """The provider rotated and the answer is lost: one replay within 30 s brings the successor tokens."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(endpoint="token", times=1, from_s=DUE_S, **LOST[name])
        await asyncio.sleep(DUE_S)
        assert set(await use_for(world, session, 4000)) == {200}

    world = live(play, grace_s=30.0)
    failed, refreshed = world.at(RefreshFailed), world.at(TokenRefreshed)
    assert [fact.outcome for fact in world.facts(RefreshFailed)] == [Outcome.AMBIGUOUS]
    assert refreshed[0] - failed[0] <= 30
    assert world.provider.statistics().replays_answered == 1
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


@pytest.mark.parametrize("name", LOST)
def test_a_lost_answer_without_grace_is_never_replayed(name: str) -> None:
    """Grace 0: the token that may be spent is not sent again; the access token serves to its end, then the chain."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(endpoint="token", times=1, from_s=DUE_S, **LOST[name])
        await asyncio.sleep(DUE_S)
        assert set(await use_for(world, session, 320)) == {200}
        assert session.state is State.DEGRADED
        await asyncio.sleep(60)
        with pytest.raises(LoginRequiredError) as caught:
            await call(world, session)
        assert caught.value.reason is EndReason.REFRESH_AMBIGUOUS

    world = live(play)
    assert world.posts == 1
    assert world.reuse_events == 0
    assert world.at(SessionEnded)[0] >= 3600
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.REFRESH_AMBIGUOUS]


def test_a_request_dropped_before_the_server_acted_is_treated_with_the_same_care() -> None:
    """The client cannot know that nothing happened, so with grace it replays, and it works."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="drop_before", endpoint="token", times=1, from_s=DUE_S)
        await asyncio.sleep(DUE_S)
        assert set(await use_for(world, session, 1000)) == {200}

    world = live(play, grace_s=30.0)
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


def test_a_provider_that_does_not_rotate_is_asked_again_after_anything() -> None:
    """Without rotation no refresh token can be spent, so a lost answer is only a delay."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="drop_after", endpoint="token", times=3, from_s=DUE_S)
        await asyncio.sleep(DUE_S)
        assert set(await use_for(world, session, 1000)) == {200}

    from session_core.refresh_plan import ProviderProfile

    world = live(play, profile=ProviderProfile(rotates=False), provider={"rotates": False})
    assert world.facts(SessionEnded) == []
    assert len(world.facts(TokenRefreshed)) == 1


def test_a_revoked_refresh_token_ends_the_session_once_and_says_why() -> None:
    """invalid_grant for good: one POST for that token, the access token to its end, the chain, one reason."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="revoke_refresh_tokens", from_s=100.0)
        await asyncio.sleep(DUE_S)
        assert set(await use_for(world, session, 320)) == {200}
        await asyncio.sleep(60)
        assert session.state is State.EXPIRED
        with pytest.raises(LoginRequiredError) as caught:
            await call(world, session)
        assert caught.value.login is not None
        assert caught.value.login.return_to == "/"

    world = live(play)
    assert world.posts == 1
    assert world.at(SessionEnded)[0] >= 3600
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.REFRESH_REJECTED]
    assert [(f.step, f.outcome) for f in world.facts(FallbackTried)] == [
        (FallbackStep.REFRESH_TOKEN, StepOutcome.FAILED),
        (FallbackStep.STORED_CREDENTIAL, StepOutcome.UNAVAILABLE),
        (FallbackStep.SILENT_REAUTHENTICATION, StepOutcome.UNAVAILABLE),
        (FallbackStep.LOGIN, StepOutcome.OK),
    ]


def test_a_revoked_access_token_costs_one_refresh_and_no_error() -> None:
    """The API answers 401 to a token that should be good: one refresh, one retry of the call."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(100)
        world.order(kind="revoke_access_tokens")
        assert await call(world, session) == 200

    world = live(play)
    assert world.posts == 1
    assert world.outcomes("api").get("ok") == 1


def test_an_api_that_always_says_401_makes_no_loop() -> None:
    """One refresh, one retry, then the error itself; a hundred calls later it is still one refresh a minute."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=401, endpoint="api")
        for _ in range(100):
            assert await call(world, session) == 401

    world = live(play, latency_s=0.01)
    assert world.posts == 1


def test_a_client_the_provider_does_not_know_is_not_a_signed_out_user() -> None:
    """invalid_client is a mistake of the setup: the session is kept and the endpoint left in peace."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(3500)
        assert session.state is State.DEGRADED
        assert await call(world, session) == 200

    world = live(play, client_id="never-registered")
    assert world.facts(SessionEnded) == []
    assert world.posts <= 2
    assert {fact.outcome for fact in world.facts(RefreshFailed)} == {Outcome.CONFIG}


@pytest.mark.parametrize("offset_s", [-900.0, 900.0])
def test_a_provider_with_a_wrong_clock_changes_nothing(offset_s: float) -> None:
    """Deadlines are kept on the boot clock from the moment of asking, so whose clock is wrong does not matter."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="clock_offset", offset_s=offset_s)
        assert set(await use_for(world, session, 9000, every_s=60)) <= {200}

    world = live(play)
    assert world.facts(SessionEnded) == []
    assert 2 <= world.posts <= 4


@pytest.mark.parametrize("skew_s", [-7200.0, 7200.0])
def test_a_device_with_a_wrong_clock_refreshes_on_time(skew_s: float) -> None:
    """The schedule is the true one to the second, two hours off or not."""

    async def play(world: World) -> None:
        await world.session()
        await asyncio.sleep(3700)

    right, wrong = live(play), live(play, wall_skew_s=skew_s)
    assert abs(right.at(TokenRefreshed)[0] - wrong.at(TokenRefreshed)[0]) < 5


def test_rotated_signing_keys_are_no_trouble() -> None:
    """Keys that change between refreshes cost no session."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="rotate_keys", from_s=10.0)
        assert set(await use_for(world, session, 8000, every_s=100)) == {200}

    assert live(play).facts(SessionEnded) == []


def test_an_answer_whose_expiry_does_not_move_is_not_asked_for_again_at_once() -> None:
    """The same expiry again and again: at most one POST a minute."""

    async def play(world: World) -> None:
        await world.session()
        world.order(kind="unchanged_expiry", until_s=3590.0)
        await asyncio.sleep(3590)

    world = live(play)
    posted = world.at(TokenRefreshed)
    assert len(posted) >= 2
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(posted))


def test_short_tokens_are_refreshed_at_most_twice_a_life() -> None:
    """A token of two minutes has a margin of its own size, not one of five minutes."""

    async def play(world: World) -> None:
        await world.session()
        await asyncio.sleep(1200)

    world = live(play, access_ttl_s=120)
    assert 10 <= world.posts <= 20


def test_a_token_of_forty_days_waits_without_a_request() -> None:
    """No timer overflows and nothing is asked in the first day."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(86_400)
        assert await call(world, session) == 200

    assert live(play, access_ttl_s=40 * 86_400).posts == 0


def test_states_do_not_flap_while_the_network_does() -> None:
    """Up and down every 3 s, twenty times: few requests and a calm state."""

    async def play(world: World) -> None:
        await world.session()
        await asyncio.sleep(DUE_S)
        for turn in range(20):
            world.order(kind="refuse", from_s=turn * 6.0, until_s=turn * 6.0 + 3.0)
        await asyncio.sleep(120)

    world = live(play)
    assert world.posts <= 16
    assert len(world.facts(StateChanged)) <= 12


def test_the_budget_of_a_fault_storm_is_bounded() -> None:
    """An hour of 503 with an expired token and an eager user: the endpoint is asked five times a minute at most."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=503, endpoint="token", until_s=7300.0)
        await asyncio.sleep(3650)
        await use_for(world, session, 3600, every_s=1)

    world = live(play, policy=with_(PROFESSIONAL, refresh={"caller_wait_s_max": 0.5}))
    assert world.posts <= 300
    assert world.facts(SessionEnded) == []


def test_a_provider_that_fails_is_asked_for_somebody_who_waits_and_rests_from_nobody() -> None:
    """One call in an outage has the endpoint asked once more after it; then, with nobody there, minutes apart."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=500, endpoint="token")
        await asyncio.sleep(3900)
        asked, began_at = world.posts, world.clock.boot()
        with pytest.raises(TokenUnavailableError):
            await session.client.get("echo")
        assert world.clock.boot() - began_at <= 14
        await asyncio.sleep(14)
        assert world.posts - asked == 2
        await asyncio.sleep(180)
        assert world.posts - asked <= 3

    live(play)


def test_who_is_there_when_an_outage_ends_in_flaws_is_helped_within_a_minute() -> None:
    """Ten minutes of 500 are over, and three answers more are 500: the fourth probe still comes in time."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=500, endpoint="token", until_s=4500.0)
        world.order(kind="status", status=500, endpoint="token", from_s=4500.0, times=3)
        await asyncio.sleep(3700)
        while not world.at(TokenRefreshed):
            await use_for(world, session, 20.0, every_s=20.0)

    assert live(play).at(TokenRefreshed)[0] <= 4560


def test_a_forced_refresh_that_fails_is_tried_again_by_itself() -> None:
    """Far from its due time too: the session says that it keeps trying, so it does, and ends up ACTIVE."""

    async def play(world: World) -> None:
        session = await world.session()
        await asyncio.sleep(60)
        world.order(kind="status", status=503, endpoint="token", until_s=20.0)
        await session.force_refresh_session()
        assert session.state is State.DEGRADED
        await asyncio.sleep(60)
        assert session.state is State.ACTIVE

    assert len(live(play).facts(TokenRefreshed)) == 1


def test_faults_that_spoil_the_same_answer_add_up() -> None:
    """A garbled answer whose fields were to be changed as well is a garbled answer, not a crash of the double."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="garbled_json", endpoint="token", times=1)
        world.order(kind="set_field", endpoint="token", field="expires_in", value=-1)
        assert (await session.force_refresh_session()).outcome is Outcome.AMBIGUOUS

    assert live(play).facts(PartCrashed) == []


def test_a_provider_that_stays_down_is_asked_ever_less_while_nobody_waits() -> None:
    """The background backs off up to ten minutes; a user who comes back is held no longer than the cool-down."""

    async def play(world: World) -> None:
        session = await world.session()
        world.order(kind="status", status=503, endpoint="token", until_s=20_000.0)
        await asyncio.sleep(15_000)
        tried = len(world.at(RefreshFailed))
        await asyncio.sleep(70)
        with pytest.raises(TokenUnavailableError):
            await call(world, session)
        assert len(world.at(RefreshFailed)) == tried + 1

    world = live(play)
    apart = [later - earlier for earlier, later in itertools.pairwise(world.at(RefreshFailed)[:-1])]
    assert 540 <= apart[-1] <= 600 + 1
    assert max(apart) <= 600 + 1
