"""Events: every fact survives the log, none can be changed, and none is missing from it."""

from __future__ import annotations

import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_core.events import AnyFact, Event, Fact, HeartbeatBeat, Journal, Origin, UserActed, decode, encode
from session_core.vocabulary import Band, Source, State

FACTS: list[type[Fact]] = sorted(Fact.__subclasses__(), key=lambda fact: fact.__name__)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
    type(None): st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) in (types.UnionType, Union):
        return st.one_of(*map(values_of, get_args(hint)))
    return st.sampled_from(list(hint)) if issubclass(hint, Enum) else LEAVES[hint]


def built(struct: type[Any], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(struct)
    fields = {field.name: values_of(hints[field.name]) for field in msgspec.structs.fields(struct)}
    return st.builds(struct, **(fields | more))


class HandClock:
    """Three clocks moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now

    def monotonic(self) -> float:
        return 10.0 + self.now

    def boot(self) -> float:
        return 20.0 + self.now


ORIGIN = Origin(stream_id="s-1", session_id="a", user_id="u")


def journal_of(emit: Callable[[Event], None], clock: HandClock | None = None) -> Journal:
    return Journal(clock=clock or HandClock(), emit=emit, origin=ORIGIN)


def test_every_fact_can_be_recorded() -> None:
    """A fact class that is not in AnyFact would be written and never read again."""
    assert set(get_args(AnyFact)) == set(FACTS)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_every_fact_survives_the_log(fact: type[Fact]) -> None:
    """What is decoded equals what was encoded, on one line, for any values."""

    @given(fact=built(fact), origin=built(Origin), seq=st.integers(1, 2**53), at=LEAVES[float])
    def check(fact: Any, origin: Origin, seq: int, at: float) -> None:
        event = Event(seq, at, at, at, origin, fact)
        line = encode(event)
        assert b"\n" not in line
        assert decode(line) == event
        assert decode(line).kind == type(fact).__name__

    check()


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_no_fact_can_be_changed(fact: type[Fact]) -> None:
    """What happened has happened."""
    assert fact.__struct_config__.frozen
    assert fact.__struct_config__.tag == fact.__name__
    assert not fact.__struct_config__.gc


def test_an_event_and_its_origin_cannot_be_changed() -> None:
    """The frame is as fixed as the fact in it."""
    event = Event(1, 0.0, 0.0, 0.0, ORIGIN, UserActed(action="chat"))
    with pytest.raises(AttributeError):
        event.seq = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        event.origin.user_id = "v"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        event.fact.action = "none"  # type: ignore[union-attr]


@given(actions=st.lists(st.text(), max_size=30))
def test_a_journal_numbers_without_a_gap(actions: list[str]) -> None:
    """The first event is 1, each next one more, in the order of recording."""
    events: list[Event] = []
    journal = journal_of(events.append)
    for action in actions:
        journal.record(UserActed(action=action))
    assert [event.seq for event in events] == list(range(1, len(actions) + 1))
    assert [event.fact for event in events] == [UserActed(action=action) for action in actions]


def test_journals_do_not_share_their_numbers() -> None:
    """Each session's events count from 1 by themselves."""
    events: list[Event] = []
    for journal in (journal_of(events.append), journal_of(events.append)):
        journal.record(UserActed(action="chat"))
    assert [event.seq for event in events] == [1, 1]


def test_an_event_carries_all_three_clocks_and_its_origin() -> None:
    """Idle is what makes the clocks differ, so each is kept."""
    events: list[Event] = []
    clock = HandClock()
    journal = journal_of(events.append, clock)
    clock.now = 5.0
    journal.record(UserActed(action="chat"))
    assert events == [Event(1, 1_800_000_005.0, 15.0, 25.0, ORIGIN, UserActed(action="chat"))]
    assert events[0].origin.source is Source.LIVE


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b'{"seq":"one"}', r"\$\.seq"),
        (
            encode(Event(1, 0.0, 0.0, 0.0, ORIGIN, UserActed(action="a"))).replace(b"UserActed", b"UserSlept"),
            r"\$\.fact",
        ),
        (encode(Event(1, 0.0, 0.0, 0.0, ORIGIN, UserActed(action="a"))).replace(b'"a"}', b"7}"), r"\$\.fact\.action"),
    ],
)
def test_a_line_that_is_no_event_is_refused_by_the_field_at_fault(line: bytes, field: str) -> None:
    """Whoever sent it learns what to mend."""
    with pytest.raises(msgspec.ValidationError, match=field):
        decode(line)


def test_an_endless_time_does_not_survive_the_log() -> None:
    """JSON has no infinity: a fact must carry a finite number, or the line is refused when it is read."""
    beat = HeartbeatBeat(state=State.ACTIVE, health=100.0, band=Band.EXCELLENT, lowest="state", left_s=float("inf"))
    with pytest.raises(msgspec.ValidationError, match="left_s"):
        decode(encode(Event(1, 0.0, 0.0, 0.0, ORIGIN, beat)))
