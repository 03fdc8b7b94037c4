"""One turn of the chat, the history before it, and what the session did underneath."""

import httpx
import streamlit as st

from session_core.dashboard import wording
from session_core.errors import SessionCoreError
from session_core.web.auth_context import AuthContext, sign_in_link
from session_core.web.running import OVER

TALK, UNSENT, AGAIN = "talk", "unsent", "again"
MESSAGES_MAX = 200
ANSWER_S_MAX = 30.0


def history() -> None:
    messages = st.session_state.setdefault(TALK, [])
    if not messages:
        st.caption("Say something. Go away for as long as you like, and say something more.")
    for who, text in messages:
        with st.chat_message(who):
            st.markdown(text)


def unsent() -> str | None:
    """A message that could not be sent, offered again; the message itself once that is asked for."""
    kept = st.session_state.get(UNSENT)
    if kept is None:
        return None
    if st.session_state.pop(AGAIN, False):
        return str(st.session_state.pop(UNSENT))
    with st.chat_message("user"):
        st.markdown(kept)
        _offer_again()
    return None


def turn(auth: AuthContext, said: str) -> None:
    with st.chat_message("user"):
        st.markdown(said)
    with st.chat_message("assistant"):
        waiting = st.empty()
        waiting.markdown(":shimmer[ATOM is thinking…]")
        try:
            auth.update_activity("chat")
            pieces = auth.stream_text("POST", "chat", json={"message": said}, timeout=ANSWER_S_MAX)
            first = next(pieces, "")
            with waiting.container():
                answer = st.write_stream(_joined(first, pieces))
        except (SessionCoreError, httpx.HTTPError) as error:
            waiting.warning(wording.calm(error), icon=":material/pause_circle:")
            _keep(auth, said)
            return
    st.session_state[TALK] = [*st.session_state[TALK], ("user", said), ("assistant", str(answer))][-MESSAGES_MAX:]


@st.fragment(run_every=2)
def underneath(auth: AuthContext) -> None:
    for line in wording.underneath(auth.picture()):
        st.caption(line)


def _joined(first, rest):  # noqa: ANN001, ANN202 - pieces of text
    yield first
    yield from rest


def _keep(auth: AuthContext, said: str) -> None:
    st.session_state[UNSENT] = said
    if auth.picture().status.state in OVER:
        sign_in_link("Sign in again")
    else:
        _offer_again()


def _offer_again() -> None:
    st.button("Send again", icon=":material/refresh:", key=AGAIN + "_button", on_click=_again)


def _again() -> None:
    st.session_state[AGAIN] = True
