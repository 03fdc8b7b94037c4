"""The story in words: golden sentences, and that any sequence of events can be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_timeline import FACTS, H, moved, refreshed, served, started
from told import live, simulated

from session_core import events as e
from session_core.config import PRESETS
from session_core.dashboard.lanes import about, users_of
from session_core.dashboard.phrases import length, ordinal, unformatted
from session_core.dashboard.story import tell
from session_core.sim.run import run
from session_core.sim.scenario import CATALOGUE, read_scenario
from session_core.vocabulary import (
    DeviceChange,
    EndReason,
    ErrorClass,
    GapKind,
    NetworkState,
    Outcome,
    RefreshReason,
    Sight,
    State,
)

WOKE = 9 * H + 14 * 60
SLEPT = 8 * H + 120


def failed(error: str = "unreachable", outcome: Outcome = Outcome.OFFLINE) -> e.RefreshFailed:
    return e.RefreshFailed(
        reason=RefreshReason.RESUME, attempt=1, outcome=outcome, status=None, error=error, duration_ms=1, left_s=-1
    )


def saw(sight: Sight, waited_ms: float = 100, detail: str = "") -> e.UserSaw:
    return e.UserSaw(sight=sight, route="echo", waited_ms=waited_ms, detail=detail)


def test_a_night_and_a_late_network() -> None:
    """The sentence of the plan, word for word."""
    told = tell(
        simulated(
            (WOKE - SLEPT, e.DeviceChanged(change=DeviceChange.SUSPENDED, seconds=SLEPT)),
            (WOKE - SLEPT + 60, e.NetworkChanged(state=NetworkState.DOWN)),
            (WOKE, e.DeviceChanged(change=DeviceChange.RESUMED)),
            (WOKE, failed()),
            (WOKE + 19, e.NetworkChanged(state=NetworkState.UP)),
            (WOKE + 20, refreshed(attempt=2)),
            (WOKE + 20.3, saw(Sight.ANSWER, waited_ms=20_300)),
        )
    )
    assert told[0] == (
        "Suspended 8 h 02 m, woke at 09:14, network back after 19 s, refreshed at the second try, "
        "first answer 1.3 s after the network."
    )
    assert told[1] == "In all 1 refresh, none of them at the first try; the user got 1 answer and saw no error."


def test_a_live_night_is_told_from_what_the_session_noticed() -> None:
    """There is no world to ask, so the gap and the states speak."""
    told = tell(
        live(
            (WOKE, e.GapObserved(gap=GapKind.SUSPEND, seconds=SLEPT)),
            (WOKE, moved(State.RESUMING, State.OFFLINE)),
            (WOKE + 19, moved(State.OFFLINE, State.RESUMING)),
            (WOKE + 20, refreshed()),
            (WOKE + 21, served()),
        )
    )
    assert told[0] == (
        "Suspended 8 h 02 m, woke at 09:14, network away, network back after 19 s, refreshed at the first try, "
        "first answer at 09:14 in 9 ms."
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("At 09:14 all was well, 1.3 s after.", "At 09:14 all was well, 1.3 s after."),
        ("![x](http://evil.example/x.png)", r"!\[x\](http\://evil.example/x.png)"),
        (":red[x] :material/bug_report: www.evil.example", r"\:red\[x\] \:material/bug\_report: www\.evil.example"),
        ("a\n# b <b>$x$</b>", r"a \# b \<b\>\$x\$\</b\>"),
    ],
)
def test_what_a_browser_said_is_shown_as_it_is(said: str, shown: str) -> None:
    """Never as a link, a picture or a format."""
    assert unformatted(said) == shown


def test_what_happens_again_and_again_is_told_once() -> None:
    """Sentences that differ only in their moments are counted; twice is not often."""
    again = [
        (9 * H + 60 * minute + second, saw(sight, detail="unreachable" if sight is Sight.ERROR else ""))
        for minute in range(5)
        for second, sight in ((0, Sight.ERROR), (1, Sight.SIGN_IN))
    ]
    once = "At 09:00 the user saw an error (unreachable), the user met the sign-in page at once, the user saw 1 error"
    assert tell(simulated(*again))[0] == f"{once}; the same 4 times more, at last at 09:04."
    assert tell(simulated(*again))[1].startswith("In all")
    assert tell(simulated(*again[:4]))[:2] == (f"{once}.", f"{once.replace('09:00', '09:01')}.")


def test_an_outage_of_the_provider() -> None:
    """Faults are named in plain words, tries and errors counted."""
    told = tell(
        simulated(
            (0, started()),
            (3_240, e.FaultOrdered(endpoint="token", fault="status")),
            *((3_300.0 + turn, failed("temporarily_unavailable", Outcome.TRANSIENT)) for turn in range(3)),
            (3_310, saw(Sight.ERROR, detail="status 503")),
            (3_311, saw(Sight.ERROR, detail="status 503")),
            (3_840, e.FaultEnded(endpoint="token", fault="status")),
            (3_845, refreshed(attempt=4)),
            (3_846, saw(Sight.ANSWER, waited_ms=30_000)),
        )
    )
    assert told[:2] == (
        "Signed in at 00:00, with a token for 1 h.",
        (
            "The token endpoint answering with an error at 00:54, the fault over after 10 m, refreshed at the fourth try, "
            "the user saw 2 errors, first answer 6 s after the fault."
        ),
    )


def test_an_outage_that_nobody_noticed_is_told_so() -> None:
    """The user is served by the token there is, while refreshing fails."""
    told = tell(
        simulated(
            (0, e.FaultOrdered(endpoint="token", fault="status")),
            (10, saw(Sight.ANSWER)),
            (60, e.FaultEnded(endpoint="token", fault="status")),
            (70, saw(Sight.ANSWER)),
        )
    )
    assert told[0] == (
        "The token endpoint answering with an error at 00:00, the fault over after 1 m, the user got answers all along."
    )


def test_an_end_is_told_with_its_reason() -> None:
    """And what the user met then."""
    told = tell(
        simulated(
            (0, started()),
            (H, e.SessionEnded(reason=EndReason.REFRESH_REJECTED)),
            (H + 0.5, saw(Sight.SIGN_IN)),
            (H + 60, started()),
        )
    )
    assert told[1:3] == (
        (
            "The session ended at 01:00 because the provider refused the refresh token, the user met the sign-in page at "
            "once."
        ),
        "Signed in again at 01:01, with a token for 1 h.",
    )


def test_a_quiet_day_is_short() -> None:
    """Nothing to tell but how much went well."""
    told = tell(
        simulated((0, started()), *((at * 600.0, saw(Sight.ANSWER)) for at in range(1, 9)), (4_000, refreshed()))
    )
    assert told == (
        "Signed in at 00:00, with a token for 1 h.",
        "In all 1 refresh, at the first try; the user got 8 answers and saw no error.",
    )


def test_a_device_that_never_wakes_is_said_so() -> None:
    """The story does not end in the middle."""
    told = tell(simulated((0, started()), (600, e.DeviceChanged(change=DeviceChange.SUSPENDED))))
    assert told[1] == "Suspended since 00:10."


def test_a_single_error_is_told_with_why() -> None:
    """Also where no trouble was known before."""
    told = tell(live((60, served(ErrorClass.SERVER)), (120, served())))
    assert told[0] == "At 00:01 the user saw an error (status 200), answered again at 00:02."


def test_nothing_is_known_of_nothing() -> None:
    """No event, one sentence."""
    assert tell([]) == ("Nothing is known of this session.",)


@given(st.lists(st.tuples(st.floats(0, 3e5), FACTS), min_size=1, max_size=80), st.booleans())
def test_anything_can_be_told(said: list[tuple[float, e.AnyFact]], is_live: bool) -> None:  # noqa: FBT001
    """Whole sentences, not too many, and the sum last."""
    told = tell((live if is_live else simulated)(*said))
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in told)
    assert len(told) <= 14
    assert told[-1].startswith("In all ")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.1, "100 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.3, "1.3 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 m"),
        (185, "3 m 05 s"),
        (3_599.6, "1 h"),
        (28_920, "8 h 02 m"),
        (90_000, "1 d 01 h"),
    ],
)
def test_lengths_are_said_as_people_say_them(seconds: float, said: str) -> None:
    """At the edges too."""
    assert length(seconds) == said


def test_ordinals_are_words_first() -> None:
    """Ten words, then figures."""
    assert [ordinal(number) for number in (1, 2, 10, 11, 17)] == ["first", "second", "tenth", "11th", "17th"]


@pytest.mark.parametrize("path", sorted(CATALOGUE.glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_has_a_story(path: object) -> None:
    """The engine's own events, under both policies; fleets would say the same a thousand times."""
    scenario = read_scenario(path)  # type: ignore[arg-type]
    if scenario.sessions > 10:
        pytest.skip("a fleet: the same code a thousand times")
    for policy in PRESETS.values():
        played = run(scenario, policy, 1)
        for user in users_of(played.events):
            told = tell(about(played.events, user))
            assert told[-1].startswith("In all ")
