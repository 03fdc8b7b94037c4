"""What changed against the period before: the largest moves first, each with where to look further. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from session_core.dashboard.phrases import counted
from session_core.store.descriptions import END_REASONS
from session_core.vocabulary import EndReason

SESSIONS_MIN = 20
SCORE_POINTS_MIN = 1.0
SIGMAS = 2.0
SHOWN_MAX = 5
_VALUES: Mapping[str, str] = {
    "policy": "policy {}",
    "app_version": "version {}",
    "device": "{} devices",
    "scenario": "{}",
}
_WORDS: Mapping[str, str] = {"policy": "policy", "app_version": "version", "device": "device", "scenario": "scenario"}
_WANTED = frozenset(
    {
        EndReason.SIGNED_OUT,
        EndReason.SIGNED_OUT_ELSEWHERE,
        EndReason.SIGNED_OUT_AT_PROVIDER,
        EndReason.STOPPED,
    }
)


class Mover(NamedTuple):
    """`page` is where to look further, with `words` for its address; `size` is points of the score or per 100 sessions."""

    sentence: str
    better: bool
    size: float
    page: str
    words: Mapping[str, str]


def movers(
    scores: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    sign_outs: pd.DataFrame,
    errors: tuple[pd.DataFrame, pd.DataFrame],
    sessions: tuple[float, float],
) -> tuple[Mover, ...]:
    """What moved by more than noise. Of each pair the first is now, the second the period before.

    `scores` are those of ux_by for each dimension; `sign_outs` is sign_outs_by_reason, `errors` are errors_over_time.
    """
    found = [*_scores(scores), *_sign_outs(sign_outs, sessions), *_errors(*errors)]
    return tuple(sorted(found, key=lambda mover: -mover.size)[:SHOWN_MAX])


def table(moved: Sequence[Mover]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "What changed": [mover.sentence for mover in moved],
            "Better": ["yes" if mover.better else "no" for mover in moved],
        }
    )


def none_moved(sessions: tuple[float, float], *, compared: bool) -> str:
    if not compared:
        return "Compare with the period before to see what changed."
    return "Nothing changed by more than noise." if sessions[1] else "There was nothing before to compare with."


def _scores(scores: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Iterator[Mover]:
    for dimension, frames in scores.items():
        now, before = (_scored(frame) for frame in frames)
        # Without anything before nothing moved; and the only value there is moved as the whole did, which is said already.
        if not before or (len(now) < 2 and now.keys() == before.keys()):
            continue
        everybody = sum(sessions for sessions, _ in now.values())
        for value, (sessions, score) in now.items():
            if sessions < SESSIONS_MIN:
                continue
            what, link = _VALUES[dimension].format(value), {_WORDS[dimension]: value}
            share = sessions / everybody
            sessions_before, was = before.get(value, (0, math.nan))
            if not sessions_before:
                name = what[0].upper() + what[1:]
                new = f"{name} is new: score {score:.0f} over {counted(sessions, 'session', 'sessions')}."
                yield Mover(new, _is_good(score, now), share * SHOWN_MAX, "trends", link)
            elif sessions_before >= SESSIONS_MIN and abs(score - was) >= SCORE_POINTS_MIN:
                word = "rose" if score > was else "fell"
                sentence = f"The score of {what} {word} from {was:.0f} to {score:.0f}."
                yield Mover(sentence, score > was, abs(score - was) * share, "trends", link)


def _scored(frame: pd.DataFrame) -> dict[str, tuple[int, float]]:
    columns = (frame[name].tolist() for name in ("value", "sessions", "score"))
    return {str(value): (int(sessions), float(score)) for value, sessions, score in zip(*columns, strict=True)}


def _is_good(score: float, now: Mapping[str, tuple[int, float]]) -> bool:
    return score >= fmean(other for _, other in now.values())


def _sign_outs(reasons: pd.DataFrame, sessions: tuple[float, float]) -> Iterator[Mover]:
    columns = (reasons[name].tolist() for name in ("reason", "value", "previous"))
    for name, ends_now, ends_before in zip(*columns, strict=True):
        reason = EndReason(name)
        now, before = (float(ends_now), sessions[0]), (float(ends_before), sessions[1])
        if reason not in _WANTED and _beyond_noise(now, before):
            verb = "went up" if _rate(now) > _rate(before) else "went down"
            said = [f"{100 * _rate(one):.3g}" for one in (now, before)]
            sentence = f"Ends because {END_REASONS[reason]} {verb} from {said[1]} to {said[0]} per 100 sessions."
            yield _rates(sentence, now, before, "sessions", {"only": "ended"})


def _errors(now: pd.DataFrame, before: pd.DataFrame) -> Iterator[Mover]:
    totals = [float(frame.drop_duplicates("bucket")["requests"].sum()) for frame in (now, before)]
    sums = [frame[frame["visible"]].groupby("error")["errors"].sum() for frame in (now, before)]
    for error in sorted({*sums[0].index, *sums[1].index}):
        this, that = ((float(one.get(error, 0)), total) for one, total in zip(sums, totals, strict=True))
        if _beyond_noise(this, that):
            verb = "rose" if _rate(this) > _rate(that) else "fell"
            said = f"{_percent(that)} to {_percent(this)}" if that[1] else f"nothing to {_percent(this)}"
            yield _rates(f"Visible {error} errors {verb} from {said} of requests.", this, that, "errors", {})


def _rates(
    sentence: str, now: tuple[float, float], before: tuple[float, float], page: str, words: Mapping[str, str]
) -> Mover:
    moved = _rate(now) - _rate(before)
    return Mover(sentence, moved < 0, 100 * abs(moved), page, words)


def _rate(counts: tuple[float, float]) -> float:
    count, total = counts
    return count / total if total else 0.0


def _percent(counts: tuple[float, float]) -> str:
    return f"{100 * _rate(counts):.2g} %"


def _beyond_noise(now: tuple[float, float], before: tuple[float, float]) -> bool:
    """Whether two rates differ by more than two standard errors of their difference, counts taken as Poisson's."""
    if not now[1] or not before[1]:
        return False
    error = math.sqrt(max(now[0], 1.0) / now[1] ** 2 + max(before[0], 1.0) / before[1] ** 2)
    return abs(_rate(now) - _rate(before)) > SIGMAS * error
