"""Charts of sessions, tokens and runs, each a figure from a DataFrame or a value; time runs from left to right."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from session_core.dashboard import theme
from session_core.dashboard.figures import GRID, LOW_PX, TALL_PX, blank, buckets, local, moment
from session_core.dashboard.wording import part_name
from session_core.session_health import HealthScore, band
from session_core.store import TimeRange
from session_core.vocabulary import Band, State


class CountedView(NamedTuple):
    """How a count over time is drawn: stacked `by` a word, counting `of`."""

    title: str
    by: str
    of: str
    colours: Mapping[str, str]


COUNTED: Mapping[str, CountedView] = {
    "refreshes": CountedView("Refreshes", "outcome", "refreshes", theme.OUTCOME_COLOURS),
    "retries": CountedView(
        "Retries", "call", "retries", {"token": theme.ACCENT, "api_read": "#8e5bd0", "api_write": theme.TROUBLE}
    ),
    "errors": CountedView(
        "API errors", "error", "errors", {"auth": theme.FAILURE, "throttled": theme.ACCENT, "network": theme.NEUTRAL}
    ),
    "fallbacks": CountedView("Fallback steps", "outcome", "tries", theme.STEP_COLOURS),
}
# A policy is told by its shape; colour would mean a state.
POLICY_MARKS = (("circle", theme.ACCENT), ("diamond", theme.NEUTRAL), ("square", "#8e5bd0"), ("triangle-up", "#14919b"))


def states_over_time(sessions: pd.DataFrame, span: TimeRange, *, zone: str = "UTC") -> go.Figure:
    """Sessions by state, stacked, each bucket of the range drawn; `zone` is the reader's."""
    wide = sessions.pivot_table(index="bucket", columns="state", values="sessions", fill_value=0)
    wide = wide.reindex(buckets(span), fill_value=0)
    wide.loc[moment(span.end_s)] = wide.iloc[-1]
    figure = blank(TALL_PX, "Sessions", span, zone=zone, most=float(wide.sum(axis=1).max()))
    for state in (state for state in State if state in wide.columns):
        hatch = theme.STATE_HATCHES.get(state, "")
        figure.add_scatter(
            x=local(wide.index, zone),
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
    figure = blank(64, "", None)
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
        barmode="stack",
        showlegend=False,
        hovermode="closest",
        xaxis={"visible": False, "range": [0, max(1, int(sessions["sessions"].sum()))]},
        yaxis={"visible": False},
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
    )


def counts_over_time(counts: pd.DataFrame, span: TimeRange, view: CountedView, *, zone: str = "UTC") -> go.Figure:
    """How often, in columns stacked by a word."""
    wide = counts.pivot_table(index="bucket", columns=view.by, values=view.of, aggfunc="sum", fill_value=0)
    most = float(wide.sum(axis=1).max()) if len(wide) else 0.0
    figure = blank(LOW_PX, view.of.capitalize(), span, zone=zone, most=most)
    for word in sorted(wide.columns, key=lambda word: (word not in view.colours, word)):
        figure.add_bar(
            x=local(wide.index, zone),
            y=wide[word],
            name=str(word).replace("_", " ").capitalize(),
            width=span.bucket_width_s * 850,
            offset=0,
            marker={
                "color": view.colours.get(word, theme.TROUBLE),
                "line": {"width": 0.5, "color": "rgba(255,255,255,.6)"},
            },
            hovertemplate="%{y:,}",
        )
    return figure.update_layout(barmode="stack")


def health_parts(score: HealthScore) -> go.Figure:
    """Each part as a bar from 0 to 100 in its band's colour, the lowest last and named."""
    parts = sorted(score.parts._asdict().items(), key=lambda part: -part[1])
    names = [part_name(name) for name, _ in parts]
    figure = blank(LOW_PX, "", None)
    figure.add_bar(
        x=[max(value, 0.6) for _, value in parts],
        y=names,
        orientation="h",
        marker={"color": [theme.BAND_COLOURS[band(value)] for _, value in parts]},
        text=[f"{value:.0f}" for _, value in parts],
        textposition="outside",
        constraintext="none",
        textfont={"size": 11},
        cliponaxis=False,
        hovertemplate="%{y}: %{text} of 100<extra></extra>",
    )
    return figure.update_layout(
        hovermode="closest",
        showlegend=False,
        xaxis={"range": [0, 112], "tickvals": [0, 20, 40, 60, 80, 100], "showgrid": True, "tickfont": {"size": 10}},
        yaxis={"categoryorder": "array", "categoryarray": names[::-1], "showgrid": False, "tickfont": {"size": 11}},
        bargap=0.35,
        margin={"t": 0, "b": 0, "l": 0, "r": 0},
    )


def token_life(*, life_s: float, left_s: float, refresh_left_s: float) -> go.Figure:
    """What is left of the access token, with the moment at which it is refreshed."""
    left_s = min(max(left_s, 0.0), life_s)
    gone_s = life_s - left_s
    refresh_at = min(max(gone_s + refresh_left_s, 0.0), life_s)
    unit_s, unit = (60.0, "min") if life_s >= 600 else (1.0, "s")
    late = refresh_left_s <= 0
    figure = blank(104, "", None)
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
        margin={"t": 26, "b": 24, "l": 0, "r": 0},
    )


def measure_by_scenario(runs: pd.DataFrame, measure: str, unit: str) -> go.Figure:
    """Each scenario's median under each policy, with the range over its seeds."""
    scenarios = list(dict.fromkeys(runs["scenario"]))
    figure = blank(90 + 22 * len(scenarios), "", None)
    for (policy, made), (symbol, colour) in zip(
        runs.groupby("policy", sort=False), itertools.cycle(POLICY_MARKS), strict=False
    ):
        found = made.groupby("scenario", sort=False)[measure].agg(["median", "min", "max"]).dropna()
        figure.add_scatter(
            x=found["median"],
            y=found.index,
            name=str(policy),
            mode="markers",
            marker={"symbol": symbol, "size": 9, "color": colour},
            error_x={
                "array": found["max"] - found["median"],
                "arrayminus": found["median"] - found["min"],
                "thickness": 1.2,
                "width": 0,
            },
            hovertemplate="%{y}: %{x:,.4~g}",
        )
    figure.update_yaxes(categoryorder="array", categoryarray=scenarios[::-1], showgrid=True, tickfont={"size": 11})
    figure.update_xaxes(title={"text": unit}, showgrid=True, gridcolor=GRID, rangemode="tozero")
    return figure.update_layout(hovermode="closest")
