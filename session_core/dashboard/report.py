"""A run or a sweep as one page that needs nothing else: for those who were not there."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from types import MappingProxyType

import msgspec
import pandas as pd

from session_core import lab_output
from session_core.dashboard import charts, figures, lanes, story, timeline, timeline_chart
from session_core.dashboard.html_parts import caption, cell, folded, section, table, whole
from session_core.dashboard.run_lines import Line, lines_of, offset, without_routine
from session_core.lab_jobs import Job
from session_core.sim.run import VERSION, Run

LINES_MAX = 5_000

CHARTS: Mapping[str, tuple[str, str]] = {
    "ux_score": ("How it felt to users", "UX score, 0 to 100"),
    "visible_errors": ("Errors a user saw", "errors per run"),
    "sign_outs": ("Users who had to sign in again", "sign-outs per run"),
    "token_posts": ("Requests to the token endpoint", "requests per run"),
    "wake_to_success_s": ("From waking to the first answer", "s"),
}


def report_page(jobs: Sequence[Job], runs: Sequence[Run], spelled: Mapping[str, str] = MappingProxyType({})) -> str:
    """The page of these runs; `jobs` says how they were set, `spelled` the files of what came from one.

    A run that carries its events is told as a story.
    """
    several = len(runs) != 1
    sections = [
        _verdicts(runs),
        _failures(runs, spelled),
        *(_charts(runs) if several else _figures(runs[0])),
        *(_story(run) for run in runs if run.events),
        _settings(jobs),
        _digests(runs),
    ]
    return whole(_title(jobs, runs), lab_output.summary(runs), sections)


def _title(jobs: Sequence[Job], runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"{runs[0].scenario} under {runs[0].policy}, seed {runs[0].seed}"
    scenarios, policies = ({getattr(job, part).name for job in jobs} for part in ("scenario", "policy"))
    return f"{_counted(scenarios)} under {' and '.join(sorted(policies))}"


def _verdicts(runs: Sequence[Run]) -> str:
    cells = lab_output.by_cell(runs)
    policies = list(dict.fromkeys(run.policy for run in runs))
    rows = [
        [cell(escape(scenario), "th"), *(_verdict((scenario, policy), cells) for policy in policies)]
        for scenario in dict.fromkeys(run.scenario for run in runs)
    ]
    return section("Verdicts", table(["Scenario", *policies], rows))


def _verdict(of: lab_output.Cell, cells: Mapping[lab_output.Cell, Sequence[Run]]) -> str:
    made = cells.get(of)
    if made is None:
        return cell("not run", "td", "quiet")
    said = escape(lab_output.verdict(made))
    if all(run.passed for run in made):
        return cell(said, "td", "well")
    return cell(f'<a href="#{escape("/".join(of))}">{said}</a>', "td", "failed")


def _failures(runs: Sequence[Run], spelled: Mapping[str, str]) -> str:
    said = []
    for (scenario, policy), made in lab_output.by_cell(runs).items():
        failed = [run for run in made if not run.passed]
        if failed:
            words = "".join(f"<li>{escape(words)}</li>" for words in failed[0].failures)
            said.append(
                f'<h3 id="{escape(f"{scenario}/{policy}")}">{escape(scenario)} under {escape(policy)}, '
                f"{escape(lab_output.seeds_of(failed))}</h3><ul>{words}</ul>"
                f"<p>See it again: <code>{escape(lab_output.replay_command(failed[0], spelled))}</code></p>"
            )
    return section("What failed", "".join(said)) if said else ""


def _charts(runs: Sequence[Run]) -> Iterator[str]:
    """A picture of each figure that is not the same everywhere."""
    frame = pd.DataFrame([lab_output.as_plain(run) for run in runs], columns=list(lab_output.FIELDS))
    frame["wake_to_success_s"] = frame["wake_to_success_ms"].astype("float64") / 1000
    for name, (title, unit) in CHARTS.items():
        found = frame.dropna(subset=[name])
        if len(set(found[name])) > 1:
            figure = charts.measure_by_scenario(found, name, unit)
            yield section(
                title,
                caption("The median over the seeds, and from the least to the most.") + figures.as_html(figure, name),
            )


def _figures(run: Run) -> Iterator[str]:
    shown = lab_output.as_plain(run)
    hidden = ("scenario", "policy", "seed", "passed", "failures", "digest")
    rows = [
        [cell(escape(name.replace("_", " ")), "th"), cell(escape(_said(value)), "td")]
        for name, value in shown.items()
        if name not in hidden
    ]
    yield section("Figures", table([], rows))


def _story(run: Run) -> str:
    """What happened to the run's first user: in words, as a picture and line by line."""
    users = lanes.users_of(run.events)
    events = lanes.about(run.events, users[0]) if users else run.events
    panel = timeline_chart.Panel(run.scenario, timeline.build(events))
    lines = list(without_routine(lines_of(events)))
    told = "".join(f"<li>{escape(sentence)}</li>" for sentence in story.tell(events))
    one_of = f" It is that of {users[0]}, one of {len(users):,} users." if len(users) > 1 else ""
    first = f" The first {LINES_MAX:,} of {len(lines):,} lines are shown." if len(lines) > LINES_MAX else ""
    rows = [_line(line) for line in lines[:LINES_MAX]]
    said = f"Times count from the sign-in. Health checks that found nothing new are left out.{one_of}{first}"
    return (
        section("What happened", f"<ul>{told}</ul>")
        + section("Timeline", figures.as_html(timeline_chart.timelines([panel], title=False), "timeline"))
        + section("Line by line", caption(said) + folded(f"{len(lines):,} lines", table([], rows)))
    )


def _line(line: Line) -> list[str]:
    return [
        cell(escape(offset(line.at_s)), "td", "moment"),
        cell(escape(line.lane), "td", "quiet"),
        cell(escape(line.sentence), "td"),
    ]


def _settings(jobs: Sequence[Job]) -> str:
    scenarios = {job.scenario.name: job.scenario for job in jobs}
    policies = {job.policy.name: job.policy for job in jobs}
    return section(
        "What was run",
        f"<p>{escape(f'{_seeds(jobs)}; session_core {VERSION}, Python {platform.python_version()}.')}</p>"
        + "".join(_json(f"{scenario.name}: {scenario.what}", scenario) for scenario in scenarios.values())
        + "".join(_json(f"Policy {name}", policy) for name, policy in policies.items()),
    )


def _seeds(jobs: Sequence[Job]) -> str:
    seeds = sorted({job.seed for job in jobs})
    if len(seeds) == 1:
        return f"Seed {seeds[0]}"
    return f"Seeds {seeds[0]} to {seeds[-1]}"


def _digests(runs: Sequence[Run]) -> str:
    rows = [
        [
            *(cell(escape(str(value)), "td") for value in (run.scenario, run.policy, run.seed, run.version)),
            cell("passed", "td", "well") if run.passed else cell("failed", "td", "failed"),
            cell(f"<code>{escape(run.digest)}</code>", "td"),
        ]
        for run in runs
    ]
    listed = table(["Scenario", "Policy", "Seed", "Version", "Verdict", "Digest"], rows)
    return section(
        "Digests",
        caption("The same scenario, policy, seed and version have the same digest on every machine.")
        + folded("1 run" if len(runs) == 1 else f"{len(runs):,} runs", listed),
    )


def _json(title: str, settings: msgspec.Struct) -> str:
    written = msgspec.json.format(msgspec.json.encode(settings), indent=2).decode()
    return folded(title, f"<pre>{escape(written)}</pre>")


def _said(value: object) -> str:
    match value:
        case None:
            return "nothing to measure"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.1f}"
        case Mapping():
            return ", ".join(f"{name} {part:.2f}" for name, part in value.items()) or "none"
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value)


def _counted(names: set[str]) -> str:
    return next(iter(names)) if len(names) == 1 else f"{len(names)} scenarios"
