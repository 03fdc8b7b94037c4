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

from session_core.errors import ConfigError
from session_core.provider_metadata import is_loopback
from session_core.web.origin import own_origins

HSTS_S = 365 * 86_400
AUTH_PREFIX = "/auth/"
NOTHING = "'none'"
FAILED = "Something went wrong here; the app's log says what. Try again, or go back to the app.\n"
# No sign that would end a directive, a policy or a header.
_SOURCES = re.compile(r"[!-+\--:<-~]+( [!-+\--:<-~]+)*")
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Forbidding:
    """Adds the headers that an answer has not set more strictly itself, and refuses websockets of other sites' pages."""

    def __init__(self, app: ASGIApp, *, home: str, is_private: bool, headers: Mapping[str, str]) -> None:
        self._app = app
        self._own = own_origins(home)
        self._is_private = is_private
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._is_from_here(Headers(scope=scope)):
            # Before it is accepted, so the browser gets 403.
            await send({"type": "websocket.close", "code": 1008})
            return

        answered = False

        async def send_forbidding(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(AUTH_PREFIX):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif not scope["query_string"].isascii():
            # RFC 3986 §2: what is not ASCII comes percent-encoded, and whoever reads addresses relies on it.
            await PlainTextResponse("This is no address.\n", 400)(scope, receive, send_forbidding)
        else:
            try:
                await self._app(scope, receive, send_forbidding)
            except Exception:
                if not answered:
                    await PlainTextResponse(FAILED, 500)(scope, receive, send_forbidding)
                raise

    def _is_from_here(self, headers: Headers) -> bool:
        """What is no browser says no origin; a page says the one it came from: ours, or that of the host it asks.

        Where the app listens on this machine only, a host of another name is one that was given this machine's address.
        """
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is None or origin in self._own:
            return True
        return origin.partition("://")[2] == host and (not self._is_private or _is_this_machine(host))


def forbidding(home: str, *, address: str | None = None, allowing: Mapping[str, str] | None = None) -> list[Middleware]:
    """For `st.App` and Starlette. `home` is an address of the app's own pages, `address` the one it listens at.

    `allowing` is as below. Raises ConfigError.
    """
    headers = security_headers(is_https=home.startswith("https://"), allowing=allowing or {})
    is_private = address is not None and is_loopback(address)
    return [Middleware(Forbidding, home=home, is_private=is_private, headers=headers)]


def security_headers(*, is_https: bool, allowing: Mapping[str, str]) -> Mapping[str, str]:
    """`allowing` names what pages load from elsewhere, such as {"img-src": "https://pictures.example"}. Raises ConfigError."""
    policy = page_policy()
    for name, sources in allowing.items():
        if name not in policy or not _SOURCES.fullmatch(sources):
            raise ConfigError(
                f"No more can be allowed under {name!r} by {sources!r}; name one of {', '.join(policy)}, "
                "and sources with spaces between them."
            )
        policy[name] = sources if policy[name] == NOTHING else f"{policy[name]} {sources}"
    always = {
        "content-security-policy": "; ".join(f"{name} {allowed}" for name, allowed in policy.items()),
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
    unframed = {"x-frame-options": "DENY"} if policy["frame-ancestors"] == NOTHING else {}
    return always | unframed | ({"strict-transport-security": f"max-age={HSTS_S}"} if is_https else {})


def page_policy() -> dict[str, str]:
    """What Streamlit's own pages need, and nothing else."""
    # Its page compiles a few bytes of WebAssembly, for whole numbers of 64 bits.
    scripts = " ".join(("'self'", "'wasm-unsafe-eval'", *inline_script_hashes()))
    return {
        "default-src": NOTHING,
        "script-src": scripts,
        # Streamlit's components write their styles into the page as they are drawn.
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "media-src": "'self' blob:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "frame-src": NOTHING,
        "base-uri": NOTHING,
        "form-action": "'self'",
        "frame-ancestors": NOTHING,
    }


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


def _is_this_machine(host: str) -> bool:
    name, _, port = host.rpartition(":")
    return is_loopback((name if port.isdecimal() else host).strip("[]"))
