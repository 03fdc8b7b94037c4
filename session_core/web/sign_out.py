"""Signing out over HTTP: on to the provider, with the ID token in a form and in no address, and back to the app."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from session_core.oauth import EndSessionRequest
from session_core.web.cookies import drop_cookie, set_cookie
from session_core.web.farewells import read_return
from session_core.web.notice import HEADERS, notice
from session_core.web.running import current

# Where Streamlit's own `st.logout()` sends a browser; its route there gives way to ours.
SIGN_OUT_PATH = "/auth/logout"
AWAY_S_MAX = 600.0
UNKNOWN_SIGN_OUT = "This sign-out was not started in this browser, or came back already. Nothing was changed."
_SCRIPT = "document.forms[0].submit()"
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
# No form-action: browsers hold the provider's own redirects to it as well, and those nobody knows beforehand.
_FORM_HEADERS = {
    **HEADERS,
    "content-security-policy": (
        f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; frame-ancestors 'none'; base-uri 'none'"
    ),
}


async def go_on_to_provider(request: Request) -> Response:
    """Only a browser whose session a page of ours has just ended has anywhere to go from here."""
    lab = current()
    farewell = lab.farewells.take(cookie=request.cookies.get(lab.cookies.session), now=lab.clock.boot())
    if farewell is None:
        return RedirectResponse("/", status_code=303, headers=HEADERS)
    response = _sent(farewell.request)
    drop_cookie(response, lab.cookies.session, secure=lab.cookies.secure)
    set_cookie(response, lab.cookies.leaving, farewell.cookie(), life_s=AWAY_S_MAX, secure=lab.cookies.secure)
    return response


async def come_back(request: Request) -> Response:
    """The provider's answer changes nothing, so a wrong one costs nothing; it only must not pass for ours."""
    lab = current()
    cookie = request.cookies.get(lab.cookies.leaving)
    return_to = read_return(cookie, request.query_params.get("state", ""))
    if return_to is None:
        return notice(UNKNOWN_SIGN_OUT, title="Not signed out by this")
    response = RedirectResponse(return_to, status_code=303, headers=HEADERS)
    drop_cookie(response, lab.cookies.leaving, secure=lab.cookies.secure)
    return response


def _sent(request: EndSessionRequest) -> Response:
    """A form that submits itself, because a redirect cannot post; the page is kept nowhere and lives for a moment."""
    if not request.form:
        return RedirectResponse(request.url, status_code=303, headers=HEADERS)
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in request.form.items()
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Signing out</title></head><body>'
        f'<form method="post" action="{escape(request.url)}">{fields}<button>Sign out at the provider</button></form>'
        f"<script>{_SCRIPT}</script></body></html>"
    )
    return HTMLResponse(page, headers=_FORM_HEADERS)
