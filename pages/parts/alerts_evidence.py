"""The error budget with its burn rates, and what became of alerts; each looks again by itself."""

import streamlit as st

from session_core.dashboard import alert_board, alert_pictures, exports, figures, selection
from session_core.errors import EventStoreError
from session_core.store.alert_desk import AlertDesk

LIVE_S = 5
TABLE_PX, HISTORY_PX = 220, 260


@st.fragment(run_every=LIVE_S)
def burns(desk: AlertDesk) -> None:
    board = desk.board()
    with st.container(border=True, key="card_burns"):
        st.subheader("Error budget", anchor=False)
        with st.container(horizontal=True):
            st.metric("Left", alert_board.budget_left(board))
            st.metric("Uninterrupted", alert_board.uninterrupted(board))
        st.caption(alert_board.budget_sentence(board))
        rows, alt, figure = alert_pictures.burns(board)
        if figure is None:
            st.caption(alt)
            return
        st.plotly_chart(figure, key="chart_burns", alt=alt, config=figures.NO_TOOLS)
        if st.toggle("Table", key="table_burns"):
            st.dataframe(rows, hide_index=True, alt=alt, height=TABLE_PX)


@st.fragment(run_every=LIVE_S)
def history(desk: AlertDesk) -> None:
    with st.container(border=True, key="card_history"):
        st.subheader("What happened", anchor=False)
        try:
            table, rows = alert_pictures.history(desk, selection.zone())
        except EventStoreError:
            st.caption("It comes back with the event store.")
            return
        if table.empty:
            st.caption("Nothing yet: no alert has changed.")
            return
        time = st.column_config.DatetimeColumn(format="D MMM HH:mm:ss", width=130)
        config = {"Time": time, "What happened": st.column_config.TextColumn(width=620)}
        alt = "What became of alerts, newest first."
        st.dataframe(rows, hide_index=True, height=HISTORY_PX, column_config=config, alt=alt)
        st.download_button(
            "CSV",
            lambda: exports.to_csv("Alerts", {"Time zone": selection.zone()}, table),
            file_name=exports.file_name("Alerts", ending="csv"),
            mime="text/csv",
            key="csv_alerts",
            on_click="ignore",
            type="tertiary",
            icon=":material/download:",
        )
