"""Each sender comes as often as it may, and no oftener."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.web.turnstile import Turnstile, sender_of


def test_a_burst_is_let_in_and_then_one_at_a_time() -> None:
    """Three at once, then one every second."""
    turnstile = Turnstile(per_minute=60, burst=3)
    assert [turnstile.wait_s("a", 10.0) for _ in range(4)] == [0, 0, 0, 1]
    assert turnstile.wait_s("a", 10.999) > 0
    assert turnstile.wait_s("a", 11.0) == 0
    assert turnstile.wait_s("a", 11.0) == 1


def test_being_turned_away_does_not_lengthen_the_wait() -> None:
    """Who asks again too early waits no longer for it."""
    turnstile = Turnstile(per_minute=60, burst=1)
    turnstile.wait_s("a", 0.0)
    assert [turnstile.wait_s("a", 0.5) for _ in range(5)] == [0.5] * 5
    assert turnstile.wait_s("a", 1.0) == 0


def test_one_sender_does_not_stand_in_anothers_way() -> None:
    """Each has an allowance of its own."""
    turnstile = Turnstile(per_minute=1, burst=1)
    assert turnstile.wait_s("a", 0.0) == 0
    assert turnstile.wait_s("b", 0.0) == 0
    assert turnstile.wait_s("a", 0.0) == 60


def test_it_remembers_a_bounded_number() -> None:
    """A flood of addresses takes no memory; who came longest ago begins anew."""
    turnstile = Turnstile(per_minute=1, burst=1, senders_max=2)
    for sender in "abc":
        turnstile.wait_s(sender, 0.0)
    assert len(turnstile._due_at) == 2
    assert turnstile.wait_s("c", 0.0) == 60
    assert turnstile.wait_s("a", 0.0) == 0


@given(
    pauses_s=st.lists(st.floats(0, 5), min_size=1, max_size=200),
    per_minute=st.floats(1, 600),
    burst=st.integers(1, 20),
)
def test_no_pattern_gets_more_in(pauses_s: list[float], per_minute: float, burst: int) -> None:
    """However they come: never more than the burst and what the time since has earned; and waiting as told is enough."""
    turnstile = Turnstile(per_minute=per_minute, burst=burst)
    now, let_in = 100.0, 0
    for pause_s in pauses_s:
        now += pause_s
        wait_s = turnstile.wait_s("a", now)
        let_in += wait_s == 0
        assert let_in <= burst + (now - 100.0 - pauses_s[0]) * per_minute / 60 + 1e-6
        assert wait_s <= 60 / per_minute + 1e-6
    wait_s = turnstile.wait_s("a", now)
    assert wait_s == 0 or turnstile.wait_s("a", now + wait_s + 1e-6) == 0


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:aaaa:bbbb:cccc:dddd", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a unix socket", "a unix socket"),
        ("", ""),
    ],
)
def test_a_house_of_ipv6_is_one_sender(address: str, sender: str) -> None:
    """Whoever has one address of it has 2⁶⁴, and may not come as often as that."""
    assert sender_of(address) == sender
