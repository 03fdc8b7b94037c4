"""What to compare: a scenario, two policies and how many runs, all in the address; and the button that plays them."""

from typing import NamedTuple

import streamlit as st
from parts import sweep

from session_core.dashboard import comparison, lab_loaders, selection, verdicts
from session_core.lab_jobs import Job, plan
from session_core.sim.scenario import Scenario

RUNS_MIN, RUNS_MAX = 10, 200


class Choice(NamedTuple):
    """`jobs` are those of before, after, and the controls of both, as many each."""

    scenario: Scenario
    before: str
    after: str
    jobs: tuple[Job, ...]

    def parts(self, runs):  # noqa: ANN001, ANN201 - all runs in the order of jobs; the four lists
        quarter = len(self.jobs) // 4
        return [runs[part * quarter : (part + 1) * quarter] for part in range(4)]


def choose(scenarios, policies):  # noqa: ANN001, ANN201
    names = list(policies)
    known = {"of": list(scenarios), "before": names, "after": names}
    for sentence in verdicts.strangers(selection.said(known), known):
        st.info(sentence, icon=":material/search_off:")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = list(scenarios).index("wake-before-network") if "wake-before-network" in scenarios else 0
        name = st.selectbox("Scenario", list(scenarios), index=first, key="of", bind="query-params")
        before = st.selectbox("Before", names, index=names.index("basic"), key="before", bind="query-params")
        after = st.selectbox("After", names, key="after", bind="query-params")
        each = st.number_input("Runs each", RUNS_MIN, RUNS_MAX, RUNS_MIN, key="runs", bind="query-params")
    scenario, seeds = scenarios[name], range(1, int(each) + 1)
    st.caption(scenario.what)
    sides = [policies[before], policies[after]]
    worlds = [scenario, comparison.control_of(scenario)]
    jobs = tuple(job for world in worlds for side in sides for job in plan([world], [side], seeds))
    return Choice(scenario, before, after, jobs)


def play(chosen):  # noqa: ANN001, ANN201 - the runs, None until all are there
    st.badge("Simulated", icon=":material/experiment:", color="violet")
    runs = lab_loaders.sweeps.find(chosen.jobs)
    if None not in runs:
        return runs
    going = lab_loaders.sweeps.progress().running
    missing = lab_loaders.sweeps.missing(chosen.jobs)
    label = verdicts.button(missing, lab_loaders.sweeps.estimate_s(missing))
    if st.button(label, icon=":material/play_arrow:", type="primary", key="run", disabled=going):
        lab_loaders.sweeps.start(missing)
        st.rerun()
    st.fragment(_progress, run_every=0.5 if going else None)(was_going=going)
    return None


def _progress(*, was_going: bool) -> None:
    progress = lab_loaders.sweeps.progress()
    if was_going and not progress.running:
        st.rerun()
    sweep.tell(progress)
    if not progress.running:
        st.caption("Not compared yet: press Run. Each run is played beside its control, the same seed without faults.")
