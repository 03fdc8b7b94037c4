"""Whether this process is well: what is wrong with its parts, told at `/healthz`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from session_core.deadlines import LoopStatistics
from session_core.service import ServiceStatistics
from session_core.store import RecorderStatistics

LATE_S_MAX = 60.0
"""A loop looks around every 15 s; one that has not for so long stands still."""


class Ailment(NamedTuple):
    """A part that is not well, and how, in one sentence."""

    part: str
    says: str


def ailments(
    *,
    now: float,
    store_trouble: str | None,
    recorder: RecorderStatistics,
    service: ServiceStatistics,
    background: bool,
    unsaved: int = 0,
) -> tuple[Ailment, ...]:
    """Everything that is wrong at boot second `now`; nothing of it ends a session. `unsaved` are in no store."""
    return (
        *_of_sessions(unsaved),
        *_of_recording(store_trouble, recorder),
        *(_of_loop("worker", service.worker, now) if background else ()),
        *(_of_loop("heartbeat", service.heartbeat, now) if background else ()),
    )


def _of_sessions(unsaved: int) -> Iterator[Ailment]:
    if unsaved:
        what = "1 session is" if unsaved == 1 else f"{unsaved} sessions are"
        yield Ailment(
            "session_store",
            f"{what} not in the session store and would end with this process; see that it can be written.",
        )


def _of_recording(store_trouble: str | None, recorder: RecorderStatistics) -> Iterator[Ailment]:
    if store_trouble is not None:
        yield Ailment("event_store", store_trouble)
    if not recorder.running:
        yield Ailment("recorder", "The recorder does not run, so no event is kept; start the app again.")
    elif recorder.last_error is not None and recorder.last_error != store_trouble:
        yield Ailment("recorder", recorder.last_error)


def _of_loop(part: str, loop: LoopStatistics, now: float) -> Iterator[Ailment]:
    if not loop.running:
        yield Ailment(part, f"The {part} does not run; start the app again.")
    elif loop.last_run_at is not None and now - loop.last_run_at > LATE_S_MAX:
        late_s = now - loop.last_run_at
        yield Ailment(part, f"The {part} has not looked around for {late_s:.0f} s; the process is too busy or hangs.")
