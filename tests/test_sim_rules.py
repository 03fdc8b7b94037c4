"""What every rule stands on: events found by kind, texts searched for secrets, and a collector that seldom comes by."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import combinations
from threading import Barrier, Thread

import pytest

from session_core import events as e
from session_core.config import PROFESSIONAL
from session_core.sim.explore import draw
from session_core.sim.garbage import SELDOM, Collector
from session_core.sim.log_rules import no_secret
from session_core.sim.rules import Setting, Told, of_kind
from session_core.sim.run import play
from session_core.vocabulary import Sight

SECRET = "rt_0123456789abcdefghijklmnop.3.ffeeddccbbaa99887766"
SETTING = Setting(
    policy=PROFESSIONAL, refresh_ttl_s=86_400.0, latency_s=0.1, ended_at=60.0, secrets=frozenset({SECRET})
)


def test_events_of_a_kind_are_found_in_their_order() -> None:
    """By their places or by looking at all of them: it is the same."""
    events = play(draw(7), PROFESSIONAL, 7).events
    told, kinds = Told(events), {type(event.fact) for event in events}
    assert len(kinds) > 5
    for some in combinations(sorted(kinds, key=str), 3):
        assert list(of_kind(told, *some)) == list(of_kind(events, *some)) != []


def event(fact: e.AnyFact, session_id: str = "s1") -> e.Event:
    return e.Event(1, 1.0, 1.0, 1.0, e.Origin(stream_id="r", session_id=session_id, user_id="u1"), fact)


@pytest.mark.parametrize("part", [SECRET, SECRET[:16], SECRET[-16:], f"/back?token={SECRET[:16]}&x=1"])
def test_a_secret_in_the_log_is_found(part: str) -> None:
    """Whole, its first part or its last; in a fact or in where it came from."""
    seen = e.UserSaw(sight=Sight.ERROR, route="echo", waited_ms=1.0, detail=part)
    plain = e.UserSaw(sight=Sight.ERROR, route="echo", waited_ms=1.0, detail=SECRET[1:16])
    assert [found.event for found in no_secret((event(plain), event(seen)), SETTING)] == [event(seen)]
    assert [found.event for found in no_secret((event(plain), event(plain, part)), SETTING)] == [event(plain, part)]


@pytest.fixture
def usual() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    gc.set_threshold(701, 11, 12)
    yield 701, 11, 12
    gc.set_threshold(*before)


def test_the_collector_comes_as_usual_after_the_last_world(usual: tuple[int, int, int]) -> None:
    """Also where worlds are played in several threads, whichever ends first."""
    collector, both, done = Collector(), Barrier(2), Barrier(2)

    def another_world() -> None:
        with collector.seldom():
            both.wait()
            done.wait()

    other = Thread(target=another_world)
    with collector.seldom():
        other.start()
        both.wait()
    assert gc.get_threshold() == SELDOM
    done.wait()
    other.join()
    assert gc.get_threshold() == usual
