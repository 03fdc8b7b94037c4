"""Whether this browser's session goes on: its user's activity is told, and once it is over nothing else is shown."""

import streamlit as st

from session_core.web import auth_context

LOOK_S = 5


def stop_if_over() -> None:
    """The page goes on while the session does, or nobody is signed in; else it says why not, and how to come back."""
    auth = auth_context.use_auth()
    if not auth.signed_in:
        return
    over = auth.why_over()
    if over is None:
        with st.sidebar:
            auth_context.watch_presence()
            _look_out()
        return
    with st.container(border=True, key="session_over"):
        st.title(over.title, anchor=False)
        st.markdown(over.why)
        auth_context.sign_in_link("Sign in again")
    st.stop()


@st.fragment(run_every=LOOK_S)
def _look_out() -> None:
    """The session may end on another device, or in another tab; the page is told, and asks what to show instead."""
    auth = auth_context.use_auth()
    if not auth.signed_in or auth.why_over() is not None:
        auth_context.watch_presence(again=True)
