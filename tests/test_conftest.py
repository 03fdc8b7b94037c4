"""What is missing on a machine is said, and fails where nothing may be missing."""

from __future__ import annotations

import pytest
from conftest import missing


def test_what_is_missing_skips_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer without Chromium still gets a green run that says what it left out."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install"):
        missing("It is missing: apt-get install it")


def test_what_is_missing_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skipped test would be a green lie there."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install"):
        missing("It is missing: apt-get install it")
