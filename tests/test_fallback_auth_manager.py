"""The chain when a refresh cannot help: its order, what skips a step, what stops it, and where it ends."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import ISSUER, World, live, with_

from session_core.clock import Clock
from session_core.config import PROFESSIONAL
from session_core.errors import (
    ConfigError,
    LoginRequiredError,
    ProviderError,
    ProviderUnreachableError,
    SessionEndedError,
)
from session_core.events import (
    AnyFact,
    FallbackTried,
    LoginRequested,
    RetryScheduled,
    SessionEnded,
    StateChanged,
    TokenRefreshed,
)
from session_core.fallback_auth_manager import (
    ALL_STEPS,
    ClientCredential,
    FallbackAuthManager,
    FallbackPolicy,
    LoginNeeded,
    Postponed,
    Recovered,
    Recovery,
    judge,
)
from session_core.oauth import ClientRegistration
from session_core.oauth_client import OAuthClient
from session_core.provider.config import ProviderConfig, demo_clients
from session_core.provider.core import EmbeddedProvider
from session_core.provider.faults import Fault, FaultKind
from session_core.provider.memory import MemoryTransport
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.session_limits import SessionLimits
from session_core.sim.clock import VirtualClock
from session_core.sim.loop import run_virtual, running_loop
from session_core.token_answers import TokenGrant, TokenRefusal
from session_core.vocabulary import EndReason, FallbackStep, Outcome, RefreshReason, State, StepOutcome
from session_core.wire import Transport, WireAnswer, WireFailure, WireRequest

GRANT = TokenGrant(
    access_token="at",
    refresh_token=None,
    id_token=None,
    token_type="Bearer",
    scope="",
    life_s=60,
    refresh_life_s=None,
    provider_now=None,
)
CREDENTIAL, SILENT, LOGIN = ALL_STEPS[1:]
EVERY_STEP = FallbackPolicy()


class Credential:
    """A stored credential that answers as told, after a second."""

    def __init__(self, answer: TokenGrant | TokenRefusal) -> None:
        self.answer = answer
        self.asked = 0

    async def grant(self) -> TokenGrant | TokenRefusal:
        self.asked += 1
        await asyncio.sleep(1)
        return self.answer


class Agent:
    """A user agent that ends where it is told, or raises."""

    def __init__(self, end: str | Exception | None) -> None:
        self.end = end
        self.urls: list[str] = []

    async def visit(self, url: str) -> str | None:
        self.urls.append(url)
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


class Bench:
    """One chain against an embedded provider; `facts` is what it said."""

    def __init__(
        self,
        *,
        policy: FallbackPolicy = EVERY_STEP,
        within_limits: bool = True,
        credential: Any = None,
        user_agent: Any = None,
        redirect_uri: str = "http://127.0.0.1:8501/auth/callback",
    ) -> None:
        self.facts: list[AnyFact] = []
        self.clock: Clock = VirtualClock(running_loop().world_time)
        self.provider = EmbeddedProvider(ProviderConfig(issuer=ISSUER), entropy=random.Random("p").randbytes)
        self.transport: Transport = MemoryTransport(self.provider, wall=self.clock.wall, latency_s=0.1)
        self.oauth = OAuthClient(
            self.transport,
            issuer=ISSUER,
            registration=ClientRegistration(client_id="session-lab", redirect_uri=redirect_uri, scope="openid api"),
            clock=self.clock,
            record=self.facts.append,
        )
        self.chain = FallbackAuthManager(
            policy=policy,
            oauth=self.oauth,
            clock=self.clock,
            record=self.facts.append,
            entropy=random.Random("c").randbytes,
            within_limits=lambda: within_limits,
            credential=credential,
            user_agent=user_agent,
        )

    def tried(self) -> list[tuple[FallbackStep, StepOutcome]]:
        return [(fact.step, fact.outcome) for fact in self.facts if isinstance(fact, FallbackTried)]

    def details(self) -> dict[FallbackStep, str]:
        return {fact.step: fact.detail for fact in self.facts if isinstance(fact, FallbackTried)}


def recover(*, return_to: str = "/chat", **options: Any) -> tuple[Recovery, Bench]:
    async def main() -> tuple[Recovery, Bench]:
        bench = Bench(**options)
        return await bench.chain.recover(EndReason.REFRESH_REJECTED, return_to=return_to), bench

    return run_virtual(main())


def refusal(outcome: Outcome, retry_after_s: float | None = None) -> TokenRefusal:
    return TokenRefusal(outcome=outcome, error="its_word", retry_after_s=retry_after_s)


@given(st.sampled_from(Outcome))
def test_only_a_final_no_lets_the_chain_go_on(outcome: Outcome) -> None:
    """Anything else says nothing about the user, so it must not end the session."""
    final = outcome in (Outcome.REJECTED, Outcome.CONFIG)
    assert judge(refusal(outcome)) is (StepOutcome.FAILED if final else StepOutcome.LATER)
    assert judge(GRANT) is StepOutcome.OK


def test_with_nothing_configured_the_chain_ends_at_login() -> None:
    """Each step is logged in its order, and the login request brings the user back to where they were."""
    recovery, bench = recover()
    assert isinstance(recovery, LoginNeeded)
    assert recovery.login is not None
    assert recovery.login.return_to == "/chat"
    assert bench.tried() == [
        (FallbackStep.REFRESH_TOKEN, StepOutcome.FAILED),
        (CREDENTIAL, StepOutcome.UNAVAILABLE),
        (SILENT, StepOutcome.UNAVAILABLE),
        (LOGIN, StepOutcome.OK),
    ]
    assert bench.details() == {
        FallbackStep.REFRESH_TOKEN: "refresh_rejected",
        CREDENTIAL: "not configured",
        SILENT: "not configured",
        LOGIN: "",
    }
    assert LoginRequested(reason=EndReason.REFRESH_REJECTED) in bench.facts


@given(skipped=st.sets(st.sampled_from(ALL_STEPS[:-1])))
def test_each_step_but_login_can_be_left_out_by_policy(skipped: set[FallbackStep]) -> None:
    """A step left out is logged as skipped and never asked."""
    credential, agent = Credential(refusal(Outcome.REJECTED)), Agent(ProviderError("no"))
    policy = FallbackPolicy(steps=tuple(step for step in ALL_STEPS if step not in skipped))
    recovery, bench = recover(policy=policy, credential=credential, user_agent=agent)
    assert isinstance(recovery, LoginNeeded)
    assert [step for step, _ in bench.tried()] == list(ALL_STEPS)
    assert {step for step, outcome in bench.tried() if outcome is StepOutcome.SKIPPED} == skipped
    assert credential.asked == (CREDENTIAL not in skipped)
    assert len(agent.urls) == (SILENT not in skipped)
    assert all(bench.chain.allows(step) is (step not in skipped) for step in ALL_STEPS)
    assert all(bench.details()[step] == "policy" for step in skipped)


def test_login_cannot_be_left_out() -> None:
    """It is the only step that always works."""
    with pytest.raises(ConfigError, match=r"fallback\.steps must contain login"):
        FallbackPolicy(steps=(SILENT,))


def test_a_credential_that_brings_tokens_ends_the_chain() -> None:
    """Life counts from when they were asked for; nobody is asked to sign in."""
    agent = Agent(None)
    recovery, bench = recover(credential=Credential(GRANT), user_agent=agent)
    assert recovery == Recovered(GRANT, 0.0)
    assert bench.tried()[1:] == [(CREDENTIAL, StepOutcome.OK)]
    assert [fact.duration_ms for fact in bench.facts if isinstance(fact, FallbackTried)] == [0, 1000]
    assert agent.urls == []


@pytest.mark.parametrize("outcome", [Outcome.TRANSIENT, Outcome.THROTTLED, Outcome.AMBIGUOUS, Outcome.OFFLINE])
def test_what_may_work_later_stops_the_chain_without_a_login(outcome: Outcome) -> None:
    """The session waits, with the server's Retry-After."""
    agent = Agent(None)
    recovery, bench = recover(credential=Credential(refusal(outcome, 7.0)), user_agent=agent)
    assert recovery == Postponed(outcome, 7.0)
    assert bench.tried()[1:] == [(CREDENTIAL, StepOutcome.LATER)]
    assert bench.details()[CREDENTIAL] == "its_word"
    assert agent.urls == []


def test_beyond_a_limit_no_silent_step_is_taken_but_login_is() -> None:
    """A token is not proof of presence: only the user can go on."""
    credential, agent = Credential(GRANT), Agent(None)
    recovery, bench = recover(within_limits=False, credential=credential, user_agent=agent)
    assert isinstance(recovery, LoginNeeded)
    assert recovery.login is not None
    assert bench.tried()[1:] == [
        (CREDENTIAL, StepOutcome.SKIPPED),
        (SILENT, StepOutcome.SKIPPED),
        (LOGIN, StepOutcome.OK),
    ]
    assert (credential.asked, agent.urls) == (0, [])
    assert bench.details()[SILENT] == "limit"


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (None, Postponed(Outcome.OFFLINE)),
        (ProviderUnreachableError("in trouble", Outcome.THROTTLED), Postponed(Outcome.THROTTLED)),
        (ProviderError("it showed a page"), None),
        ("http://127.0.0.1:8501/auth/callback?error=login_required&state=other", None),
    ],
    ids=["unreachable", "in trouble", "a page", "a foreign answer"],
)
def test_a_silent_visit_is_judged_by_where_it_ends(end: Any, expected: Postponed | None) -> None:
    """No way there or a provider in trouble is for later; a page or a refusal means the user must come."""
    agent = Agent(end)
    recovery, bench = recover(user_agent=agent)
    assert "prompt=none" in agent.urls[0]
    if expected is None:
        assert isinstance(recovery, LoginNeeded)
        assert (SILENT, StepOutcome.FAILED) in bench.tried()
    else:
        assert recovery == expected
        assert bench.tried()[-1] == (SILENT, StepOutcome.LATER)


def test_a_provider_that_cannot_say_where_to_sign_in_is_logged_as_later() -> None:
    """The session is over all the same; there is only no address yet."""

    async def main() -> None:
        bench = Bench()
        bench.provider.faults.order(Fault(kind=FaultKind.REFUSE), bench.clock.wall())
        recovery = await bench.chain.recover(EndReason.NO_REFRESH_TOKEN, return_to="/")
        assert recovery == LoginNeeded(None)
        assert bench.tried()[-1] == (LOGIN, StepOutcome.LATER)
        assert not any(isinstance(fact, LoginRequested) for fact in bench.facts)

    run_virtual(main())


@pytest.mark.parametrize(
    "wrong", [{"redirect_uri": ""}, {"return_to": "//evil.example"}], ids=["no redirect_uri", "a foreign place"]
)
def test_settings_that_make_no_login_possible_end_the_chain_instead_of_crashing_it(wrong: dict[str, str]) -> None:
    """A program's own client has nowhere to return to; the chain must not be tried again for ever."""
    agent = Agent(None)
    recovery, bench = recover(user_agent=agent, **wrong)
    assert recovery == LoginNeeded(None)
    assert bench.tried()[2:] == [(SILENT, StepOutcome.FAILED), (LOGIN, StepOutcome.UNAVAILABLE)]
    assert bench.details()[LOGIN] == "config"
    assert agent.urls == []


# With whole sessions


class Watched:
    """Hands the world's transport to the test, so that a browser can share it."""

    def __init__(self) -> None:
        self.inner: Transport | None = None
        self.urls: list[str] = []

    def __call__(self, inner: Transport) -> Transport:
        self.inner = inner
        return self

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        assert self.inner is not None
        self.urls.append(request.url)
        return await self.inner.send(request)

    async def aclose(self) -> None:
        return


CALLBACK = "http://127.0.0.1:8501/auth/callback"


def signed_in(play: Any, *, watched: Watched | None = None, **options: Any) -> World:
    """A world in which ada has signed in through the page, in a browser that keeps her cookies."""
    watched = watched or Watched()

    async def scene(world: World) -> None:
        agent = HeadlessUserAgent(watched)
        login = await world.service.login(return_to="/chat")
        callback = await agent.sign_in(login, "ada", "demo")
        session = await world.service.finish_login(callback, login, user_agent=agent)
        await play(world, session, agent)

    return live(scene, wrap=watched, redirect_uri=CALLBACK, **options)


def test_a_live_session_at_the_provider_rescues_without_a_visible_step() -> None:
    """Scenario 39: the refresh token is rejected, `prompt=none` brings new tokens, no user sees anything."""

    async def play(world: World, session: Any, _agent: HeadlessUserAgent) -> None:
        world.order(kind="revoke_refresh_tokens")
        for _ in range(150):
            assert (await session.client.get("echo")).status_code == 200
            await asyncio.sleep(60)
        assert session.state is State.ACTIVE

    world = signed_in(play)
    assert world.facts(SessionEnded) == []
    assert next(fact.reason for fact in world.facts(TokenRefreshed)) is RefreshReason.RECOVERY
    tried = [(fact.step, fact.outcome) for fact in world.facts(FallbackTried)]
    assert tried == [
        (FallbackStep.REFRESH_TOKEN, StepOutcome.FAILED),
        (CREDENTIAL, StepOutcome.UNAVAILABLE),
        (SILENT, StepOutcome.OK),
    ]


def test_a_browser_without_its_cookies_rescues_nothing() -> None:
    """The provider asks for the user, so login it is, with the place to return to."""

    async def play(world: World, session: Any, agent: HeadlessUserAgent) -> None:
        world.order(kind="revoke_refresh_tokens")
        agent.forget()
        await asyncio.sleep(3700)
        with pytest.raises(LoginRequiredError) as caught:
            await session.client.get("echo")
        assert caught.value.login is not None
        assert caught.value.login.return_to == "/chat"

    world = signed_in(play)
    assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.REFRESH_REJECTED]
    assert [(f.step, f.outcome) for f in world.facts(FallbackTried)][-2:] == [
        (SILENT, StepOutcome.FAILED),
        (LOGIN, StepOutcome.OK),
    ]


def test_another_user_at_the_provider_does_not_inherit_the_session() -> None:
    """Someone else signed in with the same browser: their tokens are not ada's."""

    async def play(world: World, session: Any, agent: HeadlessUserAgent) -> None:
        agent.forget()
        await agent.sign_in(await world.service.login(), "grace", "demo")
        world.order(kind="revoke_refresh_tokens")
        await asyncio.sleep(3700)
        assert session.state is State.EXPIRED

    world = signed_in(play)
    assert [fact.detail for fact in world.facts(FallbackTried) if fact.step is SILENT] == ["id_token_mismatch"]
    assert world.facts(TokenRefreshed) == []


@pytest.mark.parametrize(
    ("at_the_provider", "after_s"), [(True, 0.01), (True, 0.09), (True, 0.15), (False, 0.01), (False, 0.09)]
)
def test_a_sign_out_stops_the_chain(after_s: float, *, at_the_provider: bool) -> None:
    """At whatever step it is, nothing more is asked for, nobody is sent to a login, and what still comes is given back."""
    watched = Watched()

    async def play(world: World, session: Any, agent: HeadlessUserAgent) -> None:
        if not at_the_provider:
            agent.forget()
        world.order(kind="revoke_refresh_tokens")
        await session.force_refresh_session()
        await asyncio.sleep(session._tokens.tokens.expires_at - world.clock.boot())
        late = asyncio.create_task(session.client.get("echo"))
        await asyncio.sleep(after_s)
        watched.urls.clear()
        await session.sign_out()
        with suppress(SessionEndedError):
            await late
        assert session.state is State.SIGNED_OUT
        assert session._tokens.tokens is None

    world = signed_in(play, watched=watched)
    assert [url for url in watched.urls if not url.endswith("/revoke")] == []
    assert world.facts(LoginRequested) == []


def test_a_silent_step_does_not_pass_the_idle_limit() -> None:
    """Nobody has been there for half an hour: nothing silent happens, whatever the provider's session says."""
    limits = SessionLimits(idle_s=1800, absolute_s=86_400)

    async def play(world: World, session: Any, _agent: HeadlessUserAgent) -> None:
        world.order(kind="revoke_refresh_tokens")
        await asyncio.sleep(4000)
        assert session.state is State.LOCKED

    world = signed_in(play, policy=with_(PROFESSIONAL, limits=limits))
    assert StepOutcome.OK not in [fact.outcome for fact in world.facts(FallbackTried)]
    assert world.facts(TokenRefreshed) == []


@pytest.mark.parametrize("grace_s", [0.0, 30.0])
def test_a_chain_put_off_after_a_spent_refresh_token_waits_like_any_other(grace_s: float) -> None:
    """The grace window is over and the provider in trouble: the chain is tried again at a measured pace, to its end."""

    async def play(world: World, session: Any, _agent: HeadlessUserAgent) -> None:
        world.order(kind="drop_after", endpoint="token", from_s=3200.0, until_s=3590.0)
        world.order(kind="status", status=503, endpoint="authorize", until_s=4200.0)
        await asyncio.sleep(4300)
        assert session.state is State.ACTIVE
        assert (await session.client.get("echo")).status_code == 200

    world = signed_in(play, grace_s=grace_s)
    assert world.facts(SessionEnded) == []
    delays = [fact.delay_s for fact in world.facts(RetryScheduled)]
    assert all(delay_s >= 0 for delay_s in delays)
    assert len(world.facts(FallbackTried)) <= 3 * 40
    assert len(world.facts(StateChanged)) <= 100


def test_a_program_goes_on_by_its_own_credential() -> None:
    """No refresh token is issued for client credentials; each life is followed by the next without a login."""

    async def play(world: World) -> None:
        session = await world.service.sign_in_as_service()
        for _ in range(180):
            assert (await session.client.get("echo")).status_code == 200
            await asyncio.sleep(60)

    secret = next(client.secret for client in demo_clients() if client.secret)
    world = live(
        play,
        client_id="session-lab-service",
        client_secret=secret,
        auth_method="client_secret_basic",
        scope="openid api",
        redirect_uri="",
    )
    assert world.facts(SessionEnded) == []
    assert {fact.reason for fact in world.facts(TokenRefreshed)} == {RefreshReason.RECOVERY}
    assert len(world.facts(TokenRefreshed)) in (2, 3)


def test_a_client_credential_asks_as_the_client() -> None:
    """A thin wrapper over the client credentials grant: a public client has none."""

    async def main() -> None:
        bench = Bench()
        with pytest.raises(ConfigError, match="client_secret"):
            await ClientCredential(bench.oauth).grant()

    run_virtual(main())
