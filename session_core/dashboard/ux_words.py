"""What the overview and the trends say of the UX score: answers, tiles, losses and alternative texts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from session_core.dashboard.phrases import counted
from session_core.dashboard.trends import Measure
from session_core.dashboard.wording import Measures
from session_core.ux_score import CURVES, SESSIONS_MIN, UxScore

SCORE = Measure("UX score", "score", "UX score, 0 to 100", written=",.1f", total="sessions", top=100.0)
FREE = Measure(
    "Interruption-free", "interruption_free_percent", "% of sessions", written=",.2f", total="sessions", top=100.0
)
PART = Measure("Part", "points", "points of 100", written=",.1f", total="sessions", top=100.0)
PARTS: Mapping[str, str] = {
    "continuity": "Continuity",
    "resume": "Resume",
    "errors": "Errors",
    "latency": "Added latency",
    "freshness": "Freshness",
}
# What a difference must exceed to be worth saying.
NOISE: Mapping[str, float] = {"ux_score": 1.0, "interruption_free_percent": 0.05, "error_budget_left_percent": 1.0}


class Tile(NamedTuple):
    """One figure of the overview: how it changed is left out where that is noise."""

    label: str
    value: str
    change: str | None
    help: str


def tiles(of: Measures, bands: pd.DataFrame, *, compare: bool) -> tuple[Tile, ...]:
    """Score, interruption-free, health and budget; alerts are the desk's to say."""
    sessions = int(of["used_sessions"][0])
    few = f" From {counted(sessions, 'session', 'sessions')} only." if sessions < SESSIONS_MIN else ""
    checked = int(bands["sessions"].sum()) if len(bands) else 0
    health = float((bands["health"] * bands["sessions"]).sum() / checked) if checked else math.nan
    return (
        Tile(
            "UX score",
            _figure(of["ux_score"][0], ".0f"),
            _change(of, "ux_score", "+.1f", compare=compare),
            f"Session Continuity Score of 100, over {counted(sessions, 'used session', 'used sessions')}.{few}",
        ),
        Tile(
            "Interruption-free",
            _figure(of["interruption_free_percent"][0], ".4g", " %"),
            _change(of, "interruption_free_percent", "+.2f", compare=compare, unit=" points"),
            f"Sessions without a forced sign-in or an error 401; {_figure(of['interruption_free_users_percent'][0], '.4g', ' %')} of users.",
        ),
        Tile(
            "Health",
            _figure(health, ".0f"),
            None,
            f"Of 100, over {counted(checked, 'running session', 'running sessions')}.",
        ),
        Tile(
            "Error budget left",
            _budget(of["error_budget_left_percent"][0]),
            _change(of, "error_budget_left_percent", "+.0f", compare=compare, unit=" points"),
            "Of the auth errors that an objective of 99.9 % allows in this time; below 0 it is overdrawn.",
        ),
    )


def overview_sentence(of: Measures) -> str:
    """Are our users' sessions all right, and is it better or worse than before?"""
    used = int(of["used_sessions"][0])
    if not used:
        return "Nobody used a session in this time range."
    now, before = of["interruption_free_percent"]
    word = "good" if now >= 99 else "fair" if now >= 95 else "in trouble"
    compared = _compared(now - before, NOISE["interruption_free_percent"], "points")
    return f"Sessions are {word}: {now:.4g} % of {counted(used, 'session', 'sessions')} went uninterrupted{compared}."


def trends_sentence(scored: UxScore, before: float) -> str:
    """What moves the score?"""
    if not scored.sessions:
        return "Nobody used a session in this time range."
    compared = _compared(scored.score - before, NOISE["ux_score"], "points")
    few = f" (from {counted(scored.sessions, 'session', 'sessions')} only)" if not scored.confident else ""
    name, worst = max(scored.parts.items(), key=lambda part: part[1].loss_share)
    why = (
        f" {PARTS[name]} costs most, {100 * worst.loss_share:.0f} % of what is missing."
        if worst.loss_share >= 0.005
        else ""
    )
    return f"The score is {scored.score:.0f}{few}{compared}.{why}"


def losses(scored: UxScore) -> pd.DataFrame:
    """What each part takes from 100: part, points, share_percent, raw, unit, samples.

    The parts multiply, so what is missing is shared out as their logarithms are.
    """
    missing = 100.0 - scored.score
    rows = [
        {
            "part": PARTS[name],
            "points": part.loss_share * missing,
            "share_percent": 100 * part.loss_share,
            "raw": part.raw,
            "unit": part.unit,
            "samples": part.samples,
        }
        for name, part in scored.parts.items()
    ]
    return pd.DataFrame(rows).sort_values("points", ascending=False, kind="stable", ignore_index=True)


def losses_alt(scored: UxScore) -> str:
    if not scored.sessions:
        return "Nobody used a session in this time range."
    said = " ".join(scored.reasons) or "Nothing was lost."
    return f"Why {scored.score:.0f}? {said}"


def score_alt(scores: pd.DataFrame, what: str = "UX score", column: str = "score") -> str:
    if scores.empty:
        return "Nobody used a session in this time range."
    low, high, last = (float(value) for value in (scores[column].min(), scores[column].max(), scores[column].iloc[-1]))
    return f"{what} over time: between {low:.3g} and {high:.3g}, at the end {last:.3g}."


def parts_over_time(scores: pd.DataFrame) -> pd.DataFrame:
    """Each part's value as points of 100: bucket, part, points, sessions."""
    if scores.empty:
        return pd.DataFrame({"bucket": scores["bucket"], "part": [], "points": [], "sessions": []})
    long = scores.melt(["bucket", "sessions"], list(CURVES), "part", "points")
    return long.assign(part=long["part"].map(PARTS), points=long["points"] * 100)


def parts_alt(parts: pd.DataFrame) -> str:
    if parts.empty:
        return "Nobody used a session in this time range."
    means = parts.groupby("part")["points"].min()
    lowest = ", ".join(f"{part} {points:.0f}" for part, points in means.sort_values().items())
    return f"Each part of the score over time, of 100; at their lowest: {lowest}."


def by_alt(found: pd.DataFrame) -> str:
    if found.empty:
        return "Nothing tells the sessions of this time range apart so."
    rows = zip(found["value"], found["score"], found["sessions"], strict=True)
    return (
        "Scores: " + ", ".join(f"{value} {score:.0f} ({sessions:,} sessions)" for value, score, sessions in rows) + "."
    )


def by_table(found: pd.DataFrame) -> pd.DataFrame:
    """The figures by a dimension, rounded as they are read."""
    shown = found.drop(columns=list(CURVES)).assign(**{name: found[name] * 100 for name in CURVES})
    named = {"value": "Value", "sessions": "Sessions", "interrupted_sessions": "Interrupted", "score": "Score"}
    named |= {"interruption_free_percent": "Free, %", "active_h": "Active, h", **PARTS}
    return shown.rename(columns=named).round(2)


def _compared(difference: float, noise: float, unit: str) -> str:
    if math.isnan(difference) or abs(difference) < noise:
        return ""
    return f", {abs(difference):.3g} {unit} {'better' if difference > 0 else 'worse'} than the period before"


def _figure(value: float, written: str, unit: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{written}}{unit}"


def _budget(percent: float) -> str:
    """What is left of it; far below zero a percentage says nothing any more."""
    if percent < -100:
        return f"{1 - percent / 100:,.0f} × spent"
    return _figure(percent, ".0f", " %").replace("-", "−")


def _change(of: Measures, name: str, written: str, *, compare: bool, unit: str = "") -> str | None:
    difference = of[name][0] - of[name][1]
    if not compare or math.isnan(difference) or not NOISE[name] <= abs(difference) <= 100:
        return None
    return f"{difference:{written}}{unit}"
