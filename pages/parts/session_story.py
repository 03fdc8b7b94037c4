"""One session told: why it ended, what happened in words, its score, its timeline, and its events to take away."""

import streamlit as st
from parts import timeline_view

from session_core.dashboard import exports, loaders, selection, session_words
from session_core.dashboard.phrases import unformatted
from session_core.errors import EventStoreError


def show(session_id) -> None:  # noqa: ANN001
    st.title("Sessions", anchor=False)
    st.button("All sessions", icon=":material/arrow_back:", key="back", on_click=selection.close_session)
    zone = selection.zone()
    try:
        with st.skeleton(height=400):
            found = loaders.session_opened(session_id, zone)
    except EventStoreError:
        st.info("It comes back with the event store.", icon=":material/database_off:")
        return
    if found is None:
        st.info(unformatted(session_words.unknown(session_id)), icon=":material/search_off:")
        return
    _head(found)
    left, right = st.columns([3, 2])
    with left.container(border=True, key="story", height="stretch"):
        st.subheader("What happened", anchor=False)
        st.markdown("\n".join(f"- {unformatted(sentence)}" for sentence in found.told))
    with right.container(border=True, key="score", height="stretch"):
        st.subheader(f"UX score {found.score.score:.0f} of 100", anchor=False)
        reasons = found.score.reasons or ("Nothing took anything from it.",)
        st.markdown("\n".join(f"- {reason}" for reason in reasons))
    timeline_view.draw(found.name, found.built, found.told, zone)
    _take_away(found, zone)


def _head(found) -> None:  # noqa: ANN001
    with st.container(horizontal=True, vertical_alignment="center"):
        for badge in session_words.badges(found, loaders.now_s()):
            st.badge(badge.label, icon=badge.icon, color=badge.colour, help=badge.help)
        if found.simulated:
            st.badge("Simulated", icon=":material/experiment:", color="violet")
    st.markdown(f"#### {session_words.sentence(found)}")
    st.caption(unformatted(session_words.origin_words(found)))
    st.code(found.name, language=None)
    if found.shortened:
        st.caption(f"It has more events than can be shown; these are the latest {len(found.events):,}.")


def _take_away(found, zone) -> None:  # noqa: ANN001
    def csv() -> str:
        words = session_words.export_words(found, zone)
        return exports.to_csv("Events of a session", words, session_words.events_table(found))

    with st.container(horizontal=True, key="take_away"):
        for label, make, ending, mime in (
            ("Events as CSV", csv, "csv", "text/csv"),
            ("Events as JSON Lines", lambda: session_words.events_lines(found), "jsonl", "application/jsonl"),
        ):
            st.download_button(
                label,
                make,
                file_name=exports.file_name("session", found.name, ending=ending),
                mime=mime,
                key=f"events_{ending}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )
        with st.popover("Copy link", icon=":material/link:", type="tertiary"):
            st.code(session_words.link(selection.page_url(), found.name), language=None, wrap_lines=True)
