"""The timeline of one session: the picture, where to look first, the event behind a mark, and the same as a table."""

import msgspec
import streamlit as st

from session_core.dashboard import timeline_chart
from session_core.dashboard.phrases import unformatted
from session_core.dashboard.timeline_chart import Panel

WHOLE = "All of it"


def draw(name, built, told, zone="UTC") -> None:  # noqa: ANN001 - whose it is, the timeline, its story, and the reader's zone
    st.fragment(_draw)(name, built, told, zone)


def _draw(name, built, told, zone) -> None:  # noqa: ANN001
    with st.container(border=True, key="timeline"):
        st.subheader("Timeline", anchor=False)
        if not built.events:
            st.caption("Nothing happened.")
            return
        focus = _focus(name, built, zone)
        figure = timeline_chart.timelines([Panel("", built)], title=False, focus=focus, zone=zone)
        chosen = st.plotly_chart(
            figure,
            key=f"timeline_{name}_{focus}",
            on_select="rerun",
            selection_mode="points",
            config=timeline_chart.TOOLS,
            alt=f"Timeline of the session. {' '.join(told)}",
        )
        st.caption(timeline_chart.LEGEND)
        _event(built, timeline_chart.picked(chosen.selection), zone)
        if st.toggle("Table", key=f"table_{name}"):
            table = timeline_chart.table(built, zone=zone)
            st.dataframe(table, hide_index=True, height=260, alt="Every event in order of time.")


def _focus(name, built, zone):  # noqa: ANN001, ANN202
    if not built.moments:
        return None
    moments = {timeline_chart.moment_name(moment, zone=zone, days=built.days): moment for moment in built.moments}
    where = st.pills(
        "Show", [WHOLE, *moments], default=WHOLE, required=True, key=f"focus_{name}", format_func=unformatted
    )
    return None if where in (None, WHOLE) else (moments[where].from_s, moments[where].until_s)


def _event(built, place, zone) -> None:  # noqa: ANN001
    if place is None:
        st.caption("Click a mark to open its event; drag over a stretch to look closer.")
        return
    event = built.events[place[1]]
    st.markdown(f"**{event.kind}** · {unformatted(timeline_chart.event_sentence(event, zone=zone))}")
    st.json(msgspec.to_builtins(event))
