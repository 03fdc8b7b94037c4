"""What the pages load of the event log: one function per question, cached as long as nothing new was stored."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TypeVar

import pandas as pd

from session_core.clock import SystemClock
from session_core.dashboard import lab_loaders, recorded, session_words
from session_core.dashboard.cards import Answer, Card
from session_core.dashboard.figures import Finished, fitted
from session_core.dashboard.filling import Filling
from session_core.dashboard.freshness import SteadyCount
from session_core.dashboard.keeping import Answers
from session_core.dashboard.session_words import Opened
from session_core.dashboard.view import View
from session_core.errors import EventStoreError
from session_core.events import Event
from session_core.sim.run import Run
from session_core.store import EVERYTHING, Filters, TimeRange, error_queries, queries, session_queries, ux_queries
from session_core.store.descriptions import describe_fact, fact_of
from session_core.store.event_store import EventStore
from session_core.store.late_store import LateStore
from session_core.store.query_filters import filter_values
from session_core.ux_score import UxScore
from session_core.vocabulary import Source

HOLD_S = 10.0
# Some of what a card shows is not told by events.
STALE_S = 60.0
ANSWERS_MAX = 256
LOG_LINES_MAX = 40
OPENED_MAX = 8
WORK_END_S_MAX = 5.0
# A log of what a session does says nothing new by these.
QUIET_KINDS = frozenset({"UserActed", "ClockSkewEstimated"})

T = TypeVar("T")

Question = Callable[[EventStore, TimeRange, Filters], pd.DataFrame]
QUESTIONS: dict[str, Question] = {
    "headline": queries.headline,
    "sessions_by_state": queries.sessions_by_state,
    "sessions_by_band": queries.sessions_by_band,
    "refreshes": queries.refreshes_over_time,
    "retries": queries.retries_over_time,
    "fallbacks": queries.fallbacks_over_time,
    "errors": error_queries.errors_over_time,
    "sign_outs": queries.sign_outs_by_reason,
    "releases": queries.releases,
    "incidents": queries.incidents,
    "ux": ux_queries.ux_over_time,
    **{f"ux_by_{name}": partial(ux_queries.ux_by, dimension=name) for name in ux_queries.DIMENSIONS},
    **{
        f"ux_over_time_by_{name}": partial(ux_queries.ux_over_time_by, dimension=name) for name in ux_queries.DIMENSIONS
    },
    "error_kinds": error_queries.error_kinds,
    **{f"errors_by_{name}": partial(error_queries.error_rates_by, dimension=name) for name in error_queries.BREAKDOWNS},
    "refresh_flow": error_queries.refresh_flow,
    "values": error_queries.values_of,
    "request_times": partial(error_queries.percentiles_over_time, measure="request_ms"),
    "filter_values": filter_values,
}
_clock = SystemClock()
_store: LateStore | None = None
_appended = SteadyCount(HOLD_S)
filling = Filling(_clock)
_answers, _shown, _sessions_told = Answers(ANSWERS_MAX), Answers(ANSWERS_MAX), Answers(OPENED_MAX)


def attach(store: LateStore) -> None:
    """From the app's lifespan: where events are read from."""
    global _store, _appended
    # The one holder; only the lifespan sets it.
    _store, _appended = store, SteadyCount(HOLD_S)


def detach() -> None:
    global _store  # noqa: PLW0603
    for work in (lab_loaders.sweeps, filling):
        work.stop()
    for work in (lab_loaders.sweeps, filling):
        work.wait(WORK_END_S_MAX)
    _store = None


def now_s() -> float:
    return _clock.wall()


def load(question: str, span: TimeRange, filters: Filters) -> pd.DataFrame:
    """Nobody may change it. Raises EventStoreError, whose sentence the page shows."""
    return _answered((question, span, filters), lambda: QUESTIONS[question](_opened(), span, filters))


def ask(card: Card, view: View) -> Answer:
    """What a card shows, drawn once for everybody who looks at the same; nobody may change it."""
    return kept(card.key, view, lambda view: _finished(card, view))


def kept(key: Hashable, view: View, ask: Callable[[View], T]) -> T:
    """What is asked under that key, once for everybody who looks at the same; nobody may change it."""
    return _shown.get(_place(key, view), lambda: ask(view))


def is_kept(key: Hashable, view: View) -> bool:
    """Whether nobody has to wait for it."""
    try:
        return _shown.has(_place(key, view))
    except EventStoreError:
        return False


def load_both(question: str, view: View) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The answer for what is looked at, and that for the period before if it is compared with."""
    before = None if view.before is None else load(question, view.before, view.filters)
    return load(question, view.span, view.filters), before


def scored(view: View) -> tuple[UxScore, float]:
    """The score of what is looked at with its parts, and that of the period before, NaN without one."""
    before = None if view.before is None else _scored(view.before, view.filters)
    now = _scored(view.span, view.filters)
    return now, before.score if before is not None and before.sessions else float("nan")


def options(span: TimeRange, filters: Filters) -> Mapping[str, Mapping[str, int]]:
    """What can be filtered by, with the sessions of each value, most first; nothing while the store cannot be used."""
    try:
        return _options(span, filters)
    except EventStoreError:
        return {}


def sessions(view: View) -> int:
    """How many sessions had an event in what is looked at."""
    return sum(_options(view.span, view.filters).get("source", {}).values())


def shows_simulated(view: View) -> bool:
    """Whether any of what is looked at was simulated."""
    return Source.SIM in _options(view.span, view.filters).get("source", {})


def store_name() -> str:
    return _opened().path.name


def store_path() -> str:
    """As a command wants it."""
    return shlex.quote(str(_opened().path))


def newest_event_at(filters: Filters = EVERYTHING) -> float | None:
    """When the newest event happened, of those that pass the filters."""
    newest = _answered(("newest", filters), lambda: queries.newest_event_at(_opened(), filters))
    return None if newest is None else newest.timestamp()


def session_log(session_id: str, *, zone: str) -> pd.DataFrame:
    """The latest lines of one session, newest first: what happened, by the time of day in `zone`."""
    log = session_queries.session_log(_opened(), session_id)
    log = log[~log["kind"].isin(QUIET_KINDS)].head(LOG_LINES_MAX)
    times = log["happened_at"].dt.tz_convert(zone).dt.strftime("%H:%M:%S")
    return pd.DataFrame({"What happened": [describe_fact(fact_of(fact)) for fact in log["fact"]]}, index=times.tolist())


def sessions_found(view: View, search: str, only: str) -> pd.DataFrame:
    """Those of what is looked at whose name, user or device has `search` in it, the worst first."""
    return session_queries.sessions(_opened(), view.span, view.filters, search=search, only=only)


def session_opened(session_id: str, zone: str) -> Opened | None:
    """All that is told of a session, once for everybody who opens it; None where the store knows nothing of it."""
    return _sessions_told.get((session_id, zone, _version()), lambda: _told(session_id, zone))


def recorded_runs() -> tuple[Run, ...]:
    """The newest first; each once. Raises EventStoreError."""
    return _answered("recorded runs", lambda: recorded.read_runs(queries.runs(_opened())))


def recorded_events(run: Run) -> list[Event]:
    """What was logged of a recorded run; nothing where its events are gone."""
    return session_queries.run_events(_opened(), f"{run.scenario}/{run.policy}/{run.seed}/{run.version}")


def open_store() -> EventStore | None:
    """Where a sweep may record; None while the store cannot be used."""
    try:
        return _opened()
    except EventStoreError:
        return None


def fill_sample() -> None:
    """In the background, if the store can be used."""
    if (store := open_store()) is not None:
        filling.start(store)


def _opened() -> EventStore:
    if _store is None:
        raise EventStoreError("There is no event store; start the app with `streamlit run app.py`.")
    return _store.opened()


def _version() -> tuple[str, int]:
    """Tells what was asked before the newest events from what is asked after them; in steps, for a busy store."""
    store = _opened()
    return str(store.path), _appended.read(store.appended, _clock.boot())


def _finished(card: Card, view: View) -> Answer:
    answer = card.ask(view)
    return answer if answer.figure is None else answer._replace(figure=Finished(fitted(answer.figure, card.picture_px)))


def _answered(question: Hashable, ask: Callable[[], T]) -> T:
    """Kept as long as nothing new was stored."""
    return _answers.get((question, _version()), ask)


def _place(key: Hashable, view: View) -> Hashable:
    return key, view, _version(), int(now_s() // STALE_S)


def _options(span: TimeRange, filters: Filters) -> Mapping[str, Mapping[str, int]]:
    return _answered(("options", span, filters), lambda: _counts(load("filter_values", span, filters)))


def _counts(found: pd.DataFrame) -> Mapping[str, Mapping[str, int]]:
    return {
        str(column): {
            str(value): int(sessions) for value, sessions in zip(rows["value"], rows["sessions"], strict=True)
        }
        for column, rows in found.groupby("column")
    }


def _scored(span: TimeRange, filters: Filters) -> UxScore:
    return _answered(("scored", span, filters), lambda: ux_queries.ux_score(_opened(), span, filters))


def _told(session_id: str, zone: str) -> Opened | None:
    events = session_queries.session_events(_opened(), session_id)
    return session_words.opened(events, zone=zone) if events else None
