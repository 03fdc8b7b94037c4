"""What changed is said when it is more than noise, the largest first, and leads to where to look."""

from __future__ import annotations

import pandas as pd

from session_core.dashboard.movers import movers

NOTHING = pd.DataFrame({"reason": [], "value": [], "previous": []})
CALM = pd.DataFrame({"bucket": [1], "error": ["server"], "visible": [True], "errors": [0], "requests": [1_000]})


def scores(**of: tuple[int, float]) -> pd.DataFrame:
    sessions, score = zip(*of.values(), strict=True) if of else ((), ())
    return pd.DataFrame({"value": list(of), "sessions": list(sessions), "score": list(score)})


def test_a_fallen_score_is_said_with_its_value_and_a_link() -> None:
    """Of the phones only, because the laptops moved by less than a point."""
    now, before = scores(phone=(100, 80.0), laptop=(300, 95.0)), scores(phone=(90, 92.0), laptop=(310, 95.4))
    [mover] = movers({"device": (now, before)}, NOTHING, (CALM, CALM), (400, 400))
    assert mover.sentence == "The score of phone devices fell from 92 to 80."
    assert (mover.better, mover.page, mover.words) == (False, "trends", {"device": "phone"})


def test_few_sessions_and_the_only_value_say_nothing() -> None:
    """Ten sessions are noise; a single policy moved as the whole did."""
    few = scores(a=(10, 50.0), b=(300, 90.0)), scores(a=(10, 90.0), b=(300, 90.0))
    only = scores(professional=(300, 80.0)), scores(professional=(300, 90.0))
    assert movers({"device": few, "policy": only}, NOTHING, (CALM, CALM), (310, 310)) == ()


def test_a_new_version_is_said_to_be_new() -> None:
    """There is nothing to compare it with."""
    now, before = scores(**{"2.0": (200, 93.0), "1.0": (20, 70.0)}), scores(**{"1.0": (220, 70.0)})
    [mover] = movers({"app_version": (now, before)}, NOTHING, (CALM, CALM), (220, 220))
    assert mover.sentence == "Version 2.0 is new: score 93 over 200 sessions."
    assert mover.better


def test_without_a_period_before_nothing_is_new() -> None:
    """The first month of a store does not announce everything in it."""
    assert (
        movers({"device": (scores(phone=(100, 80.0), laptop=(90, 70.0)), scores())}, NOTHING, (CALM, CALM), (190, 0))
        == ()
    )


def test_ends_nobody_wanted_are_compared_as_rates() -> None:
    """As many over twice the sessions is better; what users did themselves does not count."""
    reasons = pd.DataFrame({"reason": ["refresh_rejected", "signed_out"], "value": [100, 500], "previous": [100, 10]})
    [mover] = movers({}, reasons, (CALM, CALM), (2_000, 1_000))
    assert (
        mover.sentence == "Ends because the provider refused the refresh token went down from 10 to 5 per 100 sessions."
    )
    assert (mover.better, mover.page) == (True, "sessions")


def test_errors_are_compared_as_shares_of_requests() -> None:
    """The largest move comes first; one more error of a thousand is noise."""
    worse = CALM.assign(errors=50)
    [mover] = movers({}, NOTHING, (worse, CALM), (100, 100))
    assert mover.sentence == "Visible server errors rose from 0 % to 5 % of requests."
    assert movers({}, NOTHING, (CALM.assign(errors=1), CALM), (100, 100)) == ()
