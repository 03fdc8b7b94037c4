"""One end, one reason: what ends a session in one process is told in every other that holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import jwt
import msgspec
import pytest
from test_shared_store import SharedStore, another_process, beside
from world import World, live, with_

from session_core.config import PROFESSIONAL
from session_core.errors import SessionEndedError
from session_core.events import SessionEnded
from session_core.service import SessionService
from session_core.session import Session
from session_core.session_limits import SessionLimits
from session_core.vocabulary import EndReason, State

# A process looks at the store every 30 s.
SEEN_WITHIN_S = 31.0
HOURS_2 = with_(PROFESSIONAL, limits=SessionLimits(absolute_s=7200.0))

End = Callable[[World, Session], Awaitable[object]]


async def signed_out(_world: World, session: Session) -> None:
    await session.sign_out()


async def signed_out_at_provider(world: World, session: Session) -> None:
    await world.service.end_sessions_at_provider(sub=session.user_id, sid=None)


async def too_old(_world: World, _session: Session) -> None:
    await asyncio.sleep(7200)


async def grant_revoked(world: World, _session: Session) -> None:
    """The token is served to its end first."""
    world.provider.end_sessions_of("ada", now=world.provider_wall())
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("end", "here", "there"),
    [
        (signed_out, EndReason.SIGNED_OUT, EndReason.SIGNED_OUT_ELSEWHERE),
        (signed_out_at_provider, EndReason.SIGNED_OUT_AT_PROVIDER, EndReason.SIGNED_OUT_AT_PROVIDER),
        (too_old, EndReason.ABSOLUTE_LIMIT, EndReason.ABSOLUTE_LIMIT),
        (grant_revoked, EndReason.REFRESH_REJECTED, EndReason.REFRESH_REJECTED),
    ],
)
def test_an_end_is_seen_in_the_other_process_with_its_reason(end: End, here: EndReason, there: EndReason) -> None:
    """Within half a minute; a sign-out in one process is, in the other, one elsewhere."""

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            # Left to itself it would find out by its own means.
            await other.stop_session_management()
            await end(world, session)
            other.start_session_management()
            await asyncio.sleep(SEEN_WITHIN_S)
            assert (session.ended, other.ended) == (here, there)
            with pytest.raises(SessionEndedError) as caught:
                await other.client.get("echo")
            assert caught.value.reason is there

    world = live(play, store=SharedStore(), policy=HOURS_2)
    assert sorted(fact.reason for fact in world.facts(SessionEnded)) == sorted([here, there])


async def sessions_of_two_browsers(world: World, service: SessionService) -> tuple[Session, Session]:
    """One lives in each process."""
    here = await world.session()
    there = await service.adopt(world.grant(), sent_at=world.clock.boot())
    return here, there


def test_the_provider_ends_a_users_sessions_in_all_processes() -> None:
    """Whichever process it tells; a session that lives elsewhere says why as well, and other users go on."""

    async def play(world: World) -> None:
        async with another_process(world) as service:
            here, there = await sessions_of_two_browsers(world, service)
            grace = await world.service.adopt(world.grant("grace"), sent_at=world.clock.boot())
            assert await world.service.end_sessions_at_provider(sub="ada", sid=None) == 2
            await asyncio.sleep(SEEN_WITHIN_S)
            assert {here.ended, there.ended} == {EndReason.SIGNED_OUT_AT_PROVIDER}
            assert grace.state is State.ACTIVE
            assert await world.service.end_sessions_at_provider(sub="ada", sid=None) == 0

    live(play, store=SharedStore())


def test_a_session_at_the_provider_takes_only_its_own_along() -> None:
    """By `sid`, from the ID token; what has none, or another, goes on, here and in the store."""

    async def play(world: World) -> None:
        async with another_process(world) as service:
            here, there = await sessions_of_two_browsers(world, service)
            assert await world.service.end_sessions_at_provider(sub="ada", sid="another") == 0
            assert await world.service.end_sessions_at_provider(sub=None, sid="another") == 0
            await asyncio.sleep(SEEN_WITHIN_S)
            assert {here.ended, there.ended} == {None}

    live(play, store=SharedStore())


def test_a_session_knows_its_own_at_the_provider_whatever_later_tokens_say() -> None:
    """An ID token that a refresh brings need not name the session; one that rests in the store is found as well."""

    async def play(world: World) -> None:
        claims = {"sub": "ada", "sid": "s1"}
        id_token = jwt.encode(claims, "k" * 32, algorithm="HS256")
        async with another_process(world) as service:
            here, there = [
                await at.adopt(msgspec.structs.replace(world.grant(), id_token=id_token), sent_at=world.clock.boot())
                for at in (world.service, service)
            ]
            await asyncio.sleep(3600)
            for session in (here, there):
                assert session.claims()["sub"] == "ada"
                assert "sid" not in session.claims()
            await service.let_go(there.session_id)
            assert await world.service.end_sessions_at_provider(sub="ada", sid="another") == 0
            assert await world.service.end_sessions_at_provider(sub="ada", sid="s1") == 2
            assert here.ended is EndReason.SIGNED_OUT_AT_PROVIDER
            assert await service.resume(there.session_id) is None

    live(play, store=SharedStore())


def test_a_reason_that_is_not_known_any_more_is_one_elsewhere() -> None:
    """Who looks after a day, or at a store of another kind, still stops."""

    class Forgetful(SharedStore):
        async def ended(self, session_id: str) -> EndReason | None:
            return None

    async def play(world: World) -> None:
        session = await world.session()
        async with another_process(world) as service:
            other = await beside(service, session)
            await session.sign_out(EndReason.SIGNED_OUT_AT_PROVIDER)
            await asyncio.sleep(SEEN_WITHIN_S)
            assert other.ended is EndReason.SIGNED_OUT_ELSEWHERE

    live(play, store=Forgetful())


async def its_grant_revoked(world: World, session: Session) -> None:
    """The provider takes back what it gave to this session and to no other; its token is served to its end."""
    tokens = session._tokens.tokens
    assert tokens is not None
    assert tokens.refresh_token is not None
    await world.service.oauth.revoke(tokens.refresh_token)
    await asyncio.sleep(3600)


async def older_than_the_other(_world: World, _session: Session) -> None:
    await asyncio.sleep(7200 - 30)


@pytest.mark.parametrize("end", [signed_out, its_grant_revoked, older_than_the_other])
def test_what_ended_on_one_device_is_gone_from_the_list_on_the_others(end: End) -> None:
    """Wherever they live; the user's other session goes on."""

    async def play(world: World) -> None:
        async with another_process(world) as service:
            here = await world.session()
            await asyncio.sleep(60)
            there = await service.adopt(world.grant(), sent_at=world.clock.boot())
            listed = [record.session_id for record in await service.sessions_of("ada")]
            assert set(listed) == {here.session_id, there.session_id}
            await end(world, here)
            assert here.ended is not None
            assert [record.session_id for record in await service.sessions_of("ada")] == [there.session_id]
            assert there.ended is None
            assert (await there.client.get("echo")).status_code == 200

    live(play, store=SharedStore(), policy=HOURS_2)
