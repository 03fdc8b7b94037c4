"""A lab in a process of its own, to be killed: `python tests/lab_process.py PORT`, settings in the environment."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from session_core.provider import Endpoint, Fault, FaultKind
from session_core.token_refresher import RefreshResult
from session_core.web.routes import lab_routes
from session_core.web.running import current, run_lab
from session_core.web.settings import read_settings


async def act(request: Request) -> Response:
    """What a page would do for whoever sits behind the cookie."""
    lab = current()
    found = await lab.recall(request.cookies.get(lab.cookies.session))
    if found is None:
        return JSONResponse({"user": None}, 401)
    seat, session = found
    if "refresh" in request.query_params:
        await session.force_refresh_session()
    answer = await session.client.get("echo")
    status = session.status()
    return JSONResponse(
        {
            "user": seat.user.shown,
            "status": answer.status_code,
            "sessions": len(lab.service.sessions()),
            "session": session.session_id,
            "refreshes": status.tokens.refreshes,
            "outcome": status.tokens.last_outcome,
            "seen_on": session.seen_on,
        }
    )


async def lose(request: Request) -> Response:
    """A refresh that the provider has carried out, and whose answer never comes."""
    lab = current()
    found = await lab.recall(request.cookies.get(lab.cookies.session))
    assert found is not None
    assert lab.provider is not None
    lab.provider.faults.order(Fault(kind=FaultKind.HANG, endpoint=Endpoint.TOKEN, acts=True), lab.clock.wall())
    waiting.add(asyncio.create_task(found[1].force_refresh_session()))
    while not lab.provider.statistics().facts.get("tokens_refreshed"):
        await asyncio.sleep(0.01)
    return JSONResponse({})


waiting: set[asyncio.Task[RefreshResult]] = set()


def main(port: int) -> None:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with run_lab(read_settings(os.environ), os.environ, port=port):
            yield

    app = Starlette(routes=[Route("/act", act), Route("/lose", lose), *lab_routes()], lifespan=lifespan)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", ws="none", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
