"""Session health: is my session alive, and what is keeping it so?"""

import streamlit as st
from parts import health

from session_core.web.auth_context import require_user

st.title("Session health", anchor=False)
auth = require_user("Sign in to see how your session is kept alive, and to try and break it.")

health.answer(auth)
left, right = st.columns([3, 2], gap="medium")
with left:
    health.parts(auth)
    health.token(auth)
with right:
    health.controls(auth)
    if auth.can_order_faults:
        health.faults(auth)
health.log(auth)
health.upkeep(auth)
