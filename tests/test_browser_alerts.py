"""Alerts in a real browser: look, silence, and edit a rule that makes no sense."""

from __future__ import annotations

import pytest
from browser_kit import sign_in
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

ROW_PX = 33


def type_into(page: Page, *, row: int, at_px: int, text: str) -> None:
    """The table is a canvas: a cell is found by where it is, and what it holds is typed into a field above it."""
    table = page.locator(".st-key-card_rules").get_by_test_id("stDataFrame")
    table.dblclick(position={"x": at_px, "y": ROW_PX * (row + 1.5)})
    field = page.locator(".gdg-input")
    field.fill(text)
    field.press("Enter")
    expect(field).not_to_be_visible()


def test_alerts_are_seen_by_all_and_touched_by_those_signed_in(page: Page, app_url: str) -> None:
    """Nothing is called well that nobody measured; a silence is one choice away and ends with one click."""
    page.goto(f"{app_url}/alerts")
    expect(page.get_by_text("Nobody knows whether a person is needed")).to_be_visible()
    expect(page.get_by_text("There is no live event in the store.")).to_be_visible()
    expect(page.get_by_role("button", name="Save")).to_be_disabled()

    sign_in(page, f"{app_url}/alerts")
    expect(page.get_by_text("Sign in to acknowledge")).not_to_be_visible()
    page.get_by_role("button", name="Silence for").first.click()
    page.get_by_text("8 h", exact=True).click()
    expect(page.get_by_text("Silenced · 1")).to_be_visible()
    expect(page.get_by_text("silenced for another 8 h")).to_be_visible()
    page.get_by_role("button", name="End the silence").click()
    expect(page.get_by_text("Silenced · 1")).not_to_be_visible()


def test_a_rule_that_makes_no_sense_is_named(page: Page, app_url: str) -> None:
    """The sentence says what is allowed; mended, it is saved, and the configured rules come back with one button."""
    sign_in(page, f"{app_url}/alerts")
    save = page.get_by_role("button", name="Save")
    expect(page.get_by_text("Sign in to acknowledge")).not_to_be_visible()
    type_into(page, row=0, at_px=470, text="0")
    expect(page.get_by_text("Fast burn: threshold is 0; set it between 0.1 and 10000.")).to_be_visible()
    expect(save).to_be_disabled()

    type_into(page, row=0, at_px=470, text="20")
    save.click()
    expect(page.get_by_text("Saved; the alerts were judged by these rules just now.")).to_be_visible()
    expect(page.get_by_text("burns more than 20 × too fast over 1 h and 5 min").first).to_be_visible()

    page.get_by_role("button", name="Back to the configured rules").click()
    expect(page.get_by_text("burns more than 14.4 × too fast over 1 h and 5 min").first).to_be_visible()
