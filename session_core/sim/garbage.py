"""The garbage collector's visits while worlds are played.

A world is made of a great many objects that stay, and leaves next to no garbage in cycles. Looking through all of it
again and again takes as long as playing a fleet does.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (50_000, 20, 100)


class Collector:
    """Comes by seldom while somebody asks for it, and as usual again after the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking = 0
        self._usual = gc.get_threshold()

    @contextmanager
    def seldom(self) -> Iterator[None]:
        with self._lock:
            if not self._asking:
                self._usual = gc.get_threshold()
                gc.set_threshold(*SELDOM)
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    gc.set_threshold(*self._usual)


collector = Collector()
