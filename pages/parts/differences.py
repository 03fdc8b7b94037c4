"""What the change bought: differences, the control beside each side, both timelines, and every run."""

import streamlit as st

from session_core.dashboard import comparison, lanes, loaders, timeline, timeline_chart
from session_core.dashboard.timeline_chart import Panel


def draw(chosen, runs) -> None:  # noqa: ANN001 - the choice and its runs
    _differences(chosen, runs)
    _control(chosen, runs)
    _timelines(chosen)
    _table(chosen, runs)


def _differences(chosen, runs) -> None:  # noqa: ANN001
    before, after, *_ = chosen.parts(runs)
    found = comparison.differences(before, after)
    said = comparison.sentence(found, before=chosen.before, after=chosen.after)
    st.markdown(f"#### {said}")
    with st.container(border=True, key="differences"):
        st.subheader("Differences, the largest first", anchor=False)
        shown = comparison.table(found, before=chosen.before, after=chosen.after)
        st.dataframe(shown, hide_index=True, alt=said.replace("*", ""), height="content")
        st.caption(
            f"Means of {len(before)} runs each, with the same seeds. Within noise: less than two standard errors."
        )


def _control(chosen, runs) -> None:  # noqa: ANN001
    before, after, calm_before, calm_after = chosen.parts(runs)
    with st.container(border=True, key="control"):
        st.subheader("Beside the control", anchor=False)
        sides = [(chosen.before, before, calm_before), (chosen.after, after, calm_after)]
        shown = comparison.beside_control(sides)
        st.dataframe(shown, hide_index=True, alt="Each policy with the faults and, with the same seeds, without them.")
        st.caption("The control is the same people doing the same things in a world where nothing goes wrong.")


def _timelines(chosen) -> None:  # noqa: ANN001
    quarter = len(chosen.jobs) // 4
    with st.container(border=True, key="timelines"):
        st.subheader("The same run twice", anchor=False)
        seed = st.number_input("Seed", 1, quarter, 1, key="seed", bind="query-params", width=160)
        panels = [_panel(chosen.jobs[side * quarter + int(seed) - 1]) for side in (0, 1)]
        st.plotly_chart(
            timeline_chart.timelines(panels, focus=_focus(panels)),
            key="twice",
            config=timeline_chart.TOOLS,
            alt=f"Timelines of seed {seed} under {chosen.before} and {chosen.after}, one below the other.",
        )
        st.caption(timeline_chart.LEGEND)


def _panel(job) -> Panel:  # noqa: ANN001
    run = loaders.run_of(job)
    users = lanes.users_of(run.events)
    return Panel(job.policy.name, timeline.build(lanes.about(run.events, users[0]) if users else run.events))


def _focus(panels):  # noqa: ANN001, ANN202
    moments = {timeline_chart.moment_name(moment): moment for panel in panels for moment in panel.timeline.moments}
    where = st.pills("Show", ["Whole run", *moments], default="Whole run", required=True, key="twice_focus")
    moment = moments.get(where)
    return None if moment is None else (moment.from_s, moment.until_s)


def _table(chosen, runs) -> None:  # noqa: ANN001
    before, after, *_ = chosen.parts(runs)
    every = list({_key(run): run for run in [*before, *after]}.values())
    with st.container(border=True, key="every_run"):
        st.subheader("Every run, the best first", anchor=False)
        st.dataframe(
            comparison.ranked(every), hide_index=True, height=400, alt="Every run with its figures, the best first."
        )
        st.download_button(
            "Export as CSV",
            comparison.to_csv(every),
            file_name=f"{chosen.scenario.name}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _key(run) -> tuple[str, int]:  # noqa: ANN001
    return run.policy, run.seed
