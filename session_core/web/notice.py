"""The one small page that our own routes show when a sign-in cannot go on."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse, Response

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b1f24; --line: #d9dde3; --accent: #1d4ed8; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1419; --card: #1a2028; --ink: #e8ebef; --line: #323a45;
  --accent: #8ab0ff; } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 26rem; margin: 1rem; padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; }
h1 { margin: 0 0 .5rem; font-size: 1.3rem; }
a { color: var(--accent); font-weight: 600; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def notice(sentence: str, *, title: str = "Sign-in did not work", status: int = 400) -> Response:
    content = (
        f'<p>{escape(sentence)}</p><p><a href="/auth/sign-in">Try again</a> or <a href="/">go back to the app</a>.</p>'
    )
    return HTMLResponse(framed(title, content), status_code=status, headers=HEADERS)


def framed(title: str, content: str) -> str:
    """A page with this title over `content`, which is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f"{content}</main></body></html>"
    )
