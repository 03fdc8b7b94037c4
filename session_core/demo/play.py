"""Plays one person's stay and tells its events as a real app's log would: at real times, by device, without the provider's."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from session_core import events as e
from session_core.demo.plan import RUN_ID, SCENARIO, Scene, Stay, scene
from session_core.sim.clock import EPOCH_S
from session_core.sim.loop import run_virtual
from session_core.sim.machine import Naming
from session_core.sim.run import GRACE_S
from session_core.sim.world import STARTED_WITHIN_S, World

# What only a simulated provider can tell; an incident is told once for everyone instead.
LEFT_OUT = (e.ProviderSaw, e.ProviderNoted, e.FaultOrdered, e.FaultEnded)
SERVICE_PARTS = ("service", "provider")


class Played(msgspec.Struct, frozen=True):
    """The events of one stay by the day of its stretch, packed as they travel between processes and wait to be written."""

    stay: Stay
    days: Mapping[int, bytes]

    def events_of(self, day: int) -> list[e.Event]:
        packed = self.days.get(day)
        return [] if packed is None else [e.decode(line) for line in zlib.decompress(packed).splitlines()]


def play(stay: Stay) -> Played:
    lines: dict[int, list[bytes]] = {}
    planned = scene(stay)
    for event in () if planned is None else told(stay, planned, _events(stay, planned)):
        lines.setdefault(stay.stretch.day_of(event.happened_at), []).append(e.encode(event))
    return Played(stay, {day: zlib.compress(b"\n".join(of_day), 1) for day, of_day in lines.items()})


def told(stay: Stay, planned: Scene, events: Iterable[e.Event]) -> Iterator[e.Event]:
    """With the time the plan says, and what the world knows of the device in the log of whoever is signed in on it."""
    events = [event for event in events if not isinstance(event.fact, LEFT_OUT)]
    shift_s = planned.begins_s - STARTED_WITHIN_S - EPOCH_S
    session_id = next((event.origin.session_id for event in events if isinstance(event.fact, e.SessionStarted)), None)
    origins: dict[tuple[int, str], e.Origin] = {}
    if session_id is None:
        return
    for event in events:
        if isinstance(event.fact, e.SessionStarted):
            session_id = event.origin.session_id
        key = (id(event.origin), session_id)
        origin = origins.get(key)
        if origin is None:
            origin = origins[key] = _origin(stay, event.origin, session_id)
        yield e.Event(
            event.seq,
            event.happened_at + shift_s,
            event.monotonic + shift_s,
            event.boot + shift_s,
            origin,
            event.fact,
        )


def _origin(stay: Stay, origin: e.Origin, session_id: str) -> e.Origin:
    is_of_all = origin.session_id in SERVICE_PARTS
    is_of_a_session = origin.session_id.startswith(f"{stay.name}/")
    return msgspec.structs.replace(
        origin,
        session_id=origin.session_id if is_of_all or is_of_a_session else session_id,
        user_id="" if is_of_all else f"demo-user-{stay.person:03}",
        device=stay.kit.name,
        app_version=stay.stretch.release.app_version,
        run_id=RUN_ID,
    )


def _events(stay: Stay, planned: Scene) -> tuple[e.Event, ...]:
    policy = stay.stretch.release.policy
    naming = Naming(run_id=stay.name, scenario=SCENARIO, policy=policy.name)
    events: list[e.Event] = []

    # What happens depends on the seed and not on the time of day at which the data is made.
    seed = zlib.crc32(f"{stay.seed}/{stay.person}/{stay.stretch.number}".encode())

    async def live() -> tuple[e.Event, ...]:
        await World(planned.scenario, policy, seed, naming=naming, hear=events.append).play()
        # Taken now: what is torn down after the end did not happen.
        return tuple(events)

    return run_virtual(live(), until_s=planned.scenario.duration_s + GRACE_S)
