"""What events add to the UX score, as they come: one tally for each session and minute, handed over with each flush.

A session's events count in the order in which they happened. One that comes late, or for a session of which the ledger
knows nothing although the store does, cannot be added; the session is then counted anew from its stored events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from session_core.events import Event, Origin
from session_core.ux_inputs import MATTERING, Tally, UxSession

MINUTE_US = 60_000_000
SESSIONS_MAX = 20_000
GIVE_WAY_EVENTS = 100

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


def go_on() -> None:
    """Give way to nobody."""


class UxLedger:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._stale: set[str] = set()

    def strangers(self, sessions: Collection[str]) -> set[str]:
        """Those of which nothing is known here. That one begins with these events is no proof: the rest may be there."""
        return set(sessions) - self._known.keys() - self._stale

    def take(
        self,
        sessions: Mapping[str, Sequence[Event]],
        *,
        elsewhere: Collection[str] = (),
        give_way: Callable[[], object] = go_on,
    ) -> Additions:
        """What these events add; `elsewhere` are the strangers that the store has events of. It gives way now and then."""
        anew = [name for name in elsewhere if name not in self._stale]
        self._stale.update(anew)
        added, since = _Added(), 0
        for name, events in sessions.items():
            if name in self._stale:
                continue
            since += len(events)
            if since >= GIVE_WAY_EVENTS:
                give_way()
                since = 0
            # The longest unheard go first when there are too many; what they say next counts them anew.
            known = self._known.pop(name, None) or _begun(events[0])
            if all(map(known.add, events)):
                self._known[name] = known
                added.take(known)
            else:
                self._stale.add(name)
                anew.append(name)
        self._forget_some()
        return added.tables(anew)

    def recount(self, sessions: Iterable[tuple[str, Iterable[Event]]]) -> Additions:
        """All that these sessions' events add, given whole and in order; from here on they are known again."""
        added = _Added()
        for name, events in sessions:
            self._stale.discard(name)
            known: _Known | None = None
            for event in events:
                known = known or _begun(event)
                assert known.add(event), "a session's stored events come in their order"
            self._known.pop(name, None)
            if known is not None:
                self._known[name] = known
                added.take(known)
        self._forget_some()
        return added.tables()

    def forget(self) -> None:
        """After a failed flush nobody knows what of it counts."""
        self._known.clear()
        self._stale.clear()

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            self._known.pop(name, None)
            self._stale.discard(name)

    def _forget_some(self) -> None:
        while len(self._known) > SESSIONS_MAX:
            del self._known[next(iter(self._known))]


class _Added:
    """What sessions hand over, one after another."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._tallies: list[Tally] = []

    def take(self, known: _Known) -> None:
        known.session.project()
        self._places += known.minutes.tallies
        self._tallies += known.minutes.tallies.values()
        known.minutes.clear()

    def tables(self, anew: Sequence[str] = ()) -> Additions:
        return Additions(_count_table(self._places, self._tallies), _value_table(self._places, self._tallies), anew)


def by_session(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Those that the score heeds. Sessions lie far apart in memory, so each is better visited once than by turns."""
    sessions: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if type(event.fact) in MATTERING:
            sessions[event.origin.session_id].append(event)
    return sessions


def _begun(event: Event) -> _Known:
    known = _Known(event.origin.user_id)
    # A row even if it counts nothing: by it the store knows that there were events of this session.
    known.minutes.tally(known.minutes.at(event.happened_at, event.origin))
    return known


def _count_table(places: Sequence[Place], tallies: Sequence[Tally]) -> pa.Table:
    columns = _dimensions(places)
    columns["used"] = pa.array([tally.used for tally in tallies], pa.bool_())
    for name in _COUNTS:
        columns[name] = pa.array(list(map(attrgetter(name), tallies)), pa.int64())
    return pa.table(columns)


def _value_table(places: Sequence[Place], tallies: Sequence[Tally]) -> pa.Table:
    of_row: list[Place] = []
    measures: list[str] = []
    bins: list[int] = []
    numbers: list[int] = []
    for measure in _VALUES:
        for place, counts in zip(places, map(attrgetter(measure), tallies), strict=True):
            if counts:
                of_row += [place] * len(counts)
                bins += counts
                numbers += counts.values()
        measures += [measure] * (len(bins) - len(measures))
    columns = _dimensions(of_row)
    columns["measure"] = pa.array(measures, pa.string())
    columns["bin"] = pa.array(bins, pa.int32())
    columns["n"] = pa.array(numbers, pa.int64())
    table = pa.table(columns)
    return table.filter(pc.not_equal(table["n"], 0)) if 0 in numbers else table


def _dimensions(places: Sequence[Place]) -> dict[str, pa.Array]:
    moments = pa.array([minute * MINUTE_US for minute, _ in places], pa.int64()).cast(_BUCKET)
    origins = [origin for _, origin in places]
    named = {name: pa.array(list(map(attrgetter(name), origins)), pa.string()) for name in _DIMENSIONS}
    return {"bucket": moments} | named
