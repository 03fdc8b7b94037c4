"""A Streamlit app whose users stay signed in. Run it with `streamlit run examples/signed_in/app.py`."""

import streamlit as st

from session_core.web.wiring import with_sessions

app = st.App("page.py", **with_sessions())
