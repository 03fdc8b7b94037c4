"""One sentence for every setting that is out of range."""

from __future__ import annotations

import math

from session_core.errors import ConfigError


def require(field: str, value: object, low: float, high: float) -> None:
    """Raise ConfigError unless `value` is absent or a finite number within [low, high]."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{field} must be a number, not {value!r}.")
    if not low <= value <= high:
        raise ConfigError(f"{field} is {value:g}; set it between {low:g} and {high:g}.")
