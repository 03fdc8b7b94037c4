"""The devices of the sample data: how each is used, when it sleeps, and what tends to befall it."""

from __future__ import annotations

import msgspec

from session_core.sim.steps import Verb

HOUR_S = 3_600.0
_AT_A_DESK = (Verb.NETWORK_DOWN, Verb.NETWORK_SLOW, Verb.LOSE_NEXT_ANSWER, Verb.STALL)
_ON_THE_MOVE = (Verb.NETWORK_DOWN, Verb.NETWORK_DOWN, Verb.NETWORK_SLOW, Verb.NETWORK_LOSS, Verb.PORTAL)


class Kit(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of device. Gaps between two acts are of the model `dataset`, at most `gap_s_max` while in use.

    It sleeps `sleeps_after_s` after the last act, if it sleeps at all. `troubled` is the share of acts that meet one of
    `troubles`; `weekends` the share of Saturdays and Sundays on which it is used.
    """

    name: str
    dataset: str
    gap_s_max: float = 3 * HOUR_S
    begins_h: float = 8.0
    lasts_h: float = 9.0
    weekends: float = 0.1
    sleeps_after_s: float | None = 900.0
    latency_s: float = 0.08
    troubled: float = 0.01
    troubles: tuple[Verb, ...] = _AT_A_DESK


def _phone(name: str, dataset: str, *, troubled: float) -> Kit:
    return Kit(
        name=name,
        dataset=dataset,
        gap_s_max=8 * HOUR_S,
        begins_h=6.5,
        lasts_h=16.0,
        weekends=0.9,
        sleeps_after_s=40.0,
        latency_s=0.16,
        troubled=troubled,
        troubles=_ON_THE_MOVE,
    )


# In this order they are handed out, so that any few people have one of every kind.
KITS = (
    Kit(name="laptop-1", dataset="zig"),
    _phone("phone-1", "wiki", troubled=0.03),
    Kit(name="desktop-1", dataset="yocto", sleeps_after_s=None, troubled=0.003),
    Kit(name="laptop-2", dataset="slack", sleeps_after_s=300.0, troubled=0.02),
    Kit(name="laptop-3", dataset="college", begins_h=9.0, troubles=_ON_THE_MOVE, latency_s=0.12),
    _phone("phone-2", "moodle", troubled=0.05),
    Kit(name="desktop-2", dataset="zig", sleeps_after_s=1_800.0, weekends=0.0, troubled=0.003),
)
