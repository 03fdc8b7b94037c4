"""What the provider's tests share: a driver that speaks to the core, and a loop whose time jumps."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import random
import re
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from session_core.provider import (
    AccessTokenFormat,
    EmbeddedProvider,
    Fault,
    FaultKind,
    ProviderAnswer,
    ProviderConfig,
    SigningAlg,
)
from session_core.wire import WireRequest

START_S = 1_800_000_000.0
ISSUER = "http://idp.test/idp"
CALLBACK = "http://127.0.0.1:8501/auth/callback"
AFTER_LOGOUT = "http://127.0.0.1:8501/"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SERVICE = ("session-lab-service", "session-lab-service-demo-secret")
FORM = "application/x-www-form-urlencoded"
T = TypeVar("T")


def config(**changed: Any) -> ProviderConfig:
    cheap = {"issuer": ISSUER, "signing_alg": SigningAlg.ES256, "access_token_format": AccessTokenFormat.OPAQUE}
    return ProviderConfig(**{**cheap, **changed})


class Driver:
    """One provider, one browser, one hand on the clock."""

    def __init__(self, **changed: Any) -> None:
        self.provider = EmbeddedProvider(config(**changed), entropy=random.Random(1).randbytes)
        self.now = START_S
        self.cookie: str | None = None

    def send(
        self, method: str, path: str, *, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()
    ) -> ProviderAnswer:
        jar = (("Cookie", f"other=1; {self.cookie}"),) if self.cookie else ()
        url = path if path.startswith("http") else ISSUER + path
        request = WireRequest(method=method, url=url, headers=(*headers, *jar), body=body)
        answer = self.provider.handle(request, now=self.now)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def get(self, path: str, *, token: str | None = None, **params: str) -> ProviderAnswer:
        return self.send("GET", f"{path}?{urlencode(params)}" if params else path, headers=bearer(token))

    def post(self, path: str, *, basic: tuple[str, str] | None = None, **form: str) -> ProviderAnswer:
        proof = base64.b64encode(":".join(basic).encode()).decode() if basic else None
        auth = (("Authorization", f"Basic {proof}"),) if proof else ()
        return self.send("POST", path, body=urlencode(form).encode(), headers=(("Content-Type", FORM), *auth))

    def authorize(self, **changed: str | None) -> ProviderAnswer:
        return self.get("/authorize", **authorization(**changed))

    def sign_in(self, username: str = "ada", password: str = "demo", **changed: str | None) -> ProviderAnswer:
        form = urlencode({"username": username, "password": password}).encode()
        path = f"/authorize?{urlencode(authorization(**changed))}"
        return self.send("POST", path, body=form, headers=(("Content-Type", FORM),))

    def code(self, **changed: str | None) -> str:
        return query_of(self.sign_in(**changed))["code"]

    def exchange(self, code: str, **changed: str) -> ProviderAnswer:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return self.post("/token", **{"client_id": "session-lab", **form, **changed})

    def tokens(self, **wanted: str) -> dict[str, Any]:
        return json.loads(self.provider.tokens_for("ada", now=self.now, **wanted))

    def refresh(self, refresh_token: str, **changed: str) -> ProviderAnswer:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": "session-lab"}
        return self.post("/token", **{**form, **changed})

    def works(self, access_token: str) -> bool:
        return self.get("/api/echo", token=access_token).status == 200

    def order(self, kind: FaultKind, **told: Any) -> None:
        self.provider.faults.order(Fault(kind=kind, **told), self.now)


def authorization(**changed: str | None) -> dict[str, str]:
    request = {
        "client_id": "session-lab",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid profile email api",
        "state": "s&1",
        "nonce": "n1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changed,
    }
    return {name: value for name, value in request.items() if value is not None}


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {token}"),) if token is not None else ()


def said(answer: ProviderAnswer) -> dict[str, Any]:
    return json.loads(answer.body)


def error_of(answer: ProviderAnswer) -> tuple[int, str]:
    return answer.status, said(answer)["error"]


def query_of(answer: ProviderAnswer) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def form_action(answer: ProviderAnswer) -> str:
    found = re.search(r'action="([^"]+)"', answer.body.decode())
    assert found
    return html.unescape(found.group(1))


class _JumpingSelector(selectors.DefaultSelector):
    """Waits by moving the loop's time."""

    jumped_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "Everything waits and nothing will come."
        self.jumped_s += timeout
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose time starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.jumped_s


def run(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """The result, and the virtual seconds it took."""
    loop = JumpingLoop()
    try:
        return loop.run_until_complete(work), loop.time()
    finally:
        loop.close()
