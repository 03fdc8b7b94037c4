"""What pages tell the app of their user, and are told of the session's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from lab_kit import ServedLab, served_lab
from streamlit.testing.v1 import AppTest
from test_pages import OneSeat
from world import World, live, with_

from session_core.config import PROFESSIONAL
from session_core.errors import SessionLockedError
from session_core.events import UserActed
from session_core.session import Session
from session_core.session_limits import HOUR_S, SessionLimits
from session_core.vocabulary import EndReason, State
from session_core.web.presence import ACTIVITY_PATH, NOBODY, SCRIPT_PATH, Told, told

LIMITS = SessionLimits(idle_s=900.0, absolute_s=8 * HOUR_S)
SETTINGS = "[policy.limits]\nidle_s = 900\nabsolute_s = 28800\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "limits.toml").write_text(SETTINGS, encoding="utf-8")
    with served_lab(folder / "lab.duckdb", {"SESSION_LAB_CONFIG": str(folder / "limits.toml")}) as lab:
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        served.sign_in(client)
        client.headers["origin"] = served.url
        yield client


def session_of(served: ServedLab, browser: httpx.Client) -> Session:
    seat = served.lab.seats.find(browser.cookies.get(served.lab.cookies.session))
    assert seat is not None
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    return session


def grow_idle(served: ServedLab, session: Session, seconds: float) -> None:
    """As if so much time had passed since the user did something, and since they signed in at the provider."""
    at_provider = served.lab.provider._parts.accounts._sessions

    async def age() -> None:
        for cookie, known in at_provider.items():
            at_provider[cookie] = msgspec.structs.replace(known, auth_time=known.auth_time - seconds)
        session._limits.begin(session._limits.started_at - seconds, session.last_activity_at - seconds)

    served.lab.service.call(age())


def asked(browser: httpx.Client) -> Told:
    return msgspec.json.decode(browser.get(ACTIVITY_PATH).content, type=Told)


def acted(browser: httpx.Client, name: str = "acted") -> Told:
    return msgspec.json.decode(browser.post(ACTIVITY_PATH, params={"act": name}).content, type=Told)


def test_what_the_user_does_counts_and_asking_does_not(served: ServedLab, browser: httpx.Client) -> None:
    """A question leaves the idle limit where it is; an act moves it."""
    session = session_of(served, browser)
    grow_idle(served, session, 870)
    before = session.last_activity_at
    for _ in range(3):
        said = asked(browser)
    assert session.last_activity_at == before
    assert said.how == "open"
    assert said.extends
    assert 25 < (said.left_s or 0) <= 30
    assert 890 < (acted(browser).left_s or 0) <= 900
    assert session.last_activity_at > before


@pytest.mark.parametrize("name", ["acted", "focus", "stay"])
def test_at_the_limit_nothing_brings_a_session_back(served: ServedLab, browser: httpx.Client, name: str) -> None:
    """Time in which the device slept counts: the first word after it comes too late, and calls are refused."""
    session = session_of(served, browser)
    grow_idle(served, session, 900)
    said = acted(browser, name)
    assert (said.how, said.title) == ("locked", "Locked")
    assert "Nothing was done here for 15 min" in said.why
    assert session.state is State.LOCKED
    with pytest.raises(SessionLockedError):
        served.lab.service.call(session.client.get("echo"))
    assert acted(browser, name).how == "locked"


def test_whoever_comes_to_a_locked_browser_proves_who_they_are(served: ServedLab, browser: httpx.Client) -> None:
    """The provider knows the browser still, so it is told to ask; before the limit it need not."""
    there = browser.get("/auth/sign-in", follow_redirects=False).headers["location"]
    assert "prompt" not in there
    grow_idle(served, session_of(served, browser), 900)
    there = browser.get("/auth/sign-in", follow_redirects=False).headers["location"]
    assert httpx.URL(there).params["prompt"] == "login"
    assert "Password" in browser.get("/auth/sign-in").text


def test_leaving_the_question_out_of_the_address_does_not_open_a_locked_browser(
    served: ServedLab, browser: httpx.Client
) -> None:
    """Whoever sits there can change where the browser is sent; the answer then says that nobody was asked."""
    session = session_of(served, browser)
    grow_idle(served, session, 900)
    there = httpx.URL(browser.get("/auth/sign-in", follow_redirects=False).headers["location"])
    assert there.params["max_age"] == "0"
    back = browser.get(there.copy_remove_param("prompt").copy_remove_param("max_age"))
    assert back.status_code == 400
    assert "You were not asked who you are" in back.text
    assert session_of(served, browser) is session
    assert asked(browser).how == "locked"

    served.sign_in(browser, "/chat")
    assert asked(browser).how == "open"


def test_only_the_app_s_own_pages_tell_of_activity(served: ServedLab, browser: httpx.Client) -> None:
    """Another site can make a browser send the cookie, and keeps nobody signed in with it."""
    session = session_of(served, browser)
    before = session.last_activity_at
    for headers in ({"origin": "https://evil.example"}, {"origin": served.url, "sec-fetch-site": "cross-site"}):
        assert browser.post(ACTIVITY_PATH, params={"act": "acted"}, headers=headers).status_code == 403
    assert session.last_activity_at == before


def test_nonsense_is_answered_in_a_sentence(browser: httpx.Client) -> None:
    """What is no act is none, and is not repeated."""
    answer = browser.post(ACTIVITY_PATH, params={"act": "<script>"})
    assert answer.status_code == 400
    assert "script" not in answer.text
    assert browser.put(ACTIVITY_PATH).status_code == 405


def test_a_flood_of_acts_is_one_event(served: ServedLab, browser: httpx.Client) -> None:
    """However often a page says so, the log is not filled with it."""
    session = session_of(served, browser)
    grow_idle(served, session, 60)
    before = session.last_activity_at
    acted(browser)
    moved = session.last_activity_at
    for _ in range(5):
        acted(browser)
    assert before < moved == session.last_activity_at


def test_whoever_has_no_session_is_told_so(served: ServedLab) -> None:
    """Without a cookie there is nothing to tell, and nothing to move."""
    with served.browser() as stranger:
        stranger.headers["origin"] = served.url
        assert asked(stranger) == acted(stranger) == NOBODY


def test_the_script_comes_from_the_app_itself(browser: httpx.Client) -> None:
    """So that the pages need allow no script from elsewhere, and none written into them."""
    answer = browser.get(SCRIPT_PATH)
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "sessionPresence" in answer.text


def test_no_rerun_and_no_live_part_of_a_page_counts(served: ServedLab, browser: httpx.Client) -> None:
    """Opening pages and running them again, parts that look again by themselves included, moves no limit."""
    session, seats = session_of(served, browser), served.lab.seats
    served.lab.seats = OneSeat(seats.find(browser.cookies.get(served.lab.cookies.session)))
    before = session.last_activity_at
    for page in ("observe/overview.py", "operate/session_health.py", "operate/chat.py", "operate/alerts.py"):
        app = AppTest.from_file("../pages/menu.py", default_timeout=30).run()
        if page != "observe/overview.py":
            app.switch_page(page).run()
        app.run()
        assert not app.exception
    assert session.last_activity_at == before

    grow_idle(served, session, 900)
    app.run()
    assert [title.value for title in app.title] == ["Locked"]
    assert "Sign in to go on where you were" in "\n".join(text.value for text in app.markdown)
    served.lab.seats = seats


def a_page_of_one_s_own() -> None:
    import streamlit as st

    from session_core.web.auth_context import use_auth

    st.title(f"Hello, {use_auth().require_user('Sign in, please.').shown}")


def test_a_page_of_one_s_own_needs_no_line_for_it(served: ServedLab, browser: httpx.Client) -> None:
    """`require_user` lets activity count, and holds the page to the limits."""
    session, seats = session_of(served, browser), served.lab.seats
    served.lab.seats = OneSeat(seats.find(browser.cookies.get(served.lab.cookies.session)))
    app = AppTest.from_function(a_page_of_one_s_own).run()
    assert [title.value for title in app.title] == ["Hello, Ada Lovelace"]
    assert any(SCRIPT_PATH in html.value for html in app.html)
    grow_idle(served, session, 900)
    app.run()
    assert not app.title
    assert "Nothing was done here for 15 min" in app.info[0].value
    served.lab.seats = seats


def test_refreshes_and_heartbeats_are_no_activity() -> None:
    """Left alone for a day of background work, a session is as idle as it is."""

    async def play(world: World) -> None:
        session = await world.session()
        before = session.last_activity_at
        await asyncio.sleep(24 * HOUR_S)
        assert session.last_activity_at == before

    world = live(play, policy=with_(PROFESSIONAL, heartbeat_s=60.0))
    assert world.posts > 20
    assert world.facts(UserActed) == []


def test_what_a_page_is_told_follows_from_the_limits() -> None:
    """None: nothing to count down. Absolute: announced, and not moved by activity. Over: why."""

    async def play(world: World) -> None:
        session = await world.session()
        assert told(session.status(), SessionLimits()).how == "open"
        await asyncio.sleep(100)
        said = told(session.status(), LIMITS)
        assert (said.left_s, said.every_s, said.warn_s, said.extends) == (800.0, 15.0, 60.0, True)
        await session.sign_out(EndReason.SIGNED_OUT_ELSEWHERE)
        assert (told(session.status(), LIMITS).how, told(session.status(), LIMITS).title) == (
            "ended",
            "Signed out from elsewhere",
        )

    live(play, policy=with_(PROFESSIONAL, limits=LIMITS))


def test_without_limits_there_is_nothing_to_count_down() -> None:
    """The page is told no time, so it asks for none and shows none."""

    async def play(world: World) -> None:
        session = await world.session()
        assert told(session.status(), SessionLimits()) == Told(how="open")

    live(play, policy=with_(PROFESSIONAL, limits=SessionLimits()))
