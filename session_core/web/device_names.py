"""What a person calls the device they sign in on: two words from what its browser says of itself, and no more is kept."""

from __future__ import annotations

from starlette.requests import Request

from session_core.session_store import SeenOn

# The first that is found: what imitates another says its own name as well.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python-", "A Python program"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)
UNKNOWN = "Unknown browser"


def device_name(user_agent: str) -> str:
    """Such as "Firefox on Linux"."""
    browser = _first(_BROWSERS, user_agent) or UNKNOWN
    system = _first(_SYSTEMS, user_agent)
    return browser if system is None else f"{browser} on {system}"


def seen_on(request: Request) -> SeenOn:
    address = "" if request.client is None else request.client.host
    return SeenOn(device=device_name(request.headers.get("user-agent", "")), address=address)


def _first(names: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for mark, name in names if mark in text), None)
