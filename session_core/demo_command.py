"""The command `demo`: fills an event store with sample data."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from session_core.clock import SystemClock
from session_core.demo import DAYS, DAYS_MAX, USERS, USERS_MAX

if TYPE_CHECKING:
    from session_core.demo.fill import Filled
    from session_core.demo.plan import Stay


def demo(
    *,
    db: Annotated[Path | None, typer.Option(metavar="FILE", help="The event store; the app's own by default.")] = None,
    users: Annotated[int, typer.Option(metavar="N", min=1, max=USERS_MAX, help="How many people.")] = USERS,
    days: Annotated[int, typer.Option(metavar="N", min=1, max=DAYS_MAX, help="How many days, up to now.")] = DAYS,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Other people, other troubles.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Say what was filled in as JSON.")] = False,
    processes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes at once; by default one for each processor.")
    ] = None,
) -> None:
    """Fill a store with simulated sessions: half under basic, then, from version 2.0 of the app on, professional.

    Another call replaces what an earlier one filled in; other events are never touched. Stop the app first, or use its
    own button. Exits with 1 if Ctrl-C stopped it before the end; what is complete by then is kept.
    """
    from session_core.demo.fill import fill, plan_last  # noqa: PLC0415 - each command loads what it needs
    from session_core.store.late_store import LateStore  # noqa: PLC0415
    from session_core.web.settings import read_settings  # noqa: PLC0415

    clock = SystemClock()
    path = db or read_settings(os.environ).db_path
    plan = plan_last(days, users=users, seed=seed, now_s=clock.wall())
    store = LateStore(path, clock=clock)
    try:
        with _progress(len(plan.stays())) as advance:
            filled = fill(store.opened(), plan, processes=processes, on_played=advance)
    finally:
        store.close()
    typer.echo(msgspec.json.encode(_plain(path, filled)).decode() if as_json else _said(path, filled))
    raise typer.Exit(1 if filled.is_stopped else 0)


@contextmanager
def _progress(length: int) -> Iterator[Callable[[Stay], None]]:
    """A bar for whoever watches a terminal; nothing for a file or a pipe."""
    bar = typer.progressbar(length=length, label="People", file=sys.stderr) if sys.stderr.isatty() else nullcontext()
    with bar as shown:
        yield lambda _stay: None if shown is None else shown.update(1)


def _plain(path: Path, filled: Filled) -> dict[str, object]:
    moments = {name: _moment(getattr(filled, f"{name}_s")) for name in ("from", "switch", "until")}
    return {
        "db": str(path),
        "users": filled.users,
        "days": round(filled.days, 3),
        "days_planned": round(filled.days_planned, 3),
        "events": filled.events,
        **moments,
    }


def _said(path: Path, filled: Filled) -> str:
    if filled.is_stopped:
        return (
            f"stopped: {filled.days:.1f} of {filled.days_planned:.1f} days are in {path}; call it again for all of them"
        )
    return (
        f"{path} holds {filled.events:,} simulated events of {filled.users} people, {filled.days:.1f} days up to "
        f"{_moment(filled.until_s)}.\nOn {_moment(filled.switch_s)} their app went from basic to professional.\n"
        "Start the app, and choose Simulated and 30 d beside."
    )


def _moment(wall_s: float) -> str:
    return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
