"""Errors and sessions in a real browser: from a kind of trouble to the session behind it, and to a single event."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

EXAMPLE_PX, FIRST_ROW_PX, A_ROW_PX = 20, 52, 55


def test_a_kind_of_trouble_leads_to_an_example(page: Page, filled_url: str) -> None:
    """What fails is answered first; the breakdown is in the address; an example is one click away."""
    page.goto(f"{filled_url}/errors")
    expect(page.get_by_text(re.compile("requests failed visibly, all of them on /api/echo"))).to_be_visible()
    page.get_by_role("radio", name="Policy").click()
    expect(page).to_have_url(re.compile("rates_by=Policy"))
    expect(page.get_by_role("heading", name="Visible errors by policy")).to_be_visible()

    kinds = page.locator(".st-key-card_error_kinds").get_by_test_id("stDataFrame")
    kinds.scroll_into_view_if_needed()
    expect(kinds.locator("canvas").first).to_be_visible()
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
    box = kinds.bounding_box()
    assert box is not None
    # A table is a canvas: its link is found by where it is, once the pointer has been seen there.
    page.mouse.move(box["x"] + EXAMPLE_PX, box["y"] + FIRST_ROW_PX)
    expect(kinds.locator("canvas").first).to_have_css("cursor", "pointer")
    with page.context.expect_page() as opened:
        page.mouse.down()
        page.mouse.up()
    expect(opened.value).to_have_url(re.compile(r"/sessions\?session=session-\d+$"))
    expect(opened.value.get_by_role("heading", name="What happened")).to_be_visible()


def test_a_session_is_searched_opened_and_looked_into(page: Page, filled_url: str) -> None:
    """A click on its row tells it, a click on a mark opens its event raw; back leads back, and all of it can be taken."""
    page.goto(f"{filled_url}/sessions")
    expect(page.get_by_text("Showing all 40 sessions")).to_be_visible()
    search = page.get_by_placeholder("Part of a user's")
    search.fill("user-7")
    search.press("Enter")
    expect(page.get_by_text("Showing the only session.")).to_be_visible()
    page.get_by_test_id("stDataFrame").click(position={"x": 60, "y": A_ROW_PX})
    expect(page).to_have_url(f"{filled_url}/sessions?search=user-7&session=session-7")
    expect(page.get_by_text("Not ended after")).to_be_visible()

    mark = page.locator(".js-plotly-plot .scatterlayer .point").first
    mark.click(force=True)
    expect(page.get_by_test_id("stJson")).to_contain_text("happened_at")
    with page.expect_download() as lines:
        page.get_by_role("button", name="Events as JSON Lines").click()
    assert lines.value.suggested_filename == "session-lab-session-session-7.jsonl"
    assert '"session_id":"session-7"' in lines.value.path().read_text(encoding="utf-8")
    page.go_back()
    expect(page.get_by_text("Showing the only session.")).to_be_visible()
