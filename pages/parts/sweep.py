"""How far a sweep is, with its stop button; and if it ended early, why."""

import streamlit as st

from session_core.dashboard import lab_loaders


def tell(progress) -> None:  # noqa: ANN001 - what the sweep says of itself
    if progress.running:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(progress.share, text=f"{progress.done:,} of {progress.planned:,} runs")
            label = "Stopping…" if progress.stopping else "Stop"
            st.button(
                label, icon=":material/stop:", key="stop", disabled=progress.stopping, on_click=lab_loaders.sweeps.stop
            )
    elif progress.trouble:
        st.warning(progress.trouble, icon=":material/error:")
    elif progress.broke_off:
        st.warning("The sweep broke off; the app's console says why.", icon=":material/error:")
    elif progress.done < progress.planned:
        st.caption(f"Stopped after {progress.done:,} of {progress.planned:,} runs; what was finished is kept.")
