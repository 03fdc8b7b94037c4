"""Counts and histograms of facts, kept so cheaply that every event can pass, and told in the words of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, product

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

OTHER, NONE = "other", "none"


class Counts:
    """How often something happened, by words that are known beforehand: one that is not counts as "other".

    Every combination is told from the start, with 0: a counter that begins at 1 shows no increase.
    """

    def __init__(self, name: str, means: str, **words: Iterable[str | None]) -> None:
        self.name, self.means, self.labels = name, means, tuple(words)
        self._counts: dict[tuple[str | None, ...], int] = dict.fromkeys(product(*words.values()), 0)
        self._others = 0

    def add(self, *words: str | None) -> None:
        if words in self._counts:
            self._counts[words] += 1
        else:
            self._others += 1

    def family(self) -> CounterMetricFamily:
        told = CounterMetricFamily(self.name, self.means, labels=self.labels)
        for words, count in self._counts.items():
            told.add_metric([NONE if word is None else str(word) for word in words], count)
        if self._others:
            told.add_metric([OTHER] * len(self.labels), self._others)
        return told


class Spread:
    """How seconds are spread over buckets with these upper bounds."""

    def __init__(self, name: str, means: str, bounds: tuple[float, ...]) -> None:
        self.name, self.means = name, means
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def family(self) -> HistogramMetricFamily:
        uppers = [*map(floatToGoString, self._bounds), "+Inf"]
        told = HistogramMetricFamily(self.name, self.means)
        told.add_metric([], list(zip(uppers, accumulate(self._counts), strict=True)), self._sum)
        return told
