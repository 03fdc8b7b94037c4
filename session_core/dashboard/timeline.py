"""One session's events as lanes over one axis of time: user, device, network, provider, state, token, requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from session_core import events as e
from session_core.dashboard.lanes import NOTHING, Lane, Life, Look, Mark, Moment, Span, Timeline, when
from session_core.dashboard.phrases import capitalised, fault
from session_core.provider.faults import EFFECTS
from session_core.store.descriptions import describe
from session_core.vocabulary import DeviceChange, GapKind, NetworkState, Served, Sight, Source, State

LANE_MARKS_MAX = 1_200
NARROW_SHARE = 1 / 400
MOMENTS_MAX = 5


def build(events: Iterable[e.Event]) -> Timeline:
    """The lanes of one session, live or simulated."""
    ordered = tuple(sorted(events, key=when))
    if not ordered:
        return NOTHING
    began_s, ended_s = when(ordered[0]), when(ordered[-1])
    weaver = _Weaver(ordered)
    for place, event in enumerate(ordered):
        weaver.take(place, when(event), event)
    weaver.close(ended_s)
    marks = tuple(_thinned(weaver.marks, ended_s - began_s))
    return Timeline(
        began_s=began_s,
        ended_s=ended_s,
        marks=marks,
        spans=tuple(weaver.spans),
        lives=tuple(weaver.lives),
        moments=tuple(_moments(weaver, began_s, ended_s)),
        events=ordered,
    )


_SIGHTS = {
    Sight.ANSWER: Look.ANSWERED,
    Sight.STALE_ANSWER: Look.STALE,
    Sight.FOREIGN_ANSWER: Look.ERROR,
    Sight.ERROR: Look.ERROR,
    Sight.SIGN_IN: Look.SIGN_IN,
    Sight.LOCKED: Look.SIGN_IN,
    Sight.SIGNED_IN: Look.SIGNED_IN,
}
_NETWORKS = {
    NetworkState.DOWN: Look.DOWN,
    NetworkState.SLOW: Look.SLOW,
    NetworkState.LOSSY: Look.LOSSY,
    NetworkState.PORTAL: Look.PORTAL,
}
_DEVICES = {
    DeviceChange.SUSPENDED: Look.ASLEEP,
    DeviceChange.STALLED: Look.STALLED,
    DeviceChange.THROTTLED: Look.THROTTLED,
    DeviceChange.KILLED: Look.OFF,
    DeviceChange.STORE_FAILED: Look.DISK,
}
_ENDINGS = {
    DeviceChange.RESUMED: Look.ASLEEP,
    DeviceChange.UNTHROTTLED: Look.THROTTLED,
    DeviceChange.STARTED: Look.OFF,
    DeviceChange.STORE_RECOVERED: Look.DISK,
}
_GAPS = {GapKind.SUSPEND: Look.ASLEEP, GapKind.STALL: Look.STALLED, GapKind.THROTTLE: Look.THROTTLED}
_CACHED = (Served.CACHE, Served.STALE, Served.STALE_IF_ERROR)
_TELLING = ("reuse_detected", "family_revoked", "replay_answered", "session_ended")
_ORDINARY = (Look.ACTED, Look.ANSWERED, Look.SERVED, Look.CACHED)


class _Weaver:
    """Takes events in order and holds what has begun and not yet ended."""

    def __init__(self, events: Sequence[e.Event]) -> None:
        self.marks: list[Mark] = []
        self.spans: list[Span] = []
        self.lives: list[Life] = []
        self.notable: list[tuple[float, str]] = []
        self._open: dict[tuple[Lane, object], Span] = {}
        self._life: Life | None = None
        # The world says what it does to a device; only where there is no world does the program's own guess stand in.
        self._has_world = any(event.origin.source is Source.SIM for event in events)

    def take(self, place: int, at_s: float, event: e.Event) -> None:
        says, fact = describe(event), event.fact
        match fact:
            case e.UserActed():
                self._mark(Lane.USER, at_s, Look.ACTED, says, place)
            case e.UserSaw():
                self._mark(Lane.USER, at_s, _SIGHTS[fact.sight], says, place)
            case e.DeviceChanged():
                self._device(fact, at_s, says, place)
            case e.GapObserved():
                self._gap(fact, at_s, says, place)
            case e.NetworkChanged():
                self._network(fact, at_s, says, place)
            case e.FaultOrdered() | e.FaultEnded() | e.ProviderNoted():
                self._provider(fact, at_s, says, place)
            case e.StateChanged():
                self._state(fact, at_s, says, place)
            case e.RequestServed():
                look = Look.FAILED if fact.error else Look.CACHED if fact.served in _CACHED else Look.SERVED
                self._mark(Lane.REQUESTS, at_s, look, says, place)
            case _:
                self._token(fact, at_s, says, place)

    def close(self, ended_s: float) -> None:
        """The end of what is known ends what is still going on."""
        for key in list(self._open):
            self._end(key, ended_s)
        self._cut(ended_s)

    def _device(self, fact: e.DeviceChanged, at_s: float, says: str, place: int) -> None:
        if fact.change in _ENDINGS:
            self._end((Lane.DEVICE, _ENDINGS[fact.change]), at_s)
            self.notable.append((at_s, says))
        elif fact.change in _DEVICES:
            look = _DEVICES[fact.change]
            self._begin((Lane.DEVICE, look), at_s, look, says, place)
            if fact.change is DeviceChange.STALLED:
                self._end((Lane.DEVICE, look), at_s + fact.seconds)
        else:
            self._mark(Lane.DEVICE, at_s, Look.CHANGED, says, place)

    def _gap(self, fact: e.GapObserved, at_s: float, says: str, place: int) -> None:
        if self._has_world:
            return
        if fact.gap in _GAPS:
            look = _GAPS[fact.gap]
            span = Span(
                lane=Lane.DEVICE, from_s=at_s - abs(fact.seconds), until_s=at_s, look=look, says=says, place=place
            )
            self.spans.append(span)
            self.notable.append((at_s, says))
        else:
            self._mark(Lane.DEVICE, at_s, Look.CHANGED, says, place)

    def _network(self, fact: e.NetworkChanged, at_s: float, says: str, place: int) -> None:
        if fact.state in (NetworkState.RESET, NetworkState.ANSWER_LOST):
            self._mark(Lane.NETWORK, at_s, Look.LOST, says, place)
            return
        for key in [key for key in self._open if key[0] is Lane.NETWORK]:
            self._end(key, at_s)
        if fact.state is NetworkState.UP:
            self.notable.append((at_s, says))
        else:
            look = _NETWORKS[fact.state]
            self._begin((Lane.NETWORK, look), at_s, look, says, place)

    def _provider(
        self, fact: e.FaultOrdered | e.FaultEnded | e.ProviderNoted, at_s: float, says: str, place: int
    ) -> None:
        match fact:
            case e.FaultOrdered() if not self._has_world or fact.fault in EFFECTS:
                self._mark(Lane.PROVIDER, at_s, Look.FAULT, says, place)
            case e.FaultOrdered():
                self._begin((Lane.PROVIDER, (fact.endpoint, fact.fault)), at_s, Look.FAULT, says, place)
                self.notable[-1] = (at_s, capitalised(fault(fact)))
            case e.FaultEnded():
                self._end((Lane.PROVIDER, (fact.endpoint, fact.fault)), at_s)
                self.notable.append((at_s, "The fault is over"))
            case _ if fact.what in _TELLING:
                self._mark(Lane.PROVIDER, at_s, Look.NOTED, says, place)

    def _state(self, fact: e.StateChanged, at_s: float, says: str, place: int) -> None:
        self._end((Lane.STATE, Lane.STATE), at_s)
        span = Span(lane=Lane.STATE, from_s=at_s, until_s=at_s, look=fact.state_to, says=says, place=place)
        self._open[Lane.STATE, Lane.STATE] = span
        if fact.state_to not in (State.ACTIVE, State.REFRESHING):
            self.notable.append((at_s, says))

    def _token(self, fact: e.AnyFact, at_s: float, says: str, place: int) -> None:
        match fact:
            case e.SessionStarted():
                self._live(at_s, fact.life_s if fact.left_s is None else fact.left_s, says, place)
            case e.TokenRefreshed():
                self._mark(Lane.REQUESTS, at_s, Look.REFRESHED, says, place)
                self._live(at_s, fact.life_s, says, place)
            case e.TokenFollowed():
                self._live(at_s, fact.left_s, says, place)
            case e.RefreshFailed():
                self._mark(Lane.REQUESTS, at_s, Look.RETRY, says, place)
            case e.SessionEnded():
                self._cut(at_s)
            case _:
                pass

    def _mark(self, lane: Lane, at_s: float, look: Look, says: str, place: int) -> None:
        self.marks.append(Mark(lane=lane, at_s=at_s, look=look, says=says, place=place))
        if look not in (*_ORDINARY, Look.REFRESHED):
            self.notable.append((at_s, says))

    def _begin(self, key: tuple[Lane, object], at_s: float, look: Look, says: str, place: int) -> None:
        self._end(key, at_s)
        self._open[key] = Span(lane=key[0], from_s=at_s, until_s=at_s, look=look, says=says, place=place)
        self.notable.append((at_s, says))

    def _end(self, key: tuple[Lane, object], at_s: float) -> None:
        span = self._open.pop(key, None)
        if span is not None:
            self.spans.append(msgspec.structs.replace(span, until_s=at_s))

    def _live(self, at_s: float, life_s: float, says: str, place: int) -> None:
        self._cut(at_s)
        self._life = Life(from_s=at_s, until_s=at_s, life_s=max(life_s, 0.0), says=says, place=place)

    def _cut(self, at_s: float) -> None:
        if self._life is not None:
            self.lives.append(msgspec.structs.replace(self._life, until_s=at_s))
            self._life = None


def _thinned(marks: Sequence[Mark], whole_s: float) -> Iterator[Mark]:
    """Ordinary marks of one look that stand too close to be told apart become one; whatever is not ordinary stays."""
    crowded = {lane for lane in Lane if sum(mark.lane is lane for mark in marks) > LANE_MARKS_MAX}
    heaps: dict[tuple[Lane, Look, int], Mark] = {}
    narrow_s = max(whole_s * NARROW_SHARE, 1e-9)
    for mark in marks:
        if mark.lane not in crowded or mark.look not in _ORDINARY:
            yield mark
            continue
        key = (mark.lane, mark.look, int(mark.at_s // narrow_s))
        first = heaps.get(key, mark)
        heaps[key] = msgspec.structs.replace(first, count=first.count + (first is not mark))
    for mark in heaps.values():
        yield mark if mark.count == 1 else msgspec.structs.replace(mark, says=f"{mark.count} times: {mark.says}")


def _moments(weaver: _Weaver, began_s: float, ended_s: float) -> Iterator[Moment]:
    """The busiest stretches, in order of time; none where the whole is short or quiet."""
    calm_s = max((ended_s - began_s) / 50, 60.0)
    heaps: list[list[tuple[float, str]]] = []
    for at_s, says in sorted(weaver.notable):
        if at_s - began_s < 1.0:
            continue
        if heaps and at_s - heaps[-1][-1][0] <= calm_s:
            heaps[-1].append((at_s, says))
        else:
            heaps.append([(at_s, says)])
    busiest = sorted(heaps, key=len, reverse=True)[:MOMENTS_MAX]
    for heap in sorted(busiest):
        first_s, last_s = heap[0][0], heap[-1][0]
        room_s = max((last_s - first_s) * 0.25, 5.0)
        yield Moment(at_s=first_s, from_s=first_s - room_s, until_s=last_s + room_s, says=heap[0][1])
