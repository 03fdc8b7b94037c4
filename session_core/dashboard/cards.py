"""What a page is made of: a sentence that answers its question, and cards, each a picture with its words and its table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from session_core.dashboard.view import View

CARD_PX = 230
OPENS_PX = 40


class Answer(NamedTuple):
    """`alt` says what is to be seen now; where the table is empty it says why, and stands in the picture's place."""

    table: pd.DataFrame
    alt: str
    figure: go.Figure | None = None


class Card(NamedTuple):
    """`ask` loads and draws; it runs in any thread. `height_px` is that of its place, before it is filled and after.

    No two have the same `key`, whatever their pages, because what they show is kept by it. One that `is_table` has no
    figure. `opens` is a page that shows what is behind a bucket that was clicked.
    """

    key: str
    title: str
    ask: Callable[[View], Answer]
    height_px: int = CARD_PX
    is_table: bool = False
    opens: str = ""

    @property
    def picture_px(self) -> int:
        """One that opens something says so below its picture."""
        return self.height_px - (OPENS_PX if self.opens else 0)


class Page(NamedTuple):
    """`answer` is the sentence that the page begins with; every one of `cards` goes into an export."""

    title: str
    answer: Callable[[View], str]
    cards: tuple[Card, ...]

    def card(self, key: str) -> Card:
        return next(card for card in self.cards if card.key == key)

    def ask(self, view: View) -> list[tuple[Card, Answer]]:
        return [(card, card.ask(view)) for card in self.cards]
