"""The lab's commands: scenarios, simulate and replay. Each loads what it needs when it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from session_core.errors import ConfigError

if TYPE_CHECKING:
    from session_core.lab import Sweep
    from session_core.lab_jobs import Job
    from session_core.sim.run import Run

SCENARIO_HELP = "A scenario of the catalogue, or a TOML file"
POLICY_HELP = "professional, basic, or a TOML file"


def scenarios(*, as_json: Annotated[bool, typer.Option("--json", help="List them as JSON.")] = False) -> None:
    """List the catalogue: situations in which real sessions die."""
    from session_core.sim.scenario import read_catalogue  # noqa: PLC0415 - each command loads what it needs

    catalogue = read_catalogue().values()
    if as_json:
        _print_json({"scenarios": list(catalogue)})
        return
    width = max(len(scenario.name) for scenario in catalogue)
    for scenario in catalogue:
        typer.echo(f"{scenario.number or '':>3}  {scenario.name:<{width}}  {scenario.what}")


def simulate(
    *,
    scenario: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"{SCENARIO_HELP}; repeatable; all where none is named.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"{POLICY_HELP}; repeatable; professional by default.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=100_000, help="Run each with the seeds 1 to N; 1 by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="Run each with this seed alone.")] = None,
    db: Annotated[Path | None, typer.Option(metavar="FILE", help="Record runs and events in this event store.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that opens offline (HTML).")] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            min=0,
            max=100,
            help="Exit with 1 only if fewer than this share of the runs passed; without it, if any run failed.",
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes at once; by default one for each processor.")
    ] = None,
) -> None:
    """Run scenarios on a virtual clock, in milliseconds, and judge them.

    Exits with 0 if they passed, with 1 if one failed (see --fail-under) or if Ctrl-C stopped them before the end.
    """
    from session_core import lab_output  # noqa: PLC0415
    from session_core.lab_jobs import choose, plan  # noqa: PLC0415

    if seeds is not None and seed is not None:
        raise ConfigError("--seeds and --seed were both given; use --seeds N for 1 to N, or --seed N for N alone.")
    chosen_seeds = [seed] if seed is not None else range(1, (seeds or 1) + 1)
    chosen = choose(scenario or (), policy or ())
    jobs = plan(chosen.scenarios, chosen.policies, chosen_seeds)
    for file in (junit, report):
        _require_writable(file)
    sweep = _sweep(jobs, db, processes, keep_events=report is not None and len(jobs) == 1)
    if junit is not None:
        junit.write_bytes(lab_output.junit(sweep.runs))
    if report is not None:
        _write_report(report, jobs, sweep.runs, chosen.spelled)
    if as_json:
        _print_json({"runs": [lab_output.as_plain(run) for run in sweep.runs]})
    else:
        _print_verdicts(sweep.runs, chosen.spelled)
    if sweep.is_stopped:
        typer.echo(f"stopped: {len(sweep.runs)} of {sweep.planned} runs are done and kept", err=True)
    percent = lab_output.passed_percent(sweep.runs)
    raise typer.Exit(1 if sweep.is_stopped or percent < (100.0 if fail_under is None else fail_under) else 0)


def replay(
    *,
    scenario: Annotated[str, typer.Option(metavar="NAME", help=f"{SCENARIO_HELP}.")],
    policy: Annotated[str, typer.Option(metavar="NAME", help=f"{POLICY_HELP}.")] = "professional",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="The run's seed.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print run and timeline as JSON.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that opens offline (HTML).")] = None,
) -> None:
    """Make one run again and tell it line by line; the same run has the same digest. Exits with 1 if it failed."""
    from session_core import lab_output  # noqa: PLC0415
    from session_core.dashboard.run_lines import lines_of  # noqa: PLC0415
    from session_core.lab import run_sweep  # noqa: PLC0415
    from session_core.lab_jobs import choose, plan  # noqa: PLC0415

    _require_writable(report)
    chosen = choose([scenario], [policy])
    jobs = plan(chosen.scenarios, chosen.policies, [seed])
    sweep = run_sweep(jobs, keep_events=True)
    if sweep.is_stopped:
        raise typer.Exit(1)
    [run] = sweep.runs
    if report is not None:
        _write_report(report, jobs, sweep.runs, chosen.spelled)
    if as_json:
        _print_json(lab_output.as_plain(run) | {"timeline": list(lines_of(run.events))})
    else:
        _print_story(run)
    raise typer.Exit(0 if run.passed else 1)


def explore(
    *,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="How many schedules to draw.")] = 1_000,
    first: Annotated[int, typer.Option(metavar="N", min=0, help="The first seed.")] = 0,
    policy: Annotated[str, typer.Option(metavar="NAME", help=f"{POLICY_HELP}.")] = "professional",
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep what is found: a scenario and a test.")] = None,
) -> None:
    """Play random schedules of trouble until something that must always hold is broken, and tell the shortest story.

    Exits with 1 if something was found.
    """
    from session_core.lab_jobs import choose  # noqa: PLC0415
    from session_core.sim.explore import explore as find  # noqa: PLC0415
    from session_core.sim.scenario import to_toml  # noqa: PLC0415

    [rules] = choose((), [policy]).policies
    found = 0
    for finding in find(range(first, first + seeds), rules):
        found += 1
        typer.echo(f"seed {finding.seed}\n{finding.story}\n")
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            name = finding.shortest.name
            (save / f"{name}.toml").write_text(to_toml(finding.shortest), encoding="utf-8")
            (save / f"test_{name.replace('-', '_')}.py").write_text(finding.test, encoding="utf-8")
    typer.echo(f"{seeds} schedules, {found} of them broke an invariant")
    raise typer.Exit(1 if found else 0)


def _sweep(jobs: tuple[Job, ...], db: Path | None, processes: int | None, *, keep_events: bool) -> Sweep:
    from session_core.lab import run_sweep  # noqa: PLC0415
    from session_core.store import EventStore  # noqa: PLC0415

    store = None if db is None else EventStore(db)
    try:
        with _progress(len(jobs)) as advance:
            return run_sweep(jobs, processes=processes, store=store, keep_events=keep_events, on_done=advance)
    finally:
        if store is not None:
            store.close()


@contextmanager
def _progress(length: int) -> Iterator[Callable[[Run], None]]:
    """A bar for whoever watches a terminal; nothing for a file or a pipe."""
    bar = typer.progressbar(length=length, label="Runs", file=sys.stderr) if sys.stderr.isatty() else nullcontext()
    with bar as shown:
        yield lambda _run: None if shown is None else shown.update(1)


def _print_verdicts(runs: tuple[Run, ...], spelled: Mapping[str, str]) -> None:
    from session_core import lab_output  # noqa: PLC0415

    if not runs:
        return
    typer.echo("\n".join(lab_output.table(runs)))
    if failures := list(lab_output.failures(runs, spelled)):
        typer.echo("\n" + "\n".join(failures))
    typer.echo("\n" + lab_output.summary(runs))
    if len(runs) == 1:
        typer.echo(f"digest {runs[0].digest}")


def _print_story(run: Run) -> None:
    from session_core import lab_output  # noqa: PLC0415
    from session_core.dashboard.run_lines import lines_of, without_routine, written  # noqa: PLC0415

    typer.echo(f"{run.scenario} under {run.policy}, seed {run.seed}, version {run.version}\n")
    for line in written(list(without_routine(lines_of(run.events)))):
        typer.echo(line)
    typer.echo("\n" + "\n".join([lab_output.summary([run]), *run.failures]))
    typer.echo(f"digest {run.digest}")


def _write_report(file: Path, jobs: tuple[Job, ...], runs: tuple[Run, ...], spelled: Mapping[str, str]) -> None:
    from session_core.dashboard.report import report_page  # noqa: PLC0415

    file.write_text(report_page(jobs, runs, spelled), encoding="utf-8")


def _require_writable(file: Path | None) -> None:
    """Before a long sweep rather than after it."""
    if file is not None:
        try:
            file.open("ab").close()
        except OSError as error:
            raise ConfigError(f"The file {file} cannot be written: {error.strerror}.") from None


def _print_json(said: object) -> None:
    typer.echo(msgspec.json.encode(said).decode())
