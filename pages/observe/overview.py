"""Overview: are our users' sessions all right, and is it better or worse than before?"""

import streamlit as st
from parts import evidence, frame, overview

shown = frame.begin(overview.PAGE)
overview.tiles(shown)
left, right = st.columns(2)
with left:
    evidence.show(overview.PAGE.card("score"), shown)
    overview.changed(shown)
with right:
    evidence.show(overview.PAGE.card("states"), shown)
    evidence.show(overview.PAGE.card("bands"), shown)
