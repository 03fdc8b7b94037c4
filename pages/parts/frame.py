"""What surrounds every page: filters, the store's badge, who is signed in, and the banners."""

import streamlit as st

from session_core.dashboard import loaders, selection
from session_core.errors import EventStoreError
from session_core.store.descriptions import for_how_long
from session_core.web import auth_context


def sidebar() -> None:
    with st.sidebar:
        selection.draw_filters()
        store_badge()
        signed_in()
        if auth_context.embedded_provider():
            st.badge("Embedded test provider", icon=":material/science:", color="orange")


def banners() -> None:
    trouble = auth_context.store_trouble()
    if trouble:
        st.warning(f"{trouble} Sessions go on meanwhile.", icon=":material/database_off:")


@st.fragment(run_every=5)
def store_badge() -> None:
    try:
        age_s = loaders.newest_event_age_s()
    except EventStoreError:
        st.badge("Event store not available", icon=":material/database_off:", color="orange")
        return
    text = "No events yet" if age_s is None else f"Newest event {for_how_long(age_s)} ago"
    st.badge(text, icon=":material/database:", color="gray")


def signed_in() -> None:
    auth = auth_context.use_auth()
    if auth.user is None:
        st.caption(":material/person_off: Nobody is signed in here.")
        return
    st.text(f"{auth.user.shown}\n{auth.user.email}")
    if st.button("Sign out", icon=":material/logout:", key="sign_out", type="tertiary"):
        auth.sign_out()
        st.rerun()
