"""A run line by line: each event with its moment, its lane and a plain sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from session_core import events as e
from session_core.dashboard.lanes import Lane, when
from session_core.sim.clock import EPOCH_S
from session_core.sim.world import STARTED_WITHIN_S
from session_core.store.descriptions import describe
from session_core.vocabulary import Band

LANES: Mapping[type[e.Fact], Lane] = {
    **dict.fromkeys((e.UserActed, e.UserSaw, e.LoginRequested), Lane.USER),
    **dict.fromkeys((e.DeviceChanged, e.GapObserved, e.ClockSkewEstimated, e.PersistFailed), Lane.DEVICE),
    e.NetworkChanged: Lane.NETWORK,
    **dict.fromkeys((e.ProviderSaw, e.ProviderNoted, e.FaultOrdered, e.FaultEnded), Lane.PROVIDER),
    **dict.fromkeys((e.TokenRefreshed, e.TokenFollowed, e.RefreshFailed, e.RefreshDiscarded), Lane.TOKEN),
    **dict.fromkeys((e.FallbackTried, e.TokenRevoked, e.KeysFetched), Lane.TOKEN),
    **dict.fromkeys((e.RequestServed, e.CacheServed, e.CacheSwept, e.RetryScheduled, e.BreakerChanged), Lane.REQUESTS),
}
"""What is not named here is about the session's state."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """`at_s` counts from the users' sign-in, like every time in a scenario; before it, it is negative.

    `who` is the device; empty for the provider, of which there is one.
    """

    at_s: float
    lane: Lane
    who: str
    sentence: str
    event: e.Event


def lines_of(events: Iterable[e.Event]) -> Iterator[Line]:
    """Every event of a simulated run as a line."""
    for event in events:
        lane = LANES.get(type(event.fact), Lane.STATE)
        who = "" if lane is Lane.PROVIDER else event.origin.device
        at_s = when(event) - EPOCH_S - STARTED_WITHIN_S
        yield Line(at_s=at_s, lane=lane, who=who, sentence=describe(event), event=event)


def without_routine(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines but for health checks that found what the one before had found, and sweeps that let go of nothing."""
    bands: dict[str, Band] = {}
    for line in lines:
        fact, session = line.event.fact, line.event.origin.session_id
        if isinstance(fact, e.HeartbeatBeat):
            if bands.get(session) is fact.band:
                continue
            bands[session] = fact.band
        if not (isinstance(fact, e.CacheSwept) and fact.removed == 0):
            yield line


def offset(at_s: float) -> str:
    """A moment of the run as +8:30:00.125."""
    milliseconds = round(at_s * 1000)
    seconds, rest_ms = divmod(abs(milliseconds), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{'−' if milliseconds < 0 else '+'}{hours}:{minutes:02}:{seconds:02}.{rest_ms:03}"


def written(lines: Sequence[Line]) -> Iterator[str]:
    """The lines as columns of text; whom it was about is named where there is more than one."""
    several = len({line.who for line in lines} - {""}) > 1
    wide_at = max((len(offset(line.at_s)) for line in lines), default=0)
    wide_who = max((len(line.who) for line in lines), default=0)
    for line in lines:
        who = f"{line.who:<{wide_who}}  " if several else ""
        yield f"{offset(line.at_s):>{wide_at}}  {line.lane:<8}  {who}{line.sentence}"
