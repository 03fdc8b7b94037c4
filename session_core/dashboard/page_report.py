"""A page as it was looked at, as one file that needs nothing else: for those who have no door to the app."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from session_core.dashboard import figures
from session_core.dashboard.cards import Answer, Card
from session_core.dashboard.html_parts import caption, cell, folded, section, table, whole
from session_core.sim.run import VERSION

ROWS_MAX = 5_000


def to_html(title: str, sentence: str, shown: Sequence[tuple[Card, Answer]], words: Mapping[str, str]) -> str:
    """`words` say what was looked at: time, filters, versions."""
    return whole(title, sentence, [_looked_at(words), *(_card(card, answer) for card, answer in shown)])


def _looked_at(words: Mapping[str, str]) -> str:
    said = {**words, "Times in tables": "UTC", "Version": f"session_core {VERSION}"}
    rows = [[cell(escape(name), "th"), cell(escape(word), "td")] for name, word in said.items()]
    return section("What was looked at", table([], rows))


def _card(card: Card, answer: Answer) -> str:
    if answer.table.empty:
        return section(card.title, caption(answer.alt))
    picture = "" if answer.figure is None else figures.as_html(answer.figure, card.key)
    return section(card.title, caption(answer.alt) + picture + _rows(answer.table, is_open=answer.figure is None))


def _rows(frame: pd.DataFrame, *, is_open: bool) -> str:
    shown = frame.head(ROWS_MAX)
    rows = [[cell(escape(_said(value)), "td") for value in row] for row in shown.itertuples(index=False, name=None)]
    written = table([str(column).replace("_", " ").capitalize() for column in frame.columns], rows)
    if is_open:
        return written
    first = f", the first {ROWS_MAX:,} of them" if len(frame) > ROWS_MAX else ""
    return folded(f"Table, {len(frame):,} row{'' if len(frame) == 1 else 's'}{first}", written)


def _said(value: object) -> str:
    match value:
        case pd.Timestamp():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case float():
            return "–" if math.isnan(value) else f"{value:,.4g}"
        case None:
            return "–"
        case _:
            return str(value)
