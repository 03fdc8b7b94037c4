"""A scenario: who is there, what happens when, and what must hold in the end. Data that a tester writes, not code."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from session_core.bounds import require
from session_core.cache_rules import RouteTtl
from session_core.errors import ConfigError
from session_core.provider.faults import YEAR_S, Endpoint, Fault, FaultKind
from session_core.sim.checks import CHECKS, Check
from session_core.sim.durations import read_duration, write_duration
from session_core.sim.steps import Step, Verb
from session_core.sim.toml_lines import line_of

DATA = Path(__file__).parents[1] / "data"
CATALOGUE = DATA / "scenarios"


class Family(StrEnum):
    """What kind of trouble a scenario is about; the catalogue's sections."""

    SLEEP_AND_WAKE = "sleep_and_wake"
    NETWORK = "network"
    PROVIDER = "provider"
    RACES = "races"
    CLOCKS = "clocks"
    LIMITS = "limits"
    CACHE = "cache"
    FLEET = "fleet"


class Calls(StrEnum):
    """How the user's calls travel: over the wire seam (fast), or through the real `session.client` with its cache."""

    WIRE = "wire"
    CLIENT = "client"


class Acting(StrEnum):
    """Where a user's actions come from; the time line's own `call` and `act` come besides."""

    SCRIPT = "script"
    STEADY = "steady"
    IDLE_GAP = "idle_gap"
    TRACE = "trace"


class Users(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the users act: at `times_s`, every `every_s` seconds, with gaps of the model `dataset`, or as in `file`.

    Who sees an error tries again after `tries_again_after_s`, `tries_max` times; who is sent to sign in does so after
    `signs_in_after_s`. None means: does not.
    """

    act: Acting = Acting.SCRIPT
    times_s: tuple[float, ...] = ()
    every_s: float | None = None
    from_s: float = 0.0
    until_s: float | None = None
    dataset: str | None = None
    gap_max_s: float = YEAR_S
    file: str | None = None
    route: str = "echo"
    tries_again_after_s: float | None = None
    tries_max: int = 5
    signs_in_after_s: float | None = None

    def __post_init__(self) -> None:
        needed = {Acting.STEADY: "every_s", Acting.IDLE_GAP: "dataset", Acting.TRACE: "file"}
        for act, name in needed.items():
            if (getattr(self, name) is not None) is not (self.act is act):
                verb = "needs" if self.act is act else "means nothing without"
                raise ConfigError(
                    f"users: {name} {'is missing;' if self.act is act else ''} {verb} act = {act.value!r}."
                )
        if self.times_s and self.act is not Acting.SCRIPT:
            raise ConfigError(f"users: times belongs to act = 'script', not {self.act.value!r}; leave it out.")
        for at_s in self.times_s:
            require("users.times", at_s, 0, YEAR_S)
        require("users.every_s", self.every_s, 0.1, YEAR_S)
        require("users.gap_max_s", self.gap_max_s, 60, YEAR_S)
        require("users.from_s", self.from_s, 0, YEAR_S)
        require("users.until_s", self.until_s, self.from_s, YEAR_S)
        require("users.tries_again_after_s", self.tries_again_after_s, 0.1, 86_400)
        require("users.tries_max", self.tries_max, 1, 1_000)
        require("users.signs_in_after_s", self.signs_in_after_s, 0, 86_400)


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One situation in which real sessions die. All times count from the users' sign-in.

    `sessions` are users with a session each, spread evenly over `devices`. `provider_session` says that the provider
    still knows the users' browsers, so that `prompt=none` can work.
    """

    name: str
    number: int | None = None
    family: Family
    what: str
    passes_when: str
    duration_s: float
    devices: int = 1
    sessions: int = 1
    sign_in_over_s: float = 0.0
    wall_skews_s: tuple[float, ...] = ()
    latency_s: float = 0.1
    calls: Calls = Calls.WIRE
    access_ttl_s: float = 3_600.0
    refresh_ttl_s: float = 86_400.0
    grace_s: float = 0.0
    rotates: bool = True
    provider_session: bool = False
    idle_limit_s: float | None = None
    absolute_limit_s: float | None = None
    cached: tuple[RouteTtl, ...] = ()
    users: Users = Users()
    timeline: tuple[Step, ...] = ()
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").isalnum() or self.name != self.name.lower():
            raise ConfigError(
                f"name is {self.name!r}; write it in small letters with hyphens, like lid-close-overnight."
            )
        require("number", self.number, 1, 9_999)
        require("duration_s", self.duration_s, 1, YEAR_S)
        require("devices", self.devices, 1, 100_000)
        require("sessions", self.sessions, self.devices, 100_000)
        require("sign_in_over_s", self.sign_in_over_s, 0, self.duration_s)
        require("latency_s", self.latency_s, 0, 60)
        require("access_ttl_s", self.access_ttl_s, 1, 400 * 86_400)
        require("refresh_ttl_s", self.refresh_ttl_s, 1, 3_650 * 86_400)
        require("grace_s", self.grace_s, 0, 86_400)
        if len(self.wall_skews_s) > self.devices:
            raise ConfigError(
                f"wall_skews has {len(self.wall_skews_s)} entries for {self.devices} devices; give one each."
            )
        if not self.checks:
            raise ConfigError("checks is empty; a scenario that checks nothing always passes.")
        for place, step in enumerate(self.timeline):
            self._require_possible(step, self.timeline[place - 1] if place else None, place + 1)

    @property
    def has_several_processes(self) -> bool:
        """Whether another process, be it one that serves another device, can touch the same stored sessions."""
        return any(step.do in (Verb.OPEN_PROCESS, Verb.END_SESSIONS_ELSEWHERE) for step in self.timeline)

    def _require_possible(self, step: Step, before: Step | None, number: int) -> None:
        if before is not None and step.at_s < before.at_s:
            raise StepError(
                number, f"comes before the step above it, at {write_duration(before.at_s)}; put it in order."
            )
        if step.at_s > self.duration_s:
            raise StepError(number, f"comes after the end at {write_duration(self.duration_s)}; make duration longer.")
        if step.device is not None and step.device > self.devices:
            raise StepError(number, f"names device {step.device} of {self.devices}.")


class StepError(ConfigError):
    """A step that cannot happen; `number` counts from 1."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"step {number} {problem}")
        self.number = number


def read_scenario(path: Path) -> Scenario:
    """The scenario of a TOML file. Raises ConfigError, which names file, line, what is wrong and what is allowed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}.") from None
    return parse_scenario(text, where=str(path))


def parse_scenario(text: str, *, where: str = "scenario") -> Scenario:
    return _Reader(text, where).read()


@cache
def read_catalogue(folder: Path = CATALOGUE) -> Mapping[str, Scenario]:
    """Every scenario of a folder by name, in order of number; those without one come last, by name."""
    found: dict[str, Scenario] = {}
    for path in sorted(folder.glob("*.toml")):
        scenario = read_scenario(path)
        if path.stem != scenario.name:
            raise ConfigError(f"{path}: name is {scenario.name!r}; a file bears the name of its scenario.")
        found[scenario.name] = scenario
    ranked = sorted(found.values(), key=lambda scenario: (scenario.number or 10_000, scenario.name))
    return {scenario.name: scenario for scenario in ranked}


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say about a word that is not known."""
    words = [str(word) for word in known]
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.5)
    return (f"did you mean {close[0]!r}? " if close else "") + f"Known are {', '.join(words)}."


class _Reader:
    """Reads one text and says at which line it goes wrong."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where

    def read(self) -> Scenario:
        try:
            table = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{self._where}: this is not valid TOML: {error}.") from None
        table = self._plain(table, Scenario)
        parts: dict[str, Any] = {}
        if "users" in table:
            parts["users"] = self._part(table["users"], Users, "users")
        for key, kind in (("timeline", Step), ("checks", Check), ("cached", RouteTtl)):
            if key in table:
                items = self._list(table[key], key)
                parts[key] = tuple(self._part(item, kind, key, place) for place, item in enumerate(items))
        self._require_words(table, "family", Family, "family")
        self._require_words(table, "calls", Calls, "calls")
        try:
            scenario: Scenario = self._convert({**table, **parts}, Scenario)
        except StepError as error:
            raise self._error(str(error), "timeline", error.number - 1) from None
        except ConfigError as error:
            raise self._error(str(error), str(error).partition(" ")[0].removesuffix("_s")) from None
        return scenario

    def _part(self, item: Any, kind: type[Any], key: str, place: int | None = None) -> Any:
        if not isinstance(item, dict):
            raise self._error(f"{key} needs a table in braces here, not {item!r}", key, place)
        table = self._plain(item, kind, key, place)
        for field, words in (("do", Verb), ("check", CHECKS), ("act", Acting)):
            if field in kind.__struct_fields__:
                self._require_words(table, field, words, key, place)
        if isinstance(table.get("fault"), dict):
            self._require_words(table["fault"], "kind", FaultKind, key, place)
            self._require_words(table["fault"], "endpoint", Endpoint, key, place)
        try:
            return self._convert(table, kind)
        except ConfigError as error:
            raise self._error(str(error), key, place) from None

    def _plain(self, table: dict[str, Any], kind: type[Any], key: str = "", place: int | None = None) -> dict[str, Any]:
        """With readable lengths of time turned into seconds: `at = "8h"` means `at_s = 28800.0`."""
        fields = kind.__struct_fields__
        plain: dict[str, Any] = {}
        for name, value in table.items():
            timed = f"{name}_s" if f"{name}_s" in fields and name not in fields else name
            if timed not in fields:
                known = (field.removesuffix("_s") for field in fields)
                raise self._error(f"{name} is not known here; {nearest(name, known)}", key or name, place, name)
            try:
                plain[timed] = _seconds(value) if timed.endswith("_s") else value
            except ValueError as error:
                raise self._error(f"{name}: {error}", key or name, place, name) from None
        if isinstance(plain.get("fault"), dict):
            plain["fault"] = self._plain(plain["fault"], Fault, key, place)
        return plain

    def _list(self, value: Any, key: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._error(f"{key} must be a list", key)
        return value

    def _require_words(
        self, table: dict[str, Any], field: str, words: Iterable[str], key: str, place: int | None = None
    ) -> None:
        if field in table and table[field] not in list(words):
            problem = f"{field} is {table[field]!r}; {nearest(str(table[field]), words)}"
            raise self._error(problem, key, place, field if place is not None else None)

    def _convert(self, table: dict[str, Any], kind: type[Any]) -> Any:
        try:
            return msgspec.convert(table, kind)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            place = path.rstrip("`").strip(".")
            raise ConfigError(f"{place or 'this'}: {text}." if place else f"{text}.") from None

    def _error(self, problem: str, key: str, place: int | None = None, word: str | None = None) -> ConfigError:
        line = line_of(self._text, key, place, word)
        return ConfigError(f"{self._where}, line {line}: {problem.rstrip('.')}.")


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        return read_duration(value)
    return [_seconds(item) for item in value] if isinstance(value, list) else value


def to_toml(scenario: Scenario) -> str:
    """The file that `read_scenario` reads back as the very same scenario."""
    lines = [f"{name} = {text}" for name, text in _written(scenario) if name not in _LISTS]
    for name in _LISTS:
        items = getattr(scenario, name)
        if items:
            rows = "".join(f"    {_inline(item)},\n" for item in items)
            lines.append(f"\n{name} = [\n{rows}]")
    return "\n".join(lines) + "\n"


_LISTS = ("cached", "timeline", "checks")


def _written(struct: msgspec.Struct) -> Iterator[tuple[str, str]]:
    """Each setting that is not the default, lengths of time as people write them."""
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if value != field.default and value is not msgspec.UNSET:
            timed = field.name.endswith("_s")
            yield field.name.removesuffix("_s") if timed else field.name, _literal(value, timed=timed)


def _literal(value: object, *, timed: bool) -> str:
    match value:
        case msgspec.Struct():
            return _inline(value)
        case str():
            return msgspec.json.encode(str(value)).decode()
        case bool():
            return str(value).lower()
        case float() if timed:
            return f'"{write_duration(value)}"'
        case list() | tuple():
            return f"[{', '.join(_literal(item, timed=timed) for item in value)}]"
        case dict():
            return "{ " + ", ".join(f"{name} = {_literal(item, timed=False)}" for name, item in value.items()) + " }"
        case _:
            return repr(value)


def _inline(struct: msgspec.Struct) -> str:
    return "{ " + ", ".join(f"{name} = {text}" for name, text in _written(struct)) + " }"
