"""Simulate and Compare in a real browser: run, stop, click, share, replay."""

from __future__ import annotations

import re

import pytest
from browser_kit import PATIENCE_MS
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = pytest.mark.browser

ROW_PX = 33
NIGHT = "/simulate?scenario=wake-before-network&policy=professional&seed=1"


def shown_digest(page: Page) -> str:
    line = page.get_by_text(re.compile("digest")).last
    expect(line).to_be_visible()
    found = re.search(r"[0-9a-f]{64}", line.inner_text())
    assert found is not None
    return found[0]


def click_cell(table: Locator, *, row: int, share: float) -> None:
    """The table is a canvas: a cell is found by where it is."""
    box = table.bounding_box()
    assert box is not None
    table.click(position={"x": box["width"] * share, "y": ROW_PX * (row + 1.5)})


def test_from_a_sweep_to_a_shared_story(page: Page, app_url: str, browser: Browser) -> None:
    """Run a family, click a verdict, read its story, replay it, and open its link in a browser that knows nothing."""
    page.goto(f"{app_url}/simulate?family=Sleep+and+wake")
    expect(page.get_by_text("Nothing has been run yet.")).to_be_visible()
    page.get_by_role("button", name=re.compile("^.*Run 36 simulations")).click()
    expect(page.get_by_text("Under professional all 6 scenarios hold (18 runs).")).to_be_visible()

    table = page.get_by_test_id("stDataFrame")
    click_cell(table, row=2, share=0.5)
    expect(page.get_by_text("Professional kept the session; every check holds.")).to_be_visible()
    expect(page.get_by_text("network back after 20 s").first).to_be_visible()
    digest = shown_digest(page)

    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("Played again: the same digest")).to_be_visible()

    page.get_by_role("button", name="Copy link").click()
    link = page.get_by_test_id("stPopoverBody").get_by_test_id("stCode").inner_text().strip()
    assert link == f"{app_url}{NIGHT}"
    context = browser.new_context(color_scheme="dark")
    other = context.new_page()
    other.goto(link)
    other.get_by_text("Played again").or_(other.get_by_text(digest)).first.wait_for(timeout=PATIENCE_MS)
    assert shown_digest(other) == digest
    context.close()

    page.keyboard.press("Escape")
    page.get_by_role("button", name="All scenarios").click()
    expect(page.get_by_text("Under basic 0 of 6 scenarios hold (18 runs).")).to_be_visible()


def test_a_mark_opens_its_event(page: Page, app_url: str) -> None:
    """Look closer at the waking, click the answer, and see the event as it was logged."""
    page.goto(app_url + NIGHT)
    page.get_by_text("08:30 The device woke up").click()
    marks = page.locator(".js-plotly-plot .trace.scatter .points path.point")
    expect(page.locator(".js-plotly-plot .xtick").filter(has_text="08:30:20")).to_be_visible()
    # The picture before stays until this one is drawn, and pushes it down.
    expect(page.locator(".js-plotly-plot")).to_have_count(1)
    # Marks outside of what is shown have a place too. The user's lane is the uppermost, the answer its last mark.
    plot = page.locator(".js-plotly-plot .nsewdrag").bounding_box()
    assert plot is not None
    boxes = [box for mark in marks.all() if (box := mark.bounding_box()) is not None]
    lane = [box for box in boxes if box["y"] < plot["y"] + 30 and 0 < box["x"] - plot["x"] < plot["width"]]
    answer = max(lane, key=lambda box: box["x"])
    x, y = answer["x"] + answer["width"] / 2, answer["y"] + answer["height"] / 2
    page.mouse.move(x, y)
    expect(page.locator(".hoverlayer")).to_contain_text("The user got an answer")
    page.mouse.click(x, y)
    expect(page.get_by_test_id("stJson")).to_be_visible()
    expect(page.get_by_text(re.compile(r"UTC: The user got an answer after \d+ s\."))).to_be_visible()


def test_a_long_sweep_can_be_stopped(page: Page, app_url: str) -> None:
    """Progress is seen, Stop stops it, and what was finished is kept."""
    page.goto(f"{app_url}/simulate?family=Provider&seeds=150")
    page.get_by_role("button", name=re.compile("Run [0-9,]+ simulations")).click()
    expect(page.get_by_text(re.compile(r"[1-9]\d* of [0-9,]+ runs"))).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(
        page.get_by_text(re.compile(r"Stopped after [0-9,]+ of [0-9,]+ runs; what was finished is kept"))
    ).to_be_visible()
    expect(page.get_by_text(re.compile("Under professional"))).to_be_visible()


def test_a_comparison_is_played_and_exported(page: Page, app_url: str) -> None:
    """The answer comes first, both timelines share one picture, and the table leaves as CSV."""
    page.goto(f"{app_url}/compare?of=lid-close-overnight")
    page.get_by_role("button", name=re.compile("Run [0-9]+ simulations")).click()
    expect(page.get_by_text("professional instead of basic: sessions kept up from 0 % to 100 %")).to_be_visible()
    expect(page.locator(".js-plotly-plot .ytick").filter(has_text="Requests")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    assert download.value.suggested_filename == "lid-close-overnight.csv"


def test_a_mistyped_address_is_answered_calmly(page: Page, app_url: str) -> None:
    """One sentence with the nearest name, and the way to all scenarios."""
    page.goto(f"{app_url}/simulate?scenario=workdey")
    expect(page.get_by_text("There is no scenario 'workdey'; did you mean 'workday'?")).to_be_visible()
    page.get_by_role("button", name="All scenarios").click()
    expect(page.get_by_text("Nothing has been run yet.").or_(page.get_by_text("Under professional"))).to_be_visible()
