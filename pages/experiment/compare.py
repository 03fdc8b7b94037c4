"""Compare: what did the change buy?"""

import streamlit as st
from parts import comparing, differences

from session_core.dashboard import loaders

catalogue, policies = loaders.catalogue(), loaders.policies()
st.title("Compare", anchor=False)
if not catalogue.scenarios:
    st.info("There is no scenario that can be read; put one into data/scenarios.", icon=":material/folder_off:")
    st.stop()

chosen = comparing.choose(catalogue.scenarios, policies)
runs = comparing.play(chosen)
if runs is None:
    st.stop()
differences.draw(chosen, runs)
