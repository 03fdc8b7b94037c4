"""Two browsers of one user: what ends at the provider in one is seen, with its reason, in the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser_kit import PATIENCE_MS, sign_in
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def elsewhere(browser: Browser) -> Iterator[Page]:
    """The same user's other browser, in the dark."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def test_a_sign_out_at_the_provider_shows_in_the_other_browser(page: Page, elsewhere: Page, app_url: str) -> None:
    """Nobody touches the other browser: it says who ended its session, shows nothing else, and leads back in."""
    sign_in(page, f"{app_url}/health")
    sign_in(elsewhere, f"{app_url}/chat")

    page.goto(f"{app_url}/idp/end-session")
    page.get_by_role("button", name="Sign out on every device").click()
    expect(page.get_by_text("Signed out").first).to_be_visible()

    expect(elsewhere.get_by_role("heading", name="Signed out at the provider")).to_be_visible()
    expect(elsewhere.get_by_placeholder("Write to ATOM")).to_be_hidden()
    elsewhere.get_by_role("link", name="Sign in again").click()
    expect(elsewhere.get_by_label("Password")).to_be_visible()

    page.goto(f"{app_url}/health")
    expect(page.get_by_role("heading", name="Signed out at the provider")).to_be_visible()
