"""How a question is put to rollups: which of them, which rows, and the values that stand for what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from session_core.store.selection import Filters, TimeRange

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_S = 3_600


class Asked(NamedTuple):
    """`rows` is a condition for WHERE, `grain` the rollup's; `given` are the values both name."""

    grain: str
    rows: str
    given: Mapping[str, object]
    width_s: int


def asked(span: TimeRange, filters: Filters, *, time: str = "bucket", without: str | None = None) -> Asked:
    """For whole buckets of the span. `without` names a filter that is left out, where its values are what is asked."""
    span = span.aligned
    chosen: dict[str, Any] = {
        name: str(value)
        for name, value in msgspec.structs.asdict(filters).items()
        if value is not None and name != without
    }
    rows = [f"{time} >= $start", f"{time} < $end", *(f"{name} = ${name}" for name in chosen)]
    given = chosen | {"start": moment(span.start_s), "end": moment(span.end_s)}
    grain = "hours" if span.bucket_width_s >= _HOUR_S else "minutes"
    return Asked(grain, " AND ".join(rows), given, span.bucket_width_s)


def moment(wall: float) -> datetime:
    """A wall second as a question's value, to the microsecond."""
    return _EPOCH + timedelta(microseconds=round(wall * 1e6))
