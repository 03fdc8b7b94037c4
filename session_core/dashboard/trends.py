"""Values over time, one or many of them, with the period before dashed and pale behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from session_core.dashboard import theme
from session_core.dashboard.charts import CountedView
from session_core.dashboard.figures import (
    LOW_PX,
    MARGIN,
    TALL_PX,
    TIME_AXIS_PX,
    Mark,
    blank,
    buckets,
    local,
    marked,
    moment,
)
from session_core.store import TimeRange

PANELS_MAX, PANELS_ACROSS, PANEL_PX = 6, 3, 150
POINT_PX = 5
BEFORE = "Period before"


class Measure(NamedTuple):
    """A value over time: the column it is in, the unit on its axis, and how its figures are written (d3-format).

    `total` is the column that says of how many; a rate over nothing is a gap, while a count of nothing is 0.
    """

    name: str
    column: str
    unit: str
    written: str = ",.3~s"
    total: str | None = None
    gaps: bool = True
    top: float | None = None


def over_time(
    now: pd.DataFrame,
    before: pd.DataFrame | None,
    span: TimeRange,
    measure: Measure,
    *,
    zone: str = "UTC",
    marks: Sequence[Mark] = (),
) -> go.Figure:
    """`now` and `before` have a row for each bucket of `span` and of the range before it in which something was."""
    figure = blank(TALL_PX, measure.unit, span, zone=zone, most=_most((now, before), measure))
    figure.add_traces(_lines(now, before, span, measure, zone))
    figure.update_yaxes(range=_scale((now, before), measure)).update_layout(legend={"traceorder": "reversed"})
    return marked(figure, marks, span, zone=zone)


def multiples(
    now: pd.DataFrame, before: pd.DataFrame | None, span: TimeRange, measure: Measure, *, by: str, zone: str = "UTC"
) -> go.Figure:
    """One small picture for each word in the column `by`, in the order they come in, all to the same scale."""
    words = list(dict.fromkeys(now[by]))[:PANELS_MAX]
    across = max(1, min(PANELS_ACROSS, len(words)))
    rows = max(1, -(-len(words) // across))
    figure = make_subplots(
        rows,
        across,
        shared_yaxes="all",
        subplot_titles=[str(word) for word in words],
        horizontal_spacing=0.03,
        vertical_spacing=0.3 / rows,
    )
    for place, word in enumerate(words):
        row, column = place // across + 1, place % across + 1
        theirs = None if before is None else before[before[by] == word]
        for line in _lines(now[now[by] == word], theirs, span, measure, zone):
            figure.add_trace(line.update(showlegend=False), row=row, col=column)
        figure.update_xaxes(showticklabels=place + across >= len(words), row=row, col=column)
    start, end = local(pd.DatetimeIndex([moment(span.start_s), moment(span.end_s)]), zone)
    figure.update_xaxes(range=[start, end], nticks=4, hoverformat="%d %b %H:%M", automargin=False)
    figure.update_yaxes(nticks=4, exponentformat="SI", range=_scale((now, before), measure))
    figure.update_yaxes(title={"text": measure.unit}, col=1)
    figure.update_annotations(font={"size": 12})
    return figure.update_layout(
        template=theme.TEMPLATE, height=PANEL_PX * rows + 30, margin=MARGIN | {"b": TIME_AXIS_PX}, hovermode="x"
    )


def shares_over_time(counts: pd.DataFrame, span: TimeRange, view: CountedView, *, zone: str = "UTC") -> go.Figure:
    """What part of all each word has, in columns of 100 %, with the counts beside the pointer."""
    wide = counts.pivot_table(index="bucket", columns=view.by, values=view.of, aggfunc="sum", fill_value=0)
    shares = wide.div(wide.sum(axis=1), axis=0) * 100
    figure = blank(LOW_PX, f"% of {view.of}", span, zone=zone)
    for word in sorted(wide.columns, key=lambda word: (word not in view.colours, word)):
        figure.add_bar(
            x=local(wide.index, zone),
            y=shares[word],
            customdata=wide[word],
            name=str(word).replace("_", " ").capitalize(),
            width=span.bucket_width_s * 850,
            offset=0,
            marker={"color": view.colours.get(word, theme.TROUBLE)},
            hovertemplate=f"%{{y:.3~g}} %, %{{customdata:,}} {view.of}",
        )
    return figure.update_layout(barmode="stack").update_yaxes(range=[0, 100], tickformat="~g")


def _lines(
    now: pd.DataFrame, before: pd.DataFrame | None, span: TimeRange, measure: Measure, zone: str
) -> list[go.Scatter]:
    places = local(buckets(span), zone)
    lines = [] if before is None or before.empty else [_before(before, span, measure, places, zone)]
    values, totals = _columns(now, span, measure)
    alone = values.notna() & values.shift(1).isna() & values.shift(-1).isna()
    suffix = "" if measure.total is None else " of %{customdata:,}"
    return [
        *lines,
        go.Scatter(
            x=places,
            y=values,
            customdata=totals,
            name=measure.name,
            # Only what has a marker can be clicked, also one that is too small to be seen.
            mode="lines+markers",
            line={"color": theme.ACCENT, "width": 2},
            marker={"size": alone * POINT_PX},
            selected={"marker": {"size": POINT_PX}},
            hovertemplate=f"%{{y:{measure.written}}}{suffix}",
        ),
    ]


def _before(before: pd.DataFrame, span: TimeRange, measure: Measure, places: pd.DatetimeIndex, zone: str) -> go.Scatter:
    """Each value stands where its bucket would be now, and says when it was."""
    values, _ = _columns(before, span.previous, measure)
    times = local(buckets(span.previous), zone)[: len(places)]
    return go.Scatter(
        x=places[: len(times)],
        y=values[: len(places)],
        customdata=times.strftime("%d %b %H:%M"),
        name=BEFORE,
        mode="lines",
        line={"color": theme.NEUTRAL, "width": 1.5, "dash": "dash"},
        opacity=0.55,
        hovertemplate=f"%{{y:{measure.written}}}, %{{customdata}}",
    )


def _columns(frame: pd.DataFrame, span: TimeRange, measure: Measure) -> tuple[pd.Series, pd.Series | None]:
    """The values of every bucket of the range, and of how many each is."""
    whole = frame.set_index("bucket").reindex(buckets(span))
    values = whole[measure.column].astype("float64")
    totals = None if measure.total is None else whole[measure.total].fillna(0)
    return values if measure.gaps else values.fillna(0), totals


def _scale(frames: Sequence[pd.DataFrame | None], measure: Measure) -> tuple[float, float] | None:
    """From zero; but where everything is near the top, only what is there, or no difference would be seen."""
    if measure.top is None:
        return None
    low = min((float(frame[measure.column].min()) for frame in frames if frame is not None and len(frame)), default=0.0)
    if not low > measure.top / 2:
        return 0.0, measure.top * 1.02
    if low >= measure.top:
        return measure.top * 0.95, measure.top * 1.005
    margin = max((measure.top - low) * 0.2, measure.top * 0.005)
    return low - margin, measure.top + margin / 2


def _most(frames: Sequence[pd.DataFrame | None], measure: Measure) -> float:
    """The highest count; of a rate the axis may be divided as it likes."""
    if measure.gaps:
        return float("inf")
    return max((float(frame[measure.column].max()) for frame in frames if frame is not None and len(frame)), default=0)
