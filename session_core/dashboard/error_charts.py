"""Charts of what fails: rates with their bounds, and why sessions ended, now beside before."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from session_core.dashboard import theme
from session_core.dashboard.error_words import end_word
from session_core.dashboard.figures import GRID, TALL_PX, blank
from session_core.dashboard.trends import BEFORE
from session_core.store.descriptions import END_REASONS
from session_core.vocabulary import EndReason

ROWS_MAX = 12
NAME_MAX = 28


def rates(found: pd.DataFrame) -> go.Figure:
    """Visible errors of requests, the highest rate first, each with its bounds at 95 %: a row of error_rates_by each."""
    shown = found.head(ROWS_MAX)
    figure = blank(TALL_PX, "", None)
    figure.add_scatter(
        x=shown["percent"],
        y=[_short(str(value)) for value in shown["value"]],
        mode="markers",
        marker={"size": 9, "color": theme.ACCENT},
        error_x={
            "array": shown["high_percent"] - shown["percent"],
            "arrayminus": shown["percent"] - shown["low_percent"],
            "thickness": 1.4,
            "width": 3,
        },
        customdata=shown[["errors", "requests", "low_percent", "high_percent"]],
        hovertemplate=(
            "%{y}: %{x:,.3~g} %, %{customdata[0]:,} of %{customdata[1]:,} requests"
            "<br>between %{customdata[2]:,.3~g} and %{customdata[3]:,.3~g} % (95 %)<extra></extra>"
        ),
    )
    figure.update_yaxes(autorange="reversed", showgrid=True, tickfont={"size": 12})
    figure.update_xaxes(title={"text": "% of requests"}, showgrid=True, gridcolor=GRID, rangemode="tozero")
    return figure.update_layout(showlegend=False, hovermode="closest", margin={"t": 8})


def sign_outs(reasons: pd.DataFrame, *, compare: bool) -> go.Figure:
    """Ends of sessions by reason: reason, value, and previous as a pale bar below where it is compared with."""
    figure = blank(TALL_PX, "", None)
    words = [end_word(reason) for reason in reasons["reason"]]
    told = [END_REASONS[EndReason(reason)] for reason in reasons["reason"]]
    now = {"color": theme.ACCENT}
    hatch = {"shape": "/", "bgcolor": theme.NEUTRAL, "fgcolor": "#ffffff", "fgopacity": 0.4, "size": 7}
    before = {"color": theme.NEUTRAL, "opacity": 0.6, "pattern": hatch}
    for name, column, marker in (("Now", "value", now), (BEFORE, "previous", before))[: 2 if compare else 1]:
        figure.add_bar(
            x=reasons[column],
            y=words,
            orientation="h",
            name=name,
            marker=marker,
            text=[f"{count:,}" for count in reasons[column]],
            textposition="outside",
            cliponaxis=False,
            customdata=told,
            hovertemplate="%{x:,}: %{customdata}",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, tickfont={"size": 12})
    figure.update_xaxes(title={"text": "Sessions"}, showgrid=True, gridcolor=GRID, rangemode="tozero")
    return figure.update_layout(barmode="group", hovermode="closest", showlegend=compare, margin={"r": 48})


def _short(name: str) -> str:
    return name if len(name) <= NAME_MAX else f"…{name[1 - NAME_MAX :]}"
