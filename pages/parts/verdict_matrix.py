"""The verdicts, filling in while a sweep runs; a click on one opens its story."""

import streamlit as st
from parts import sweep

from session_core.dashboard import lab_loaders, loaders, selection, verdicts

MATRIX = "matrix"
ROWS_MAX, TALL_PX = 15, 560


def draw(jobs) -> None:  # noqa: ANN001 - what the choice comes to
    st.badge("Simulated", icon=":material/experiment:", color="violet")
    going = lab_loaders.sweeps.progress().running
    label = verdicts.button(jobs, lab_loaders.sweeps.estimate_s(jobs))
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(label, icon=":material/play_arrow:", type="primary", key="run", disabled=going):
            lab_loaders.sweeps.start(jobs, store=loaders.open_store() if st.session_state.get("record") else None)
            st.rerun()
        st.toggle("Record", key="record", help="Keeps the events of these runs for the other pages.")
    st.fragment(_live, run_every=0.5 if going else None)(jobs, was_going=going)


def _live(jobs, *, was_going: bool) -> None:  # noqa: ANN001
    progress, runs = lab_loaders.sweeps.progress(), lab_loaders.sweeps.find(jobs)
    if was_going and not progress.running:
        st.rerun()
    sweep.tell(progress)
    cells = verdicts.count(jobs, runs)
    st.markdown(f"#### {verdicts.answer(cells)}")
    if not any(cell.done for cell in cells.values()) and not progress.running:
        st.caption(
            "Press Run: each simulation lives through hours in milliseconds, with the code that runs in production."
        )
        return
    _table(jobs, runs, cells)


def _table(jobs, runs, cells) -> None:  # noqa: ANN001
    shown = verdicts.matrix(cells)

    def open_cell() -> None:
        if (cell := selection.clicked_cell(MATRIX)) is not None:
            scenario = str(shown["Scenario"].iloc[cell[0]])
            policy = cell[1] if cell[1] in shown.columns[1:] else str(shown.columns[1])
            selection.open_run(scenario, policy, verdicts.worth_opening(jobs, runs, scenario, policy))

    st.dataframe(
        verdicts.coloured(shown),
        hide_index=True,
        key=MATRIX,
        on_select=open_cell,
        selection_mode="single-cell",
        height="content" if len(shown) <= ROWS_MAX else TALL_PX,
        alt=verdicts.answer(cells),
        column_config={"Scenario": st.column_config.TextColumn(width="medium", pinned=True)},
    )
    st.caption(f"{verdicts.PASS} every seed holds · {verdicts.FAIL} some seed fails · click a verdict for its story.")
    if selection.opened_run():
        st.rerun()
