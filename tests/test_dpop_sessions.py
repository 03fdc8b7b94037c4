"""Sessions whose tokens are bound to a key: from sign-in over refreshes, nonces, restarts and thefts, on virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from leaks import leaks, texts_of_events, texts_of_objects
from stores import InlineStore, WatchedStore
from test_shared_store import SharedStore, another_device, another_process, beside
from test_stolen_store import texts_of_files
from world import ISSUER, World, live

from session_core.dpop import USE_NONCE, check_proof, make_key, thumbprint_of
from session_core.errors import (
    DiscoveryError,
    ForeignOriginError,
    ProviderError,
    ProviderUnreachableError,
    TokenAnswerError,
)
from session_core.events import (
    ClockSkewEstimated,
    RefreshFailed,
    RequestServed,
    SessionEnded,
    TokenFollowed,
    TokenRefreshed,
)
from session_core.oauth import refresh_request
from session_core.provider import FaultKind, demo_clients
from session_core.provider.faults import Endpoint
from session_core.provider.memory import MemoryTransport
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.refresh_plan import tokens_from
from session_core.session import Session
from session_core.session_codec import Stamp, decode, encode
from session_core.session_store import SessionRecord
from session_core.token_answers import TokenGrant, TokenRefusal, read_token_answer
from session_core.tokens import RefreshPolicy, TokenSet
from session_core.vocabulary import EndReason, Outcome, Served, State
from session_core.wire import Transport, WireAnswer, WireFailure, WireRequest

REDIRECT_URI = "http://127.0.0.1:9400/auth/callback"
CLIENTS = demo_clients(redirect_uris=(REDIRECT_URI,))
SERVICE = {
    "client_id": "session-lab-service",
    "client_secret": CLIENTS[1].secret,
    "auth_method": "client_secret_basic",
}
Answer = WireAnswer | WireFailure


class Tap:
    """Sees every request to the provider and its answer, and may act in between."""

    def __init__(self) -> None:
        self.seen: list[tuple[WireRequest, Answer]] = []
        self.between: Callable[[WireRequest, Answer], Awaitable[Answer]] | None = None

    def __call__(self, inner: Transport) -> Transport:
        self.inner = inner
        return self

    async def send(self, request: WireRequest) -> Answer:
        answer = await self.inner.send(request)
        self.seen.append((request, answer))
        return answer if self.between is None else await self.between(request, answer)

    async def aclose(self) -> None:
        """Nothing is held."""

    def posts(self) -> list[tuple[WireRequest, WireAnswer]]:
        found = [(request, answer) for request, answer in self.seen if request.url.endswith("/token")]
        return [(request, answer) for request, answer in found if isinstance(answer, WireAnswer)]

    def proofs(self) -> list[str]:
        return [dict(request.headers)["dpop"] for request, _ in self.posts()]


class Api(httpx.AsyncBaseTransport):
    """An API that answers as told and keeps what it was asked."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((str(request.url), dict(request.headers)))
        return self._answer(request)

    def claims(self) -> list[dict[str, Any]]:
        return [claims_of(headers["dpop"]) for _, headers in self.asked]


def bound(play: Callable[[World], Awaitable[None]], *, tap: Tap | None = None, **settings: Any) -> World:
    """A world in which tokens are bound to a key where that is offered."""
    provider = {"clients": CLIENTS, **settings.pop("provider", {})}
    return live(play, **{"dpop": "auto", "provider": provider, "wrap": tap, **settings})


async def sign_in(world: World, *, agent: HeadlessUserAgent | None = None) -> Session:
    agent = agent or browser(world)
    login = await world.service.login()
    return await world.service.finish_login(await agent.sign_in(login, "ada", "demo"), login, user_agent=agent)


def browser(world: World) -> HeadlessUserAgent:
    return HeadlessUserAgent(MemoryTransport(world.provider, wall=world.provider_wall))


def tokens_of(session: Session) -> TokenSet:
    tokens = session._tokens.tokens
    assert tokens is not None
    return tokens


def jkt_of(session: Session) -> str:
    key = tokens_of(session).proof_key
    assert key is not None
    return key.thumbprint


def claims_of(proof: str) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(proof.split(".")[1] + "=="))


def jkt_in(proof: str) -> str:
    header = json.loads(base64.urlsafe_b64decode(proof.partition(".")[0] + "=="))
    return thumbprint_of(header["jwk"])


async def echo(session: Session) -> int:
    return (await session.client.get("echo")).status_code


def test_a_session_lives_on_with_one_key() -> None:
    """Four token lives: every request carries a proof of its own by the key of the sign-in, and none is refused."""
    tap = Tap()

    async def play(world: World) -> None:
        session = await sign_in(world)
        key = tokens_of(session).dpop_key
        assert tokens_of(session).token_type == "DPoP"
        for _ in range(16):
            assert await echo(session) == 200
            await asyncio.sleep(900)
        assert tokens_of(session).dpop_key == key
        assert {jkt_in(proof) for proof in tap.proofs()} == {jkt_of(session)}

    world = bound(play, tap=tap)
    refreshed = world.facts(TokenRefreshed)
    assert len(refreshed) >= 4
    assert world.posts == 1 + len(refreshed) == len(set(tap.proofs()))
    assert world.outcomes("api") == {"ok": 16}
    assert world.facts(RefreshFailed) == []
    assert world.reuse_events == 0


def test_the_authorization_request_names_the_key() -> None:
    """RFC 9449 §10: so that a stolen code is of no use either; another sign-in has another key."""

    async def play(world: World) -> None:
        logins = [await world.service.login() for _ in range(2)]
        keys = [login.dpop_key for login in logins]
        for login, key in zip(logins, keys, strict=True):
            assert key is not None
            assert f"&dpop_jkt={key.thumbprint}" in login.url
        assert keys[0] != keys[1]
        code = await browser(world).sign_in(logins[0], "ada", "demo")
        stolen = msgspec.structs.replace(logins[0], dpop_key=keys[1])
        with pytest.raises(ProviderError, match="sign in again"):
            await world.service.finish_login(code, stolen)

    bound(play)


@pytest.mark.parametrize("dpop", ["off", "auto"])
def test_where_it_is_not_wanted_or_not_offered_tokens_are_bearer_tokens(dpop: str) -> None:
    """And no request carries a proof."""
    tap = Tap()

    async def play(world: World) -> None:
        if dpop == "auto":
            field = "dpop_signing_alg_values_supported"
            world.order(kind=FaultKind.OMIT_FIELD, field=field, endpoint=Endpoint.DISCOVERY)
        session = await sign_in(world)
        assert (tokens_of(session).token_type, tokens_of(session).dpop_key) == ("Bearer", None)
        await session.force_refresh_session()
        assert await echo(session) == 200

    bound(play, tap=tap, dpop=dpop)
    assert all("dpop" not in dict(request.headers) and "dpop" not in request.url for request, _ in tap.seen)


def test_where_it_is_required_a_provider_without_it_is_not_asked() -> None:
    """One sentence says what to do."""

    async def play(world: World) -> None:
        values = ["RS256"]
        field = "dpop_signing_alg_values_supported"
        world.order(kind=FaultKind.SET_FIELD, field=field, value=values, endpoint=Endpoint.DISCOVERY)
        with pytest.raises(DiscoveryError, match="set dpop to auto"):
            await world.service.login()
        answer = await world.service.oauth.client_credentials()
        assert isinstance(answer, TokenRefusal)
        assert answer.outcome is Outcome.CONFIG

    assert bound(play, dpop="required", **SERVICE).posts == 0


def test_where_it_is_required_unbound_tokens_are_not_taken() -> None:
    """RFC 9449 §5: whoever wants protection discards them; otherwise they serve as what they are."""

    async def play(world: World) -> None:
        world.order(kind=FaultKind.SET_FIELD, field="token_type", value="Bearer", endpoint=Endpoint.TOKEN, times=1)
        with pytest.raises(TokenAnswerError, match="anyone could use"):
            await sign_in(world)
        assert jkt_of(await sign_in(world))

    bound(play, dpop="required")


def test_a_bearer_token_from_a_provider_that_takes_proofs_goes_without_one() -> None:
    """The refresh token is bound all the same, so the key stays with it."""
    api = Api(lambda _request: httpx.Response(200))

    async def play(world: World) -> None:
        world.order(kind=FaultKind.SET_FIELD, field="token_type", value="bearer", endpoint=Endpoint.TOKEN, times=1)
        session = await sign_in(world)
        assert await echo(session) == 200
        assert (await session.force_refresh_session()).outcome is Outcome.OK
        assert await echo(session) == 200

    bound(play, pool=api)
    assert [headers["authorization"].split()[0] for _, headers in api.asked] == ["Bearer", "DPoP"]
    assert "dpop" not in api.asked[0][1]


def test_a_dpop_token_that_nobody_asked_for_is_refused() -> None:
    """Without a key it could not be used."""
    said = {"access_token": "a", "token_type": "DPoP", "expires_in": 60}
    answer = WireAnswer(status=200, headers={}, body=msgspec.json.encode(said))
    refused = read_token_answer(answer, wall_received=0.0)
    assert isinstance(refused, TokenRefusal)
    assert refused.error == "bad_token_type"


NONCES = {"dpop_nonce_s": 300.0}


def test_nonces_cost_one_more_request_each_and_no_refresh_token() -> None:
    """At the token endpoint and at the API; while a nonce is good, nothing is asked twice."""
    tap = Tap()

    async def play(world: World) -> None:
        session = await sign_in(world)
        assert world.outcomes("token") == {USE_NONCE: 1, "ok": 1}
        assert [await echo(session) for _ in range(3)] == [200, 200, 200]
        assert world.outcomes("api") == {USE_NONCE: 1, "ok": 3}
        assert (await session.force_refresh_session()).outcome is Outcome.OK
        assert world.outcomes("token") == {USE_NONCE: 1, "ok": 2}
        await asyncio.sleep(4 * 3600)
        assert await echo(session) == 200

    world = bound(play, tap=tap, provider=NONCES)
    refreshed = len(world.facts(TokenRefreshed))
    assert refreshed >= 4
    assert world.outcomes("token") == {USE_NONCE: refreshed, "ok": 1 + refreshed}
    assert world.facts(RefreshFailed) == []
    assert world.reuse_events == 0
    assert len(set(tap.proofs())) == len(tap.proofs())


@pytest.mark.parametrize(("nonce_s", "asked"), [(3600.0, 25), (200.0, 25)])
def test_a_nonce_that_changes_under_steady_use_is_never_missed(nonce_s: float, asked: int) -> None:
    """Each answer brings the newest, and the one before is good for a while: one refusal in all."""

    async def play(world: World) -> None:
        session = await sign_in(world)
        for _ in range(asked):
            assert await echo(session) == 200
            await asyncio.sleep(100)

    world = bound(play, provider={"dpop_nonce_s": nonce_s})
    assert world.outcomes("api") == {USE_NONCE: 1, "ok": asked}


def answering(error: str, **headers: str) -> WireAnswer:
    body = msgspec.json.encode({"error": error})
    return WireAnswer(status=400, headers={"content-type": "application/json", **headers}, body=body)


def test_a_provider_that_always_wants_another_nonce_is_asked_twice_and_left_for_later() -> None:
    """The refresh token is not spent and not marked so, the session goes on, and all is well once it relents."""
    tap, store = Tap(), WatchedStore()

    async def play(world: World) -> None:
        session = await sign_in(world)
        before = len(tap.posts())
        tap.inner, inner = Refusing(tap.inner), tap.inner
        result = await session.force_refresh_session()
        assert result.outcome is Outcome.TRANSIENT
        assert len(tap.posts()) == before + 2
        assert [record.refresh_sent_at is None for record in store.saved[-2:]] == [False, True]
        assert session._tokens._troubles.maybe_spent_at is None
        assert await echo(session) == 200
        tap.inner = inner
        await asyncio.sleep(3600)
        assert session.state is State.ACTIVE

    world = bound(play, tap=tap, store=store)
    assert len(world.facts(RefreshFailed)) == 1
    assert world.facts(SessionEnded) == []
    assert world.reuse_events == 0


class Refusing:
    """A token endpoint that wants another nonce whatever it gets; it acts on nothing."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    async def send(self, request: WireRequest) -> Answer:
        if request.url.endswith("/token"):
            return answering(USE_NONCE, **{"dpop-nonce": "another"})
        return await self._inner.send(request)

    async def aclose(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("headers", [{}, {"dpop-nonce": ""}, {"dpop-nonce": "a b"}, {"dpop-nonce": "x" * 2000}])
def test_a_refusal_without_a_nonce_of_use_is_not_repeated(headers: dict[str, str]) -> None:
    """Neither by a sign-in, which fails with a sentence."""
    tap = Tap()

    async def play(world: World) -> None:
        async def refuse(request: WireRequest, answer: Answer) -> Answer:
            return answering(USE_NONCE, **headers) if request.url.endswith("/token") else answer

        tap.between = refuse
        with pytest.raises(ProviderUnreachableError, match="proof of possession"):
            await sign_in(world)

    bound(play, tap=tap)
    assert len(tap.posts()) == 1


def test_an_answer_lost_after_the_nonce_counts_as_any_lost_answer() -> None:
    """The first request spent nothing, the second may have: the mark stays and the token is replayed in the window."""
    tap, store = Tap(), WatchedStore()

    async def play(world: World) -> None:
        session = await sign_in(world)
        await asyncio.sleep(1200)

        async def lose(request: WireRequest, answer: Answer) -> Answer:
            refused = isinstance(answer, WireAnswer) and answer.status == 400
            if not request.url.endswith("/token") or refused:
                return answer
            tap.between = None
            return WireFailure(kind="dropped", maybe_sent=True)

        tap.between = lose
        assert (await session.force_refresh_session()).outcome is Outcome.AMBIGUOUS
        assert store.saved[-1].refresh_sent_at is not None
        await asyncio.sleep(20)
        assert await echo(session) == 200

    world = bound(play, tap=tap, store=store, provider=NONCES, grace_s=30.0)
    assert world.provider.statistics().replays_answered == 1
    assert world.reuse_events == 0


def test_a_nonce_that_arrives_after_a_sleep_is_not_used_over_another_process() -> None:
    """The laptop sleeps on the refusal; the desk refreshes meanwhile. The laptop must not send the spent token."""
    tap = Tap()

    async def play(world: World) -> None:
        session = await sign_in(world)
        async with another_device(world, session) as (device, desk):
            await asyncio.sleep(1200)

            async def sleep_on(request: WireRequest, answer: Answer) -> Answer:
                if request.url.endswith("/token"):
                    tap.between = None
                    device.create_task(desk.force_refresh_session())
                    await world.close_lid(1800)
                return answer

            tap.between = sleep_on
            forget_nonces(world)
            await session.force_refresh_session()
            assert desk._tokens.statistics().refreshes == 1
            assert await echo(session) == await echo(desk) == 200
            assert tokens_of(session).access_token == tokens_of(desk).access_token

    world = bound(play, tap=tap, provider={"dpop_nonce_s": 86_400.0}, grace_s=30.0, store=SharedStore(), lid=True)
    assert world.facts(TokenFollowed)
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


def forget_nonces(world: World) -> None:
    """As after a restart."""
    world.service.oauth._endpoint._prover._nonces.clear()


def test_a_sign_out_while_a_nonce_is_told_leaves_nothing_to_be_asked_for() -> None:
    """The refresh is not sent again for a session that is over."""
    tap = Tap()

    async def play(world: World) -> None:
        session = await sign_in(world)
        forget_nonces(world)

        async def leave(request: WireRequest, answer: Answer) -> Answer:
            if request.url.endswith("/token"):
                await session.sign_out()
            return answer

        tap.between = leave
        assert (await session.force_refresh_session()).outcome is Outcome.REJECTED

    world = bound(play, tap=tap, provider=NONCES)
    assert world.outcomes("token") == {USE_NONCE: 2, "ok": 1}


@pytest.mark.parametrize("nonces", [{}, NONCES])
@pytest.mark.parametrize("wall_skew_s", [-86_400.0, 7200.0])
def test_a_wrong_clock_costs_a_request_and_no_sign_in(nonces: dict[str, float], wall_skew_s: float) -> None:
    """The nonce makes it not matter; without one, the refusal tells the provider's time."""

    async def play(world: World) -> None:
        session = await sign_in(world)
        assert await echo(session) == 200
        await asyncio.sleep(2 * 3600)
        assert await echo(session) == 200

    world = bound(play, provider=nonces, wall_skew_s=wall_skew_s)
    assert world.facts(ClockSkewEstimated)
    assert sum(world.outcomes("token").values()) - len(world.facts(TokenRefreshed)) <= 2 + len(
        world.facts(TokenRefreshed)
    )
    assert world.facts(RefreshFailed) == []


def test_after_a_restart_with_a_wrong_clock_a_refresh_finds_the_time() -> None:
    """The API refuses the proof, the refresh learns the provider's time, and the call goes through."""

    async def play(world: World) -> None:
        session = await sign_in(world)
        world.service.oauth._endpoint.skew_s = 86_400.0
        assert await echo(session) == 200

    world = bound(play)
    assert world.outcomes("api") == {"invalid_dpop_proof": 1, "ok": 1}
    assert len(world.facts(TokenRefreshed)) == 1


def test_an_api_of_its_own_is_told_method_address_token_and_nonce() -> None:
    """A nonce per origin; the query stays out of the proof, and so does what stands before the host."""

    def answer(request: httpx.Request) -> httpx.Response:
        nonce = f"nonce-of-{request.url.host}"
        if claims_of(request.headers["dpop"]).get("nonce") != nonce:
            challenge = {"www-authenticate": 'DPoP error="use_dpop_nonce"', "dpop-nonce": nonce}
            return httpx.Response(401, headers=challenge)
        return httpx.Response(200)

    api = Api(answer)

    async def play(world: World) -> None:
        session = await sign_in(world)
        for host in ("a", "b"):
            for _ in range(2):
                url = f"https://{host}.example/x/é?q=secret#f"
                assert (await session.client.post(url, json={})).status_code == 200
        proof = api.asked[-1][1]["dpop"]
        target = "https://b.example/x/%C3%A9"
        token = tokens_of(session).access_token
        told = {"method": "POST", "url": target, "now": world.provider_wall(), "access_token": token}
        assert check_proof(proof, nonces=["nonce-of-b.example"], **told).thumbprint == jkt_of(session)

    bound(play, pool=api, api_origins=("https://a.example", "https://b.example"))
    hosts = [claims["htu"].split("/")[2] for claims in api.claims()]
    assert hosts == ["a.example"] * 3 + ["b.example"] * 3
    assert all("secret" not in claims["htu"] and claims["htm"] == "POST" for claims in api.claims())


def test_an_api_that_never_has_enough_of_nonces_is_asked_a_bounded_number_of_times() -> None:
    """Once more for the nonce, once more with a new token; then its refusal is the caller's to see."""
    challenge = {"www-authenticate": 'DPoP error="use_dpop_nonce"', "dpop-nonce": "n"}
    api = Api(lambda _request: httpx.Response(401, headers=challenge))

    async def play(world: World) -> None:
        session = await sign_in(world)
        assert await echo(session) == 401
        assert len(api.asked) == 3

    bound(play, pool=api)


def test_a_body_that_is_gone_is_not_sent_again_for_a_nonce() -> None:
    """The caller sees the refusal; the next call has the nonce."""

    def answer(request: httpx.Request) -> httpx.Response:
        told = {"www-authenticate": 'DPoP error="use_dpop_nonce"', "dpop-nonce": "n"}
        return httpx.Response(200 if "nonce" in claims_of(request.headers["dpop"]) else 401, headers=told)

    async def body() -> Any:
        yield b"once"

    async def play(world: World) -> None:
        session = await sign_in(world)
        assert (await session.client.post("chat", content=body())).status_code == 401
        assert (await session.client.post("chat", content=body())).status_code == 200

    bound(play, pool=Api(answer))


def test_redirects_have_a_proof_for_where_they_lead_and_none_leads_elsewhere() -> None:
    """Within the API each step is proven for itself; another origin is sent nothing at all."""

    def answer(request: httpx.Request) -> httpx.Response:
        to = {"/idp/api/near": "/idp/api/here", "/idp/api/far": "https://elsewhere.example/"}.get(request.url.path)
        return httpx.Response(200) if to is None else httpx.Response(307, headers={"location": to})

    api = Api(answer)

    async def play(world: World) -> None:
        session = await sign_in(world)
        assert (await session.client.get("near", follow_redirects=True)).status_code == 200
        with pytest.raises(ForeignOriginError):
            await session.client.get("far", follow_redirects=True)

    bound(play, pool=api)
    assert [url for url, _ in api.asked] == [f"{ISSUER}/api/{place}" for place in ("near", "here", "far")]
    assert [claims["htu"] for claims in api.claims()] == [url for url, _ in api.asked]


def test_a_client_in_another_thread_proves_itself_too() -> None:
    """`session.auth` with `httpx.Client`: scheme, proof, and the nonce it is asked for."""
    seen: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"].startswith("DPoP ")
        seen.append(claims_of(request.headers["dpop"]))
        challenge = {"www-authenticate": 'DPoP error="use_dpop_nonce"', "dpop-nonce": "n-1"}
        return httpx.Response(200 if "nonce" in seen[-1] else 401, headers=challenge)

    def call(session: Session) -> None:
        with httpx.Client(auth=session.auth, transport=httpx.MockTransport(answer)) as client:
            assert [client.get(f"{ISSUER}/api/echo").status_code for _ in range(2)] == [200, 200]

    async def play(world: World) -> None:
        call(await sign_in(world))

    bound(play)
    assert [claims.get("nonce") for claims in seen] == [None, "n-1", "n-1"]
    assert len({claims["jti"] for claims in seen}) == 3


def test_a_proof_does_not_keep_an_answer_from_the_cache() -> None:
    """The token and its proof are ours, not the caller's, also where the answer depends on them."""
    told = {"cache-control": "private, max-age=60", "vary": "Authorization, DPoP"}

    async def play(world: World) -> None:
        session = await sign_in(world)
        for _ in range(3):
            assert (await session.client.get("profile")).status_code == 200

    world = bound(play, pool=Api(lambda _request: httpx.Response(200, headers=told)))
    assert [fact.served for fact in world.facts(RequestServed)] == [Served.NETWORK, Served.CACHE, Served.CACHE]


def test_a_refused_call_is_repeated_with_a_proof_for_the_new_token() -> None:
    """The hash of the token in it is the new one's."""

    async def play(world: World) -> None:
        session = await sign_in(world)
        world.order(kind=FaultKind.REVOKE_ACCESS_TOKENS)
        assert await echo(session) == 200

    world = bound(play)
    assert world.outcomes("api") == {"invalid_token": 1, "ok": 1}


async def raw(world: World, request: WireRequest) -> WireAnswer:
    answer = await MemoryTransport(world.provider, wall=world.provider_wall).send(request)
    assert isinstance(answer, WireAnswer)
    return answer


def test_stolen_tokens_without_the_key_give_nothing() -> None:
    """Neither the access token nor the refresh token, in whatever way they are sent; and their user notices nothing."""

    async def play(world: World) -> None:
        session = await sign_in(world)
        oauth, tokens = world.service.oauth, tokens_of(session)
        for scheme in ("Bearer", "DPoP"):
            headers = (("authorization", f"{scheme} {tokens.access_token}"),)
            assert (
                await raw(world, WireRequest(method="GET", url=f"{ISSUER}/api/echo", headers=headers))
            ).status == 401
        assert tokens.refresh_token is not None
        request = refresh_request(await oauth.metadata(), oauth.registration, tokens.refresh_token)
        assert b"invalid_grant" in (await raw(world, request)).body
        other = (await world.service.login()).dpop_key
        for key in (None, other):
            answer = await oauth.refresh(tokens.refresh_token, dpop_key=key)
            assert isinstance(answer, TokenRefusal)
            assert answer.outcome is Outcome.REJECTED
        assert (await session.force_refresh_session()).outcome is Outcome.OK
        assert await echo(session) == 200

    world = bound(play)
    assert world.reuse_events == 0
    assert world.facts(SessionEnded) == []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[InlineStore]:
    store = InlineStore.virtual(tmp_path / "sessions.db")
    yield store
    store.close()


def test_a_restart_goes_on_with_the_same_key(store: InlineStore, tmp_path: Path) -> None:
    """From the sealed file, which gives the key away to nobody."""
    secrets: list[bytes] = []

    async def play(world: World) -> None:
        session = await sign_in(world)
        before = jkt_of(session)
        key = tokens_of(session).dpop_key
        assert key is not None
        secrets.append(key.secret)
        await session.aclose()
        async with another_process(world) as service:
            again = await beside(service, session)
            assert jkt_of(again) == before
            assert await echo(again) == 200
            assert (await again.force_refresh_session()).outcome is Outcome.OK
            assert await echo(again) == 200
            assert jkt_of(again) == before

    assert bound(play, store=store).reuse_events == 0
    forbidden = [form for secret in secrets for form in (secret.hex(), base64.b64encode(secret).decode(), "dpop_key")]
    assert leaks(texts_of_files(tmp_path), [*forbidden, secrets[0].decode("latin-1")]) == []


def test_processes_that_share_a_session_share_its_key() -> None:
    """One refreshes, the other follows, and both prove themselves by the same key, with nonces and without."""

    async def play(world: World) -> None:
        session = await sign_in(world)
        async with another_process(world) as service:
            other = await beside(service, session)
            for _ in range(5):
                assert await echo(session) == await echo(other) == 200
                await asyncio.sleep(3600)
            assert jkt_of(session) == jkt_of(other)

    world = bound(play, store=SharedStore(), provider=NONCES)
    assert world.facts(TokenFollowed)
    assert world.facts(RefreshFailed) == []
    assert world.reuse_events == 0


def test_a_record_from_before_keys_is_a_bearer_session() -> None:
    """What was stored without a key is read as what it was."""
    now = Stamp(boot_id="b", wall=0.0, boot=0.0)
    tokens = TokenSet(access_token="at", issued_at=0.0, expires_at=60.0, refresh_due_at=50.0)
    record = SessionRecord(session_id="s", user_id="ada", tokens=tokens, started_at=0.0, last_activity_at=0.0)
    plain = json.loads(encode(record, now=now))
    del plain["record"]["tokens"]["token_type"]
    del plain["record"]["tokens"]["dpop_key"]
    again = decode(json.dumps(plain).encode(), now=now)
    assert (again.tokens.token_type, again.tokens.dpop_key, again.tokens.proof_key) == ("Bearer", None, None)
    assert again == record


def test_a_key_outlives_the_setting() -> None:
    """Switched off, the tokens that are bound are refreshed by their key; new sign-ins have none."""

    async def play(world: World) -> None:
        session = await sign_in(world)
        world.service.oauth._dpop = "off"
        assert (await session.force_refresh_session()).outcome is Outcome.OK
        assert await echo(session) == 200
        assert tokens_of(await sign_in(world)).dpop_key is None

    bound(play)


def test_the_provider_s_own_session_rescues_with_the_same_key() -> None:
    """Silent re-authentication is the same session, so it keeps its key."""

    async def play(world: World) -> None:
        agent = browser(world)
        session = await sign_in(world, agent=agent)
        before = jkt_of(session)
        world.order(kind=FaultKind.REVOKE_REFRESH_TOKENS)
        await asyncio.sleep(3700)
        assert await echo(session) == 200
        assert jkt_of(session) == before

    assert bound(play).facts(SessionEnded) == []


@pytest.mark.parametrize(("of_grant", "kept"), [(1, "rt"), (2, None), (None, None)])
def test_a_refresh_token_is_kept_for_its_own_key_only(of_grant: int | None, kept: str | None) -> None:
    """An answer without one leaves the old in force, unless it is bound to a key that the session has no more."""
    keys = {seed: make_key(random.Random(seed).randbytes) for seed in (1, 2)}
    times = {"issued_at": 0.0, "expires_at": 60.0, "refresh_due_at": 50.0}
    old = TokenSet(access_token="at", refresh_token="rt", dpop_key=keys[1], **times)
    answer = WireAnswer(
        status=200, headers={}, body=b'{"access_token": "new", "token_type": "Bearer", "expires_in": 60}'
    )
    grant = read_token_answer(answer, wall_received=0.0)
    assert isinstance(grant, TokenGrant)
    grant = msgspec.structs.replace(grant, dpop_key=keys.get(of_grant or 0))
    new = tokens_from(grant, old, sent_at=0.0, policy=RefreshPolicy(), rng=random.Random(1))
    assert new.refresh_token == kept


def test_a_new_sign_in_has_a_new_key() -> None:
    """What was stolen with the old one ends with it."""

    async def play(world: World) -> None:
        first = await sign_in(world)
        second = await sign_in(world)
        assert jkt_of(first) != jkt_of(second)
        await first.sign_out()
        assert first.ended is EndReason.SIGNED_OUT
        assert await echo(second) == 200

    bound(play)


def test_a_program_s_own_session_is_bound_too() -> None:
    """Client credentials: also over a renewal."""

    async def play(world: World) -> None:
        session = await world.service.sign_in_as_service()
        assert jkt_of(session)
        assert await echo(session) == 200
        await asyncio.sleep(2 * 3600)
        assert await echo(session) == 200

    bound(play, **SERVICE)


def test_neither_key_nor_proof_shows_itself() -> None:
    """In no event and in no repr of anything that can be reached."""
    tap, world_texts, keys = Tap(), [], []

    async def play(world: World) -> None:
        session = await sign_in(world)
        await world.service.login()
        for _ in range(3):
            assert await echo(session) == 200
            await session.force_refresh_session()
        key = tokens_of(session).dpop_key
        assert key is not None
        keys.append(key.secret)
        kept, tap.seen = tap.seen, []
        world_texts.extend(texts_of_objects([world.service, session]))
        tap.seen = kept

    world = bound(play, tap=tap, provider=NONCES)
    proofs = [proof.partition(".")[2] for proof in tap.proofs()]
    forbidden = [keys[0].hex(), str(int.from_bytes(keys[0])), repr(keys[0])[2:-1], *proofs]
    assert len(proofs) >= 4
    assert leaks(texts_of_events(world.events), forbidden) == []
    assert leaks(world_texts, forbidden) == []
    assert len(world_texts) > 100


def test_every_proof_of_a_busy_session_is_taken_once() -> None:
    """A hundred calls at a time, refreshes among them: no two proofs are alike, and none is refused."""

    async def play(world: World) -> None:
        session = await sign_in(world)
        for _ in range(3):
            assert set(await asyncio.gather(*(echo(session) for _ in range(100)))) == {200}
            await asyncio.sleep(3600)

    world = bound(play, latency_s=random.Random(1).uniform(0.1, 0.2))
    assert world.outcomes("api") == {"ok": 300}
