"""Simulate: would our users survive this?"""

import streamlit as st
from parts import choosing, run_story, verdict_matrix

from session_core.dashboard import lab_loaders, selection, verdicts
from session_core.errors import ConfigError

catalogue, policies = lab_loaders.catalogue(), lab_loaders.policies()
st.title("Simulate", anchor=False)
for trouble in catalogue.troubles:
    st.warning(trouble, icon=":material/edit_document:")

if said := selection.opened_run():
    try:
        job = verdicts.read_job(said, catalogue.scenarios, policies)
    except ConfigError as error:
        st.info(str(error), icon=":material/search_off:")
        st.button("All scenarios", icon=":material/arrow_back:", on_click=selection.close_run)
    else:
        run_story.show(job, list(policies), user=said.get("user"))
    st.stop()

if not catalogue.scenarios:
    st.info("There is no scenario that can be read; put one into data/scenarios.", icon=":material/folder_off:")
    st.stop()
left, right = st.columns([2, 3], gap="large")
with left:
    jobs = choosing.draw(catalogue.scenarios, policies)
with right:
    verdict_matrix.draw(jobs)
