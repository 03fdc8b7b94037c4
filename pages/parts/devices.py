"""A user's sessions, each with the button that ends it; the list looks again by itself."""

import streamlit as st

from session_core.dashboard import device_words, selection
from session_core.errors import SessionCoreError
from session_core.web.auth_context import AuthContext

LIVE_S = 10
SAID = "devices_said"


@st.fragment(run_every=LIVE_S)
def draw(auth: AuthContext) -> None:
    try:
        devices = auth.devices()
    except SessionCoreError as error:
        st.warning(str(error), icon=":material/database_off:")
        return
    st.markdown(f"#### {device_words.answer(devices)}")
    if said := st.session_state.get(SAID):
        st.caption(said)
    for device in devices:
        _row(auth, device)
    others = [device for device in devices if not device.is_this]
    if len(others) > 1 and st.button("Sign out all others", icon=":material/logout:", key="end_others"):
        _ask(auth, others)


def _row(auth: AuthContext, device) -> None:  # noqa: ANN001 - one of `auth.devices()`
    with (
        st.container(border=True, key=f"device_{device.session_id}"),
        st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"),
    ):
        with st.container(gap="xxsmall", width="content"):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"{device_words.icon(device)} **{device_words.name(device)}**", width="content")
                if device.is_this:
                    st.badge("This one", icon=":material/check:", color="green")
                if device.is_locked:
                    st.badge("Locked", icon=":material/lock:", color="orange", help="Nobody was there for too long.")
            st.caption(device_words.when(device, auth.wall(), selection.zone()))
        if not device.is_this:
            st.button("Sign out", key=f"end_{device.session_id}", on_click=_end, args=(auth, [device]))


@st.dialog("Sign out all others?")
def _ask(auth: AuthContext, others) -> None:  # noqa: ANN001
    st.markdown(device_words.question(others))
    with st.container(horizontal=True):
        if st.button("Sign them out", type="primary", key="end_others_sure", on_click=_end, args=(auth, others)):
            st.rerun()
        if st.button("Keep them", key="end_others_not"):
            st.rerun()


def _end(auth: AuthContext, devices) -> None:  # noqa: ANN001
    try:
        st.session_state[SAID] = device_words.ended(auth.end_devices([device.session_id for device in devices]))
    except SessionCoreError as error:
        st.session_state[SAID] = f"That did not work: {error}"
