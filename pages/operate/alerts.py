"""Alerts: what needs a person?"""

import streamlit as st
from parts import alerts_board, alerts_evidence, alerts_rules

from session_core.web.auth_context import use_auth
from session_core.web.running import current

desk, may_act = current().alerts, use_auth().signed_in

st.title("Alerts", anchor=False)
alerts_board.answer(desk)
left, right = st.columns([3, 2])
with left:
    alerts_board.board(desk, may_act=may_act)
with right:
    alerts_evidence.burns(desk)
alerts_evidence.history(desk)
alerts_rules.draw(desk, may_act=may_act)
