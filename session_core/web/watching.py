"""What machines ask of the app: `/metrics` and `/healthz`."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from session_core.errors import EventStoreError, SessionCoreError
from session_core.session import Session
from session_core.session_health import FULL
from session_core.web.door import TurnedAwayError
from session_core.web.health import Ailment, ailments
from session_core.web.metrics import Now
from session_core.web.running import Lab, current

METRICS_PATH, HEALTH_PATH = "/metrics", "/healthz"
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


async def metrics(request: Request) -> Response:
    lab = current()
    try:
        lab.metrics_door.pass_through(request)
    except TurnedAwayError as away:
        return Response(f"{away}\n", away.status, {**_HEADERS, **away.headers}, media_type="text/plain")
    # Sessions belong to this loop; the disk is asked elsewhere.
    states = Counter(str(session.state) for session in lab.service.sessions())
    now = await asyncio.to_thread(_now, lab, states)
    body, content_type = lab.metrics.told(now, accept=request.headers.get("accept", ""))
    return Response(body, headers={**_HEADERS, "content-type": content_type})


async def healthz(request: Request) -> Response:
    """200 while everything works, 503 where something does not. What it is in words is for whoever may see the metrics."""
    try:
        lab = current()
    except SessionCoreError as error:
        return _health((Ailment("app", str(error)),), in_words=True)
    store_trouble = await asyncio.to_thread(_store_trouble, lab)
    found = ailments(
        now=lab.clock.boot(),
        store_trouble=store_trouble,
        recorder=lab.recorder.statistics(),
        service=lab.service.statistics(),
        background=lab.config.policy.background,
        unsaved=sum(session.get_session_health().parts.persistence < FULL for session in _alive(lab)),
    )
    return _health(found, in_words=_may_read(lab, request))


def _health(found: tuple[Ailment, ...], *, in_words: bool) -> Response:
    reasons = [{"part": each.part, "says": each.says} if in_words else {"part": each.part} for each in found]
    said: dict[str, Any] = {"status": "degraded" if found else "ok", "reasons": reasons}
    return Response(msgspec.json.encode(said), 503 if found else 200, _HEADERS, media_type="application/json")


def _may_read(lab: Lab, request: Request) -> bool:
    try:
        lab.metrics_door.pass_through(request)
    except TurnedAwayError:
        return False
    return True


def _alive(lab: Lab) -> list[Session]:
    return [session for session in lab.service.sessions() if session.ended is None]


def _store_trouble(lab: Lab) -> str | None:
    """Asked in a thread, because a store that could not be opened is tried again."""
    try:
        lab.store.opened()
    except EventStoreError as error:
        return str(error)
    return None


def _now(lab: Lab, states: Counter[str]) -> Now:
    path = lab.store.path
    return Now(
        states=states,
        recorder=lab.recorder.statistics(),
        file_bytes=_bytes_of(path),
        log_bytes=_bytes_of(path.with_name(f"{path.name}.wal")),
    )


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
