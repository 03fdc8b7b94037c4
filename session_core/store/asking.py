"""How a question is put to rollups: which of them, which rows, and the values that stand for what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from session_core.store.selection import Filters, TimeRange

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_S, _QUARTER_S = 3_600, 21_600


# Tells a range from the one before it, when both are asked about at once.
NOW = "bucket >= $middle"
# Every event by itself, for what rollups do not tell apart.
_EACH = "(-1, 9223372036854775807, 60)"


class Asked(NamedTuple):
    """`rows` is a condition for WHERE, `grain` that of rollups by session; `given` are the values that it names.

    `one_by_one` is for single sessions or users, whom not all rollups tell apart: then `counts` and `values`, where to
    count words and to find values, are the events.
    """

    grain: str
    rows: str
    given: Mapping[str, object]
    width_s: int
    one_by_one: bool

    @property
    def names(self) -> Mapping[str, object]:
        """What stands in a question's text."""
        own = {"grain": self.grain, "rows": self.rows, "width_s": self.width_s}
        return {**own, "counts": self.counts, "values": self.values}

    @property
    def counts(self) -> str:
        return f"words{_EACH}" if self.one_by_one else f"all_counts_{self._by_words}"

    @property
    def values(self) -> str:
        return f"measures{_EACH}" if self.one_by_one else f"all_values_{self._by_words}"

    @property
    def _by_words(self) -> str:
        return "hours" if self.grain == "quarters" else self.grain


def asked(span: TimeRange, filters: Filters, *, time: str = "bucket", width_s: int | None = None) -> Asked:
    """For whole buckets of the span, as wide as it has them or as told, and then the span is taken as it is."""
    if width_s is None:
        span = span.aligned
        width_s = span.bucket_width_s
    rows, given = chosen(filters)
    edges = {"start": moment(span.start_s), "end": moment(span.end_s)}
    within = f"{time} >= $start AND {time} < $end AND {rows}"
    grain = "quarters" if width_s >= _QUARTER_S else "hours" if width_s >= _HOUR_S else "minutes"
    one_by_one = filters.session_id is not None or filters.user_id is not None
    return Asked(grain, within, {**given, **edges}, width_s, one_by_one)


def asked_with_previous(span: TimeRange, filters: Filters) -> Asked:
    """For an aligned span and the one before it."""
    both = TimeRange(span.previous.start_s, span.end_s)
    question = asked(both, filters, width_s=span.bucket_width_s)
    return question._replace(given={**question.given, "middle": moment(span.start_s)})


def chosen(filters: Filters) -> tuple[str, Mapping[str, object]]:
    """The condition for WHERE under which a row passes the filters, and the values that it names."""
    given = {name: str(value) for name, value in msgspec.structs.asdict(filters).items() if value is not None}
    return " AND ".join(f"{name} = ${name}" for name in given) or "true", given


def moment(wall: float) -> datetime:
    """A wall second as a question's value, to the microsecond."""
    return _EPOCH + timedelta(microseconds=round(wall * 1e6))
