"""A user's sessions as the user knows them: by device and place, without what is in them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from session_core.clock import Clock
from session_core.session_limits import SessionLimits, Standing
from session_core.session_store import SessionRecord


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One session. Times are wall seconds; empty words are not known."""

    session_id: str
    name: str
    address: str
    first_seen_at: float
    last_seen_at: float
    is_this: bool
    is_locked: bool


def devices_of(
    records: Iterable[SessionRecord], limits: SessionLimits, *, this: str, clock: Clock
) -> tuple[Device, ...]:
    """The one asked for as `this` first, then the one in use last. What is older than a session may get is over, swept or not."""
    now, wall = clock.boot(), clock.wall()

    def device(record: SessionRecord) -> Device:
        standing = limits.verdict(now, record.started_at, record.last_activity_at).standing
        return Device(
            session_id=record.session_id,
            name=record.device,
            address=record.address,
            first_seen_at=wall - (now - record.started_at),
            last_seen_at=wall - (now - record.last_activity_at),
            is_this=record.session_id == this,
            is_locked=standing is Standing.IDLE,
        )

    alive = [record for record in records if limits.absolute_s is None or now < record.started_at + limits.absolute_s]
    return tuple(sorted(map(device, alive), key=lambda each: (not each.is_this, -each.last_seen_at)))
