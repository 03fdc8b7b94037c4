"""One session opened: what is said of it follows from its events, and what is taken away can be brought back."""

from __future__ import annotations

import io

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_timeline import FACTS, H, moved, refreshed, served, started
from told import MORNING, live, simulated

from session_core import events as e
from session_core import ingest
from session_core.dashboard import session_words
from session_core.dashboard.lanes import when
from session_core.demo.fill import plan_last
from session_core.demo.play import play
from session_core.vocabulary import Band, EndReason, ErrorClass, GapKind, State

NIGHT = (
    (0.0, moved(State.SIGNED_OUT, State.ACTIVE)),
    (0.0, started()),
    (60.0, served()),
    (9 * H, e.GapObserved(gap=GapKind.SUSPEND, seconds=8 * H)),
    (9 * H, moved(State.ACTIVE, State.OFFLINE)),
    (9 * H + 19, moved(State.OFFLINE, State.ACTIVE)),
    (9 * H + 20, refreshed()),
    (9 * H + 21, served(ErrorClass.AUTH)),
    (9 * H + 22, e.HeartbeatBeat(state=State.ACTIVE, health=95, band=Band.EXCELLENT, lowest="state", left_s=H)),
)
END = (10 * H, e.SessionEnded(reason=EndReason.REFRESH_REJECTED))


def opened(*said: tuple[float, e.AnyFact]) -> session_words.Opened:
    return session_words.opened(live(*said), zone="UTC")


def labels(of: session_words.Opened, now_s: float = MORNING + 11 * H) -> list[str]:
    return [badge.label for badge in session_words.badges(of, now_s)]


def test_a_live_session_is_told_from_what_it_noticed() -> None:
    """There is no world to say what befell it: gaps and states do."""
    night = opened(*NIGHT)
    assert night.told[1].startswith("Suspended 8 h, woke at 09:00, network away, network back after 19 s, refreshed")
    assert session_words.sentence(night) == "Not ended after 9 h; 1 request failed visibly."
    assert labels(night)[:3] == ["Not ended", "Active", "Health excellent"]


def test_why_it_ended_is_one_badge() -> None:
    """A loss is red, a wish is not; a session that was taken up again goes on, and one that fell silent says so."""
    lost = opened(*NIGHT, END)
    assert labels(lost)[0] == "Ended: refresh rejected"
    assert session_words.badges(lost, MORNING)[0].colour == "red"
    assert "because the provider refused the refresh token; 1 request failed" in session_words.sentence(lost)
    wished = opened(*NIGHT, (10 * H, e.SessionEnded(reason=EndReason.SIGNED_OUT)))
    assert session_words.badges(wished, MORNING)[0].colour == "gray"
    assert opened(*NIGHT, END, (11 * H, started())).ended is None


def test_a_server_that_stops_ends_nothing() -> None:
    """The session is left alone, and goes on when it is taken up again."""
    stopped = (10 * H, e.SessionEnded(reason=EndReason.STOPPED))
    left = opened(*NIGHT, stopped)
    assert labels(left)[0] == "Server stopped"
    assert session_words.sentence(left) == "Left alone after 10 h when the server stopped; 1 request failed visibly."
    assert "left alone at 10:00 when the server stopped" in " ".join(left.told).lower()
    again = opened(*NIGHT, stopped, (11 * H, msgspec.structs.replace(started(), resumed=True)))
    assert "left alone at 10:00 when the server stopped, taken up again from the store" in " ".join(again.told).lower()
    assert labels(again)[0] == "Not ended"
    assert labels(opened(*NIGHT), MORNING + 40 * H)[0] == "Silent"


def test_its_own_score_stands_beside_it() -> None:
    """With the reasons why it is not full."""
    assert any(label.startswith("UX score ") for label in labels(opened(*NIGHT, END)))
    assert opened(*NIGHT, END).score.reasons


def test_times_of_sample_data_are_those_of_the_store() -> None:
    """It is simulated at another time than it says: story and timeline follow what is stored."""
    stay = next(stay for stay in plan_last(3, users=3, seed=1, now_s=MORNING).stays() if play(stay).days)
    played = play(stay)
    events = [event for day in played.days for event in played.events_of(day)]
    assert events
    assert all(abs(when(event) - event.happened_at) < 1 for event in events)


@given(st.lists(st.tuples(st.floats(0, 1e6), FACTS), min_size=1, max_size=30))
def test_any_session_can_be_opened(said: list[tuple[float, e.AnyFact]]) -> None:
    """Whatever the log holds has a sentence, badges, a table and its lines."""
    for events in (live(*said), simulated(*said)):
        of = session_words.opened(events, zone="Asia/Kathmandu")
        assert session_words.sentence(of)
        assert session_words.badges(of, MORNING)
        assert len(session_words.events_table(of)) == len(events)
        assert session_words.export_words(of, "UTC")["Session"] == "s"


def test_lines_that_are_taken_away_can_be_taken_in() -> None:
    """The same events as ingest reads them; only their source is not believed."""
    of = opened(*NIGHT, END)
    sifted = ingest.sift(ingest.lines_of(io.BytesIO(session_words.events_lines(of))), now=MORNING + 11 * H)
    assert not sifted.refused
    assert [event.fact for event in sifted.events] == [event.fact for event in of.events]


def test_what_is_cut_off_is_said() -> None:
    """As many events as there can be may be fewer than there were."""
    cut, whole = (
        session_words.opened(live(*NIGHT), zone="UTC", events_max=most) for most in (len(NIGHT), len(NIGHT) + 1)
    )
    assert cut.shortened
    assert session_words.export_words(cut, "UTC")["Events"] == f"the latest {len(NIGHT)}"
    assert not whole.shortened
    assert "Events" not in session_words.export_words(whole, "UTC")


def test_a_link_leads_to_the_session_whatever_its_name() -> None:
    """Its name is written as an address writes it."""
    link = session_words.link("http://lab/errors", "a/b&c", {"range": "7d"})
    assert link == "http://lab/sessions?range=7d&session=a%2Fb%26c"
    table = pd.DataFrame({session_words.EXAMPLE: ["s"], "n": [1]})
    linked = session_words.linked(table, "", {})
    assert linked[session_words.EXAMPLE].tolist() == ["sessions?session=s"]
    assert session_words.linked(table[["n"]], "", {}).columns.tolist() == ["n"]


@pytest.mark.parametrize(
    ("rows", "total", "said"),
    [
        (0, 0, "No session in this time range is like that"),
        (1, 1, "Showing the only session."),
        (3, 3, "Showing all 3 sessions, the worst first."),
        (2, 12_345, "Showing 2 of 12,345 sessions, the worst first"),
    ],
)
def test_how_many_are_shown_of_how_many(rows: int, total: int, said: str) -> None:
    """Nobody takes the first five hundred for all."""
    assert session_words.how_many(pd.DataFrame({"found": [total] * rows})).startswith(said)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ((5, 0, float("nan"), 0), "5 sessions were active; nobody used one."),
        (
            (5, 5, 100.0, 0),
            "No session of 5 was interrupted when it need not have been, and no request failed visibly.",
        ),
        ((5, 4, 75.0, 1), "1 session of 5 was interrupted when it need not have been, and 1 request failed visibly."),
        (
            (5, 5, 20.0, 7),
            "4 sessions of 5 were interrupted when it need not have been, and 7 requests failed visibly.",
        ),
    ],
)
def test_the_list_answers_first(of: tuple[float, float, float, float], said: str) -> None:
    """How many were interrupted, and how much was seen."""
    names = ("sessions", "used_sessions", "interruption_free_percent", "visible_errors")
    assert session_words.list_sentence({name: (value, 0.0) for name, value in zip(names, of, strict=True)}) == said


def test_nonsense_gets_a_calm_sentence() -> None:
    """However long it is."""
    assert len(session_words.unknown("x" * 5_000)) < 200
    assert session_words.only_trouble("errors") is None
    assert "known are all, interrupted, errors, ended" in str(session_words.only_trouble("zzz"))
