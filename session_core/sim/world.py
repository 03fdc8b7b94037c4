"""A whole world in memory: the provider, devices with their networks and disks, processes on them, and users."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from functools import cache
from typing import Any

import msgspec

from session_core.config import SessionPolicy
from session_core.errors import ProviderError
from session_core.events import (
    FaultEnded,
    FaultOrdered,
    Journal,
    ProviderNoted,
    ProviderSaw,
    Record,
)
from session_core.provider.core import EmbeddedProvider
from session_core.session_store import SessionStoreError
from session_core.sim.calls import refresh_token_held
from session_core.sim.clock import EPOCH_S, VirtualClock
from session_core.sim.evidence import Ending
from session_core.sim.loop import running_loop
from session_core.sim.machine import DEEDS, Asking, Hear, Machine, Naming, Process
from session_core.sim.scenario import Scenario
from session_core.sim.settings import app_settings, provider_settings
from session_core.sim.steps import Step, Verb
from session_core.sim.user import Hand, User, action_times
from session_core.token_answers import TokenGrant, read_token_answer
from session_core.wire import WireAnswer

STARTED_WITHIN_S = 15.0
"""Programs start at some moment in this time, so that no run depends on how its ticks fall; then everyone signs in."""
SECRETS_MAX = 10_000_000
"""Every secret of a run is kept, so that the log can be searched for all of them."""


class World:
    """Everything of one run. Hand every event to `hear`; `seed` names all chance in it."""

    def __init__(self, scenario: Scenario, policy: SessionPolicy, seed: int, *, naming: Naming, hear: Hear) -> None:
        self.scenario = scenario
        self.seed = seed
        self.naming = naming
        self.hear = hear
        self.loop = running_loop()
        self.began_at = STARTED_WITHIN_S
        self.config = app_settings(scenario, policy)
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = VirtualClock(self.loop.world_time, epoch_s=EPOCH_S)
        self._context = Context()
        self._provider_record = self.journal("provider", clock=self._clock)
        self.provider = EmbeddedProvider(
            provider_settings(scenario),
            entropy=self.rng("provider").randbytes,
            secrets_max=SECRETS_MAX,
            listener=self,
        )
        self.machines = [Machine(self, number) for number in range(1, scenario.devices + 1)]
        for number in range(scenario.sessions):
            self._add_user(number)

    def rng(self, part: str) -> random.Random:
        return random.Random(f"{self.seed}/{part}")

    def journal(self, part: str, *, clock: VirtualClock, device: str = "", user_id: str = "") -> Record:
        origin = self.naming.origin(part, device=device, user_id=user_id)
        return Journal(clock=clock, emit=self.hear, origin=origin).record

    def true_wall(self) -> float:
        """The true time, which the provider keeps, whatever a device believes."""
        return EPOCH_S + self.loop.world_time()

    def after(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        self.loop.call_in_world(seconds, (do, *args), self._context)

    # The provider's listener

    def saw(self, endpoint: str, outcome: str) -> None:
        self._provider_record(_sighting(endpoint, outcome))

    def noted(self, what: str) -> None:
        self._provider_record(ProviderNoted(what=what))

    # Its course

    async def play(self) -> Ending:
        """From the start of the programs to the scenario's end."""
        await asyncio.gather(*(self._open(machine) for machine in self.machines))
        await self._sleep_until(0.0)
        for machine in self.machines:
            for user in machine.users:
                self._spawn(self._live(machine, user))
        for step in self.scenario.timeline:
            await self._sleep_until(step.at_s)
            self._perform(step)
        await self._sleep_until(self.scenario.duration_s)
        for task in self._tasks:
            if task.done():
                task.result()
        return self._ending()

    async def _open(self, machine: Machine) -> None:
        await asyncio.sleep(self.rng(f"{machine.name}/start").uniform(0, STARTED_WITHIN_S - 1.0))
        await machine.processes[0].start()

    async def _live(self, machine: Machine, user: User) -> None:
        rng = self.rng(f"{user.name}/life")
        await asyncio.sleep(rng.uniform(0, self.scenario.sign_in_over_s))
        process = machine.processes[0]
        await process.device.create_task(self._sign_in(process, user))
        times = action_times(
            self.scenario.users, number=int(user.name[1:]), duration_s=self.scenario.duration_s, rng=rng
        )
        self._plan_next(machine, user, times)

    def _plan_next(self, machine: Machine, user: User, times: Iterator[float]) -> None:
        """Have `user` act at the next of `times`. No task waits for it: these are most of a long run's timers."""
        at_s = next(times, None)
        if at_s is not None:
            loop = self.loop
            left_s = self.began_at + at_s - loop.world_time()
            loop.call_in_world(max(0.0, left_s), (self._have_act, machine, user, times), self._context)

    def _have_act(self, machine: Machine, user: User, times: Iterator[float]) -> None:
        # Nobody uses a device that sleeps.
        if not machine.asleep and (foreground := machine.foreground) is not None:
            route = self.scenario.users.route
            hand = foreground.hands.get(user.name)
            if hand is None:
                hand = foreground.hands[user.name] = Hand(user, foreground.device)
            if not hand.act(route):
                foreground.device.create_task(user.ask(route))
        self._plan_next(machine, user, times)

    async def _sign_in(self, process: Process, user: User) -> None:
        if self.scenario.provider_session:
            await user.sign_in()
            return
        sent_at = process.device.clock.boot()
        session = await process.service.adopt(self._grant(user.name), sent_at=sent_at)
        user.session_id = session.session_id
        # Whoever has signed in has found the provider.
        with contextlib.suppress(ProviderError):
            await process.service.oauth.metadata()

    def _grant(self, username: str) -> TokenGrant:
        body = self.provider.tokens_for(username, now=self.true_wall())
        answer = WireAnswer(status=200, headers={"content-type": "application/json"}, body=body)
        grant = read_token_answer(answer, wall_received=self.true_wall())
        assert isinstance(grant, TokenGrant)
        return grant

    def _spawn(self, work: Any) -> None:
        self._tasks.append(self.loop.create_task(work))

    async def _sleep_until(self, at_s: float) -> None:
        left_s = self.began_at + at_s - self.loop.world_time()
        if left_s > 0:
            await asyncio.sleep(left_s)

    def _add_user(self, number: int) -> None:
        machine = self.machines[number % len(self.machines)]
        name = f"u{number}"
        machine.users.append(
            User(
                name,
                acting=self.scenario.users,
                calls=self.scenario.calls,
                service=machine.service,
                transport=machine.network,
                api_url=self.config.api_url,
                rng=self.rng(f"{name}/user"),
                record=self.journal(f"{machine.name}/{name}", clock=machine.clock, device=machine.name, user_id=name),
                now=self.loop.world_time,
                keeps_browser=self.scenario.provider_session,
            )
        )

    def _perform(self, step: Step) -> None:
        if step.do is Verb.FAULT:
            self._order(step)
        elif step.do is Verb.END_SESSIONS_ELSEWHERE:
            self._spawn(self._end_sessions_elsewhere())
        else:
            chosen = self.machines if step.device is None else [self.machines[step.device - 1]]
            for machine in chosen:
                spread_s = step.spread_s and self.rng(f"{machine.name}/{step.at_s}").uniform(0, step.spread_s)
                if spread_s:
                    self.after(spread_s, self._befall, machine, step)
                else:
                    self._befall(machine, step)

    async def _end_sessions_elsewhere(self) -> None:
        """Another process of the application does it: from the store, and at the provider."""
        for machine in self.machines:
            for user in machine.users:
                self.provider.end_sessions_of(user.name, now=self.true_wall())
                if user.session_id is not None:
                    await machine.disk.delete(user.session_id)

    def _order(self, step: Step) -> None:
        fault = step.fault
        assert fault is not None, "the step's shape needs it"
        until_s = fault.until_s if step.for_s is None else step.for_s
        fault = msgspec.structs.replace(fault, until_s=until_s)
        self._provider_record(FaultOrdered(endpoint=str(fault.endpoint), fault=str(fault.kind)))
        if until_s is not None:
            ended = FaultEnded(endpoint=str(fault.endpoint), fault=str(fault.kind))
            self.after(until_s, self._provider_record, ended)
        self.provider.faults.order(fault, self.true_wall())

    def _befall(self, machine: Machine, step: Step) -> None:
        if (deed := DEEDS.get(step.do)) is not None:
            deed(machine, step)
        elif step.do is Verb.OPEN_PROCESS:
            self._spawn(self._take_up(machine.new_process(1 + len(list(machine.running())))))
        elif step.do is Verb.RESTART_PROCESS:
            machine.kill(step.process or 1)
            self._spawn(self._take_up(machine.new_process(step.process or 1)))
        else:
            self._use(machine, step)

    def _use(self, machine: Machine, step: Step) -> None:
        """What the users of a device do, or its program on their behalf."""
        process = machine.foreground if step.process is None else machine.process(step.process)
        if process is None:
            return
        for user in machine.users:
            if step.do is Verb.LISTEN:
                process.listeners.append(Asking(user, process))
            else:
                for work in self._works(process, user, step):
                    process.device.create_task(work)

    def _works(self, process: Process, user: User, step: Step) -> list[Coroutine[Any, Any, None]]:
        match step.do:
            case Verb.CALL:
                return [user.ask(step.route or self.scenario.users.route) for _ in range(step.times or 1)]
            case Verb.ACT:
                return [user.act()]
            case Verb.SIGN_IN:
                return [user.sign_in()]
            case Verb.SIGN_OUT:
                return [user.sign_out()]
            case Verb.FORCE_REFRESH:
                session = process.service.get(user.session_id or "")
                return [] if session is None else [user.force_refresh(session)]
            case _:
                raise AssertionError(f"{step.do} has no meaning yet")

    async def _take_up(self, process: Process) -> None:
        """A further or restarted process goes on with the sessions that are stored."""
        await process.start()
        for user in process.machine.users:
            if user.session_id is not None:
                await process.device.create_task(self._resume(process, user.session_id))

    async def _resume(self, process: Process, session_id: str) -> None:
        # What cannot be read is not trusted: its user signs in again.
        with contextlib.suppress(SessionStoreError):
            await process.service.resume(session_id)

    def _ending(self) -> Ending:
        held: dict[str, set[str | None]] = {}
        for machine in self.machines:
            for process in machine.running():
                for session in process.service.sessions():
                    held.setdefault(session.session_id, set()).add(refresh_token_held(session))
        return Ending(
            records_stored=sum(len(machine.disk) for machine in self.machines),
            records_quarantined=sum(len(machine.disk.quarantined) for machine in self.machines),
            families_standing=self.provider.standing_families(now=self.true_wall()),
            sessions_held=sum(tokens != {None} for tokens in held.values()),
            processes_disagree=sum(len(tokens) > 1 for tokens in held.values()),
        )


@cache
def _sighting(endpoint: str, outcome: str) -> ProviderSaw:
    """There are few kinds, and one is told with every request."""
    return ProviderSaw(endpoint=str(endpoint), outcome=outcome)
