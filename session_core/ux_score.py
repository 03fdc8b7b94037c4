"""What a person feels of a session, 0–100: the Session Continuity Score, version 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from session_core.events import Event
from session_core.histograms import Histogram
from session_core.ux_figures import UxFigures, UxInputs, merge, told
from session_core.ux_inputs import ACTIVE_PAUSE_S, ALWAYS, UxObserver, Window, observe

__all__ = [
    "ALWAYS",
    "CURVES",
    "Curve",
    "Proportion",
    "UxFigures",
    "UxInputs",
    "UxObserver",
    "UxPart",
    "UxScore",
    "Window",
    "log_normal",
    "merge",
    "observe",
    "p75",
    "score",
    "score_session",
    "told",
    "wilson",
]

VERSION = 1
FLOOR = 0.01
CAP = 49.0
SESSIONS_MIN = 100
# What an objective of 99.9 % leaves.
ERROR_BUDGET = 0.001
# erfc⁻¹(1/5), as in Lighthouse's shared/statistics.js.
_INVERSE_ERFC_ONE_FIFTH = 0.9061938024368232
_Z_95 = 1.959963984540054


class Curve(NamedTuple):
    """Where a part is .90 and where it is .50, in `unit`; and how much it weighs."""

    weight: float
    p10: float
    median: float
    unit: str


CURVES: Mapping[str, Curve] = MappingProxyType(
    {
        "continuity": Curve(0.40, 1.0, 5.0, "per 1,000 active hours"),
        "resume": Curve(0.25, 1_000.0, 4_000.0, "ms"),
        "errors": Curve(0.15, 1.0, 6.0, "× the error budget"),
        "latency": Curve(0.10, 200.0, 500.0, "ms"),
        "freshness": Curve(0.10, 1.0, 3.0, "× TTL"),
    }
)


class UxPart(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`value` is between .01 and 1; `loss_share` is this part's share of what is missing to 100, before any cap.

    `samples` is how many hours, resumes, requests or answers it rests on; with none nothing was felt, and it is 1.
    """

    value: float
    weight: float
    raw: float
    unit: str
    samples: float
    loss_share: float


class Proportion(NamedTuple):
    """`share` of `total`, with its Wilson bounds at 95 %; without any the share is None."""

    share: float | None
    total: int
    low: float
    high: float


class UxScore(msgspec.Struct, frozen=True, kw_only=True):
    """`interruption_free_*` and `auth_error_rate` stand beside the score with their bounds; the budget can be overdrawn."""

    score: float
    version: int
    parts: Mapping[str, UxPart]
    reasons: tuple[str, ...]
    capped: bool
    sessions: int
    interruption_free_sessions: Proportion
    interruption_free_users: Proportion
    auth_error_rate: Proportion
    error_budget_left: float

    @property
    def confident(self) -> bool:
        return self.sessions >= SESSIONS_MIN

    @property
    def badge(self) -> str:
        few = f"{self.sessions} session{'' if self.sessions == 1 else 's'}"
        return f"{self.score:.0f}" if self.confident else f"{self.score:.0f}, from {few} only"


def score_session(events: Iterable[Event]) -> UxScore:
    """The score of one session; of more, their common one."""
    return score(observe(events))


def score(felt: UxInputs | UxFigures) -> UxScore:
    """100 · Π part^weight, each part floored at .01; at most 49 when something happened that must not."""
    inputs = felt.figures if isinstance(felt, UxInputs) else felt
    error_rate = inputs.auth_errors / inputs.requests if inputs.requests else 0.0
    burn = error_rate / ERROR_BUDGET
    active_h = inputs.active_s / 3_600.0
    measured = {
        "continuity": (_interruptions_per_1000_h(inputs), active_h),
        "resume": (p75(inputs.resume_ms), inputs.resume_ms.total),
        "errors": (burn, inputs.requests),
        "latency": (p75(inputs.waited_ms, of=inputs.requests), inputs.requests),
        "freshness": (p75(inputs.stale_ttls, of=inputs.answers), inputs.answers),
    }
    values = {name: _part(name, raw) for name, (raw, _) in measured.items()}
    losses = {name: -CURVES[name].weight * math.log(value) for name, value in values.items()}
    loss = math.fsum(losses.values())
    parts = {
        name: UxPart(
            value=values[name],
            weight=CURVES[name].weight,
            raw=raw,
            unit=CURVES[name].unit,
            samples=float(samples),
            loss_share=losses[name] / loss if loss else 0.0,
        )
        for name, (raw, samples) in measured.items()
    }
    uncapped = 100.0 * math.exp(-loss)
    return UxScore(
        score=min(uncapped, CAP) if inputs.capped else uncapped,
        version=VERSION,
        parts=parts,
        reasons=(*_cap_reasons(inputs), *_loss_reasons(inputs, parts)),
        capped=inputs.capped,
        sessions=inputs.sessions,
        interruption_free_sessions=_free(inputs.sessions, inputs.interrupted_sessions),
        interruption_free_users=_free(inputs.users, inputs.interrupted_users),
        auth_error_rate=wilson(inputs.auth_errors, inputs.requests),
        error_budget_left=1.0 - burn,
    )


def log_normal(value: float, *, p10: float, median: float) -> float:
    """Lighthouse's curve: .90 at `p10`, .50 at `median`, 1 at 0 (GoogleChrome/lighthouse, getLogNormalScore)."""
    assert 0 < p10 < median, "a curve falls"
    if value <= 0:
        return 1.0
    spread = math.log(median) - math.log(p10)
    return math.erfc((math.log(value) - math.log(median)) * _INVERSE_ERFC_ONE_FIFTH / spread) / 2


def p75(values: Histogram, *, of: int | None = None) -> float:
    """The smallest value that three quarters reach at most (nearest rank); 0 without any. Values not listed are 0."""
    return values.quantile(0.75, of=of)


def wilson(count: int, total: int) -> Proportion:
    """Bounds that hold for few and for extreme counts as well (Wilson 1927); 0 and 1 when nothing was counted."""
    assert 0 <= count <= total, "a part is not more than the whole"
    if not total:
        return Proportion(None, 0, 0.0, 1.0)
    share, z2 = count / total, _Z_95**2 / total
    middle = (share + z2 / 2) / (1 + z2)
    spread = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    # Rounding must not push a bound past the share itself, nor out of the possible.
    return Proportion(share, total, max(0.0, min(middle - spread, share)), min(1.0, max(middle + spread, share)))


def _part(name: str, raw: float) -> float:
    curve = CURVES[name]
    return max(FLOOR, log_normal(raw, p10=curve.p10, median=curve.median))


def _interruptions_per_1000_h(inputs: UxFigures) -> float:
    # Whoever is interrupted is there, if only to see it.
    return inputs.interruptions * 3_600_000.0 / max(inputs.active_s, ACTIVE_PAUSE_S)


def _free(all_of_them: int, interrupted: int) -> Proportion:
    return wilson(all_of_them - interrupted, all_of_them)


def _cap_reasons(inputs: UxFigures) -> tuple[str, ...]:
    found = (
        (inputs.reuse_revocations, "a refresh token was used twice and revoked"),
        (inputs.uses_after_revocation, "a token was used after the session's end"),
        (inputs.lost_inputs, "input was lost"),
    )
    return tuple(f"Capped at {CAP:.0f}: {what}, {count} ×." for count, what in found if count)


def _loss_reasons(inputs: UxFigures, parts: Mapping[str, UxPart]) -> tuple[str, ...]:
    """The largest loss first; what loses less than half a percent of it is not worth a sentence."""
    said = {
        "continuity": f"{_counted(inputs.interruptions, 'avoidable interruption')} in {inputs.active_s / 3600:,.1f} active hours",
        "resume": f"a quarter of {_counted(inputs.resume_ms.total, 'resume')} took {parts['resume'].raw:,.0f} ms or more",
        "errors": f"{_counted(inputs.auth_errors, 'auth error')} in {_counted(inputs.requests, 'request')}",
        "latency": f"a quarter of {_counted(inputs.requests, 'request')} waited {parts['latency'].raw:,.0f} ms or more",
        "freshness": f"a quarter of {_counted(inputs.answers, 'answer')} were stale by {parts['freshness'].raw:,.1f} × TTL or more",
    }
    ranked = sorted(parts.items(), key=lambda item: -item[1].loss_share)
    return tuple(
        f"{name.capitalize()}, {part.loss_share:.0%} of the loss: {said[name]}."
        for name, part in ranked
        if part.loss_share >= 0.005
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
