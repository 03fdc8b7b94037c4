"""Histograms with logarithmic bins: they can be added, so that percentiles of many need not be averaged.

A bin is as wide as 2^(1/32), and a value is read as its bin's middle: at most 1.1 % off. Less than 1/1024 counts as 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

import msgspec

BINS_PER_DOUBLING = 32
SMALLEST = 2.0**-10
ZERO = -10 * BINS_PER_DOUBLING - 1


def bin_of(value: float) -> int:
    return round(BINS_PER_DOUBLING * math.log2(value)) if value >= SMALLEST else ZERO


def value_of(number: int) -> float:
    """The middle of a bin."""
    return 2.0 ** (number / BINS_PER_DOUBLING) if number > ZERO else 0.0


class Histogram(msgspec.Struct, frozen=True, gc=False):
    """As many values as `numbers` says are in the bin at the same place of `bins`, which are in order; none is 0."""

    bins: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()

    @classmethod
    def of(cls, values: Iterable[float]) -> Histogram:
        counts: dict[int, int] = {}
        for value in values:
            number = bin_of(value)
            counts[number] = counts.get(number, 0) + 1
        return cls.from_counts(counts)

    @classmethod
    def from_counts(cls, counts: Mapping[int, int]) -> Histogram:
        bins = tuple(sorted(number for number, count in counts.items() if count))
        return cls(bins, tuple(counts[number] for number in bins))

    @property
    def total(self) -> int:
        return sum(self.numbers)

    def quantile(self, share: float, *, of: int | None = None) -> float:
        """The smallest value that this share reaches at most (nearest rank); 0 without any.

        Where there are `of` values, those that are not in here are 0.
        """
        here = self.total
        total = max(here, of or 0)
        left = math.ceil(share * total) - (total - here)
        if left <= 0:
            return 0.0
        reached = bisect_left(list(accumulate(self.numbers)), left)
        return value_of(self.bins[min(reached, len(self.bins) - 1)])


def merge(histograms: Iterable[Histogram]) -> Histogram:
    counts: dict[int, int] = {}
    for histogram in histograms:
        for number, count in zip(histogram.bins, histogram.numbers, strict=True):
            counts[number] = counts.get(number, 0) + count
    return Histogram.from_counts(counts)
