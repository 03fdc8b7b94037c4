"""A whole session under any order of use, faults, sleep and sign-outs: what must hold after every step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, ClassVar, TypeVar

import httpx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from world import EPOCH_S, ISSUER, World, with_

from session_core.config import PROFESSIONAL
from session_core.errors import SessionEndedError, SessionLockedError, TokenUnavailableError
from session_core.events import PartCrashed, PersistFailed, SessionEnded, SessionStarted, StateChanged, encode
from session_core.provider.config import AccessTokenFormat, ProviderConfig
from session_core.provider.core import EmbeddedProvider
from session_core.provider.memory import MemoryHttpxTransport
from session_core.refresh_plan import ProviderProfile
from session_core.session import Session
from session_core.session_limits import SessionLimits
from session_core.session_store import MemorySessionStore, SessionRecord
from session_core.sim.device import Device
from session_core.sim.loop import VirtualLoop
from session_core.token_holder import FORGET_TRIES
from session_core.vocabulary import EndReason, State
from session_core.wire import Transport, WireAnswer, WireFailure, WireRequest

T = TypeVar("T")
OVER = (State.SIGNED_OUT, State.EXPIRED)
SECONDS = st.one_of(st.floats(0, 20), st.floats(0, 400), st.floats(2500, 4000))


class OneAtATime:
    """Sees every request to the token endpoint and how many were under way at once."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._under_way = 0
        self.most = 0

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        if not request.url.endswith("/token"):
            return await self._inner.send(request)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return await self._inner.send(request)
        finally:
            self._under_way -= 1

    async def aclose(self) -> None:
        await self._inner.aclose()


class SlowStore(MemorySessionStore):
    """Takes its time before and after it writes, so that everything else can happen meanwhile."""

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        await asyncio.sleep(0.03)
        written = await super().save(record)
        await asyncio.sleep(0.02)
        return written

    async def delete(self, session_id: str, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        await asyncio.sleep(0.03)
        await super().delete(session_id, reason)
        await asyncio.sleep(0.02)


class SessionMachine(RuleBasedStateMachine):
    """One user, one laptop, one provider, which forgives a replay for `grace_s`."""

    grace_s: ClassVar[float] = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.device = Device(self.loop, "laptop", epoch_s=EPOCH_S)
        self.provider = EmbeddedProvider(
            ProviderConfig(issuer=ISSUER, grace_s=self.grace_s, access_token_format=AccessTokenFormat.OPAQUE),
            entropy=random.Random("provider").randbytes,
        )
        self.store = SlowStore()
        self.offline_until = 0.0
        self.wishes: list[asyncio.Task[Any]] = []
        self.checked = 0
        self.stack = AsyncExitStack()

    @initialize()
    def sign_in_first(self) -> None:
        doors: list[OneAtATime] = []

        def wrap(inner: Transport) -> Transport:
            doors.append(OneAtATime(inner))
            return doors[0]

        async def enter() -> tuple[World, Session]:
            world = World(
                clock=self.device.clock,
                provider=self.provider,
                policy=with_(PROFESSIONAL, limits=SessionLimits(idle_s=20_000, absolute_s=60_000)),
                profile=ProviderProfile(grace_s=self.grace_s),
                latency_s=0.1,
                store=self.store,
                wrap=wrap,
                pool=MemoryHttpxTransport(self.provider, wall=lambda: EPOCH_S + self.device.clock.boot()),
                device=self.device,
            )
            await self.stack.enter_async_context(world.service)
            return world, await world.session()

        self.world, self.session = self.run(enter())
        self.door = doors[0]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` on the laptop, and wait until it is done."""
        return self.loop.run_until_complete(self.device.create_task(work))

    def pass_time(self, seconds: float) -> None:
        """The world goes on, whatever the laptop does."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begin `work` on the laptop and do not wait for it."""
        self.wishes.append(self.device.create_task(work))
        self.pass_time(0)

    # What can happen

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(offset_s=st.sampled_from([-1.0, 0.0, 1.0, 20.0]), in_trouble=st.booleans())
    def call_around_the_expiry(self, offset_s: float, in_trouble: bool) -> None:  # noqa: FBT001 - drawn
        left_s = self.session.status().token_left_s
        if left_s is not None and left_s + offset_s > 0:
            if in_trouble:
                self.world.order(kind="status", status=503, endpoint="token", until_s=left_s + offset_s + 1)
            self.pass_time(left_s + offset_s)
            self.call_the_api_and_wait()

    @rule(count=st.integers(1, 5))
    def call_the_api(self, count: int) -> None:
        for _ in range(count):
            self.start(self.call())

    @rule()
    def call_the_api_and_wait(self) -> None:
        status = self.session.status()
        left_s = status.token_left_s
        limit_s = status.limit.left_s
        came = self.run(self.call())
        if left_s is not None and left_s > 0 and limit_s > 0 and status.state is not State.LOCKED and not self.offline:
            assert came == 200, "an unexpired token serves, whatever the token endpoint does"

    async def call(self) -> int | str:
        try:
            response = await self.session.client.get("echo")
        except (TokenUnavailableError, SessionEndedError, SessionLockedError) as error:
            return error.code
        except httpx.TransportError:
            if not self.offline:
                raise
            return "offline"
        return int(response.status_code)

    @property
    def offline(self) -> bool:
        return self.device.clock.boot() < self.offline_until

    @rule(
        kind=st.sampled_from(["drop_after", "drop_before", "garbled_json", "refuse", "hang"]), times=st.integers(1, 4)
    )
    def lose_answers(self, kind: str, times: int) -> None:
        self.world.order(kind=kind, endpoint="token", times=times, until_s=2000.0)

    @rule(status=st.sampled_from([429, 500, 503, 504]), seconds=st.floats(1, 900), wish=st.none() | st.floats(0, 120))
    def answer_with_trouble(self, status: int, seconds: float, wish: float | None) -> None:
        wished = {} if wish is None else {"retry_after_s": wish}
        self.world.order(kind="status", status=status, endpoint="token", until_s=seconds, **wished)

    @rule(seconds=st.floats(1, 900))
    def lose_the_network(self, seconds: float) -> None:
        self.world.order(kind="refuse", until_s=seconds)
        self.offline_until = max(self.offline_until, self.device.clock.boot() + seconds)

    @rule(delay_s=st.floats(0, 12))
    def answer_slowly(self, delay_s: float) -> None:
        self.world.order(kind="delay", delay_s=delay_s, endpoint="token", times=2)

    @rule()
    def revoke(self) -> None:
        self.world.order(kind="revoke_refresh_tokens")

    @rule(seconds=SECONDS)
    def close_the_lid(self, seconds: float) -> None:
        self.device.suspend()
        self.pass_time(seconds)
        self.device.resume()

    @rule(seconds=st.floats(0, 700))
    def stall(self, seconds: float) -> None:
        self.device.stall(seconds)
        self.pass_time(seconds + 0.001)

    @rule(seconds=st.floats(-7200, 7200))
    def step_the_clock(self, seconds: float) -> None:
        self.device.step_wall(seconds)

    @rule()
    def force_a_refresh(self) -> None:
        async def force() -> None:
            try:
                await self.session.force_refresh_session()
            except (SessionEndedError, SessionLockedError):
                assert self.session.state in (*OVER, State.LOCKED)

        self.start(force())

    @rule()
    def act(self) -> None:
        self.device.call(self.session.update_activity)

    @precondition(lambda self: self.session.state not in OVER)
    @rule()
    def sign_out(self) -> None:
        self.start(self.session.sign_out())
        assert self.session.state in OVER

    @precondition(lambda self: self.session.state in (*OVER, State.LOCKED))
    @rule()
    def sign_in_again(self) -> None:
        async def again() -> None:
            sent_at = self.device.clock.boot()
            await self.session.begin(self.world.grant(), sent_at=sent_at)
            self.session.start_session_management()

        self.run(again())
        assert self.session.state not in OVER

    # What always holds

    @invariant()
    def one_request_at_a_time_and_no_spent_token(self) -> None:
        assert self.door.most <= 1
        assert self.world.reuse_events == 0
        assert self.world.outcomes("api").get("invalid_token", 0) == 0

    @invariant()
    def the_state_and_the_tokens_agree(self) -> None:
        over = self.session.state in OVER
        assert (self.session._tokens.tokens is None) is over
        health = self.session.get_session_health()
        assert 0 <= health.score <= 100
        assert not over or health.score == 0

    @invariant()
    def every_end_has_one_beginning_and_one_reason(self) -> None:
        alive = False
        for event in self.world.events:
            if isinstance(event.fact, SessionStarted):
                alive = True
            elif isinstance(event.fact, SessionEnded):
                assert alive
                alive = False
        assert alive is (self.session.state not in OVER)
        assert self.world.facts(PartCrashed) == []

    @invariant()
    def the_log_has_no_gap_and_no_secret(self) -> None:
        numbers: dict[str, int] = {}
        for event in self.world.events:
            assert event.seq == numbers.get(event.origin.stream_id, 0) + 1
            numbers[event.origin.stream_id] = event.seq
        texts = [encode(event).decode() for event in self.world.events[self.checked :]]
        self.checked = len(self.world.events)
        texts += [repr(self.session), repr(self.session._tokens.tokens), repr(self.session.status())]
        told = "\n".join(texts)
        assert [secret for secret in self.provider.issued_secrets() if secret in told] == []

    @invariant()
    def the_states_follow_each_other(self) -> None:
        before = State.SIGNED_OUT
        for fact in self.world.facts(StateChanged):
            assert fact.state_from is before
            before = fact.state_to
        assert before is self.session.state

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        try:
            self.pass_time(60)
            for wish in self.wishes:
                assert wish.done(), "nobody waits for ever"
                wish.result()
            self.the_store_is_as_the_session()
            self.run(self.stack.aclose())
        finally:
            self.loop.end_tasks()
            failures = self.loop.collect_failures()
            self.loop.close()
        assert failures == []

    def the_store_is_as_the_session(self) -> None:
        held = self.run(self.store.load(self.session.session_id))
        tokens = self.session._tokens.tokens
        if tokens is None:
            # Three stalls of ten seconds in the middle of forgetting are three failed tries, which the log says.
            assert held is None or len(self.world.facts(PersistFailed)) >= FORGET_TRIES
        else:
            assert held is not None
            assert held.tokens == tokens


class GraceMachine(SessionMachine):
    """The same with a provider that answers a replay for half a minute."""

    grace_s = 30.0


TestWithoutGrace = SessionMachine.TestCase
TestWithGrace = GraceMachine.TestCase
TestWithoutGrace.settings = TestWithGrace.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, print_blob=True
)
