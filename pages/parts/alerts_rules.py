"""The rules as a table that can be edited; what makes no sense is said at once in a sentence, and not saved."""

import streamlit as st

from session_core.alert_rules import AlertSettings
from session_core.dashboard import alert_rows, view
from session_core.errors import ConfigError, EventStoreError
from session_core.store.alert_desk import AlertDesk
from session_core.store.alert_words import MEASURES

SAID = "rules_said"
_WATCHED = {word: source for word, source in view.SOURCES.items() if source is not None}


@st.fragment
def draw(desk: AlertDesk, *, may_act: bool) -> None:
    board = desk.board()
    with st.container(border=True, key="card_rules"):
        st.subheader("Rules", anchor=False)
        try:
            wanted = _edited(board.settings, may_act=may_act)
        except ConfigError as error:
            wanted = board.settings
            st.error(f"This cannot be saved. {error}", icon=":material/edit_document:")
        with st.container(horizontal=True, vertical_alignment="center"):
            changed = wanted != board.settings
            st.button(
                "Save",
                icon=":material/save:",
                type="primary",
                key="save_rules",
                disabled=not (may_act and changed),
                on_click=_save,
                args=(desk, wanted),
            )
            if may_act and board.settings != board.configured:
                st.button(
                    "Back to the configured rules",
                    icon=":material/undo:",
                    key="configured",
                    on_click=_save,
                    args=(desk, None),
                )
            st.caption("Not saved yet." if changed else st.session_state.pop(SAID, ""))


def _edited(settings: AlertSettings, *, may_act: bool) -> AlertSettings:
    """What the widgets say. Raises ConfigError."""
    # What was typed belongs to the rules it was typed over.
    key = str(hash(settings))
    with st.container(horizontal=True):
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
        watched = st.selectbox(
            "Whose sessions are watched",
            list(_WATCHED),
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
        key=f"rules_{key}",
        column_config=_columns(),
        alt="The rules, one in each row.",
    )
    return alert_rows.read(table, target_percent=target, source=_WATCHED[watched], settings=settings)


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


def _save(desk: AlertDesk, settings: AlertSettings | None) -> None:
    """None for the configured ones."""
    try:
        desk.save(settings)
    except EventStoreError as error:
        st.session_state[SAID] = f"Nothing was saved: {error}"
    else:
        st.session_state[SAID] = "Saved; the alerts were judged by these rules just now."
