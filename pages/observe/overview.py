"""Overview: are our users' sessions all right, and is it better or worse than before?"""

import streamlit as st
from parts import evidence

from session_core.dashboard import charts, loaders, selection, wording
from session_core.errors import EventStoreError
from session_core.web import auth_context

st.title("Overview", anchor=False)
span, filters = loaders.last(selection.span_s()), selection.filters()
try:
    answers = {question: loaders.load(question, span, filters) for question in loaders.QUESTIONS}
except EventStoreError:
    st.info("The figures come back with the event store.", icon=":material/database_off:")
    st.stop()

measures = wording.measures(answers["headline"])
st.markdown(f"#### {wording.overview_sentence(measures)}")
if not measures["sessions"][0]:
    st.caption("Choose a longer time range or another source beside, or sign in to start a session.")
    auth_context.sign_in_link("Sign in and start a session")
    st.stop()

with st.grid(6, min_column_width=125):
    for name, label in wording.HEADLINES.items():
        change = wording.change(measures, name)
        st.metric(label, wording.total(measures, name), change, delta_color="off", border=True, height="stretch")

left, right = st.columns([3, 2])
states, bands = answers["sessions_by_state"], answers["sessions_by_band"]
with left:
    alt = wording.states_alt(states)
    evidence.show(
        "Sessions by state", charts.states_over_time(states, span, zone=selection.zone()), states, alt=alt, key="states"
    )
with right:
    evidence.show("Health bands now", charts.bands_now(bands), bands, alt=wording.bands_alt(bands), key="bands")

for number, (question, view) in enumerate(charts.COUNTED.items()):
    with left if number % 2 == 0 else right:
        counts = answers[question]
        figure = charts.counts_over_time(counts, span, view, zone=selection.zone())
        alt = wording.counts_alt(counts, view.title, by=view.by, of=view.of)
        evidence.show(view.title, figure, counts, alt=alt, key=question)
