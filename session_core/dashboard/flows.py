"""Where it went: what was lost on the way to a score, and what came of what was tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
import plotly.graph_objects as go

from session_core.dashboard import theme
from session_core.dashboard.figures import GRID, blank

ROW_PX = 30
FLOW_PX = 300
LOST_MIN = 0.05
# A link is the colour of its label or of what it leads to, so pale that what it crosses still shows.
LINK_OPACITY = 0.35
FLOW_COLOURS: Mapping[str, str] = {
    **theme.STEP_COLOURS,
    **theme.OUTCOME_COLOURS,
    "Refreshed": theme.WELL,
    "Recovered": theme.WELL,
    "Failed": theme.TROUBLE,
    "Later": theme.TROUBLE,
    "Failed step": theme.FAILURE,
    "Signed out": theme.FAILURE,
}


def waterfall(losses: pd.DataFrame, score: float, *, unit: str = "UX score, of 100") -> go.Figure:
    """From 100 down to the score, the largest loss first: part, points (what it took, at least 0)."""
    parts = losses[losses["points"] >= LOST_MIN].sort_values("points", ascending=False)
    names = ["Nothing lost", *(str(part) for part in parts["part"]), "Score"]
    steps = [100.0, *(-points for points in parts["points"]), score]
    figure = blank(40 + ROW_PX * len(names), "", None)
    figure.add_waterfall(
        orientation="h",
        y=names,
        x=steps,
        measure=["absolute", *("relative" for _ in steps[1:-1]), "total"],
        text=["100", *(f"−{-step:.1f}" for step in steps[1:-1]), f"{score:.0f}"],
        textposition="outside",
        cliponaxis=False,
        connector={"line": {"color": theme.NEUTRAL, "width": 1, "dash": "dot"}},
        decreasing={"marker": {"color": theme.TROUBLE}},
        totals={"marker": {"color": theme.ACCENT}},
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    floor = max(0.0, (score - 10) // 10 * 10)
    begins = f"; the axis begins at {floor:.0f}" if floor else ""
    figure.update_xaxes(
        range=[floor, 100 + 0.08 * (100 - floor)], title={"text": unit + begins}, showgrid=True, gridcolor=GRID
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure.update_layout(showlegend=False, hovermode="closest", waterfallgap=0.35)


def flow(links: pd.DataFrame, *, of: str, colours: Mapping[str, str] = FLOW_COLOURS) -> go.Figure:
    """Widths are counts: source, target, label (may be empty), n; a word is one place, whichever link names it."""
    links = links.fillna({"label": ""})
    places = list(dict.fromkeys([*links["source"], *links["target"]]))
    at = {word: place for place, word in enumerate(places)}
    inward, outward = links.groupby("target")["n"].sum(), links.groupby("source")["n"].sum()
    # As many as came there; one of them may lead to several things in turn.
    through = [int(inward.get(word, outward.get(word, 0))) for word in places]
    figure = blank(FLOW_PX, "", None)
    figure.add_sankey(
        arrangement="snap",
        node={
            "label": [f"{_spoken(word)} {count:,}" for word, count in zip(places, through, strict=True)],
            "color": [colours.get(word, theme.NEUTRAL) for word in places],
            "pad": 14,
            "thickness": 14,
            "line": {"width": 0},
            "hovertemplate": f"%{{label}} {of}<extra></extra>",
        },
        link={
            "source": [at[word] for word in links["source"]],
            "target": [at[word] for word in links["target"]],
            "value": links["n"].tolist(),
            "color": [_pale(colour) for colour in _link_colours(links, colours)],
            "customdata": list(_said(links, outward)),
            "hovertemplate": f"%{{value:,}} {of}, %{{customdata}}<extra></extra>",
        },
    )
    return figure.update_layout(margin={"l": 8, "r": 8, "t": 12, "b": 12})


def _link_colours(links: pd.DataFrame, colours: Mapping[str, str]) -> Iterator[str]:
    for target, label in zip(links["target"], links["label"], strict=True):
        yield colours.get(label) or colours.get(target, theme.NEUTRAL)


def _said(links: pd.DataFrame, outward: pd.Series) -> Iterator[str]:
    for source, target, label, count in links[["source", "target", "label", "n"]].itertuples(index=False, name=None):
        why = f" ({_spoken(label).lower()})" if label else ""
        share = f"{100 * count / outward[source]:.3g} %"
        yield f"{share} of {_spoken(source).lower()} → {_spoken(target).lower()}{why}"


def _spoken(word: str) -> str:
    said = str(word).replace("_", " ")
    return said[:1].upper() + said[1:]


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{LINK_OPACITY})"
