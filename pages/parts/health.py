"""The live parts of the Session health page; each looks again by itself, so the rest of the page stands still."""

import httpx
import streamlit as st

from session_core.dashboard import charts, figures, loaders, selection, wording
from session_core.errors import EventStoreError, SessionCoreError
from session_core.web.auth_context import AuthContext, sign_in_link
from session_core.web.faults import OFFERS
from session_core.web.running import OVER

SAID = "said"


@st.fragment(run_every=1)
def answer(auth: AuthContext) -> None:
    """The score with its band in colour and word, the state, and the path that led there."""
    status = auth.picture().status
    score, state = status.health, status.state
    with st.container(gap="xsmall", key="answer"):
        st.html(wording.score_html(score))
        st.markdown(f"**{wording.health_sentence(score)}**")
        st.html(wording.path_html(status.path, state))
        st.caption(wording.state_sentence(state) + wording.end_sentence(status.ended))
        if state in OVER:
            sign_in_link("Sign in again")


@st.fragment(run_every=2)
def parts(auth: AuthContext) -> None:
    score = auth.picture().status.health
    alt = wording.parts_alt(score)
    st.plotly_chart(charts.health_parts(score), key="health_parts", alt=alt, config=figures.NO_TOOLS)


@st.fragment(run_every=1)
def token(auth: AuthContext) -> None:
    status = auth.picture().status
    sentence = wording.token_sentence(left_s=status.token_left_s, refresh_left_s=status.refresh_left_s)
    with st.container(border=True):
        st.subheader("Access token", anchor=False)
        st.markdown(sentence)
        if status.token_life_s is None or status.token_left_s is None or status.refresh_left_s is None:
            return
        figure = charts.token_life(
            life_s=status.token_life_s, left_s=status.token_left_s, refresh_left_s=status.refresh_left_s
        )
        st.plotly_chart(figure, key="token_life", alt=sentence, config=figures.NO_TOOLS)


@st.fragment(run_every=2)
def controls(auth: AuthContext) -> None:
    status = auth.picture().status
    over = status.state in OVER
    with st.container(border=True, key="controls"):
        st.subheader("Session management", anchor=False)
        st.caption("Running: the worker and the heartbeat look after it." if status.managed else "Stopped: unattended.")
        with st.container(horizontal=True):
            if st.button("Start", icon=":material/play_arrow:", disabled=over or status.managed):
                auth.start_session_management()
                st.rerun(scope="fragment")
            if st.button("Stop", icon=":material/stop:", disabled=over or not status.managed):
                auth.stop_session_management()
                st.rerun(scope="fragment")
            if st.button("Force refresh", icon=":material/refresh:", disabled=over, type="primary"):
                _say(lambda: wording.refresh_outcome(auth.attempt(auth.session.force_refresh_session())))
            if st.button("Call the API now", icon=":material/send:", disabled=over):
                auth.update_activity("api")
                _say(lambda: wording.call_outcome(auth.call_api()))
        st.caption(st.session_state.get(SAID) or "What a button does is said here, and in the log below.")


@st.fragment
def faults(auth: AuthContext) -> None:
    with st.container(border=True, key="faults"):
        st.subheader("Order a fault", anchor=False)
        provoke = st.toggle(
            "Let the session meet it at once",
            value=True,
            key="provoke",
            help="Forces a refresh, or makes a call, right after the fault is ordered.",
        )
        with st.container(horizontal=True):
            for name, offer in OFFERS.items():
                if st.button(offer.label, key=f"fault_{name}", help=offer.expect):
                    _say(lambda offer=offer: auth.order_fault(offer, provoke=provoke) or offer.expect)
            if st.button("Clear faults", icon=":material/healing:", key="clear_faults", type="tertiary"):
                auth.clear_faults()
                st.session_state[SAID] = "The provider behaves again."


@st.fragment(run_every=1)
def log(auth: AuthContext) -> None:
    with st.container(border=True, key="log"):
        st.subheader("What the session did about it", anchor=False)
        try:
            lines = loaders.session_log(auth.session_id, zone=selection.zone())
        except EventStoreError:
            st.caption("The log comes back with the event store.")
            return
        with st.container(height=270, border=False):
            st.table(lines, border="horizontal", hide_header=True, alt="Events of this session, newest first.")


@st.fragment(run_every=5)
def upkeep(auth: AuthContext) -> None:
    with st.container(border=True, key="upkeep"):
        st.subheader("Behind the scenes", anchor=False)
        for column, (title, rows) in zip(
            st.columns(4), wording.upkeep(auth.picture(), auth.shown_user()).items(), strict=True
        ):
            column.markdown(f"**{title}**")
            column.table(rows, border="horizontal", hide_header=True, alt=title)


def _say(act) -> None:  # noqa: ANN001 - what to do, and the sentence it leads to
    try:
        st.session_state[SAID] = act()
    except SessionCoreError as error:
        st.session_state[SAID] = str(error)
    except httpx.HTTPError as error:
        st.session_state[SAID] = f"The call did not come through ({type(error).__name__})."
