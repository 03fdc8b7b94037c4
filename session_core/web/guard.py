"""What stands before the routes that a browser's cookie opens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

from session_core.web.notice import notice
from session_core.web.origin import is_from_own_page, own_origins
from session_core.web.running import current

Endpoint = Callable[[Request], Awaitable[Response]]
ELSEWHERE = "This must be asked for from a page of this app. Nothing was changed."


def own_pages_only(endpoint: Endpoint) -> Endpoint:
    """For each route that changes something by the session cookie. Another's request gets 403 and changes nothing."""

    @wraps(endpoint)
    async def guarded(request: Request) -> Response:
        if not is_from_own_page(request.headers, own_origins(current().config.redirect_uri)):
            return notice(ELSEWHERE, title="Not from here", status=403)
        return await endpoint(request)

    return guarded
