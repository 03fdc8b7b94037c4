"""The rules as a table that can be edited; what makes no sense is said in a sentence and not saved."""

from collections.abc import Callable

import streamlit as st

from session_core.alert_rules import AlertSettings
from session_core.dashboard import alert_rows, view
from session_core.errors import ConfigError, EventStoreError
from session_core.store.alert_desk import AlertDesk
from session_core.store.alert_words import MEASURES

SAVED = "rules_saved"
_WATCHED = {word: source for word, source in view.SOURCES.items() if source is not None}


def draw(desk: AlertDesk, *, may_act: bool) -> None:
    board = desk.board()
    settings = board.settings
    # What was typed belongs to the rules it was typed over.
    key = str(hash(settings))
    with st.container(border=True, key="card_rules"):
        st.subheader("Rules", anchor=False)
        with st.form(f"rules_{key}", border=False):
            with st.container(horizontal=True, vertical_alignment="bottom"):
                target = st.number_input(
                    "Objective, % of sessions uninterrupted",
                    50.0,
                    99.999,
                    100 * settings.objective.target,
                    step=0.1,
                    format="%.3f",
                    key=f"target_{key}",
                    disabled=not may_act,
                    width=280,
                )
                words = list(_WATCHED)
                watched = st.selectbox(
                    "Whose sessions are watched",
                    words,
                    index=list(_WATCHED.values()).index(settings.source),
                    key=f"watched_{key}",
                    disabled=not may_act,
                    width=240,
                )
            table = st.data_editor(
                alert_rows.to_table(settings),
                hide_index=True,
                num_rows="dynamic" if may_act else "fixed",
                disabled=[alert_rows.WHEN] if may_act else True,
                key=f"editor_{key}",
                column_config=_columns(),
                alt="The rules, one in each row.",
            )
            save = st.form_submit_button("Save", icon=":material/save:", type="primary", disabled=not may_act)
        if save:
            _save(
                desk, lambda: alert_rows.read(table, target_percent=target, source=_WATCHED[watched], settings=settings)
            )
        if settings != board.configured and may_act:
            configured = st.button("Back to the configured rules", icon=":material/undo:", key="configured")
            if configured:
                _save(desk, lambda: None)
        if said := st.session_state.pop(SAVED, None):
            st.caption(said)


def _columns() -> dict[str, object]:
    text, number, check = st.column_config.TextColumn, st.column_config.NumberColumn, st.column_config.CheckboxColumn
    length = {"validate": alert_rows.LENGTH_PATTERN, "help": "Such as 5 min, 6 h or 3 d."}
    threshold = "A multiple of what the objective allows, a share, or a number of sessions."
    return {
        alert_rows.ON: check(default=True, width=60),
        alert_rows.NAME: text(max_chars=60, width=170),
        alert_rows.MEASURE: st.column_config.SelectboxColumn(options=list(MEASURES.values()), width=140),
        alert_rows.THRESHOLD: number(format="%.4g", width=105, help=threshold),
        alert_rows.WINDOW: text(width=95, **length),
        alert_rows.SHORT: text(width=125, **length),
        alert_rows.SESSIONS: number(step=1, format="%d", width=105, help="With fewer in the window it is not judged."),
        alert_rows.URGENT: check(default=True, width=90, help="Cannot wait for the next working day."),
        alert_rows.WHEN: text(width=520),
    }


def _save(desk: AlertDesk, read: Callable[[], AlertSettings | None]) -> None:
    """What `read` gives, None for the configured rules."""
    try:
        desk.save(read())
    except (ConfigError, EventStoreError) as error:
        st.error(f"Nothing was saved. {error}", icon=":material/edit_document:")
        return
    st.session_state[SAVED] = "Saved; the alerts were judged by these rules just now."
    st.rerun()
