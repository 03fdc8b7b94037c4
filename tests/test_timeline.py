"""The timeline's lanes: what is drawn for which event, live and simulated, and that nothing points astray."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told import MORNING, live, simulated

from session_core import events as e
from session_core.config import PRESETS
from session_core.dashboard import theme, timeline, timeline_chart
from session_core.dashboard.lanes import NOTHING, Lane, Look, about, users_of, when
from session_core.dashboard.looks import MARKS, SPANS
from session_core.dashboard.timeline_chart import Panel
from session_core.sim.clock import EPOCH_S
from session_core.sim.run import run
from session_core.sim.scenario import CATALOGUE, read_scenario
from session_core.vocabulary import (
    DeviceChange,
    ErrorClass,
    GapKind,
    NetworkState,
    RefreshReason,
    Served,
    Sight,
    Signal,
    State,
)

H = 3_600.0


def started(life_s: float = H) -> e.SessionStarted:
    return e.SessionStarted(resumed=False, life_s=life_s, idle_limit_s=None, absolute_limit_s=None)


def moved(state_from: State, state_to: State, signal: Signal = Signal.SUSPENDED) -> e.StateChanged:
    return e.StateChanged(state_from=state_from, state_to=state_to, signal=signal)


def refreshed(attempt: int = 1) -> e.TokenRefreshed:
    return e.TokenRefreshed(
        reason=RefreshReason.RESUME,
        attempt=attempt,
        duration_ms=100,
        waited_s=0,
        left_s=-H,
        life_s=H,
        rotated=True,
        moved=True,
    )


def served(error: ErrorClass | None = None, where: Served = Served.NETWORK) -> e.RequestServed:
    return e.RequestServed(
        method="GET", route="/echo", status=200, served=where, duration_ms=9, waited_ms=0, attempts=1, error=error
    )


NIGHT = simulated(
    (0, moved(State.SIGNED_OUT, State.ACTIVE, Signal.SIGNED_IN)),
    (0, started()),
    (600, e.UserActed(action="echo")),
    (601, served()),
    (601, e.UserSaw(sight=Sight.ANSWER, route="echo", waited_ms=1_000)),
    (1_800, e.DeviceChanged(change=DeviceChange.SUSPENDED, seconds=8 * H)),
    (1_800 + 8 * H, e.DeviceChanged(change=DeviceChange.RESUMED)),
    (1_800 + 8 * H, e.NetworkChanged(state=NetworkState.DOWN)),
    (1_800 + 8 * H, moved(State.ACTIVE, State.RESUMING)),
    (1_820 + 8 * H, e.NetworkChanged(state=NetworkState.UP)),
    (1_821 + 8 * H, refreshed()),
    (1_821 + 8 * H, moved(State.RESUMING, State.ACTIVE)),
    (1_900 + 8 * H, served(where=Served.CACHE)),
)


def spans(built: timeline.Timeline, lane: Lane) -> list[tuple[float, float, str]]:
    found = [(span.from_s - EPOCH_S, span.until_s - EPOCH_S, str(span.look)) for span in built.spans]
    return sorted(one for one, span in zip(found, built.spans, strict=True) if span.lane is lane)


def test_a_night_has_its_lanes() -> None:
    """Sleep, outage, states, tokens and requests stand where they happened."""
    built, end = timeline.build(NIGHT), 1_900 + 8 * H
    woke = 1_800 + 8 * H
    assert spans(built, Lane.DEVICE) == [(1_800, woke, Look.ASLEEP)]
    assert spans(built, Lane.NETWORK) == [(woke, woke + 20, Look.DOWN)]
    assert spans(built, Lane.STATE) == [
        (0, woke, State.ACTIVE),
        (woke, woke + 21, State.RESUMING),
        (woke + 21, end, State.ACTIVE),
    ]
    assert [(life.from_s - EPOCH_S, life.until_s - EPOCH_S) for life in built.lives] == [
        (0, woke + 21),
        (woke + 21, end),
    ]
    looks = [(mark.lane, mark.look) for mark in sorted(built.marks, key=lambda mark: mark.place)]
    assert looks == [
        (Lane.USER, Look.ACTED),
        (Lane.REQUESTS, Look.SERVED),
        (Lane.USER, Look.ANSWERED),
        (Lane.REQUESTS, Look.REFRESHED),
        (Lane.REQUESTS, Look.CACHED),
    ]


def test_the_busy_moments_are_offered() -> None:
    """Closing the lid is one, waking another; each leaves room around what happened."""
    closing, waking = timeline.build(NIGHT).moments
    assert closing.says.startswith("The device was suspended")
    assert waking.from_s < waking.at_s == EPOCH_S + 1_800 + 8 * H < waking.until_s


def test_a_live_session_has_no_world_to_ask() -> None:
    """Its own guess of a sleep stands in, and begins before the event that tells of it."""
    built = timeline.build(live((10, started()), (9_000, e.GapObserved(gap=GapKind.SUSPEND, seconds=8_000.0))))
    (span,) = built.spans
    assert (span.lane, span.look) == (Lane.DEVICE, Look.ASLEEP)
    assert (span.from_s, span.until_s) == (MORNING + 1_000, MORNING + 9_000)


def test_a_fault_lasts_until_it_is_over() -> None:
    """One with an end is a stretch; one that strikes once is a mark."""
    built = timeline.build(
        simulated(
            (0, e.FaultOrdered(endpoint="token", fault="status")),
            (5, e.FaultOrdered(endpoint="any", fault="revoke_refresh_tokens")),
            (20, e.FaultEnded(endpoint="token", fault="status")),
            (30, started()),
        )
    )
    assert spans(built, Lane.PROVIDER) == [(0, 20, Look.FAULT)]
    assert [(mark.lane, mark.at_s - EPOCH_S) for mark in built.marks] == [(Lane.PROVIDER, 5)]


def test_nothing_at_all_is_an_empty_timeline() -> None:
    """No event, no picture, no error."""
    assert timeline.build([]) is NOTHING


def test_a_crowd_of_answers_is_thinned_and_trouble_is_not() -> None:
    """Two thousand answers become some hundred marks that count them; the one error stays itself."""
    said = [(float(at), served()) for at in range(5_000)]
    built = timeline.build(simulated(*said, (5_000.0, served(ErrorClass.SERVER))))
    assert len(built.marks) < 500
    assert sum(mark.count for mark in built.marks) == 5_001
    assert [mark.look for mark in built.marks].count(Look.FAILED) == 1
    assert any(mark.says.startswith("12 times: ") or "times: " in mark.says for mark in built.marks)


def test_one_user_of_many_is_told_apart() -> None:
    """Their own events, their device's and the provider's; nobody else's."""
    mine = simulated((0, started()), user="u2", device="device-2")
    provider = simulated((1, e.FaultOrdered(endpoint="token", fault="hang")), user="", device="provider")
    other = simulated((2, started()), user="u10", device="device-1")
    others_device = simulated((3, e.DeviceChanged(change=DeviceChange.KILLED)), user="", device="device-1")
    every = [*other, *mine, *provider, *others_device]
    assert users_of(every) == ("u2", "u10")
    assert set(about(every, "u2")) == {*mine, *provider}


FACTS = st.sampled_from([event.fact for event in NIGHT] + [e.FaultOrdered(endpoint="api", fault="delay")])


@given(st.lists(st.tuples(st.floats(0, 1e5), FACTS), max_size=60), st.booleans())
def test_whatever_happens_the_lanes_hold_together(said: list[tuple[float, e.AnyFact]], is_live: bool) -> None:  # noqa: FBT001
    """Every mark shows its own event; states and tokens follow one another without overlap."""
    built = timeline.build((live if is_live else simulated)(*said))
    for mark in built.marks:
        assert when(built.events[mark.place]) == mark.at_s
    for span in built.spans:
        assert span.from_s <= span.until_s
        assert 0 <= span.place < len(built.events)
    states = sorted((span.from_s, span.until_s) for span in built.spans if span.lane is Lane.STATE)
    assert all(one[1] <= other[0] for one, other in pairwise(states))
    assert all(one.until_s <= other.from_s for one, other in pairwise(built.lives))
    if built.events:
        timeline_chart.timelines([Panel("a", built), Panel("b", built)])


def test_each_mark_of_the_picture_opens_its_event() -> None:
    """What Plotly hands back on a click finds the event whose sentence the mark shows."""
    built = timeline.build(NIGHT)
    figure = timeline_chart.timelines([Panel("", built)], title=False)
    for trace in figure.data:
        for told, data in zip(
            trace.hovertext or (), trace.customdata if trace.customdata is not None else (), strict=True
        ):
            place = timeline_chart.picked(_Selection([{"customdata": data}]))
            assert place is not None
            assert place[0] == 0
            assert told[9:] in ("The access token had expired.", timeline.describe(built.events[place[1]]))
    assert timeline_chart.picked(_Selection([])) is None


class _Selection:
    def __init__(self, points: list[dict[str, object]]) -> None:
        self.points = points


def test_lanes_share_one_axis() -> None:
    """Zooming into one lane zooms into all, also where two runs stand below each other."""
    built = timeline.build(NIGHT)
    figure = timeline_chart.timelines([Panel("before", built), Panel("after", built)])
    assert {trace.xaxis for trace in figure.data} <= {None, "x"}
    assert list(figure.layout.yaxis.ticktext) == 2 * [lane.value for lane in Lane]
    assert figure.layout.yaxis.fixedrange


def test_the_table_says_the_same() -> None:
    """A row for each event, in order."""
    table = timeline_chart.table(timeline.build(NIGHT))
    assert len(table) == len(NIGHT)
    assert table["Time (UTC)"].tolist()[0] == "00:00:00"


@pytest.mark.parametrize("background", [theme.BACKGROUND_LIGHT, theme.BACKGROUND_DARK])
def test_every_look_is_seen_on_both_backgrounds(background: str) -> None:
    """At least three to one."""
    styles = [*MARKS.values(), *SPANS.values()]
    assert all(theme.contrast(style.colour, background) >= 3 for style in styles)


def test_every_look_has_a_style() -> None:
    """Whatever the lanes use can be drawn."""
    assert set(Look) | set(State) == set(MARKS) | set(SPANS)


@pytest.mark.parametrize("name", ["wake-before-network", "crash-before-persist", "two-processes", "idle-limit"])
@pytest.mark.parametrize("policy", PRESETS)
def test_real_runs_can_be_drawn(name: str, policy: str) -> None:
    """The engine's own events, not only those written here."""
    played = run(read_scenario(CATALOGUE / f"{name}.toml"), PRESETS[policy], 1)
    built = timeline.build(about(played.events, users_of(played.events)[0]))
    assert {span.lane for span in built.spans} >= {Lane.STATE}
    assert timeline_chart.timelines([Panel("", built)]).data
