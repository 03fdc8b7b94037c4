"""What surrounds every page: filters, the store's badge, who is signed in, the banners, and the head of a page."""

import streamlit as st
from parts import emptiness, evidence, waiting

from session_core.dashboard import exports, loaders, page_report, selection, view
from session_core.dashboard.phrases import unformatted
from session_core.errors import EventStoreError
from session_core.store.descriptions import for_how_long
from session_core.web import auth_context

ANSWER_PX = 30
OPEN = "open_page"


def sidebar(pages, current, observing) -> None:  # noqa: ANN001 - pages by section, the one that is open
    """The way about, and on pages that look at something what they look at."""
    with st.sidebar:
        if current in observing:
            selection.remember()
        if st.session_state.get(OPEN) != current.url_path:
            st.session_state[OPEN] = current.url_path
            waiting.forget()
        for section, listed in pages.items():
            with st.container(gap="xxsmall", key=f"pages_{section}"):
                st.caption(section)
                for page in listed:
                    st.page_link(page, query_params=selection.links() if page in observing else None, width="stretch")
        if current in observing:
            _controls(selection.asked(loaders.now_s()))
        store_badge()
        signed_in()
        if auth_context.embedded_provider():
            st.badge("Embedded test provider", icon=":material/science:", color="orange")
            st.caption("A test double: `ada`, `grace` and `alan` sign in with the password `demo`.")


def _controls(asked) -> None:  # noqa: ANN001 - what the address asks for
    selection.draw_time(asked)
    selection.draw_source(asked)
    selection.draw_filters(asked, loaders.options(asked.view.span, asked.view.source))
    selection.draw_compare(asked)


def banners() -> None:
    trouble = auth_context.store_trouble()
    if trouble:
        st.warning(f"{trouble} Sessions go on meanwhile.", icon=":material/database_off:")


def begin(page):  # noqa: ANN001, ANN201 - a page of cards; what is looked at
    """Its title and its answer; where there is nothing to look at, why, and the page ends here."""
    shown, *_, troubles = selection.asked(loaders.now_s())
    for sentence in troubles:
        st.info(sentence, icon=":material/link_off:")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(page.title, anchor=False, width="content")
        tools = st.container(horizontal=True, vertical_alignment="center", width="content")
    emptiness.stop_if_empty(shown)
    with tools:
        simulated_badge(shown)
        _export(page, shown)
    evidence.live(_answer, page, shown, key=page.title)
    return shown


def simulated_badge(shown) -> None:  # noqa: ANN001 - what is looked at
    try:
        simulated = loaders.shows_simulated(shown)
    except EventStoreError:
        return
    if simulated:
        st.badge("Simulated", icon=":material/experiment:", color="violet", help="Some or all of this was simulated.")


@st.fragment(run_every=5)
def store_badge() -> None:
    try:
        newest_at, name = loaders.newest_event_at(), loaders.store_name()
    except EventStoreError:
        st.badge("Event store not available", icon=":material/database_off:", color="orange")
        return
    age = (
        "no events yet"
        if newest_at is None
        else f"newest event {for_how_long(max(0, loaders.now_s() - newest_at))} ago"
    )
    st.badge(name, icon=":material/database:", color="gray", help=f"The event store; {age}.")
    st.caption(age.capitalize())


def signed_in() -> None:
    auth = auth_context.use_auth()
    if auth.user is None:
        st.caption(":material/person_off: Nobody is signed in here.")
        return
    st.text(f"{auth.user.shown}\n{auth.user.email}")
    if st.button("Sign out", icon=":material/logout:", key="sign_out", type="tertiary"):
        auth.sign_out()
        st.rerun()


def _answer(page, shown) -> None:  # noqa: ANN001
    shown = shown.at(loaders.now_s())
    compared = "" if shown.before is None else f" · compared with {view.period_words(shown.before, shown.zone)}"
    st.caption(f"{view.period_words(shown.span, shown.zone)}{compared}")
    try:
        with waiting.skeleton("answer", shown, ANSWER_PX):
            sentence = loaders.kept(page.title, shown, page.answer)
    except EventStoreError:
        sentence = "The figures come back with the event store."
    st.markdown(f"#### {unformatted(sentence)}")


def _export(page, shown) -> None:  # noqa: ANN001
    """Made when it is asked for, of what is to be seen then."""

    def now():  # noqa: ANN202
        return shown.at(loaders.now_s())

    def html() -> str:
        then = now()
        return page_report.to_html(page.title, page.answer(then), page.ask(then), view.words(then))

    with st.popover("Export", icon=":material/ios_share:", type="tertiary"):
        st.caption("As it is now, with the time range and the filters in it.")
        for label, icon, make, ending, mime in (
            ("Page as HTML", ":material/web:", html, "html", "text/html"),
            (
                "Tables as CSV",
                ":material/folder_zip:",
                lambda: exports.to_zip(page.ask(now()), view.words(now())),
                "zip",
                "application/zip",
            ),
        ):
            st.download_button(
                label,
                make,
                file_name=exports.file_name(page.title, ending=ending),
                mime=mime,
                key=f"export_{ending}",
                on_click="ignore",
                icon=icon,
                width="stretch",
            )
