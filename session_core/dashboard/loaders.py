"""What the pages load: one function per question, cached as long as nothing new was stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
import pandas as pd
import streamlit as st

from session_core.clock import SystemClock
from session_core.errors import EventStoreError
from session_core.store import Filters, TimeRange, queries
from session_core.store.descriptions import describe_fact, fact_of
from session_core.store.event_store import EventStore
from session_core.store.late_store import LateStore

ROUND_S = 10
ANSWERS_MAX = 128
LOG_LINES_MAX = 40
# A log of what a session does says nothing new by these.
QUIET_KINDS = frozenset({"UserActed", "ClockSkewEstimated"})

Question = Callable[[EventStore, TimeRange, Filters], pd.DataFrame]
QUESTIONS: dict[str, Question] = {
    "headline": queries.headline,
    "sessions_by_state": queries.sessions_by_state,
    "sessions_by_band": queries.sessions_by_band,
    "refreshes": queries.refreshes_over_time,
    "retries": queries.retries_over_time,
    "fallbacks": queries.fallbacks_over_time,
    "errors": queries.errors_over_time,
}
_clock = SystemClock()
_store: LateStore | None = None


def attach(store: LateStore) -> None:
    """From the app's lifespan: where events are read from."""
    global _store  # noqa: PLW0603 - the one holder; only the lifespan sets it
    _store = store


def detach() -> None:
    global _store  # noqa: PLW0603
    _store = None


def last(span_s: float) -> TimeRange:
    """The range that ends now, to ten seconds, so that what was asked a moment ago need not be asked again."""
    end_s = (int(_clock.wall()) // ROUND_S + 1) * ROUND_S
    return TimeRange(end_s - span_s, end_s)


def load(question: str, span: TimeRange, filters: Filters) -> pd.DataFrame:
    """Raises EventStoreError, whose sentence the page shows."""
    store = _opened()
    return _answer(question, span.start_s, span.end_s, filters, store.statistics().appended)


def newest_event_age_s() -> float | None:
    newest: datetime | None = queries.newest_event_at(_opened())
    return None if newest is None else max(0.0, _clock.wall() - newest.timestamp())


def session_log(session_id: str, *, zone: str) -> pd.DataFrame:
    """The latest lines of one session, newest first: what happened, by the time of day in `zone`."""
    log = queries.session_log(_opened(), session_id)
    log = log[~log["kind"].isin(QUIET_KINDS)].head(LOG_LINES_MAX)
    times = log["happened_at"].dt.tz_convert(zone).dt.strftime("%H:%M:%S")
    return pd.DataFrame({"What happened": [describe_fact(fact_of(fact)) for fact in log["fact"]]}, index=times.tolist())


def _opened() -> EventStore:
    if _store is None:
        raise EventStoreError("There is no event store; start the app with `streamlit run app.py`.")
    return _store.opened()


@st.cache_data(max_entries=ANSWERS_MAX, show_spinner=False, hash_funcs={Filters: msgspec.json.encode})
def _answer(question: str, start_s: float, end_s: float, filters: Filters, appended: int) -> pd.DataFrame:
    """`appended` only tells what was asked before the newest events from what is asked after them."""
    assert appended >= 0
    return QUESTIONS[question](_opened(), TimeRange(start_s, end_s), filters)
