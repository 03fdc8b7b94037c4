"""Sessions: what happened to this one?"""

import streamlit as st
from parts import frame, session_story, sessions

from session_core.dashboard import selection

if opened := selection.opened_session():
    session_story.show(opened)
    st.stop()

search, only = selection.searched()
page = sessions.page(search, only)
shown = frame.begin(page)
selection.draw_search(search, only)
sessions.draw(page, shown)
