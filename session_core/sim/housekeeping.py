"""What asyncio asks of an event loop besides running: tasks, async generators, failures and debugging."""
# ruff: noqa: SLF001 - asyncio keeps under this name whether anyone looked at a task's exception.

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context
from itertools import count
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

from session_core.sim.closed_doors import ClosedDoors
from session_core.sim.failures import tell_failure

T = TypeVar("T")
TaskFactory = Callable[..., asyncio.Future[Any]]
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

TASKS_MIN = 1_024
"""Finished tasks are swept out when there are more than this, and twice as many as the sweep before left."""

logger = logging.getLogger(__name__)


class VirtualTask(asyncio.Task[T]):
    """A task whose place in a set, hence in what TaskGroup and wait do with many, is the same in every run."""

    __slots__ = ("_serial",)
    _serial: int

    def __hash__(self) -> int:
        serial: int | None = getattr(self, "_serial", None)
        if serial is None:
            # Asked for the first time while it is made, and so the newest of its loop.
            self._serial = serial = cast(Housekeeping, self.get_loop()).tasks_made
        return serial


class Housekeeping(ClosedDoors):
    """Every task is held until it has finished and its exception, if any, was looked at.

    So nothing depends on when the garbage collector runs, and a failure nobody looked at is known at the end.
    """

    def __init__(self) -> None:
        self.tasks_made = 0
        self.failures: list[tuple[str, BaseException | None]] = []
        self.slow_callback_duration = 0.1
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_max = TASKS_MIN
        self._task_factory: TaskFactory | None = None
        self._asyncgens: WeakValueDictionary[int, AsyncGenerator[Any, Any]] = WeakValueDictionary()
        self._asyncgen_serials = count()
        self._exception_handler: ExceptionHandler | None = None
        self._closed = False
        self._debug = False
        self._careful = False

    # Tasks

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        self._check_open()
        if context is not None:
            options["context"] = context
        self.tasks_made += 1
        task: Any
        if self._task_factory is None:
            task = VirtualTask(coro, loop=self, name=f"Task-{self.tasks_made}" if name is None else name, **options)
        else:
            task = self._task_factory(self, coro, **options)
            if name is not None:
                task.set_name(name)
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_max:
            self._drop_finished_tasks()
        return task  # type: ignore[no-any-return]

    def set_task_factory(self, factory: TaskFactory | None) -> None:
        self._task_factory = factory

    def get_task_factory(self) -> TaskFactory | None:
        return self._task_factory

    def pending_tasks(self) -> list[asyncio.Task[Any]]:
        """In order of creation."""
        return [task for task in self._tasks if not task.done()]

    def _drop_finished_tasks(self) -> None:
        self._tasks[:] = [task for task in self._tasks if not task.done() or task._log_traceback]
        self._tasks_max = max(TASKS_MIN, 2 * len(self._tasks))

    # Async generators

    async def shutdown_asyncgens(self) -> None:
        generators = list(self._asyncgens.values())
        self._asyncgens.clear()
        results = await asyncio.gather(*(generator.aclose() for generator in generators), return_exceptions=True)
        for generator, result in zip(generators, results, strict=True):
            if isinstance(result, Exception):
                self.call_exception_handler({"message": f"closing {generator!r} failed", "exception": result})

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's signature
        """Nothing to shut down: there are no threads."""

    def _note_asyncgen(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._asyncgens[next(self._asyncgen_serials)] = generator

    def _finalize_asyncgen(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.call_soon(self.create_task, generator.aclose())

    # Failures

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._exception_handler is None:
            self.default_exception_handler(context)
            return
        try:
            self._exception_handler(self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio: a failed handler is reported in its turn
            self.default_exception_handler(context)
            self.default_exception_handler({"message": "the exception handler failed", "exception": error})

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep it for the end of the run; what comes to light after that is logged."""
        failure = (str(context.get("message")), context.get("exception"))
        if self._closed:
            logger.error(tell_failure(*failure), exc_info=failure[1])
        else:
            self.failures.append(failure)

    def get_exception_handler(self) -> ExceptionHandler | None:
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        self._exception_handler = handler

    def collect_failures(self) -> list[tuple[str, BaseException | None]]:
        """All that failed so far without anyone looking, failed tasks included."""
        for task in self._tasks:
            if task.done() and task._log_traceback:
                self.call_exception_handler({"message": f"{task!r} failed", "exception": task.exception()})
        return self.failures

    # Debugging and closing

    def get_debug(self) -> bool:
        return self._debug

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        self._debug = enabled
        self._careful = enabled or self._closed

    def is_closed(self) -> bool:
        return self._closed

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this loop is closed")
