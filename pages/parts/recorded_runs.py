"""Two sides of recorded runs: which, from which scenario, and what differs between them."""

import streamlit as st
from parts import differences

from session_core.dashboard import comparison, loaders, recorded, selection, verdicts
from session_core.errors import EventStoreError

EVERY = "All scenarios"


def draw() -> None:
    try:
        found = recorded.sides(loaders.recorded_runs())
    except EventStoreError as error:
        st.error(str(error), icon=":material/database_off:")
        return
    if len(found) < 2:
        there = f"only **{next(iter(found))}** was recorded" if found else "nothing was recorded yet"
        st.info(
            f"Two sides are needed, and {there}. Switch on **Record** under Simulate, or stop the app and run "
            "`python -m session_core simulate --policy basic --policy professional --seeds 10 --db "
            f"{loaders.store_path()}`.",
            icon=":material/inventory_2:",
        )
        return
    chosen = _choose(found)
    if chosen is not None:
        _show(*chosen)


def _choose(found):  # noqa: ANN001, ANN202 - names of both sides and what both have
    names = list(found)
    known = {"recorded_before": names, "recorded_after": names}
    for sentence in verdicts.strangers(selection.said(known), known):
        st.info(sentence, icon=":material/search_off:")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        before = st.selectbox("Before", names, key="recorded_before", bind="query-params")
        after = st.selectbox("After", names, index=len(names) - 1, key="recorded_after", bind="query-params")
        every = recorded.pairs(found[before], found[after])
        scenarios = [EVERY, *dict.fromkeys(pair.before.scenario for pair in every)]
        scenario = st.selectbox("Scenario", scenarios, key="recorded_of", bind="query-params")
    if not every:
        st.info(
            f"No scenario was played with the same seed as **{before}** and as **{after}**.", icon=":material/join:"
        )
        return None
    both = recorded.pairs(found[before], found[after], scenario=None if scenario == EVERY else scenario)
    return before, after, both


def _show(before, after, both) -> None:  # noqa: ANN001
    sides = [pair.before for pair in both], [pair.after for pair in both]
    st.badge("Simulated", icon=":material/experiment:", color="violet")
    differences.table(*sides, names=(before, after))
    with st.container(border=True, key="by_scenario"):
        st.subheader("Where it differs, the most first", anchor=False)
        st.dataframe(recorded.by_scenario(both), hide_index=True, alt="Each scenario with what moved most.")
    _timelines(before, after, both)
    differences.ranking([run for side in sides for run in side], file_name="recorded-runs.csv")


def _timelines(before, after, both) -> None:  # noqa: ANN001
    with st.container(border=True, key="timelines"):
        st.subheader("The same run twice", anchor=False)
        places = {f"{pair.before.scenario}, seed {pair.before.seed}": pair for pair in both}
        first = max(places, key=lambda place: comparison.distance(*places[place]))
        name = st.selectbox("Run", list(places), index=list(places).index(first), key="recorded_pair", width=420)
        events = [loaders.recorded_events(run) for run in places[name]]
        if all(events):
            differences.twice([(before, events[0]), (after, events[1])], about=name)
        else:
            st.caption("The events of this run are not in the store any more; its figures are.")
