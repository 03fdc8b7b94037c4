"""Session Lab: `streamlit run app.py`. Wiring only; what runs is in session_core.web, what is seen in pages/."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from session_core.dashboard import steady
from session_core.web.running import Lab
from session_core.web.wiring import with_sessions


@contextmanager
def loading(lab: Lab) -> Iterator[None]:
    """Pages read the event store of the running app."""
    from session_core.dashboard import loaders  # noqa: PLC0415 - its cache needs Streamlit's runtime to be there

    loaders.attach(lab.store)
    try:
        yield
    finally:
        loaders.detach()


sessions = with_sessions(called="Session Lab", beside=loading)
sessions["routes"] += steady.routes()
app = st.App("pages/menu.py", **sessions)
