"""A record keeps its ages from one boot to the next, and a wrong wall clock never makes a session younger."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core import session_codec
from session_core.session_codec import Stamp, decode, encode
from session_core.session_store import SessionRecord
from session_core.tokens import TokenSet

WRITTEN = Stamp(boot_id="first", wall=1_767_225_600.0, boot=5000.0)
TOKENS = TokenSet(
    access_token="at",
    refresh_token="rt",
    issued_at=4990.0,
    expires_at=8590.0,
    refresh_due_at=8290.0,
    refresh_expires_at=90_000.0,
)
RECORD = SessionRecord(
    session_id="s",
    user_id="ada",
    version=3,
    tokens=TOKENS,
    started_at=1000.0,
    last_activity_at=4000.0,
    refresh_sent_at=4980.0,
    lease_until=5006.0,
    device="Firefox on Linux",
    address="192.0.2.7",
)


def read_at(now: Stamp, record: SessionRecord = RECORD, written: Stamp = WRITTEN) -> SessionRecord:
    return decode(encode(record, now=written), now=now)


@given(wall=st.floats(0, 1e10), boot=st.floats(5000, 1e9))
def test_in_the_same_boot_every_time_is_as_it_was(wall: float, boot: float) -> None:
    """To the last digit, and whatever the wall clock says."""
    assert read_at(Stamp(boot_id="first", wall=wall, boot=boot)) == RECORD


def test_after_a_restart_everything_is_older_by_what_passed() -> None:
    """Written at boot second 5000; read an hour later, 60 s after the machine came up."""
    later = read_at(Stamp(boot_id="second", wall=WRITTEN.wall + 3600, boot=60.0))
    assert 60.0 - later.started_at == 4000 + 3600
    assert 60.0 - later.last_activity_at == 1000 + 3600
    assert later.refresh_sent_at is not None
    assert 60.0 - later.refresh_sent_at == 20 + 3600
    assert later.tokens.expires_at - 60.0 == 3590 - 3600
    assert later.tokens.refresh_due_at - 60.0 == 3290 - 3600
    assert later.tokens.refresh_expires_at is not None
    assert later.tokens.refresh_expires_at - 60.0 == 85_000 - 3600
    assert later.tokens.life_s == TOKENS.life_s
    assert (later.device, later.address, later.version) == (RECORD.device, RECORD.address, RECORD.version)


def test_a_lease_ends_with_its_boot() -> None:
    """Its holder did, too; the mark it left stays."""
    later = read_at(Stamp(boot_id="second", wall=WRITTEN.wall + 1, boot=1.0))
    assert later.lease_until is None
    assert later.refresh_sent_at is not None


def test_times_that_are_not_known_stay_unknown() -> None:
    """There is nothing to carry over."""
    bare = msgspec.structs.replace(
        RECORD, refresh_sent_at=None, tokens=msgspec.structs.replace(TOKENS, refresh_expires_at=None)
    )
    later = read_at(Stamp(boot_id="second", wall=WRITTEN.wall + 1, boot=1.0), bare)
    assert later.refresh_sent_at is None
    assert later.tokens.refresh_expires_at is None


@given(
    stepped_s=st.floats(-1e9, 1e9),
    boot=st.floats(0, 1e7),
    started_at=st.floats(-1e7, 5000),
    active_s=st.floats(0, 1e6),
)
def test_no_restart_and_no_clock_make_a_session_younger(
    stepped_s: float, boot: float, started_at: float, active_s: float
) -> None:
    """Its ages after a restart are never below what they were when it was written."""
    last_activity_at = min(started_at + active_s, 5000.0)
    record = msgspec.structs.replace(RECORD, started_at=started_at, last_activity_at=last_activity_at)
    later = read_at(Stamp(boot_id="second", wall=WRITTEN.wall + stepped_s, boot=boot), record)
    slack = 1e-5
    assert boot - later.started_at >= 5000 - started_at - slack
    assert boot - later.last_activity_at >= 5000 - last_activity_at - slack
    assert later.tokens.expires_at - boot <= TOKENS.expires_at - 5000 + slack


def test_several_restarts_add_up() -> None:
    """What one boot has carried over, the next goes on from."""
    second = Stamp(boot_id="second", wall=WRITTEN.wall + 3600, boot=60.0)
    third = Stamp(boot_id="third", wall=WRITTEN.wall + 7200, boot=9.0)
    once = read_at(second)
    assert 9.0 - read_at(third, once, second).started_at == pytest.approx(4000 + 7200)


@pytest.mark.parametrize("apart_s", [0.0, 4.9, -4.9, 5.1, -5.1])
def test_where_boots_have_no_names_they_are_told_by_their_clocks(apart_s: float) -> None:
    """Within a boot, wall and boot clock stay as far apart as they are."""
    now = Stamp(boot_id=None, wall=WRITTEN.wall + 100 + apart_s, boot=WRITTEN.boot + 100)
    assert session_codec.same_boot(WRITTEN, now) is (abs(apart_s) < 5)


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"record": {}, "written": {}}', b"\xff\xfe"])
def test_what_is_no_record_is_refused(body: bytes) -> None:
    """One kind of error for all of it."""
    with pytest.raises(msgspec.DecodeError):
        decode(body, now=WRITTEN)


def test_a_record_from_before_a_field_was_added_can_be_read() -> None:
    """The same format goes on: what is new has a default."""
    known = msgspec.json.decode(encode(RECORD, now=WRITTEN))
    for added in ("device", "address", "lease_until"):
        known["record"].pop(added)
    known["record"]["of_a_later_version"] = 1
    assert decode(msgspec.json.encode(known), now=WRITTEN) == msgspec.structs.replace(
        RECORD, device="", address="", lease_until=None
    )
