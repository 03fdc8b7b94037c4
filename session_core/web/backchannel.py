"""The provider says that somebody is signed out (OpenID Connect Back-Channel Logout 1.0)."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from session_core.errors import SessionCoreError, TokenVerificationError
from session_core.jwt_checks import read_unverified
from session_core.session_store import SessionStoreError
from session_core.web.running import current

BODY_BYTES_MAX = 1 << 17
FORM_TYPE = "application/x-www-form-urlencoded"
NO_STORE = {"cache-control": "no-store"}


async def sign_out_from_provider(request: Request) -> Response:
    """§2.5 to §2.8: 200 also where nobody was signed in, 400 where the token or the sign-out failed.

    No cookie comes with it and no page can forge it: the token's signature is all that counts.
    """
    lab = current()
    token = await _logout_token(request)
    if token is None:
        return _refused("The body must be a form with one logout_token.")
    try:
        provider = lab.service.provider_of(str((read_unverified(token) or {}).get("iss")))
        if provider is None:
            raise TokenVerificationError("A logout token was made by nobody who signs people in here.")
        claims = await lab.service.oauth_of(provider).verify_logout_token(token)
        if await lab.logouts.know(claims, now=lab.clock.boot()):
            raise TokenVerificationError("A logout token was used before; it is not accepted again.")
        await lab.service.end_sessions_at_provider(sub=claims.sub, sid=claims.sid, provider=provider)
        await lab.logouts.add(claims, now=lab.clock.boot())
    except SessionStoreError:
        return _refused("Not every session could be ended; send a new token.")
    except SessionCoreError as error:
        return _refused(str(error))
    return Response(headers=NO_STORE)


async def _logout_token(request: Request) -> str | None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    try:
        tokens = parse_qs(body.decode(), max_num_fields=16).get("logout_token", [])
    except ValueError:
        return None
    return tokens[0] if len(tokens) == 1 else None


def _refused(why: str) -> Response:
    return JSONResponse({"error": "invalid_request", "error_description": why}, 400, NO_STORE)
