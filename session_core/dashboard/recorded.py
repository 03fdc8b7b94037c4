"""Recorded runs as two sides of a comparison: which sides there are, and what both of them have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import pandas as pd

from session_core.dashboard.comparison import differences
from session_core.sim.run import Run

Side = tuple[str, str]


class Pair(NamedTuple):
    """One scenario and seed, played on both sides."""

    before: Run
    after: Run


def read_runs(rows: pd.DataFrame) -> tuple[Run, ...]:
    """From the rows of the table `runs`."""
    plain = rows.astype("object")
    plain = plain.where(plain.notna(), None)
    lists = {name: plain[name].map(tuple) for name in ("failures", "sign_out_reasons")}
    kept = [name for name in plain.columns if name in Run.__struct_fields__]
    return tuple(msgspec.convert(row, Run) for row in plain.assign(**lists)[kept].to_dict("records"))


def sides(runs: Iterable[Run]) -> Mapping[str, Sequence[Run]]:
    """By what may have changed between them: the policy, and the library's version."""
    found: dict[Side, list[Run]] = {}
    for run in runs:
        found.setdefault((run.policy, run.version), []).append(run)
    return {f"{policy} · {version}": found[policy, version] for policy, version in sorted(found)}


def pairs(before: Iterable[Run], after: Iterable[Run], *, scenario: str | None = None) -> tuple[Pair, ...]:
    """What was played on both sides with the same seed, by scenario and seed; of one scenario, if one is named."""
    ours, theirs = ({(run.scenario, run.seed): run for run in runs} for runs in (before, after))
    both = sorted(key for key in ours.keys() & theirs.keys() if scenario in (None, key[0]))
    return tuple(Pair(ours[key], theirs[key]) for key in both)


def by_scenario(found: Sequence[Pair]) -> pd.DataFrame:
    """A row for each scenario, the largest difference first: what moved most, and how many runs passed on each side."""
    rows = []
    for name in dict.fromkeys(pair.before.scenario for pair in found):
        mine = [pair for pair in found if pair.before.scenario == name]
        first = differences([pair.before for pair in mine], [pair.after for pair in mine])[0]
        told = first.verdict in ("better", "worse")
        rows.append(
            {
                "Scenario": name,
                "Runs each": len(mine),
                "Passed before": sum(pair.before.passed for pair in mine),
                "Passed after": sum(pair.after.passed for pair in mine),
                "Moved most": first.measure.label if told else "nothing beyond noise",
                "Verdict": {"better": "▲ better", "worse": "▼ worse"}.get(first.verdict, "same"),
                "size": first.size if told else -1.0,
            }
        )
    return pd.DataFrame(rows).sort_values(["size", "Scenario"], ascending=[False, True]).drop(columns="size")
