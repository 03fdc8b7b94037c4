"""Overview: are our users' sessions all right, and is it better or worse than before?"""

import streamlit as st
from parts import evidence, frame
from parts.overview import PAGE

from session_core.dashboard import loaders, wording

shown = frame.begin(PAGE)
measures = wording.measures(loaders.load("headline", shown.span, shown.filters))
with st.grid(6, min_column_width=125):
    for name, label in wording.HEADLINES.items():
        change = wording.change(measures, name) if shown.compare else None
        st.metric(label, wording.total(measures, name), change, delta_color="off", border=True, height="stretch")

left, right = st.columns([3, 2])
for number, card in enumerate(PAGE.cards):
    with left if number % 2 == 0 else right:
        evidence.show(card, shown)
