"""Whether somebody is there: what pages tell of it, and what they are told of the session's limits.

A page says what its user did, at most every few seconds. Nothing else counts as activity: no rerun, no live part of a
page, no question. A page counts down by itself and asks before it warns; the server holds to the limit in any case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from session_core.session import Session, SessionStatus
from session_core.session_limits import SessionLimits, Standing
from session_core.session_store import SessionStoreError
from session_core.store.descriptions import for_how_long
from session_core.vocabulary import EndReason, Limit, State
from session_core.web.guard import own_pages_only
from session_core.web.running import current

ACTIVITY_PATH = "/auth/activity"
SCRIPT_PATH = "/auth/activity.js"
ACTS = frozenset({"acted", "focus", "stay"})
# Without an idle limit it only tells the user when each device was in use last.
EVERY_S_MAX, EVERY_S_UNLIMITED = 15.0, 60.0
APART_S_MIN = 0.5
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_SCRIPT = Path(__file__).with_name("presence.js")


class Notice(msgspec.Struct, frozen=True):
    """What is said when a session is held or over, in a title and a sentence."""

    title: str
    why: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a page is told. `title` and `why` are for when the limit is reached, or say why it is over.

    `left_s` is None without limits; `extends` says whether activity moves the nearest one.
    """

    how: Literal["open", "locked", "ended", "nobody"]
    left_s: float | None = None
    warn_s: float = 0.0
    every_s: float = EVERY_S_UNLIMITED
    extends: bool = False
    warning: str = ""
    title: str = ""
    why: str = ""


NOBODY = Told(how="nobody")
ELSEWHERE = Notice(
    "Signed out from elsewhere",
    "This session was ended on another of your devices. Nothing more can be done with it here.",
)
AT_PROVIDER = Notice(
    "Signed out at the provider",
    "Whoever signed you in has signed you out, and this session ended with it. Nothing more can be done with it here.",
)


def told(status: SessionStatus, limits: SessionLimits) -> Told:
    """What a page is to know of a session as it stands."""
    over = why_over(status, limits)
    if over is not None:
        how: Literal["locked", "ended"] = "locked" if status.ended is None else "ended"
        return Told(how=how, title=over.title, why=over.why)
    if status.ended is not None:
        return NOBODY
    verdict = status.limit
    if verdict.limit is None:
        return Told(how="open")
    idle = verdict.limit is Limit.IDLE
    said = _of_limit(verdict.limit, limits)
    return Told(
        how="open",
        left_s=verdict.left_s,
        warn_s=limits.warn_s,
        every_s=EVERY_S_UNLIMITED if limits.idle_s is None else min(EVERY_S_MAX, limits.idle_s / 8),
        extends=idle,
        warning="Are you still there? This session will be locked in"
        if idle
        else "This session has lasted as long as it may. It ends in",
        title=said.title,
        why=said.why,
    )


def why_over(status: SessionStatus, limits: SessionLimits) -> Notice | None:
    """Why nothing may be seen or done any more: a limit, or an end from elsewhere. None for all else."""
    if status.ended is EndReason.SIGNED_OUT_ELSEWHERE:
        return ELSEWHERE
    if status.ended is EndReason.SIGNED_OUT_AT_PROVIDER:
        return AT_PROVIDER
    if status.ended is EndReason.ABSOLUTE_LIMIT or status.limit.standing is Standing.ABSOLUTE:
        return _of_limit(Limit.ABSOLUTE, limits)
    if status.ended is None and (status.state is State.LOCKED or status.limit.standing is Standing.IDLE):
        return _of_limit(Limit.IDLE, limits)
    return None


def _of_limit(limit: Limit, limits: SessionLimits) -> Notice:
    if limit is Limit.IDLE:
        length = for_how_long(limits.idle_s or 0.0)
        return Notice("Locked", f"Nothing was done here for {length}. Sign in to go on where you were.")
    length = for_how_long(limits.absolute_s or 0.0)
    return Notice("Time to sign in again", f"A session lasts {length} at most. Sign in to go on where you were.")


async def look(request: Request) -> Response:
    """How the session stands; asking is no activity."""
    try:
        return _answer(await _session_of(request))
    except SessionStoreError as error:
        return Response(str(error), 503, HEADERS, media_type="text/plain")


@own_pages_only
async def act(request: Request) -> Response:
    """The user did something in a page, came back to it, or wants to stay."""
    name = request.query_params.get("act")
    if name not in ACTS:
        return Response("Say what was done: act=acted, act=focus or act=stay.", 400, HEADERS, media_type="text/plain")
    try:
        session = await _session_of(request)
    except SessionStoreError as error:
        return Response(str(error), 503, HEADERS, media_type="text/plain")
    if session is not None and current().clock.boot() - session.last_activity_at >= APART_S_MIN:
        session.update_activity(name)
    return _answer(session)


async def script(_request: Request) -> Response:
    return FileResponse(_SCRIPT, media_type="text/javascript", headers={**HEADERS, "cache-control": "no-cache"})


async def prompt_of(request: Request) -> str | None:
    """Whoever comes to a browser that was locked must prove who they are, also if the provider knows the browser."""
    try:
        session = await _session_of(request)
    except SessionStoreError:
        # It may have been locked; and who cannot be recalled must not be kept from signing in.
        return "login"
    if session is None:
        return None
    session.hold_to_limits()
    return None if why_over(session.status(), session.config.policy.limits) is None else "login"


def _answer(session: Session | None) -> Response:
    said = NOBODY
    if session is not None:
        session.hold_to_limits()
        said = told(session.status(), session.config.policy.limits)
    return Response(msgspec.json.encode(said), headers=HEADERS, media_type="application/json")


async def _session_of(request: Request) -> Session | None:
    lab = current()
    found = await lab.recall(request.cookies.get(lab.cookies.session))
    if found is None:
        return None
    await found[1].catch_up()
    return found[1]
