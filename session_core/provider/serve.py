"""The provider on a port of its own, for the command line. It listens on the loopback address only."""

from __future__ import annotations

import contextlib
import socket

from starlette.types import ASGIApp

from session_core.errors import ConfigError

HOST = "127.0.0.1"
GRACEFUL_SHUTDOWN_S = 2


def listen(port: int) -> socket.socket:
    """A socket that already takes connections; port 0 picks a free one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Port {port} on {HOST} cannot be used ({error.strerror}); choose another with --port, or 0 for a free one."
        ) from error
    return listener


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until interrupted, then return quietly."""
    import uvicorn  # noqa: PLC0415 - only the command line needs a server

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            date_header=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        )
    )
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
