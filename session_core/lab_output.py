"""The verdicts of runs, written down: as a table, in words, as JSON and as JUnit XML."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from xml.etree import ElementTree as ET

from session_core.sim.run import Run

FIELDS = (
    *("scenario", "policy", "seed", "passed", "failures", "survived", "sign_outs", "sign_out_reasons"),
    *("visible_errors", "wake_to_success_ms", "token_posts", "reuse_events", "stuck_ms", "health_min", "health_mean"),
    *("ux_score", "ux_parts", "virtual_seconds", "digest"),
)
"""What a run is to programs."""

SEEDS_NAMED_MAX = 10

Cell = tuple[str, str]
"""A scenario and a policy."""


def as_plain(run: Run) -> dict[str, object]:
    return {name: getattr(run, name) for name in FIELDS}


def by_cell(runs: Iterable[Run]) -> Mapping[Cell, Sequence[Run]]:
    """The runs of each scenario under each policy, in their order."""
    cells: dict[Cell, list[Run]] = {}
    for run in runs:
        cells.setdefault((run.scenario, run.policy), []).append(run)
    return cells


def passed_percent(runs: Sequence[Run]) -> float:
    """0 for no run: what was not run has not passed."""
    return 100 * sum(run.passed for run in runs) / len(runs) if runs else 0.0


def verdict(runs: Sequence[Run]) -> str:
    """One cell in words: `✓ 20` or `✕ 3 of 20 failed`."""
    failed = sum(not run.passed for run in runs)
    if not failed:
        return f"✓ {len(runs)}"
    return f"✕ {failed} of {len(runs)} failed"


def summary(runs: Sequence[Run]) -> str:
    if not runs:
        return "No run is done."
    passed = sum(run.passed for run in runs)
    if passed == len(runs):
        return "The run passed." if len(runs) == 1 else f"All {len(runs)} runs passed."
    if len(runs) == 1:
        return "The run failed."
    return f"{passed} of {len(runs)} runs passed ({passed_percent(runs):.1f} %)."


def table(runs: Sequence[Run]) -> Iterator[str]:
    """Scenarios down, policies across, how many seeds passed in each cell."""
    cells = by_cell(runs)
    scenarios = list(dict.fromkeys(run.scenario for run in runs))
    policies = list(dict.fromkeys(run.policy for run in runs))
    rows = [["scenario", *policies]]
    rows += [[name, *(verdict(cells.get((name, policy), ())) for policy in policies)] for name in scenarios]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()


def failures(runs: Sequence[Run], spelled: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """What failed: each cell once, with its seeds, the words of the first, and how to see that run again.

    `spelled` are scenarios and policies that a command knows by another name: their files.
    """
    for (scenario, policy), made in by_cell(runs).items():
        failed = [run for run in made if not run.passed]
        if failed:
            yield f"{scenario} under {policy}, {seeds_of(failed)}:"
            yield from (f"  {words}" for words in failed[0].failures)
            yield f"  See it again: {replay_command(failed[0], spelled)}"


def replay_command(run: Run, spelled: Mapping[str, str] = MappingProxyType({})) -> str:
    scenario, policy = (spelled.get(name, name) for name in (run.scenario, run.policy))
    words = ["replay", "--scenario", scenario, "--policy", policy, "--seed", str(run.seed)]
    return f"python -m session_core {shlex.join(words)}"


def junit(runs: Sequence[Run]) -> bytes:
    """One test suite for each policy, one test case for each scenario, which says with which seeds it failed."""
    root = ET.Element("testsuites", name="session_core simulate")
    cells = by_cell(runs)
    totals = [0, 0]
    for policy in dict.fromkeys(run.policy for run in runs):
        cases = {scenario: made for (scenario, under), made in cells.items() if under == policy}
        failed = sum(not all(run.passed for run in made) for made in cases.values())
        suite = ET.SubElement(root, "testsuite", name=policy, tests=str(len(cases)), failures=str(failed), errors="0")
        for scenario, made in cases.items():
            _add_case(suite, policy, scenario, made)
        totals = [totals[0] + len(cases), totals[1] + failed]
    root.set("tests", str(totals[0]))
    root.set("failures", str(totals[1]))
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _add_case(suite: ET.Element, policy: str, scenario: str, runs: Sequence[Run]) -> None:
    case = ET.SubElement(suite, "testcase", classname=policy, name=scenario)
    failed = [run for run in runs if not run.passed]
    if failed:
        failure = ET.SubElement(
            case, "failure", type="expectation", message=f"{seeds_of(failed)} of {len(runs)} failed"
        )
        failure.text = "\n".join(f"seed {run.seed}: {words}" for run in failed for words in run.failures)


def seeds_of(runs: Sequence[Run]) -> str:
    named = ", ".join(str(run.seed) for run in runs[:SEEDS_NAMED_MAX])
    more = f" and {len(runs) - SEEDS_NAMED_MAX} more" if len(runs) > SEEDS_NAMED_MAX else ""
    return f"seed{'s' if len(runs) > 1 else ''} {named}{more}"
