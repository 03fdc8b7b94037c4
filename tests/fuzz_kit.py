"""Requests as nobody should send them: to every route of the app, byte by byte, without a server that would tidy them up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message

from session_core.provider.core import ROUTES as PROVIDER_ROUTES
from session_core.web.settings import PROVIDER_PATH

MARK = "x7q9"
FORM, JSON, LINES = "application/x-www-form-urlencoded", "application/json", "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
# Each opens something where it comes back as it is: an element, an attribute, a header, another site, a template.
MARKS = (
    f"<{MARK} onload=1>".encode(),
    f'"><script>{MARK}()</script>'.encode(),
    f"' {MARK}='".encode(),
    f"\r\n{MARK}: 1".encode(),
    f"//{MARK}.example/".encode(),
    f"https://{MARK}.example".encode(),
    f"javascript:{MARK}()".encode(),
    f"{{{MARK}}}".encode(),
)
NASTY = (
    *MARKS,
    f"${{{MARK}}}%({MARK})s".encode(),
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\0",
    b"%00%ff%",
    b"",
    b"null",
    b"-1",
    b"9" * 400,
    b"1e999",
    "\u0663".encode(),
    b"../" * 40,
    b"." * 200,
    b"a" * 9_000,
    b"[" * 2_000,
    b"a.b.c",
    b"bm90.aGVyZQ.eA",
)
HEADERS = (
    *("host", "origin", "referer", "sec-fetch-site", "forwarded", "x-forwarded-for", "x-forwarded-proto", "via"),
    *("accept", "accept-encoding", "content-encoding", "content-type", "content-length", "transfer-encoding"),
    *("authorization", "cookie", "dpop", "user-agent", "range", "if-modified-since", "access-control-request-method"),
)
SHOWN_BYTES_MAX = 1_000
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")


class Meant(NamedTuple):
    """What a well-meant request to a route has in it. A value `{NAME}` stands for something that is alive."""

    query: Mapping[str, str] = {}
    form: Mapping[str, str] = {}
    body: bytes = b""
    content_type: str = FORM


class Asked(NamedTuple):
    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def __repr__(self) -> str:
        """Without most of a long body: what is shown of a failure is to be read."""
        body = self.body if len(self.body) <= SHOWN_BYTES_MAX else self.body[:20] + f"… {len(self.body)} bytes".encode()
        return f"Asked({self.method!r}, {self.path!r}, {self.query!r}, {self.headers!r}, {body!r})"


class Answer(NamedTuple):
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def kind(self) -> str:
        return "".join(self.all("content-type")).partition(";")[0]


def addresses(routes: list[BaseRoute]) -> dict[str, tuple[str, ...]]:
    """Every address of the app with its methods; what stands behind a mount is looked up where it is listed."""
    found: dict[str, set[str]] = {}
    for route in routes:
        if isinstance(route, Route):
            found.setdefault(route.path, set()).update(route.methods or {"GET"})
            continue
        assert isinstance(route, Mount), f"a route of an unknown kind: {route!r}"
        assert route.path == PROVIDER_PATH, f"nobody knows what is mounted at {route.path}"
        for path, inner in PROVIDER_ROUTES.items():
            found.setdefault(route.path + path, set()).update(inner.methods)
    return {path: tuple(sorted(methods)) for path, methods in found.items()}


async def ask(app: ASGIApp, asked: Asked, *, port: int) -> Answer:
    """As a server would hand it over, without what a server would refuse beforehand."""
    started: list[Message] = []
    body = bytearray()
    messages = [
        {"type": "http.request", "body": asked.body, "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
        else:
            body.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "root_path": "",
        "query_string": asked.query,
        "headers": list(asked.headers),
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", port),
    }
    await app(scope, receive, send)
    assert len(started) == 1, "one answer"
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in started[0]["headers"])
    return Answer(started[0]["status"], headers, bytes(body))


_value = (
    st.sampled_from(NASTY)
    | st.binary(max_size=40)
    | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
)
# What a server lets through in a header: no control characters, but any other byte.
_header_value = _value.map(lambda value: bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)[:9_000])


def encoded(pairs: Iterable[tuple[str, bytes]]) -> bytes:
    return b"&".join(f"{name}={quote_from_bytes(value)}".encode() for name, value in pairs)


def as_meant(meant: Mapping[str, str], alive: Mapping[str, str]) -> dict[str, bytes]:
    return {name: (text.format_map(alive) if text.startswith("{") else text).encode() for name, text in meant.items()}


def head(meant: Meant, alive: Mapping[str, str], body: bytes, *, port: int) -> dict[str, bytes]:
    """What a browser of ours, signed in, would say of a request of its own page; and what a program would add."""
    return {
        "host": f"127.0.0.1:{port}".encode(),
        "origin": f"http://127.0.0.1:{port}".encode(),
        "sec-fetch-site": b"same-origin",
        "cookie": alive["cookies"].encode(),
        "authorization": f"Bearer {alive['access_token']}".encode(),
        "content-type": meant.content_type.encode(),
        "content-length": str(len(body)).encode(),
    }


def marked(
    path: str, methods: tuple[str, ...], meant: Meant, alive: Mapping[str, str], *, port: int
) -> Iterator[Asked]:
    """Each mark in each field and header of an otherwise well-meant request, by each method."""
    query, form = as_meant(meant.query, alive), as_meant(meant.form, alive)
    for method, mark in product(methods, MARKS):
        told = bytes(byte for byte in mark if byte >= 0x20)
        changes: list[tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]] = [
            *((query | {name: mark}, form, {}) for name in (*query, MARK)),
            *((query, form | {name: mark}, {}) for name in form if method != "GET"),
            *((query, form, {name: told}) for name in HEADERS if method in {"GET", "POST"}),
        ]
        for asked, told_in_form, headers in changes:
            body = b"" if method == "GET" else encoded(told_in_form.items()) if told_in_form else meant.body
            said = head(meant, alive, body, port=port) | headers
            pairs = tuple((name.encode(), value) for name, value in said.items())
            yield Asked(method, filled(path, b"main"), encoded(asked.items()), pairs, body)
        if "{" in path:
            yield Asked(method, filled(path, mark), encoded(query.items()), (), b"")


def filled(path: str, value: bytes) -> str:
    """The address with `value` where it has a place for one, as a server hands it over: read, and without a slash."""
    said = value.decode("utf-8", "replace").replace("/", "")
    return re.sub(r"\{\w+\}", lambda _place: said or "x", path)


@st.composite
def fields(draw: st.DrawFn, meant: Mapping[str, str], alive: Mapping[str, str]) -> bytes:
    """Parameters: most as they are meant, one or two missing, twice or nonsense, and some that nobody knows."""
    whole = as_meant(meant, alive)
    pairs = list(whole.items())
    for name in draw(st.lists(st.sampled_from(sorted(whole)), max_size=2)) if whole else ():
        kept = [] if draw(st.integers(0, 3)) else [(name, whole[name])]
        pairs = [pair for pair in pairs if pair[0] != name] + kept
        if draw(st.integers(0, 3)):
            pairs.append((name, draw(_value)))
    pairs += draw(
        st.lists(st.tuples(st.sampled_from(["state", "code", MARK, "error", "return_to"]), _value), max_size=2)
    )
    if draw(st.integers(0, 9)) == 0:
        return b"&".join(name.encode() + b"=" + bytes(b for b in value if b > 0x20) for name, value in pairs)
    return encoded(pairs)


@st.composite
def requests(
    draw: st.DrawFn, path: str, methods: tuple[str, ...], meant: Meant, alive: Mapping[str, str], *, port: int
) -> Asked:
    method = draw(st.sampled_from((*methods * 4, *METHODS)))
    body = meant.body
    if meant.form or draw(st.booleans()):
        body = draw(fields(meant.form, alive))
    if draw(st.integers(0, 9)) == 0:
        body = draw(_value | st.sampled_from([b"x" * size for size in (65_537, 131_073, 1_048_577)]))
    headers = head(meant, alive, body, port=port)
    for name in draw(st.lists(st.sampled_from(HEADERS), max_size=3)):
        if draw(st.integers(0, 4)):
            headers[name] = draw(
                _header_value | st.sampled_from([kind.encode() for kind in (FORM, JSON, LINES, ARROW)])
            )
        else:
            headers.pop(name, None)
    pairs = [(name.encode(), value) for name, value in headers.items()]
    if draw(st.integers(0, 9)) == 0:
        pairs.append((draw(st.sampled_from(HEADERS)).encode(), draw(_header_value)))
    place = filled(path, draw(_value)) if "{" in path and draw(st.booleans()) else filled(path, b"main")
    return Asked(method, place, draw(fields(meant.query, alive)), tuple(pairs), body if method != "GET" else b"")
