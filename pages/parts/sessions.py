"""Sessions to choose from: what is searched for, how many there are, and the table; a click opens one."""

from functools import partial

import streamlit as st
from parts import evidence, waiting

from session_core.dashboard import figures, loaders, selection, session_words, wording
from session_core.dashboard.cards import Answer, Card, Page
from session_core.errors import EventStoreError

FOUND, TABLE, TABLE_PX = "sessions_found", "sessions_table", 520


def page(search, only):  # noqa: ANN001, ANN201 - the page as it is searched
    which = "" if only == session_words.ONLY_DEFAULT else f", {session_words.ONLY[only].lower()}"
    named = f", with {search!r} in a name" if search else ""
    card = Card(FOUND, f"Sessions{which}{named}", partial(_found, search, only), TABLE_PX, is_table=True)
    return Page("Sessions", _answer, (card,))


def draw(asked, shown) -> None:  # noqa: ANN001 - the page, and what is looked at
    card = asked.cards[0]
    evidence.live(_draw, card, shown, key=_key(card))


def _key(card):  # noqa: ANN001, ANN202 - the title says what is searched for
    return card.key, card.title


def _answer(view) -> str:  # noqa: ANN001
    return session_words.list_sentence(wording.measures(loaders.load("headline", view.span, view.filters)))


def _found(search, only, view):  # noqa: ANN001, ANN202
    found = loaders.sessions_found(view, search, only)
    return Answer(session_words.list_table(found), session_words.how_many(found))


def _asked(card):  # noqa: ANN001, ANN202 - asks for the answer, and makes of it what a browser is sent
    def ask(view):  # noqa: ANN001, ANN202
        answer = card.ask(view)
        return answer, figures.sendable(answer.table)

    return ask


def _draw(card, shown) -> None:  # noqa: ANN001
    shown = shown.at(loaders.now_s())
    try:
        with waiting.skeleton(FOUND, shown, card.height_px):
            answer, rows = loaders.kept(_key(card), shown, _asked(card))
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
        rows,
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
