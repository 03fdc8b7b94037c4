"""Chat: a chat like any other, whose session never gets in the way."""

import streamlit as st
from parts import conversation

from session_core.web.auth_context import require_user

st.title("Chat", anchor=False)
auth = require_user("Sign in to chat with ATOM, the demo API.")

talk, side = st.columns([4, 1], gap="large")
with side:
    conversation.underneath(auth)
said = st.chat_input("Write to ATOM", key="message", submit_mode="disable", max_chars=4000)
with talk:
    conversation.history()
    said = said or conversation.unsent()
    if said:
        conversation.turn(auth, said)
