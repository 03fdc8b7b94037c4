"""What is being looked at: the time range and the source of events, kept in the address of the page."""

from __future__ import annotations

from collections.abc import Mapping

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
