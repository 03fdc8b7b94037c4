"""Sign-in over real HTTP, with the embedded provider; and what nonsense gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from lab_kit import ServedLab, served_lab

from session_core.events import FaultOrdered
from session_core.store import EventStore
from session_core.vocabulary import State
from session_core.web.faults import OFFERS, Provocation
from session_core.web.sign_in import Seat


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        yield client


def seat_of(served: ServedLab, browser: httpx.Client) -> Seat | None:
    return served.lab.seats.find(browser.cookies.get(served.lab.cookies.session))


def test_a_sign_in_ends_at_the_wanted_page_with_a_seat(served: ServedLab, browser: httpx.Client) -> None:
    """Code and PKCE over HTTP; the browser gets one opaque cookie, and the user has a name."""
    last = served.sign_in(browser, "/chat?range=1+h")
    seat = seat_of(served, browser)
    assert last.url.path == "/chat"
    assert last.url.query == b"range=1+h"
    assert seat is not None
    assert seat.user.shown == "Ada Lovelace"
    assert seat.user.email == "ada@example.org"


def test_the_session_cookie_is_out_of_reach_of_scripts(served: ServedLab, browser: httpx.Client) -> None:
    """HttpOnly and SameSite=Lax, and no token in any of it."""
    callback = next(answer for answer in served.sign_in(browser).history if answer.url.path.endswith("/auth/callback"))
    set_cookie = callback.headers["set-cookie"]
    assert "HttpOnly" in set_cookie
    assert "samesite=lax" in set_cookie.lower()
    assert callback.headers["cache-control"] == "no-store"
    assert not [secret for secret in served.lab.provider.issued_secrets() if secret in set_cookie]


def test_signing_in_again_renews_the_cookie_and_ends_the_session_before(
    served: ServedLab, browser: httpx.Client
) -> None:
    """A cookie that was known before a sign-in opens nothing after it."""
    served.sign_in(browser)
    first, cookie = seat_of(served, browser), browser.cookies[served.lab.cookies.session]
    browser.get("/auth/sign-in")
    second = seat_of(served, browser)
    assert first is not None
    assert second is not None
    assert second.session_id != first.session_id
    assert served.lab.seats.find(cookie) is None
    assert served.lab.service.get(first.session_id) is None


@pytest.mark.parametrize(
    "place",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "", "/x\ny", "/" * 9000],
)
def test_only_a_path_of_ours_is_returned_to(browser: httpx.Client, place: str) -> None:
    """An open redirect would lend our name to anybody."""
    answer = browser.get("/auth/sign-in", params={"return_to": place}, follow_redirects=False)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    "query",
    ["", "code=x&state=y", "state=%00", "error=access_denied&state=<script>", "state=a&state=b", "code=" + "x" * 5000],
)
def test_a_call_back_nobody_started_is_refused_calmly(browser: httpx.Client, query: str) -> None:
    """One small page with a way back; no traceback, and nothing of the request in it."""
    answer = browser.get(f"/auth/callback?{query}")
    assert answer.status_code == 400
    assert "Sign-in did not work" in answer.text
    assert "<script>" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_refusal_by_the_provider_is_said_in_words(served: ServedLab, browser: httpx.Client) -> None:
    """An error that belongs to a sign-in of this browser names the provider's known error and no more."""
    page = browser.get("/auth/sign-in", follow_redirects=False)
    state = httpx.URL(page.headers["location"]).params["state"]
    issuer = served.lab.config.issuer
    said = {"state": state, "iss": issuer, "error": "access_denied", "error_description": "<img src=x>"}
    answer = browser.get("/auth/callback", params=said)
    assert answer.status_code == 400
    assert "refused the sign-in" in answer.text
    assert "<img" not in answer.text


def test_localhost_is_sent_home_first(served: ServedLab, browser: httpx.Client) -> None:
    """The provider returns to 127.0.0.1, where a cookie of localhost would be missed."""
    answer = browser.get("/auth/sign-in?return_to=/chat", headers={"host": "localhost:9"}, follow_redirects=False)
    assert answer.headers["location"] == f"{served.url}/auth/sign-in?return_to=/chat"


def test_a_foreign_host_is_not_redirected_to_itself(browser: httpx.Client) -> None:
    """Behind a proxy the name may differ; the sign-in then goes its way."""
    answer = browser.get("/auth/sign-in", headers={"host": "evil.example"}, follow_redirects=False)
    assert "/idp/authorize" in answer.headers["location"]


@pytest.mark.parametrize("path", ["/auth/sign-in", "/auth/callback"])
def test_our_routes_are_for_reading(browser: httpx.Client, path: str) -> None:
    """Nothing changes state by a POST from elsewhere."""
    assert browser.post(path).status_code == 405


def test_leaving_ends_the_session_and_frees_the_seat(served: ServedLab, browser: httpx.Client) -> None:
    """After a sign-out the cookie the browser still holds opens nothing."""
    served.sign_in(browser)
    seat = seat_of(served, browser)
    assert seat is not None
    served.lab.service.call(served.lab.leave(seat.session_id))
    assert seat_of(served, browser) is None
    assert served.lab.service.get(seat.session_id) is None


def test_an_ordered_fault_is_met_and_logged(served: ServedLab, browser: httpx.Client) -> None:
    """503 and a forced refresh: the session degrades, says so, and is whole again when the provider is back."""
    served.sign_in(browser)
    lab, seat = served.lab, seat_of(served, browser)
    assert seat is not None
    session = lab.service.get(seat.session_id)
    assert session is not None

    async def break_and_mend() -> tuple[State, State]:
        lab.order(OFFERS["unavailable"], session)
        await lab.provoke(Provocation.REFRESH, session)
        broken = session.state
        lab.provider.faults.clear()
        await lab.provoke(Provocation.REFRESH, session)
        await lab.provoke(Provocation.CALL, session)
        return broken, session.state

    assert lab.service.call(break_and_mend()) == (State.DEGRADED, State.ACTIVE)
    assert lab.recorder.flush()
    kinds = (
        lab.store.opened()
        .read("SELECT kind FROM events WHERE session_id = $it", {"it": session.session_id})["kind"]
        .to_pylist()
    )
    assert FaultOrdered.__name__ in kinds
    assert "RefreshFailed" in kinds


def test_a_provider_that_is_down_ends_a_sign_in_with_one_sentence(tmp_path: Path) -> None:
    """Unreachable at start: the app is there, and sign-in says what is wrong."""
    external = {
        "SESSION_CORE_ISSUER": "http://127.0.0.1:9",
        "SESSION_CORE_CLIENT_ID": "lab",
        "SESSION_CORE_ALLOW_INSECURE_HTTP": "true",
    }
    with served_lab(tmp_path / "lab.duckdb", external) as lab, lab.browser() as browser:
        answer = browser.get("/auth/sign-in")
        assert answer.status_code == 502
        assert "Traceback" not in answer.text
        assert browser.get("/idp/authorize").status_code == 404


def test_a_held_store_does_not_keep_the_app_from_starting(tmp_path: Path) -> None:
    """A file of another kind: sessions work, events wait on disk, and one sentence says why."""
    path = tmp_path / "lab.duckdb"
    path.write_bytes(b"not a database, but somebody's letters" * 500)
    with served_lab(path) as lab, lab.browser() as browser:
        lab.sign_in(browser)
        trouble = lab.lab.trouble()
        assert trouble is not None
        assert str(path) in trouble
        assert seat_of(lab, browser) is not None
    assert path.read_bytes().startswith(b"not a database")
    assert list(tmp_path.glob("*.spill-*.jsonl"))


def test_what_the_lab_did_is_in_the_store_after_it_stopped(tmp_path: Path) -> None:
    """The last event of a session says that it stopped with its process."""
    path = tmp_path / "lab.duckdb"
    with served_lab(path) as lab, lab.browser() as browser:
        lab.sign_in(browser)
    store = EventStore(path)
    ends = store.read("SELECT reason FROM events WHERE kind = 'SessionEnded'")["reason"].to_pylist()
    store.close()
    assert ends == ["stopped"]
