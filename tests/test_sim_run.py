"""A run: what it reports is what happened, every stream counts without a gap, and the world does what it was told."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import pytest

from session_core import events as e
from session_core.config import BASIC, PROFESSIONAL
from session_core.provider.faults import Fault, FaultKind
from session_core.sim.checks import Check
from session_core.sim.run import Run, digest_of, run
from session_core.sim.scenario import Acting, Calls, Family, Scenario, Users, read_catalogue
from session_core.sim.steps import Step, Verb
from session_core.vocabulary import DeviceChange, Sight, Source

ALWAYS = Check(check="parts_crashed", equals=0)
BEGAN_AT = 15.0


def scenario_of(*timeline: Step, duration_s: float = 600.0, **settings: Any) -> Scenario:
    return Scenario(
        **{
            "name": "trial",
            "family": Family.RACES,
            "what": "A trial.",
            "passes_when": "It ends.",
            "duration_s": duration_s,
            "timeline": timeline,
            "checks": (ALWAYS,),
            **settings,
        }
    )


def at(run_: Run, kind: type[e.AnyFact]) -> list[tuple[float, Any]]:
    """When and what, since the sign-in."""
    return [(round(x.boot - BEGAN_AT, 3), x.fact) for x in run_.events if isinstance(x.fact, kind)]


@pytest.mark.parametrize("name", ["lid-close-overnight", "two-processes", "crash-before-persist", "idle-limit"])
def test_every_stream_counts_without_a_gap(name: str) -> None:
    """From one, in the order of the log; also after a process was killed."""
    streams: dict[str, list[int]] = defaultdict(list)
    for event in run(read_catalogue()[name], PROFESSIONAL, 1).events:
        streams[event.origin.stream_id].append(event.seq)
    assert len(streams) >= 4
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in streams.values())


def test_every_event_is_marked_with_its_run() -> None:
    """Source, run, scenario and policy: an event store tells simulated from live."""
    for event in run(scenario_of(), PROFESSIONAL, 3).events:
        assert event.origin.source is Source.SIM
        assert event.origin.scenario == "trial"
        assert event.origin.policy == "professional"
        assert event.origin.run_id is not None
        assert event.origin.run_id.startswith("trial/professional/3/")


def test_a_run_survives_json() -> None:
    """Its figures are public under these names, and finite."""
    told = msgspec.json.decode(msgspec.json.encode(run(scenario_of(), BASIC, 0, keep_events=False)))
    assert {"scenario", "policy", "seed", "passed", "failures", "survived", "sign_outs", "sign_out_reasons"} <= set(
        told
    )
    assert {"visible_errors", "wake_to_success_ms", "token_posts", "reuse_events", "stuck_ms", "health_min"} <= set(
        told
    )
    assert {"health_mean", "ux_score", "ux_parts", "virtual_seconds", "digest"} <= set(told)
    assert told["virtual_seconds"] == 600.0


def test_without_events_the_figures_and_the_digest_are_the_same() -> None:
    """Keeping the log changes nothing."""
    scenario = read_catalogue()["outage-at-wake"]
    with_events, without = run(scenario, PROFESSIONAL, 2), run(scenario, PROFESSIONAL, 2, keep_events=False)
    assert without.events == ()
    assert msgspec.structs.replace(with_events, events=()) == without
    assert digest_of(with_events.events) == without.digest


def test_a_failed_check_is_told_in_words() -> None:
    """What was found, what it means, what was allowed."""
    scenario = scenario_of(Step(at_s=60.0, do=Verb.CALL), checks=(Check(check="answers", equals=0),))
    found = run(scenario, PROFESSIONAL, 0)
    assert not found.passed
    assert found.failures == ("answers was 1 (answers users got); it should be 0.",)


def test_what_cannot_be_measured_fails() -> None:
    """A check of nothing is no success."""
    found = run(scenario_of(checks=(Check(check="wake_to_success_ms", at_most=1.0),)), PROFESSIONAL, 0)
    assert found.failures[0].startswith("wake_to_success_ms: there was nothing to measure")
    assert found.wake_to_success_ms is None


def test_a_sleeping_device_does_nothing_and_its_user_waits() -> None:
    """What was clicked before the lid closed comes back when it opens; the wait is what the run reports."""
    timeline = (
        Step(at_s=100.0, do=Verb.SUSPEND, for_s=200.0),
        Step(at_s=150.0, do=Verb.CALL),
        Step(at_s=400.0, do=Verb.CALL),
    )
    found = run(scenario_of(*timeline), PROFESSIONAL, 0)
    seen = at(found, e.UserSaw)
    assert [when for when, _ in seen] == [300.1, 400.1]
    changes = [(when, fact.change) for when, fact in at(found, e.DeviceChanged)]
    assert changes == [(100.0, DeviceChange.SUSPENDED), (300.0, DeviceChange.RESUMED)]
    assert not [event for event in found.events if 115.0 < event.boot < 315.0]


def test_nobody_uses_a_device_that_sleeps() -> None:
    """A steady user's turns in its sleep are left out, not made up for."""
    steady = Users(act=Acting.STEADY, every_s=50.0)
    found = run(scenario_of(Step(at_s=90.0, do=Verb.SUSPEND, for_s=200.0), users=steady), PROFESSIONAL, 0)
    assert [when for when, _ in at(found, e.UserSaw)] == [0.2, 50.1, 300.1, 350.1, 400.1, 450.1, 500.1, 550.1]


@pytest.mark.parametrize("calls", Calls)
def test_a_user_who_sees_an_error_tries_again(calls: Calls) -> None:
    """After a human delay, and not for ever; what a person saw is counted."""
    users = Users(tries_again_after_s=20.0, tries_max=3)
    timeline = (Step(at_s=100.0, do=Verb.NETWORK_DOWN, for_s=15.0), Step(at_s=101.0, do=Verb.CALL))
    found = run(scenario_of(*timeline, users=users, calls=calls), BASIC, 1)
    sights = [fact.sight for _, fact in at(found, e.UserSaw)]
    assert sights[-1] is Sight.ANSWER
    assert sights[:-1] == [Sight.ERROR] * found.visible_errors
    assert 1 <= found.visible_errors <= 2


def test_who_is_sent_to_sign_in_does_and_returns_to_where_they_were() -> None:
    """The real sign-in, through the provider's form, back to the place asked for."""
    users = Users(act=Acting.STEADY, every_s=60.0, signs_in_after_s=20.0)
    found = run(scenario_of(users=users, duration_s=2_000.0, access_ttl_s=900.0), BASIC, 0)
    signed_in = [fact for _, fact in at(found, e.UserSaw) if fact.sight is Sight.SIGNED_IN]
    assert [fact.detail for fact in signed_in] == ["/echo"] * found.sign_outs
    assert found.sign_outs == 2
    assert not found.survived
    assert set(found.sign_out_reasons) == {"no_refresh_token"}


def test_a_killed_process_says_nothing_more() -> None:
    """No clean-up and no last event; another goes on with what is stored."""
    timeline = (
        Step(at_s=100.0, do=Verb.KILL_PROCESS),
        Step(at_s=150.0, do=Verb.CALL),
        Step(at_s=200.0, do=Verb.RESTART_PROCESS),
        Step(at_s=250.0, do=Verb.CALL),
    )
    found = run(scenario_of(*timeline), PROFESSIONAL, 0)
    silent = [event for event in found.events if 115.0 < event.boot < 215.0]
    assert silent == []
    assert [(when, fact.sight) for when, fact in at(found, e.UserSaw)] == [(250.1, Sight.ANSWER)]
    assert [fact.resumed for _, fact in at(found, e.SessionStarted)] == [False, True]


def test_an_answer_of_somebody_else_is_noticed() -> None:
    """Users know their own name: two of one device each see only theirs."""
    steady = Users(act=Acting.STEADY, every_s=30.0)
    found = run(scenario_of(sessions=3, users=steady, calls=Calls.CLIENT), PROFESSIONAL, 0)
    assert {fact.sight for _, fact in at(found, e.UserSaw)} == {Sight.ANSWER}
    assert len({event.origin.user_id for event in found.events if isinstance(event.fact, e.UserSaw)}) == 3


def test_every_verb_can_happen() -> None:
    """Each in turn, in one world, and the run comes to its end."""
    more: dict[Verb, dict[str, Any]] = {
        Verb.STALL: {"for_s": 5.0},
        Verb.THROTTLE: {"every_s": 60.0},
        Verb.CLOCK_STEP: {"by_s": -3600.0},
        Verb.NETWORK_SLOW: {"latency_s": 2.0},
        Verb.NETWORK_LOSS: {"share": 0.5},
        Verb.NETWORK_FLAP: {"every_s": 2.0, "times": 3},
        Verb.FAULT: {"fault": Fault(kind=FaultKind.STATUS, status=503), "for_s": 3.0},
        Verb.STORE_SLOW: {"latency_s": 0.01},
    }
    timeline = [Step(at_s=100.0 + 100.0 * turn, do=verb, **more.get(verb, {})) for turn, verb in enumerate(Verb)]
    found = run(scenario_of(*timeline, duration_s=4_000.0, users=Users(signs_in_after_s=5.0)), PROFESSIONAL, 0)
    assert found.virtual_seconds == 4_000.0
    assert found.failures == ()
