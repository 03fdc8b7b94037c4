"""Bins that add up: how far a value is read off, and percentiles of the whole from those of the parts."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from session_core.histograms import SMALLEST, Histogram, bin_of, merge, value_of

VALUES = st.lists(st.floats(0, 1e9), max_size=40)


@given(value=st.floats(SMALLEST, 1e12))
def test_a_value_is_read_within_one_and_a_tenth_percent(value: float) -> None:
    """Half a bin to either side of its middle."""
    assert math.isclose(value_of(bin_of(value)), value, rel_tol=0.011)


@given(value=st.floats(0, SMALLEST, exclude_max=True))
def test_less_than_the_smallest_is_0(value: float) -> None:
    """No logarithm of nothing."""
    assert value_of(bin_of(value)) == 0.0


@given(parts=st.lists(VALUES, max_size=5), share=st.floats(0.01, 1.0))
def test_a_percentile_of_the_whole_comes_from_merged_parts(parts: list[list[float]], share: float) -> None:
    """The same as of all values at once, and within a bin of the exact nearest rank."""
    every = sorted(value for part in parts for value in part)
    merged = merge(map(Histogram.of, parts))
    assert merged == Histogram.of(every)
    exact = every[math.ceil(share * len(every)) - 1] if every else 0.0
    assert merged.quantile(share) == value_of(bin_of(exact))
