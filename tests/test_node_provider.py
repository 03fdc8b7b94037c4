"""The same lifecycle against oidc-provider, an npm package no one here wrote, over real HTTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import httpx
import msgspec
import pytest

from session_core.config import PROFESSIONAL, SessionConfig
from session_core.errors import LoginRequiredError, ProviderError, TokenVerificationError
from session_core.events import Event, KeysFetched, RefreshFailed, SessionEnded, TokenRefreshed, TokenRevoked
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.refresh_plan import ProviderProfile
from session_core.service import SessionService
from session_core.session import Session
from session_core.token_answers import TokenRefusal
from session_core.vocabulary import EndReason, Outcome, RefreshReason, State
from session_core.wire import HttpxTransport

HERE = Path(__file__).parent / "node"
REDIRECT_URI = "http://127.0.0.1:9400/auth/callback"
ACCESS_TTL_S = 3

pytestmark = pytest.mark.node


class Peer:
    """The running provider."""

    def __init__(self, process: subprocess.Popen[str], issuer: str) -> None:
        self.issuer = issuer
        self._process = process

    def rotate_keys(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("rotate\n")
        self._process.stdin.flush()
        # The package has notices of its own to print.
        while self._process.stdout.readline().strip() != "rotated":
            assert self._process.poll() is None


@contextmanager
def running_peer(redirect_uri: str, *, access_ttl_s: int) -> Iterator[Peer]:
    node = shutil.which("node")
    ready = node is not None and (HERE / "node_modules" / "oidc-provider").is_dir()
    if not ready and not os.environ.get("CI"):
        pytest.skip("node or its packages are not here: run `npm ci` in tests/node")
    assert node is not None, "CI runs this test: install node"
    assert ready, "CI runs this test: run `npm ci` in tests/node"
    with subprocess.Popen(
        [node, "provider.mjs", redirect_uri, str(access_ttl_s)],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Peer(process, process.stdout.readline().strip())
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with running_peer(REDIRECT_URI, access_ttl_s=ACCESS_TTL_S) as running:
        yield running


@asynccontextmanager
async def serving(
    peer: Peer, events: list[Event], *, dpop: Literal["off", "required"] = "off"
) -> AsyncIterator[SessionService]:
    config = SessionConfig(
        issuer=peer.issuer,
        client_id="session-lab",
        redirect_uri=REDIRECT_URI,
        scope="openid offline_access",
        api_url=peer.issuer,
        policy=PROFESSIONAL,
        profile=ProviderProfile(rotates=True, grace_s=0),
        dpop=dpop,
    )
    async with SessionService(config, emit=events.append) as service:
        yield service


@asynccontextmanager
async def browsing() -> AsyncIterator[HeadlessUserAgent]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield HeadlessUserAgent(HttpxTransport(client))


async def sign_in(service: SessionService, agent: HeadlessUserAgent) -> Session:
    """Through the provider's own pages, with PKCE; consent is asked for because of offline access."""
    login = await service.oauth.login_request(service.around.entropy, return_to="/chat", prompt="consent")
    return await service.finish_login(await agent.sign_in(login, "ada", "demo"), login, user_agent=agent)


async def until(claim: object, *, within_s: float = 20.0) -> None:
    """Wait until `claim()` holds."""
    async with asyncio.timeout(within_s):
        while not claim():  # type: ignore[operator]
            await asyncio.sleep(0.05)


def facts(events: list[Event], kind: type) -> list[object]:
    return [event.fact for event in events if isinstance(event.fact, kind)]


def test_a_session_lives_on_over_several_token_lives(peer: Peer) -> None:
    """Sign-in with PKCE, then refreshes with rotation ahead of expiry and no failed call."""
    events: list[Event] = []

    async def main() -> None:
        async with serving(peer, events) as service, browsing() as agent:
            session = await sign_in(service, agent)
            assert session.user_id == "ada"
            assert session.return_to == "/chat"
            while len(facts(events, TokenRefreshed)) < 3:
                answer = await session.client.get("/me")
                assert (answer.status_code, answer.json()["sub"]) == (200, "ada")
                await asyncio.sleep(0.1)
            assert session.state is not State.DEGRADED

    asyncio.run(main())
    refreshed = [fact for fact in facts(events, TokenRefreshed) if isinstance(fact, TokenRefreshed)]
    assert all(fact.rotated and fact.moved and fact.left_s > 0 for fact in refreshed)
    assert facts(events, RefreshFailed) == []


def test_a_spent_refresh_token_is_refused_and_takes_the_family_with_it(peer: Peer) -> None:
    """Reuse detection at a real provider: the replayed token is refused, and so is its successor afterwards."""
    events: list[Event] = []

    async def main() -> None:
        async with serving(peer, events) as service, browsing() as agent:
            session = await sign_in(service, agent)
            tokens = session._tokens.tokens
            assert tokens is not None
            assert tokens.refresh_token is not None
            await session.force_refresh_session()
            reused = await service.oauth.refresh(tokens.refresh_token)
            assert getattr(reused, "outcome", None) is Outcome.REJECTED
            result = await session.force_refresh_session()
            assert result.outcome is Outcome.REJECTED
            agent.forget()
            await until(lambda: session.state is State.EXPIRED)
            with pytest.raises(LoginRequiredError) as caught:
                await session.client.get("/me")
            assert caught.value.reason is EndReason.REFRESH_REJECTED

    asyncio.run(main())
    assert [getattr(fact, "reason", None) for fact in facts(events, SessionEnded)] == [EndReason.REFRESH_REJECTED]


def test_signing_out_revokes_the_refresh_token_at_the_provider(peer: Peer) -> None:
    """What was given back is of no use to anyone."""
    events: list[Event] = []

    async def main() -> None:
        async with serving(peer, events) as service, browsing() as agent:
            session = await sign_in(service, agent)
            tokens = session._tokens.tokens
            assert tokens is not None
            assert tokens.refresh_token is not None
            await service.sign_out(session.session_id)
            refused = await service.oauth.refresh(tokens.refresh_token)
            assert getattr(refused, "outcome", None) is Outcome.REJECTED

    asyncio.run(main())
    assert [getattr(fact, "outcome", None) for fact in facts(events, TokenRevoked)] == [Outcome.OK]


def test_new_signing_keys_are_fetched_when_they_are_met(peer: Peer) -> None:
    """The provider rotates its keys between two sign-ins of one service: one more fetch, no failure."""
    events: list[Event] = []

    async def main() -> None:
        async with serving(peer, events) as service, browsing() as agent:
            await sign_in(service, agent)
            peer.rotate_keys()
            session = await sign_in(service, agent)
            assert (await session.client.get("/me")).status_code == 200

    asyncio.run(main())
    assert [getattr(fact, "outcome", None) for fact in facts(events, KeysFetched)] == [Outcome.OK, Outcome.OK]


def test_the_provider_s_own_session_rescues_without_a_visible_step(peer: Peer) -> None:
    """No refresh token any more, a living session at the provider: prompt=none brings new tokens."""
    events: list[Event] = []

    async def main() -> None:
        async with serving(peer, events) as service, browsing() as agent:
            session = await sign_in(service, agent)
            tokens = session._tokens.tokens
            assert tokens is not None
            assert tokens.refresh_token is not None
            session._tokens._held.tokens = msgspec.structs.replace(tokens, refresh_token=None)
            await until(lambda: facts(events, TokenRefreshed))
            assert (await session.client.get("/me")).status_code == 200

    asyncio.run(main())
    refreshed = facts(events, TokenRefreshed)[0]
    assert getattr(refreshed, "reason", None) is RefreshReason.RECOVERY
    assert facts(events, SessionEnded) == []


def test_tokens_bound_to_a_key_live_on_and_are_of_no_use_to_others(peer: Peer) -> None:
    """DPoP with nonces as the package does it: sign-in, calls and refreshes by one key; stolen tokens open nothing."""
    events: list[Event] = []

    async def main() -> None:
        async with serving(peer, events, dpop="required") as service, browsing() as agent:
            session = await sign_in(service, agent)
            key = session._tokens.proof_key
            while len(facts(events, TokenRefreshed)) < 2:
                answer = await session.client.get("/me")
                assert (answer.status_code, answer.json()["sub"]) == (200, "ada")
                await asyncio.sleep(0.1)
            await session.stop_session_management()
            tokens = session._tokens.tokens
            assert tokens is not None
            assert tokens.refresh_token is not None
            assert key == tokens.dpop_key is not None
            async with httpx.AsyncClient(base_url=peer.issuer, trust_env=False) as thief:
                for scheme in ("Bearer", "DPoP"):
                    stolen = {"authorization": f"{scheme} {tokens.access_token}"}
                    assert (await thief.get("/me", headers=stolen)).status_code in {400, 401}
            other = (await service.login()).dpop_key
            for wrong in (None, other):
                refused = await service.oauth.refresh(tokens.refresh_token, dpop_key=wrong)
                assert isinstance(refused, TokenRefusal)
            assert (await session.force_refresh_session()).outcome is Outcome.OK
            assert (await session.client.get("/me")).status_code == 200

    asyncio.run(main())
    assert facts(events, RefreshFailed) == []
    assert facts(events, SessionEnded) == []


def test_a_code_works_once(peer: Peer) -> None:
    """The second exchange of the same call-back is refused with a sentence."""

    async def main() -> None:
        async with serving(peer, []) as service, browsing() as agent:
            login = await service.login()
            callback = await agent.sign_in(login, "ada", "demo")
            await service.finish_login(callback, login)
            with pytest.raises(ProviderError, match="provider"):
                await service.finish_login(callback, login)

    asyncio.run(main())


def test_who_must_prove_it_anew_is_asked_and_an_answer_without_that_is_refused(peer: Peer) -> None:
    """The address asks, the answer is what counts: here somebody took the question out of the address."""

    async def main() -> None:
        async with serving(peer, []) as service, browsing() as agent:
            await sign_in(service, agent)
            login = await service.login(prompt="login consent")
            session = await service.finish_login(await agent.sign_in(login, "ada", "demo"), login)
            assert session.claims()["auth_time"] >= int(login.proof_from or 0)

            login = await service.login(prompt="login")
            there = httpx.URL(login.url).copy_remove_param("prompt").copy_remove_param("max_age")
            callback = await agent.sign_in(msgspec.structs.replace(login, url=str(there)), "ada", "demo")
            with pytest.raises(TokenVerificationError, match="not asked who you are"):
                await service.finish_login(callback, login)

    asyncio.run(main())


def test_the_peer_speaks_for_itself(peer: Peer) -> None:
    """Its discovery document is its own: this is no stand-in of ours."""
    answer = httpx.get(f"{peer.issuer}/.well-known/openid-configuration")
    assert answer.json()["issuer"] == peer.issuer
    assert "pushed_authorization_request_endpoint" in answer.json()
