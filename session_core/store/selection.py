"""What a question is asked about: a span of time, the filters, and the width of the buckets it is drawn in."""

from __future__ import annotations

import math

import msgspec

from session_core.store.columns import micros
from session_core.vocabulary import Source

BUCKETS_MAX = 120
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
# No width is under a minute, because rollups are not; each divides a day or is whole days.
WIDTHS_S = (
    *(minutes * _MINUTE_S for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR_S for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY_S for days in (1, 2, 7)),
)
# As long as a range can be to be drawn in that many buckets.
SPAN_S_MAX = WIDTHS_S[-1] * BUCKETS_MAX


def bucket_width_s(span_s: float) -> int:
    """The narrowest width, a minute to a week, that draws the span in at most 120 buckets (in more past 840 days)."""
    return next((width_s for width_s in WIDTHS_S if span_s <= width_s * BUCKETS_MAX), WIDTHS_S[-1])


class TimeRange(msgspec.Struct, frozen=True):
    """From `start_s` up to but not including `end_s`, in wall seconds since the epoch (UTC)."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        assert self.start_s < self.end_s, "a time range must end after it starts"

    @classmethod
    def last(cls, length_s: float, now_s: float) -> TimeRange:
        """The range of that length which ends with the bucket that holds `now_s`."""
        width_s = bucket_width_s(length_s)
        end_s = float((math.floor(now_s / width_s) + 1) * width_s)
        return cls(end_s - length_s, end_s)

    @property
    def bucket_width_s(self) -> int:
        return bucket_width_s(self.end_s - self.start_s)

    @property
    def aligned(self) -> TimeRange:
        """The range of whole buckets around this one, whose buckets may have become wider by it."""
        width_s = self.bucket_width_s
        start_s, end_s = math.floor(self.start_s / width_s) * width_s, math.ceil(self.end_s / width_s) * width_s
        around = TimeRange(float(start_s), float(end_s))
        return around if around.bucket_width_s == width_s else around.aligned

    @property
    def previous(self) -> TimeRange:
        """The range of the same length that ends where this one starts."""
        return TimeRange(2 * self.start_s - self.end_s, self.start_s)

    @property
    def start_us(self) -> int:
        return micros(self.start_s)

    @property
    def end_us(self) -> int:
        return micros(self.end_s)


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Only events that have these values; None lets all through."""

    source: Source | None = None
    policy: str | None = None
    scenario: str | None = None
    run_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    device: str | None = None
    app_version: str | None = None


EVERYTHING = Filters()
