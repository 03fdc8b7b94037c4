"""What waits on a virtual loop: callbacks that are ready, callbacks set for a time, and the gate of their device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, Protocol

import msgspec


class Gate(Protocol):
    """Stands between the loop and the callbacks of one device, which has a time of its own."""

    name: str

    def local_time(self) -> float: ...

    def world_time(self, local_s: float) -> float: ...

    def hold(self, handle: VirtualHandle) -> None:
        """Keep a ready callback until the gate opens."""
        ...

    def route(self, timer: VirtualTimer) -> None:
        """Take a timer whose time may have come: let it in, put it off or keep it."""
        ...

    def release(self) -> None:
        """Open, whatever keeps it shut."""
        ...


GATE: ContextVar[Gate | None] = ContextVar("GATE", default=None)
"""The device that the running code belongs to; tasks and callbacks inherit it with their context."""


class TimerKeeper(Protocol):
    def timer_cancelled(self) -> None:
        """Count a timer that is still kept and will never fire."""
        ...


class VirtualHandle(asyncio.Handle):
    """A ready callback; cancelled means it has none any more."""

    __slots__ = ()
    _repr = None
    _source_traceback = None
    _args: tuple[Any, ...]
    _callback: Callable[..., object] | None
    _context: Context

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self._callback = callback
        self._args = args
        self._context = context

    @property
    def _cancelled(self) -> bool:  # type: ignore[override] # read by asyncio's __repr__
        return self._callback is None

    def cancel(self) -> None:
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        return self._callback is None


class WorldTimer(msgspec.Struct, eq=False):
    """As `VirtualTimer` for what nobody cancels and no device has a part in; most timers of a run are of this kind."""

    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _context: Context
    _loop: None = None


class VirtualTimer(VirtualHandle, asyncio.TimerHandle):
    """A callback set for a time, told in the time of the device that set it; `_loop` is there while the loop keeps it."""

    __slots__ = ("_serial",)
    _when: float
    _loop: TimerKeeper | None

    def __init__(
        self,
        when: float,
        serial: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context,
        loop: TimerKeeper,
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._when = when
        self._serial = serial
        self._loop = loop

    def cancel(self) -> None:
        if self._callback is not None:
            self._callback = None
            self._args = ()
            if self._loop is not None:
                self._loop.timer_cancelled()
