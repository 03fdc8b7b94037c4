"""What every test can ask for. What a test needs and does not find is skipped here and a failure in CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from browser_kit import app_url, browser, filled_url, page
from hypothesis import HealthCheck, settings

__all__ = ["app_url", "browser", "filled_url", "page"]

ROOT = Path(__file__).parents[1]
NODE_FOLDER = ROOT / "tests" / "node"

# Shared machines stall now and then; a deadline would make that our fault.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# CI is waited for, and whoever changed something has run more examples before.
settings.register_profile("ci", settings.get_profile("here"), max_examples=40)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes share the files: none should begin one that takes long last, nor all drive a browser at once."""
    browser = {item.path for item in items if item.get_closest_marker("browser")}
    long = {item.path for item in items if any(map(item.get_closest_marker, ("node", "slow")))} - browser
    turns = {path: turn for files in (browser, long) for turn, path in enumerate(sorted(files))}
    items.sort(key=lambda item: turns.get(item.path, len(turns)))


def missing(sentence: str) -> NoReturn:
    """Skip the test with what is missing and how to get it; in CI fail it instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Debian's Chromium, or the browser that CHROMIUM names."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    return found or missing("Chromium is missing: apt-get install chromium, or set CHROMIUM to the path of one.")


@pytest.fixture(scope="session")
def node_path() -> str:
    """Node.js, with the npm packages of tests/node installed."""
    found = shutil.which("node")
    if found is None:
        missing("Node.js is missing: apt-get install nodejs npm")
    if not (NODE_FOLDER / "node_modules" / "oidc-provider").is_dir():
        missing("The npm package oidc-provider is missing: npm ci --prefix tests/node")
    return found
