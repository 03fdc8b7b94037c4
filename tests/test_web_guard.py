"""What stands before the routes: only pages of this app change something, and nobody signs in too often."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from lab_kit import ServedLab, served_lab
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from session_core.web.guard import own_pages_only
from session_core.web.routes import lab_routes
from session_core.web.running import SIGN_INS_AT_ONCE_MAX

SAFE = {"GET", "HEAD", "OPTIONS"}
# Routes that other machines post to; each knows its callers otherwise, and a browser's cookie means nothing to it.
FOR_MACHINES = {
    "/api/v1/events": "a key, or this very machine; origins are checked",
    "/auth/backchannel-logout": "the provider, by the signature of its token",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


def changing() -> list[tuple[str, str]]:
    """Every route of the app that changes something, by its methods."""
    routes = [route for route in lab_routes() if isinstance(route, Route) and route.path not in FOR_MACHINES]
    return [(method, route.path) for route in routes for method in sorted((route.methods or set()) - SAFE)]


def test_there_are_routes_that_change_something() -> None:
    """Or the next test would say nothing."""
    assert changing()


@pytest.mark.parametrize(("method", "path"), changing())
def test_no_other_site_changes_anything_by_a_visitors_cookie(served: ServedLab, method: str, path: str) -> None:
    """Not from a page of evil.example, not from another port of this machine, not from a sandboxed frame."""
    with served.browser() as browser:
        served.sign_in(browser)
        for told in (
            {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
            {"origin": "http://localhost:9999", "sec-fetch-site": "same-site"},
            {"origin": "null", "sec-fetch-site": "cross-site"},
            {},
        ):
            answer = browser.request(method, path, headers=told, follow_redirects=False)
            assert answer.status_code == 403, told
            assert "Nothing was changed." in answer.text


def test_a_request_from_elsewhere_never_reaches_the_endpoint(served: ServedLab) -> None:
    """403 and one clear page before anything is done."""
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
    assert asked == []
    assert served.lab.service.call(ask(served.url)).text == "changed"
    assert asked == [served.url]


@pytest.mark.parametrize(
    ("client", "told", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("192.168.1.4", {}, 403),
        ("203.0.113.9", {"host": "127.0.0.1"}, 403),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, 403),
    ],
)
def test_the_test_double_serves_only_its_own_machine(
    served: ServedLab, client: str, told: dict[str, str], status: int
) -> None:
    """Everybody knows its passwords, so an app that others can reach signs nobody in by it."""

    async def ask(method: str, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=lab_routes()), client=(client, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=served.url) as visitor:
            return await visitor.request(method, path, headers=told)

    assert served.lab.service.call(ask("GET", "/idp/jwks")).status_code == status
    refused = served.lab.service.call(ask("POST", "/idp/token"))
    assert ("Configure a real provider" in refused.text) is (status == 403)


@pytest.mark.parametrize("path", ["/auth/sign-in", "/auth/callback"])
def test_too_many_sign_ins_are_told_when_to_come_again(tmp_path: Path, path: str) -> None:
    """429, Retry-After and one page that says so; each of the two routes has an allowance of its own."""
    with (
        served_lab(tmp_path / "lab.duckdb", {"SESSION_LAB_SIGN_INS_PER_MINUTE": "1"}) as served,
        served.browser() as browser,
    ):
        answers = [browser.get(path, follow_redirects=False) for _ in range(SIGN_INS_AT_ONCE_MAX + 1)]
        assert 429 not in {answer.status_code for answer in answers[:-1]}
        assert answers[-1].status_code == 429
        assert 50 <= int(answers[-1].headers["retry-after"]) <= 60
        assert "Too many sign-ins were tried from your address. Try again in" in answers[-1].text
        assert answers[-1].headers["cache-control"] == "no-store"
        assert "set-cookie" not in answers[-1].headers
        other = {"/auth/sign-in": "/auth/callback", "/auth/callback": "/auth/sign-in"}[path]
        assert browser.get(other, follow_redirects=False).status_code != 429
