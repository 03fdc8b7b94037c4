"""A skeleton where something is still being asked; what was there before stays in its place meanwhile."""

from contextlib import contextmanager

import streamlit as st

SEEN = "seen"


@contextmanager
def skeleton(key, shown, height_px):  # noqa: ANN001, ANN201 - whose place it is, what is looked at
    """Only where this reader has not seen it yet. Streamlit's own is shown by a timer, whose thread outlives its run."""
    if not _unseen(key, shown):
        # The place stays, or all that follows would move up.
        st.empty()
        yield
        return
    hole = st.skeleton(height=height_px)
    try:
        yield
    finally:
        hole.empty()


def forget() -> None:
    """After another page nothing of this one is in its place any more."""
    st.session_state.pop(SEEN, None)


def _unseen(key, shown) -> bool:  # noqa: ANN001
    seen, now = st.session_state.setdefault(SEEN, {}), shown.at(0.0)
    before, seen[key] = seen.get(key), now
    return before != now
