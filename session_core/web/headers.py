"""What every answer of the app forbids the browser, Streamlit's own pages included; and who may open its websocket."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_core.web.origin import own_origins

HSTS_S = 365 * 86_400
AUTH_PREFIX = "/auth/"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Forbidding:
    """Adds the headers that an answer has not set more strictly itself, and refuses websockets of other sites' pages."""

    def __init__(self, app: ASGIApp, *, home: str) -> None:
        self._app = app
        self._own = own_origins(home)
        self._headers = security_headers(is_https=home.startswith("https://"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not _is_from_here(Headers(scope=scope), self._own):
            # Before it is accepted, so the browser gets 403.
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_forbidding(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(AUTH_PREFIX):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["query_string"].isascii():
            await self._app(scope, receive, send_forbidding)
        else:
            # RFC 3986 §2: what is not ASCII comes percent-encoded, and whoever reads addresses relies on it.
            await PlainTextResponse("This is no address.\n", 400)(scope, receive, send_forbidding)


def forbidding(home: str) -> list[Middleware]:
    """For `st.App` and Starlette; `home` is an address of the app's own pages."""
    return [Middleware(Forbidding, home=home)]


def security_headers(*, is_https: bool) -> Mapping[str, str]:
    # Its page compiles a few bytes of WebAssembly, for whole numbers of 64 bits.
    scripts = " ".join(("'self'", "'wasm-unsafe-eval'", *inline_script_hashes()))
    policy = {
        "default-src": "'none'",
        "script-src": scripts,
        # Streamlit's components write their styles into the page as they are drawn.
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "media-src": "'self' blob:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    always = {
        "content-security-policy": "; ".join(f"{name} {allowed}" for name, allowed in policy.items()),
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    return always | ({"strict-transport-security": f"max-age={HSTS_S}"} if is_https else {})


def inline_script_hashes() -> tuple[str, ...]:
    """Of the scripts that stand in Streamlit's page itself, as a policy names them: no other may run from there."""
    found = find_spec("streamlit")
    if found is None or found.origin is None:
        return ()
    page = (Path(found.origin).parent / "static" / "index.html").read_text(encoding="utf-8")
    return tuple(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in _INLINE_SCRIPT.findall(page)
    )


def _is_from_here(headers: Headers, own: frozenset[str]) -> bool:
    """What is no browser says no origin; a page says the one it came from, which is ours or that of the very same host."""
    origin = headers.get("origin")
    return origin is None or origin in own or origin.partition("://")[2] == headers.get("host")
