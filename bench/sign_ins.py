"""A thousand sign-ins a minute in one process of the app: what each costs, and whether any session is lost."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from session_core import SessionService
from session_core.errors import SessionCoreError
from session_core.web.settings import LabSettings, read_settings, session_config
from session_core.web.sign_in import Seats
from session_core.web.stored_sessions import shelf_of, stored_sessions

ROOT = Path(__file__).parents[1]
PER_MINUTE = 1_000
# Offered, so that a sign-in that takes a while at the end of the time does not decide.
OFFERED_SHARE = 1.05
SECONDS = 60.0
WARM_UP = 20
EMPTY_ANSWERS = 400
# To the app, to the provider's page, through it, and back.
ANSWERS_EACH = 4
CALLS_AT_ONCE = 16
USERS = ("ada", "grace", "alan")
PLACE = "/chat"


class App(NamedTuple):
    """The app as its users start it, on a store of its own."""

    url: str
    port: int
    pid: int
    settings: LabSettings

    def cpu_s(self) -> float:
        """What the process and its threads took so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class SignIn(msgspec.Struct, kw_only=True):
    """What became of one; `cookie` is the session's, empty where there is none."""

    took_s: float
    ended_at: float
    cookie: str
    trouble: str = ""


@contextmanager
def running(folder: Path) -> Iterator[App]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lab = {"SESSION_LAB_DB": str(folder / "lab.duckdb"), "SESSION_LAB_SIGN_INS_PER_MINUTE": "60000"}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    said = folder / "said.txt"
    with (
        said.open("w") as to,
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **lab}, stdout=to, stderr=subprocess.STDOUT) as app,
    ):
        try:
            while "URL:" not in said.read_text():
                if app.poll() is not None:
                    raise SystemExit(said.read_text())
                time.sleep(0.1)
            yield App(f"http://127.0.0.1:{port}", port, app.pid, read_settings(lab))
        finally:
            app.terminate()


async def sign_in(app: App, wire: httpx.AsyncBaseTransport, username: str) -> SignIn:
    """A browser of its own goes the whole way: code, PKCE, state, the provider's page, and back to where it began."""
    browser = httpx.AsyncClient(transport=wire, base_url=app.url, timeout=30.0)
    began, trouble = time.monotonic(), ""
    try:
        asked = await browser.get("/auth/sign-in", params={"return_to": PLACE})
        page = await browser.get(asked.headers["location"])
        home = await browser.post(page.url, data={"username": username, "password": "demo"})
        back = await browser.get(home.headers["location"])
        trouble = "" if back.headers.get("location") == PLACE else f"status {back.status_code}"
    except (httpx.HTTPError, KeyError) as error:
        trouble = type(error).__name__
    cookie = browser.cookies.get(f"session_lab_{app.port}", default="")
    ended = time.monotonic()
    return SignIn(took_s=ended - began, ended_at=ended, cookie=cookie or "", trouble=trouble)


async def crowd(app: App, wire: httpx.AsyncBaseTransport, *, per_minute: float, seconds: float) -> list[SignIn]:
    """They come when they come, whether the app keeps up or not."""
    began, coming = time.monotonic(), []
    async with asyncio.TaskGroup() as people:
        for number in range(round(per_minute * seconds / 60)):
            await asyncio.sleep(began + number * 60 / per_minute - time.monotonic())
            coming.append(people.create_task(sign_in(app, wire, USERS[number % len(USERS)])))
    return [each.result() for each in coming]


async def empty_answers(app: App, wire: httpx.AsyncBaseTransport, count: int) -> float:
    """CPU seconds that the same process takes for an answer with nothing in it."""
    browser, before = httpx.AsyncClient(transport=wire, base_url=app.url), app.cpu_s()
    for _ in range(count // CALLS_AT_ONCE):
        for answer in await asyncio.gather(*(browser.get("/_stcore/health") for _ in range(CALLS_AT_ONCE))):
            answer.raise_for_status()
    return (app.cpu_s() - before) / count


async def standing(app: App, wire: httpx.AsyncBaseTransport, cookie: str) -> bool:
    """Whether the app knows whose cookie this is."""
    asked = httpx.AsyncClient(transport=wire, base_url=app.url, timeout=30.0)
    answer = await asked.get("/auth/activity", headers={"cookie": f"session_lab_{app.port}={cookie}"})
    return answer.status_code == 200 and answer.json()["how"] == "open"


async def working(app: App) -> Counter[str]:
    """Every session that is on the disk, taken up by another process, and what a call of the API in it comes to."""
    config, _ = session_config(app.settings, {}, port=app.port)
    places = asyncio.Semaphore(CALLS_AT_ONCE)

    async def call(service: SessionService, session_id: str) -> str:
        async with places:
            session = await service.resume(session_id)
            if session is None:
                return "not found"
            try:
                return str((await session.client.get("echo")).status_code)
            except (httpx.HTTPError, SessionCoreError) as error:
                return type(error).__name__

    with stored_sessions(app.settings, {}, config) as store:
        assert store is not None, "sessions are kept on the disk"
        seats = await Seats(entropy=secrets.token_bytes, shelf=shelf_of(store, config, "seat")).stored()
        async with SessionService(config, store=store) as service:
            return Counter(await asyncio.gather(*(call(service, seat.session_id) for seat in seats)))


async def watch(app: App, *, per_minute: float, seconds: float) -> Mapping[str, Any]:
    # The server gives idle connections up after 5 s; a request that meets just that would be lost on the way.
    limits = httpx.Limits(max_connections=100, keepalive_expiry=2.0)
    async with httpx.AsyncHTTPTransport(limits=limits) as wire:
        early = await crowd(app, wire, per_minute=per_minute, seconds=WARM_UP * 60 / per_minute)
        empty_s = await empty_answers(app, wire, EMPTY_ANSWERS)
        began, before = time.monotonic(), app.cpu_s()
        done = await crowd(app, wire, per_minute=per_minute * OFFERED_SHARE, seconds=seconds)
        cpu_s = app.cpu_s() - before
        known = [await standing(app, wire, each.cookie) for each in (*early, *done)]
    calls = await working(app)
    took = sorted(each.took_s for each in done)
    in_time = sum(not each.trouble and each.ended_at <= began + seconds for each in done)
    return {
        "sign_ins": len(done),
        "per_minute": round(in_time * 60 / seconds, 1),
        "cpu_ms_each": round(1000 * cpu_s / len(done), 2),
        "cpu_ms_of_an_empty_answer": round(1000 * empty_s, 3),
        "core_share": round(cpu_s / (max(each.ended_at for each in done) - began), 3),
        "median_ms": round(1000 * statistics.median(took), 1),
        "p95_ms": round(1000 * took[int(0.95 * len(took))], 1),
        "trouble": dict(Counter(each.trouble for each in (*early, *done) if each.trouble)),
        "sessions": len(known),
        "known_to_the_app": sum(known),
        "calls_from_another_process": dict(calls),
        "lost": len(known) - min(sum(known), calls["200"]),
    }


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench sign_ins", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for how long people come")
    parser.add_argument("--per-minute", type=float, default=PER_MINUTE, help="how many of them in a minute")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as app:
        figures = asyncio.run(watch(app, per_minute=options.per_minute, seconds=options.seconds))
    print(figures, flush=True)
    alike_ms = ANSWERS_EACH * figures["cpu_ms_of_an_empty_answer"]
    return {
        "name": "sign_ins",
        "value": figures["per_minute"],
        "unit": "sign-ins a minute in one process",
        "peers": {f"{ANSWERS_EACH} empty answers of the same process": {"cpu_ms": round(alike_ms, 2)}},
        "ratio": round(figures["cpu_ms_each"] / alike_ms, 1),
        "figures": figures,
        "bar": {"per_minute": PER_MINUTE, "lost": 0},
        "ok": figures["per_minute"] >= PER_MINUTE and figures["lost"] == 0 and not figures["trouble"],
    }
