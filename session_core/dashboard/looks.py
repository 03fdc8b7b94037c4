"""How a timeline's marks and stretches are drawn: colour by what it means, and a shape or hatch so that none needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from session_core.dashboard import theme
from session_core.dashboard.lanes import Look
from session_core.vocabulary import State


class MarkStyle(NamedTuple):
    colour: str
    symbol: str
    size_px: int = 9


class SpanStyle(NamedTuple):
    colour: str
    hatch: str = ""


MARKS: Mapping[Look, MarkStyle] = {
    Look.ACTED: MarkStyle(theme.NEUTRAL, "circle-open", 6),
    Look.ANSWERED: MarkStyle(theme.WELL, "circle", 8),
    Look.STALE: MarkStyle(theme.STATE_COLOURS[State.DEGRADED], "diamond"),
    Look.ERROR: MarkStyle(theme.FAILURE, "x", 10),
    Look.SIGN_IN: MarkStyle(theme.STATE_COLOURS[State.EXPIRED], "square-x", 11),
    Look.SIGNED_IN: MarkStyle(theme.ACCENT, "star", 11),
    Look.CHANGED: MarkStyle(theme.NEUTRAL, "diamond-open", 10),
    Look.LOST: MarkStyle(theme.TROUBLE, "x-open", 10),
    Look.FAULT: MarkStyle(theme.TROUBLE, "triangle-down", 11),
    Look.NOTED: MarkStyle(theme.STATE_COLOURS[State.RECOVERING], "hexagon", 10),
    Look.SERVED: MarkStyle(theme.WELL, "line-ns-open", 12),
    Look.CACHED: MarkStyle(theme.ACCENT, "diamond", 8),
    Look.FAILED: MarkStyle(theme.FAILURE, "x", 9),
    Look.REFRESHED: MarkStyle(theme.STATE_COLOURS[State.REFRESHING], "triangle-up", 11),
    Look.RETRY: MarkStyle(theme.TROUBLE, "x-thin-open", 11),
}
SPANS: Mapping[Look | State, SpanStyle] = {
    Look.ASLEEP: SpanStyle(theme.STATE_COLOURS[State.SUSPENDED], "/"),
    Look.STALLED: SpanStyle(theme.STATE_COLOURS[State.SUSPENDED], "x"),
    Look.THROTTLED: SpanStyle(theme.NEUTRAL, "-"),
    Look.OFF: SpanStyle(theme.STATE_COLOURS[State.SIGNED_OUT]),
    Look.DISK: SpanStyle(theme.TROUBLE, "."),
    Look.DOWN: SpanStyle(theme.STATE_COLOURS[State.OFFLINE]),
    Look.SLOW: SpanStyle(theme.STATE_COLOURS[State.DEGRADED], "-"),
    Look.LOSSY: SpanStyle(theme.STATE_COLOURS[State.DEGRADED], "."),
    Look.PORTAL: SpanStyle(theme.STATE_COLOURS[State.EXPIRED], "x"),
    Look.FAULT: SpanStyle(theme.TROUBLE),
    Look.EXPIRED: SpanStyle(theme.STATE_COLOURS[State.EXPIRED], "/"),
    **{state: SpanStyle(colour, theme.STATE_HATCHES.get(state, "")) for state, colour in theme.STATE_COLOURS.items()},
}
