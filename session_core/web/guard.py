"""What stands before the routes that a browser's cookie opens."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

from session_core.web.notice import notice
from session_core.web.origin import is_from_own_page, own_origins
from session_core.web.running import current
from session_core.web.turnstile import sender_of

Endpoint = Callable[[Request], Awaitable[Response]]
TOO_MANY = "Too many sign-ins were tried from your address."
ELSEWHERE = "This must be asked for from a page of this app. Nothing was changed."


def own_pages_only(endpoint: Endpoint) -> Endpoint:
    """For each route that changes something by the session cookie. Another's request gets 403 and changes nothing."""

    @wraps(endpoint)
    async def guarded(request: Request) -> Response:
        if not is_from_own_page(request.headers, own_origins(current().config.redirect_uri)):
            return notice(ELSEWHERE, title="Not from here", status=403)
        return await endpoint(request)

    return guarded


def paced(endpoint: Endpoint) -> Endpoint:
    """For routes that anybody may ask and that cost something: each address only so often. Who comes too soon gets 429."""

    @wraps(endpoint)
    async def guarded(request: Request) -> Response:
        lab, sender = current(), sender_of(request.client.host) if request.client else ""
        wait_s = math.ceil(lab.turnstile.wait_s(f"{endpoint.__name__} {sender}", lab.clock.boot()))
        if not wait_s:
            return await endpoint(request)
        again = "in a second" if wait_s == 1 else f"in {wait_s} seconds"
        response = notice(f"{TOO_MANY} Try again {again}.", title="Too many sign-ins", status=429)
        response.headers["retry-after"] = str(wait_s)
        return response

    return guarded
