"""What an event loop offers besides time, all of it closed in a simulated run."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from session_core.sim.failures import NotInSimulationError


def _closed(what: str, instead: str) -> Any:
    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise NotInSimulationError(f"A simulated run has no {what}; {instead}.")

    return refuse


_threads = _closed(
    "threads or executors", "do the work in a coroutine and stand in for its duration with asyncio.sleep"
)
_sockets = _closed("sockets, pipes or name look-ups", "hand in a Transport that answers in memory")
_processes = _closed("subprocesses", "run them outside the simulation")
_signals = _closed("signal handlers", "let the code around the run handle signals")


class ClosedDoors(asyncio.AbstractEventLoop):
    """Refuses with a sentence whatever would leave the simulation."""

    run_in_executor = set_default_executor = _threads

    getaddrinfo = getnameinfo = _sockets
    create_connection = create_server = create_unix_connection = create_unix_server = _sockets
    create_datagram_endpoint = connect_accepted_socket = start_tls = sendfile = _sockets
    sock_recv = sock_recv_into = sock_recvfrom = sock_recvfrom_into = _sockets
    sock_sendall = sock_sendto = sock_connect = sock_accept = sock_sendfile = _sockets
    add_reader = remove_reader = add_writer = remove_writer = _sockets
    connect_read_pipe = connect_write_pipe = _sockets

    subprocess_shell = subprocess_exec = _processes

    add_signal_handler = remove_signal_handler = _signals
