"""Session health: is my session alive, and what is keeping it so?"""

import streamlit as st
from parts import health

from session_core.web.auth_context import require_user

st.title("Session health", anchor=False)
auth = require_user("Sign in to see how your session is kept alive, and to try and break it.")

with st.container(border=True):
    left, right = st.columns(2, vertical_alignment="center")
with left:
    health.answer(auth)
with right:
    health.parts(auth)

left, right = st.columns([5, 4])
with left:
    health.token(auth)
    health.log(auth)
with right:
    health.controls(auth)
    if auth.can_order_faults:
        health.faults(auth)
health.upkeep(auth)
