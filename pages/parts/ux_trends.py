"""What the page of trends is made of."""

from functools import partial

import streamlit as st

from session_core.dashboard import figures, flows, loaders, selection, trends, ux_words
from session_core.dashboard.cards import Answer, Card, Page

BY = {"Policy": "policy", "App version": "app_version", "Device": "device", "Scenario": "scenario"}
BY_KEY, BY_DEFAULT = "by", "App version"
PARTS_PX, MULTIPLES_PX = 330, 360


def chosen() -> str:
    """The dimension that the page is told apart by, from its control or the address."""
    said = st.session_state.get(BY_KEY) or selection.said([BY_KEY]).get(BY_KEY, BY_DEFAULT)
    return BY.get(said, BY[BY_DEFAULT])


def control() -> None:
    selection.draw_by("By", BY_KEY, BY, BY_DEFAULT)


def page(dimension):  # noqa: ANN001, ANN201 - the page as it is told apart
    named = next(label for label, name in BY.items() if name == dimension).lower()
    cards = (
        Card("ux_score", "UX score", _score, height_px=300, opens="observe/sessions.py"),
        Card("ux_why", "Why this score?", _why, height_px=300),
        Card("ux_parts", "Its parts", _parts, height_px=PARTS_PX),
        Card(f"ux_by_{dimension}", f"Score by {named}", partial(_by, dimension), height_px=MULTIPLES_PX),
        Card(f"ux_table_{dimension}", f"Figures by {named}", partial(_table, dimension), is_table=True),
    )
    return Page("UX trends", _answer, cards)


def _answer(view) -> str:  # noqa: ANN001 - what is looked at
    return ux_words.trends_sentence(*loaders.scored(view))


def _score(view):  # noqa: ANN001, ANN202
    now, before = loaders.load_both("ux", view)
    marks = figures.releases(loaders.load("releases", view.span, view.filters))
    troubles = figures.incidents(loaders.load("incidents", view.span, view.filters))
    figure = trends.over_time(now, before, view.span, ux_words.SCORE, zone=view.zone, marks=(*marks, *troubles))
    return Answer(now, ux_words.score_alt(now), figure)


def _why(view):  # noqa: ANN001, ANN202
    scored, _ = loaders.scored(view)
    losses = ux_words.losses(scored)
    shown = losses if scored.sessions else losses.head(0)
    return Answer(shown, ux_words.losses_alt(scored), flows.waterfall(losses, scored.score))


def _parts(view):  # noqa: ANN001, ANN202
    now, before = (
        None if frame is None else ux_words.parts_over_time(frame) for frame in loaders.load_both("ux", view)
    )
    figure = trends.multiples(now, before, view.span, ux_words.PART, by="part", zone=view.zone)
    return Answer(now, ux_words.parts_alt(now), figure)


def _by(dimension, view):  # noqa: ANN001, ANN202
    now, before = loaders.load_both(f"ux_over_time_by_{dimension}", view)
    figure = trends.multiples(now, before, view.span, ux_words.SCORE, by="value", zone=view.zone)
    return Answer(now, ux_words.by_alt(loaders.load(f"ux_by_{dimension}", view.span, view.filters)), figure)


def _table(dimension, view):  # noqa: ANN001, ANN202
    found = loaders.load(f"ux_by_{dimension}", view.span, view.filters)
    return Answer(ux_words.by_table(found), ux_words.by_alt(found))
