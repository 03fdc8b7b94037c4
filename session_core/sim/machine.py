"""A device of the simulated world, and the processes on it: the real code on the device's own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from session_core.events import DeviceChanged, Event, Origin, TokenRefreshed
from session_core.service import SessionService
from session_core.sim.clock import EPOCH_S, VirtualClock
from session_core.sim.device import Device
from session_core.sim.disk import Disk
from session_core.sim.network import Network
from session_core.sim.steps import Step, Verb
from session_core.sim.user import Hand, User
from session_core.vocabulary import DeviceChange, Source

if TYPE_CHECKING:
    from session_core.sim.world import World

Hear = Callable[[Event], None]


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """What every event of a run is marked with."""

    run_id: str
    scenario: str
    policy: str

    def origin(self, part: str, *, device: str = "", user_id: str = "") -> Origin:
        return Origin(
            stream_id=f"{self.run_id}/{part}",
            session_id=part,
            user_id=user_id,
            device=device or part,
            source=Source.SIM,
            policy=self.policy,
            run_id=self.run_id,
            scenario=self.scenario,
        )


class Process:
    """One run of the program on a device: a SessionService of the real code, on the device's own time."""

    def __init__(self, machine: Machine, number: int, *, life: int) -> None:
        world = machine.world
        self.machine = machine
        self.number = number
        self.alive = True
        self.started = False
        part = f"{machine.name}/{number}.{life}"
        self.device = Device(world.loop, part, epoch_s=EPOCH_S, wall_skew_s=machine.clock.wall_skew_s)
        self.listeners: list[Hear] = []
        self.hands: dict[str, Hand] = {}
        self._tell = world.hear
        self.service = SessionService(
            world.config,
            emit=self._hear,
            clock=self.device.clock,
            store=machine.disk,
            transport=machine.network,
            pool=machine.network.pool,
            entropy=world.rng(f"{part}/entropy").randbytes,
            seed=f"{world.seed}/{part}",
            source=Source.SIM,
            device=machine.name,
            run_id=world.naming.run_id,
            scenario=world.naming.scenario,
        )

    async def start(self) -> None:
        await self.device.create_task(self.service.__aenter__())
        self.started = True
        self.machine.choose_foreground()

    def kill(self) -> None:
        """Nothing of it ever runs again: no clean-up, no last event."""
        self.alive = False
        self.device.suspend()
        self.machine.choose_foreground()

    def _hear(self, event: Event) -> None:
        if self.alive:
            self._tell(event)
            for listen in self.listeners:
                listen(event)


class Machine:
    """One device of the scenario: its network, its disk and its processes, which sleep, stall and are throttled together.

    Its users look at `foreground`: the first process that runs and has started, if any.
    """

    def __init__(self, world: World, number: int) -> None:
        scenario, loop = world.scenario, world.loop
        self.world = world
        self.name = f"device-{number}"
        skews_s = scenario.wall_skews_s
        skew_s = skews_s[number - 1] if number <= len(skews_s) else 0.0
        self.clock = VirtualClock(loop.world_time, epoch_s=EPOCH_S, wall_skew_s=skew_s)
        self.record = world.journal(f"{self.name}/device", clock=self.clock, device=self.name)
        self.network: Network = Network(
            loop,
            world.provider,
            wall=world.true_wall,
            latency_s=scenario.latency_s,
            rng=world.rng(f"{self.name}/network"),
            record=world.journal(f"{self.name}/network", clock=self.clock, device=self.name),
        )
        self.disk: Disk = Disk(shared=scenario.has_several_processes, record=self.record)
        self.processes: list[Process] = [Process(self, 1, life=1)]
        self.foreground: Process | None = None
        self.users: list[User] = []
        self.asleep = False
        self._throttle_s: float | None = None
        self._lives = 1

    def choose_foreground(self) -> None:
        """Anew, for a process has started or ended."""
        self.foreground = next((process for process in self.running() if process.started), None)

    def service(self) -> SessionService | None:
        """The program that its users look at."""
        return None if self.foreground is None else self.foreground.service

    def new_process(self, number: int) -> Process:
        self._lives += 1
        process = Process(self, number, life=self._lives)
        if self.asleep:
            process.device.suspend()
        if self._throttle_s is not None:
            process.device.throttle(self._throttle_s)
        self.processes.append(process)
        self.record(DeviceChanged(change=DeviceChange.STARTED))
        return process

    def process(self, number: int) -> Process | None:
        return next((process for process in self.running() if process.number == number), None)

    def running(self) -> Iterator[Process]:
        return (process for process in self.processes if process.alive)

    def kill(self, number: int) -> None:
        """Kill a process, if it runs."""
        if (process := self.process(number)) is not None:
            process.kill()
            self.record(DeviceChanged(change=DeviceChange.KILLED))

    # What befalls it

    def suspend(self, for_s: float | None) -> None:
        if self.asleep:
            return
        self.record(DeviceChanged(change=DeviceChange.SUSPENDED, seconds=for_s or 0.0))
        self.asleep = True
        self.clock.suspend()
        self.network.fall_asleep()
        for process in self.running():
            process.device.suspend()
        if for_s is not None:
            self.world.after(for_s, self.resume)

    def resume(self) -> None:
        if not self.asleep:
            return
        self.asleep = False
        self.clock.resume()
        self.record(DeviceChanged(change=DeviceChange.RESUMED))
        self.network.wake()
        for process in self.running():
            process.device.resume()

    def stall(self, for_s: float) -> None:
        self.record(DeviceChanged(change=DeviceChange.STALLED, seconds=for_s))
        for process in self.running():
            process.device.stall(for_s)

    def throttle(self, interval_s: float | None, for_s: float | None = None) -> None:
        change = DeviceChange.UNTHROTTLED if interval_s is None else DeviceChange.THROTTLED
        self.record(DeviceChanged(change=change, seconds=for_s or 0.0))
        self._throttle_s = interval_s
        for process in self.running():
            process.device.throttle(interval_s)
        if for_s is not None:
            self.world.after(for_s, self.throttle, None)

    def step_clock(self, by_s: float) -> None:
        self.clock.step_wall(by_s)
        for process in self.running():
            process.device.step_wall(by_s)
        self.record(DeviceChanged(change=DeviceChange.CLOCK_STEPPED, seconds=by_s))

    def flap(self, every_s: float, times: int) -> None:
        """Let the network go down and up in turns of `every_s`."""
        for turn in range(times):
            self.world.after(2 * turn * every_s, self.network.go_down, every_s)

    def fill_disk(self, for_s: float | None) -> None:
        self.disk.fill_up(for_s)
        if for_s is not None:
            self.world.after(for_s, self.disk.recover)

    def damage_records(self) -> None:
        self.disk.damage([user.session_id for user in self.users if user.session_id is not None])


class Asking:
    """A listener that, told of a refresh, asks for a token before it returns and again as soon as it can wait."""

    def __init__(self, user: User, process: Process) -> None:
        self._user = user
        self._process = process

    def __call__(self, event: Event) -> None:
        if isinstance(event.fact, TokenRefreshed):
            self._process.device.create_task(self._user.ask_for_token("listener"))


DEEDS: Mapping[Verb, Callable[[Machine, Step], None]] = MappingProxyType(
    {
        Verb.SUSPEND: lambda machine, step: machine.suspend(step.for_s),
        Verb.RESUME: lambda machine, _: machine.resume(),
        Verb.STALL: lambda machine, step: machine.stall(step.for_s or 0.0),
        Verb.THROTTLE: lambda machine, step: machine.throttle(step.every_s, step.for_s),
        Verb.UNTHROTTLE: lambda machine, _: machine.throttle(None),
        Verb.CLOCK_STEP: lambda machine, step: machine.step_clock(step.by_s or 0.0),
        Verb.NETWORK_DOWN: lambda machine, step: machine.network.go_down(step.for_s),
        Verb.NETWORK_UP: lambda machine, _: machine.network.come_up(),
        Verb.NETWORK_SLOW: lambda machine, step: machine.network.slow_down(step.latency_s or 0.0, step.for_s),
        Verb.NETWORK_LOSS: lambda machine, step: machine.network.lose(step.share or 0.0, step.for_s),
        Verb.NETWORK_FLAP: lambda machine, step: machine.flap(step.every_s or 1.0, step.times or 1),
        Verb.NETWORK_RESET: lambda machine, _: machine.network.reset(),
        Verb.PORTAL: lambda machine, step: machine.network.stand_before(step.for_s),
        Verb.LOSE_NEXT_ANSWER: lambda machine, step: machine.network.lose_answers(step.times or 1),
        Verb.STORE_FAILS: lambda machine, step: machine.fill_disk(step.for_s),
        Verb.STORE_RECOVERS: lambda machine, _: machine.disk.recover(),
        Verb.STORE_SLOW: lambda machine, step: machine.disk.slow_down(step.latency_s or 0.0),
        Verb.STORE_CORRUPTS: lambda machine, _: machine.damage_records(),
        Verb.KILL_PROCESS: lambda machine, step: machine.kill(step.process or 1),
    }
)
"""What befalls a whole device; the rest of the verbs start processes or are done by users."""
