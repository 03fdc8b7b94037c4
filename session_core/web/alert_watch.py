"""Looks at the alerts every minute and tells the webhook what became of them, for as long as the app runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import httpx

from session_core.clock import Clock
from session_core.errors import EventStoreError
from session_core.retry_manager import RetryPolicy
from session_core.store.alert_desk import AlertDesk
from session_core.store.alerts import Delivery, KeptChange
from session_core.web.webhook import Undelivered, Webhook, post
from session_core.wire import HttpxTransport, Transport

EVERY_S = 60.0
GIVE_UP_S = 86_400.0
# The first tries within minutes, the later ones an hour apart at most.
DELIVERIES = RetryPolicy(attempts_max=20, delay_s_first=2.0, delay_s_max=3_600.0, retry_after_s_max=3_600.0)
Sleep = Callable[[float], Awaitable[object]]
log = logging.getLogger("session_lab")


class Messenger:
    """Tells one webhook every change in its order, each until it is taken: the next waits for the one before.

    A change that cannot be delivered within its tries or within a day is given up, which the history says.
    """

    def __init__(
        self,
        desk: AlertDesk,
        webhook: Webhook,
        transport: Transport,
        *,
        clock: Clock,
        rng: Random,
        policy: RetryPolicy = DELIVERIES,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._desk = desk
        self._webhook = webhook
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._policy = policy
        self._sleep = sleep

    async def deliver(self) -> None:
        """Until nothing is pending. Raises EventStoreError; what was sent and could not be noted is sent again."""
        while (change := await asyncio.to_thread(self._desk.next_pending)) is not None:
            refused = await post(
                self._transport,
                self._webhook,
                change.message,
                message_id=change.change_id,
                wall=self._clock.wall(),
            )
            delay_s = None if refused is None else self._delay_s(change, refused)
            await asyncio.to_thread(self._note, change, refused, delay_s)
            if delay_s is not None:
                await self._sleep(delay_s)

    def _delay_s(self, change: KeptChange, refused: Undelivered) -> float | None:
        if self._clock.wall() - change.changed_at >= GIVE_UP_S:
            return None
        return self._policy.delay_s(change.tries + 1, refused.error, retry_after_s=refused.retry_after_s, rng=self._rng)

    def _note(self, change: KeptChange, refused: Undelivered | None, delay_s: float | None) -> None:
        if refused is None:
            self._desk.note_delivery(change, Delivery.DELIVERED)
        elif delay_s is not None:
            self._desk.note_delivery(change, Delivery.PENDING, trouble=refused.sentence)
        else:
            gave_up = f"{refused.sentence} It was given up after {change.tries + 1} tries."
            self._desk.note_delivery(change, Delivery.GIVEN_UP, trouble=gave_up)
            log.warning("An alert could not be told. %s", gave_up)


@asynccontextmanager
async def watching(
    desk: AlertDesk,
    webhook: Webhook | None,
    *,
    clock: Clock,
    rng: Random,
    transport: Transport | None = None,
    every_s: float = EVERY_S,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[None]:
    """Look and tell in the background; on leaving, wait until nobody is at work in the store."""
    news, loop = asyncio.Event(), asyncio.get_running_loop()
    desk.on_pending = lambda: loop.call_soon_threadsafe(news.set)
    door = transport or HttpxTransport(
        httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)
    )
    tasks = [asyncio.create_task(_look(desk, news, every_s=every_s, sleep=sleep))]
    if webhook is not None:
        messenger = Messenger(desk, webhook, door, clock=clock, rng=rng, sleep=sleep)
        tasks.append(asyncio.create_task(_tell(messenger, news)))
    try:
        yield
    finally:
        desk.on_pending = lambda: None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await door.aclose()
        await asyncio.to_thread(desk.settle)


async def _look(desk: AlertDesk, news: asyncio.Event, *, every_s: float, sleep: Sleep) -> None:
    while True:
        try:
            await asyncio.to_thread(desk.evaluate)
        except Exception as crash:  # said on the page and the console; the next look may do better
            log.exception("The alerts could not be judged.")
            why = f"The alerts could not be judged ({type(crash).__name__}); the app's console says more."
            await asyncio.to_thread(desk.lose_sight, why)
        # What an earlier process left, or the store would not take a minute ago, is news as well.
        news.set()
        await sleep(every_s)


async def _tell(messenger: Messenger, news: asyncio.Event) -> None:
    while True:
        await news.wait()
        news.clear()
        try:
            await messenger.deliver()
        except EventStoreError:
            continue  # It is pending still, and the next look sends for it.
        except Exception as crash:  # noqa: BLE001 - as above; its words might hold the webhook's address
            log.error("An alert could not be told (%s).", type(crash).__name__)  # noqa: TRY400
