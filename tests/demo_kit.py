"""Plans of sample data that end at a Wednesday noon."""

from __future__ import annotations

from datetime import UTC, datetime

from session_core.demo.plan import Plan

DAY_S = 86_400.0
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()


def the_last(days: float, *, users: int, seed: int = 1, until_s: float = NOON) -> Plan:
    return Plan(users=users, seed=seed, from_s=until_s - days * DAY_S, until_s=until_s)
