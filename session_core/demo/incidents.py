"""Provider incidents of the sample data, in the shapes that vendors told of in their own post-mortems."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from session_core.provider.faults import Endpoint, Fault, FaultKind

DAY_S = 86_400.0
APART_DAYS = 3.0
"""One incident in so many days."""
HOURS = (8.0, 15.5)
"""When they begin, UTC: what nobody is awake for teaches nobody anything."""


class Phase(msgspec.Struct, frozen=True):
    """One stretch of an incident, in minutes from its beginning."""

    from_min: float
    until_min: float
    fault: Fault


class Shape(msgspec.Struct, frozen=True):
    """How an incident went. `like` says whose it was."""

    name: str
    like: str
    phases: tuple[Phase, ...]

    @property
    def lasts_s(self) -> float:
        return max(phase.until_min for phase in self.phases) * 60


def _fails(status: int, *, share: float = 1.0, retry_after_s: float | None = None) -> tuple[Fault, ...]:
    """Signing in fails as refreshing does."""
    return tuple(
        Fault(kind=FaultKind.STATUS, endpoint=endpoint, status=status, share=share, retry_after_s=retry_after_s)
        for endpoint in (Endpoint.TOKEN, Endpoint.AUTHORIZE)
    )


def _phases(from_min: float, until_min: float, faults: tuple[Fault, ...]) -> tuple[Phase, ...]:
    return tuple(Phase(from_min, until_min, fault) for fault in faults)


SHAPES = (
    Shape("Provider down for 47 min", "Google, 14 December 2020", _phases(0, 47, _fails(503))),
    Shape(
        "Provider failing, then one request in five",
        "Okta, 24 April 2018",
        (*_phases(0, 14, _fails(500)), *_phases(14, 55, _fails(500, share=0.2))),
    ),
    Shape(
        "Retry storm at the provider",
        "Auth0, 7 June 2020",
        (
            *_phases(0, 12, _fails(429, retry_after_s=60)),
            *_phases(12, 27, _fails(500)),
            *_phases(27, 41, _fails(502)),
        ),
    ),
    Shape(
        "API failing now and then for 73 min",
        "GitHub, the median of its incidents of 2022–26",
        _phases(0, 73, (Fault(kind=FaultKind.STATUS, endpoint=Endpoint.API, status=503, share=0.4),)),
    ),
    Shape("1.1 % of token requests fail", "Google, 19 April 2016", _phases(0, 70, _fails(500, share=0.011))),
)


class Incident(msgspec.Struct, frozen=True):
    """One incident at its time, in wall seconds."""

    begins_s: float
    shape: Shape

    @property
    def ends_s(self) -> float:
        return self.begins_s + self.shape.lasts_s


def draw_incidents(from_s: float, until_s: float, *, seed: int) -> tuple[Incident, ...]:
    """Those of one half of the time, all of them over at its end. The other half meets the same shapes."""
    count = max(1, round((until_s - from_s) / DAY_S / APART_DAYS))
    rng = random.Random(f"{seed}/incidents/{from_s}")
    shapes = [SHAPES[number % len(SHAPES)] for number in range(count)]
    rng.shuffle(shapes)
    width_s = (until_s - from_s) / count
    return tuple(
        Incident(_begin(from_s + number * width_s, width_s - shape.lasts_s, rng), shape)
        for number, shape in enumerate(shapes)
    )


def _begin(from_s: float, width_s: float, rng: random.Random) -> float:
    """Some time in the stretch, on a working day and in working hours if it has any."""
    drawn = [from_s + rng.uniform(0, width_s) for _ in range(200)]
    return next(_at_work(drawn), drawn[0])


def _at_work(moments: list[float]) -> Iterator[float]:
    for moment in moments:
        at = datetime.fromtimestamp(moment, UTC)
        if at.weekday() < 5 and HOURS[0] <= at.hour + at.minute / 60 < HOURS[1]:
            yield moment
