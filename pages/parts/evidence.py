"""One card: a title, a picture with its words for those who cannot see it, its table, and the table to take away."""

from functools import cache

import streamlit as st
from parts import waiting

from session_core.dashboard import error_words, exports, figures, loaders, selection, session_words, view
from session_core.errors import EventStoreError

LIVE_S = 15
TABLE_PX = 240
CLICKED = "clicked"
MINUTE = len("2026-01-31 12:34")


def show(card, shown) -> None:  # noqa: ANN001 - what to ask, and what is looked at
    """Cards are asked side by side, each with a skeleton in its place; a live one asks again by itself."""
    live(_draw, card, shown, key=card.key)


def live(draw, what, shown, *, key) -> None:  # noqa: ANN001 - what draws, its two arguments, and what it is kept under
    """As a part of the page that is drawn by itself, and again every now and then if what is looked at moves on.

    What is kept is drawn where the script is: a thread of its own takes longer than the drawing.
    """
    waits = not loaders.is_kept(key, shown.at(loaders.now_s()))
    _part(draw, waits, shown.live)(what, shown)


@cache
def _part(draw, waits, moves):  # noqa: ANN001, ANN202 - the same for every page and reader
    return st.fragment(draw, parallel=waits, run_every=LIVE_S if moves else None)


def _draw(card, shown) -> None:  # noqa: ANN001
    """Everything but the picture is there before it is asked, and its place is as high as it will be: nothing jumps."""
    shown = shown.at(loaders.now_s())
    with st.container(border=True, key=f"card_{card.key}"):
        st.subheader(card.title, anchor=False)
        place = st.container(height=card.height_px, border=False, gap=None)
        opened = _tools(card, shown)
        with place:
            answer = _ask(card, shown)
        if opened and answer is not None:
            _rows(card, answer, shown, TABLE_PX)


def _tools(card, shown) -> bool:  # noqa: ANN001 - whether the table is to be shown
    ends = "right" if card.is_table else "distribute"
    with st.container(horizontal=True, horizontal_alignment=ends, vertical_alignment="center"):
        opened = False if card.is_table else st.toggle("Table", key=f"table_{card.key}")
        st.download_button(
            "CSV",
            lambda: exports.to_csv(card.title, view.words(shown), card.ask(shown).table),
            file_name=exports.file_name(card.title, ending="csv"),
            mime="text/csv",
            key=f"csv_{card.key}",
            on_click="ignore",
            type="tertiary",
            icon=":material/download:",
            help="The table, with the time range and the filters at its head.",
        )
    return bool(opened)


def _ask(card, shown):  # noqa: ANN001, ANN202 - the answer, if there is one
    try:
        with waiting.skeleton(card.key, shown, card.height_px):
            answer = loaders.ask(card, shown)
    except EventStoreError:
        st.caption("It comes back with the event store.")
        return None
    if answer.table.empty:
        st.caption(answer.alt)
        return None
    if card.is_table:
        _rows(card, answer, shown, card.height_px)
    elif card.opens:
        _clickable(card, answer, shown)
    else:
        st.plotly_chart(answer.figure, key=f"chart_{card.key}", alt=answer.alt, config=figures.NO_TOOLS)
    return answer


def _clickable(card, answer, shown) -> None:  # noqa: ANN001
    chosen = st.plotly_chart(
        answer.figure,
        key=f"chart_{card.key}",
        alt=answer.alt,
        config=figures.NO_TOOLS,
        on_select="rerun",
        selection_mode="points",
    )
    points = chosen.selection.points
    at = _clicked(card, answer, shown, points)
    if at is None:
        st.caption("Click a point to open the sessions behind it.")
        return
    words = {word: said for word, said in selection.links().items() if word != view.RANGE}
    words |= view.bucket_words(shown, at)
    label = "Open the sessions behind this point" if points else f"Open the sessions of {at[:MINUTE]}"
    st.page_link(card.opens, label=label, icon=":material/search:", query_params=words)


def _clicked(card, answer, shown, points):  # noqa: ANN001, ANN202 - the time that was chosen, if there is one
    """A chart that is made anew has forgotten what was clicked in it; one that is the same was asked to forget it."""
    kept, looked_at = st.session_state.setdefault(CLICKED, {}), shown.at(0.0)
    if points:
        kept[card.key] = looked_at, answer.figure, str(points[0]["x"])
    of, figure, at = kept.get(card.key, (None, None, None))
    if of == looked_at and (points or figure is not answer.figure):
        return at
    kept.pop(card.key, None)
    return None


def _rows(card, answer, shown, height_px) -> None:  # noqa: ANN001
    page, words = selection.page_url(), selection.links()

    def linked(then):  # noqa: ANN001, ANN202
        return figures.sendable(session_words.linked(loaders.ask(card, then).table, page, words))

    table = loaders.kept((card.key, page, *words.items()), shown, linked)
    st.dataframe(table, hide_index=True, alt=answer.alt, height=height_px, column_config=_columns())


@cache
def _columns():  # noqa: ANN202
    time = {"format": "YYYY-MM-DD HH:mm:ss", "timezone": "UTC"}
    return {
        "bucket": st.column_config.DatetimeColumn("Time (UTC)", **time),
        **{name: st.column_config.DatetimeColumn(**time) for name in (error_words.FIRST, error_words.LAST)},
        session_words.EXAMPLE: st.column_config.LinkColumn("Example", display_text="Open", pinned=True),
    }
