"""Every page in Chromium, light and dark, wide and narrow: opened, seen to its end, and kept as a picture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

WIDTHS_PX = {"wide": 1400, "narrow": 420}
SCHEMES = ("light", "dark")
SEEN_MS_MAX = 60_000
# What Streamlit has yet to load stands in as a skeleton, even when the script is done and the network is still.
ALL_DRAWN = """() => !document.querySelector('[data-testid=stSkeleton]') && [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(
    chart => chart.querySelector('.main-svg'))"""


def look(addresses: Mapping[str, str], folder: Path) -> list[str]:
    """Pictures of the pages by name, into `folder`; a sentence for each that shows an exception."""
    folder.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    troubles = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, address in addresses.items():
            for width, width_px in WIDTHS_PX.items():
                for scheme in SCHEMES:
                    picture = folder / f"{name}-{width}-{scheme}.png"
                    if not _is_well(browser, address, width_px, scheme, picture):
                        troubles.append(f"{picture} shows an exception")
        browser.close()
    return troubles


def _is_well(browser: Browser, address: str, width_px: int, scheme: str, picture: Path) -> bool:
    colours = "dark" if scheme == "dark" else "light"
    with browser.new_context(viewport={"width": width_px, "height": 1200}, color_scheme=colours) as context:
        page = context.new_page()
        page.goto(address)
        still = page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')
        page.get_by_role("heading", level=1).wait_for(timeout=SEEN_MS_MAX)
        still.wait_for(timeout=SEEN_MS_MAX)
        page.wait_for_load_state("networkidle")
        page.wait_for_function(ALL_DRAWN, timeout=SEEN_MS_MAX)
        page.screenshot(path=picture, full_page=True)
        return page.get_by_test_id("stException").count() == 0
