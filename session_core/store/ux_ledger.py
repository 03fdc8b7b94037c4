"""What events add to the UX score, as they come: one tally for each session and minute, handed over with each flush.

A session's events count in the order in which they happened. One that comes late, or for a session of which the ledger
knows nothing although the store does, cannot be added; the session is then counted anew from its stored events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import pyarrow as pa

from session_core.events import Event, Origin
from session_core.ux_inputs import Tally, UxSession, matters

MINUTE_US = 60_000_000
SESSIONS_MAX = 20_000

Place = tuple[int, Origin]

_DIMENSIONS = ("session_id", "user_id", "device", "source", "policy", "app_version", "run_id", "scenario")
_COUNTS = (
    "active_us",
    "forced_sign_ins",
    "surfaced_401s",
    "excused_ends",
    "requests",
    "auth_errors",
    "answers",
    "reuse_revocations",
    "uses_after_revocation",
)
_VALUES = ("resume_ms", "waited_ms", "stale_ttls")
_BUCKET = pa.timestamp("us", tz="UTC")


class Additions(NamedTuple):
    """Rows for `ux_fresh` and `ux_values_fresh`, and the sessions that must be counted anew."""

    counts: pa.Table
    values: pa.Table
    anew: Sequence[str]


class _Minutes:
    """The tallies of one session since the last hand-over. The one in use is at hand, for it is asked for often."""

    __slots__ = ("_place", "_tally", "tallies")

    def __init__(self) -> None:
        self.tallies: dict[Place, Tally] = {}
        self._place: Place | None = None
        self._tally = Tally()

    def at(self, wall: float, origin: Origin) -> Place:
        # Whole microseconds, as SQL divides them: a quotient of floats can round up into the next minute.
        minute, last = round(wall * 1e6) // MINUTE_US, self._place
        return last if last is not None and last[0] == minute and last[1] is origin else (minute, origin)

    def tally(self, place: Place) -> Tally:
        if place is not self._place:
            tally = self.tallies.get(place)
            if tally is None:
                tally = self.tallies[place] = Tally()
            self._place, self._tally = place, tally
        return self._tally

    def clear(self) -> None:
        self.tallies.clear()
        self._place = None


class _Known:
    """A session, and how far its events have come in their order.

    Within a stream the number is the order, whatever the clock says; streams lie beside each other by the latest moment
    that each has reached.
    """

    __slots__ = ("_others", "_reached", "_seq", "_stream_id", "minutes", "session")

    def __init__(self, user_id: str) -> None:
        self.minutes = _Minutes()
        self.session = UxSession(user_id, self.minutes)
        self._stream_id, self._reached, self._seq = "", -(2**63), -1
        self._others: dict[str, tuple[int, int]] = {}

    def add(self, event: Event) -> bool:
        """Heed an event; False if it should have come before one that was heeded already."""
        stream_id, seq, reached = event.origin.stream_id, event.seq, round(event.happened_at * 1e6)
        if stream_id == self._stream_id:
            if seq <= self._seq:
                return False
            reached = max(reached, self._reached)
        else:
            earlier, before = self._others.get(stream_id, (reached, -1))
            reached = max(reached, earlier)
            if seq <= before or (reached, stream_id, seq) < (self._reached, self._stream_id, self._seq):
                return False
            self._others[self._stream_id] = self._reached, self._seq
            self._stream_id = stream_id
        self._reached, self._seq = reached, seq
        self.session.add(event)
        return True


class UxLedger:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._stale: set[str] = set()

    def strangers(self, events: Iterable[Event]) -> set[str]:
        """Sessions of which nothing is known here. That one begins with these events is no proof: the rest may be there."""
        here = {event.origin.session_id for event in events if matters(event)}
        return here - self._known.keys() - self._stale

    def take(self, events: Iterable[Event], *, elsewhere: Collection[str] = ()) -> Additions:
        """What these events add; `elsewhere` are the strangers that the store has events of."""
        touched: dict[str, _Known] = {}
        anew = [name for name in elsewhere if name not in self._stale]
        self._stale.update(anew)
        for event in events:
            name = event.origin.session_id
            if not matters(event) or name in self._stale:
                continue
            known = self._known.get(name)
            if known is None:
                known = self._begin(event)
            if known.add(event):
                touched[name] = known
            else:
                self._forget(name, touched)
                self._stale.add(name)
                anew.append(name)
        return Additions(*self._hand_over(touched), anew)

    def recount(self, sessions: Iterable[tuple[str, Iterable[Event]]]) -> Additions:
        """All that these sessions' events add, given whole and in order; from here on they are known again."""
        counted: dict[str, _Known] = {}
        for name, events in sessions:
            self._stale.discard(name)
            self._known.pop(name, None)
            for event in events:
                known = counted.get(name)
                if known is None:
                    known = counted[name] = self._begin(event)
                assert known.add(event), "a session's stored events come in their order"
        return Additions(*self._hand_over(counted), ())

    def forget(self) -> None:
        """After a failed flush nobody knows what of it counts."""
        self._known.clear()
        self._stale.clear()

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            self._known.pop(name, None)
            self._stale.discard(name)

    def _begin(self, event: Event) -> _Known:
        known = self._known[event.origin.session_id] = _Known(event.origin.user_id)
        # A row even if it counts nothing: by it the store knows that there were events of this session.
        known.minutes.tally(known.minutes.at(event.happened_at, event.origin))
        return known

    def _forget(self, name: str, touched: dict[str, _Known]) -> None:
        self._known.pop(name, None)
        touched.pop(name, None)

    def _hand_over(self, touched: Mapping[str, _Known]) -> tuple[pa.Table, pa.Table]:
        places: list[Place] = []
        tallies: list[Tally] = []
        for name, known in touched.items():
            known.session.project()
            places += known.minutes.tallies
            tallies += known.minutes.tallies.values()
            known.minutes.clear()
            # The longest unheard go first when there are too many; what they say next counts them anew.
            self._known[name] = self._known.pop(name)
        while len(self._known) > SESSIONS_MAX:
            del self._known[next(iter(self._known))]
        return _count_table(places, tallies), _value_table(places, tallies)


def _count_table(places: Sequence[Place], tallies: Sequence[Tally]) -> pa.Table:
    columns = _dimensions(places)
    columns["used"] = pa.array([tally.used for tally in tallies], pa.bool_())
    for name in _COUNTS:
        columns[name] = pa.array(list(map(attrgetter(name), tallies)), pa.int64())
    return pa.table(columns)


def _value_table(places: Sequence[Place], tallies: Sequence[Tally]) -> pa.Table:
    listed = [
        (place, measure, number, count)
        for measure in _VALUES
        for place, counts in zip(places, map(attrgetter(measure), tallies), strict=True)
        if counts
        for number, count in counts.items()
        if count
    ]
    columns = _dimensions([place for place, *_ in listed])
    columns["measure"] = pa.array([measure for _, measure, _, _ in listed], pa.string())
    columns["bin"] = pa.array([number for _, _, number, _ in listed], pa.int32())
    columns["n"] = pa.array([count for *_, count in listed], pa.int64())
    return pa.table(columns)


def _dimensions(places: Sequence[Place]) -> dict[str, pa.Array]:
    moments = pa.array([minute * MINUTE_US for minute, _ in places], pa.int64()).cast(_BUCKET)
    origins = [origin for _, origin in places]
    named = {name: pa.array(list(map(attrgetter(name), origins)), pa.string()) for name in _DIMENSIONS}
    return {"bucket": moments} | named
