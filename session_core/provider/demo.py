"""A whole provider with its API in this process: for trying the library out, and for tests of what is built on it."""

from __future__ import annotations

import secrets

import msgspec

from session_core.clock import Clock, SystemClock
from session_core.config import PROFESSIONAL, SessionConfig, SessionPolicy
from session_core.provider.config import DEMO_REDIRECT_URIS, ProviderConfig
from session_core.provider.core import EmbeddedProvider
from session_core.provider.memory import MemoryHttpxTransport, MemoryTransport
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.refresh_plan import ProviderProfile


class DemoProvider(msgspec.Struct, frozen=True, kw_only=True):
    """What a SessionService takes to work without a network, and a browser with which to sign its users in."""

    provider: EmbeddedProvider
    config: SessionConfig
    transport: MemoryTransport
    pool: MemoryHttpxTransport
    browser: HeadlessUserAgent


def demo_provider(
    settings: ProviderConfig | None = None, *, policy: SessionPolicy = PROFESSIONAL, clock: Clock | None = None
) -> DemoProvider:
    """The embedded provider in memory. Its users are ada, grace and alan; everyone's password is demo."""
    wall = (clock or SystemClock()).wall
    provider = EmbeddedProvider(settings or ProviderConfig(), entropy=secrets.token_bytes)
    transport = MemoryTransport(provider, wall=wall)
    config = SessionConfig(
        issuer=provider.config.issuer,
        client_id="session-lab",
        redirect_uri=DEMO_REDIRECT_URIS[0],
        scope="openid profile email offline_access api",
        api_url=f"{provider.config.issuer}/api/",
        profile=ProviderProfile(rotates=provider.config.rotates, grace_s=provider.config.grace_s),
        policy=policy,
    )
    return DemoProvider(
        provider=provider,
        config=config,
        transport=transport,
        pool=MemoryHttpxTransport(provider, wall=wall),
        browser=HeadlessUserAgent(transport),
    )
