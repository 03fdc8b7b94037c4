"""A device is named as its user would name it, and nothing else of what its browser says is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from session_core.session_store import SeenOn
from session_core.web.device_names import device_name, seen_on

MOZILLA = "Mozilla/5.0"
KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"{MOZILLA} (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox on Linux"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64) {KIT} Chrome/131.0.0.0 Safari/537.36 Edg/131.0", "Edge on Windows"),
        (f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) {KIT} Version/18.1 Safari/605.1.15", "Safari on Mac"),
        (f"{MOZILLA} (Linux; Android 10; K) {KIT} Chrome/131.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{MOZILLA} (iPhone; CPU iPhone OS 18_1 like Mac OS X) {KIT} CriOS/131.0 Safari/604.1", "Chrome on iPhone"),
        (f"{MOZILLA} (X11; CrOS x86_64 14541.0.0) {KIT} Chrome/131.0.0.0 Safari/537.36", "Chrome on ChromeOS"),
        ("python-httpx/0.28.1", "A Python program"),
        ("", "Unknown browser"),
    ],
)
def test_a_device_has_a_short_name(user_agent: str, name: str) -> None:
    """Its browser and its system; what imitates another is not taken for it."""
    assert device_name(user_agent) == name


@given(st.text())
def test_no_browser_chooses_its_own_words(user_agent: str) -> None:
    """A name is one of ours, however long or strange what is said."""
    assert set(device_name(user_agent).replace(" on ", " ").split()) & set(user_agent.split()) <= {
        "A", "Python", "program", "Unknown", "browser", "Edge", "Opera", "Samsung", "Internet", "Firefox", "Chrome",
        "Safari", "curl", "iPhone", "iPad", "Android", "ChromeOS", "Windows", "Mac", "Linux",
    }  # fmt: skip


def test_where_from_is_the_address_of_the_connection() -> None:
    """Headers that anybody can write do not change it."""
    headers = [(b"user-agent", b"curl/8.5.0"), (b"x-forwarded-for", b"1.2.3.4")]
    scope = {"type": "http", "headers": headers, "client": ("192.0.2.7", 4711)}
    assert seen_on(Request(scope)) == SeenOn("curl", "192.0.2.7")
    assert seen_on(Request({"type": "http", "headers": []})) == SeenOn("Unknown browser", "")
