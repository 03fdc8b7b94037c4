"""Who asks for a change: any site can make a browser send a request, so only our own pages may send those that matter."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from session_core.provider_metadata import is_loopback


def is_from_own_page(headers: Headers, own: Collection[str]) -> bool:
    """Whether the browser vouches for it. A page cannot set these two headers; what sends neither is not believed."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    # Under a referrer policy of "no-referrer", browsers call the origin of a form "null".
    return origin in own or (site is not None and origin in (None, "null"))


def own_origins(home: str) -> frozenset[str]:
    """The origin of the app's own pages; on this machine it has several names."""
    parts = urlsplit(home)
    if not is_loopback(parts.hostname or ""):
        return frozenset({f"{parts.scheme}://{parts.netloc}"})
    port = f":{parts.port}" if parts.port else ""
    return frozenset(f"{parts.scheme}://{host}{port}" for host in ("127.0.0.1", "localhost", "[::1]"))
