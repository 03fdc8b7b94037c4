"""Sample data that is being filled in: in the background, into the app's own store, which no other process can open."""

from __future__ import annotations

import threading

from session_core.clock import Clock
from session_core.dashboard.sweeps import Progress
from session_core.demo import DAYS, USERS
from session_core.demo.fill import fill, plan_last
from session_core.demo.plan import Plan, Stay
from session_core.errors import SessionCoreError
from session_core.store import EventStore

SEED = 1


class Filling:
    """One for the process: whoever asks first has asked for everyone."""

    def __init__(self, clock: Clock, *, users: int = USERS, days: int = DAYS) -> None:
        self.users, self.days = users, days
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._planned = self._done = 0
        self._trouble: str | None = None

    def progress(self) -> Progress:
        with self._lock:
            return Progress(
                planned=self._planned,
                done=self._done,
                running=self._thread is not None and self._thread.is_alive(),
                stopping=self._stop.is_set(),
                trouble=self._trouble,
            )

    def start(self, store: EventStore) -> bool:
        """Begin, unless it is under way; whether it began."""
        plan = plan_last(self.days, users=self.users, seed=SEED, now_s=self._clock.wall())
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return False
            self._stop.clear()
            self._planned, self._done, self._trouble = len(plan.stays()), 0, None
            self._thread = threading.Thread(target=self._fill, args=(store, plan), daemon=True, name="sample-data")
            self._thread.start()
        return True

    def stop(self) -> None:
        """The days that are complete are kept."""
        self._stop.set()

    def wait(self, timeout_s: float) -> bool:
        """Until it is over; whether it is."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _fill(self, store: EventStore, plan: Plan) -> None:
        try:
            fill(store, plan, on_played=self._note, stop=self._stop.is_set)
        except SessionCoreError as error:
            self._trouble = str(error)

    def _note(self, _stay: Stay) -> None:
        with self._lock:
            self._done += 1
