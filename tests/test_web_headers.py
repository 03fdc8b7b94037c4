"""What browsers are told to refuse, on every answer; and who may open the websocket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import streamlit
from lab_kit import ServedLab, served_lab
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from session_core.errors import ConfigError
from session_core.web.headers import FAILED, Forbidding, forbidding, inline_script_hashes, security_headers
from session_core.web.routes import lab_routes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


def policy(answer: httpx.Response) -> dict[str, list[str]]:
    parts = [part.split() for part in answer.headers["content-security-policy"].split(";")]
    return {name: allowed for name, *allowed in parts}


@pytest.mark.parametrize("path", sorted({route.path for route in lab_routes()}))
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_every_answer_of_a_route_is_locked_down(served: ServedLab, path: str, method: str) -> None:
    """Whatever the status: no framing, no guessing of types, no script from elsewhere, no address told to others."""
    with served.browser() as browser:
        answer = browser.request(method, path, follow_redirects=False)
    assert policy(answer)["frame-ancestors"] == ["'none'"]
    assert policy(answer)["default-src"] == ["'none'"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers["referrer-policy"] in {"no-referrer", "same-origin"}
    assert answer.headers["x-frame-options"] == "DENY"
    assert "strict-transport-security" not in answer.headers
    if path.startswith("/auth/") and not path.endswith(".js"):
        assert "no-store" in answer.headers["cache-control"]


def test_what_an_answer_says_more_strictly_stands(served: ServedLab) -> None:
    """The page of a sign-in that failed runs no script at all, and has one policy, not two."""
    with served.browser() as browser:
        answer = browser.get("/auth/callback")
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert "script-src" not in policy(answer)


def test_a_failure_that_nobody_foresaw_says_nothing_of_the_inside() -> None:
    """One sentence with the headers of any other answer, and the exception goes on to the log."""

    async def fail(request: Request) -> Response:
        raise RuntimeError("a secret of " + str(request.url))

    async def fail_late(_request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError("a secret")

        return StreamingResponse(pieces())

    app = Starlette(
        routes=[Route("/fail", fail), Route("/late", fail_late)], middleware=forbidding("https://lab.example")
    )

    async def ask(path: str, *, raising: bool) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=raising)
        async with httpx.AsyncClient(transport=transport, base_url="https://lab.example") as client:
            return await client.get(path)

    answer = asyncio.run(ask("/fail", raising=False))
    assert (answer.status_code, answer.text) == (500, FAILED)
    assert policy(answer)["default-src"] == ["'none'"]
    assert answer.headers["strict-transport-security"]
    with pytest.raises(RuntimeError, match="a secret"):
        asyncio.run(ask("/fail", raising=True))
    assert asyncio.run(ask("/late", raising=False)).text == "begun"


def test_under_https_browsers_are_told_to_stay_there() -> None:
    """For a year; over plain HTTP the header would mean nothing."""
    assert security_headers(is_https=True, allowing={})["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in security_headers(is_https=False, allowing={})


def test_only_the_scripts_that_streamlit_brings_may_run() -> None:
    """From this origin, or standing in its page word for word: injected markup finds no script to run."""
    said = security_headers(is_https=True, allowing={})["content-security-policy"]
    scripts = next(part for part in said.split("; ") if part.startswith("script-src")).split()[1:]
    page = (Path(streamlit.__file__).parent / "static/index.html").read_text(encoding="utf-8")
    assert len(inline_script_hashes()) == len(re.findall(r"<script(?![^>]*\bsrc=)", page)) > 0
    assert set(scripts) == {"'self'", "'wasm-unsafe-eval'", *inline_script_hashes()}


def test_an_app_may_allow_its_pages_more() -> None:
    """A source more where some are allowed, a source at all where none is; and a frame of its own frees it from both headers."""
    allowing = {"img-src": "https://a.example https://b.example", "frame-src": "'self'", "frame-ancestors": "'self'"}
    told = security_headers(is_https=False, allowing=allowing)
    said = told["content-security-policy"].split("; ")
    assert "img-src 'self' data: blob: https://a.example https://b.example" in said
    assert "frame-src 'self'" in said
    assert "frame-ancestors 'self'" in said
    assert "default-src 'none'" in said
    assert "x-frame-options" not in told


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("img", "https://a.example"),
        ("img-src", ""),
        ("img-src", "https://a.example; script-src *"),
        ("img-src", "https://a.example, default-src *"),
        ("img-src", "https://a.example\r\nx: y"),
        ("img-src", "https://é.example"),
        ("sandbox", "allow-scripts"),
    ],
)
def test_what_cannot_be_allowed_is_named(name: str, sources: str) -> None:
    """A slip would silently allow nothing, or far too much."""
    with pytest.raises(ConfigError, match="No more can be allowed under"):
        security_headers(is_https=False, allowing={name: sources})


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({}, True),
        ({"origin": "https://lab.example", "host": "10.0.0.1:8501"}, True),
        ({"origin": "https://lab.internal:8501", "host": "lab.internal:8501"}, True),
        ({"origin": "https://evil.example", "host": "lab.example"}, False),
        ({"origin": "http://localhost:9999", "host": "lab.example"}, False),
        ({"origin": "null", "host": "lab.example"}, False),
        ({"origin": "", "host": "lab.example"}, False),
    ],
)
def test_a_page_of_another_site_opens_no_websocket(headers: dict[str, str], *, let_in: bool) -> None:
    """Streamlit itself lets in any port of this machine; its pages act with the cookie of whoever looks at them."""
    asked_from(headers, home="https://lab.example/auth/callback", is_private=False, let_in=let_in)


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({"origin": "http://127.0.0.1:8501", "host": "127.0.0.1:8501"}, True),
        ({"origin": "http://localhost:8501", "host": "localhost:8501"}, True),
        ({"origin": "http://[::1]:9", "host": "[::1]:9"}, True),
        ({"origin": "http://localhost", "host": "localhost"}, True),
        ({"origin": "http://evil.example:8501", "host": "evil.example:8501"}, False),
        ({"origin": "http://127.0.0.1.evil.example", "host": "127.0.0.1.evil.example"}, False),
        ({"origin": "http://localhost:9999", "host": "127.0.0.1:8501"}, False),
    ],
)
def test_a_name_made_up_for_this_machine_opens_no_websocket(headers: dict[str, str], *, let_in: bool) -> None:
    """DNS rebinding: to the browser, a page of evil.example asks its own host, which has this machine's address by now."""
    asked_from(headers, home="http://127.0.0.1:8501/auth/callback", is_private=True, let_in=let_in)


def asked_from(headers: dict[str, str], *, home: str, is_private: bool, let_in: bool) -> None:
    reached: list[str] = []
    sent: list[Message] = []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/_stcore/stream", "headers": pairs}
    asyncio.run(Forbidding(page, home=home, is_private=is_private, headers={})(scope, receive, send))
    assert reached == (["/_stcore/stream"] if let_in else [])
    assert [message["type"] for message in sent] == ([] if let_in else ["websocket.close"])
