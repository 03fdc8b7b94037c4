"""The app as its users have it: started from a shell, in a real browser."""

from __future__ import annotations

import httpx
import pytest
from browser_kit import sign_in, tell_who
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def test_a_session_is_broken_on_purpose_and_recovers(page: Page, app_url: str) -> None:
    """Sign in, see health, force a refresh, order a 503, see DEGRADED and the recovery, and sign out."""
    page.goto(f"{app_url}/health")
    page.get_by_test_id("stMain").get_by_role("link", name="Sign in").click()
    tell_who(page)
    answer = page.locator(".st-key-answer")
    expect(answer.get_by_text("Your session is in full health.")).to_be_visible()

    page.get_by_role("button", name="Force refresh").click()
    expect(page.get_by_text("The token was refreshed.", exact=True)).to_be_visible()

    page.get_by_role("button", name="503 for 20 s").click()
    expect(answer.get_by_text("● degraded")).to_be_visible()
    expect(page.get_by_text("A tester ordered the fault 503 for 20 s").first).to_be_visible()
    expect(answer.get_by_text("lowest part is failed refreshes")).to_be_visible()

    page.get_by_role("button", name="Clear faults").click()
    expect(page.get_by_text("The provider behaves again.")).to_be_visible()
    page.get_by_role("button", name="Force refresh").click()
    expect(answer.get_by_text("● active")).to_be_visible()
    expect(answer.get_by_text("100", exact=False).first).to_be_visible()

    page.get_by_role("button", name="Call the API now").click()
    expect(page.get_by_text("The API answered with status 200.")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Sign in to see how your session is kept alive")).to_be_visible()


def test_a_chat_streams_and_the_overview_counts_it(page: Page, app_url: str) -> None:
    """The answer comes, the way back after sign-in is kept, and what happened is on the overview."""
    sign_in(page, f"{app_url}/chat")
    box = page.get_by_placeholder("Write to ATOM")
    box.fill("Good morning")
    box.press("Enter")
    answer = page.get_by_test_id("stChatMessage").nth(1)
    expect(answer).to_contain_text("Good morning")

    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text("Sessions are good: 100 %")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.get_by_text("Table", exact=True).first.click()
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()


def test_streamlits_own_answers_are_locked_down_too(app_url: str) -> None:
    """Its page, its files and what it says of itself; and a page of another site cannot open its websocket."""
    with httpx.Client(base_url=app_url, trust_env=False) as client:
        for path in ("/", "/chat", "/favicon.png", "/_stcore/health", "/_stcore/host-config", "/nowhere.js"):
            headers = client.get(path).headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff", path
        upgrade = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "sec-websocket-version": "13",
        }
        elsewhere = {**upgrade, "origin": "http://localhost:9999"}
        assert client.get("/_stcore/stream", headers=elsewhere).status_code == 403


def test_tokens_never_reach_the_browser(page: Page, app_url: str) -> None:
    """Scripts of the page see no cookie of ours and nothing that looks like a token."""
    sign_in(page, f"{app_url}/health")
    seen = page.evaluate(
        "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, document.body.innerHTML])"
    )
    assert "session_lab_" not in page.evaluate("document.cookie")
    assert "eyJ" not in seen
