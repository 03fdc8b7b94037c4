"""What to simulate: scenarios by family, policies and seeds, all in the address; and the button that starts it."""

import streamlit as st

from session_core.dashboard import lab_loaders, selection, verdicts
from session_core.errors import ConfigError
from session_core.lab_jobs import plan

ALL = "All"
SEEDS_MAX, SEEDS_DEFAULT = 200, 3
POLICY_BYTES_MAX_MB = 1


def draw(scenarios, policies):  # noqa: ANN001, ANN201 - the catalogue and the policies by name; the jobs
    """The controls; what comes of them is the jobs to run."""
    chosen = _scenarios(scenarios)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        named = st.pills(
            "Policies",
            list(policies),
            selection_mode="multi",
            default=list(policies)[:2],
            key="policies",
            bind="query-params",
        )
        seeds = st.number_input(
            "Seeds", 1, SEEDS_MAX, SEEDS_DEFAULT, key="seeds", bind="query-params", help="Each seed is another run."
        )
    _own_policy()
    if not named:
        st.info("Choose at least one policy.", icon=":material/policy:")
        st.stop()
    return plan((scenarios[name] for name in chosen), (policies[name] for name in named), range(1, int(seeds) + 1))


def _scenarios(scenarios):  # noqa: ANN001, ANN202
    families = [ALL, *(word for family, word in verdicts.FAMILIES.items() if _in(scenarios, family))]
    family = (
        st.pills("Family", families, default=ALL, required=True, key="family", bind="query-params", wrap=True) or ALL
    )
    listed = {name: each for name, each in scenarios.items() if family in (ALL, verdicts.FAMILIES[each.family])}
    chosen = selection.picked(listed)
    every = len(chosen) == len(listed)
    st.caption(
        f"All {len(listed)} scenarios below; tick some to run only those." if every else f"{len(chosen)} ticked."
    )
    with st.container(height=430, key="scenarios", gap="xsmall"):
        for word in verdicts.FAMILIES.values():
            theirs = [each for each in listed.values() if verdicts.FAMILIES[each.family] == word]
            if theirs:
                st.markdown(f"**{word}**")
            for each in theirs:
                st.checkbox(each.name, key=selection.PICK + each.name, bind="query-params", help=each.passes_when)
                st.caption(each.what)
    return chosen


def _in(scenarios, family) -> bool:  # noqa: ANN001
    return any(each.family == family for each in scenarios.values())


def _own_policy() -> None:
    with st.popover("Add a policy of your own", icon=":material/upload_file:", type="tertiary"):
        st.caption("A TOML file that says what differs from the professional policy.")
        file = st.file_uploader("Policy file", type="toml", max_upload_size=POLICY_BYTES_MAX_MB, key="own_policy")
        if file is not None:
            try:
                st.caption(f"The policy **{lab_loaders.add_policy(file.name, file.getvalue())}** can be chosen now.")
            except ConfigError as error:
                st.info(str(error), icon=":material/edit_document:")
