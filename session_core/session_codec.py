"""A session's record as bytes, and its times carried over from one boot of the machine to the next."""

from __future__ import annotations

import msgspec

from session_core.clock import CLOCK_STEP_S_MIN, Clock
from session_core.session_store import SessionRecord

# Of what is inside a record's bytes. A field that is added with a default does not change it.
FORMAT = 1


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """When something was written: `boot` seconds mean what they say only in the boot called `boot_id`."""

    boot_id: str | None
    wall: float
    boot: float


class StampedRecord(msgspec.Struct, frozen=True, kw_only=True):
    record: SessionRecord
    written: Stamp


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StampedRecord)


def stamp(clock: Clock, boot_id: str | None) -> Stamp:
    return Stamp(boot_id=boot_id, wall=clock.wall(), boot=clock.boot())


def encode(record: SessionRecord, *, now: Stamp) -> bytes:
    return _encoder.encode(StampedRecord(record=record, written=now))


def decode(body: bytes, *, now: Stamp) -> SessionRecord:
    """The record in the boot seconds of `now`. Raises msgspec.DecodeError when it is none."""
    stamped = _decoder.decode(body)
    return stamped.record if same_boot(stamped.written, now) else carried_over(stamped.record, stamped.written, now)


def same_boot(written: Stamp, now: Stamp) -> bool:
    """Where the platform names no boots, those of which wall and boot clock are as far apart are taken for one."""
    if written.boot_id is not None and now.boot_id is not None:
        return written.boot_id == now.boot_id
    return abs((now.wall - now.boot) - (written.wall - written.boot)) < CLOCK_STEP_S_MIN


def carried_over(record: SessionRecord, written: Stamp, now: Stamp) -> SessionRecord:
    """The record in this boot's seconds, each time as old as it was when it was written, and older by what passed since.

    Only the wall clock knows how much passed between two boots. Where it was set back meanwhile it would make a session
    younger, so it is never believed below nothing: no age that was once stored is taken back. Where it was set ahead a
    session ends too early, which costs a sign-in and no safety. The lease goes: its holder did not outlive its boot.
    """
    passed_s = max(0.0, now.wall - written.wall)
    shift_s = now.boot - passed_s - written.boot
    tokens = record.tokens
    return msgspec.structs.replace(
        record,
        tokens=msgspec.structs.replace(
            tokens,
            issued_at=tokens.issued_at + shift_s,
            expires_at=tokens.expires_at + shift_s,
            refresh_due_at=tokens.refresh_due_at + shift_s,
            refresh_expires_at=_shifted(tokens.refresh_expires_at, shift_s),
        ),
        started_at=record.started_at + shift_s,
        last_activity_at=record.last_activity_at + shift_s,
        refresh_sent_at=_shifted(record.refresh_sent_at, shift_s),
        lease_until=None,
    )


def _shifted(moment: float | None, shift_s: float) -> float | None:
    return None if moment is None else moment + shift_s
