"""Only pages of this app change something with a browser's cookie."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from lab_kit import ServedLab, served_lab
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from session_core.web.guard import own_pages_only
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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


def test_a_request_from_elsewhere_is_turned_away_before_it_does_anything(served: ServedLab) -> None:
    """403 and one clear page; the endpoint behind is never asked."""
    asked: list[str] = []

    @own_pages_only
    async def change(request: Request) -> Response:
        asked.append(request.headers.get("origin", ""))
        return PlainTextResponse("changed")

    async def ask(origin: str) -> httpx.Response:
        app = Starlette(routes=[Route("/change", change, methods=["POST"])])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=served.url) as client:
            return await client.post("/change", headers={"origin": origin})

    refused = served.lab.service.call(ask("https://evil.example"))
    assert refused.status_code == 403
    assert "Nothing was changed." in refused.text
    assert asked == []
    assert served.lab.service.call(ask(served.url)).text == "changed"
    assert asked == [served.url]
