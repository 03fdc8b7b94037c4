"""The store's commands: ingest and export. Each loads what it needs when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from session_core.clock import SystemClock
from session_core.errors import ConfigError
from session_core.vocabulary import Source

if TYPE_CHECKING:
    from session_core.events import Event
    from session_core.ingest import Refusal, Sent
    from session_core.store import EventStore

STDIN = Path("-")
REFUSED_SHOWN_MAX = 100
DB_HELP = "The event store; the app's own by default."
MOMENT_HELP = "a date or an RFC 3339 time; UTC where it does not say"


def ingest(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help=".jsonl, .ndjson, .csv, .parquet; - reads lines.")
    ],
    *,
    db: Annotated[Path | None, typer.Option(metavar="FILE", help=DB_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say what became of them as JSON.")] = False,
) -> None:
    """Bring events of other services and apps into a store, each once, however often they are brought.

    What is refused is named on standard error, and then it exits with 1; docs/ingest.md says what an event is.
    """
    from session_core.store.exchange import Taken, take_in  # noqa: PLC0415 - each command loads what it needs

    now, taken = SystemClock().wall(), Taken()
    refused: list[dict[str, object]] = []

    def tell(file: Path, refusal: Refusal) -> None:
        typer.echo(f"{file}:{refusal.line}: {refusal.error}", err=True)
        if len(refused) < REFUSED_SHOWN_MAX:
            refused.append({"file": str(file), "line": refusal.line, "error": refusal.error})

    sources = [(file, _read(file)) for file in files]
    with _opened(_path(db)) as store:

        def append(events: Sequence[Event]) -> int:
            added = store.append_once(events)
            store.maintain(idle=False)
            return added

        for file, sent in sources:
            taken += take_in(append, sent, now=now, on_refused=partial(tell, file))
        store.fold()
    if as_json:
        counts = {"accepted": taken.accepted, "duplicates": taken.duplicates}
        _print_json(counts | {"refused": refused, "refused_count": taken.refused})
    else:
        typer.echo(f"{taken.accepted} accepted, {taken.duplicates} there already, {taken.refused} refused")
    raise typer.Exit(1 if taken.refused else 0)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write: .parquet, .jsonl or .csv.")],
    *,
    db: Annotated[Path | None, typer.Option(metavar="FILE", help=DB_HELP)] = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="TIME", help=f"From here on: {MOMENT_HELP}.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help=f"Up to but without this: {MOMENT_HELP}.")] = None,
    source: Annotated[Source | None, typer.Option(help="Only events from here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say how many there were as JSON.")] = False,
) -> None:
    """Write the events of a store to a file, which is there when it is whole."""
    from session_core.store.exchange import export as write  # noqa: PLC0415

    from_at, until_at = _moment("--from", from_), _moment("--until", until)
    if from_at is not None and until_at is not None and from_at >= until_at:
        raise ConfigError("--from is not before --until; between them lies nothing.")
    path = _path(db)
    if not path.is_file():
        raise ConfigError(f"There is no event store {path}; name one with --db.")
    with _opened(path) as store:
        events = write(store, file, from_at=from_at, until_at=until_at, source=source)
    if as_json:
        _print_json({"file": str(file), "events": events})
    else:
        typer.echo(f"{events} events are in {file}")


def _path(db: Path | None) -> Path:
    from session_core.web.settings import read_settings  # noqa: PLC0415

    return db or read_settings(os.environ).db_path


@contextmanager
def _opened(path: Path) -> Iterator[EventStore]:
    from session_core.store.late_store import LateStore  # noqa: PLC0415

    store = LateStore(path, clock=SystemClock())
    try:
        yield store.opened()
    finally:
        store.close()


def _read(file: Path) -> Sent:
    from session_core.ingest import lines_of  # noqa: PLC0415
    from session_core.store.exchange import read_file  # noqa: PLC0415

    return lines_of(sys.stdin.buffer) if file == STDIN else read_file(file)


def _moment(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} is {text!r}; give {MOMENT_HELP}, such as 2026-01-31.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _print_json(said: object) -> None:
    typer.echo(msgspec.json.encode(said).decode())
