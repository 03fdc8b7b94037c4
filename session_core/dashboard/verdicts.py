"""Which scenarios hold under which policy: a matrix of counts, its sentence, and the words around a run. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

import pandas as pd

from session_core.config import SessionPolicy
from session_core.dashboard import theme
from session_core.dashboard.phrases import length
from session_core.errors import ConfigError
from session_core.lab_jobs import Job
from session_core.sim.run import Run
from session_core.sim.scenario import Family, Scenario, nearest

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

SEED_MAX, SEED_DIGITS_MAX = 2**31 - 1, 10
PASS, FAIL, PART = "✓", "✕", "…"
FAMILIES: Mapping[Family, str] = {family: family.replace("_", " ").capitalize() for family in Family}


class Cell(NamedTuple):
    """The seeds of one scenario under one policy."""

    planned: int
    done: int
    passed: int

    def __str__(self) -> str:
        if not self.done:
            return "–"
        mark = FAIL if self.passed < self.done else PASS if self.done == self.planned else PART
        so_far = f" of {self.planned}" if self.done < self.planned else ""
        return f"{mark} {self.passed}/{self.done}{so_far}"


Cells = Mapping[tuple[str, str], Cell]


def count(jobs: Sequence[Job], runs: Sequence[Run | None]) -> Cells:
    """Scenario and policy to what is known of them, in the order of the jobs."""
    cells: dict[tuple[str, str], Cell] = {}
    for job, run in zip(jobs, runs, strict=True):
        key = job.scenario.name, job.policy.name
        planned, done, passed = cells.get(key, (0, 0, 0))
        cells[key] = Cell(planned + 1, done + (run is not None), passed + (run is not None and run.passed))
    return cells


def matrix(cells: Cells) -> pd.DataFrame:
    """A row for each scenario, a column for each policy."""
    policies = list(dict.fromkeys(policy for _, policy in cells))
    scenarios = list(dict.fromkeys(scenario for scenario, _ in cells))
    columns = {policy: [str(cells[scenario, policy]) for scenario in scenarios] for policy in policies}
    return pd.DataFrame({"Scenario": scenarios, **columns})


def coloured(shown: pd.DataFrame) -> Styler:
    """Green and red beside the mark that says the same."""
    return shown.style.map(_colour, subset=[column for column in shown.columns if column != "Scenario"])


def _colour(cell: object) -> str:
    colours = {PASS: theme.WELL, FAIL: theme.FAILURE}
    return f"color: {colours.get(str(cell)[0], theme.NEUTRAL)}; font-weight: 650"


def answer(cells: Cells) -> str:
    """Would our users survive this?"""
    done = {key: cell for key, cell in cells.items() if cell.done}
    if not done:
        return "Nothing has been run yet."
    return " ".join(_of_policy(policy, done) for policy in dict.fromkeys(policy for _, policy in done))


def _of_policy(policy: str, cells: Cells) -> str:
    theirs = {scenario: cell for (scenario, under), cell in cells.items() if under == policy}
    held = sum(cell.passed == cell.done for cell in theirs.values())
    runs = sum(cell.done for cell in theirs.values())
    what = "scenario" if len(theirs) == 1 else "scenarios"
    share = f"all {len(theirs)} {what} hold" if held == len(theirs) > 1 else f"{held} of {len(theirs)} {what} hold"
    return f"Under **{policy}** {share} ({runs:,} {'run' if runs == 1 else 'runs'})."


def worth_opening(jobs: Sequence[Job], runs: Sequence[Run | None], scenario: str, policy: str) -> int:
    """The seed to look at first: the first that failed, or the first."""
    theirs = [
        (run is None or run.passed, place, job.seed)
        for place, (job, run) in enumerate(zip(jobs, runs, strict=True))
        if (job.scenario.name, job.policy.name) == (scenario, policy)
    ]
    return min(theirs)[2]


def run_sentence(run: Run) -> str:
    kept = "kept the session" if run.survived else f"lost the session ({', '.join(map(_plain, run.sign_out_reasons))})"
    checks = "every check holds" if run.passed else _counted(len(run.failures), "check fails", "checks fail")
    errors = f", {_counted(run.visible_errors, 'visible error', 'visible errors')}" if run.visible_errors else ""
    return f"{PASS if run.passed else FAIL} {run.policy.capitalize()} {kept}{errors}; {checks}."


def button(jobs: Sequence[Job], estimate_s: float) -> str:
    """What a press of it does, and how long that takes."""
    about = "less than a second" if estimate_s < 1 else f"about {length(round(estimate_s))}"
    return f"Run {_counted(len(jobs), 'simulation', 'simulations')} ({about})"


def read_job(said: Mapping[str, str], catalogue: Mapping[str, Scenario], policies: Mapping[str, SessionPolicy]) -> Job:
    """The run that an address names. Raises ConfigError with the nearest name."""
    name, policy, seed = said.get("scenario", ""), said.get("policy", "professional"), said.get("seed", "1")
    if name not in catalogue:
        raise ConfigError(f"There is no scenario {name!r}; {_nearest(name, catalogue)}")
    if policy not in policies:
        raise ConfigError(f"There is no policy {policy!r}; {_nearest(policy, policies)}")
    if not (seed.isascii() and seed.isdigit() and len(seed) <= SEED_DIGITS_MAX and int(seed) <= SEED_MAX):
        raise ConfigError(f"The seed is {seed[:40]!r}; give a whole number from 0 to {SEED_MAX:,}.")
    return Job(scenario=catalogue[name], policy=policies[policy], seed=int(seed))


def strangers(said: Mapping[str, str], known: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """A sentence for each word of an address that is not among those its place knows."""
    return tuple(
        f"There is no {place} {said[place]!r} here; {_nearest(said[place], words)}"
        for place, words in known.items()
        if place in said and said[place] not in set(words)
    )


def link(page_url: str, job: Job, *, user: str | None = None) -> str:
    """The address under which anyone sees this very run."""
    scheme, host, path, _, _ = urlsplit(page_url)
    said = {"scenario": job.scenario.name, "policy": job.policy.name, "seed": job.seed}
    query = urlencode(said if user is None else {**said, "user": user})
    return urlunsplit((scheme, host, path, query, ""))


def command(job: Job, built_in: Iterable[str]) -> str:
    policy = job.policy.name if job.policy.name in set(built_in) else f"{job.policy.name}.toml"
    words = ["--scenario", job.scenario.name, "--policy", policy, "--seed", str(job.seed)]
    return shlex.join(["python", "-m", "session_core", "replay", *words])


def _nearest(name: str, known: Iterable[str]) -> str:
    hint = nearest(name, known)
    return hint.partition("?")[0] + "?" if hint.startswith("did you mean") else hint


def _plain(reason: str) -> str:
    return reason.replace("_", " ")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
