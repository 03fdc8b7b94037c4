"""What can happen in a scenario: a closed vocabulary of verbs, and what each must and may be told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from session_core.bounds import require
from session_core.errors import ConfigError
from session_core.provider.faults import YEAR_S, Fault


class Verb(StrEnum):
    """What a step does."""

    SUSPEND = "suspend"
    RESUME = "resume"
    STALL = "stall"
    THROTTLE = "throttle"
    UNTHROTTLE = "unthrottle"
    CLOCK_STEP = "clock_step"
    NETWORK_DOWN = "network_down"
    NETWORK_UP = "network_up"
    NETWORK_SLOW = "network_slow"
    NETWORK_LOSS = "network_loss"
    NETWORK_FLAP = "network_flap"
    NETWORK_RESET = "network_reset"
    PORTAL = "portal"
    LOSE_NEXT_ANSWER = "lose_next_answer"
    FAULT = "fault"
    CALL = "call"
    ACT = "act"
    FORCE_REFRESH = "force_refresh"
    LISTEN = "listen"
    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    END_SESSIONS_ELSEWHERE = "end_sessions_elsewhere"
    OPEN_PROCESS = "open_process"
    KILL_PROCESS = "kill_process"
    RESTART_PROCESS = "restart_process"
    STORE_FAILS = "store_fails"
    STORE_RECOVERS = "store_recovers"
    STORE_SLOW = "store_slow"
    STORE_CORRUPTS = "store_corrupts"


class Shape(NamedTuple):
    """What a verb does, in words, and the settings it needs and may have besides `at`, `device` and `do`."""

    does: str
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


VERBS: Mapping[Verb, Shape] = MappingProxyType(
    {
        Verb.SUSPEND: Shape("closes the lid; `for` says when it opens again", may=("for_s", "spread_s")),
        Verb.RESUME: Shape("opens the lid; `spread` scatters many devices over a time", may=("spread_s",)),
        Verb.STALL: Shape("stops every program of the device while its clocks go on", needs=("for_s",)),
        Verb.THROTTLE: Shape("lets timers fire only at multiples of `every`", needs=("every_s",), may=("for_s",)),
        Verb.UNTHROTTLE: Shape("lets timers run freely again"),
        Verb.CLOCK_STEP: Shape("sets the wall clock forwards by `by`, or back", needs=("by_s",)),
        Verb.NETWORK_DOWN: Shape("cuts the device off", may=("for_s",)),
        Verb.NETWORK_UP: Shape("ends whatever is wrong with the network"),
        Verb.NETWORK_SLOW: Shape("makes every round trip take `latency`", needs=("latency_s",), may=("for_s",)),
        Verb.NETWORK_LOSS: Shape("loses a share of requests or their answers", needs=("share",), may=("for_s",)),
        Verb.NETWORK_FLAP: Shape("goes down for `every`, up for `every`, `times` over", needs=("every_s", "times")),
        Verb.NETWORK_RESET: Shape("breaks every request under way"),
        Verb.PORTAL: Shape("puts a guest network's page before every address", may=("for_s",)),
        Verb.LOSE_NEXT_ANSWER: Shape("lets the token endpoint act and loses what it answers", may=("times",)),
        Verb.FAULT: Shape("makes the provider misbehave", needs=("fault",), may=("for_s",)),
        Verb.CALL: Shape("the user asks the API for something, `times` at once", may=("times", "route")),
        Verb.ACT: Shape("the user does something that needs no answer"),
        Verb.FORCE_REFRESH: Shape("the program asks for a refresh now, in process `process`", may=("process",)),
        Verb.LISTEN: Shape("a listener asks for a token whenever it is told of a refresh"),
        Verb.SIGN_IN: Shape("the user signs in through the provider's page"),
        Verb.SIGN_OUT: Shape("the user signs out"),
        Verb.END_SESSIONS_ELSEWHERE: Shape("the users end all their sessions from another device"),
        Verb.OPEN_PROCESS: Shape("a further process of the device takes up the stored sessions"),
        Verb.KILL_PROCESS: Shape("kills a process at once; number `process`, the first if not said", may=("process",)),
        Verb.RESTART_PROCESS: Shape(
            "a process starts again from what is stored; one that runs is killed first", may=("process",)
        ),
        Verb.STORE_FAILS: Shape("the disk refuses every write", may=("for_s",)),
        Verb.STORE_RECOVERS: Shape("the disk works again"),
        Verb.STORE_SLOW: Shape("every read and write of the disk takes `latency`", needs=("latency_s",)),
        Verb.STORE_CORRUPTS: Shape("damages what is stored"),
    }
)
_COMMON = ("at_s", "do", "device")


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that happens, `at_s` seconds after the users signed in. `device` counts from 1; None means every one."""

    at_s: float
    do: Verb
    device: int | None = None
    process: int | None = None
    for_s: float | None = None
    every_s: float | None = None
    by_s: float | None = None
    spread_s: float | None = None
    latency_s: float | None = None
    share: float | None = None
    times: int | None = None
    route: str | None = None
    fault: Fault | None = None

    def __post_init__(self) -> None:
        shape = VERBS[self.do]
        for name in self.__struct_fields__:
            given = getattr(self, name) is not None
            if given and name not in (*_COMMON, *shape.needs, *shape.may):
                raise ConfigError(f"{name} means nothing to {self.do}, which {shape.does}; leave it out.")
            if not given and name in shape.needs:
                raise ConfigError(f"{name} is missing; {self.do} needs {' and '.join(shape.needs)}.")
        require("at_s", self.at_s, 0, YEAR_S)
        require("device", self.device, 1, 100_000)
        require("process", self.process, 1, 100)
        require("for_s", self.for_s, 0, YEAR_S)
        require("every_s", self.every_s, 0.1, YEAR_S)
        require("by_s", self.by_s, -YEAR_S, YEAR_S)
        require("spread_s", self.spread_s, 0, YEAR_S)
        require("latency_s", self.latency_s, 0, 3_600)
        require("share", self.share, 0, 1)
        require("times", self.times, 1, 10_000)

    @property
    def ends_at_s(self) -> float:
        """When what it does is over, as far as it says."""
        if self.do is Verb.NETWORK_FLAP:
            return self.at_s + 2 * (self.every_s or 0.0) * (self.times or 1)
        return self.at_s + (self.for_s or 0.0) + (self.spread_s or 0.0)
