"""What waits on a virtual loop: callbacks that are ready, callbacks set for a time, and the gate of their device."""

from __future__ import annotations

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


class VirtualHandle(msgspec.Struct, eq=False):
    """A call that is ready or set for a time, as callback and arguments; cancelled means it has none any more.

    What asyncio asks of its own `Handle`, made in C: a run makes several for each call of a user. `_loop` is there while
    a loop keeps it as a timer.
    """

    _call: tuple[Any, ...]
    _context: Context
    _loop: TimerKeeper | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {f'{self._call[0]!r}()' if self._call else 'cancelled'}>"

    def cancel(self) -> None:
        if self._call:
            self._call = ()
            if self._loop is not None:
                self._loop.timer_cancelled()

    def cancelled(self) -> bool:
        return not self._call


class VirtualTimer(VirtualHandle, eq=False):
    """A callback set for `when`, told in the time of the device that set it."""

    _when: float = 0.0
    _serial: int = 0

    def __repr__(self) -> str:
        return super().__repr__().replace(" ", f" when={self._when} ", 1)

    def when(self) -> float:
        return self._when
