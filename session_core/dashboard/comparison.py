"""What a change bought: the differences between two sides of runs by size, and many runs from best to worst. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, variance
from typing import NamedTuple

import msgspec
import pandas as pd

from session_core.dashboard.phrases import length
from session_core.sim.run import Run
from session_core.sim.scenario import Scenario
from session_core.sim.steps import Verb

WITHOUT_FAULTS = "without-faults"
NAMED_MAX = 3
NOISE_SIGMAS = 2.0
# What people and their programs do of their own accord; everything else befalls them.
_USES = frozenset(
    {
        Verb.CALL,
        Verb.ACT,
        Verb.LISTEN,
        Verb.SIGN_IN,
        Verb.SIGN_OUT,
        Verb.FORCE_REFRESH,
        Verb.OPEN_PROCESS,
        Verb.END_SESSIONS_ELSEWHERE,
    }
)


class Measure(NamedTuple):
    """A figure of a run; `up` says that more of it is better."""

    label: str
    of: Callable[[Run], float | None]
    up: bool
    shown: Callable[[float], str]


def _number(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _waited(ms: float) -> str:
    return length(ms / 1_000)


MEASURES: Mapping[str, Measure] = {
    "survived": Measure("Sessions kept", lambda run: float(run.survived), up=True, shown=_percent),
    "passed": Measure("Runs passed", lambda run: float(run.passed), up=True, shown=_percent),
    "sign_outs": Measure("Sign-outs", lambda run: run.sign_outs, up=False, shown=_number),
    "visible_errors": Measure("Visible errors", lambda run: run.visible_errors, up=False, shown=_number),
    "wake_to_success": Measure("Waking to answer", lambda run: run.wake_to_success_ms, up=False, shown=_waited),
    "stuck": Measure("Time stuck", lambda run: run.stuck_ms, up=False, shown=_waited),
    "token_posts": Measure("Token requests", lambda run: run.token_posts, up=False, shown=_number),
    "reuse_events": Measure("Spent tokens reused", lambda run: run.reuse_events, up=False, shown=_number),
    "health_min": Measure("Lowest health", lambda run: run.health_min, up=True, shown=_number),
    "health_mean": Measure("Mean health", lambda run: run.health_mean, up=True, shown=_number),
    "ux_score": Measure("UX score", lambda run: run.ux_score, up=True, shown=_number),
}


class Difference(NamedTuple):
    """Means of both sides, None where a side has no such figure; `size` is the change's share of the larger mean."""

    measure: Measure
    before: float | None
    after: float | None
    size: float
    is_noise: bool

    @property
    def change(self) -> float:
        return 0.0 if self.before is None or self.after is None else self.after - self.before

    @property
    def verdict(self) -> str:
        if self.before is None or self.after is None:
            return "not on both sides" if self.before is not self.after else "not measured"
        if self.change == 0:
            return "same"
        if self.is_noise:
            return "within noise"
        return "better" if (self.change > 0) is self.measure.up else "worse"


def differences(before: Sequence[Run], after: Sequence[Run]) -> tuple[Difference, ...]:
    """Every measure, the largest change first; what is within noise or the same comes last."""
    found = [_difference(measure, before, after) for measure in MEASURES.values()]
    return tuple(sorted(found, key=lambda one: (one.verdict not in ("better", "worse"), -one.size)))


def _difference(measure: Measure, before: Sequence[Run], after: Sequence[Run]) -> Difference:
    ours, theirs = (_figures(measure, runs) for runs in (before, after))
    if not ours or not theirs:
        return Difference(
            measure, fmean(ours) if ours else None, fmean(theirs) if theirs else None, 0.0, is_noise=False
        )
    one, other = fmean(ours), fmean(theirs)
    scale = max(abs(one), abs(other))
    error = math.sqrt(_error(ours) + _error(theirs))
    is_noise = one != other and abs(other - one) <= NOISE_SIGMAS * error
    return Difference(measure, one, other, abs(other - one) / scale if scale else 0.0, is_noise)


def _figures(measure: Measure, runs: Iterable[Run]) -> list[float]:
    return [figure for run in runs if (figure := measure.of(run)) is not None]


def _error(figures: Sequence[float]) -> float:
    """The square of the mean's standard error; of a single figure it is not known, and taken as nothing."""
    return variance(figures) / len(figures) if len(figures) > 1 else 0.0


def distance(before: Run, after: Run) -> float:
    """How far apart two runs are: what of their figures changed, all shares together."""
    return sum(one.size for one in differences([before], [after]))


def sentence(found: Iterable[Difference], *, before: str, after: str) -> str:
    """What did the change buy?"""
    told = [one for one in found if one.verdict in ("better", "worse")]
    if before == after:
        return f"Both sides are **{before}**, so nothing differs."
    if not told:
        return f"**{after}** instead of **{before}** changes nothing beyond noise."
    said = [f"{_lower(one.measure.label)} {_moved(one)}" for one in told[:NAMED_MAX]]
    worse = [_lower(one.measure.label) for one in told if one.verdict == "worse"]
    price = f" The price: {', '.join(worse)}." if worse else " Nothing gets worse."
    return f"**{after}** instead of **{before}**: {'; '.join(said)}.{price}"


def _moved(one: Difference) -> str:
    assert one.before is not None, "a verdict needs both sides"
    assert one.after is not None, "a verdict needs both sides"
    word = "up" if one.change > 0 else "down"
    return f"{word} from {one.measure.shown(one.before)} to {one.measure.shown(one.after)} ({one.verdict})"


def _lower(label: str) -> str:
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def table(found: Iterable[Difference], *, before: str, after: str) -> pd.DataFrame:
    rows = [
        {
            "Measure": one.measure.label,
            f"Before: {before}": _shown(one.measure, one.before),
            f"After: {after}": _shown(one.measure, one.after),
            "Change": f"{'+' if one.change > 0 else '−'}{one.measure.shown(abs(one.change))}"
            if one.change
            else "–"
            if one.before is None or one.after is None
            else "0",
            "Verdict": {"better": "▲ better", "worse": "▼ worse"}.get(one.verdict, one.verdict),
        }
        for one in found
    ]
    return pd.DataFrame(rows)


def _shown(measure: Measure, figure: float | None) -> str:
    return "–" if figure is None else measure.shown(figure)


def beside_control(
    sides: Iterable[tuple[str, Sequence[Run], Sequence[Run]]],
) -> pd.DataFrame:
    """For each side what it came to with the faults and, same seeds, without them."""
    rows = []
    for name, faulty, control in sides:
        for label, runs in (("with the faults", faulty), ("control, without", control)):
            means = {
                measure.label: _shown(measure, fmean(figures) if (figures := _figures(measure, runs)) else None)
                for key, measure in MEASURES.items()
                if key not in ("passed", "reuse_events")
            }
            rows.append({"Policy": name, "Runs": label, **means})
    return pd.DataFrame(rows)


def ranked(runs: Iterable[Run]) -> pd.DataFrame:
    """A row for each run, the best first; best and worst are marked where they differ."""
    ordered = sorted(runs, key=_rank)
    best, worst = (_rank(ordered[0])[:-1], _rank(ordered[-1])[:-1]) if ordered else ((), ())
    marks = {best: "▲ best", worst: "▼ worst"} if best != worst else {}
    rows = [
        {
            "": marks.get(_rank(run)[:-1], ""),
            "Scenario": run.scenario,
            "Policy": run.policy,
            "Seed": run.seed,
            "Passed": "✓" if run.passed else "✕",
            **{measure.label: measure.of(run) for key, measure in MEASURES.items() if key != "passed"},
            "Digest": run.digest,
        }
        for run in ordered
    ]
    return pd.DataFrame(rows)


def _rank(run: Run) -> tuple[object, ...]:
    woke = run.wake_to_success_ms
    figures = (not run.passed, run.sign_outs, run.visible_errors, -run.ux_score, math.inf if woke is None else woke)
    return (*figures, (run.scenario, run.policy, run.seed))


def control_of(scenario: Scenario) -> Scenario:
    """The same people doing the same things in a world without trouble; its own checks say nothing then."""
    return msgspec.structs.replace(
        scenario,
        name=f"{scenario.name}-{WITHOUT_FAULTS}",
        number=None,
        wall_skews_s=(),
        timeline=tuple(step for step in scenario.timeline if step.do in _USES),
    )


def to_csv(runs: Iterable[Run]) -> str:
    """Every figure of every run, for a spreadsheet."""
    plain = [{**msgspec.to_builtins(run), "events": None} for run in runs]
    shown = pd.DataFrame(plain).drop(columns=["events", "ux_parts"], errors="ignore")
    for name in ("failures", "sign_out_reasons"):
        if name in shown:
            shown[name] = shown[name].map("; ".join)
    return shown.to_csv(index=False)
