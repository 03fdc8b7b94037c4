"""A small world on virtual time: the embedded provider in memory, a service, and the events they leave."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Any, TypeVar

import httpx
import msgspec

from session_core.config import PROFESSIONAL, SessionConfig, SessionPolicy
from session_core.events import AnyFact, Event
from session_core.fallback_auth_manager import UserAgent
from session_core.provider.config import AccessTokenFormat, ProviderConfig, SigningAlg
from session_core.provider.core import EmbeddedProvider
from session_core.provider.faults import Fault
from session_core.provider.memory import MemoryHttpxTransport, MemoryTransport
from session_core.refresh_plan import ProviderProfile
from session_core.service import SessionService
from session_core.session import Session
from session_core.session_store import SessionStore
from session_core.sim.clock import VirtualClock
from session_core.sim.device import Device
from session_core.sim.loop import run_virtual, running_loop
from session_core.token_answers import TokenGrant, read_token_answer
from session_core.vocabulary import Outcome
from session_core.wire import Transport, WireAnswer

ISSUER = "http://127.0.0.1:9400/idp"
FactT = TypeVar("FactT")


class World:
    """Everything of one run. `events` is the log; `posts` counts requests the token endpoint has seen."""

    def __init__(
        self,
        *,
        clock: VirtualClock,
        provider: EmbeddedProvider,
        policy: SessionPolicy,
        profile: ProviderProfile,
        latency_s: float,
        store: SessionStore | None = None,
        wrap: Callable[[Transport], Transport] | None = None,
        pool: httpx.AsyncBaseTransport | None = None,
        device: Device | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock
        self.device = device
        self.provider = provider
        self.events: list[Event] = []
        self.listeners: list[Callable[[Event], None]] = []
        self.resumed: Session
        self.true_wall = clock.wall
        transport: Transport = MemoryTransport(provider, wall=self.provider_wall, latency_s=latency_s)
        self.service = SessionService(
            SessionConfig(
                **{
                    "issuer": ISSUER,
                    "client_id": "session-lab",
                    "redirect_uri": "http://127.0.0.1:9400/auth/callback",
                    "scope": "openid api",
                    "api_url": f"{ISSUER}/api/",
                    "profile": profile,
                    "policy": policy,
                    **settings,
                }
            ),
            emit=self.hear,
            clock=clock,
            store=store,
            transport=wrap(transport) if wrap else transport,
            pool=pool or MemoryHttpxTransport(provider, wall=self.provider_wall, latency_s=latency_s),
            entropy=random.Random("world").randbytes,
            seed="world",
        )

    def hear(self, event: Event) -> None:
        self.events.append(event)
        for listen in self.listeners:
            listen(event)

    def provider_wall(self) -> float:
        """The true time, whatever the device believes."""
        return EPOCH_S + self.clock.boot()

    def order(self, **fault: Any) -> None:
        self.provider.faults.order(Fault(**fault), self.provider_wall())

    async def session(self, user: str = "ada", *, user_agent: UserAgent | None = None) -> Session:
        return await self.service.adopt(
            self.grant(user), sent_at=self.clock.boot(), user_agent=user_agent, return_to="/"
        )

    def grant(self, user: str = "ada") -> TokenGrant:
        body = self.provider.tokens_for(user, now=self.provider_wall())
        answer = WireAnswer(status=200, headers={"content-type": "application/json"}, body=body)
        grant = read_token_answer(answer, wall_received=self.provider_wall())
        assert isinstance(grant, TokenGrant)
        return grant

    async def close_lid(self, seconds: float) -> None:
        """Suspend the device for so long; only in a world with a lid."""
        assert self.device is not None
        loop = running_loop()
        loop.call_at(loop.world_time() + seconds, self.device.resume, context=Context())
        self.device.suspend()
        await asyncio.sleep(0)

    def facts(self, kind: type[FactT]) -> list[FactT]:
        return [event.fact for event in self.events if isinstance(event.fact, kind)]

    def at(self, kind: type[AnyFact]) -> list[float]:
        """The boot seconds at which facts of a kind happened."""
        return [event.boot for event in self.events if isinstance(event.fact, kind)]

    @property
    def posts(self) -> int:
        return sum(self.outcomes("token").values())

    def outcomes(self, endpoint: str) -> Mapping[str, int]:
        return self.provider.statistics().requests.get(endpoint, {})

    @property
    def reuse_events(self) -> int:
        return self.provider.statistics().reuse_events


EPOCH_S = 1_767_225_600.0


def live(
    play: Callable[[World], Awaitable[None]],
    *,
    policy: SessionPolicy = PROFESSIONAL,
    profile: ProviderProfile | None = None,
    latency_s: float = 0.1,
    wall_skew_s: float = 0.0,
    access_ttl_s: float = 3600.0,
    grace_s: float = 0.0,
    store: SessionStore | None = None,
    wrap: Callable[[Transport], Transport] | None = None,
    pool: httpx.AsyncBaseTransport | None = None,
    lid: bool = False,
    provider: dict[str, Any] | None = None,
    **settings: Any,
) -> World:
    """Run `play` in a new world and hand the world back for questions. With a `lid` the device can be suspended."""
    worlds: list[World] = []

    async def main() -> None:
        device = Device(running_loop(), "laptop", epoch_s=EPOCH_S, wall_skew_s=wall_skew_s) if lid else None
        clock = device.clock if device else VirtualClock(running_loop().time, epoch_s=EPOCH_S, wall_skew_s=wall_skew_s)
        world = World(
            clock=clock,
            provider=EmbeddedProvider(
                ProviderConfig(
                    issuer=ISSUER,
                    access_ttl_s=access_ttl_s,
                    grace_s=grace_s,
                    access_token_format=AccessTokenFormat.OPAQUE,
                    **{"signing_alg": SigningAlg.ES256, **(provider or {})},
                ),
                entropy=random.Random("provider").randbytes,
            ),
            policy=policy,
            profile=profile or ProviderProfile(grace_s=grace_s),
            latency_s=latency_s,
            store=store,
            wrap=wrap,
            pool=pool,
            device=device,
            **settings,
        )
        worlds.append(world)
        await (device.create_task(inhabit(world)) if device else inhabit(world))

    async def inhabit(world: World) -> None:
        async with world.service:
            await play(world)

    run_virtual(main())
    return worlds[0]


def with_(policy: SessionPolicy, **changes: Any) -> SessionPolicy:
    """A policy with some parts changed; parts are given as dicts of their own changes."""
    parts = {
        name: msgspec.structs.replace(getattr(policy, name), **value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return msgspec.structs.replace(policy, **parts)


__all__ = ["ISSUER", "Outcome", "World", "live", "with_"]
