"""A rerun of each page over its websocket, on 10 million events, by one user and by eight, beside an empty Streamlit app."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from bench._big_store import ENDS_S, fill
from bench._looking import look

ROOT = Path(__file__).parents[1]
ONE_MS_BAR, EIGHT_MS_BAR, PAYLOAD_KB_BAR = 80.0, 300.0, 400.0
USERS = 8
START_S_MAX, RUN_S_MAX = 90.0, 120.0
PAGES = ("", "trends", "errors", "sessions", "alerts", "simulate", "compare", "health", "chat", "devices")
OBSERVING = frozenset({"", "trends", "errors", "sessions"})
SPAN_S = 7 * 86_400
EMPTY = 'import streamlit as st\n\nst.title("Empty")\n'


class Rerun(NamedTuple):
    ms: float
    kb: float


class User:
    """One browser tab, as the server sees it."""

    def __init__(self, socket_: ClientConnection, page: str, query: str) -> None:
        self._socket, self._page, self._query = socket_, page, query

    async def rerun(self) -> Rerun:
        """Run the page's script and take all that it sends, to its end."""
        asked = BackMsg()
        asked.rerun_script.query_string = self._query
        asked.rerun_script.page_name = self._page
        asked.rerun_script.context_info.timezone = "UTC"
        began, received = time.perf_counter(), 0
        await self._socket.send(asked.SerializeToString())
        async with asyncio.timeout(RUN_S_MAX):
            while True:
                frame = await self._socket.recv()
                assert isinstance(frame, bytes), "the server speaks in bytes"
                received += len(frame)
                message = ForwardMsg.FromString(frame)
                if message.HasField("delta") and message.delta.new_element.HasField("exception"):
                    raise RuntimeError(f"{self._page or 'overview'}: {message.delta.new_element.exception.message}")
                # A live part that ran by itself meanwhile has an end of its own.
                if message.WhichOneof("type") == "script_finished" and message.script_finished == 0:
                    return Rerun((time.perf_counter() - began) * 1e3, received / 1024)


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench pages", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--store", type=Path, help="keep the filled store here, and use it again")
    parser.add_argument("--look", type=Path, metavar="DIR", help="open every page in Chromium, too, and keep pictures")
    given = parser.parse_args(arguments)
    troubles = []
    with tempfile.TemporaryDirectory() as folder:
        path = given.store or Path(folder) / "events.duckdb"
        if not path.exists():
            fill(path, given.events).close()
        script = Path(folder) / "empty.py"
        script.write_text(EMPTY, encoding="utf-8")
        with _served(script, Path(folder)) as port:
            empty = asyncio.run(_of_page(port, "", "", given.rounds))
        with _served(ROOT / "app.py", ROOT, SESSION_LAB_DB=str(path.resolve())) as port:
            found = {
                page or "overview": asyncio.run(_of_page(port, page, _query(page), given.rounds)) for page in PAGES
            }
            if given.look is not None:
                addresses = {page or "overview": f"http://127.0.0.1:{port}/{page}?{_query(page)}" for page in PAGES}
                troubles = look(addresses, given.look)
    print(f"{'page':<12}{'first':>10}{'one, p50':>12}{'eight, p50':>12}{'payload':>12}")
    for name, (first, one, eight, kb) in {"empty app": empty, **found}.items():
        print(f"{name:<12}{first:>7.0f} ms{one:>9.1f} ms{eight:>9.1f} ms{kb:>9.0f} KB")
    print(*troubles, sep="\n")
    one, eight, kb = (max(of[place] for of in found.values()) for place in (1, 2, 3))
    return {
        "name": "pages",
        "value": round(one, 1),
        "unit": "ms, p50 of the slowest page's rerun by one user",
        "eight_ms": round(eight, 1),
        "payload_kb": round(kb),
        "peers": {"empty app": round(empty[1], 1), "empty app, eight": round(empty[2], 1)},
        "ratio": round(one / empty[1], 1),
        "bar": ONE_MS_BAR,
        "ok": not troubles and one <= ONE_MS_BAR and eight <= EIGHT_MS_BAR and kb <= PAYLOAD_KB_BAR,
    }


def _query(page: str) -> str:
    if page not in OBSERVING:
        return ""
    start, end = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)) for at_s in (ENDS_S - 2 * SPAN_S, ENDS_S - SPAN_S)
    )
    return urlencode({"from": start, "until": end})


async def _of_page(port: int, page: str, query: str, rounds: int) -> tuple[float, float, float, float]:
    """The first run, then the p50 of reruns by one user and by eight, in milliseconds, and the largest payload in KB."""
    async with _user(port, page, query) as user:
        first = await user.rerun()
        alone = [await user.rerun() for _ in range(rounds)]
    crowd = await asyncio.gather(*(_reruns(port, page, query, rounds) for _ in range(USERS)))
    together = [rerun for of_user in crowd for rerun in of_user]
    largest = max(rerun.kb for rerun in (first, *alone, *together))
    return first.ms, median(rerun.ms for rerun in alone), median(rerun.ms for rerun in together), largest


async def _reruns(port: int, page: str, query: str, rounds: int) -> list[Rerun]:
    async with _user(port, page, query) as user:
        await user.rerun()
        return [await user.rerun() for _ in range(rounds)]


class _user:  # noqa: N801 - reads as the function it is
    def __init__(self, port: int, page: str, query: str) -> None:
        self._opening = connect(
            f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"], max_size=None, compression=None
        )
        self._page, self._query = page, query

    async def __aenter__(self) -> User:
        return User(await self._opening.__aenter__(), self._page, self._query)

    async def __aexit__(self, *failure: object) -> None:
        await self._opening.__aexit__(*failure)


@contextmanager
def _served(script: Path, folder: Path, **settings: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    command += ["--server.headless", "true", "--server.address", "127.0.0.1", "--runner.postScriptGC", "false"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=folder, env=os.environ | settings, **quiet) as server:
        try:
            _wait_for(port)
            yield port
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(port: int) -> None:
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/_stcore/health", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError(f"No server came up on port {port} within {START_S_MAX:.0f} s.")
