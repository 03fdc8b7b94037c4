"""The picture of one session, or of several one below the other, over one axis of time that all lanes share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pandas as pd
import plotly.graph_objects as go

from session_core.dashboard import theme
from session_core.dashboard.lanes import Lane, Life, Look, Mark, Moment, Span, Timeline, when
from session_core.dashboard.looks import MARKS, SPANS, SpanStyle
from session_core.events import Event
from session_core.store.descriptions import describe
from session_core.vocabulary import State

ROW_PX, TITLE_ROWS, BAR, TALL = 40, 0.9, 0.56, 0.42
TOOLS = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtons": [["zoomIn2d", "zoomOut2d", "pan2d", "zoom2d", "resetScale2d"]],
}


class Panel(NamedTuple):
    """A timeline with its title; `shift_s` moves it so that several begin together."""

    title: str
    timeline: Timeline
    shift_s: float = 0.0


class _Row(NamedTuple):
    panel: int
    lane: Lane
    at: float


def timelines(
    panels: Sequence[Panel], *, zone: str = "UTC", focus: tuple[float, float] | None = None, title: bool = True
) -> go.Figure:
    """A mark's `customdata` is its panel and the place of its event in that timeline. `focus` is what is shown first."""
    rows = _rows(panels, title=title)
    figure = go.Figure(
        layout={
            "template": theme.TEMPLATE,
            "height": int(ROW_PX * (-min(row.at for row in rows.values()) + 0.6)) + 44,
            "margin": {"l": 8, "r": 12, "t": 8, "b": 24},
            "hovermode": "closest",
            "barmode": "overlay",
            "showlegend": False,
            "dragmode": "zoom",
            "uniformtext": {"minsize": 9, "mode": "hide"},
        }
    )
    _axes(figure, panels, list(rows.values()), zone=zone, focus=focus, title=title)
    for number, panel in enumerate(panels):
        drawing = _Drawing(figure, panel, number, {lane: rows[number, lane].at for lane in Lane}, zone)
        drawing.lives(panel.timeline.lives)
        drawing.spans(panel.timeline.spans)
        drawing.marks(panel.timeline.marks)
    return figure


def picked(selection: Any) -> tuple[int, int] | None:
    """The panel and the event's place of the mark that was clicked, from Plotly's selection."""
    for point in selection.points if selection else ():
        data = point.get("customdata")
        if data is not None and len(data) == 2:
            return int(data[0]), int(data[1])
    return None


def _rows(panels: Sequence[Panel], *, title: bool) -> dict[tuple[int, Lane], _Row]:
    rows: dict[tuple[int, Lane], _Row] = {}
    at = 0.0
    for number in range(len(panels)):
        at -= TITLE_ROWS if title else 0.2
        for lane in Lane:
            rows[number, lane] = _Row(number, lane, at)
            at -= 1
    return rows


def _axes(
    figure: go.Figure,
    panels: Sequence[Panel],
    rows: Sequence[_Row],
    *,
    zone: str,
    focus: tuple[float, float] | None,
    title: bool,
) -> None:
    began_s = min(panel.timeline.began_s + panel.shift_s for panel in panels)
    ended_s = max(panel.timeline.ended_s + panel.shift_s for panel in panels)
    room_s = max((ended_s - began_s) * 0.01, 1.0)
    shown = focus or (began_s - room_s, ended_s + room_s)
    figure.update_xaxes(
        type="date",
        range=[_moment(at_s, zone) for at_s in shown],
        showgrid=True,
        gridcolor="rgba(125,135,148,0.18)",
        tickformatstops=_TICKS,
        title={"text": f"Time of day ({zone})", "font": {"size": 11}},
    )
    figure.update_yaxes(
        tickvals=[row.at for row in rows],
        ticktext=[row.lane.value for row in rows],
        range=[rows[-1].at - 0.6, 0.3 if title else 0.4],
        fixedrange=True,
        showgrid=False,
        rangemode="normal",
        tickfont={"size": 12},
    )
    for row in rows:
        figure.add_hline(y=row.at, line={"color": theme.NEUTRAL, "width": 0.6}, opacity=0.45, layer="below")
    for number, panel in enumerate(panels if title else ()):
        at = next(row.at for row in rows if row.panel == number)
        figure.add_annotation(
            text=f"<b>{panel.title}</b>", x=0, xref="paper", y=at + 0.62, showarrow=False, xanchor="left"
        )


_TICKS = [
    {"dtickrange": [None, 1_000], "value": "%H:%M:%S.%L"},
    {"dtickrange": [1_000, 60_000], "value": "%H:%M:%S"},
    {"dtickrange": [60_000, 86_400_000], "value": "%H:%M\n%d %b"},
    {"dtickrange": [86_400_000, None], "value": "%d %b"},
]


class _Drawing(NamedTuple):
    figure: go.Figure
    panel: Panel
    number: int
    at: dict[Lane, float]
    zone: str

    def marks(self, marks: Sequence[Mark]) -> None:
        for look, alike in _by_look(marks):
            style = MARKS[look]
            self.figure.add_scatter(
                x=[self._x(mark.at_s) for mark in alike],
                y=[self.at[mark.lane] for mark in alike],
                mode="markers",
                marker={
                    "color": style.colour,
                    "symbol": style.symbol,
                    "size": style.size_px,
                    "line": {"width": 2 if "open" in style.symbol else 0, "color": style.colour},
                },
                unselected={"marker": {"opacity": 1}},
                **self._hover(look, [(mark.at_s, mark.says, mark.place) for mark in alike]),
            )

    def spans(self, spans: Sequence[Span]) -> None:
        for look, alike in _by_look(spans):
            style = SPANS[look]
            word = look.lower().replace("_", " ")
            self.figure.add_bar(
                base=[self._x(span.from_s) for span in alike],
                x=[max(span.until_s - span.from_s, 0.0) * 1_000 for span in alike],
                y=[self.at[span.lane] for span in alike],
                width=BAR,
                orientation="h",
                marker=_bar(style),
                text=[word] * len(alike),
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                insidetextfont={"color": "#ffffff", "size": 11},
                unselected={"marker": {"opacity": 1}},
                **self._hover(look, [(span.from_s, span.says, span.place) for span in alike]),
            )

    def lives(self, lives: Sequence[Life]) -> None:
        """A token's life falls from the day it was got; where it stood on beyond its end it is hatched as expired."""
        if not lives:
            return
        floor, xs, ys = self.at[Lane.TOKEN] - TALL, [], []
        for life in lives:
            until_s = min(life.until_s, life.expires_s)
            left = 0.0 if life.life_s <= 0 else max(0.0, 1 - (until_s - life.from_s) / life.life_s)
            xs += [*map(self._x, (life.from_s, life.from_s, until_s, until_s)), None]
            ys += [floor, floor + 2 * TALL, floor + 2 * TALL * left, floor, None]
        colour = theme.STATE_COLOURS[State.ACTIVE]
        self.figure.add_scatter(
            x=xs, y=ys, mode="lines", fill="toself", line={"width": 1, "color": colour}, opacity=0.55, hoverinfo="skip"
        )
        self.figure.add_scatter(
            x=[self._x(life.from_s) for life in lives],
            y=[floor + 2 * TALL] * len(lives),
            mode="markers",
            marker={"size": 7, "color": colour, "symbol": "circle"},
            unselected={"marker": {"opacity": 1}},
            **self._hover(Look.REFRESHED, [(life.from_s, life.says, life.place) for life in lives]),
        )
        self.spans(
            [
                Span(
                    lane=Lane.TOKEN,
                    from_s=life.expires_s,
                    until_s=life.until_s,
                    look=Look.EXPIRED,
                    says="The access token had expired.",
                    place=life.place,
                )
                for life in lives
                if life.until_s > life.expires_s
            ]
        )

    def _hover(self, look: str, told: Sequence[tuple[float, str, int]]) -> dict[str, Any]:
        return {
            "name": f"{self.number}: {look}",
            "customdata": [[self.number, place] for _, _, place in told],
            "hovertext": [f"{_moment(at_s, self.zone).strftime(self._written)} {says}" for at_s, says, _ in told],
            "hovertemplate": "%{hovertext}<extra></extra>",
        }

    @property
    def _written(self) -> str:
        return _clock(self.panel.timeline)

    def _x(self, at_s: float) -> datetime:
        return _moment(at_s + self.panel.shift_s, self.zone)


def _clock(timeline: Timeline) -> str:
    """How a time is written: with its day, where there are several."""
    return "%d %b %H:%M:%S" if timeline.days else "%H:%M:%S"


def _by_look(drawn: Sequence[Any]) -> Iterator[tuple[Any, list[Any]]]:
    for _, alike in groupby(sorted(drawn, key=lambda one: str(one.look)), key=lambda one: str(one.look)):
        several = list(alike)
        yield several[0].look, several


def _bar(style: SpanStyle) -> dict[str, Any]:
    pattern = {"shape": style.hatch, "bgcolor": style.colour, "fgcolor": "#ffffff", "fgopacity": 0.4, "size": 7}
    return {
        "color": style.colour,
        "line": {"width": 1, "color": style.colour},
        **({"pattern": pattern} if style.hatch else {}),
    }


def _moment(at_s: float, zone: str) -> datetime:
    """Without its zone, because Plotly would show another as UTC."""
    return datetime.fromtimestamp(at_s, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


LEGEND = (
    "User: ● answer, ◆ not the latest, ✕ error, ■ sign-in page. "
    "Requests: | from the network, ◆ from the cache, ✕ failed, ▲ token refreshed, thin × refresh failed."
)


def moment_name(moment: Moment, *, zone: str = "UTC", days: bool = False) -> str:
    """Told from others by its time, where the timeline is of `days` by its day as well."""
    written = _moment(moment.at_s, zone).strftime("%d %b %H:%M" if days else "%H:%M")
    return f"{written} {moment.says.rstrip('.')}"


def event_sentence(event: Event, *, zone: str = "UTC") -> str:
    return f"{_moment(when(event), zone):%d %b %H:%M:%S.%f}"[:-3] + f" {zone}: {describe(event)}"


def table(timeline: Timeline, *, zone: str = "UTC") -> pd.DataFrame:
    """The same for those who cannot see it."""
    return pd.DataFrame(
        {
            f"Time ({zone})": [_moment(when(event), zone).strftime(_clock(timeline)) for event in timeline.events],
            "Kind": [event.kind for event in timeline.events],
            "What happened": [describe(event) for event in timeline.events],
        }
    )
