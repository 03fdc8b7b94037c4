"""Colour means state and nothing else; each is told from both backgrounds (WCAG 2.2, 1.4.11: at least 3 to 1)."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from session_core.vocabulary import Band, Outcome, State, StepOutcome

BACKGROUND_LIGHT = "#ffffff"
BACKGROUND_DARK = "#10151c"

BAND_COLOURS: Mapping[Band, str] = {
    Band.EXCELLENT: "#1e8e4e",
    Band.GOOD: "#2f74d0",
    Band.FAIR: "#a38000",
    Band.POOR: "#d2691e",
    Band.CRITICAL: "#d13438",
}
STATE_COLOURS: Mapping[State, str] = {
    State.ACTIVE: "#1e8e4e",
    State.REFRESHING: "#14919b",
    State.RESUMING: "#14919b",
    State.DEGRADED: "#b87503",
    State.OFFLINE: "#7d8794",
    State.SUSPENDED: "#7d8794",
    State.RECOVERING: "#8e5bd0",
    State.LOCKED: "#9a6a43",
    State.EXPIRED: "#9a6a43",
    State.SIGNED_OUT: "#5c6b80",
    State.AUTHENTICATING: "#2f74d0",
}
# Of two states in one colour the second is hatched, so that a shape tells them apart as well as a word.
STATE_HATCHES: Mapping[State, str] = {State.RESUMING: "/", State.SUSPENDED: "/", State.EXPIRED: "/"}
WELL = "#1e8e4e"
TROUBLE = "#d2691e"
FAILURE = "#d13438"
NEUTRAL = "#7d8794"
ACCENT = "#2f74d0"
OUTCOME_COLOURS: Mapping[str, str] = {
    Outcome.OK: WELL,
    Outcome.TRANSIENT: TROUBLE,
    Outcome.THROTTLED: ACCENT,
    Outcome.AMBIGUOUS: "#8e5bd0",
    Outcome.OFFLINE: NEUTRAL,
    Outcome.CONFIG: "#9a6a43",
    Outcome.REJECTED: FAILURE,
}
STEP_COLOURS: Mapping[str, str] = {
    StepOutcome.OK: WELL,
    StepOutcome.LATER: TROUBLE,
    StepOutcome.FAILED: FAILURE,
    StepOutcome.SKIPPED: NEUTRAL,
    StepOutcome.UNAVAILABLE: "#9a6a43",
}

TEMPLATE = go.layout.Template(
    layout=go.Layout(
        font={"size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "title": {"text": ""}},
        xaxis={"showgrid": False, "automargin": True, "title": {"text": ""}},
        yaxis={"rangemode": "tozero", "automargin": True, "gridcolor": "rgba(125,135,148,0.25)", "zeroline": False},
        bargap=0.15,
    )
)


def contrast(colour: str, background: str) -> float:
    """WCAG 2.2's contrast ratio, 1 to 21, of two colours written as #rrggbb."""
    bright, dark = sorted((_luminance(colour), _luminance(background)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
