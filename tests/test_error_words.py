"""What the page of errors says is what was counted, in words a person would use."""

from __future__ import annotations

import pandas as pd
import pytest

from session_core.dashboard import error_charts, error_words, theme
from session_core.dashboard.wording import Measures
from session_core.store.error_queries import VALUES
from session_core.vocabulary import EndReason

FLOW = pd.DataFrame(
    [
        ("Refresh", "Refreshed", "", 90),
        ("Refresh", "Failed", "transient", 4),
        ("Refresh", "Failed", "rejected", 1),
        ("Failed", "Fallback", "login", 7),
        ("Fallback", "Recovered", "login", 7),
        ("Fallback", "Recovered", "silent_reauthentication", 2),
        ("Sessions", "Signed out", "signed_out", 3),
    ],
    columns=["source", "target", "label", "n"],
)
NO_FLOW = FLOW.head(0)


def measured(requests: float, errors: float, *, before: tuple[float, float] = (0, 0)) -> Measures:
    return {"requests": (requests, before[0]), "visible_errors": (errors, before[1])}


def routes(**errors: int) -> pd.DataFrame:
    frame = pd.DataFrame({"value": [f"/{name}" for name in errors], "errors": list(errors.values())})
    return frame.assign(requests=100, percent=frame["errors"], low_percent=0.0, high_percent=9.0)


def ended(reason: EndReason, count: int) -> pd.DataFrame:
    return pd.concat([FLOW, pd.DataFrame([("Sessions", "Signed out", reason, count)], columns=FLOW.columns)])


def buckets(*times: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([f"2026-11-01T{time}Z" for time in times]).as_unit("us")


@pytest.mark.parametrize(
    ("measures", "found", "flow", "said"),
    [
        (measured(0, 0), routes(), NO_FLOW, "No request was made in this time range; no try to refresh failed."),
        (measured(1, 0), routes(chat=0), NO_FLOW, "None of 1 request failed visibly; no try to refresh failed."),
        (
            measured(5_000, 21),
            routes(echo=10, chat=11),
            FLOW,
            "0.42 % of 5,000 requests failed visibly, half of them on /chat; 5 tries to refresh failed, and no session",
        ),
        (measured(100, 5), routes(chat=5), FLOW, "5 % of 100 requests failed visibly, all of them on /chat;"),
        (measured(100, 4), routes(chat=1, echo=3), FLOW, "75 % of them on /echo"),
        (measured(100, 4), routes(), ended(EndReason.REFRESH_REJECTED, 1), "and 1 session ended because the token"),
        (measured(100, 4), routes(), ended(EndReason.IDLE_LIMIT, 1), "and no session ended by it"),
    ],
)
def test_the_answer_says_how_often_where_and_what_it_cost(
    measures: Measures, found: pd.DataFrame, flow: pd.DataFrame, said: str
) -> None:
    """Shares of what there was; a session that its user or a limit ended is no loss to a refresh."""
    assert said in error_words.answer(measures, found, flow, compare=True)


@pytest.mark.parametrize(
    ("before", "said"),
    [((1_000, 10), " (up from 1 %)"), ((1_000, 300), " (down from 30 %)"), ((1_000, 90), ""), ((0, 0), "")],
)
def test_a_rate_is_compared_only_beyond_noise(before: tuple[float, float], said: str) -> None:
    """Where the bounds of both meet nothing is said."""
    told = error_words.answer(measured(1_000, 100, before=before), routes(), FLOW, compare=True)
    assert told.startswith(f"10 % of 1,000 requests failed visibly{said};")
    assert "from" not in error_words.answer(measured(1_000, 100, before=before), routes(), FLOW, compare=False)


def test_rates_are_of_all_requests_and_nought_where_all_went_well() -> None:
    """Errors that a cache hid are not visible; a bucket without requests has no rate."""
    errors = pd.DataFrame(
        {
            "bucket": buckets("08:00", "08:00", "08:00"),
            "error": ["auth", "network", "auth"],
            "visible": [True, True, False],
            "errors": [1, 3, 50],
        }
    )
    times = pd.DataFrame({"bucket": buckets("08:00", "10:00"), "n": [100, 7]})
    whole = error_words.rates(errors, times)
    assert whole["percent"].tolist() == [4.0, 0.0]
    assert whole["requests"].tolist() == [100, 7]
    by_class = error_words.rates_by_class(errors, times)
    assert by_class[["error", "errors"]].to_numpy().tolist() == [
        ["Network", 3],
        ["Network", 0],
        ["Auth", 1],
        ["Auth", 0],
    ]
    assert "4 of" not in error_words.rates_alt(whole)
    assert "3.74 % in all, worst at 01 Nov 08:00 UTC with 4 %" in error_words.rates_alt(whole)
    assert error_words.classes_alt(by_class) == "Visible errors by class, of all requests: Network 2.8 %, Auth 0.935 %."


def test_nothing_is_no_error() -> None:
    """Each table and sentence stands an empty answer."""
    none = pd.DataFrame({"bucket": buckets(), "error": [], "visible": [], "errors": [], "n": []})
    assert error_words.rates(none, none).empty
    assert error_words.rates_by_class(none, none).empty
    assert "No request" in error_words.rates_alt(error_words.rates(none, none))
    assert "No request failed" in error_words.classes_alt(error_words.rates_by_class(none, none))
    assert "known endpoint" in error_words.breakdown_alt(routes(), "endpoint")
    assert "No token was refreshed" in error_words.flow_alt(NO_FLOW)
    assert len(error_charts.rates(routes()).data[0].x) == 0


def test_asking_the_user_to_sign_in_is_no_recovery() -> None:
    """The last step is drawn where it belongs: after the end of a session."""
    shown = error_words.shown_flow(FLOW)
    assert shown[shown["target"] == "Asked to sign in"][["source", "n"]].to_numpy().tolist() == [["Signed out", 7]]
    assert shown[shown["target"] == "Recovered"]["n"].tolist() == [2]
    assert "login" not in set(shown["label"])
    assert "recovered 2" in error_words.flow_alt(shown)


def test_kinds_of_trouble_are_told_in_words() -> None:
    """What the user met counts as seen: a visible error, and the end of a session."""
    at = buckets("08:00")[0]
    kinds = pd.DataFrame(
        [
            ("RequestServed", "auth", "/chat", True),
            ("RetryScheduled", "network", "api_read", False),
            ("SessionEnded", "no_refresh_token", None, False),
            ("PersistFailed", None, None, False),
        ],
        columns=["kind", "what", "where", "visible"],
    ).assign(times=9, per_1000_requests=1.23456, users=2, sessions=3, first_at=at, last_at=at, example_session="s")
    table = error_words.kinds_table(kinds)
    assert table["Seen by users"].tolist() == ["yes", "no", "yes", "no"]
    assert table["What"].tolist() == ["auth", "network", "there was no refresh token", ""]
    assert table["Where"].tolist() == ["/chat", "api read", "", ""]
    assert table["Per 1,000 requests"].tolist() == [1.23] * 4
    assert error_words.kinds_alt(table) == "4 kinds of trouble; the most frequent is request failed (auth), 9 times."
    assert error_words.kinds_alt(error_words.kinds_table(kinds.head(0))) == "Nothing failed in this time range."


def test_every_measure_has_a_name_and_a_unit() -> None:
    """Tries are whole; whatever else has three digits."""
    values = pd.DataFrame({"measure": list(VALUES), "n": 5, "p50": 1.2345, "p75": 1.2345, "p95": 1.2345, "p99": 9.93})
    table = error_words.values_table(values)
    tries = table[table["Unit"] == "tries"].iloc[0]
    assert (tries["p50"], tries["p99"]) == (1, 10)
    assert table["p50"].iloc[0] == 1.23
    assert "request time 1.23 ms (p95 1.23)" in error_words.values_alt(table)
    assert "Nothing was measured" in error_words.values_alt(error_words.values_table(values.head(0)))


def test_ends_stand_beside_those_of_the_period_before() -> None:
    """Every reason has a word; without a comparison there is one bar each."""
    reasons = pd.DataFrame({"reason": list(EndReason), "value": 3, "previous": 1})
    now, before = error_charts.sign_outs(reasons, compare=True).data
    assert (list(now.x), list(before.x)) == ([3] * len(EndReason), [1] * len(EndReason))
    assert before.marker.pattern.bgcolor == theme.NEUTRAL  # without it a light background shows nothing
    assert len(error_charts.sign_outs(reasons, compare=False).data) == 1
    assert "idle limit 3 (before 1)" in error_words.sign_outs_alt(reasons)
    assert "No session ended" in error_words.sign_outs_alt(reasons.head(0))


def test_a_rate_shows_its_bounds_and_counts() -> None:
    """Two rates whose bounds meet are not told apart."""
    (drawn,) = error_charts.rates(routes(chat=5, echo=1)).data
    assert list(drawn.error_x.array) == [4.0, 8.0]
    assert list(drawn.error_x.arrayminus) == [5.0, 1.0]
    assert drawn.customdata[0].tolist() == [5, 100, 0, 9]
    said = error_words.breakdown_alt(routes(chat=5, echo=1), "endpoint")
    assert said == (
        "Visible errors by endpoint: /chat 5 % of 100 (between 0 and 9 %), down to /echo 1 % of 100 (between 0 and 9 %)."
    )
    assert error_charts.rates(routes(**{"x" * 60: 1})).data[0].y[0].startswith("…xxx")
