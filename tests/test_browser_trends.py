"""UX trends in a real browser: a link shows the same view, and a point of the chart leads to the sessions behind it."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from test_browser import browser, page
from test_browser_sessions import filled_url

from session_core.clock import SystemClock
from session_core.dashboard.view import rfc3339

__all__ = ["browser", "filled_url", "page"]  # the fixtures of the other browser tests

pytestmark = pytest.mark.browser


def test_a_link_says_what_the_score_is_told_apart_by(page: Page, filled_url: str) -> None:
    """The answer comes first, and the control and the address agree."""
    page.goto(f"{filled_url}/trends?range=1h&by=Device")
    expect(page.get_by_text(re.compile(r"^The score is \d+"))).to_be_visible()
    expect(page.get_by_role("heading", name="Score by device")).to_be_visible()
    page.get_by_role("radio", name="Policy").click()
    expect(page.get_by_role("heading", name="Score by policy")).to_be_visible()
    expect(page).to_have_url(re.compile("by=Policy"))


def test_a_point_opens_its_sessions(page: Page, filled_url: str) -> None:
    """In the time of its bucket, with the filters that were set."""
    # A live chart is drawn anew now and then, and a click that falls between is lost; the past stands still.
    now_s = SystemClock().wall()
    page.goto(f"{filled_url}/trends?from={rfc3339(now_s // 60 * 60 - 3_600)}&until={rfc3339(now_s // 60 * 60)}")
    line = page.locator(".st-key-card_ux_score .scatterlayer .js-line").first
    link = page.get_by_role("link", name="Open the sessions behind this point")
    expect(line).to_be_attached()
    for _ in range(10):
        box = line.bounding_box()
        assert box is not None
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(middle[0] - 5, middle[1])
        page.mouse.move(*middle)
        with suppress(PlaywrightTimeoutError):
            page.locator(".st-key-card_ux_score .hoverlayer > *").first.wait_for(state="attached", timeout=3_000)
            page.mouse.click(*middle)
            link.wait_for(timeout=5_000)
            break
    link.click()
    expect(page).to_have_url(re.compile(r"/sessions\?.*from=.*until="))
    expect(page.get_by_text(re.compile("^Showing ")).first).to_be_visible()
