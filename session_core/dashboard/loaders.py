"""What the pages load: one function per question, cached as long as nothing new was stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import pandas as pd
import streamlit as st

from session_core.clock import SystemClock
from session_core.config import PRESETS, SessionPolicy, read_policy
from session_core.dashboard import session_words
from session_core.dashboard.cards import Answer, Card
from session_core.dashboard.figures import fitted
from session_core.dashboard.filling import Filling
from session_core.dashboard.freshness import SteadyCount
from session_core.dashboard.session_words import Opened
from session_core.dashboard.sweeps import Sweeps, name_of
from session_core.dashboard.view import View
from session_core.errors import ConfigError, EventStoreError
from session_core.lab_jobs import Job
from session_core.sim.run import Run, run
from session_core.sim.scenario import CATALOGUE, Scenario, read_scenario
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
ANSWERS_MAX = 128
LOG_LINES_MAX = 40
RUNS_MAX = 8
OWN_POLICIES_MAX = 50
SWEEP_END_S_MAX = 5.0
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
_own_policies: dict[str, SessionPolicy] = {}
sweeps = Sweeps(_clock)
filling = Filling(_clock)


def attach(store: LateStore) -> None:
    """From the app's lifespan: where events are read from."""
    global _store, _appended
    # The one holder; only the lifespan sets it.
    _store, _appended = store, SteadyCount(HOLD_S)


def detach() -> None:
    global _store  # noqa: PLW0603
    for work in (sweeps, filling):
        work.stop()
    for work in (sweeps, filling):
        work.wait(SWEEP_END_S_MAX)
    _store = None


def now_s() -> float:
    return _clock.wall()


def load(question: str, span: TimeRange, filters: Filters) -> pd.DataFrame:
    """Raises EventStoreError, whose sentence the page shows."""
    return _answer(question, span.start_s, span.end_s, filters, _version())


def ask(card: Card, view: View) -> Answer:
    """What a card shows, drawn once for everybody who looks at the same; nobody may change it."""
    return _drawn(card.key, view, (*_version(), int(now_s() // STALE_S)), card)


def load_both(question: str, view: View) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The answer for what is looked at, and that for the period before if it is compared with."""
    before = None if view.before is None else load(question, view.before, view.filters)
    return load(question, view.span, view.filters), before


def scored(view: View) -> tuple[UxScore, float]:
    """The score of what is looked at with its parts, and that of the period before, NaN without one."""
    before = None if view.before is None else _scored(view.before.start_s, view.before.end_s, view.filters, _version())
    now = _scored(view.span.start_s, view.span.end_s, view.filters, _version())
    return now, before.score if before is not None and before.sessions else float("nan")


def options(span: TimeRange, filters: Filters) -> Mapping[str, Sequence[str]]:
    """What can be filtered by, the values of most sessions first; nothing while the store cannot be used."""
    try:
        found = load("filter_values", span, filters)
    except EventStoreError:
        return {}
    return {str(column): [str(value) for value in rows["value"]] for column, rows in found.groupby("column")}


def sessions(view: View) -> int:
    """How many sessions had an event in what is looked at."""
    found = load("filter_values", view.span, view.filters)
    return int(found.loc[found["column"] == "source", "sessions"].sum())


def shows_simulated(view: View) -> bool:
    """Whether any of what is looked at was simulated."""
    found = load("filter_values", view.span, view.filters)
    return bool(((found["column"] == "source") & (found["value"] == Source.SIM)).any())


def store_name() -> str:
    return _opened().path.name


def newest_event_at(filters: Filters = EVERYTHING) -> float | None:
    """When the newest event happened, of those that pass the filters."""
    newest: datetime | None = _newest(filters, _version())
    return None if newest is None else newest.timestamp()


def session_log(session_id: str, *, zone: str) -> pd.DataFrame:
    """The latest lines of one session, newest first: what happened, by the time of day in `zone`."""
    log = session_queries.session_log(_opened(), session_id)
    log = log[~log["kind"].isin(QUIET_KINDS)].head(LOG_LINES_MAX)
    times = log["happened_at"].dt.tz_convert(zone).dt.strftime("%H:%M:%S")
    return pd.DataFrame({"What happened": [describe_fact(fact_of(fact)) for fact in log["fact"]]}, index=times.tolist())


def sessions_found(view: View, search: str, only: str) -> pd.DataFrame:
    """Those of what is looked at whose name, user or device has `search` in it, the worst first."""
    return _sessions_found(view.span.start_s, view.span.end_s, view.filters, search, only, _version())


def session_opened(session_id: str, zone: str) -> Opened | None:
    """All that is told of one session; None where the store knows nothing of it."""
    return _session_opened(session_id, zone, _version())


class Catalogue(NamedTuple):
    """The scenarios that can be read, and a sentence for each file that cannot."""

    scenarios: Mapping[str, Scenario]
    troubles: tuple[str, ...]


def catalogue() -> Catalogue:
    """As the files are now: a tester's new scenario is there at once."""
    return _catalogue(tuple((str(path), path.stat().st_mtime_ns) for path in sorted(CATALOGUE.glob("*.toml"))))


def policies() -> Mapping[str, SessionPolicy]:
    """The built-in ones, and those that were uploaded since the app started."""
    return {**PRESETS, **_own_policies}


def add_policy(file_name: str, content: bytes) -> str:
    """Take in an uploaded TOML file; its policy's name. Raises ConfigError, which names the setting."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / (Path(file_name).name or "policy.toml")
        path.write_bytes(content)
        try:
            policy = read_policy(str(path))
        except ConfigError as error:
            raise ConfigError(str(error).replace(f"{folder}/", "")) from None
    while len(_own_policies) >= OWN_POLICIES_MAX:
        del _own_policies[next(iter(_own_policies))]
    if policy.name not in PRESETS:
        _own_policies[policy.name] = policy
    return policy.name


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


def run_of(job: Job) -> Run:
    """The run with its events; the last few are kept, because each is the same whoever asks."""
    return _run_of(name_of(job), job)


def replay(job: Job) -> Run:
    """The run made anew, whatever is kept."""
    return run(job.scenario, job.policy, job.seed)


def _opened() -> EventStore:
    if _store is None:
        raise EventStoreError("There is no event store; start the app with `streamlit run app.py`.")
    return _store.opened()


def _version() -> tuple[str, int]:
    """Tells what was asked before the newest events from what is asked after them; in steps, for a busy store."""
    now = _opened().statistics()
    return now.path, _appended.read(now.appended, _clock.boot())


@st.cache_resource(max_entries=ANSWERS_MAX, show_spinner=False, hash_funcs={View: msgspec.json.encode})
def _drawn(key: str, view: View, version: tuple[str, int, int], _card: Card) -> Answer:
    assert key == _card.key
    assert version
    answer = _card.ask(view)
    return answer if answer.figure is None else answer._replace(figure=fitted(answer.figure, _card.height_px))


@st.cache_data(max_entries=ANSWERS_MAX, show_spinner=False, hash_funcs={Filters: msgspec.json.encode})
def _answer(question: str, start_s: float, end_s: float, filters: Filters, version: tuple[str, int]) -> pd.DataFrame:
    assert version
    return QUESTIONS[question](_opened(), TimeRange(start_s, end_s), filters)


@st.cache_data(max_entries=ANSWERS_MAX, show_spinner=False, hash_funcs={Filters: msgspec.json.encode})
def _newest(filters: Filters, version: tuple[str, int]) -> datetime | None:
    assert version
    return queries.newest_event_at(_opened(), filters)


@st.cache_data(max_entries=ANSWERS_MAX, show_spinner=False, hash_funcs={Filters: msgspec.json.encode})
def _scored(start_s: float, end_s: float, filters: Filters, version: tuple[str, int]) -> UxScore:
    assert version
    return ux_queries.ux_score(_opened(), TimeRange(start_s, end_s), filters)


@st.cache_data(max_entries=ANSWERS_MAX, show_spinner=False, hash_funcs={Filters: msgspec.json.encode})
def _sessions_found(
    start_s: float, end_s: float, filters: Filters, search: str, only: str, version: tuple[str, int]
) -> pd.DataFrame:
    assert version
    return session_queries.sessions(_opened(), TimeRange(start_s, end_s), filters, search=search, only=only)


@st.cache_resource(max_entries=RUNS_MAX, show_spinner=False)
def _session_opened(session_id: str, zone: str, version: tuple[str, int]) -> Opened | None:
    assert version
    events = session_queries.session_events(_opened(), session_id)
    return session_words.opened(events, zone=zone) if events else None


@st.cache_resource(max_entries=4, show_spinner=False)
def _catalogue(files: tuple[tuple[str, int], ...]) -> Catalogue:
    scenarios, troubles = [], []
    for file, _ in files:
        try:
            scenarios.append(read_scenario(Path(file)))
        except ConfigError as error:
            troubles.append(str(error).replace(f"{CATALOGUE}/", ""))
    ranked = sorted(scenarios, key=lambda scenario: (scenario.number or 10_000, scenario.name))
    return Catalogue({scenario.name: scenario for scenario in ranked}, tuple(troubles))


@st.cache_resource(max_entries=RUNS_MAX, show_spinner="Playing the scenario…")
def _run_of(name: str, _job: Job) -> Run:
    assert name == name_of(_job)
    made = run(_job.scenario, _job.policy, _job.seed)
    sweeps.keep(_job, made)
    return made
