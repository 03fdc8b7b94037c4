"""What events add to the UX score, as they come: one tally for each session and minute, handed over with each flush.

A session's events count in the order in which they happened. One that comes late, or for a session of which the ledger
knows nothing although the store does, cannot be added; the session is then counted anew from its stored events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from session_core.events import Event, Origin, SessionStarted
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
    """The tallies of one session since the last hand-over."""

    __slots__ = ("tallies",)

    def __init__(self) -> None:
        self.tallies: dict[Place, Tally] = {}

    def at(self, wall: float, origin: Origin) -> Place:
        # Whole microseconds, as SQL divides them: a quotient of floats can round up into the next minute.
        return round(wall * 1e6) // MINUTE_US, origin

    def tally(self, place: Place) -> Tally:
        tally = self.tallies.get(place)
        if tally is None:
            tally = self.tallies[place] = Tally()
        return tally


class _Known:
    """A session, and how far its events have come in their order.

    Within a stream the number is the order, whatever the clock says; streams lie beside each other by the latest moment
    that each has reached.
    """

    __slots__ = ("latest", "minutes", "session", "streams")

    def __init__(self, user_id: str) -> None:
        self.minutes = _Minutes()
        self.session = UxSession(user_id, self.minutes)
        self.latest: tuple[int, str, int] = (-(2**63), "", 0)
        self.streams: dict[str, tuple[int, int]] = {}

    def add(self, event: Event) -> bool:
        """Heed an event; False if it should have come before one that was heeded already."""
        stream_id, seq = event.origin.stream_id, event.seq
        reached, before = self.streams.get(stream_id, (-(2**63), -1))
        reached = max(reached, round(event.happened_at * 1e6))
        place = (reached, stream_id, seq)
        if seq <= before or place < self.latest:
            return False
        self.streams[stream_id] = reached, seq
        self.latest = place
        self.session.add(event)
        return True


class UxLedger:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._stale: set[str] = set()

    def strangers(self, events: Iterable[Event]) -> set[str]:
        """Sessions of which nothing is known here, but for those that begin with these events."""
        found: set[str] = set()
        begun: set[str] = set()
        for event in events:
            name = event.origin.session_id
            if name in self._known or name in self._stale or name in begun or not matters(event):
                continue
            fact = event.fact
            if isinstance(fact, SessionStarted) and not fact.resumed and event.seq <= 1:
                begun.add(name)
            else:
                found.add(name)
        return found

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
        counts: list[tuple[Place, str, Tally]] = []
        for name, known in touched.items():
            known.session.project()
            counts += [(place, name, tally) for place, tally in known.minutes.tallies.items()]
            known.minutes.tallies.clear()
            # The longest unheard go first when there are too many; what they say next counts them anew.
            self._known[name] = self._known.pop(name)
        while len(self._known) > SESSIONS_MAX:
            del self._known[next(iter(self._known))]
        return _count_table(counts), _value_table(counts)


def _count_table(rows: Sequence[tuple[Place, str, Tally]]) -> pa.Table:
    columns = _dimensions([place for place, _, _ in rows])
    tallies = [tally for _, _, tally in rows]
    columns["used"] = pa.array([tally.used for tally in tallies], pa.bool_())
    for name in _COUNTS:
        columns[name] = pa.array([getattr(tally, name) for tally in tallies], pa.int64())
    return pa.table(columns)


def _value_table(rows: Sequence[tuple[Place, str, Tally]]) -> pa.Table:
    listed = [
        (place, measure, number, count)
        for place, _, tally in rows
        for measure in _VALUES
        for number, count in getattr(tally, measure).items()
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
    named = {name: pa.array([getattr(origin, name) for origin in origins], pa.string()) for name in _DIMENSIONS}
    return {"bucket": moments} | named
