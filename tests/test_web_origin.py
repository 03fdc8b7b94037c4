"""Only pages of this app change something with a browser's cookie."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from session_core.web.origin import is_from_own_page, own_origins

OWN = own_origins("https://lab.example/auth/callback")


@pytest.mark.parametrize(
    ("sent", "believed"),
    [
        ({"sec-fetch-site": "same-origin", "origin": "https://lab.example"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://lab.example"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "http://lab.example"}, False),
        ({"origin": "https://lab.example:8443"}, False),
        ({"origin": "https://lab.example.evil.example"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.example"}, False),
        ({"sec-fetch-site": "same-site", "origin": "https://lab.example"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://lab.example"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "null"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": ""}, False),
    ],
)
def test_a_change_must_come_from_a_page_of_ours(sent: dict[str, str], *, believed: bool) -> None:
    """Both headers must agree where both are there; one that says nothing or another site does not."""
    assert is_from_own_page(Headers(sent), OWN) is believed
