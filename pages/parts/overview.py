"""What the overview is made of."""

import streamlit as st
from parts import evidence, waiting

from session_core.dashboard import alert_board, charts, figures, loaders, movers, selection, trends, ux_words, wording
from session_core.dashboard.cards import Answer, Card, Page
from session_core.errors import EventStoreError
from session_core.web.running import current

DIMENSIONS = ("policy", "app_version", "device")
PAGES = {"trends": "observe/ux_trends.py", "errors": "observe/errors.py", "sessions": "observe/sessions.py"}
TILE_PX = 96
TILES, MOVED = "overview_tiles", "overview_moved"


def _answer(view) -> str:  # noqa: ANN001 - what is looked at
    return ux_words.overview_sentence(_measures(view))


def _measures(view):  # noqa: ANN001, ANN202
    return wording.measures(loaders.load("headline", view.span, view.filters))


def _score(view):  # noqa: ANN001, ANN202
    now, before = loaders.load_both("ux", view)
    marks = figures.releases(loaders.load("releases", view.span, view.filters))
    figure = trends.over_time(now, before, view.span, ux_words.SCORE, zone=view.zone, marks=marks)
    return Answer(now, ux_words.score_alt(now), figure)


def _states(view):  # noqa: ANN001, ANN202
    states = loaders.load("sessions_by_state", view.span, view.filters)
    return Answer(states, wording.states_alt(states), charts.states_over_time(states, view.span, zone=view.zone))


def _bands(view):  # noqa: ANN001, ANN202
    bands = loaders.load("sessions_by_band", view.span, view.filters)
    return Answer(bands, wording.bands_alt(bands), charts.bands_now(bands))


def _moved(view):  # noqa: ANN001, ANN202 - what moved, the largest first
    before = view.before
    if before is None:
        return ()
    both = (view.span, before)
    scores = {name: tuple(loaders.load(f"ux_by_{name}", span, view.filters) for span in both) for name in DIMENSIONS}
    errors = tuple(loaders.load("errors", span, view.filters) for span in both)
    sign_outs = loaders.load("sign_outs", view.span, view.filters)
    return movers.movers(scores, sign_outs, errors, _measures(view)["used_sessions"])


def _changed(view):  # noqa: ANN001, ANN202
    moved = _moved(view)
    return Answer(
        movers.table(moved), movers.none_moved(_measures(view)["used_sessions"], compared=view.before is not None)
    )


def _listed(view):  # noqa: ANN001, ANN202 - the tiles
    bands = loaders.load("sessions_by_band", view.span, view.filters)
    return ux_words.tiles(_measures(view), bands, compare=view.compare)


def tiles(shown) -> None:  # noqa: ANN001 - what is looked at
    evidence.live(_tiles, None, shown, key=TILES)


def _tiles(_nothing, shown) -> None:  # noqa: ANN001
    view = shown.at(loaders.now_s())
    try:
        with waiting.skeleton("tiles", view, TILE_PX):
            listed = loaders.kept(TILES, view, _listed)
    except EventStoreError:
        return
    with st.grid(5, min_column_width=140):
        for tile in listed:
            st.metric(tile.label, tile.value, tile.change, help=tile.help, border=True, height="stretch")
        needed = alert_board.needed(current().alerts.board())
        st.metric("Open alerts", needed, help="Alerts that need a person; see Alerts.", border=True, height="stretch")


def changed(shown) -> None:  # noqa: ANN001
    evidence.live(_draw_changed, PAGE.card("changed"), shown, key=MOVED)


def _draw_changed(card, shown) -> None:  # noqa: ANN001
    view = shown.at(loaders.now_s())
    with st.container(border=True, key=f"card_{card.key}", height="stretch"):
        st.subheader(card.title, anchor=False)
        try:
            with waiting.skeleton(card.key, view, card.height_px):
                moved = loaders.kept(MOVED, view, _moved)
        except EventStoreError:
            st.caption("It comes back with the event store.")
            return
        if not moved:
            st.caption(movers.none_moved(_measures(view)["used_sessions"], compared=view.before is not None))
        for mover in moved:
            icon = ":material/trending_up:" if mover.better else ":material/trending_down:"
            words = selection.links() | dict(mover.words)
            st.page_link(PAGES[mover.page], label=mover.sentence, icon=icon, query_params=words)


PAGE = Page(
    "Overview",
    _answer,
    (
        Card("score", "UX score", _score),
        Card("states", "Sessions by state", _states),
        Card("changed", "What changed", _changed, is_table=True),
        Card("bands", "Health bands now", _bands, height_px=64),
    ),
)
