"""How often each sender may come."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network

SENDERS_MAX = 10_000
HOUSE_BITS = 64


class Turnstile:
    """Lets a sender in `burst` times at once and `per_minute` times in the long run. Who came longest ago is forgotten."""

    def __init__(self, *, per_minute: float, burst: int, senders_max: int = SENDERS_MAX) -> None:
        self._pause_s = 60.0 / per_minute
        self._ahead_s_max = self._pause_s * (burst - 1)
        self._senders_max = senders_max
        # When the next one of a sender who came no oftener than allowed would be due.
        self._due_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, sender: str, now: float) -> float:
        """0 lets them in; else how long until they may come again."""
        due_at = max(self._due_at.pop(sender, now), now)
        wait_s = max(0.0, due_at - now - self._ahead_s_max)
        self._due_at[sender] = due_at if wait_s else due_at + self._pause_s
        if len(self._due_at) > self._senders_max:
            self._due_at.popitem(last=False)
        return wait_s


def sender_of(address: str) -> str:
    """Whom to count: one machine may take any of the addresses that IPv6 gives its house."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return str(known)
    return str(known.ipv4_mapped or ip_network((known, HOUSE_BITS), strict=False))
