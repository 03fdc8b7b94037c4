"""What the UX score is made of: whole numbers and histograms, which add up over sessions and windows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from session_core import histograms
from session_core.histograms import Histogram


class _Felt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What adds up. Values of 0 are left out of `waited_ms` and `stale_ttls`."""

    active_us: int = 0
    forced_sign_ins: int = 0
    surfaced_401s: int = 0
    lost_inputs: int = 0
    excused_ends: int = 0
    resume_ms: Histogram = Histogram()
    requests: int = 0
    auth_errors: int = 0
    waited_ms: Histogram = Histogram()
    answers: int = 0
    stale_ttls: Histogram = Histogram()
    reuse_revocations: int = 0
    uses_after_revocation: int = 0

    @property
    def active_s(self) -> float:
        return self.active_us / 1e6

    @property
    def interruptions(self) -> int:
        return self.forced_sign_ins + self.surfaced_401s + self.lost_inputs

    @property
    def capped(self) -> bool:
        return bool(self.reuse_revocations or self.uses_after_revocation or self.lost_inputs)


class UxFigures(_Felt, frozen=True, kw_only=True):
    """All the score is made of."""

    sessions: int = 0
    interrupted_sessions: int = 0
    users: int = 0
    interrupted_users: int = 0


class UxInputs(_Felt, frozen=True, kw_only=True):
    """The same with the names of those who were there, so that those of several windows can be merged."""

    sessions: frozenset[str] = frozenset()
    interrupted_sessions: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    interrupted_users: frozenset[str] = frozenset()

    @property
    def figures(self) -> UxFigures:
        figures: dict[str, Any] = {
            name: len(value) if isinstance(value, frozenset) else value
            for name, value in msgspec.structs.asdict(self).items()
        }
        return UxFigures(**figures)


def merge(inputs: Iterable[UxInputs]) -> UxInputs:
    """Those of several sessions, windows or both together: values are pooled, so nothing is ever averaged."""
    pool = (UxInputs(), *inputs)
    return UxInputs(**{name: _together([getattr(one, name) for one in pool]) for name in UxInputs.__struct_fields__})


def _together(values: list[Any]) -> Any:
    match values[0]:
        case frozenset():
            return frozenset().union(*values)
        case Histogram():
            return histograms.merge(values)
        case _:
            return sum(values)


def told(
    inputs: UxInputs,
    *,
    lost_inputs: int = 0,
    reuse_revocations: int = 0,
    uses_after_revocation: int = 0,
    administrator_revocations: int = 0,
) -> UxInputs:
    """The inputs with what no event says, from who knows: a page, or a provider that was asked.

    Lost input and an administrator's revocation are told of one session, since they change whether it was interrupted.
    """
    excused = min(administrator_revocations, inputs.forced_sign_ins)
    changed = msgspec.structs.replace(
        inputs,
        lost_inputs=inputs.lost_inputs + lost_inputs,
        reuse_revocations=inputs.reuse_revocations + reuse_revocations,
        uses_after_revocation=inputs.uses_after_revocation + uses_after_revocation,
        forced_sign_ins=inputs.forced_sign_ins - excused,
        excused_ends=inputs.excused_ends + excused,
    )
    if not lost_inputs and not excused:
        return changed
    assert len(inputs.sessions) <= 1, "one session's inputs are told of it before they are merged"
    felt = changed.interruptions > 0
    return msgspec.structs.replace(
        changed,
        interrupted_sessions=inputs.sessions if felt else frozenset(),
        interrupted_users=inputs.users if felt else frozenset(),
    )
