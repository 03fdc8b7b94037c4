"""UX trends: what moves the score?"""

import streamlit as st
from parts import evidence, frame, ux_trends

dimension = ux_trends.chosen()
page = ux_trends.page(dimension)
shown = frame.begin(page)
score, why, parts, by, table = page.cards
left, right = st.columns([3, 2])
with left:
    evidence.show(score, shown)
with right:
    evidence.show(why, shown)
evidence.show(parts, shown)
ux_trends.control()
left, right = st.columns([3, 2])
with left:
    evidence.show(by, shown)
with right:
    evidence.show(table, shown)
