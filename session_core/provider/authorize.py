"""The authorization endpoint: who may ask, who signs in, and the code they go home with."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from session_core.provider import pages
from session_core.provider.accounts import ProviderSession
from session_core.provider.answers import (
    ProviderAnswer,
    RefusedByRedirectError,
    RefusedError,
    redirect,
    with_query,
)
from session_core.provider.config import Client
from session_core.provider.granted import Grant
from session_core.provider.inbound import Inbound, cookie, read_query_and_form
from session_core.provider.parts import Parts

COOKIE_NAME = "idp_session"
SCOPES = ("openid", "profile", "email", "offline_access", "api")
PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_CODE_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request (RFC 6749 §4.1.1 with RFC 7636 and OpenID Connect Core §3.1.2.1)."""

    client: Client
    redirect_uri: str
    scope: str
    code_challenge: str
    prompts: frozenset[str]
    max_age_s: float | None
    carried: Mapping[str, str]
    nonce: str | None
    dpop_jkt: str | None

    def refused(self, code: str, description: str) -> RefusedByRedirectError:
        return RefusedByRedirectError(code, description, callback=self.redirect_uri, carried=self.carried)

    def accepts(self, session: ProviderSession, *, now: float) -> bool:
        """Whether the user's standing at the provider is enough without a new password."""
        if self.prompts & {"login", "select_account"}:
            return False
        return self.max_age_s is None or now < session.auth_time + self.max_age_s


def authorize(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    try:
        params = read_query_and_form(inbound)
        username, password = params.pop("username", None), params.pop("password", "")
        client, redirect_uri = _who_asks(parts, params)
    except RefusedError as error:
        return pages.refused(error)
    request = _read(parts, params, client, redirect_uri)
    if inbound.method == "POST" and username is not None:
        return _sign_in(parts, params, request, username, password, now)
    session = parts.accounts.session(cookie(inbound.headers, COOKIE_NAME), now=now)
    if session and request.accepts(session, now=now):
        return redirect(_home(parts, request, session, now=now))
    if "none" in request.prompts:
        raise request.refused("login_required", "The user has no session here that is fresh enough.")
    return _sign_in_page(parts, params, request)


def _who_asks(parts: Parts, params: Mapping[str, str]) -> tuple[Client, str]:
    """What is wrong here is shown, never redirected (RFC 6749 §4.1.2.1)."""
    client = parts.accounts.client(params.get("client_id"))
    if client is None:
        raise RefusedError("invalid_request", "This client_id is not registered here.")
    redirect_uri = params.get("redirect_uri")
    if redirect_uri not in client.redirect_uris:
        raise RefusedError("invalid_request", "This redirect_uri is not registered for the client, letter by letter.")
    return client, redirect_uri


def _read(parts: Parts, params: Mapping[str, str], client: Client, redirect_uri: str) -> AuthorizationRequest:
    carried = {"iss": parts.config.issuer, **({"state": params["state"]} if "state" in params else {})}
    max_age = params.get("max_age")
    request = AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        scope=" ".join(scope for scope in params.get("scope", "").split() if scope in SCOPES),
        code_challenge=params.get("code_challenge", ""),
        prompts=frozenset(params.get("prompt", "").split()),
        max_age_s=float(max_age) if max_age and max_age.isdecimal() else None,
        carried=carried,
        nonce=params.get("nonce"),
        dpop_jkt=params.get("dpop_jkt"),
    )
    for wrong, code, description in _faults_in(params, request):
        if wrong:
            raise request.refused(code, description)
    return request


def _faults_in(params: Mapping[str, str], request: AuthorizationRequest) -> tuple[tuple[bool, str, str], ...]:
    max_age = params.get("max_age", "0")
    return (
        ("request" in params, "request_not_supported", "Request objects are not supported."),
        ("request_uri" in params, "request_uri_not_supported", "Request objects are not supported."),
        (params.get("response_type") != "code", "unsupported_response_type", "Use response_type=code."),
        (params.get("response_mode", "query") != "query", "invalid_request", "Use response_mode=query."),
        (not request.scope, "invalid_scope", f"Ask for some of: {' '.join(SCOPES)}."),
        (params.get("code_challenge_method") != "S256", "invalid_request", "Use PKCE with S256."),
        (not _CODE_CHALLENGE.fullmatch(request.code_challenge), "invalid_request", "Use PKCE with S256."),
        (not request.prompts <= PROMPTS, "invalid_request", "This prompt is unknown."),
        ("none" in request.prompts and len(request.prompts) > 1, "invalid_request", "prompt=none stands alone."),
        (not (max_age.isascii() and max_age.isdecimal()), "invalid_request", "max_age is a number of seconds."),
        (not _THUMBPRINT.fullmatch(params.get("dpop_jkt", "x" * 43)), "invalid_request", "dpop_jkt is no thumbprint."),
    )


def _sign_in(
    parts: Parts, params: Mapping[str, str], request: AuthorizationRequest, username: str, password: str, now: float
) -> ProviderAnswer:
    user = parts.accounts.check_password(username, password)
    if user is None:
        parts.ledger.note("sign_in_failed", at=now, client_id=request.client.client_id)
        return _sign_in_page(parts, params, request, username=username, failed=True)
    value, session = parts.accounts.start_session(user, now=now)
    home = _home(parts, request, session, now=now)
    return redirect(home, cookie=set_cookie(parts, value, int(parts.config.session_ttl_s)))


def _home(parts: Parts, request: AuthorizationRequest, session: ProviderSession, *, now: float) -> str:
    grant = Grant(
        client_id=request.client.client_id,
        username=session.username,
        scope=request.scope,
        auth_time=session.auth_time,
        nonce=request.nonce,
        session_id=session.session_id,
        dpop_jkt=request.dpop_jkt,
    )
    code = parts.grants.issue_code(
        grant, redirect_uri=request.redirect_uri, code_challenge=request.code_challenge, now=now
    )
    return with_query(request.redirect_uri, {"code": code, **request.carried})


def _sign_in_page(
    parts: Parts,
    params: Mapping[str, str],
    request: AuthorizationRequest,
    *,
    username: str | None = None,
    failed: bool = False,
) -> ProviderAnswer:
    return pages.sign_in(
        client_id=request.client.client_id,
        users=parts.accounts.users(),
        action=action(parts, "authorize", params),
        username=username or params.get("login_hint", ""),
        failed=failed,
    )


def action(parts: Parts, endpoint: str, params: Mapping[str, str]) -> str:
    return with_query(f"{parts.path}/{endpoint}", params)


def set_cookie(parts: Parts, value: str, max_age_s: int) -> str:
    secure = "; Secure" if parts.config.issuer.startswith("https:") else ""
    return f"{COOKIE_NAME}={value}; Max-Age={max_age_s}; Path={parts.path or '/'}; HttpOnly; SameSite=Lax{secure}"
