"""The command line: exits 0 on success, 1 when an expectation failed, 2 on bad usage."""

from __future__ import annotations

import json
import os
import random
import secrets
import sys
from pathlib import Path
from typing import Annotated

try:
    import typer
except ModuleNotFoundError:
    raise SystemExit('The command line needs more packages: pip install "session-core[cli]"') from None

import msgspec

from session_core import demo_command, lab_commands, store_commands
from session_core.clock import SystemClock
from session_core.errors import SessionCoreError

EXTRAS = {"duckdb": "store", "pandas": "store", "pyarrow": "store", "plotly": "dashboard"}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def session_core() -> None:
    """Keeps people signed in across hours of idle, and proves it."""


@app.command()
def idp(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 picks a free one.")],
    access_ttl: Annotated[float, typer.Option(metavar="S", help="Seconds an access token lives.")] = 3600.0,
    refresh_ttl: Annotated[float, typer.Option(metavar="S", help="Seconds a refresh token lives.")] = 2_592_000.0,
    grace: Annotated[float, typer.Option(metavar="S", help="Seconds a spent refresh token is answered again.")] = 0.0,
    fault: Annotated[Path | None, typer.Option(metavar="FILE", help="A TOML file of faults to begin with.")] = None,
    redirect_uri: Annotated[list[str] | None, typer.Option(metavar="URI", help="A call-back; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say where it listens as JSON.")] = False,
) -> None:
    """Run the embedded identity provider, a test double, on its own port."""
    from session_core.provider import (  # noqa: PLC0415 - each command loads what it needs
        EmbeddedProvider,
        FaultPlan,
        ProviderConfig,
        lab_clients,
        load_faults,
    )
    from session_core.provider.asgi import provider_app  # noqa: PLC0415
    from session_core.provider.serve import HOST, listen, serve  # noqa: PLC0415

    clock = SystemClock()
    faults = FaultPlan(random.SystemRandom())
    for ordered in load_faults(fault) if fault else ():
        faults.order(ordered, clock.wall())
    clients = lab_clients(tuple(redirect_uri)) if redirect_uri else lab_clients()
    config = ProviderConfig(access_ttl_s=access_ttl, refresh_ttl_s=refresh_ttl, grace_s=grace, clients=clients)
    listener = listen(port)
    issuer = f"http://{HOST}:{listener.getsockname()[1]}"
    config = config.at(issuer)
    print(json.dumps({"issuer": issuer}) if as_json else f"The identity provider listens at {issuer}", flush=True)
    provider = EmbeddedProvider(config, entropy=secrets.token_bytes, faults=faults)
    serve(provider_app(provider, clock=clock), listener)


@app.command()
def doctor(
    *,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The app's port, if not the configured one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say it as JSON.")] = False,
) -> None:
    """Say what is configured, what runs, what does not and how to fix it. Nothing is changed."""
    from session_core.doctor import Setup, app_port, examine, is_well, report  # noqa: PLC0415

    setup = Setup(
        environment=os.environ,
        port=port or app_port(os.environ, folder=Path.cwd()),
        clock=SystemClock(),
    )
    findings = examine(setup)
    well = is_well(findings)
    print(msgspec.json.encode({"ok": well, "findings": findings}).decode() if as_json else report(findings))
    raise typer.Exit(0 if well else 1)


for command in (lab_commands.scenarios, lab_commands.simulate, lab_commands.replay, lab_commands.explore):
    app.command()(command)
app.command()(demo_command.demo)
app.command()(store_commands.ingest)
app.command()(store_commands.export)


def main() -> None:
    """Every error of ours is one sentence, never a traceback."""
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        raise SystemExit(
            f'This command needs more packages: pip install "session-core[{EXTRAS[error.name]}]"'
        ) from None
    except SessionCoreError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
