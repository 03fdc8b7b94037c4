"""The provider for a first try: in memory, complete, and as strict as the real ones."""

from __future__ import annotations

import asyncio

from session_core import Session, SessionService, State
from session_core.config import BASIC
from session_core.provider import ProviderConfig
from session_core.provider.demo import DemoProvider, demo_provider


async def signed_in(demo: DemoProvider, service: SessionService) -> Session:
    login = await service.login(return_to="/reports")
    callback = await demo.browser.sign_in(login, "grace", "demo")
    return await service.finish_login(callback, login, user_agent=demo.browser)


def test_a_user_signs_in_calls_the_api_and_refreshes_without_a_network() -> None:
    """Everything the library does, in one process."""

    async def play() -> None:
        demo = demo_provider()
        async with SessionService(demo.config, transport=demo.transport, pool=demo.pool) as service:
            session = await signed_in(demo, service)
            assert (await session.client.get("echo")).json()["subject"] == "grace"
            await session.force_refresh_session()
            assert (session.state, session.return_to) == (State.ACTIVE, "/reports")
        assert demo.provider.statistics().requests["token"]["ok"] == 2

    asyncio.run(play())


def test_the_session_is_told_how_the_provider_treats_refresh_tokens() -> None:
    """The grace window is what decides about replays, so both sides must know the same."""
    demo = demo_provider(ProviderConfig(grace_s=30.0, rotates=False), policy=BASIC)
    assert (demo.config.profile.grace_s, demo.config.profile.rotates) == (30.0, False)
    assert demo.config.policy is BASIC
