"""Answers that are kept, each made once for everybody who asks for it at the same time or later."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Answers:
    """Any thread may ask. Of `most` answers the one asked for longest ago is forgotten first.

    Streamlit's own cache reads a function's signature and hashes its arguments at every call, which took longer than
    most of what a rerun does with an answer.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under this key, once it is there. Raises what `make` does, also to those who wait for it."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        return self._make(key, make) if found is None else found.result()

    def has(self, key: Hashable) -> bool:
        """Whether it can be had without waiting."""
        found = self._kept.get(key)
        return found is not None and found.done()

    def _make(self, key: Hashable, make: Callable[[], T]) -> T:
        made: Future[T] = Future()
        with self._lock:
            first: Future[T] = self._kept.setdefault(key, made)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if first is made:
            self._fill(key, made, make)
        return first.result()

    def _fill(self, key: Hashable, made: Future[T], make: Callable[[], T]) -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            with self._lock:
                if self._kept.get(key) is made:
                    del self._kept[key]
            made.set_exception(error)
            raise
