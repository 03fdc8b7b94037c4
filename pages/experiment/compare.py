"""Compare: what did the change buy?"""

import streamlit as st
from parts import comparing, differences, recorded_runs

from session_core.dashboard import lab_loaders

NOW, RECORDED = "Play now", "Recorded runs"

st.title("Compare", anchor=False)
source = st.segmented_control(
    "Runs", [NOW, RECORDED], default=NOW, required=True, key="from", bind="query-params", label_visibility="collapsed"
)
if source == RECORDED:
    recorded_runs.draw()
    st.stop()

catalogue, policies = lab_loaders.catalogue(), lab_loaders.policies()
if not catalogue.scenarios:
    st.info("There is no scenario that can be read; put one into data/scenarios.", icon=":material/folder_off:")
    st.stop()

chosen = comparing.choose(catalogue.scenarios, policies)
runs = comparing.play(chosen)
if runs is None:
    st.stop()
differences.draw(chosen, runs)
