"""Runs scenarios, in several processes where it pays, and records them: the only place that knows both sim and store."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import TypeVar

import msgspec

from session_core.clock import SystemClock
from session_core.errors import WorkerLostError
from session_core.lab_jobs import (
    Job,
    Played,
    leave_interrupts_to_the_parent,
    play,
    play_with_events,
    play_without_events,
)
from session_core.sim.run import Run
from session_core.store import EventStore, StoredRun

A = TypeVar("A")
B = TypeVar("B")
LOOK_S = 0.25
"""How soon a sweep notices that it should stop."""

SESSIONS_ALONE_MAX = 50
"""Simulated sessions that are over before another process has even started."""

AHEAD = 2
"""Jobs handed out for each process, so that none waits for the next."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the jobs: the runs that are done, in the order of the jobs, however they were scheduled."""

    planned: int
    runs: tuple[Run, ...]

    @property
    def is_stopped(self) -> bool:
        return len(self.runs) < self.planned

    @property
    def passed(self) -> int:
        return sum(run.passed for run in self.runs)


def ignore(_run: Run, /) -> None:
    pass


def never() -> bool:
    return False


def run_sweep(
    jobs: Sequence[Job],
    *,
    processes: int | None = None,
    store: EventStore | None = None,
    keep_events: bool = False,
    on_done: Callable[[Run], None] = ignore,
    stop: Callable[[], bool] = never,
) -> Sweep:
    """Play the jobs; each run is in `store` before `on_done` hears of it, in the order in which runs finish.

    Ctrl-C, or `stop` answering true, ends the sweep soon, in the middle of a run; what is finished is kept. With one
    process everything happens in this one, and then `stop` is asked between runs only; by default there is one for each
    processor, or one where the sweep is short. Runs carry their events only if `keep_events`.
    """
    done: dict[int, Run] = {}
    processes = processes or _processes_for(jobs)
    wants_events = keep_events or store is not None
    playing = (
        _play_here(jobs, stop, keep_events=wants_events)
        if processes == 1
        else in_processes(
            play_with_events if wants_events else play_without_events, jobs, min(processes, len(jobs)), stop
        )
    )
    with suppress(KeyboardInterrupt), closing(playing):
        for place, played in playing:
            run = played.with_events() if wants_events else played.run
            if store is not None:
                store.record_run(_stored(played), run.events)
            done[place] = run if keep_events else played.run
            on_done(done[place])
    return Sweep(planned=len(jobs), runs=tuple(done[place] for place in sorted(done)))


def _processes_for(jobs: Sequence[Job]) -> int:
    is_short = sum(job.scenario.sessions for job in jobs) <= SESSIONS_ALONE_MAX
    return 1 if is_short else max(2, os.cpu_count() or 1)


def _stored(played: Played) -> StoredRun:
    figures = {name: getattr(played.run, name) for name in StoredRun.__struct_fields__ if hasattr(played.run, name)}
    return StoredRun(**figures, started_at=played.started_at, finished_at=played.finished_at)


def _play_here(jobs: Sequence[Job], stop: Callable[[], bool], *, keep_events: bool) -> Generator[tuple[int, Played]]:
    clock = SystemClock()
    for place, job in enumerate(jobs):
        if stop():
            return
        yield place, play(job, clock=clock, keep_events=keep_events)


def in_processes(
    work: Callable[[A], B], jobs: Sequence[A], processes: int, stop: Callable[[], bool]
) -> Generator[tuple[int, B]]:
    """What comes of each job, with its place, as they finish; Ctrl-C, or `stop` answering true, ends it soon."""
    left = iter(enumerate(jobs))
    flying: dict[Future[B], int] = {}
    with noting_interrupts() as interrupted, _workers(processes) as pool:
        while not (stop() or interrupted()):
            with _deaf_children():
                for place, job in islice(left, AHEAD * processes - len(flying)):
                    flying[pool.submit(work, job)] = place
            if not flying:
                return
            wait(flying, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            for future in [future for future in flying if future.done()]:
                yield flying.pop(future), future.result()


@contextmanager
def _workers(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Started anew rather than forked: a fork in the middle of threads can stand still for ever."""
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=leave_interrupts_to_the_parent
    )
    try:
        yield pool
    except BrokenProcessPool:
        raise WorkerLostError(
            "A process that played scenarios has died, perhaps for want of memory; try fewer processes."
        ) from None
    finally:
        # A run that nobody waits for may take a minute. Python 3.14 has terminate_workers() for this.
        for worker in list((pool._processes or {}).values()):  # noqa: SLF001
            worker.terminate()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """A process started meanwhile does not hear Ctrl-C, not even before its first line."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def noting_interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; it breaks nothing off by itself. Only the main thread can know."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield never
        return
    before = signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
