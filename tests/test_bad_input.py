"""What goes wrong around a sign-in ends in one clear page or sentence, and in a safe state; over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from lab_kit import ServedLab, served_lab

from session_core.provider import Fault, FaultKind

OLD_PAGE = "This sign-in was not started in this browser, was used already, or took longer than 10 minutes."


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        yield client


def begin(browser: httpx.Client, return_to: str = "/chat") -> str:
    """To the provider's page and through it: the address of the call-back that it sends the browser to."""
    page = browser.get("/auth/sign-in", params={"return_to": return_to}, follow_redirects=True)
    if page.url.path != "/idp/authorize":
        return str(page.history[-2].url) if len(page.history) > 1 else str(page.url)
    answer = browser.post(page.url, data={"username": "ada", "password": "demo"}, follow_redirects=False)
    return answer.headers["location"]


def standing(browser: httpx.Client) -> str:
    """How the app sees this browser."""
    answer = browser.get("/auth/activity")
    assert answer.status_code == 200
    return str(answer.json()["how"])


def is_one_clear_page(answer: httpx.Response, sentence: str, status: int = 400) -> bool:
    """With a way back, and nothing of what was asked or of what went wrong inside."""
    return (
        answer.status_code == status
        and sentence in answer.text
        and "Try again" in answer.text
        and "Traceback" not in answer.text
        and "set-cookie" not in answer.headers
    )


@pytest.mark.parametrize("state", [None, "", "wrong", "%00", "é" * 50])
def test_a_call_back_with_a_wrong_or_missing_state_changes_nothing(
    served: ServedLab, browser: httpx.Client, state: str | None
) -> None:
    """No session is made, the code is not spent, and the sign-in that was begun can still be finished."""
    url = httpx.URL(begin(browser))
    params = url.params.remove("state") if state is None else url.params.set("state", state)
    answer = browser.get(url.copy_with(params=params), follow_redirects=False)
    assert is_one_clear_page(answer, OLD_PAGE)
    assert standing(browser) == "nobody"
    assert browser.get(url, follow_redirects=False).headers["location"] == "/chat"
    assert standing(browser) == "open"


def test_a_call_back_that_comes_too_late_makes_no_session(
    served: ServedLab, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from memory nor from the disk, where sign-ins under way outlive a restart."""
    monkeypatch.setattr(served.lab.pending, "_ttl_s", 0.0)
    assert is_one_clear_page(browser.get(begin(browser), follow_redirects=False), OLD_PAGE)
    assert standing(browser) == "nobody"


def test_a_call_back_that_is_replayed_changes_nothing(served: ServedLab, browser: httpx.Client) -> None:
    """By the same browser, which stays signed in, and by one that found the address in a history."""
    url = begin(browser)
    browser.get(url, follow_redirects=False)
    assert is_one_clear_page(browser.get(url, follow_redirects=False), OLD_PAGE)
    assert standing(browser) == "open"
    with served.browser() as thief:
        assert is_one_clear_page(thief.get(url, follow_redirects=False), OLD_PAGE)
        assert standing(thief) == "nobody"


def test_a_code_used_twice_opens_nothing_and_ends_what_it_opened(served: ServedLab, browser: httpx.Client) -> None:
    """Brought along to a sign-in of the thief's own: the provider refuses it and takes back its tokens (RFC 6749 §4.1.2)."""
    stolen = begin(browser)
    browser.get(stolen, follow_redirects=False)
    assert served.lab.provider is not None
    families = served.lab.provider.standing_families(now=served.lab.clock.wall())
    with served.browser() as thief:
        page = thief.get("/auth/sign-in", follow_redirects=False)
        state = httpx.URL(page.headers["location"]).params["state"]
        answer = thief.get(httpx.URL(stolen).copy_set_param("state", state), follow_redirects=False)
        assert is_one_clear_page(answer, "Sign-in did not work")
        assert standing(thief) == "nobody"
    assert served.lab.provider.standing_families(now=served.lab.clock.wall()) == families - 1


def test_a_stolen_code_is_worth_nothing_without_its_verifier(served: ServedLab, browser: httpx.Client) -> None:
    """Before it was used: the thief's own sign-in has another verifier (RFC 7636), so no session comes of it."""
    stolen = begin(browser)
    with served.browser() as thief:
        page = thief.get("/auth/sign-in", follow_redirects=False)
        state = httpx.URL(page.headers["location"]).params["state"]
        answer = thief.get(httpx.URL(stolen).copy_set_param("state", state), follow_redirects=False)
        assert is_one_clear_page(answer, "Sign-in did not work")
        assert standing(thief) == "nobody"


@pytest.mark.parametrize("error", ["access_denied", "server_error", "login_required", "temporarily_unavailable", "<b>"])
def test_an_error_of_the_provider_is_one_page(served: ServedLab, browser: httpx.Client, error: str) -> None:
    """Whatever it is called; the sign-in is over, and the next one works."""
    page = browser.get("/auth/sign-in", follow_redirects=False)
    state = httpx.URL(page.headers["location"]).params["state"]
    said = {"state": state, "iss": served.lab.config.issuer, "error": error, "error_description": "<img src=x>"}
    answer = browser.get("/auth/callback", params=said, follow_redirects=False)
    assert is_one_clear_page(answer, "Sign-in did not work")
    assert "<img" not in answer.text
    assert "<b>" not in answer.text
    browser.get(begin(browser), follow_redirects=False)
    assert standing(browser) == "open"


@pytest.mark.parametrize("change", ["forged", "cut short", "one letter", "longer", "another case", "empty", "no text"])
def test_a_cookie_that_is_not_whole_is_nobodys(served: ServedLab, browser: httpx.Client, change: str) -> None:
    """It opens nothing, and whoever sent it can sign in as if there were none."""
    browser.get(begin(browser), follow_redirects=False)
    name = served.lab.cookies.session
    cookie = browser.cookies[name]
    wrong = {
        "forged": "A" * len(cookie),
        "cut short": cookie[:-1],
        "one letter": ("B" if cookie[0] == "A" else "A") + cookie[1:],
        "longer": f"{cookie}A",
        "another case": cookie.swapcase(),
        "empty": "",
        "no text": "\xff\xfe",
    }[change]
    with served.browser() as other:
        told = {"cookie": f"{name}={wrong}".encode("latin-1")}
        assert other.get("/auth/activity", headers=told).json()["how"] == "nobody"
        assert other.get("/auth/sign-in", headers=told, follow_redirects=False).status_code == 303
    assert standing(browser) == "open"


def test_a_cookie_whose_session_ended_opens_nothing(served: ServedLab, browser: httpx.Client) -> None:
    """A copy of it, kept by somebody: the session is gone from memory and from the disk."""
    browser.get(begin(browser), follow_redirects=False)
    seat = served.lab.seats.find(browser.cookies[served.lab.cookies.session])
    assert seat is not None
    served.lab.service.call(served.lab.leave(seat.session_id))
    assert standing(browser) in {"nobody", "ended"}
    assert served.lab.service.call(served.lab.recall(browser.cookies[served.lab.cookies.session])) is None


def test_keys_that_change_in_the_middle_of_a_sign_in_cost_nobody_theirs(
    served: ServedLab, browser: httpx.Client
) -> None:
    """The ID token is signed by a key that was not there a moment ago: it is fetched, once."""
    url = begin(browser)
    assert served.lab.provider is not None
    served.lab.provider.faults.order(Fault(kind=FaultKind.ROTATE_KEYS, times=1), served.lab.clock.wall())
    answer = browser.get(url, follow_redirects=False)
    assert answer.headers["location"] == "/chat"
    assert standing(browser) == "open"


def test_no_call_back_says_where_it_sends_the_browser_by_itself(served: ServedLab, browser: httpx.Client) -> None:
    """The place to return to is the one that was given when the sign-in began, whatever the call-back adds."""
    url = httpx.URL(begin(browser)).copy_merge_params({"return_to": "https://evil.example/"})
    assert browser.get(url, follow_redirects=False).headers["location"] == "/chat"
    assert parse_qs(urlsplit(str(url)).query)["return_to"] == ["https://evil.example/"]
