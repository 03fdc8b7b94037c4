"""How often what is drawn or killed at random is tried."""

from __future__ import annotations

import os


def tries(here: int, *, in_ci: int) -> int:
    """CI is waited for, and whoever changed something has tried more before."""
    return in_ci if os.environ.get("CI") == "true" else here
