"""Every alert with what can be done about it; the page looks again by itself."""

from collections.abc import Callable

import streamlit as st

from session_core.dashboard import alert_board
from session_core.dashboard.alert_board import Line
from session_core.errors import EventStoreError
from session_core.store.alert_desk import AlertDesk
from session_core.vocabulary import Source
from session_core.web.auth_context import sign_in_link

Act = Callable[..., None]
LIVE_S = 5
REFUSED = "alert_refused"
SIGN_IN = "Sign in to acknowledge, silence and change rules; it also starts a session to be watched."


@st.fragment(run_every=LIVE_S)
def answer(desk: AlertDesk) -> None:
    board = desk.board()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"#### {alert_board.answer(board)}", width="content")
        if board.settings.source is Source.SIM:
            st.badge("Simulated", icon=":material/experiment:", color="violet", help="Simulated sessions are watched.")
    if board.trouble:
        st.warning(board.trouble, icon=":material/ac_unit:")
    st.caption(alert_board.looked_at(board, desk.now()))


@st.fragment(run_every=LIVE_S)
def board(desk: AlertDesk, *, may_act: bool) -> None:
    if refused := st.session_state.pop(REFUSED, None):
        st.error(refused, icon=":material/error:")
    found = alert_board.lines(desk.board(), desk.now())
    for group in alert_board.Group:
        listed = [line for line in found if line.group is group]
        if listed:
            with st.container(border=True, key=f"alerts_{group.name.lower()}"):
                st.subheader(f"{group} · {len(listed)}", anchor=False)
                # What holds for all of them is said once.
                common = listed[0].said if len({line.said for line in listed}) < min(2, len(listed)) else None
                if common:
                    st.markdown(common)
                for line in listed:
                    _line(desk, line, may_act=may_act, said=line.said != common)
    if not may_act:
        st.caption(SIGN_IN)
        sign_in_link()


def _line(desk: AlertDesk, line: Line, *, may_act: bool, said: bool) -> None:
    marks = (f":{mark.colour}-badge[{mark.icon} {mark.word}]" for mark in line.marks)
    title = "&ensp;".join((f"**{line.rule}**", *marks))
    with st.container(gap="xsmall"):
        if may_act:
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.markdown(title, width="content")
                _acts(desk, line)
        else:
            st.markdown(title)
        if said:
            st.markdown(line.said)
        st.caption(line.when)


def _acts(desk: AlertDesk, line: Line) -> None:
    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        if line.can_acknowledge:
            st.button(
                "Acknowledge",
                icon=":material/person_check:",
                key=f"acknowledge_{line.rule}",
                on_click=_do,
                args=(desk.acknowledge, line.rule),
            )
        if line.silenced:
            st.button(
                "End the silence",
                icon=":material/notifications:",
                key=f"speak_{line.rule}",
                on_click=_do,
                args=(desk.end_silence, line.rule),
            )
        else:
            key = f"silence_{line.rule}"
            st.menu_button(
                "Silence for",
                list(alert_board.SILENCES),
                icon=":material/notifications_paused:",
                key=key,
                type="tertiary",
                help="Nobody is told until then; it is watched all the same.",
                on_click=_silence,
                args=(desk, line.rule, key),
            )


def _silence(desk: AlertDesk, rule: str, key: str) -> None:
    _do(desk.silence, rule, alert_board.SILENCES[st.session_state[key]])


def _do(act: Act, rule: str, *given: float) -> None:
    try:
        act(rule, *given)
    except EventStoreError as error:
        st.session_state[REFUSED] = f"That was not kept: {error}"
