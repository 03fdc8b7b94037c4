"""Sessions: what happened to this one?"""

import streamlit as st
from parts import frame, session_story, sessions

from session_core.dashboard import selection, session_words
from session_core.dashboard.phrases import unformatted

if opened := selection.opened_session():
    session_story.show(opened)
    st.stop()

search, only = selection.searched()
if trouble := session_words.only_trouble(only):
    st.info(unformatted(trouble), icon=":material/link_off:")
    only = session_words.ONLY_DEFAULT
page = sessions.page(search, only)
shown = frame.begin(page)
selection.draw_search(search, only)
sessions.draw(page, shown)
