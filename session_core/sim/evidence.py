"""What a run left behind: its events, in the scenario's own time, and how the world stood at the end."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from session_core.events import DeviceChanged, Event, Fact, StateChanged, UserSaw
from session_core.session_state import DEADLINE_S
from session_core.vocabulary import DeviceChange, Sight, State

FactT = TypeVar("FactT", bound=Fact)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The world as the run left it. `processes_disagree` counts sessions whose processes hold different tokens."""

    records_stored: int = 0
    records_quarantined: int = 0
    families_standing: int = 0
    sessions_held: int = 0
    processes_disagree: int = 0


class Window(NamedTuple):
    """From `from_s` until just before `until_s`, counted from the sign-in."""

    from_s: float = 0.0
    until_s: float = math.inf


ALWAYS = Window()


class Evidence:
    """Events by kind, with the time since sign-in. `began_at` is the boot second of the users' sign-in."""

    def __init__(self, events: Iterable[Event], *, began_at: float, ended_at: float, ending: Ending) -> None:
        self.began_at = began_at
        self.duration_s = ended_at - began_at
        self.ending = ending
        self._by_kind: dict[type[Any], list[Event]] = defaultdict(list)
        for event in events:
            self._by_kind[type(event.fact)].append(event)

    def events(self, kind: type[Fact], window: Window = ALWAYS) -> Iterator[tuple[float, Event]]:
        """Seconds since sign-in and event, in order."""
        for event in self._by_kind.get(kind, ()):
            at_s = event.boot - self.began_at
            if window.from_s <= at_s < window.until_s:
                yield at_s, event

    def facts(self, kind: type[FactT], window: Window = ALWAYS) -> Iterator[tuple[float, FactT]]:
        for at_s, event in self.events(kind, window):
            yield at_s, event.fact  # type: ignore[misc] # the index is by the fact's own type

    def paths(self, window: Window = ALWAYS) -> dict[str, list[State]]:
        """Each session's states in order, the one it had as the window opened first."""
        paths: dict[str, list[State]] = {}
        for at_s, event in self.events(StateChanged, Window(-math.inf, window.until_s)):
            fact: Any = event.fact
            if at_s < window.from_s:
                paths[event.origin.session_id] = [fact.state_to]
            else:
                paths.setdefault(event.origin.session_id, [fact.state_from]).append(fact.state_to)
        return paths

    def wakes_s(self, window: Window = ALWAYS) -> dict[str, list[float]]:
        """When each device woke up."""
        wakes: dict[str, list[float]] = defaultdict(list)
        for at_s, event in self.events(DeviceChanged, window):
            if event.fact.change is DeviceChange.RESUMED:  # type: ignore[union-attr]
                wakes[event.origin.device].append(at_s)
        return wakes

    def success_after_s(self, since_s: float, device: str | None = None) -> float | None:
        """How long the user waited for a first answer from `since_s` on, or from the first try if that came later; to the end if none came."""
        first_try_s: float | None = None
        for at_s, event in self.events(UserSaw, Window(since_s, math.inf)):
            fact: Any = event.fact
            if device is not None and event.origin.device != device:
                continue
            tried_s = max(since_s, at_s - fact.waited_ms / 1000)
            first_try_s = tried_s if first_try_s is None else min(first_try_s, tried_s)
            if fact.sight in (Sight.ANSWER, Sight.STALE_ANSWER):
                return float(at_s - first_try_s)
        return None if first_try_s is None else self.duration_s - first_try_s

    def overstays_s(self) -> Iterator[float]:
        """How long each session stood beyond the deadline of a state, while its device was awake."""
        entered: dict[str, Event] = {}
        for _, event in self.events(StateChanged, Window(-math.inf, math.inf)):
            before = entered.get(event.origin.session_id)
            fact: Any = event.fact
            if before is not None and fact.state_from in DEADLINE_S:
                yield event.monotonic - before.monotonic - DEADLINE_S[fact.state_from]
            entered[event.origin.session_id] = event
        for event in entered.values():
            last: Any = event.fact
            if last.state_to in DEADLINE_S:
                yield self.began_at + self.duration_s - event.boot - DEADLINE_S[last.state_to]
