"""What the recorder needs of a store, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from session_core.events import Event


class Sink(Protocol):
    """What the recorder needs of a store."""

    @property
    def path(self) -> Path: ...

    def append(self, events: Sequence[Event], *, hurry: bool) -> None: ...

    def append_once(self, events: Sequence[Event]) -> int: ...

    def checkpoint(self, *, log_bytes_min: int) -> bool: ...

    def maintain(self, *, idle: bool) -> bool: ...


class RecorderStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How the recording goes.

    `queued` wait in memory and `spilled` on disk; `acknowledged` are safe in the store, of which `written` were added
    by this recorder (the others were there already); `lost` could not be kept at all. `last_error` is the sentence of
    the trouble that lasts or of the last loss, None when there was none. Times are wall seconds.
    """

    running: bool
    queued: int
    spilled: int
    acknowledged: int
    written: int
    lost: int
    flushes: int
    flush_ms: float | None
    newest_event_at: float | None
    last_error: str | None
