"""The provider's few pages. No script, nothing loaded from elsewhere, light and dark."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from session_core.provider.answers import NO_STORE, ProviderAnswer, RefusedError
from session_core.provider.config import User

_STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --ink: #1b1f24; --soft: #5b6470; --line: #d9dde3;
  --accent: #3056d3; --on-accent: #fff; --note: #fff6dd; --note-ink: #5c4500; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #111418; --card: #1a1f26; --ink: #e8ebef; --soft: #9aa4b0;
  --line: #323a45; --accent: #8aa6ff; --on-accent: #0d1530; --note: #2e2710; --note-ink: #f0d78a; --wrong: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 25rem; background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 2rem; box-shadow: 0 8px 30px rgb(0 0 0 / 8%); }
h1 { margin: 0; font-size: 1.4rem; letter-spacing: -.01em; }
p { margin: .25rem 0 0; color: var(--soft); }
form { display: grid; gap: .9rem; margin-top: 1.4rem; }
label { display: grid; gap: .3rem; font-size: .9rem; font-weight: 600; }
input { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 8px;
  padding: .6rem .75rem; }
button { font: inherit; font-weight: 600; border: 0; border-radius: 8px; padding: .7rem; margin-top: .3rem;
  background: var(--accent); color: var(--on-accent); cursor: pointer; }
button.quiet { background: transparent; color: var(--accent); border: 1px solid var(--line); margin-top: 0; }
input:focus-visible, button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
code { font: .9em ui-monospace, monospace; color: var(--ink); }
.wrong { color: var(--wrong); font-weight: 600; }
.note { margin-top: 1.5rem; padding: .75rem .9rem; border-radius: 8px; font-size: .88rem; background: var(--note);
  color: var(--note-ink); }
.note code { color: inherit; font-weight: 600; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    **NO_STORE,
}
_TEST_DOUBLE = "This is a test double of an identity provider. Never type a real password here."


def sign_in(*, client_id: str, users: Iterable[User], action: str, username: str, failed: bool) -> ProviderAnswer:
    """A failed try is 403 and says neither which of the two was wrong nor the password that was given."""
    wrong = '<p class="wrong" role="alert">That username and password do not fit together.</p>' if failed else ""
    known = ", ".join(f"<code>{escape(user.username)}</code>" for user in users)
    passwords = " or ".join(f"<code>{escape(word)}</code>" for word in sorted({user.password for user in users}))
    return _page(
        "Sign in",
        f"""<p>to continue to <code>{escape(client_id)}</code></p>{wrong}
<form method="post" action="{escape(action)}">
<label>Username <input name="username" value="{escape(username)}" autocomplete="username" autocapitalize="none"
 spellcheck="false" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button type="submit">Sign in</button>
</form>
<p class="note">{_TEST_DOUBLE} Users: {known}; password {passwords}.</p>""",
        status=403 if failed else 200,
    )


def confirm_sign_out(username: str, *, action: str) -> ProviderAnswer:
    return _page(
        "Sign out?",
        f"""<p>You are signed in as <code>{escape(username)}</code>.</p>
<form method="post" action="{escape(action)}"><button type="submit" name="confirm" value="yes">Sign out</button>
<button type="submit" name="confirm" value="everywhere" class="quiet">Sign out on every device</button></form>
<p class="note">{_TEST_DOUBLE}</p>""",
    )


def signed_out(cookie: str) -> ProviderAnswer:
    answer = _page("Signed out", f'<p>You can close this page.</p><p class="note">{_TEST_DOUBLE}</p>')
    return ProviderAnswer(headers={**answer.headers, "set-cookie": cookie}, body=answer.body)


def refused(error: RefusedError) -> ProviderAnswer:
    """What must not be redirected is shown (RFC 6749 §4.1.2.1)."""
    body = f'<p class="wrong" role="alert">{escape(error.description)}</p><p><code>{escape(error.code)}</code></p>'
    return _page("This request cannot be answered", body, status=error.status)


def home(issuer: str) -> ProviderAnswer:
    discovery = f"{issuer}/.well-known/openid-configuration"
    return _page(
        "The identity provider of Session Lab",
        f'<p>It speaks OpenID Connect at <a href="{escape(discovery)}"><code>{escape(discovery)}</code></a>.</p>'
        f'<p class="note">{_TEST_DOUBLE}</p>',
    )


def _page(title: str, content: str, *, status: int = 200) -> ProviderAnswer:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>{content}</main></body></html>"
    )
    return ProviderAnswer(status=status, headers=_HEADERS, body=text.encode())
