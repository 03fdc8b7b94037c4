"""Makes a failing schedule as short as it gets, and tells it in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from session_core.errors import ConfigError
from session_core.sim.durations import write_duration
from session_core.sim.invariants import Violation
from session_core.sim.scenario import Scenario, Users, to_toml
from session_core.sim.steps import VERBS, Step, Verb

TRIES_MAX = 400
"""How often a failure is played again to make it shorter."""
_PLAIN = (
    "devices",
    "sessions",
    "wall_skews_s",
    "provider_session",
    "calls",
    "cached",
    "idle_limit_s",
    "absolute_limit_s",
    "refresh_ttl_s",
    "latency_s",
    "rotates",
    "grace_s",
    "access_ttl_s",
)
_SAID = ("process", "for_s", "every_s", "by_s", "spread_s", "latency_s", "share", "times")


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool], *, tries_max: int = TRIES_MAX) -> Scenario:
    """The shortest schedule found that still fails: fewer steps, then plainer settings, a sooner end, rounder times."""
    tries_left = tries_max
    shorter: Scenario | None = scenario
    while shorter is not None:
        scenario, shorter = shorter, None
        for less in _plainer(scenario):
            tries_left -= 1
            if tries_left < 0:
                break
            if fails(less):
                shorter = less
                break
    return scenario


def _plainer(scenario: Scenario) -> Iterator[Scenario]:
    """Schedules a little shorter or plainer than this one, the boldest first."""
    yield from _with_fewer_steps(scenario)
    yield from _with_plainer_settings(scenario)
    yield from _with_a_sooner_end(scenario)
    for place, step in enumerate(scenario.timeline):
        for other in _rounder(step):
            yield from _changed(scenario, timeline=(*scenario.timeline[:place], other, *scenario.timeline[place + 1 :]))


def _with_fewer_steps(scenario: Scenario) -> Iterator[Scenario]:
    steps = scenario.timeline
    size = (len(steps) + 1) // 2
    while size and steps:
        for start in range(0, len(steps), size):
            yield from _changed(scenario, timeline=(*steps[:start], *steps[start + size :]))
        size = size // 2


def _with_plainer_settings(scenario: Scenario) -> Iterator[Scenario]:
    if scenario.users != Users():
        yield from _changed(scenario, users=Users())
    plain = {field.name: field.default for field in msgspec.structs.fields(Scenario)}
    for name in _PLAIN:
        if getattr(scenario, name) != plain[name]:
            yield from _changed(scenario, **{name: plain[name]})
    times_s = scenario.users.times_s
    for place in range(len(times_s)):
        fewer = msgspec.structs.replace(scenario.users, times_s=(*times_s[:place], *times_s[place + 1 :]))
        yield from _changed(scenario, users=fewer)


def _with_a_sooner_end(scenario: Scenario) -> Iterator[Scenario]:
    last_s = max((step.at_s for step in scenario.timeline), default=0.0)
    for end_s in (last_s + 10, last_s + 600, (last_s + scenario.duration_s) / 2):
        whole_s = -(-end_s // 60) * 60.0
        if whole_s < scenario.duration_s:
            yield from _changed(scenario, duration_s=whole_s)


def _rounder(step: Step) -> Iterator[Step]:
    for unit in (600.0, 60.0, 10.0, 1.0, 0.1):
        rounded = round(round(step.at_s / unit) * unit, 3)
        if len(f"{rounded:g}") < len(f"{step.at_s:g}"):
            yield msgspec.structs.replace(step, at_s=rounded)
    for name in VERBS[step.do].may:
        if getattr(step, name) is not None:
            yield msgspec.structs.replace(step, **{name: None})
    if step.fault is not None and step.fault.times is not None:
        yield msgspec.structs.replace(step, fault=msgspec.structs.replace(step.fault, times=None))


def _changed(scenario: Scenario, **changes: Any) -> Iterator[Scenario]:
    """The changed schedule, if there can be one: devices need sessions, and steps their order."""
    try:
        yield msgspec.structs.replace(scenario, **changes)
    except ConfigError:
        return


# Telling


def tell(scenario: Scenario, violation: Violation, *, began_at: float) -> str:
    """The story of a failure, a line for each thing that happened."""
    lines = [f"Signed in; tokens live {write_duration(scenario.access_ttl_s)}{_grace(scenario)}."]
    lines += [f"At {write_duration(step.at_s)} {_phrase(step)}." for step in scenario.timeline]
    at = write_duration(round(max(0.0, violation.at - began_at), 3))
    return "\n".join([*lines, f"At {at} {violation.says} ({violation.name})."])


def _grace(scenario: Scenario) -> str:
    if not scenario.rotates:
        return ", refresh tokens do not rotate"
    return f", a replay is forgiven for {write_duration(scenario.grace_s)}" if scenario.grace_s else ""


def _phrase(step: Step) -> str:
    """What a step does, with its own settings, in the words of its verb."""
    settings = {name.removesuffix("_s"): getattr(step, name) for name in _SAID if getattr(step, name) is not None}
    if step.do is Verb.FAULT and step.fault is not None:
        fault = step.fault
        whom = "the provider" if fault.endpoint == "any" else f"the provider's {fault.endpoint} endpoint"
        what = f"{whom} began to fail with {fault.kind}{f' {fault.status}' if fault.status else ''}"
    else:
        what = VERBS[step.do].does.partition(";")[0].replace("`", "")
    said = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items()
    )
    return f"{what} ({said})" if said else what


def as_pytest(scenario: Scenario, seed: int, policy: str) -> str:
    """A test function that plays the schedule again."""
    name = scenario.name.replace("-", "_")
    return f'''from session_core.config import preset
from session_core.sim.run import play
from session_core.sim.scenario import parse_scenario


def test_{name}() -> None:
    """{scenario.what}"""
    scenario = parse_scenario(r\'\'\'
{to_toml(scenario)}\'\'\')
    assert play(scenario, preset("{policy}"), {seed}).broken == ()
'''
