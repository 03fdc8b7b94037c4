"""Session-hours per CPU-second: the real lifecycle on virtual time beside the plain way, and a SimPy model of the same calls."""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import httpx
import simpy

from bench.virtual_loop import PlainLoop
from session_core.config import PROFESSIONAL
from session_core.events import Event, HeartbeatBeat, RequestServed, TokenRefreshed
from session_core.sim.checks import Check
from session_core.sim.loop import run_virtual
from session_core.sim.run import run
from session_core.sim.scenario import Acting, Calls, Family, Scenario, Users
from session_core.sim.world import Naming, World

DAY_H = 24
CALLS = 310
EVERY_S = DAY_H * 3600 / CALLS
HEARTBEAT_S = 300.0
REFRESH_S = 3300.0
LATENCY_S = 0.1
ROUNDS = 5
BARS = {"idle day": 5.0, "working day over the wire seam": 3.0, "working day through session.client": 0.85}


def day(name: str, *, users: Users, calls: Calls, sessions: int) -> Scenario:
    return Scenario(
        name=name,
        family=Family.FLEET,
        what="A day without trouble.",
        passes_when="Nobody is signed out.",
        duration_s=DAY_H * 3600.0,
        sessions=sessions,
        users=users,
        calls=calls,
        latency_s=LATENCY_S,
        checks=(Check(check="sign_outs", equals=0),),
    )


def days(sessions: int) -> Iterator[tuple[str, Scenario]]:
    working = Users(act=Acting.STEADY, every_s=EVERY_S)
    yield "idle day", day("idle-day", users=Users(), calls=Calls.WIRE, sessions=sessions)
    yield "working day over the wire seam", day("wire-day", users=working, calls=Calls.WIRE, sessions=sessions)
    yield "working day through session.client", day("client-day", users=working, calls=Calls.CLIENT, sessions=sessions)


def live(scenario: Scenario) -> list[Event]:
    """The lifecycle and its log, without the verdict that a run adds."""
    events: list[Event] = []

    async def main() -> None:
        naming = Naming(run_id="bench", scenario=scenario.name, policy=PROFESSIONAL.name)
        await World(scenario, PROFESSIONAL, 1, naming=naming, hear=events.append).play()

    run_virtual(main())
    return events


class Mock(httpx.AsyncBaseTransport):
    """An API as far away as the simulated one."""

    async def handle_async_request(self, _request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(LATENCY_S)
        return httpx.Response(200, headers={"content-type": "application/json"}, content=b'{"greeting": "hello"}')


def plain(sessions: int) -> None:
    """What a test without the lab would do: the calls alone, no lifecycle."""

    async def user() -> None:
        async with httpx.AsyncClient(transport=Mock(), base_url="https://api.example", trust_env=False) as client:
            for _ in range(CALLS):
                await asyncio.sleep(EVERY_S)
                await client.get("/greeting")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(sessions):
                group.create_task(user())

    with asyncio.Runner(loop_factory=PlainLoop) as runner:
        runner.run(main())


def modelled(sessions: int) -> None:
    """A model of the same calls, heartbeats and refreshes: no code of the lifecycle runs."""
    world = simpy.Environment()

    def every(seconds: float) -> Iterator[simpy.Event]:
        while True:
            yield world.timeout(seconds)

    for _ in range(sessions):
        for seconds in (EVERY_S, HEARTBEAT_S, REFRESH_S):
            world.process(every(seconds))
    world.run(until=DAY_H * 3600)


def hours_per_s(work: Callable[[], object], sessions: int) -> float:
    gc.collect()
    gc.disable()
    began = time.process_time()
    work()
    spent_s = time.process_time() - began
    gc.enable()
    return sessions * DAY_H / spent_s


def counts(events: list[Event], sessions: int) -> dict[str, float]:
    kinds = {"heartbeats": HeartbeatBeat, "refreshes": TokenRefreshed, "calls": RequestServed}
    return {name: sum(isinstance(event.fact, kind) for event in events) / sessions for name, kind in kinds.items()}


def measure(arguments: Sequence[str]) -> dict[str, object]:
    """Interleaved rounds, medians; every load is `--sessions` sessions of one day in one world."""
    parser = argparse.ArgumentParser(prog="python -m bench sim_speed")
    parser.add_argument("--sessions", type=int, default=20)
    sessions = parser.parse_args(arguments).sessions
    loads: dict[str, Callable[[], object]] = {"plain": lambda: plain(sessions), "SimPy": lambda: modelled(sessions)}
    scenarios = dict(days(sessions))
    loads |= {name: lambda scenario=scenario: live(scenario) for name, scenario in scenarios.items()}
    wire = scenarios["working day over the wire seam"]
    loads["the same with its verdict"] = lambda: run(wire, PROFESSIONAL, 1, keep_events=False)
    spent: dict[str, list[float]] = {name: [] for name in loads}
    for _ in range(ROUNDS):
        for name, load in loads.items():
            spent[name].append(hours_per_s(load, sessions))
    speeds = {name: round(median(found)) for name, found in spent.items()}
    ratios = {name: round(speeds[name] / speeds["plain"], 2) for name in BARS}
    return {
        "name": "sim_speed",
        "value": speeds["working day over the wire seam"],
        "unit": "session-hours per CPU-second",
        "peers": {name: speeds[name] for name in ("plain", "SimPy")},
        "speeds": speeds,
        "sessions": sessions,
        "latency_s": LATENCY_S,
        "each_session": {name: counts(live(scenario), sessions) for name, scenario in scenarios.items()},
        "ratio": ratios["working day over the wire seam"],
        "ratios": ratios,
        "to_SimPy": {name: round(speeds[name] / speeds["SimPy"], 3) for name in BARS},
        "bar": BARS,
        "ok": all(ratios[name] >= bar for name, bar in BARS.items()),
    }
