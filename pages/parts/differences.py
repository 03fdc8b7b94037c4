"""What the change bought: differences, the control beside each side, both timelines, and every run."""

import streamlit as st

from session_core.dashboard import comparison, lab_loaders, lanes, timeline, timeline_chart
from session_core.dashboard.timeline_chart import Panel


def draw(chosen, runs) -> None:  # noqa: ANN001 - the choice and its runs
    before, after, *_ = chosen.parts(runs)
    table(before, after, names=(chosen.before, chosen.after))
    _control(chosen, runs)
    _timelines(chosen)
    ranking([*before, *after], file_name=f"{chosen.scenario.name}.csv")


def table(before, after, *, names) -> None:  # noqa: ANN001 - runs of both sides, and what the sides are called
    found = comparison.differences(before, after)
    said = comparison.sentence(found, before=names[0], after=names[1])
    st.markdown(f"#### {said}")
    with st.container(border=True, key="differences"):
        st.subheader("Differences, the largest first", anchor=False)
        shown = comparison.table(found, before=names[0], after=names[1])
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
        jobs = [chosen.jobs[side * quarter + int(seed) - 1] for side in (0, 1)]
        twice([(job.policy.name, lab_loaders.run_of(job).events) for job in jobs], about=f"seed {seed}")


def twice(sides, *, about) -> None:  # noqa: ANN001 - name and events of each side, and what run it is
    panels = [_panel(name, events) for name, events in sides]
    names = " and ".join(name for name, _ in sides)
    st.plotly_chart(
        timeline_chart.timelines(panels, focus=_focus(panels)),
        key="twice",
        config=timeline_chart.TOOLS,
        alt=f"Timelines of {about} under {names}, one below the other.",
    )
    st.caption(timeline_chart.LEGEND)


def _panel(name, events) -> Panel:  # noqa: ANN001
    users = lanes.users_of(events)
    return Panel(name, timeline.build(lanes.about(events, users[0]) if users else events))


def _focus(panels):  # noqa: ANN001, ANN202
    moments = {timeline_chart.moment_name(moment): moment for panel in panels for moment in panel.timeline.moments}
    where = st.pills("Show", ["Whole run", *moments], default="Whole run", required=True, key="twice_focus")
    moment = moments.get(where)
    return None if moment is None else (moment.from_s, moment.until_s)


def ranking(runs, *, file_name) -> None:  # noqa: ANN001
    every = list({(run.policy, run.version, run.scenario, run.seed): run for run in runs}.values())
    with st.container(border=True, key="every_run"):
        st.subheader("Every run, the best first", anchor=False)
        st.dataframe(
            comparison.ranked(every), hide_index=True, height=400, alt="Every run with its figures, the best first."
        )
        st.download_button(
            "Export as CSV",
            comparison.to_csv(every),
            file_name=file_name,
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
