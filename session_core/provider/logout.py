"""The way out: RP-Initiated Logout for the browser, Back-Channel Logout for the clients that a session reaches."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from session_core.provider import pages
from session_core.provider.accounts import ProviderSession
from session_core.provider.answers import ProviderAnswer, RefusedError, redirect, with_query
from session_core.provider.authorize import COOKIE_NAME, action, set_cookie
from session_core.provider.inbound import Inbound, cookie, read_form, read_query_and_form
from session_core.provider.parts import LogoutNotice, Parts
from session_core.secrecy import Discreet

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TOKEN_S = 120
EVERYWHERE = "everywhere"


class _Exit(Discreet, frozen=True, kw_only=True):
    """A checked request to sign out. `confirmed` is what the user pressed on our own page, if anything."""

    carried: Mapping[str, str]
    subject: str | None
    back: str | None
    confirmed: str | None


def end_session(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    """RP-Initiated Logout §2: whom no ID token names is asked, so that no link can sign anybody out."""
    try:
        wish = _read(parts, inbound)
    except RefusedError as error:
        return pages.refused(error)
    value = cookie(inbound.headers, COOKIE_NAME) or ""
    session = parts.accounts.session(value, now=now)
    if session and wish.subject != session.username and wish.confirmed is None:
        return pages.confirm_sign_out(session.username, action=action(parts, "end-session", wish.carried))
    if session and wish.confirmed == EVERYWHERE:
        end_sessions_of(parts, session.username, now=now)
    elif session:
        parts.accounts.end_session(value, now=now)
        _tell(parts, _clients(parts, session), username=session.username, session_id=session.session_id, now=now)
        parts.grants.revoke_session(session.session_id, now=now)
    gone = set_cookie(parts, "", 0)
    return redirect(wish.back, cookie=gone) if wish.back else pages.signed_out(gone)


def end_sessions_of(parts: Parts, username: str, *, now: float) -> None:
    """Every session of a user ends; a token without `sid` says so to clients (Back-Channel Logout §2.4)."""
    granted = [grant for grant in parts.grants.granted() if grant.username == username]
    _tell(parts, {grant.client_id for grant in granted}, username=username, session_id=None, now=now)
    parts.accounts.end_sessions_of(username, now=now)
    for session_id in sorted({grant.session_id for grant in granted if grant.session_id}):
        parts.grants.revoke_session(session_id, now=now)


def _clients(parts: Parts, session: ProviderSession) -> set[str]:
    return {grant.client_id for grant in parts.grants.granted() if grant.session_id == session.session_id}


def _tell(parts: Parts, client_ids: Iterable[str], *, username: str, session_id: str | None, now: float) -> None:
    for client_id in sorted(client_ids):
        client = parts.accounts.client(client_id)
        if client is None or client.backchannel_logout_uri is None:
            continue
        claims = {
            "iss": parts.config.issuer,
            "aud": client_id,
            "iat": int(now),
            "exp": int(now) + LOGOUT_TOKEN_S,
            "jti": base64.urlsafe_b64encode(parts.entropy(18)).decode(),
            "events": {LOGOUT_EVENT: {}},
            "sub": username,
            **({"sid": session_id} if session_id else {}),
        }
        token = parts.ledger.keep_secret(parts.keys.sign(claims, typ="logout+jwt"))
        parts.notices.append(LogoutNotice(uri=client.backchannel_logout_uri, client_id=client_id, token=token))


def _read(parts: Parts, inbound: Inbound) -> _Exit:
    params = read_query_and_form(inbound)
    hint = _read_hint(parts, params)
    client_id = hint.get("aud") or params.get("client_id")
    # An address ends up in histories and logs, so the ID token goes no further than this.
    carried = {name: value for name, value in params.items() if name not in {"id_token_hint", "confirm"}}
    return _Exit(
        carried=carried | ({"client_id": client_id} if client_id else {}),
        subject=hint.get("sub"),
        back=_way_back(parts, params, client_id),
        confirmed=read_form(inbound).get("confirm") if inbound.method == "POST" else None,
    )


def _read_hint(parts: Parts, params: Mapping[str, str]) -> Mapping[str, str]:
    hint = params.get("id_token_hint")
    claims = parts.keys.own_claims(hint) if hint else {}
    if claims is None:
        raise RefusedError("invalid_request", "The id_token_hint was not issued here.")
    if "client_id" in params and claims.get("aud", params["client_id"]) != params["client_id"]:
        raise RefusedError("invalid_request", "The id_token_hint was issued to another client.")
    return claims


def _way_back(parts: Parts, params: Mapping[str, str], client_id: str | None) -> str | None:
    uri = params.get("post_logout_redirect_uri")
    if uri is None:
        return None
    client = parts.accounts.client(client_id)
    if client is None or uri not in client.post_logout_redirect_uris:
        raise RefusedError("invalid_request", "This post_logout_redirect_uri is not registered for the client.")
    return with_query(uri, {"state": params["state"]}) if "state" in params else uri
