"""What the page of errors is made of."""

from functools import partial

import streamlit as st

from session_core.dashboard import error_charts, error_words, figures, flows, loaders, selection, theme, trends, wording
from session_core.dashboard.cards import Answer, Card, Page
from session_core.vocabulary import State

BY = {"Endpoint": "route", "Policy": "policy", "Device": "device", "App version": "app_version"}
BY_KEY, BY_DEFAULT = "rates_by", "Endpoint"
FLOW_COLOURS = {**flows.FLOW_COLOURS, "Asked to sign in": theme.STATE_COLOURS[State.EXPIRED]}
KINDS_PX = 320


def chosen() -> str:
    """What rates are told apart by, from its control or the address."""
    said = st.session_state.get(BY_KEY) or selection.said([BY_KEY]).get(BY_KEY, BY_DEFAULT)
    return BY.get(said, BY[BY_DEFAULT])


def control() -> None:
    selection.draw_by("Rates by", BY_KEY, BY, BY_DEFAULT)


def page(dimension):  # noqa: ANN001, ANN201 - the page as rates are told apart
    label = next(label for label, name in BY.items() if name == dimension).lower()
    cards = (
        Card("error_rate", "Visible errors over time", _over_time),
        Card("error_classes", "By class", _classes),
        Card(f"error_rate_by_{dimension}", f"Visible errors by {label}", partial(_by, dimension, label)),
        Card("sign_outs", "Why sessions ended", _sign_outs),
        Card("refresh_flow", "What became of refreshes", _flow, height_px=flows.FLOW_PX),
        Card("error_kinds", "Kinds of trouble", _kinds, height_px=KINDS_PX, is_table=True),
        Card("values", "How long, how early, how often", _values, height_px=290, is_table=True),
    )
    return Page("Errors", _answer, cards)


def _answer(view) -> str:  # noqa: ANN001 - what is looked at
    asked = [loaders.load(question, view.span, view.filters) for question in ("errors_by_route", "refresh_flow")]
    headline = wording.measures(loaders.load("headline", view.span, view.filters))
    return error_words.answer(headline, *asked, compare=view.compare)


def _both(told, view):  # noqa: ANN001, ANN202 - rates of now and of the period before
    both = zip(loaders.load_both("errors", view), loaders.load_both("request_times", view), strict=True)
    return [None if errors is None else told(errors, times) for errors, times in both]


def _over_time(view):  # noqa: ANN001, ANN202
    now, before = _both(error_words.rates, view)
    marks = figures.releases(loaders.load("releases", view.span, view.filters))
    troubles = figures.incidents(loaders.load("incidents", view.span, view.filters))
    figure = trends.over_time(now, before, view.span, error_words.RATE, zone=view.zone, marks=(*marks, *troubles))
    return Answer(now, error_words.rates_alt(now), figure)


def _classes(view):  # noqa: ANN001, ANN202
    now, before = _both(error_words.rates_by_class, view)
    figure = trends.multiples(now, before, view.span, error_words.RATE, by="error", zone=view.zone)
    return Answer(now, error_words.classes_alt(now), figure)


def _by(dimension, label, view):  # noqa: ANN001, ANN202
    found = loaders.load(f"errors_by_{dimension}", view.span, view.filters)
    return Answer(found, error_words.breakdown_alt(found, label), error_charts.rates(found))


def _sign_outs(view):  # noqa: ANN001, ANN202
    reasons = loaders.load("sign_outs", view.span, view.filters)
    return Answer(reasons, error_words.sign_outs_alt(reasons), error_charts.sign_outs(reasons, compare=view.compare))


def _flow(view):  # noqa: ANN001, ANN202
    links = error_words.shown_flow(loaders.load("refresh_flow", view.span, view.filters))
    return Answer(links, error_words.flow_alt(links), flows.flow(links, of="times", colours=FLOW_COLOURS))


def _kinds(view):  # noqa: ANN001, ANN202
    table = error_words.kinds_table(loaders.load("error_kinds", view.span, view.filters))
    return Answer(table, error_words.kinds_alt(table))


def _values(view):  # noqa: ANN001, ANN202
    table = error_words.values_table(loaders.load("values", view.span, view.filters))
    return Answer(table, error_words.values_alt(table))
