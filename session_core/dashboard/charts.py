"""Every chart, each a figure from a DataFrame or a value; time always runs from left to right."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from session_core.dashboard import theme
from session_core.dashboard.wording import part_name
from session_core.session_health import HealthScore, band
from session_core.store import TimeRange
from session_core.vocabulary import Band, State

TALL_PX, LOW_PX = 260, 190
NO_TOOLS = {"displayModeBar": False, "responsive": True}


class CountedView(NamedTuple):
    """How a count over time is drawn: stacked `by` a word, counting `of`."""

    title: str
    by: str
    of: str
    colours: Mapping[str, str]


COUNTED: Mapping[str, CountedView] = {
    "refreshes": CountedView("Refreshes", "outcome", "refreshes", {"ok": theme.WELL, "rejected": theme.FAILURE}),
    "retries": CountedView("Retries", "call", "retries", {"token": theme.ACCENT, "api_read": theme.NEUTRAL}),
    "errors": CountedView("API errors", "error", "errors", {"auth": theme.FAILURE, "throttled": theme.ACCENT}),
    "fallbacks": CountedView(
        "Fallback steps",
        "outcome",
        "tries",
        {"ok": theme.WELL, "skipped": theme.NEUTRAL, "unavailable": theme.NEUTRAL, "failed": theme.FAILURE},
    ),
}


def states_over_time(sessions: pd.DataFrame, span: TimeRange) -> go.Figure:
    """Sessions by state, stacked, each bucket of the range drawn."""
    wide = sessions.pivot_table(index="bucket", columns="state", values="sessions", fill_value=0)
    wide = wide.reindex(_buckets(span), fill_value=0)
    figure = _figure(TALL_PX, "Sessions", span)
    for state in (state for state in State if state in wide.columns):
        hatch = theme.STATE_HATCHES.get(state, "")
        figure.add_scatter(
            x=wide.index,
            y=wide[state],
            name=state.replace("_", " ").capitalize(),
            stackgroup="sessions",
            mode="lines",
            line={"width": 0.8, "color": theme.STATE_COLOURS[state], "shape": "hv"},
            fillcolor=theme.STATE_COLOURS[state],
            fillpattern={"shape": hatch, "fgcolor": "#ffffff", "size": 6} if hatch else None,
            hovertemplate="%{y:,}",
        )
    return figure


def bands_now(sessions: pd.DataFrame) -> go.Figure:
    """Running sessions by health band: one bar, with its counts and words in it."""
    figure = _figure(120, "", None)
    for name, count in zip(sessions["band"], sessions["sessions"], strict=True):
        word = Band(name)
        figure.add_bar(
            x=[count],
            y=[""],
            orientation="h",
            name=word.capitalize(),
            marker={"color": theme.BAND_COLOURS[word]},
            text=f"{word.capitalize()} {count:,}",
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": "#ffffff"},
            hovertemplate=f"{word.capitalize()}: %{{x:,}} sessions<extra></extra>",
        )
    return figure.update_layout(
        barmode="stack", showlegend=False, hovermode="closest", xaxis={"visible": False}, yaxis={"visible": False}
    )


def counts_over_time(
    counts: pd.DataFrame, span: TimeRange, *, by: str, of: str, colours: Mapping[str, str]
) -> go.Figure:
    """How often, in columns stacked by a word; `colours` says which words are good and which are not."""
    figure = _figure(LOW_PX, of.capitalize(), span)
    wide = counts.pivot_table(index="bucket", columns=by, values=of, aggfunc="sum", fill_value=0)
    for word in sorted(wide.columns, key=lambda word: (word not in colours, word)):
        figure.add_bar(
            x=wide.index,
            y=wide[word],
            name=str(word).replace("_", " ").capitalize(),
            width=span.bucket_width_s * 850,
            offset=0,
            marker={"color": colours.get(word, theme.TROUBLE), "line": {"width": 0.5, "color": "rgba(255,255,255,.6)"}},
            hovertemplate="%{y:,}",
        )
    return figure.update_layout(barmode="stack")


def health_parts(score: HealthScore) -> go.Figure:
    """Each part as a bar from 0 to 100 in its band's colour, the lowest last and named."""
    parts = sorted(score.parts._asdict().items(), key=lambda part: -part[1])
    names = [part_name(name) for name, _ in parts]
    figure = _figure(TALL_PX, "", None)
    figure.add_bar(
        x=[max(value, 0.6) for _, value in parts],
        y=names,
        orientation="h",
        marker={"color": [theme.BAND_COLOURS[band(value)] for _, value in parts]},
        text=[f"{value:.0f}" for _, value in parts],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{text} of 100<extra></extra>",
    )
    return figure.update_layout(
        hovermode="closest",
        showlegend=False,
        xaxis={"range": [0, 112], "tickvals": [0, 20, 40, 60, 80, 100], "showgrid": True},
        yaxis={"categoryorder": "array", "categoryarray": names[::-1], "showgrid": False},
        bargap=0.35,
    )


def token_life(*, life_s: float, left_s: float, refresh_left_s: float) -> go.Figure:
    """What is left of the access token, with the moment at which it is refreshed."""
    left_s = min(max(left_s, 0.0), life_s)
    gone_s = life_s - left_s
    refresh_at = min(max(gone_s + refresh_left_s, 0.0), life_s)
    unit_s, unit = (60.0, "min") if life_s >= 600 else (1.0, "s")
    late = refresh_left_s <= 0
    figure = _figure(96, "", None)
    figure.add_bar(x=[gone_s / unit_s], y=[""], orientation="h", marker={"color": theme.NEUTRAL}, opacity=0.22)
    figure.add_bar(
        x=[left_s / unit_s], y=[""], orientation="h", marker={"color": theme.TROUBLE if late else theme.ACCENT}
    )
    figure.add_vline(x=refresh_at / unit_s, line={"color": theme.NEUTRAL, "width": 2, "dash": "dot"})
    figure.add_annotation(
        x=refresh_at / unit_s, y=1, yref="paper", yanchor="bottom", xanchor="right", showarrow=False, text="refresh due"
    )
    return figure.update_layout(
        barmode="stack",
        showlegend=False,
        hovermode=False,
        xaxis={"range": [0, life_s / unit_s], "title": {"text": ""}, "ticksuffix": f" {unit}", "nticks": 6},
        yaxis={"visible": False},
        bargap=0.3,
        margin={"t": 22},
    )


def _figure(height_px: int, unit: str, span: TimeRange | None) -> go.Figure:
    figure = go.Figure(layout={"template": theme.TEMPLATE, "height": height_px})
    if unit:
        figure.update_yaxes(title={"text": unit}, tickformat="~s")
    if span is not None:
        figure.update_xaxes(type="date", range=[_moment(span.start_s), _moment(span.end_s)])
    return figure


def _buckets(span: TimeRange) -> pd.DatetimeIndex:
    width_s = span.bucket_width_s
    first = int(span.start_s // width_s) * width_s
    return pd.date_range(_moment(first), _moment(span.end_s), freq=f"{width_s}s", inclusive="left", unit="us")


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
