"""Alerts are looked at every minute, and the webhook hears of every change, in order, until it has taken it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from alert_kit import FEW, FORCED_OUT, NOW, Clock, History
from hypothesis import given
from hypothesis import strategies as st

from session_core.errors import ConfigError, EventStoreError
from session_core.store.alert_desk import AlertDesk
from session_core.store.late_store import LateStore
from session_core.vocabulary import ErrorClass
from session_core.web.alert_watch import DELIVERIES, GIVE_UP_S, Messenger, watching
from session_core.web.webhook import Undelivered, Webhook, read_answer
from session_core.wire import FailureKind, WireAnswer, WireFailure, WireRequest

SECRET = "hush-hush"
WEBHOOK = Webhook(url=f"https://hooks.example/services/{SECRET}?key={SECRET}")
TAKEN = WireAnswer(status=204, headers={})
LOST = WireFailure(kind=FailureKind.TIMEOUT, maybe_sent=True)


class Receiver:
    """Answers in turn, the last answer for ever; remembers what it was sent."""

    def __init__(self, *answers: WireAnswer | WireFailure) -> None:
        self.answers = list(answers) or [TAKEN]
        self.requests: list[WireRequest] = []
        self.closed = False

    async def send(self, request: WireRequest) -> WireAnswer | WireFailure:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def aclose(self) -> None:
        self.closed = True

    def heard(self) -> list[str]:
        return [json.loads(request.body)["change"] for request in self.requests]

    def ids(self) -> list[str]:
        return [dict(request.headers)["idempotency-key"] for request in self.requests]


class Office:
    """A desk with a store, whose messenger does not wait but moves the clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.waits: list[float] = []
        self.number = 0
        self.open()

    def open(self) -> None:
        self.late = LateStore(self.path, clock=self.clock, retry_s=0)
        self.desk = AlertDesk(self.late, clock=self.clock, new_id=self.new_id, configured=FEW, told_to=WEBHOOK.host)

    def new_id(self) -> str:
        self.number += 1
        return f"change-{self.number}"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.now += seconds

    def deliver(self, receiver: Receiver) -> None:
        messenger = Messenger(self.desk, WEBHOOK, receiver, clock=self.clock, rng=Random(1), sleep=self.sleep)
        asyncio.run(messenger.deliver())

    def burn(self) -> None:
        history = History(self.late.opened())
        history.used(2, NOW - 60)
        history.used(2, NOW - 30, FORCED_OUT, name="bad")
        self.desk.evaluate()

    def told(self) -> list[tuple[str, int, str]]:
        kept = self.desk.history()[::-1]
        return list(zip(kept["delivery"], kept["tries"], kept["trouble"], strict=True))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path / "lab.duckdb")
    yield office
    office.late.close()


def test_every_change_is_told_once_and_in_order(office: Office) -> None:
    """As JSON, with its id for a receiver that must know one that comes twice."""
    office.burn()
    office.desk.acknowledge("Burn")
    receiver = Receiver()
    office.deliver(receiver)
    office.deliver(receiver)
    assert receiver.heard() == ["firing", "acknowledged"]
    assert receiver.ids() == ["change-1", "change-2"]
    assert {(request.method, request.url) for request in receiver.requests} == {("POST", WEBHOOK.url)}
    assert office.told() == [("delivered", 1, ""), ("delivered", 1, "")]


def test_what_was_not_taken_is_sent_again_before_anything_else(office: Office) -> None:
    """With the same id, after a growing wait; a server's own word on when counts for more."""
    office.burn()
    office.desk.acknowledge("Burn")
    slow_down = WireAnswer(status=429, headers={"retry-after": "17"})
    receiver = Receiver(LOST, WireAnswer(status=503, headers={}), slow_down, TAKEN)
    office.deliver(receiver)
    assert receiver.ids() == ["change-1"] * 4 + ["change-2"]
    assert office.told()[0] == ("delivered", 4, "")
    assert 0 < office.waits[0] <= 2
    assert 0 < office.waits[1] <= 4
    assert office.waits[2:] == [17]


def test_a_restart_goes_on_with_what_is_pending(office: Office) -> None:
    """Tries are counted over restarts, and the trouble so far is said."""

    class StoppedError(Exception):
        pass

    async def stopped(_seconds: float) -> None:
        raise StoppedError

    office.burn()
    messenger = Messenger(office.desk, WEBHOOK, Receiver(LOST), clock=office.clock, rng=Random(1), sleep=stopped)
    with pytest.raises(StoppedError):
        asyncio.run(messenger.deliver())
    assert office.told() == [("pending", 1, "The webhook did not answer (timeout).")]
    office.late.close()
    office.open()
    receiver = Receiver()
    office.deliver(receiver)
    assert receiver.ids() == ["change-1"]
    assert office.told() == [("delivered", 2, "")]


def test_a_webhook_that_stays_away_is_given_up(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """After a bounded time, which the history and the console say; the address stays secret."""
    office.burn()
    with caplog.at_level(logging.WARNING):
        office.deliver(Receiver(LOST))
    ((delivery, tries, trouble),) = office.told()
    assert (delivery, tries) == ("given_up", DELIVERIES.attempts_max)
    assert trouble == "The webhook did not answer (timeout). It was given up after 20 tries."
    assert sum(office.waits) <= GIVE_UP_S
    assert trouble in caplog.text
    assert SECRET not in caplog.text


def test_news_of_yesterday_is_given_up(office: Office) -> None:
    """An app that was off for a day tries once more, and no longer."""
    office.burn()
    office.clock.now += GIVE_UP_S
    office.deliver(Receiver(LOST))
    assert office.told()[0][:2] == ("given_up", 1)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410])
def test_what_no_later_try_mends_is_given_up_at_once(office: Office, status: int) -> None:
    """The next change has its turn: the operator may have mended the address meanwhile."""
    office.burn()
    office.desk.acknowledge("Burn")
    office.deliver(Receiver(WireAnswer(status=status, headers={}), TAKEN))
    assert [delivery for delivery, *_ in office.told()] == ["given_up", "delivered"]
    assert f"status {status}" in office.told()[0][2]
    assert office.waits == []


@given(st.integers(200, 599))
def test_only_a_2xx_is_a_yes(status: int) -> None:
    """Every other answer is a class of trouble, in words."""
    read = read_answer(WireAnswer(status=status, headers={}), wall=NOW)
    assert (read is None) is (status < 300)
    if read is not None:
        assert read.error in ErrorClass
        assert str(status) in read.sentence


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/hook", "http://localhost/", "http://[::1]:80/", "https://hooks.example/x?y=z"]
)
def test_a_webhook_is_https_or_on_this_machine(url: str) -> None:
    """Alerts say how a product fares; they do not cross a network in the clear."""
    assert Webhook(url=url).host


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/hush-hush",
        "hush-hush",
        "https://",
        "ftp://hush-hush",
        "",
        "https://x/hush-hush\n",
        "http:///",
    ],
)
def test_another_address_is_refused_without_being_repeated(url: str) -> None:
    """It may be a secret with a slip in it."""
    with pytest.raises(ConfigError) as caught:
        Webhook(url=url)
    assert SECRET not in str(caught.value)


def test_the_address_never_shows() -> None:
    """Neither the webhook's nor that of what is sent or comes back; its host is what a page may show."""
    request = WireRequest(method="POST", url=WEBHOOK.url)
    refused = Undelivered(error=ErrorClass.SERVER, sentence="No.")
    assert SECRET not in f"{WEBHOOK!r} {refused!r} {WEBHOOK.host}"
    assert f"?key={SECRET}" not in repr(request)
    assert WEBHOOK.host == "hooks.example"


class Beats:
    """A sleep that passes once for every beat given; `idle` is set while it waits for one."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self._beats = asyncio.Semaphore(0)
        self.idle = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.idle.set()
        await self._beats.acquire()

    async def next(self) -> None:
        self.idle.clear()
        self._beats.release()
        await self.idle.wait()


def watched(office: Office, receiver: Receiver, story: Callable[[Beats], Awaitable[None]]) -> None:
    async def run() -> None:
        beats = Beats()
        async with watching(office.desk, WEBHOOK, clock=office.clock, rng=Random(1), transport=receiver, sleep=beats):
            await beats.idle.wait()
            await story(beats)

    asyncio.run(asyncio.wait_for(run(), 20))


async def until(claim: Callable[[], bool]) -> None:
    while not claim():
        await asyncio.sleep(0.005)


def test_the_watch_looks_at_once_and_every_minute(office: Office) -> None:
    """And what it finds is told without waiting for the next look."""
    receiver = Receiver()

    async def story(beats: Beats) -> None:
        assert office.desk.board().looked_at == NOW
        await asyncio.to_thread(office.burn)
        await until(lambda: len(receiver.requests) == 1)
        office.clock.now = NOW + 2_000
        await beats.next()
        await until(lambda: len(receiver.requests) == 2)
        assert beats.waited == [60, 60]

    watched(office, receiver, story)
    assert receiver.heard() == ["firing", "frozen"]
    assert receiver.closed


def test_a_person_s_act_is_told_at_once(office: Office) -> None:
    """From the page's own thread, between two looks."""
    receiver = Receiver()
    office.burn()

    async def story(_beats: Beats) -> None:
        await asyncio.to_thread(office.desk.acknowledge, "Burn")
        await until(lambda: len(receiver.requests) == 2)

    watched(office, receiver, story)
    assert receiver.heard() == ["firing", "acknowledged"]


def test_who_delivers_does_not_take_back_that_nothing_can_be_judged(office: Office) -> None:
    """Only the next look may."""
    office.desk.lose_sight("The alerts could not be judged.")
    assert office.desk.next_pending() is None
    assert office.desk.board().trouble == "The alerts could not be judged."
    office.desk.evaluate()
    assert office.desk.board().trouble is None


def test_a_look_that_crashes_is_said_and_looked_again(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours freezes the alerts, and ends neither the watch nor the app."""

    def broken(_self: object, _store: object) -> None:
        raise KeyError("burn")

    async def story(beats: Beats) -> None:
        assert "could not be judged (KeyError)" in str(office.desk.board().trouble)
        monkeypatch.undo()
        await beats.next()
        assert office.desk.board().trouble is None

    monkeypatch.setattr(AlertDesk, "_evaluate", broken)
    watched(office, Receiver(), story)
    assert "KeyError" in caplog.text


def test_what_cannot_be_noted_is_sent_at_the_next_look(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store was away for a moment: the receiver hears it twice, with one id."""
    receiver = Receiver()

    refusals: list[object] = []

    def away(*given: object, **_more: object) -> None:
        refusals.append(given)
        raise EventStoreError("The disk is full.")

    async def story(beats: Beats) -> None:
        monkeypatch.setattr(office.desk, "note_delivery", away)
        await asyncio.to_thread(office.burn)
        await until(lambda: len(refusals) == 1)
        monkeypatch.undo()
        await beats.next()
        await until(lambda: len(receiver.requests) == 2)

    watched(office, receiver, story)
    first, second = receiver.ids()
    assert first == second


def test_a_messenger_that_crashes_goes_on_and_keeps_the_secret(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own words might hold the address, so the console hears only of what kind the mistake was."""
    receiver = Receiver()
    send = receiver.send

    async def broken(request: WireRequest) -> WireAnswer | WireFailure:
        receiver.requests.append(request)
        raise ValueError(request.url)

    async def story(beats: Beats) -> None:
        await asyncio.to_thread(office.burn)
        await until(lambda: "could not be told (ValueError)" in caplog.text)
        receiver.send = send
        await beats.next()
        await until(lambda: "delivered" in {delivery for delivery, *_ in office.told()})

    receiver.send = broken
    watched(office, receiver, story)
    assert SECRET not in caplog.text
