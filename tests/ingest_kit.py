"""Events as others say them, and a door to post them at without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from session_core.events import Event
from session_core.store import EventStore
from session_core.web.ingest import EVENTS_PATH, Intake, allow_events, events_schema, post_events
from session_core.web.settings import LabSettings

NOW = 1_760_000_000.0
LINES = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
HOME = "http://127.0.0.1:8501/auth/callback"


class Clock:
    """Stands still until it is set."""

    now = NOW

    def wall(self) -> float:
        return self.now

    monotonic = boot = wall


def said(seq: int = 1, **changes: Any) -> dict[str, Any]:
    """An event as a sender says it."""
    origin = {"stream_id": "page-1", "session_id": "session-1", "user_id": "user-1"}
    event = {"seq": seq, "happened_at": NOW - 60.0, "origin": origin, "fact": {"kind": "UserActed", "action": "opened"}}
    return event | changes


def lines(*events: dict[str, Any]) -> bytes:
    return b"\n".join(map(msgspec.json.encode, events))


class Desk:
    """The routes over a store, or over whatever takes events in its place."""

    def __init__(self, store: Any, *, address: str | None = "127.0.0.1", clock: Any = None, **settings: Any) -> None:
        self.clock = clock or Clock()
        self.intake = Intake(
            store.append_once, clock=self.clock, settings=LabSettings(**settings), home=HOME, address=address
        )

        async def events(request: Request) -> Response:
            if request.method == "OPTIONS":
                return allow_events(request, self.intake)
            return await post_events(request, self.intake)

        routes = [
            Route(EVENTS_PATH, events, methods=["POST", "OPTIONS"]),
            Route(f"{EVENTS_PATH}/schema", events_schema),
        ]
        self.app = Starlette(routes=routes)

    @asynccontextmanager
    async def client(self, address: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app, client=(address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8501") as client:
            yield client

    def ask(self, method: str, path: str = EVENTS_PATH, *, sender: str = "127.0.0.1", **options: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            async with self.client(sender) as client:
                return await client.request(method, path, **options)

        return asyncio.run(once())

    def post(self, body: Any, kind: str = LINES, *, sender: str = "127.0.0.1", **headers: str) -> httpx.Response:
        told = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", content=body, headers=told, sender=sender)


class Kept:
    """A store that forgets everything with the test, for those that ask who gets in."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, int], Event] = {}

    def append_once(self, events: Sequence[Event]) -> int:
        before = len(self.events)
        self.events |= {(event.origin.stream_id, event.seq): event for event in events}
        return len(self.events) - before


class Failing:
    """A store that cannot take anything."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def append_once(self, _events: Sequence[Event]) -> int:
        raise self.error


def rows(store: EventStore) -> list[dict[str, Any]]:
    """What is stored, in order, without what the store adds for itself."""
    found: list[dict[str, Any]] = store.read("SELECT * EXCLUDE (flush) FROM events ORDER BY stream_id, seq").to_pylist()
    return found
