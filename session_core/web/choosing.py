"""The page on which people choose who signs them in, where there are several."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response

from session_core.web.notice import HEADERS, framed
from session_core.web.providers import MAIN

SIGN_IN_PATH = "/auth/sign-in"


def choose(labels: Mapping[str, str], *, return_to: str) -> Response:
    """One link each; the place to return to goes along, and is checked when one is followed."""
    links = "".join(
        f'<p><a href="{escape(_address(name, return_to))}">Sign in with {escape(label)}</a></p>'
        for name, label in labels.items()
    )
    return HTMLResponse(framed("Who signs you in?", links), headers=HEADERS)


def _address(name: str, return_to: str) -> str:
    return f"{SIGN_IN_PATH}?{urlencode({'provider': name or MAIN, 'return_to': return_to})}"
