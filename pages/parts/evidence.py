"""One chart with its title, its words for those who cannot see it, and its table."""

import streamlit as st

from session_core.dashboard import charts


def show(title: str, figure: charts.Figure, table: charts.Table, *, alt: str, key: str) -> None:
    with st.container(border=True, key=f"card_{key}"):
        st.subheader(title, anchor=False)
        if table.empty:
            st.caption(alt)
            return
        st.plotly_chart(figure, key=f"chart_{key}", alt=alt, config=charts.NO_TOOLS)
        if st.toggle("Table", key=f"table_{key}"):
            time = st.column_config.DatetimeColumn("Time (UTC)", format="YYYY-MM-DD HH:mm:ss", timezone="UTC")
            st.dataframe(table, hide_index=True, alt=alt, height=220, column_config={"bucket": time})
