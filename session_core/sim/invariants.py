"""What holds in every run, whatever the scenario and the policy: the list, who is exempt, and the judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from session_core import events as e
from session_core.sim import end_rules, log_rules, refresh_rules, use_rules
from session_core.sim.rules import Rule, Setting, Told

INVARIANTS: Mapping[str, Rule] = MappingProxyType(
    {
        rule.__name__: rule
        for rule in (
            refresh_rules.no_spent_token,
            refresh_rules.single_flight,
            refresh_rules.no_early_refresh,
            refresh_rules.unmoved_rests,
            refresh_rules.refreshed_once_for_a_refusal,
            refresh_rules.posts_bounded,
            refresh_rules.retries_wait,
            refresh_rules.open_breaker_rests,
            use_rules.no_expired_token,
            use_rules.refused_for_a_cause,
            use_rules.nothing_after_the_end,
            use_rules.refused_for_good,
            use_rules.served_to_its_end,
            use_rules.taken_up_as_left,
            end_rules.ends_are_earned,
            end_rules.rejected_by_the_provider,
            end_rules.one_reason_per_end,
            end_rules.idle_limit_kept,
            end_rules.absolute_limit_kept,
            use_rules.attempts_bounded,
            use_rules.cache_keeps_to_its_user,
            log_rules.no_state_past_its_deadline,
            log_rules.no_part_crashes,
            log_rules.health_in_its_band,
            log_rules.no_gap_in_the_log,
            log_rules.no_secret,
        )
    }
)
EXEMPT: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"basic": MappingProxyType({"no_state_past_its_deadline": "it has no worker that would free a stuck state"})}
)
"""By policy: which invariants do not bind it, and why."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One broken invariant; `at` is boot seconds."""

    name: str
    at: float
    session: str
    says: str

    def __str__(self) -> str:
        return f"{self.name}: {self.says} (session {self.session}, at {self.at:.3f} s)"


def violations(events: Iterable[e.Event], setting: Setting) -> Iterator[Violation]:
    """Every way in which a run broke what must always hold; the first of each invariant and session."""
    told = Told(events)
    for name, rule in INVARIANTS.items():
        if name in EXEMPT.get(setting.policy.name, {}):
            continue
        seen: set[str] = set()
        for event, says in rule(told, setting):
            session = event.origin.session_id
            if session not in seen:
                seen.add(session)
                yield Violation(name=name, at=event.boot, session=session, says=says)
