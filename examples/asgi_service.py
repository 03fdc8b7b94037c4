"""A small web service whose users stay signed in: tokens stay on the server, the browser holds one opaque cookie.

Run it with `python examples/asgi_service.py 8502` and open http://127.0.0.1:8502/. It brings its own identity
provider, on a free loopback port.
"""

import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from session_core import LoginRequest, ProviderError, SessionConfig, SessionEndedError, SessionService
from session_core.provider import ProviderConfig, demo_clients
from session_core.provider.running import running_provider

HIDDEN = {"httponly": True, "samesite": "lax"}


def make_app(config: SessionConfig) -> Starlette:
    service = SessionService(config)
    logins: dict[str, LoginRequest] = {}
    seats: dict[str, str] = {}

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with service:
            yield

    async def home(request: Request) -> Response:
        session = service.get(seats.get(request.cookies.get("seat", ""), ""))
        if session is None:
            return RedirectResponse("/login")
        session.update_activity("visit")
        try:
            answer = await session.client.get("echo")
        except SessionEndedError:
            return RedirectResponse("/login")
        return JSONResponse({"user": answer.json()["subject"], "health": session.get_session_health().score})

    async def login(_request: Request) -> Response:
        asked = await service.login(return_to="/")
        logins[asked.state] = asked
        response = RedirectResponse(asked.url)
        response.set_cookie("login", asked.state, max_age=600, **HIDDEN)
        return response

    async def callback(request: Request) -> Response:
        asked = logins.pop(request.cookies.get("login", ""), None)
        if asked is None:
            return PlainTextResponse("This sign-in was not begun here; start again at /login.", 400)
        try:
            session = await service.finish_login(str(request.url), asked)
        except ProviderError as error:
            return PlainTextResponse(str(error), 400)
        seat = secrets.token_urlsafe(32)
        seats[seat] = session.session_id
        response = RedirectResponse(asked.return_to)
        response.set_cookie("seat", seat, **HIDDEN)
        return response

    routes = [Route("/", home), Route("/login", login), Route("/callback", callback)]
    return Starlette(routes=routes, lifespan=lifespan)


def main(port: int) -> None:
    redirect_uri = f"http://127.0.0.1:{port}/callback"
    with running_provider(ProviderConfig(clients=demo_clients(redirect_uris=(redirect_uri,)))) as provider:
        issuer = provider.config.issuer
        config = SessionConfig(
            issuer=issuer,
            client_id="session-lab",
            redirect_uri=redirect_uri,
            scope="openid profile offline_access api",
            api_url=f"{issuer}/api/",
        )
        uvicorn.run(make_app(config), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8502)
