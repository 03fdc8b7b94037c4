"""What was simulated in this process: runs by their names, the sweep that is under way, and how fast it goes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from session_core.clock import Clock
from session_core.errors import SessionCoreError
from session_core.lab import run_sweep
from session_core.lab_jobs import Job
from session_core.sim.run import Run
from session_core.store import EventStore

RUNS_MAX = 100_000
ALONE_S_MAX = 2.0
"""What takes no longer is done before another process has even started."""
GUESS_S, GUESS_EACH_S = 0.03, 0.004
START_S = 1.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a sweep is. `trouble` is the sentence of what ended it early."""

    planned: int
    done: int
    running: bool
    stopping: bool
    trouble: str | None = None

    @property
    def broke_off(self) -> bool:
        """Ended early, and neither was told to nor said why: its traceback is on the console."""
        return not self.running and not self.stopping and self.trouble is None and self.done < self.planned

    @property
    def share(self) -> float:
        return self.done / self.planned if self.planned else 1.0


class Sweeps:
    """One for the process. Runs are named by what makes them, so whoever asked first has asked for everyone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._cost_s: dict[tuple[str, str], float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._planned = self._done = 0
        self._trouble: str | None = None
        self._last_s = 0.0

    def find(self, jobs: Iterable[Job]) -> list[Run | None]:
        """The run of each job, None where it is not there yet."""
        return [self._runs.get(name_of(job)) for job in jobs]

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Those without a run, each once."""
        return list({name: job for job in jobs if (name := name_of(job)) not in self._runs}.values())

    def keep(self, job: Job, run: Run) -> None:
        with self._lock:
            while len(self._runs) >= RUNS_MAX:
                del self._runs[next(iter(self._runs))]
            self._runs[name_of(job)] = msgspec.structs.replace(run, events=())

    def estimate_s(self, jobs: Sequence[Job]) -> float:
        """How long they will take, by how long their like took here, or by a guess."""
        known = (self._cost_s.get((job.scenario.name, job.policy.name)) for job in jobs)
        spent_s = sum(
            GUESS_S + GUESS_EACH_S * job.scenario.sessions if cost is None else cost
            for job, cost in zip(jobs, known, strict=True)
        )
        return spent_s + (START_S if spent_s > ALONE_S_MAX else 0.0)

    def progress(self) -> Progress:
        with self._lock:
            return Progress(
                planned=self._planned,
                done=self._done,
                running=self._thread is not None and self._thread.is_alive(),
                stopping=self._stop.is_set(),
                trouble=self._trouble,
            )

    def start(self, jobs: Sequence[Job], *, store: EventStore | None = None) -> bool:
        """Begin in the background, unless another sweep is under way; whether it began."""
        with self._lock:
            if not jobs or (self._thread is not None and self._thread.is_alive()):
                return False
            self._stop.clear()
            self._planned, self._done, self._trouble = len(jobs), 0, None
            self._last_s = self._clock.monotonic()
            self._thread = threading.Thread(target=self._sweep, args=(list(jobs), store), daemon=True, name="sweep")
            self._thread.start()
        return True

    def stop(self) -> None:
        """What is finished is kept."""
        self._stop.set()

    def wait(self, timeout_s: float) -> bool:
        """Until the sweep is over; whether it is."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _sweep(self, jobs: list[Job], store: EventStore | None) -> None:
        by_name = {(job.scenario.name, job.policy.name, job.seed): job for job in jobs}

        def done(run: Run) -> None:
            self.keep(by_name[run.scenario, run.policy, run.seed], run)
            self._note(run)

        try:
            processes = 1 if self.estimate_s(jobs) <= ALONE_S_MAX else None
            run_sweep(jobs, processes=processes, store=store, on_done=done, stop=self._stop.is_set)
        except SessionCoreError as error:
            self._trouble = str(error)

    def _note(self, run: Run) -> None:
        """The time since the last run ended is what this one cost, whoever it ran beside."""
        now = self._clock.monotonic()
        with self._lock:
            spent_s, self._last_s = now - self._last_s, now
            before = self._cost_s.get((run.scenario, run.policy), spent_s)
            self._cost_s[run.scenario, run.policy] = 0.7 * before + 0.3 * spent_s
            self._done += 1


def name_of(job: Job) -> str:
    """A run's name: two scenarios or policies of one name are told apart by what is in them."""
    return f"{job.scenario.name}/{job.policy.name}/{job.seed}/{_content(job.scenario)}/{_content(job.policy)}"


@lru_cache(maxsize=1_000)
def _content(settings: msgspec.Struct) -> str:
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
