"""Fills a store with sample data, in the order of time, and in place of what was filled in before."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

import msgspec

from session_core import events as e
from session_core.bounds import require
from session_core.demo import DAYS_MAX
from session_core.demo.incidents import DAY_S
from session_core.demo.plan import RUN_ID, SCENARIO, Plan, Stay, Stretch
from session_core.demo.play import Played, play
from session_core.lab import in_processes, never, noting_interrupts
from session_core.sim.clock import EPOCH_S
from session_core.store import EventStore, TimeRange
from session_core.store.rollups import forget_run
from session_core.vocabulary import Source

STAYS_ALONE_MAX = 20
"""Stays that are played before another process has even started."""


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the store now, from `from_s` to `until_s`; less than planned where it was stopped."""

    users: int
    from_s: float
    switch_s: float
    until_s: float
    until_planned_s: float
    events: int

    @property
    def days(self) -> float:
        return (self.until_s - self.from_s) / DAY_S

    @property
    def days_planned(self) -> float:
        return (self.until_planned_s - self.from_s) / DAY_S

    @property
    def is_stopped(self) -> bool:
        return self.until_s < self.until_planned_s


def plan_last(days: float, *, users: int, seed: int, now_s: float) -> Plan:
    """From where a page begins that shows the last `days`, so that nothing is left over for the period before it."""
    require("days", days, 1, DAYS_MAX)
    return Plan(users=users, seed=seed, from_s=TimeRange.last(days * DAY_S, now_s).start_s, until_s=now_s)


def ignore(_stay: Stay, /) -> None:
    pass


def fill(
    store: EventStore,
    plan: Plan,
    *,
    processes: int | None = None,
    on_played: Callable[[Stay], None] = ignore,
    stop: Callable[[], bool] = never,
) -> Filled:
    """Write the sample data of `plan`; an earlier one goes, whatever its seed, and nothing else is touched.

    Ctrl-C, or `stop` answering true, ends it soon; the days that are complete by then stay.
    """
    written, until_s, incidents = 0, plan.from_s, told_incidents(plan)
    # Only noted: where it would break into a transaction it would be told as the store's failure.
    with noting_interrupts() as interrupted:
        store.write(forget_run(RUN_ID))
        playing = _play(plan.stays(), processes, lambda: stop() or interrupted())
        with closing(playing):
            for stretch, played in _complete(plan, playing, on_played):
                for day_until_s, events in _days(stretch, played, incidents):
                    store.append(events)
                    written += len(events)
                    until_s = day_until_s
                store.fold()
    return Filled(
        users=plan.users,
        from_s=plan.from_s,
        switch_s=plan.switch_s,
        until_s=until_s,
        until_planned_s=plan.until_s,
        events=written,
    )


def _play(stays: Sequence[Stay], processes: int | None, stop: Callable[[], bool]) -> Generator[tuple[int, Played]]:
    if processes is None:
        processes = 1 if len(stays) <= STAYS_ALONE_MAX else os.cpu_count() or 1
    if processes > 1:
        yield from in_processes(play, stays, processes, stop)
        return
    for place, stay in enumerate(stays):
        if stop():
            return
        yield place, play(stay)


def _complete(
    plan: Plan, playing: Iterator[tuple[int, Played]], on_played: Callable[[Stay], None]
) -> Iterator[tuple[Stretch, list[Played]]]:
    """Each stretch, in order, once everybody's part of it is played."""
    waiting: dict[int, dict[int, Played]] = {}
    stretches = iter(plan.stretches())
    due = next(stretches)
    for _, played in playing:
        stay = played.stay
        waiting.setdefault(stay.stretch.number, {})[stay.person] = played
        on_played(stay)
        while len(waiting.get(due.number, ())) == plan.users:
            parts = waiting.pop(due.number)
            yield due, [parts[person] for person in sorted(parts)]
            due = next(stretches, due)


def _days(
    stretch: Stretch, played: Sequence[Played], incidents: Sequence[e.Event]
) -> Iterator[tuple[float, list[e.Event]]]:
    """The end of each day and everybody's events of it in order of time: as much as is in memory at once."""
    met = [event for event in incidents if stretch.from_s <= event.happened_at < stretch.until_s]
    for day in range(stretch.days):
        events = [event for part in played for event in part.events_of(day)]
        events += [event for event in met if stretch.day_of(event.happened_at) == day]
        events.sort(key=lambda event: event.happened_at)
        yield min(stretch.from_s + (day + 1) * DAY_S, stretch.until_s), events


def told_incidents(plan: Plan) -> list[e.Event]:
    """Beginning and end of each incident, once for everyone."""
    events: list[e.Event] = []
    for release, incident in plan.incidents():
        origin = e.Origin(
            stream_id=f"demo/{int(plan.until_s):x}/{plan.seed}/provider",
            session_id="provider",
            user_id="",
            device="provider",
            source=Source.SIM,
            policy=release.policy.name,
            app_version=release.app_version,
            run_id=RUN_ID,
            scenario=SCENARIO,
        )
        endpoint, fault = str(incident.shape.phases[0].fault.endpoint), incident.shape.name
        for at_s, fact in (
            (incident.begins_s, e.FaultOrdered(endpoint=endpoint, fault=fault)),
            (incident.ends_s, e.FaultEnded(endpoint=endpoint, fault=fault)),
        ):
            events.append(e.Event(len(events) + 1, at_s, at_s - EPOCH_S, at_s - EPOCH_S, origin, fact))
    return [event for event in events if event.happened_at < plan.until_s]
