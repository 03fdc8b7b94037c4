"""Limits and devices in a real browser: a warning, a lock, the way back to the very page, and an end from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browser_kit import sign_in, started_app
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

pytestmark = pytest.mark.browser

SOCKET = re.compile("/_stcore/stream")
ACTIVITY = "**/auth/activity*"


@pytest.fixture
def limited_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "limits.toml").write_text("[policy.limits]\nidle_s = 16\nwarn_s = 8\n", encoding="utf-8")
    with started_app(folder, SESSION_LAB_CONFIG=str(folder / "limits.toml")) as url:
        yield url


def test_a_user_is_warned_stays_is_locked_and_comes_back_to_the_very_page(page: Page, limited_url: str) -> None:
    """In every tab, with the websocket cut; behind the cover nothing is seen, and the password is asked for."""
    sockets: list[WebSocketRoute] = []
    open_for_business = [True]

    def meet(socket: WebSocketRoute) -> None:
        if open_for_business:
            sockets.append(socket)
            socket.connect_to_server()
        else:
            socket.close()

    page.context.route_web_socket(SOCKET, meet)
    sign_in(page, f"{limited_url}/chat?draft=7")
    tab = page.context.new_page()
    tab.goto(f"{limited_url}/health")
    expect(tab.get_by_text("Access token").first).to_be_visible()
    open_for_business.clear()
    for socket in sockets:
        socket.close()

    warnings = [each.locator("#session-warning") for each in (page, tab)]
    for warning in warnings:
        expect(warning).to_contain_text(re.compile(r"Are you still there\?.*locked in0:0\d"))
    page.get_by_role("button", name="Stay signed in").click()
    for warning in warnings:
        expect(warning).not_to_be_visible()

    covers = [each.locator("#session-cover") for each in (page, tab)]
    for cover in covers:
        expect(cover).to_contain_text("Nothing was done here for 16 s.")
    page.keyboard.press("Escape")
    expect(covers[0]).to_be_visible()
    expect(page.get_by_placeholder("Write to ATOM")).not_to_be_visible()

    open_for_business.append(True)
    covers[0].get_by_role("link", name="Sign in again").click()
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_placeholder("Write to ATOM")).to_be_visible()
    assert page.url == f"{limited_url}/chat?draft=7"
    expect(covers[1]).not_to_be_visible()
    expect(tab.get_by_text("Access token").first).to_be_visible()


def test_time_asleep_counts_and_the_app_has_the_last_word(page: Page, app_url: str) -> None:
    """A page that slept past its limit is covered before the network is back; until then it asked and showed nothing."""
    sent: list[str] = []
    page.clock.install()
    with page.expect_response(lambda answer: answer.url.endswith("/auth/activity")):
        sign_in(page, f"{app_url}/chat")
    page.on("request", lambda request: sent.append(request.url) if "/auth/activity" in request.url else None)
    expect(page.get_by_placeholder("Write to ATOM")).to_be_visible()
    page.clock.run_for(90_000)
    assert sent == []
    with page.expect_response("**/auth/activity?act=acted"):
        for step in range(1, 6):
            page.mouse.move(20 * step, 300)
    with page.expect_response("**/auth/activity?act=acted"):
        page.clock.run_for(60_000)
    page.clock.run_for(90_000)
    with page.expect_response("**/auth/activity?act=focus"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert len(sent) == 3
    expect(page.locator("#session-warning")).not_to_be_visible()

    page.route(ACTIVITY, lambda route: route.abort())
    page.clock.fast_forward(31 * 86_400_000)
    cover = page.locator("#session-cover")
    expect(cover).to_contain_text("A session lasts 30 d at most.")
    page.unroute(ACTIVITY)
    page.clock.run_for(6_000)
    expect(cover).not_to_be_visible()
    expect(page.get_by_placeholder("Write to ATOM")).to_be_visible()


def test_one_device_signs_out_another_which_says_why(page: Page, browser: Browser, app_url: str) -> None:
    """Without a reload the other page stops; the one that did it goes on."""
    phone = browser.new_context(user_agent="Mozilla/5.0 (iPhone) Safari/605", viewport={"width": 400, "height": 800})
    lost = phone.new_page()
    sign_in(lost, f"{app_url}/alerts")
    sign_in(page, f"{app_url}/devices")
    row = page.locator("[class*=st-key-device_]").filter(has_text="Safari on iPhone")
    row.get_by_role("button", name="Sign out").click()
    expect(row).not_to_be_visible()
    cover = lost.locator("#session-cover")
    expect(cover).to_contain_text("This session was ended on another of your devices.")
    expect(cover.get_by_role("link", name="Sign in again")).to_be_visible()
    expect(page.get_by_text("This one")).to_be_visible()
    phone.close()
