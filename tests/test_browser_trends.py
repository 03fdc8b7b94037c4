"""UX trends in a real browser: a link shows the same view, and a point of the chart leads to the sessions behind it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from session_core.clock import SystemClock
from session_core.dashboard.view import rfc3339

pytestmark = pytest.mark.browser

MIDDLE_POINT = """chart => {
    const { xaxis, yaxis } = chart._fullLayout, { x, y } = chart._fullData[0];
    const known = [...y.keys()].filter(place => y[place] !== null && !Number.isNaN(y[place]));
    const place = known[Math.floor(known.length / 2)], { left, top } = chart.getBoundingClientRect();
    return [left + xaxis._offset + xaxis.d2p(x[place]), top + yaxis._offset + yaxis.d2p(y[place])];
}"""


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
    chart = page.locator(".st-key-card_ux_score .js-plotly-plot")
    link = page.get_by_role("link", name="Open the sessions behind this point")
    expect(chart.locator(".scatterlayer .js-line").first).to_be_attached()
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    x, y = chart.evaluate(MIDDLE_POINT)
    page.mouse.move(x - 5, y)
    page.mouse.move(x, y)
    expect(chart.locator(".hoverlayer > *").first).to_be_attached()
    page.mouse.click(x, y)
    expect(link).to_be_in_viewport()
    link.click()
    expect(page).to_have_url(re.compile(r"/sessions\?.*from=.*until="))
    expect(page.get_by_text(re.compile("^Showing ")).first).to_be_visible()
