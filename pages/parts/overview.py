"""What the overview is made of."""

from functools import partial

from session_core.dashboard import charts, figures, loaders, wording
from session_core.dashboard.cards import Answer, Card, Page


def _answer(view) -> str:  # noqa: ANN001 - what is looked at
    return wording.overview_sentence(wording.measures(loaders.load("headline", view.span, view.filters)))


def _states(view):  # noqa: ANN001, ANN202
    states = loaders.load("sessions_by_state", view.span, view.filters)
    return Answer(states, wording.states_alt(states), charts.states_over_time(states, view.span, zone=view.zone))


def _bands(view):  # noqa: ANN001, ANN202
    bands = loaders.load("sessions_by_band", view.span, view.filters)
    return Answer(bands, wording.bands_alt(bands), charts.bands_now(bands))


def _counts(question, view):  # noqa: ANN001, ANN202
    drawn, counts = charts.COUNTED[question], loaders.load(question, view.span, view.filters)
    alt = wording.counts_alt(counts, drawn.title, by=drawn.by, of=drawn.of)
    return Answer(counts, alt, charts.counts_over_time(counts, view.span, drawn, zone=view.zone))


PAGE = Page(
    "Overview",
    _answer,
    (
        Card("states", "Sessions by state", _states),
        Card("bands", "Health bands now", _bands, height_px=64),
        *(
            Card(question, drawn.title, partial(_counts, question), height_px=figures.LOW_PX)
            for question, drawn in charts.COUNTED.items()
        ),
    ),
)
