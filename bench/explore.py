"""Random schedules of trouble, each judged by every invariant: does one of them break?"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

from session_core.config import PRESETS
from session_core.sim.explore import draw, first_broken

CHUNK = 250


def play_seeds(first: int, count: int, policy: str) -> list[str]:
    """What was broken by which of these seeds."""
    broken = []
    for seed in range(first, first + count):
        violation = first_broken(draw(seed), PRESETS[policy], seed)
        if violation is not None:
            broken.append(f"seed {seed}: {violation}")
    return broken


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m bench explore", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2, help="how many at once")
    parser.add_argument("--policy", choices=sorted(PRESETS), default="professional")
    options = parser.parse_args(arguments)
    began, done = time.monotonic(), 0
    broken: list[str] = []
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        work = {}
        for first in range(0, options.schedules, CHUNK):
            count = min(CHUNK, options.schedules - first)
            work[pool.submit(play_seeds, options.first + first, count, options.policy)] = count
        for chunk in as_completed(work):
            done += work[chunk]
            broken += chunk.result()
            rate = done / (time.monotonic() - began)
            print(
                f"\r{done} of {options.schedules}, {rate:.0f} a second, {len(broken)} broken", end="", file=sys.stderr
            )
    seconds = time.monotonic() - began
    print(file=sys.stderr)
    print(*sorted(broken), f"{done} schedules in {seconds:.0f} s: {done / seconds:.0f} a second", sep="\n")
    return {
        "name": "explore",
        "value": done,
        "unit": "schedules",
        "broken": len(broken),
        "seconds": round(seconds, 1),
        "peers": {},
        "ratio": 1.0,
        "bar": 0,
        "ok": not broken,
    }
