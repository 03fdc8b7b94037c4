"""A browser without a window: keeps the provider's cookies, follows its redirects and fills in its sign-in form."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import msgspec

from session_core.errors import LoginRequest, ProviderError, ProviderUnreachableError
from session_core.vocabulary import Outcome
from session_core.wire import Transport, WireAnswer, WireFailure, WireRequest

REDIRECTS_MAX = 20
FORMS_MAX = 4

# Several Set-Cookie fields arrive joined by commas; the comma inside an Expires date is not followed by `name=`.
_BETWEEN_COOKIES = re.compile(r",\s*(?=[^\s;,=]+=)")
_SEE_OTHER = frozenset({301, 302, 303})
_SAME_METHOD = frozenset({307, 308})
_IN_TROUBLE = frozenset({429, *range(500, 600)})
_NOT_SENT = frozenset({"submit", "button", "reset", "image", "checkbox", "radio", "file"})


class Form(msgspec.Struct, kw_only=True):
    """A form of a page as it would be sent: `username_field` and `password_field` are left for a person to fill in."""

    action: str
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    username_field: str | None = None
    password_field: str | None = None

    def filled(self, username: str, password: str) -> bytes:
        typed = ((self.username_field, username), (self.password_field, password))
        return urlencode({**self.fields, **{name: value for name, value in typed if name is not None}}).encode()


def read_form(html: str) -> Form | None:
    """The page's first form that is posted."""
    reader = _FormReader()
    reader.feed(html)
    return reader.form


class HeadlessUserAgent:
    """What a user's browser is to the provider; one user each, because it keeps the cookies.

    It never opens the call-back address and never leaves the origin that it was sent to. A transport over a client that
    keeps cookies of its own would share them with every other agent on it.
    """

    def __init__(self, transport: Transport, *, timeout_s: float = 10.0) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._cookies: dict[str, str] = {}

    async def visit(self, url: str) -> str | None:
        """Open `url` without showing anything; the call-back URL it ended at, or None if it could not be reached.

        Raises ProviderError when the provider is in trouble or wants to show the user a page.
        """
        try:
            end = await self._open(WireRequest(method="GET", url=url), _callback_of(url))
        except ProviderUnreachableError as error:
            if error.outcome is Outcome.OFFLINE:
                return None
            raise
        if isinstance(end, _Page):
            raise ProviderError(f"The provider showed a page ({end.answer.status}) instead of coming back.")
        return end

    async def sign_in(self, login: LoginRequest, username: str, password: str) -> str:
        """Sign in as a user would, form by form; the call-back URL. Raises ProviderError when that does not end there."""
        callback = _callback_of(login.url)
        end = await self._open(WireRequest(method="GET", url=login.url), callback)
        typed = False
        for _ in range(FORMS_MAX):
            if isinstance(end, str):
                return end
            form = read_form(end.answer.body.decode("utf-8", "replace"))
            if form is None or (typed and form.password_field is not None):
                break
            typed = typed or form.password_field is not None
            end = await self._open(_posted(end.url, form, username, password), callback)
        raise ProviderError(
            "The provider refused this username and password."
            if typed
            else "The provider shows no form to sign in with; look at its address in a browser."
        )

    def forget(self) -> None:
        """Drop every cookie: the user's standing at the provider is gone, as in a private window."""
        self._cookies.clear()

    async def _open(self, request: WireRequest, callback: str) -> str | _Page:
        origin = urlsplit(request.url)[:2]
        for _ in range(REDIRECTS_MAX):
            answer = await self._fetch(request)
            location = answer.headers.get("location")
            if location is None or answer.status not in _SEE_OTHER | _SAME_METHOD:
                return _Page(request.url, answer)
            url = urljoin(request.url, location)
            if url.partition("?")[0] == callback:
                return url
            if urlsplit(url)[:2] != origin:
                raise ProviderError("The provider redirects to an address that is neither its own nor the call-back.")
            if answer.status in _SAME_METHOD:
                request = msgspec.structs.replace(request, url=url)
            else:
                request = WireRequest(method="GET", url=url)
        raise ProviderError(f"The provider redirects in circles; {REDIRECTS_MAX} redirects were followed.")

    async def _fetch(self, request: WireRequest) -> WireAnswer:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = (*request.headers, ("cookie", cookies)) if cookies else request.headers
        answer = await self._transport.send(
            msgspec.structs.replace(request, headers=headers, timeout_s=self._timeout_s)
        )
        if isinstance(answer, WireFailure):
            raise ProviderUnreachableError("The provider's sign-in page did not answer; check that it is running.")
        if answer.status in _IN_TROUBLE:
            raise ProviderUnreachableError(
                f"The provider's sign-in page is in trouble (status {answer.status}); try again later.",
                Outcome.THROTTLED if answer.status == 429 else Outcome.TRANSIENT,
            )
        self._keep_cookies(answer)
        return answer

    def _keep_cookies(self, answer: WireAnswer) -> None:
        for text in filter(None, _BETWEEN_COOKIES.split(answer.headers.get("set-cookie", ""))):
            name, _, value = text.partition(";")[0].strip().partition("=")
            if value:
                self._cookies[name] = value
            else:
                self._cookies.pop(name, None)


class _Page(msgspec.Struct, frozen=True):
    url: str
    answer: WireAnswer


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.form: Form | None = None
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and self.form is None and found.get("method", "").lower() == "post":
            self.form = Form(action=found.get("action", ""))
            self._inside = True
        elif tag == "input" and self._inside and self.form is not None and found.get("name"):
            self._read_input(self.form, found["name"], found.get("type", "text").lower(), found.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False

    def _read_input(self, form: Form, name: str, kind: str, value: str) -> None:
        if kind == "hidden":
            form.fields[name] = value
        elif kind == "password":
            form.password_field = name
        elif kind not in _NOT_SENT and form.username_field is None:
            form.username_field = name


def _callback_of(url: str) -> str:
    values = parse_qs(urlsplit(url).query).get("redirect_uri", [])
    if len(values) != 1:
        raise ProviderError("This is not an authorization request: it names no redirect_uri.")
    return values[0].partition("?")[0]


def _posted(page_url: str, form: Form, username: str, password: str) -> WireRequest:
    return WireRequest(
        method="POST",
        url=urljoin(page_url, form.action),
        headers=(("content-type", "application/x-www-form-urlencoded"),),
        body=form.filled(username, password),
    )
