"""What is being looked at: the time range and the source of events, kept in the address of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import streamlit as st

from session_core.store import Filters
from session_core.vocabulary import Source

RANGES: Mapping[str, float] = {
    "15 min": 900.0,
    "1 h": 3_600.0,
    "24 h": 86_400.0,
    "7 d": 7 * 86_400.0,
    "30 d": 30 * 86_400.0,
}
SOURCES: Mapping[str, Source | None] = {
    "Live": Source.LIVE,
    "Simulated": Source.SIM,
    "Imported": Source.IMPORT,
    "All": None,
}
RANGE_KEY, SOURCE_KEY = "range", "source"
RANGE_DEFAULT, SOURCE_DEFAULT = "1 h", "Live"


def draw_filters() -> None:
    """In the menu script, so that they outlive a change of page; bound to the address, so that it can be shared."""
    st.selectbox(
        "Time range", list(RANGES), index=list(RANGES).index(RANGE_DEFAULT), key=RANGE_KEY, bind="query-params"
    )
    st.selectbox(
        "Source", list(SOURCES), index=list(SOURCES).index(SOURCE_DEFAULT), key=SOURCE_KEY, bind="query-params"
    )


def span_s() -> float:
    return RANGES[st.session_state.get(RANGE_KEY) or RANGE_DEFAULT]


def range_name() -> str:
    return str(st.session_state.get(RANGE_KEY) or RANGE_DEFAULT)


def zone() -> str:
    """The reader's time zone."""
    return st.context.timezone or "UTC"


def filters() -> Filters:
    return Filters(source=SOURCES[st.session_state.get(SOURCE_KEY) or SOURCE_DEFAULT])


# Experiments: what is chosen, and the run whose story is open, both in the address.

RUN_KEYS = ("scenario", "policy", "seed", "user")
PICK = "pick_"


def opened_run() -> dict[str, str]:
    """What the address says of a run; empty while none is open."""
    if "scenario" not in st.query_params:
        return {}
    return {name: st.query_params[name] for name in RUN_KEYS if name in st.query_params}


def open_run(scenario: str, policy: str, seed: int, user: str | None = None) -> None:
    close_run()
    st.query_params.update({"scenario": scenario, "policy": policy, "seed": str(seed)})
    if user is not None:
        st.query_params["user"] = user


def close_run() -> None:
    for name in RUN_KEYS:
        st.query_params.pop(name, None)


def said(names: Iterable[str]) -> dict[str, str]:
    """The address's own words, before a widget drops those it does not know."""
    return {name: st.query_params[name] for name in names if name in st.query_params}


def picked(names: Iterable[str]) -> list[str]:
    """The scenarios that are ticked, or all of them where none is."""
    every = list(names)
    return [name for name in every if st.session_state.get(PICK + name)] or every


def clicked_cell(key: str) -> tuple[int, str] | None:
    """Row and column of the table cell that was clicked."""
    cells = st.session_state[key].selection.cells
    return (int(cells[0][0]), str(cells[0][1])) if cells else None


def page_url() -> str:
    return str(st.context.url or "")
