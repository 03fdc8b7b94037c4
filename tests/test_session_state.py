"""The table of states: complete, one way out of an end, every change told once, nothing stuck for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import session_core
from session_core.errors import IllegalTransitionError
from session_core.events import AnyFact, StateChanged, StuckFound
from session_core.session_state import DEADLINE_S, TRANSITIONS, SessionStateMachine, step, stuck_at
from session_core.sim.clock import VirtualClock
from session_core.vocabulary import Signal, State

HELD = frozenset({State.LOCKED, State.EXPIRED, State.SIGNED_OUT})
LIVE = frozenset(State) - HELD - {State.AUTHENTICATING}
SIGN_IN = frozenset({Signal.SIGN_IN_STARTED, Signal.SIGNED_IN})
# What a part that was at work before a sign-in began may still report while it goes on.
BACKGROUND = frozenset(Signal) - SIGN_IN - {Signal.SIGN_IN_FAILED, Signal.STUCK, Signal.SIGNED_OUT}


def fired_in_code() -> Iterator[Signal]:
    """Every signal that a module other than the table and the vocabulary names."""
    for path in Path(session_core.__file__).parent.rglob("*.py"):
        if path.name not in ("session_state.py", "vocabulary.py"):
            yield from (Signal[name] for name in re.findall(r"\bSignal\.([A-Z_]+)", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("state", [state for state in State if state is not State.AUTHENTICATING])
def test_every_signal_that_the_code_fires_is_known_in_every_state(state: State) -> None:
    """A signal that meets a state which does not expect it would be a crash in production."""
    fired = set(fired_in_code())
    assert len(fired) >= 15
    assert {signal for signal in fired if (state, signal) not in TRANSITIONS} == set()


def test_late_reports_of_the_background_do_not_disturb_a_sign_in() -> None:
    """A refresh that was under way when the user began to sign in again may end in the middle of it."""
    assert {step(State.AUTHENTICATING, signal) for signal in BACKGROUND} == {State.AUTHENTICATING}


@pytest.mark.parametrize("state", sorted(HELD))
def test_only_a_sign_in_brings_a_held_session_back(state: State) -> None:
    """Locked, expired or signed out: no late refresh, no network, no waking revives it."""
    for (before, signal), after in TRANSITIONS.items():
        if before is state and signal not in SIGN_IN:
            assert after in HELD, signal
    assert step(state, Signal.SIGNED_IN) is State.ACTIVE
    assert step(state, Signal.SIGN_IN_STARTED) is State.AUTHENTICATING


def test_an_absolute_limit_is_final() -> None:
    """It ends a live session and a locked one; a sign-out is final too."""
    for state in LIVE | {State.LOCKED}:
        assert step(state, Signal.ABSOLUTE_LIMIT_REACHED) is State.EXPIRED
    for state in State:
        assert step(state, Signal.SIGNED_OUT) is State.SIGNED_OUT


def test_every_state_can_be_reached_and_left() -> None:
    """No row leads nowhere, and there is a way from the start to each state and back to the start."""
    ways = {state: {after for (before, _), after in TRANSITIONS.items() if before is state} for state in State}
    for start in State:
        seen, todo = {start}, [start]
        while todo:
            found = ways[todo.pop()] - seen
            seen |= found
            todo += found
        assert seen == set(State)


def test_a_signal_that_no_state_expects_is_our_own_mistake() -> None:
    """It raises, and names both."""
    with pytest.raises(IllegalTransitionError, match="sign_in_failed is not expected in the state ACTIVE") as caught:
        step(State.ACTIVE, Signal.SIGN_IN_FAILED)
    assert (caught.value.state, caught.value.signal) == (State.ACTIVE, Signal.SIGN_IN_FAILED)
    assert caught.value.__suppress_context__


@given(state=st.sampled_from(State), since=st.floats(0, 1e7))
def test_a_state_with_a_deadline_can_be_forced_on(state: State, since: float) -> None:
    """Exactly the states with a deadline know the signal STUCK, and it leads out of them."""
    at = stuck_at(state, since)
    if at is None:
        assert (state, Signal.STUCK) not in TRANSITIONS
    else:
        assert at == since + DEADLINE_S[state]
        assert step(state, Signal.STUCK) not in (state, *DEADLINE_S)


class Bench:
    """A machine, its clock and what it said."""

    def __init__(self, state: State = State.SIGNED_OUT) -> None:
        self.now = 0.0
        self.facts: list[AnyFact] = []
        self.machine = SessionStateMachine(clock=VirtualClock(lambda: self.now), record=self.facts.append, state=state)


@pytest.mark.parametrize("state", DEADLINE_S)
def test_a_state_is_stuck_exactly_from_its_deadline(state: State) -> None:
    """One instant before, nothing; then it is told and forced on, once."""
    bench = Bench(state)
    deadline_s = DEADLINE_S[state]
    assert not bench.machine.force_on(deadline_s - 0.001)
    assert bench.facts == []
    bench.now = deadline_s + 2
    assert bench.machine.force_on(bench.now)
    after = step(state, Signal.STUCK)
    assert bench.facts == [
        StuckFound(state=state, stuck_s=2.0),
        StateChanged(state_from=state, state_to=after, signal=Signal.STUCK),
    ]
    assert not bench.machine.force_on(bench.now)


@pytest.mark.parametrize("state", DEADLINE_S)
def test_the_deadline_itself_is_too_late(state: State) -> None:
    """At its second, not after it."""
    assert Bench(state).machine.force_on(DEADLINE_S[state])


@pytest.mark.parametrize("state", sorted(set(State) - set(DEADLINE_S)))
def test_a_state_without_a_deadline_is_never_stuck(state: State) -> None:
    """A session may be active, or locked, for as long as it likes."""
    bench = Bench(state)
    assert not bench.machine.force_on(1e12)
    assert bench.facts == []


@given(st.data())
def test_each_transition_is_told_once_and_a_loop_not_at_all(data: st.DataObject) -> None:
    """One StateChanged for a change; staying is silent and does not restart the clock."""
    (before, signal), after = data.draw(st.sampled_from(sorted(TRANSITIONS.items())))
    bench = Bench(before)
    bench.now = 5.0
    assert bench.machine.fire(signal) is after
    if before is after:
        assert bench.facts == []
        assert (bench.machine.since, bench.machine.path) == (0.0, (before,))
    else:
        assert bench.facts == [StateChanged(state_from=before, state_to=after, signal=signal)]
        assert (bench.machine.since, bench.machine.path) == (5.0, (before, after))


def test_the_way_of_a_night_is_logged_as_it_was() -> None:
    """ACTIVE → SUSPENDED → RESUMING → ACTIVE."""
    bench = Bench(State.ACTIVE)
    for signal in (Signal.SUSPENDED, Signal.WOKE, Signal.RESUMED):
        bench.machine.fire(signal)
    assert bench.machine.path == (State.ACTIVE, State.SUSPENDED, State.RESUMING, State.ACTIVE)


class StateMachineModel(RuleBasedStateMachine):
    """Any signals at any times."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.state = State.SIGNED_OUT
        self.since = 0.0

    @rule(seconds=st.floats(0, 700))
    def wait(self, seconds: float) -> None:
        self.bench.now += seconds

    @rule(signal=st.sampled_from(Signal))
    def fire(self, signal: Signal) -> None:
        after = TRANSITIONS.get((self.state, signal))
        told = len(self.bench.facts)
        if after is None:
            with pytest.raises(IllegalTransitionError):
                self.bench.machine.fire(signal)
            assert len(self.bench.facts) == told
        else:
            assert self.bench.machine.fire(signal) is after
            self._note(after)

    @rule()
    def force_on(self) -> None:
        at = stuck_at(self.state, self.since)
        stuck = at is not None and self.bench.now >= at
        assert self.bench.machine.force_on(self.bench.now) is stuck
        if stuck:
            self._note(step(self.state, Signal.STUCK))

    def _note(self, after: State) -> None:
        if after is not self.state:
            self.state, self.since = after, self.bench.now

    @invariant()
    def the_machine_is_where_the_table_says(self) -> None:
        machine = self.bench.machine
        assert (machine.state, machine.since) == (self.state, self.since)

    @invariant()
    def the_path_is_short_and_true(self) -> None:
        changes = [fact.state_to for fact in self.bench.facts if isinstance(fact, StateChanged)]
        path = self.bench.machine.path
        assert 1 <= len(path) <= 8
        assert list(path) == [State.SIGNED_OUT, *changes][-len(path) :]
        assert all(earlier is not later for earlier, later in pairwise(path))


TestStateMachineModel = StateMachineModel.TestCase
