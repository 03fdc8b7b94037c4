"""Burn rates beside what they fire at."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from session_core.dashboard import theme
from session_core.dashboard.figures import blank

ROW_PX = 27
# Past this many thresholds a bar is as long as it gets; its label says how far it goes.
SHARE_MAX = 2.0


def burn_rates(table: pd.DataFrame) -> go.Figure:
    """A bar for each window, as a share of what its rule fires at, which is one line for all of them."""
    rates = table["Burn rate"].fillna(0.0)
    shares = rates / table["Fires above"]
    names = [f"{rule} · {window}" for rule, window in zip(table["Rule"], table["Window"], strict=True)]
    figure = blank(56 + ROW_PX * len(table), "", None)
    figure.add_bar(
        x=shares.clip(0.004, SHARE_MAX),
        y=names,
        orientation="h",
        marker={
            "color": [_colour(share, bool(judged)) for share, judged in zip(shares, table["Judged"], strict=True)],
            "pattern": {"shape": ["" if judged else "/" for judged in table["Judged"]]},
        },
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[1.04 * SHARE_MAX] * len(table),
        y=names,
        mode="text",
        text=_labels(table),
        textposition="middle right",
        textfont={"size": 11},
        hoverinfo="skip",
    )
    figure.add_vline(x=1, line={"color": theme.FAILURE, "width": 1.5, "dash": "dot"})
    figure.add_annotation(x=1, y=1, yref="paper", yanchor="bottom", showarrow=False, text="fires", font={"size": 11})
    return figure.update_layout(
        showlegend=False,
        hovermode=False,
        xaxis={"visible": False, "range": [0, 2.2 * SHARE_MAX]},
        yaxis={"categoryorder": "array", "categoryarray": names[::-1], "tickfont": {"size": 11}, "showgrid": False},
        bargap=0.35,
        margin={"t": 20, "b": 4, "l": 0, "r": 0},
    )


def _labels(table: pd.DataFrame) -> list[str]:
    return [
        "not measured" if rate != rate else f"{rate:.3g} × of {threshold:g} ×"  # noqa: PLR0124 - NaN
        for rate, threshold in zip(table["Burn rate"], table["Fires above"], strict=True)
    ]


def _colour(share: float, judged: bool) -> str:  # noqa: FBT001 - private, and its only two callers' word for it
    if not judged:
        return theme.NEUTRAL
    return theme.FAILURE if share > 1 else theme.WELL
