"""The ways a simulated run fails, told so that the cause can be found.

SimulationError             simulation          a simulated run cannot go on
├── DeadlockError           deadlock            somebody waits and nothing is left that could wake them
├── LivelockError           livelock            callbacks follow each other for ever at one instant
├── TimeLimitError          time_limit          the run did not end by the virtual time it was given
├── NotInSimulationError    not_in_simulation   threads, sockets, processes or signals were asked for
└── UnretrievedError        unretrieved         a task or callback failed and nobody looked
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from session_core.errors import SessionCoreError

TOLD_TASKS_MAX = 20


class SimulationError(SessionCoreError):
    code = "simulation"


class DeadlockError(SimulationError):
    code = "deadlock"


class LivelockError(SimulationError):
    code = "livelock"


class TimeLimitError(SimulationError):
    code = "time_limit"


class NotInSimulationError(SimulationError):
    code = "not_in_simulation"


class UnretrievedError(SimulationError):
    """`failures` pairs each message with its exception, in the order they came to light."""

    code = "unretrieved"

    def __init__(self, failures: list[tuple[str, BaseException | None]]) -> None:
        told = "; ".join(tell_failure(*failure) for failure in failures)
        super().__init__(f"Something failed in this run and nobody looked: {told}.")
        self.failures = failures


def tell_failure(message: str, error: BaseException | None) -> str:
    return message if error is None else f"{message} ({type(error).__name__}: {error})"


def tell_waiting(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Who waits, where and for what; one line a task."""
    told = [f"  {task.get_name()} waits in {_place(task)}" for task in tasks]
    left_out = len(told) - TOLD_TASKS_MAX
    return "\n".join(told[:TOLD_TASKS_MAX] + ([f"  and {left_out} more"] if left_out > 0 else []))


def _place(task: asyncio.Task[Any]) -> str:
    """The deepest frame that is not asyncio's, and what of asyncio's it called."""
    frames = list(_awaiting(task.get_coro()))
    own = [frame for frame in frames if not _is_asyncio(frame[1])] or frames[:1]
    if not own:
        return repr(task.get_coro())
    name, file, line = own[-1]
    below = frames[frames.index(own[-1]) + 1 :]
    return f"{name} ({Path(file).name}:{line})" + (f" for {below[0][0]}" if below else "")


def _awaiting(awaited: Any) -> Iterator[tuple[str, str, int]]:
    """Name, file and line of each coroutine from the task's own down to the one that waits."""
    while (frame := getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)) is not None:
        yield awaited.__qualname__, frame.f_code.co_filename, frame.f_lineno
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)


def _is_asyncio(file: str) -> bool:
    return Path(file).parent == Path(asyncio.__file__).parent
