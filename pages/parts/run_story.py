"""One run told: its verdict, what happened in words, the timeline, and the ways to see it again."""

import streamlit as st
from parts import timeline_view

from session_core.config import PRESETS
from session_core.dashboard import lab_loaders, lanes, selection, story, timeline, verdicts
from session_core.errors import SessionCoreError
from session_core.sim.scenario import to_toml

AGAIN = "played_again"


def show(job, policies, *, user) -> None:  # noqa: ANN001 - the run, the names of policies, and who is looked at
    _head(job, policies)
    try:
        run = lab_loaders.run_of(job)
    except SessionCoreError as error:
        st.info(f"This scenario cannot be played: {error}", icon=":material/error:")
        return
    st.markdown(f"#### {verdicts.run_sentence(run)}")
    st.caption(f"{job.scenario.what} It passes when: {job.scenario.passes_when}")
    for failure in run.failures:
        st.markdown(f":red[{verdicts.FAIL}] {failure}")
    users = lanes.users_of(run.events)
    who = _user(job, users, user)
    events = lanes.about(run.events, who) if who else run.events
    told = story.tell(events)
    with st.container(border=True, key="story"):
        st.subheader("What happened", anchor=False)
        st.markdown("\n".join(f"- {sentence}" for sentence in told))
    timeline_view.draw(f"{job.scenario.name}_{job.policy.name}_{job.seed}", timeline.build(events), told)
    _actions(job, run, user)


def _head(job, policies) -> None:  # noqa: ANN001
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button("All scenarios", icon=":material/arrow_back:", key="back", on_click=selection.close_run)
        policy = st.selectbox(
            "Policy", policies, index=policies.index(job.policy.name), key=f"policy_of_{job.policy.name}"
        )
        seed = st.number_input("Seed", 0, verdicts.SEED_MAX, job.seed, key=f"seed_of_{job.seed}")
        st.badge("Simulated", icon=":material/experiment:", color="violet")
    if (policy, seed) != (job.policy.name, job.seed):
        selection.open_run(job.scenario.name, policy, int(seed))
        st.rerun()
    st.subheader(job.scenario.name, anchor=False)


def _user(job, users, user):  # noqa: ANN001, ANN202
    if len(users) < 2:
        return users[0] if users else None
    index = users.index(user) if user in users else 0
    who = st.selectbox(f"User, of {len(users):,}", users, index=index, key=f"user_of_{user}", width=220)
    if user is not None and user not in users:
        st.info(f"There is no user {user!r} in this run; this is {who}.", icon=":material/person_off:")
    elif who != users[index]:
        selection.open_run(job.scenario.name, job.policy.name, job.seed, user=who)
        st.rerun()
    return who


def _actions(job, run, user) -> None:  # noqa: ANN001
    with st.container(horizontal=True, key="actions"):
        if st.button("Replay", icon=":material/replay:", help="Plays it anew and compares every event."):
            st.session_state[AGAIN] = (run.digest, lab_loaders.replay(job).digest)
        with st.popover("Copy link", icon=":material/link:"):
            st.code(verdicts.link(selection.page_url(), job, user=user), language=None, wrap_lines=True)
        with st.popover("Copy command", icon=":material/terminal:"):
            st.code(verdicts.command(job, PRESETS), language="bash", wrap_lines=True)
        st.download_button(
            "Save as scenario",
            to_toml(job.scenario),
            file_name=f"{job.scenario.name}.toml",
            icon=":material/save:",
            on_click="ignore",
            help="Change it, give it a new name, and put it into data/scenarios.",
        )
    before, after = st.session_state.pop(AGAIN, (None, None))
    if before is not None and before == after:
        st.success("Played again: the same digest, so every event is the same.", icon=":material/check:")
    elif before is not None:
        st.error(f"Played again: another digest, {after}.", icon=":material/error:")
    st.caption(f"Seed {job.seed} · version {run.version} · {len(run.events):,} events · digest `{run.digest}`")
