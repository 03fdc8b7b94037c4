"""Where there is nothing to see: why, and one button that mends it."""

import streamlit as st
from parts import evidence, first_start

from session_core.dashboard import emptiness, loaders, selection
from session_core.errors import EventStoreError
from session_core.web import auth_context


def stop_if_empty(shown) -> None:  # noqa: ANN001 - what is looked at
    try:
        if loaders.sessions(shown):
            return
        found = emptiness.why(shown, loaders.newest_event_at, loaders.now_s())
    except EventStoreError:
        st.info("The figures come back with the event store.", icon=":material/database_off:")
        st.stop()
    st.markdown(f"#### {found.sentence}")
    if found.button is None:
        auth_context.sign_in_link("Sign in and start a session")
    else:
        st.button(found.button, key="mend", type="primary", on_click=_mend, args=(found,))
    first_start.offer_demo(nothing_yet=found.button is None)
    st.fragment(_look_again, run_every=evidence.LIVE_S if shown.live else None)(shown)
    st.stop()


def _look_again(shown) -> None:  # noqa: ANN001
    try:
        found = loaders.sessions(shown.at(loaders.now_s()))
    except EventStoreError:
        return
    if found:
        st.rerun()


def _mend(found) -> None:  # noqa: ANN001
    if found.period is not None:
        selection.show_period(found.period)
    else:
        selection.show(**found.words)
