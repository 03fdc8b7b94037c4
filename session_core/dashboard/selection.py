"""What the pages look at, kept in their address: time, source and filters; the experiment that is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from session_core.dashboard import view
from session_core.dashboard.phrases import unformatted
from session_core.dashboard.session_words import ONLY as SHOWN
from session_core.dashboard.session_words import ONLY_DEFAULT
from session_core.dashboard.view import Asked
from session_core.store import TimeRange

# The controls of the frame show what the address says; what is chosen in them is written there.
KEYS: Mapping[str, str] = {word: f"look_{word}" for word in view.WORDS}
REMEMBERED = "looked_at"


def asked(now_s: float) -> Asked:
    """What the address asks for, in the reader's time zone."""
    return view.read(_address(), now_s, zone())


def links() -> dict[str, str]:
    """What the way to another page of this kind carries along."""
    return dict(st.session_state.get(REMEMBERED, {}))


def remember() -> None:
    """From the menu script, on the pages that look at something."""
    st.session_state[REMEMBERED] = _address()


def draw_time(now: Asked) -> None:
    _control(view.RANGE, now.range)
    st.segmented_control(
        "Time range",
        [*view.RANGES, view.CUSTOM],
        required=True,
        key=KEYS[view.RANGE],
        on_change=_chosen,
        args=(now.view.span,),
        width="stretch",
    )
    if now.range == view.CUSTOM:
        for word in (view.FROM, view.UNTIL):
            _control(word, _here(st.query_params.get(word, "")))
            st.datetime_input(
                word.capitalize(),
                None,
                key=KEYS[word],
                on_change=_chosen,
                min_value=f"{view.EARLIEST:%Y-%m-%d}",
                max_value=f"{view.LATEST:%Y-%m-%d}",
                format="YYYY-MM-DD",
            )


def draw_source(now: Asked) -> None:
    _control(view.SOURCE, now.source)
    st.pills("Source", list(view.SOURCES), required=True, key=KEYS[view.SOURCE], on_change=_chosen, wrap=True)


def draw_filters(now: Asked, options: Mapping[str, Iterable[str]]) -> None:
    """A value that is not among the options stays: whoever follows a link sees what it says, if only that it is empty."""
    given = sum(getattr(now.view.filters, name) is not None for name in view.FILTERS)
    with st.expander(f"Filters · {given}" if given else "Filters", icon=":material/filter_alt:", expanded=given > 0):
        for name, label in view.FILTERS.items():
            word, chosen = view.FILTER_WORDS[name], getattr(now.view.filters, name)
            _control(word, chosen)
            st.selectbox(
                label,
                list(dict.fromkeys([*options.get(name, ()), *([chosen] if chosen else [])])),
                index=None,
                placeholder="All",
                key=KEYS[word],
                on_change=_chosen,
                accept_new_options=True,
            )


def draw_compare(now: Asked) -> None:
    _control(view.COMPARE, now.view.compare)
    st.toggle("Compare with previous period", key=KEYS[view.COMPARE], on_change=_chosen)


def draw_by(label: str, key: str, known: Mapping[str, str], default: str) -> None:
    """What figures are told apart by, as the address says; of what it names that is not known there is a sentence."""
    if trouble := view.unknown("breakdown", said([key]).get(key), known):
        st.info(unformatted(trouble), icon=":material/link_off:")
    st.pills(label, list(known), default=default, required=True, key=key, bind="query-params")


def show(**words: str | None) -> None:
    """For a button's callback: look at this instead, by the words of the address; None is as by default."""
    _go({**_address(), **words})


def show_period(span: TimeRange) -> None:
    _go(_address() | {view.FROM: view.rfc3339(span.start_s), view.UNTIL: view.rfc3339(span.end_s), view.RANGE: None})


def zone() -> str:
    """The reader's time zone."""
    try:
        return ZoneInfo(st.context.timezone or "UTC").key
    except (ZoneInfoNotFoundError, ValueError):
        return "UTC"


def _address() -> dict[str, str]:
    return said(view.WORDS)


def _control(word: str, value: object) -> None:
    st.session_state[KEYS[word]] = value


def _chosen(span: TimeRange | None = None) -> None:
    """All controls, not only the one that changed: a second choice may be quicker than the address of the first."""
    given = {word: st.session_state.get(key) for word, key in KEYS.items()}
    words: dict[str, str | None] = {word: given[word] for word in view.FILTER_WORDS.values()}
    words |= {view.SOURCE: str(given[view.SOURCE]).lower(), view.COMPARE: None if given[view.COMPARE] else "0"}
    if given[view.RANGE] != view.CUSTOM:
        words[view.RANGE] = given[view.RANGE]
    elif span is not None and not said((view.FROM, view.UNTIL)):
        # A range of one's own begins as the one that was shown.
        words |= {view.FROM: view.rfc3339(span.start_s), view.UNTIL: view.rfc3339(span.end_s)}
    else:
        words |= {word: _there(given[word]) for word in (view.FROM, view.UNTIL)}
    _go(words)


def _go(words: Mapping[str, str | None]) -> None:
    others = {name: st.query_params[name] for name in st.query_params if name not in view.WORDS}
    st.query_params.from_dict({**others, **view.write(words)})


def _here(word: str) -> datetime | None:
    """What a field shows: the reader's own time, without a zone; nothing where the address says nothing of use."""
    try:
        at_s = view.read_moment(word)
    except ValueError:
        return None
    return datetime.fromtimestamp(at_s, ZoneInfo(zone())).replace(tzinfo=None, second=0, microsecond=0)


def _there(field: datetime | None) -> str | None:
    return None if field is None else view.rfc3339(field.replace(tzinfo=ZoneInfo(zone())).timestamp())


# One session among many: what is searched for, and the one that is open, all in the address.

SESSION, SEARCH, ONLY = "session", "search", "only"
SEARCH_MAX = 100


def opened_session() -> str | None:
    """The session that the address names."""
    return st.query_params.get(SESSION) or None


def open_session(session_id: str) -> None:
    st.query_params[SESSION] = session_id


def close_session() -> None:
    st.query_params.pop(SESSION, None)


def searched() -> tuple[str, str]:
    """What the address searches for, and which sessions it asks to see only."""
    return st.query_params.get(SEARCH, "")[:SEARCH_MAX], st.query_params.get(ONLY) or ONLY_DEFAULT


def draw_search(search: str, only: str) -> None:
    st.session_state["look_search"], st.session_state["look_only"] = search, only
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Search",
            key="look_search",
            placeholder="Part of a user's, device's or session's name",
            on_change=_search,
            max_chars=SEARCH_MAX,
            icon=":material/search:",
            width=340,
        )
        st.pills("Show", list(SHOWN), format_func=SHOWN.__getitem__, required=True, key="look_only", on_change=_search)


def _search() -> None:
    given = {SEARCH: st.session_state["look_search"].strip(), ONLY: st.session_state["look_only"]}
    others = {name: st.query_params[name] for name in st.query_params if name not in given}
    said = {word: value for word, value in given.items() if value and value != ONLY_DEFAULT}
    st.query_params.from_dict(others | said)


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
