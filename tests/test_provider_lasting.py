"""What the embedded provider granted outlives its process: written before an answer leaves, and found again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from provider_kit import SERVICE, Driver, config, error_of, said
from stores import Hands

from session_core.clock import SystemClock
from session_core.provider import FaultKind, SigningAlg, User
from session_core.provider.asgi import ProviderFace
from session_core.provider.keeping import RETRY_S, GrantKeeper
from session_core.session_store import SessionStoreError
from session_core.shelf import NoShelf, Shelved

Kept = dict[str, bytes]


def watched(**changed: Any) -> tuple[Driver, Callable[[], Kept]]:
    """A provider, and what it has to have written by now."""
    driver = Driver(**changed)
    lasting, kept = driver.provider.lasting(), Kept()

    def written() -> Kept:
        changes = lasting.take(now=driver.now)
        kept.update({thing.name: thing.body for thing in changes.put})
        for name in changes.gone:
            kept.pop(name, None)
        return dict(kept)

    return driver, written


def restarted(kept: Kept, at: Driver, **changed: Any) -> Driver:
    """Another process, at the same moment, with what was written and no more."""
    driver = Driver(**changed)
    driver.now, driver.cookie = at.now, at.cookie
    driver.provider.lasting().restore(kept.values())
    return driver


@pytest.mark.parametrize("alg", [SigningAlg.ES256, SigningAlg.RS256])
def test_tokens_and_keys_go_on_after_a_restart(alg: SigningAlg) -> None:
    """The access token works, the refresh token brings the next, and the published keys are the same."""
    driver, written = watched(grace_s=30, signing_alg=alg, access_token_format="jwt")
    tokens = said(driver.refresh(driver.tokens()["refresh_token"]))
    after = restarted(written(), driver, grace_s=30, signing_alg=alg, access_token_format="jwt")
    assert after.works(tokens["access_token"])
    assert said(after.get("/jwks")) == said(driver.get("/jwks"))
    second = said(after.refresh(tokens["refresh_token"]))
    assert after.works(second["access_token"])
    assert tokens["access_token"] in after.provider.issued_secrets()


def test_a_refresh_that_was_cut_off_by_the_restart_is_answered_again() -> None:
    """Inside the grace window, with the same successor; beyond it the spent token ends the family as ever."""
    driver, written = watched(grace_s=30)
    first = driver.tokens()
    second = said(driver.refresh(first["refresh_token"]))
    kept = written()
    soon = restarted(kept, driver, grace_s=30)
    assert said(soon.refresh(first["refresh_token"])) == second
    late = restarted(kept, driver, grace_s=30)
    late.now += 30
    assert error_of(late.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert late.provider.statistics().reuse_events == 1


def test_what_was_revoked_stays_revoked() -> None:
    """A family by its token, by reuse or by the user; an access token alone; and all at once by a fault."""
    driver, written = watched()
    revoked, reused, ended, alone, living = (driver.tokens() for _ in range(5))
    driver.post("/revoke", token=revoked["refresh_token"], client_id="session-lab")
    driver.post("/revoke", token=alone["access_token"], client_id="session-lab")
    driver.refresh(reused["refresh_token"])
    driver.refresh(reused["refresh_token"])
    after = restarted(written(), driver)
    assert [after.works(each["access_token"]) for each in (revoked, reused, ended, alone, living)] == [
        False, False, True, False, True,
    ]  # fmt: skip
    assert after.refresh(revoked["refresh_token"]).status == 400
    assert after.refresh(alone["refresh_token"]).status == 200
    driver.provider.end_sessions_of("ada", now=driver.now)
    assert not any(name.startswith("family") for name in written())


@pytest.mark.parametrize(
    ("kind", "works", "refreshes"),
    [(FaultKind.REVOKE_ACCESS_TOKENS, False, 200), (FaultKind.REVOKE_REFRESH_TOKENS, False, 400)],
)
def test_a_fault_that_takes_tokens_takes_them_for_good(kind: FaultKind, refreshes: int, *, works: bool) -> None:
    """After a restart they are as useless as before; access tokens of a family that is gone go with it."""
    driver, written = watched()
    tokens = driver.tokens()
    written()
    driver.order(kind)
    driver.get("/")
    after = restarted(written(), driver)
    assert after.works(tokens["access_token"]) is works
    assert after.refresh(tokens["refresh_token"]).status == refreshes


def test_a_browser_stays_signed_in_at_the_provider() -> None:
    """Its cookie is enough for a new code; after it signed out it is not."""
    driver, written = watched()
    driver.sign_in()
    after = restarted(written(), driver)
    assert "code=" in after.authorize().headers["location"]
    driver.provider.end_sessions_of("ada", now=driver.now)
    assert restarted(written(), driver).authorize().status == 200


def test_one_refresh_writes_one_small_record() -> None:
    """However many have signed in, and however often they refreshed."""
    driver, written = watched(grace_s=30)
    tokens = driver.tokens()
    for _ in range(40):
        driver.tokens()
        tokens = said(driver.refresh(tokens["refresh_token"]))
    written()
    lasting = driver.provider.lasting()
    driver.refresh(tokens["refresh_token"])
    changes = lasting.take(now=driver.now)
    families = [thing for thing in changes.put if thing.name.startswith("family")]
    assert len(families) == 1
    assert len(families[0].body) < 4096
    assert families[0].life_s == driver.provider.config.refresh_ttl_s


def test_what_belongs_to_nobody_any_more_is_left_out() -> None:
    """A user or client that was taken from the settings, and keys of another kind."""
    driver, written = watched(access_token_format="jwt")
    tokens = driver.tokens()
    driver.sign_in()
    grace = (User(username="grace", name="Grace", email="grace@example.org"),)
    for changed in ({"users": grace}, {"clients": config().clients[1:]}, {"signing_alg": SigningAlg.RS256}):
        after = restarted(written(), driver, **{"access_token_format": "jwt", **changed})
        assert after.works(tokens["access_token"]) is ("signing_alg" in changed)
    assert restarted(written(), driver, users=grace).authorize().status == 200


def test_a_service_s_own_tokens_need_no_memory() -> None:
    """They have no family, live for an hour, and are asked for anew."""
    driver, written = watched()
    driver.post("/token", basic=SERVICE, grant_type="client_credentials")
    assert {name for name in written() if name != "keys"} == set()


def test_secrets_of_a_provider_do_not_show() -> None:
    """Not even while they are on their way to be sealed."""
    driver, written = watched()
    token = driver.tokens()["access_token"]
    lasting = driver.provider.lasting()
    driver.tokens()
    assert token not in repr(lasting.take(now=driver.now))
    assert written()


class SlowShelf(NoShelf):
    """A disk that takes its time, and that can be full."""

    def __init__(self) -> None:
        self.kept: Kept = {}
        self.gate = asyncio.Event()
        self.full = False

    async def put(self, *things: Shelved) -> None:
        await self.gate.wait()
        if self.full:
            raise SessionStoreError("The disk is full.")
        self.kept.update({thing.name: thing.body for thing in things})

    async def remove(self, *names: str) -> None:
        for name in names:
            self.kept.pop(name, None)

    async def all(self) -> tuple[bytes, ...]:
        return tuple(self.kept.values())


async def ask(face: ProviderFace, token: str, answers: list[int]) -> None:
    """A refresh, through the face."""
    body = f"grant_type=refresh_token&client_id=session-lab&refresh_token={token}".encode()
    scope = {
        "method": "POST",
        "path": "/idp/token",
        "query_string": b"",
        "headers": [(b"content-type", b"application/x-www-form-urlencoded")],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    await face(scope, receive, send)


def test_no_answer_leaves_before_it_is_written() -> None:
    """Neither the one that is written nor a replay that would give away the same tokens meanwhile."""

    async def play() -> None:
        driver, shelf, answers = Driver(grace_s=30), SlowShelf(), list[int]()
        keeper = GrantKeeper(driver.provider.lasting(), shelf, clock=SystemClock())
        face = ProviderFace(driver.provider, clock=SystemClock(), keeper=keeper)
        driver.now = SystemClock().wall()
        token = driver.tokens()["refresh_token"]
        asked = [asyncio.create_task(ask(face, token, answers)) for _ in range(2)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert (answers, shelf.kept) == ([], {})
        shelf.gate.set()
        await asyncio.gather(*asked)
        assert answers == [200, 200]
        assert any(name.startswith("family") for name in shelf.kept)

    asyncio.run(play())


def test_a_full_disk_keeps_no_answer_back_and_is_made_up_for(caplog: pytest.LogCaptureFixture) -> None:
    """What is owed is written with an answer a little later, as it stands by then."""

    async def play() -> None:
        driver, shelf, answers, hands = Driver(grace_s=30), SlowShelf(), list[int](), Hands()
        keeper = GrantKeeper(driver.provider.lasting(), shelf, clock=hands.clock)
        face = ProviderFace(driver.provider, clock=hands.clock, keeper=keeper)
        driver.now = hands.clock.wall()
        first, second = driver.tokens(), driver.tokens()
        shelf.gate.set()
        shelf.full = True
        await ask(face, first["refresh_token"], answers)
        assert (answers, shelf.kept) == ([200], {})
        shelf.full = False
        driver.post("/revoke", token=second["refresh_token"], client_id="session-lab")
        await keeper.settle()
        assert shelf.kept == {}, "not every call waits for a disk that fails"
        hands.at += RETRY_S
        await keeper.settle()
        assert sum(name.startswith("family") for name in shelf.kept) == 1
        after = Driver(grace_s=30)
        await GrantKeeper(after.provider.lasting(), shelf, clock=hands.clock).restore()
        after.now = driver.now
        assert after.refresh(second["refresh_token"]).status == 400
        assert after.refresh(first["refresh_token"]).status == 200

    asyncio.run(play())
    assert "The disk is full." in caplog.text
