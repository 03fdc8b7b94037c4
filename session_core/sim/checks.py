"""Named pass criteria: a check bounds one measure and says in words how it failed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from session_core.errors import ConfigError
from session_core.sim.evidence import Evidence, Window
from session_core.sim.measures import MEASURES, Ask, Measure, Number, Words

CHECKS: Mapping[str, Measure] = MEASURES


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One criterion, over the time from `from_s` until just before `until_s`.

    Numbers are bounded by `at_most`, `at_least` or `equals`; words must `equal` a list, include it in this order and
    without anything between, or exclude each of it. `of` and `per_s` narrow some measures.
    """

    check: str
    at_most: float | None = None
    at_least: float | None = None
    equals: float | tuple[str, ...] | None = None
    includes: tuple[str, ...] | None = None
    excludes: tuple[str, ...] | None = None
    from_s: float = 0.0
    until_s: float | None = None
    of: str | None = None
    per_s: float = 1.0

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise ConfigError(f"check is {self.check!r}; known are {', '.join(CHECKS)}.")
        counts = CHECKS[self.check].number is not None
        numbers = [self.at_most, self.at_least, None if isinstance(self.equals, tuple) else self.equals]
        words = [self.includes, self.excludes, self.equals if isinstance(self.equals, tuple) else None]
        wanted, other = (numbers, words) if counts else (words, numbers)
        if any(bound is not None for bound in other) or all(bound is None for bound in wanted):
            bounds = "at_most, at_least or equals" if counts else "includes, excludes or equals with a list of words"
            raise ConfigError(f"{self.check} is bounded by {bounds}; give at least one.")
        if self.until_s is not None and self.until_s <= self.from_s:
            raise ConfigError("until comes before from; swap them.")
        if not self.per_s > 0:
            raise ConfigError(f"per is {self.per_s:g}; give a length of time above 0.")

    def failures(self, evidence: Evidence) -> Iterator[str]:
        """How it failed, a sentence each; nothing when it holds."""
        measure = CHECKS[self.check]
        ask = Ask(Window(self.from_s, math.inf if self.until_s is None else self.until_s), self.of, self.per_s)
        if measure.number is not None:
            yield from self._judge_number(measure, measure.number(evidence, ask))
        elif measure.words is not None:
            yield from self._judge_words(measure, measure.words(evidence, ask))

    def _judge_number(self, measure: Measure, found: Number) -> Iterator[str]:
        if found is None:
            yield f"{self.check}: there was nothing to measure ({measure.means})."
            return
        said = f"{self.check} was {_plain(found)} ({measure.means})"
        if self.at_most is not None and found > self.at_most:
            yield f"{said}; at most {_plain(self.at_most)} was allowed."
        if self.at_least is not None and found < self.at_least:
            yield f"{said}; at least {_plain(self.at_least)} was needed."
        if isinstance(self.equals, int | float) and found != self.equals:
            yield f"{said}; it should be {_plain(self.equals)}."

    def _judge_words(self, measure: Measure, found: Words) -> Iterator[str]:
        for whose, words in found.items():
            said = f"{self.check} {f'of {whose} ' if whose else ''}was {_listed(words)} ({measure.means})"
            if self.includes is not None and not _contains(words, self.includes):
                yield f"{said}; it should include {_listed(self.includes)}."
            if self.excludes is not None and not set(self.excludes).isdisjoint(words):
                yield f"{said}; it should not include {_listed(self.excludes)}."
            if isinstance(self.equals, tuple) and words != self.equals:
                yield f"{said}; it should be {_listed(self.equals)}."


def judge(checks: Iterable[Check], evidence: Evidence) -> tuple[str, ...]:
    """Every failure of every check, in words."""
    return tuple(failure for check in checks for failure in check.failures(evidence))


def _contains(words: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words) - len(wanted) + 1))


def _listed(words: tuple[str, ...]) -> str:
    shown = " → ".join(map(str, words[:20]))
    return (shown + (f" and {len(words) - 20} more" if len(words) > 20 else "")) or "nothing"


def _plain(number: float) -> str:
    return (
        f"{number:.0f}"
        if number in (math.inf, -math.inf) or number == int(number)
        else f"{number:.3g}"
        if abs(number) < 100
        else f"{number:.1f}"
    )
