"""The embedded identity provider: time and a request in, an answer out. It reads no clock and does no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from math import floor

import msgspec

from session_core.provider import authorize, demo_api, logout, pages, strikes, token_endpoint
from session_core.provider.answers import ProviderAnswer, RefusedError
from session_core.provider.config import ProviderConfig
from session_core.provider.faults import STOPPERS, Endpoint, Fault, FaultKind, FaultPlan
from session_core.provider.granted import Grant
from session_core.provider.inbound import BODY_BYTES_MAX, Inbound, read
from session_core.provider.lasting import Lasting
from session_core.provider.ledger import SECRETS_MAX, AuditFact, ProviderListener, ProviderStatistics
from session_core.provider.parts import LogoutNotice, Parts, make_parts
from session_core.wire import WireRequest

Act = Callable[[Parts, Inbound, float], ProviderAnswer]

_GET = ("GET", "HEAD")
_EVERY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SECONDS = tuple(f":{second:02} GMT" for second in range(60))


class Route(msgspec.Struct, frozen=True):
    endpoint: Endpoint
    methods: tuple[str, ...]
    act: Act


def _home(parts: Parts, _inbound: Inbound, _now: float) -> ProviderAnswer:
    return pages.home(parts.config.issuer)


ROUTES: Mapping[str, Route] = {
    "/": Route(Endpoint.ANY, _GET, _home),
    "/.well-known/openid-configuration": Route(Endpoint.DISCOVERY, _GET, token_endpoint.discovery),
    "/jwks": Route(Endpoint.JWKS, _GET, token_endpoint.jwks),
    "/authorize": Route(Endpoint.AUTHORIZE, ("GET", "POST"), authorize.authorize),
    "/token": Route(Endpoint.TOKEN, ("POST",), token_endpoint.token),
    "/userinfo": Route(Endpoint.USERINFO, ("GET", "POST"), token_endpoint.userinfo),
    "/revoke": Route(Endpoint.REVOCATION, ("POST",), token_endpoint.revoke),
    "/introspect": Route(Endpoint.INTROSPECTION, ("POST",), token_endpoint.introspect),
    "/end-session": Route(Endpoint.END_SESSION, ("GET", "POST"), logout.end_session),
    "/api/echo": Route(Endpoint.API, _EVERY, demo_api.echo),
    "/api/profile": Route(Endpoint.API, _GET, demo_api.profile),
    "/api/chat": Route(Endpoint.API, ("POST",), demo_api.chat),
    "/api/slow": Route(Endpoint.API, _GET, demo_api.slow),
}


class EmbeddedProvider:
    """A test double of an OpenID Connect provider, with a demo API and faults to order.

    `entropy` makes every code, token and cookie: `secrets.token_bytes` live, a seeded generator in a simulation.
    `now` is always the true epoch seconds; a clock offset is a fault like any other.
    """

    def __init__(
        self,
        config: ProviderConfig,
        *,
        entropy: Callable[[int], bytes],
        faults: FaultPlan | None = None,
        secrets_max: int = SECRETS_MAX,
        listener: ProviderListener | None = None,
    ) -> None:
        self.config = config
        self.faults = faults or FaultPlan(random.Random(entropy(16)))
        self._parts = make_parts(config, entropy=entropy, secrets_max=secrets_max, listener=listener)

    def handle(self, request: WireRequest, *, now: float) -> ProviderAnswer:
        inbound = read(request, below=self._parts.path)
        route = ROUTES.get(inbound.path)
        endpoint = route.endpoint if route else Endpoint.ANY
        met = self.faults.strike(endpoint, now)
        answer, outcome = self._act_badly(met, route, inbound, now) if met else self._act(route, inbound, now)
        self._parts.ledger.count_request(endpoint, outcome)
        return answer

    def tokens_for(
        self,
        username: str,
        *,
        now: float,
        client_id: str = "session-lab",
        scope: str = "openid api",
        dpop_jkt: str | None = None,
    ) -> bytes:
        """A token answer as though the user had just signed in through the page; for simulations and tests."""
        user = self._parts.accounts.user(username)
        grant = Grant(client_id=client_id, username=user.username, scope=scope, auth_time=now, dpop_jkt=dpop_jkt)
        family = self._parts.grants.open_family(grant, now=now)
        issued = self._parts.grants.first_tokens(family, now=now, dpop_jkt=dpop_jkt)
        return msgspec.json.encode(token_endpoint.token_answer(issued, now=now))

    def lasting(self) -> Lasting:
        """What of it is to outlive the process, from now on; for whoever writes it down."""
        return Lasting(self._parts)

    def end_sessions_of(self, username: str, *, now: float) -> None:
        """As though the user had ended every session from another device: all their tokens stop working."""
        logout.end_sessions_of(self._parts, username, now=now)
        self._parts.grants.revoke_families_of(username, now=now)

    def take_notices(self) -> tuple[LogoutNotice, ...]:
        """What clients are to be told since this was asked last; a face brings it to them."""
        notices = tuple(self._parts.notices)
        self._parts.notices.clear()
        return notices

    def note_notice(self, what: str, notice: LogoutNotice, *, now: float) -> None:
        """What became of one."""
        self._parts.ledger.note(what, at=now, client_id=notice.client_id)

    def standing_families(self, *, now: float) -> int:
        """How many families of tokens a refresh token can still open."""
        return self._parts.grants.standing_families(now=now)

    def statistics(self) -> ProviderStatistics:
        families, access_tokens = self._parts.grants.statistics()
        return self._parts.ledger.statistics(families_held=families, access_tokens_held=access_tokens)

    def audit(self) -> tuple[AuditFact, ...]:
        """What was done most recently, oldest first, without secrets."""
        return self._parts.ledger.audit()

    def issued_secrets(self) -> tuple[str, ...]:
        """Every token, code, cookie and client secret: for leak tests only."""
        return self._parts.ledger.issued_secrets()

    def _act_badly(
        self, met: tuple[Fault, ...], route: Route | None, inbound: Inbound, now: float
    ) -> tuple[ProviderAnswer, str]:
        for fault in met:
            self._take_effect(fault, now)
        shifted = now + sum(fault.offset_s or 0.0 for fault in met)
        stop = next((fault for fault in met if fault.kind in STOPPERS), None)
        answer, outcome = ProviderAnswer(), "ok"
        if stop is None or strikes.acts_first(stop):
            keeps_expiry = any(fault.kind == FaultKind.UNCHANGED_EXPIRY for fault in met)
            inbound = msgspec.structs.replace(inbound, keeps_expiry=keeps_expiry)
            answer, outcome = self._act(route, inbound, shifted)
        if stop is not None:
            answer, outcome = _dated(strikes.instead(stop, now=shifted), shifted), f"fault:{stop.kind}"
        else:
            for fault in met:
                answer = strikes.spoiled(answer, fault, keys=self._parts.keys, ledger=self._parts.ledger)
        delay_s = sum(fault.delay_s or 0.0 for fault in met)
        return msgspec.structs.replace(answer, delay_s=delay_s), outcome

    def _take_effect(self, fault: Fault, now: float) -> None:
        match fault.kind:
            case FaultKind.ROTATE_KEYS:
                self._parts.keys.rotate()
                self._parts.ledger.note("keys_rotated", at=now)
            case FaultKind.REVOKE_REFRESH_TOKENS:
                self._parts.grants.forget_refresh_tokens(now=now)
            case FaultKind.REVOKE_ACCESS_TOKENS:
                self._parts.grants.forget_access_tokens(now=now)
            case FaultKind.END_SESSIONS:
                for username in self._parts.accounts.signed_in(now=now):
                    logout.end_sessions_of(self._parts, username, now=now)
            case _:
                return

    def _act(self, route: Route | None, inbound: Inbound, now: float) -> tuple[ProviderAnswer, str]:
        outcome = "ok"
        try:
            if route is None or inbound.method not in route.methods or len(inbound.body) > BODY_BYTES_MAX:
                raise _misfit(route, inbound)
            answer = route.act(self._parts, inbound, now)
        except RefusedError as error:
            answer, outcome = error.answer(), error.code
        if "dpop" in inbound.headers:
            answer = self._parts.proofs.with_nonce(answer, now=now)
        if inbound.method == "HEAD" and not answer.chunks:
            headers = {"content-length": str(len(answer.body)), **answer.headers}
            answer = msgspec.structs.replace(answer, headers=headers, body=b"")
        return _dated(answer, now), outcome


def _misfit(route: Route | None, inbound: Inbound) -> RefusedError:
    if route is None:
        return RefusedError("not_found", "There is nothing at this address.", status=404)
    if inbound.method not in route.methods:
        allowed = {"allow": ", ".join(route.methods)}
        return RefusedError("method_not_allowed", "Use another method.", status=405, headers=allowed)
    return RefusedError("invalid_request", f"The body is longer than {BODY_BYTES_MAX} bytes.", status=413)


def _dated(answer: ProviderAnswer, now: float) -> ProviderAnswer:
    return msgspec.structs.replace(answer, headers={**answer.headers, "date": _http_date(floor(now))})


def _http_date(second: int) -> str:
    """RFC 9110 §5.6.7; minute and second are put together anew, because every answer needs them."""
    return _http_minute(second // 60) + _SECONDS[second % 60]


@lru_cache(maxsize=64)
def _http_minute(minute: int) -> str:
    days, minute = divmod(minute, 1_440)
    return f"{_http_day(days)} {minute // 60:02}:{minute % 60:02}"


@lru_cache(maxsize=8)
def _http_day(days: int) -> str:
    return formatdate(days * 86_400, usegmt=True).partition(" 00:")[0]
