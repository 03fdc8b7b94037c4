"""How soon what was answered is asked again."""

from __future__ import annotations


class SteadyCount:
    """A count that is passed on at most every `hold_s`, so that answers kept by it last while events pour in."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._passed_on = (float("-inf"), 0)

    def read(self, count: int, now_s: float) -> int:
        """What it is to be taken for at `now_s`; after a quiet while a change is passed on at once."""
        since_s, passed_on = self._passed_on
        if count == passed_on or now_s - since_s < self._hold_s:
            return passed_on
        self._passed_on = (now_s, count)
        return count
