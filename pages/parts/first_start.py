"""For whoever starts with nothing: sample data with one button, and how far it is."""

import streamlit as st

from session_core.dashboard import loaders, selection

LOOK_S = 0.5
SHOWN = {"source": "simulated", "range": "30d"}


def offer_demo(*, nothing_yet: bool) -> None:
    """While it is being filled in, how far it is; else the offer, where there is `nothing_yet`."""
    progress = loaders.filling.progress()
    if progress.running:
        st.fragment(_filling, run_every=LOOK_S)()
        return
    if progress.trouble:
        st.warning(progress.trouble, icon=":material/error:")
    elif progress.broke_off:
        st.warning("The sample data broke off; the app's console says why.", icon=":material/error:")
    if nothing_yet:
        filling = loaders.filling
        st.caption(
            f"Or look around with sample data: {filling.days} days of {filling.users} simulated people, up to now. In the "
            "middle, their app learns to keep them signed in. It is marked as simulated wherever it shows."
        )
        st.button("Fill in sample data", icon=":material/experiment:", key="fill_sample", on_click=loaders.fill_sample)


def _filling() -> None:
    progress = loaders.filling.progress()
    if not progress.running:
        if not progress.trouble:
            selection.show(**SHOWN)
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(progress.share, text="Simulating people; this takes about a minute.")
        label = "Stopping…" if progress.stopping else "Stop"
        st.button(
            label, icon=":material/stop:", key="stop_filling", disabled=progress.stopping, on_click=loaders.filling.stop
        )
