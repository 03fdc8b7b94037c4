"""Who is signed in, and a call on their behalf: over hours of idle, a lost connection and a restart of the server."""

import streamlit as st

from session_core.web.auth_context import use_auth

auth = use_auth()
user = auth.require_user("Sign in to see who you are to the API.")
st.title(f"Hello, {user.shown}")
if st.button("Ask the API"):
    st.json(auth.client.get("profile").json())

st.button("Sign out", on_click=auth.sign_out)
