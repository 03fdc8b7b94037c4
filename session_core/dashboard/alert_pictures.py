"""What the page of alerts shows in charts and tables, made once for everybody for as long as nothing changes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from session_core.dashboard import alert_board, alert_chart, figures
from session_core.dashboard.keeping import Answers
from session_core.store.alert_desk import AlertDesk, Board

# A delivery to the webhook changes nothing but the history.
HISTORY_S = 5.0
KEPT_MAX = 8


class Burns(NamedTuple):
    """Without a figure there is nothing to draw, and `alt` says why."""

    rows: pa.Table
    alt: str
    figure: figures.Finished | None


class History(NamedTuple):
    """`table` is to be taken away, `rows` is what a browser is sent of it."""

    table: pd.DataFrame
    rows: pa.Table


_burns, _histories = Answers(KEPT_MAX), Answers(KEPT_MAX)


def burns(board: Board) -> Burns:
    return _burns.get(_stand(board), lambda: _drawn(board))


def history(desk: AlertDesk, zone: str) -> History:
    """Times are in `zone`. Raises EventStoreError."""
    asked = (desk, zone, _stand(desk.board()), int(desk.now() // HISTORY_S))
    return _histories.get(asked, lambda: _told(desk, zone))


def _stand(board: Board) -> Hashable:
    return board.settings, tuple(board.alerts.values()), tuple(board.verdicts.items())


def _drawn(board: Board) -> Burns:
    table = alert_board.burns(board)
    figure = figures.Finished(alert_chart.burn_rates(table)) if alert_board.has_burns(table) else None
    return Burns(figures.sendable(table), alert_board.burns_alt(table), figure)


def _told(desk: AlertDesk, zone: str) -> History:
    table = alert_board.history(desk.history(), zone)
    return History(table, figures.sendable(table))
