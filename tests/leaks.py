"""A net for secrets: every text that left a run, and the repr of every object that is still reachable."""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
import types
from collections.abc import Iterable, Iterator

from session_core.events import Event, encode

PART_CHARS = 12
_OURS = ("session_core", "httpx", "asyncio", "_asyncio")
_NOT_FOLLOWED = (types.ModuleType, types.FunctionType, types.FrameType, types.CodeType, type)


def parts(secrets: Iterable[str]) -> frozenset[str]:
    """Every run of twelve characters of every secret."""
    return frozenset(
        secret[at : at + PART_CHARS] for secret in secrets for at in range(max(1, len(secret) - PART_CHARS + 1))
    )


def leaks(texts: Iterable[str], secrets: Iterable[str]) -> list[str]:
    """The texts that hold a secret or twelve characters of one."""
    forbidden = parts(secrets)
    return [
        text
        for text in set(texts)
        if any(text[at : at + PART_CHARS] in forbidden for at in range(max(1, len(text) - PART_CHARS + 1)))
    ]


def texts_of_events(events: Iterable[Event]) -> Iterator[str]:
    for event in events:
        yield encode(event).decode()
        yield repr(event)


def texts_of_logs(records: Iterable[logging.LogRecord]) -> Iterator[str]:
    formatter = logging.Formatter()
    for record in records:
        yield formatter.format(record)


def texts_of_errors(errors: Iterable[BaseException]) -> Iterator[str]:
    for error in errors:
        yield str(error)
        yield repr(error)
        yield "".join(traceback.format_exception(error))
        yield repr(vars(error))


def texts_of_objects(root: object) -> Iterator[str]:
    """The repr of every object of ours, of httpx and of asyncio that can be reached from `root`."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _NOT_FOLLOWED):
            continue
        if isinstance(found, asyncio.Future) and found.done():
            # Shows its exception, which is whatever a foreign transport made it; our logs name only the type.
            continue
        seen.add(id(found))
        if type(found).__module__.partition(".")[0] in _OURS:
            yield repr(found)
            yield str(found)
        waiting.extend(gc.get_referents(found))
