"""CPU-seconds for the whole catalogue without its two fleet scenarios: one seed, one core, the log on."""

from __future__ import annotations

import time
from collections.abc import Sequence

from session_core.config import PROFESSIONAL
from session_core.sim.run import run
from session_core.sim.scenario import read_catalogue

ROUNDS = 3
SEED = 1
BAR = 10.0


def measure(_arguments: Sequence[str]) -> dict[str, object]:
    """The best of a few rounds; each keeps the events and takes their digest, as every run does."""
    scenarios = [scenario for scenario in read_catalogue().values() if scenario.sessions < 1_000]
    rounds: list[float] = []
    slowest: dict[str, float] = {}
    virtual_s = events = 0.0
    for _ in range(ROUNDS):
        began = time.process_time()
        runs = []
        for scenario in scenarios:
            since = time.process_time()
            runs.append(run(scenario, PROFESSIONAL, SEED))
            slowest[scenario.name] = round(time.process_time() - since, 3)
        rounds.append(time.process_time() - began)
        virtual_s = sum(made.virtual_seconds for made in runs)
        events = sum(len(made.events) for made in runs)
    spent_s = min(rounds)
    return {
        "name": "catalogue",
        "value": round(spent_s, 2),
        "unit": f"CPU-seconds for {len(scenarios)} scenarios",
        "peers": {},
        "ratio": round(virtual_s / spent_s),
        "ratio_means": "virtual seconds per CPU-second",
        "events": int(events),
        "slowest": dict(sorted(slowest.items(), key=lambda pair: -pair[1])[:5]),
        "bar": BAR,
        "ok": spent_s < BAR,
    }
