"""What the pages look at, kept in their address: time, source and filters; the experiment that is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from session_core.dashboard import view
from session_core.dashboard.view import View
from session_core.store import Filters, TimeRange

CUSTOM = "Custom"
RANGE_KEY, SOURCE_KEY, COMPARE_KEY = "range", "source", "compare"
# Other names than those of an opened run, which are in the same address.
FILTER_KEYS: Mapping[str, str] = {
    "policy": "with_policy",
    "app_version": "with_version",
    "device": "with_device",
    "scenario": "with_scenario",
}
# The address speaks RFC 3339, the two fields the reader's own time.
FROM, UNTIL = "from", "until"
FIELDS: Mapping[str, str] = {FROM: "from_here", UNTIL: "until_here"}
PERIOD, RELATIVE = "period", "relative"


def draw_time(now_s: float) -> list[str]:
    """In the menu script, so that it outlives a change of page; what could not be understood, in sentences."""
    address = said((RANGE_KEY, FROM, UNTIL))
    if RANGE_KEY not in address and {FROM, UNTIL} <= address.keys():
        st.session_state[RANGE_KEY] = CUSTOM
    st.segmented_control(
        "Time range",
        [*view.RANGES, CUSTOM],
        default=view.RANGE_DEFAULT,
        required=True,
        key=RANGE_KEY,
        bind="query-params",
        on_change=_range_chosen,
        args=(now_s,),
        width="stretch",
    )
    if st.session_state[RANGE_KEY] in view.RANGES:
        st.session_state[RELATIVE] = st.session_state[RANGE_KEY]
    strange = view.stranger(
        "time range", address.get(RANGE_KEY, CUSTOM), dict.fromkeys([*view.RANGES, CUSTOM]), view.DEFAULT_SHOWN
    )
    return [sentence for sentence in (strange, _draw_period()) if sentence]


def draw_source() -> list[str]:
    strange = view.stranger(
        "source",
        said([SOURCE_KEY]).get(SOURCE_KEY, view.SOURCE_DEFAULT),
        view.SOURCES,
        f"shown is {view.SOURCE_DEFAULT}",
    )
    st.pills(
        "Source",
        list(view.SOURCES),
        default=view.SOURCE_DEFAULT,
        required=True,
        key=SOURCE_KEY,
        bind="query-params",
        wrap=True,
    )
    return [strange] if strange else []


def draw_filters(options: Mapping[str, Sequence[str]]) -> None:
    """A value that is not among the options stays: whoever follows a link sees what it says, if only that it is empty."""
    given = len({key for key in FILTER_KEYS.values() if st.session_state.get(key)} | said(FILTER_KEYS.values()).keys())
    with st.expander(f"Filters · {given}" if given else "Filters", icon=":material/filter_alt:", expanded=given > 0):
        for name, key in FILTER_KEYS.items():
            st.selectbox(
                view.FILTERS[name],
                options.get(name, ()),
                index=None,
                placeholder="All",
                key=key,
                bind="query-params",
                accept_new_options=True,
            )


def draw_compare() -> None:
    st.toggle("Compare with previous period", value=True, key=COMPARE_KEY, bind="query-params")


def source() -> Filters:
    return Filters(source=view.SOURCES[st.session_state.get(SOURCE_KEY) or view.SOURCE_DEFAULT])


def current(now_s: float) -> View:
    """What the frame's controls say; whatever of it makes no sense is as by default."""
    period = _period()[0] if st.session_state.get(RANGE_KEY) == CUSTOM else None
    word = st.session_state.get(RANGE_KEY)
    span = TimeRange.last(view.RANGES.get(str(word), view.RANGES[view.RANGE_DEFAULT]), now_s)
    given = {name: st.session_state.get(key) or None for name, key in FILTER_KEYS.items()}
    return View(
        span=span if period is None else period.aligned,
        filters=Filters(source=source().source, **given),
        compare=bool(st.session_state.get(COMPARE_KEY, True)),
        zone=zone(),
        live=period is None,
    )


def show_range(word: str) -> None:
    """For a button's callback, like those below: look at one of the relative ranges."""
    st.session_state[RANGE_KEY] = word
    _forget_period()


def show_period(span: TimeRange) -> None:
    st.session_state[RANGE_KEY] = CUSTOM
    _set_period({FROM: view.rfc3339(span.start_s), UNTIL: view.rfc3339(span.end_s)})


def show_source(word: str) -> None:
    st.session_state[SOURCE_KEY] = word


def clear_filters() -> None:
    for key in FILTER_KEYS.values():
        st.session_state[key] = None


def zone() -> str:
    """The reader's time zone."""
    name = st.context.timezone or "UTC"
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError):
        return "UTC"


def _range_chosen(now_s: float) -> None:
    """A range of one's own begins as the one that was shown."""
    if st.session_state[RANGE_KEY] == CUSTOM:
        show_period(TimeRange.last(view.RANGES[st.session_state.get(RELATIVE, view.RANGE_DEFAULT)], now_s))
    else:
        _forget_period()


def _draw_period() -> str | None:
    """The two fields of a range of the reader's own, and what is wrong with it."""
    if st.session_state[RANGE_KEY] != CUSTOM:
        return None
    address = said((FROM, UNTIL))
    if address:
        st.session_state[PERIOD] = address
    elif PERIOD in st.session_state:
        # A change of page has taken it out of the address.
        st.query_params.update(st.session_state[PERIOD])
    _, trouble = _period()
    for name, field in FIELDS.items():
        st.session_state[field] = _here(st.session_state.get(PERIOD, {}).get(name))
        st.datetime_input(
            name.capitalize(),
            None,
            key=field,
            on_change=_field_changed,
            min_value=f"{view.EARLIEST:%Y-%m-%d}",
            max_value=f"{view.LATEST:%Y-%m-%d}",
            format="YYYY-MM-DD",
        )
    return trouble


def _period() -> tuple[TimeRange | None, str | None]:
    words = st.session_state.get(PERIOD, {})
    if not {FROM, UNTIL} <= words.keys():
        return None, f"A custom range needs both from and until; {view.DEFAULT_SHOWN}."
    try:
        return view.read_period(words[FROM], words[UNTIL]), None
    except ValueError as error:
        return None, f"This time range cannot be shown: {error}; {view.DEFAULT_SHOWN}."


def _here(word: str | None) -> datetime | None:
    """What the field shows: the reader's own time, without a zone; nothing where the address said nothing of use."""
    try:
        at_s = view.read_moment(word or "")
    except ValueError:
        return None
    return datetime.fromtimestamp(at_s, ZoneInfo(zone())).replace(tzinfo=None, second=0, microsecond=0)


def _field_changed() -> None:
    given = {name: st.session_state[field] for name, field in FIELDS.items()}
    moments = {name: field.replace(tzinfo=ZoneInfo(zone())).timestamp() for name, field in given.items() if field}
    _set_period({name: view.rfc3339(at_s) for name, at_s in moments.items()})


def _set_period(words: Mapping[str, str]) -> None:
    st.session_state[PERIOD] = dict(words)
    for name in (FROM, UNTIL):
        st.query_params.pop(name, None)
    st.query_params.update(words)


def _forget_period() -> None:
    st.session_state.pop(PERIOD, None)
    for name in (FROM, UNTIL):
        st.query_params.pop(name, None)


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
