"""An event store that may not be there yet: opened when it can be, tried again while it cannot."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from session_core.clock import Clock
from session_core.errors import EventStoreError
from session_core.events import Event
from session_core.store.event_store import EventStore
from session_core.store.rollups import Retention

RETRY_S = 5.0


class LateStore:
    """Stands before the recorder, which keeps on disk what cannot be written meanwhile; so a held file loses nothing."""

    def __init__(self, path: Path, *, clock: Clock, retry_s: float = RETRY_S) -> None:
        self.path = path
        self._clock = clock
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._store: EventStore | None = None
        self._trouble: EventStoreError | None = None
        self._tried_at = float("-inf")
        self._closed = False

    def opened(self) -> EventStore:
        """The store, opened if need be and not in vain more often than every `retry_s`. Raises EventStoreError."""
        if (store := self._store) is not None:
            return store
        with self._lock:
            if self._store is None and (self._trouble is None or self._clock.boot() >= self._tried_at + self._retry_s):
                self._open()
            if self._store is None:
                assert self._trouble is not None, "what did not open said why"
                raise type(self._trouble)(str(self._trouble))
            return self._store

    def append(self, events: Sequence[Event], *, hurry: bool = False) -> None:
        self.opened().append(events, hurry=hurry)

    def append_once(self, events: Sequence[Event]) -> int:
        return self.opened().append_once(events)

    def checkpoint(self, *, log_bytes_min: int) -> bool:
        return self.opened().checkpoint(log_bytes_min=log_bytes_min)

    def maintain(self, *, idle: bool) -> bool:
        return self.opened().maintain(idle=idle)

    def forget_before(self, now_s: float, retention: Retention) -> None:
        self.opened().forget_before(now_s, retention)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._store is not None:
                self._store.close()
                self._store = None
            self._trouble = EventStoreError(f"The event store {self.path} has been closed; start the app to use it.")

    def _open(self) -> None:
        self._tried_at = float("inf") if self._closed else self._clock.boot()
        if self._closed:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._store, self._trouble = EventStore(self.path), None
        except EventStoreError as error:
            self._trouble = error
        except OSError as error:
            self._trouble = EventStoreError(
                f"The directory {self.path.parent} of the event store cannot be used ({error.strerror}); "
                "choose another with SESSION_LAB_DB."
            )
