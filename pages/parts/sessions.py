"""Sessions to choose from: what is searched for, how many there are, and the table; a click opens one."""

from functools import partial

import streamlit as st
from parts import evidence

from session_core.dashboard import loaders, selection, session_words, wording
from session_core.dashboard.cards import Answer, Card, Page
from session_core.errors import EventStoreError

TABLE, TABLE_PX = "sessions_table", 520


def page(search, only):  # noqa: ANN001, ANN201 - the page as it is searched
    which = "" if only == session_words.ONLY_DEFAULT else f", {session_words.ONLY[only].lower()}"
    named = f", with {search!r} in a name" if search else ""
    card = Card("sessions_found", f"Sessions{which}{named}", partial(_found, search, only), TABLE_PX, is_table=True)
    return Page("Sessions", _answer, (card,))


def draw(asked, shown) -> None:  # noqa: ANN001 - the page, and what is looked at
    evidence.live(_draw, asked.cards[0], shown)


def _answer(view) -> str:  # noqa: ANN001
    return session_words.list_sentence(wording.measures(loaders.load("headline", view.span, view.filters)))


def _found(search, only, view):  # noqa: ANN001, ANN202
    found = loaders.sessions_found(view, search, only)
    return Answer(session_words.list_table(found), session_words.how_many(found))


def _draw(card, shown) -> None:  # noqa: ANN001
    try:
        with st.skeleton(height=card.height_px):
            answer = card.ask(shown.at(loaders.now_s()))
    except EventStoreError:
        st.caption("They come back with the event store.")
        return
    st.caption(answer.alt)
    if answer.table.empty:
        return

    def open_row() -> None:
        if (cell := selection.clicked_cell(TABLE)) is not None:
            selection.open_session(str(answer.table["Session"].iloc[cell[0]]))

    st.dataframe(
        answer.table,
        hide_index=True,
        key=TABLE,
        on_select=open_row,
        selection_mode="single-cell",
        height="content" if len(answer.table) < 12 else card.height_px,
        alt=answer.alt,
        column_config={
            "Last seen": st.column_config.DatetimeColumn(format="D MMM YYYY HH:mm:ss", timezone=shown.zone),
            "User": st.column_config.TextColumn(pinned=True),
        },
    )
    st.caption(f"Click a session to open it. Times are {shown.zone}.")
    if selection.opened_session():
        st.rerun()
