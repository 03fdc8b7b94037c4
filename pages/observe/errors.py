"""Errors: what fails, how often, and did the user notice?"""

import streamlit as st
from parts import errors, evidence, frame

page = errors.page(errors.chosen())
shown = frame.begin(page)
over_time, classes, by, sign_outs, flow, kinds, values = page.cards
left, right = st.columns([3, 2])
with left:
    evidence.show(over_time, shown)
    evidence.show(classes, shown)
with right:
    evidence.show(sign_outs, shown)
    errors.control()
    evidence.show(by, shown)
evidence.show(flow, shown)
evidence.show(kinds, shown)
evidence.show(values, shown)
