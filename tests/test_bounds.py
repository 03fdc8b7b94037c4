"""Numbers out of range are refused in one sentence."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.bounds import require
from session_core.errors import ConfigError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(value=NUMBERS, low=NUMBERS, high=NUMBERS)
def test_exactly_the_numbers_within_the_bounds_pass(value: float, low: float, high: float) -> None:
    """Both bounds belong to the range."""
    if low <= value <= high:
        require("part.field", value, low, high)
    else:
        with pytest.raises(ConfigError, match=r"^part\.field is .+; set it between .+ and .+\.$"):
            require("part.field", value, low, high)


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, None])
def test_the_bounds_themselves_and_an_absent_value_pass(value: object) -> None:
    """None means that there is nothing to check."""
    require("field", value, 0, 1)


@pytest.mark.parametrize("value", [True, False, "1", b"1", math.nan, math.inf, -math.inf, [1], 1j])
def test_what_is_no_finite_number_is_refused_by_name(value: object) -> None:
    """A yes or a word is not read as a number, and neither is an infinite one."""
    with pytest.raises(ConfigError, match=r"^field must be a number, not .+\.$"):
        require("field", value, -math.inf, math.inf)
