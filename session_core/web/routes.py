"""Sign-in over HTTP: the browser is sent to the provider and comes back to where it wanted to be."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from session_core.errors import LoginRequest, ProviderUnreachableError, SessionCoreError
from session_core.oauth import is_local_path
from session_core.provider_metadata import is_loopback
from session_core.service import FIRST
from session_core.session import Session
from session_core.web.backchannel import sign_out_from_provider
from session_core.web.choosing import SIGN_IN_PATH, choose
from session_core.web.cookies import set_cookie
from session_core.web.device_names import seen_on
from session_core.web.door import comes_from_this_machine
from session_core.web.guard import paced
from session_core.web.ingest import EVENTS_PATH, allow_events, events_schema, post_events
from session_core.web.notice import HEADERS, notice
from session_core.web.presence import ACTIVITY_PATH, SCRIPT_PATH, act, look, prompt_of, script
from session_core.web.providers import MAIN
from session_core.web.running import Lab, current
from session_core.web.settings import BACKCHANNEL_PATH, CALLBACK_PATH, PROVIDER_PATH, SIGNED_OUT_PATH
from session_core.web.sign_in import PENDING_S_MAX, SEAT_S_MAX, User, user_of
from session_core.web.sign_out import SIGN_OUT_PATH, come_back, go_on_to_provider
from session_core.web.watching import HEALTH_PATH, METRICS_PATH, healthz, metrics

UNKNOWN_SIGN_IN = "This sign-in was not started in this browser, was used already, or took longer than 10 minutes."
UNKNOWN_PROVIDER = "This way to sign in is not offered here; choose another one."
TEST_DOUBLE = (
    "The embedded provider is a test double with passwords that everybody knows, so it serves only the machine it runs on. "
    "Configure a real provider, by SESSION_CORE_ISSUER, before others sign in."
)
PLACE_TO_RETURN = "The place to return to after sign-in must be a path of this app, such as /chat."


def lab_routes() -> list[BaseRoute]:
    return [
        Route(SIGN_IN_PATH, paced(sign_in)),
        Route(CALLBACK_PATH, paced(callback)),
        Route(CALLBACK_PATH + "/{provider}", paced(callback)),
        Route(SIGN_OUT_PATH, go_on_to_provider),
        Route(SIGNED_OUT_PATH, come_back),
        Route(BACKCHANNEL_PATH, sign_out_from_provider, methods=["POST"]),
        Route(ACTIVITY_PATH, look, methods=["GET"]),
        Route(ACTIVITY_PATH, act, methods=["POST"]),
        Route(SCRIPT_PATH, script),
        Mount(PROVIDER_PATH, app=embedded_provider),
        Route(EVENTS_PATH, ingest, methods=["POST", "OPTIONS"]),
        Route(f"{EVENTS_PATH}/schema", events_schema),
        Route(METRICS_PATH, metrics),
        Route(HEALTH_PATH, healthz),
    ]


async def sign_in(request: Request) -> Response:
    lab = current()
    home = _home_of(request, lab.config.redirect_uri)
    if home is not None:
        return RedirectResponse(home, status_code=307, headers=HEADERS)
    return_to, wanted = request.query_params.get("return_to", "/"), request.query_params.get("provider")
    labels = lab.providers.labels()
    if not is_local_path(return_to):
        return notice(PLACE_TO_RETURN)
    if wanted is None and len(labels) > 1:
        return choose(labels, return_to=return_to)
    provider = FIRST if wanted in (None, MAIN) else wanted
    if provider not in labels:
        return notice(UNKNOWN_PROVIDER)
    try:
        login = await lab.service.login(return_to=return_to, prompt=await prompt_of(request), provider=provider)
    except SessionCoreError as error:
        return notice(str(error), status=502)
    response = RedirectResponse(login.url, status_code=303, headers=HEADERS)
    cookie = await lab.pending.keep(login, cookie=request.cookies.get(lab.cookies.pending), now=lab.clock.boot())
    set_cookie(response, lab.cookies.pending, cookie, life_s=PENDING_S_MAX, secure=lab.cookies.secure)
    return response


async def callback(request: Request) -> Response:
    lab = current()
    login = await lab.pending.take(
        cookie=request.cookies.get(lab.cookies.pending),
        state=request.query_params.get("state", ""),
        now=lab.clock.boot(),
    )
    if login is None or not _is_meant_for(request, lab, login):
        return notice(UNKNOWN_SIGN_IN)
    try:
        session = await lab.service.finish_login(request.query_params.multi_items(), login, seen_on=seen_on(request))
    except ProviderUnreachableError as error:
        return notice(str(error), status=502)
    except SessionCoreError as error:
        return notice(str(error))
    cookie = await lab.seat(session, await _user(session), before=request.cookies.get(lab.cookies.session))
    response = RedirectResponse(login.return_to, status_code=303, headers=HEADERS)
    set_cookie(response, lab.cookies.session, cookie, life_s=SEAT_S_MAX, secure=lab.cookies.secure)
    return response


def _is_meant_for(request: Request, lab: Lab, login: LoginRequest) -> bool:
    """RFC 9700 §4.4.2.2: each provider has a call-back of its own, so one cannot hand in another's code as its own."""
    config = lab.providers.configs().get(login.provider)
    return config is not None and urlsplit(config.redirect_uri).path.endswith(request.url.path)


async def ingest(request: Request) -> Response:
    intake = current().intake
    return allow_events(request, intake) if request.method == "OPTIONS" else await post_events(request, intake)


async def embedded_provider(scope: Scope, receive: Receive, send: Send) -> None:
    face = current().face
    if face is None:
        nothing = notice("Another provider is configured, so the embedded one is off.", title="Not here", status=404)
        await nothing(scope, receive, send)
    elif not comes_from_this_machine(Request(scope)):
        await notice(TEST_DOUBLE, title="Not from here", status=403)(scope, receive, send)
    else:
        await face(scope, receive, send)


async def _user(session: Session) -> User:
    """From the ID token, and from userinfo what that leaves open; a name is not worth a failed sign-in."""
    claims = session.claims()
    if claims.get("name"):
        return user_of(claims)
    try:
        endpoint = (await session.oauth.metadata()).userinfo_endpoint
        said = (await session.client.get(endpoint)).raise_for_status().json() if endpoint else {}
    except (httpx.HTTPError, SessionCoreError, json.JSONDecodeError):
        said = {}
    same = isinstance(said, dict) and said.get("sub") == claims.get("sub")
    return user_of(claims, said if same else None, {"sub": session.user_id})


def _home_of(request: Request, redirect_uri: str) -> str | None:
    """Where to begin instead: cookies of localhost are not those of 127.0.0.1, to which the provider returns."""
    public = urlsplit(redirect_uri)
    if request.url.hostname == public.hostname or not _both_here(request.url.hostname, public.hostname):
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{public.scheme}://{public.netloc}{request.url.path}{query}"


def _both_here(*hosts: str | None) -> bool:
    return all(is_loopback(host or "") for host in hosts)
