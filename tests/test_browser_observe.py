"""The frame of the observe pages in a real browser: links, history, files to take away, and figures that move on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser_kit import PATIENCE_MS, sign_in
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

# Whether the card's picture is in sight, before each frame is painted, also while Streamlit makes its chart anew.
BLANK_FRAMES = """() => {
    const card = document.querySelector('.st-key-card_states'), first = card.querySelector('.js-plotly-plot');
    const seen = part => part.checkVisibility() && part.getBoundingClientRect().height > 0;
    const chart = () => [...card.querySelectorAll('.js-plotly-plot')].find(seen);
    let blank = 0, after = 0;
    window.blankFrames = new Promise(told => {
        const look = () => {
            blank += ![...card.querySelectorAll('.svg-container .trace')].some(seen);
            after += (chart() ?? first) !== first;
            if (after < 30) requestAnimationFrame(look); else told(blank);
        };
        requestAnimationFrame(look);
    });
}"""


def test_a_link_shows_the_same_view_and_back_leads_back(page: Page, app_url: str, browser: Browser) -> None:
    """Choices go into the address; another browser in another time zone sees the same range; each step can be undone."""
    sign_in(page, app_url)
    page.get_by_role("radio", name="7d").click()
    expect(page).to_have_url(f"{app_url}/?range=7d")
    page.get_by_role("radio", name="Custom").click()
    expect(page).to_have_url(re.compile(r"\?from=\d{4}-\d\d-\d\dT.*Z&until="))
    link = page.url
    with browser.new_context(timezone_id="Asia/Kathmandu") as elsewhere:
        other = elsewhere.new_page()
        other.goto(link)
        expect(other.get_by_role("radio", name="Custom")).to_be_checked()
        expect(other.get_by_text("Sessions are good")).to_be_visible()
        assert other.url == link

    page.get_by_role("link", name="Simulate").click()
    expect(page).to_have_url(f"{app_url}/simulate")
    expect(page.get_by_text("Time range", exact=True)).to_be_hidden()
    page.get_by_role("link", name="Overview").click()
    expect(page).to_have_url(link)
    expect(page.get_by_role("radio", name="Custom")).to_be_checked()
    for address, shown in (
        (f"{app_url}/simulate", page.get_by_role("heading", name="Simulate")),
        (link, page.get_by_role("radio", name="Custom", checked=True)),
        (f"{app_url}/?range=7d", page.get_by_role("radio", name="7d", checked=True)),
    ):
        # A step back while a script still runs is lost in the frontend's own queue; a person would wait for the page.
        expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        page.go_back()
        expect(page).to_have_url(address)
        expect(shown).to_be_visible()


def test_what_is_seen_can_be_taken_away(page: Page, app_url: str, tmp_path: Path) -> None:
    """A table with its filters at its head, all of them in one file, and the page as one that needs no other."""
    sign_in(page, f"{app_url}/?range=1h&policy=professional")
    with page.expect_download() as table:
        page.locator(".st-key-csv_states button").first.click()
    written = table.value.path().read_text(encoding="utf-8")
    assert written.startswith("# Table: Sessions by state\n# Time: ")
    assert "# Policy: professional\n" in written

    page.get_by_role("button", name="Export").click()
    with page.expect_download() as whole:
        page.locator(".st-key-export_html button").first.click()
    whole.value.save_as(tmp_path / whole.value.suggested_filename)
    taken = page.context.new_page()
    taken.goto(f"file://{tmp_path}/session-lab-overview.html")
    expect(taken.get_by_role("heading", name="Overview")).to_be_visible()
    expect(taken.locator(".js-plotly-plot").first).to_be_visible()
    with page.expect_download() as tables:
        page.locator(".st-key-export_zip button").first.click()
    assert tables.value.suggested_filename == "session-lab-overview.zip"


def test_figures_move_on_by_themselves_and_no_frame_is_blank(page: Page, app_url: str, browser: Browser) -> None:
    """Somebody else signs in, and sentence and chart tell of it; a chart is to be seen in every frame, in its place."""
    sign_in(page, f"{app_url}/?range=1h")
    sentence = page.get_by_role("heading", name=re.compile("Sessions are")).first
    states = page.locator(".st-key-card_states [data-testid=stPlotlyChart]:visible")
    expect(page.locator(".st-key-card_states .js-plotly-plot .trace").first).to_be_attached()
    expect(page.get_by_test_id("stMetric")).to_have_count(5)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    page.evaluate(BLANK_FRAMES)
    last = page.locator("[class*=st-key-card_]").last
    place = last.bounding_box()
    before, seen = sentence.inner_text(), states.get_attribute("aria-label")
    assert seen is not None
    with browser.new_context() as elsewhere:
        sign_in(elsewhere.new_page(), f"{app_url}/chat")
    expect(sentence).not_to_have_text(before, timeout=2 * PATIENCE_MS)
    expect(states).not_to_have_attribute("aria-label", seen)
    assert page.evaluate("window.blankFrames") == 0
    assert last.bounding_box() == place
