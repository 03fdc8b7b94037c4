"""What every chart begins with and ends as: an empty figure of the house, its time axis, and the file's HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow as pa
from plotly.offline import get_plotlyjs

from session_core.dashboard import theme
from session_core.store import TimeRange

TALL_PX, LOW_PX = 230, 170
FEW = 5
GRID = "rgba(125,135,148,0.25)"
MARGIN = {"l": 8, "r": 8, "t": 24, "b": 8}
# Room for a time of day and a date below it; a fixed one, so that nothing jumps once a browser has measured them.
TIME_AXIS_PX = 40
NO_TOOLS = {"displayModeBar": False, "responsive": True}
# More labels than these would cover each other, and more lines the chart.
LABELS_MAX, MARKS_MAX = 8, 40
LABEL_ROWS, LABEL_ROW_PX = 3, 13


class Mark(NamedTuple):
    """A moment worth a line: a release, or an incident, which may last."""

    at_s: float
    label: str
    incident: bool = False
    until_s: float | None = None


def releases(first_seen: pd.DataFrame) -> tuple[Mark, ...]:
    """A mark for each version of the app: happened_at, app_version."""
    rows = zip(first_seen["happened_at"], first_seen["app_version"], strict=True)
    return tuple(Mark(happened_at.timestamp(), str(version)) for happened_at, version in rows)


def incidents(told: pd.DataFrame) -> tuple[Mark, ...]:
    """A mark for each incident: happened_at, ended_at (or NaT), label."""
    rows = zip(told["happened_at"], told["ended_at"], told["label"], strict=True)
    return tuple(
        Mark(began.timestamp(), str(label), incident=True, until_s=None if pd.isna(ended) else ended.timestamp())
        for began, ended, label in rows
    )


def blank(height_px: int, unit: str, span: TimeRange | None, *, zone: str = "UTC", most: float = math.inf) -> go.Figure:
    """An empty figure; `most` is the highest value, for counts of a few have no ticks between whole numbers."""
    # The margin is the figure's own, because Streamlit's theme has another for every template.
    figure = go.Figure(layout={"template": theme.TEMPLATE, "height": height_px, "margin": MARGIN})
    if unit:
        figure.update_yaxes(title={"text": unit}, exponentformat="SI", dtick=1 if most <= FEW else None)
    if span is not None:
        start, end = (moment(at_s).astimezone(ZoneInfo(zone)) for at_s in (span.start_s, span.end_s))
        figure.update_xaxes(type="date", range=[start, end], hoverformat="%d %b %H:%M", automargin=False)
        figure.update_layout(margin={"b": TIME_AXIS_PX})
    return figure


def marked(figure: go.Figure, marks: Sequence[Mark], span: TimeRange, *, zone: str = "UTC") -> go.Figure:
    """With a line and a label where something happened: dotted for a release, dashed for an incident."""
    inside = sorted((mark for mark in marks if _within(mark, span)), reverse=True)[:MARKS_MAX]
    if not inside:
        return figure
    room_px = LABEL_ROW_PX * min(LABEL_ROWS, len(inside))
    named = [mark for mark in inside if not mark.incident][:LABELS_MAX]
    labelled = [*named, *(mark for mark in inside if mark.incident)]
    return figure.update_layout(
        shapes=[_line(mark, span, zone) for mark in inside],
        annotations=[_label(mark, place, span, zone) for place, mark in enumerate(labelled)],
        height=figure.layout.height + room_px,
        margin={"t": MARGIN["t"] + room_px},
        legend={"yref": "container", "y": 1, "yanchor": "top"},
    )


def fitted(figure: go.Figure, height_px: int) -> go.Figure:
    """As high as its place."""
    return figure.update_layout(height=height_px)


class Finished(go.Figure):  # type: ignore[misc]
    """A figure that does not change any more, so that what a browser is sent is made of it once, not for each reader."""

    def __init__(self, figure: go.Figure) -> None:
        super().__init__(figure)
        self._sent = json.loads(figure.to_json())

    def to_dict(self) -> Any:
        return self._sent


def sendable(table: pd.DataFrame) -> pa.Table:
    """What a browser is sent of a table, made of it once, not for each reader."""
    return pa.Table.from_pandas(table)


def local(moments: pd.Index, zone: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(moments).tz_convert(zone)


def buckets(span: TimeRange) -> pd.DatetimeIndex:
    width_s = span.bucket_width_s
    first = int(span.start_s // width_s) * width_s
    return pd.date_range(moment(first), moment(span.end_s), freq=f"{width_s}s", inclusive="left", unit="us")


def moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def as_html(figure: go.Figure, name: str) -> str:
    """The figure for a page that holds plotly_script() once."""
    written: str = pio.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        config={"displaylogo": False, "responsive": True},
        div_id=name,
        default_height=f"{figure.layout.height}px",
    )
    return written


def plotly_script() -> str:
    script: str = get_plotlyjs()
    return script


def _within(mark: Mark, span: TimeRange) -> bool:
    return mark.at_s < span.end_s and span.start_s <= (mark.at_s if mark.until_s is None else mark.until_s)


def _line(mark: Mark, span: TimeRange, zone: str) -> dict[str, object]:
    start = _begin(mark, span, zone)
    common = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "x0": start, "layer": "below"}
    if mark.until_s is None:
        dash = "dash" if mark.incident else "dot"
        return {**common, "type": "line", "x1": start, "line": {"color": _colour(mark), "width": 1.5, "dash": dash}}
    until = moment(min(mark.until_s, span.end_s)).astimezone(ZoneInfo(zone))
    edge = {"color": _colour(mark), "width": 1, "dash": "dash"}
    return {**common, "type": "rect", "x1": until, "fillcolor": _colour(mark), "opacity": 0.18, "line": edge}


def _label(mark: Mark, place: int, span: TimeRange, zone: str) -> dict[str, object]:
    late = mark.at_s > span.start_s + 0.75 * (span.end_s - span.start_s)
    return {
        "x": _begin(mark, span, zone),
        "xref": "x",
        "y": 1,
        "yref": "paper",
        "yshift": 0 if mark.incident else LABEL_ROW_PX * (1 + place % (LABEL_ROWS - 1)),
        # Incidents are many and their names long: they are said beside the pointer.
        "text": "✕" if mark.incident else f"▲ {mark.label}",
        "hovertext": mark.label,
        "font": {"size": 10},
        "showarrow": False,
        "yanchor": "bottom",
        "xanchor": "right" if late else "left",
    }


def _begin(mark: Mark, span: TimeRange, zone: str) -> datetime:
    return moment(max(mark.at_s, span.start_s)).astimezone(ZoneInfo(zone))


def _colour(mark: Mark) -> str:
    return theme.TROUBLE if mark.incident else theme.NEUTRAL
