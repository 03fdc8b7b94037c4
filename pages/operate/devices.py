"""Devices: where am I signed in?"""

import streamlit as st
from parts import devices

from session_core.web.auth_context import require_user

st.title("Devices", anchor=False)
auth = require_user("Sign in to see where you are signed in, and to sign out from afar.")
devices.draw(auth)
