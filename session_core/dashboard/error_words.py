"""What the page of errors says: its answer, its tables in readers' words, and alternative texts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from session_core.dashboard.phrases import capitalised, counted
from session_core.dashboard.session_words import EXAMPLE
from session_core.dashboard.trends import Measure
from session_core.dashboard.wording import Measures
from session_core.store.descriptions import END_REASONS
from session_core.ux_score import wilson
from session_core.vocabulary import EndReason

RATE = Measure("Visible errors", "percent", "% of requests", written=",.3~g", total="requests")
_PERCENTILES = ("p50", "p75", "p95", "p99")
FIRST, LAST = "First seen (UTC)", "Last seen (UTC)"
# Ends that a token which could have been renewed would have spared the user.
_LOST = frozenset(
    {
        EndReason.REFRESH_REJECTED,
        EndReason.REFRESH_TOKEN_EXPIRED,
        EndReason.REFRESH_AMBIGUOUS,
        EndReason.NO_REFRESH_TOKEN,
    }
)
_KINDS: Mapping[str, str] = {
    "RequestServed": "Request failed",
    "RefreshFailed": "Refresh failed",
    "RetryScheduled": "Retry",
    "FallbackTried": "Fallback failed",
    "SessionEnded": "Session ended",
    "StuckFound": "Session stuck",
    "PersistFailed": "Not saved",
    "PartCrashed": "Part crashed",
    "AlertRaised": "Alert",
}
_MEASURES: Mapping[str, tuple[str, str]] = {
    "request_ms": ("Request time", "ms"),
    "waited_ms": ("Added wait", "ms"),
    "refresh_ms": ("Refresh time", "ms"),
    "left_s": ("Left before expiry at a refresh", "s"),
    "attempts": ("Tries per refresh", "tries"),
    "age_s": ("Age of answers from the cache", "s"),
    "fallback_ms": ("Fallback step", "ms"),
}


def answer(of: Measures, routes: pd.DataFrame, flow: pd.DataFrame, *, compare: bool) -> str:
    """What fails, how often, and did the user notice? `routes` are errors by route, `flow` what became of refreshes."""
    requests, errors = (int(of[name][0]) for name in ("requests", "visible_errors"))
    if not requests:
        failed = "No request was made in this time range"
    elif not errors:
        failed = f"None of {counted(requests, 'request', 'requests')} failed visibly"
    else:
        told = f"{percent(errors, requests)} of {counted(requests, 'request', 'requests')} failed visibly"
        failed = f"{told}{_compared(of) if compare else ''}{_where(routes)}"
    return f"{failed}; {_refreshes(flow)}."


def percent(count: float, total: float) -> str:
    return f"{100 * count / total:.3g} %"


def rates(errors: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """Visible errors of each bucket with a request: bucket, errors, requests, percent.

    `errors` are errors_over_time; `times` are percentiles of requests, which know the buckets where all went well.
    """
    seen = errors[errors["visible"].astype("bool")].groupby("bucket")["errors"].sum()
    requests = times.set_index("bucket")["n"].rename("requests")
    found = pd.DataFrame({"errors": seen.reindex(requests.index, fill_value=0), "requests": requests})
    return found.assign(percent=100 * found["errors"] / found["requests"]).reset_index()


def rates_by_class(errors: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """The same for each class of error, the most frequent first, with its column `error`."""
    seen = errors[errors["visible"].astype("bool")]
    classes = seen.groupby("error")["errors"].sum().sort_values(ascending=False, kind="stable").index
    each = [rates(seen[seen["error"] == word], times).assign(error=capitalised(str(word))) for word in classes]
    return pd.concat(each, ignore_index=True) if each else rates(seen, times).head(0).assign(error="")


def rates_alt(found: pd.DataFrame) -> str:
    """Of `rates`: now, and where it was worst."""
    if found.empty:
        return "No request was made in this time range."
    errors, requests = int(found["errors"].sum()), int(found["requests"].sum())
    if not errors:
        return f"Visible errors over time: none in {counted(requests, 'request', 'requests')}."
    worst = found.iloc[int(found["percent"].to_numpy().argmax())]
    at = f"{worst['bucket']:%d %b %H:%M} UTC"
    return f"Visible errors over time: {percent(errors, requests)} in all, worst at {at} with {worst['percent']:.3g} %."


def classes_alt(found: pd.DataFrame) -> str:
    """Of `rates_by_class`."""
    if found.empty:
        return "No request failed visibly in this time range."
    sums = found.groupby("error", sort=False)[["errors", "requests"]].sum()
    counts = zip(sums.index, sums["errors"].tolist(), sums["requests"].tolist(), strict=True)
    said = [f"{word} {percent(errors, requests)}" for word, errors, requests in counts]
    return f"Visible errors by class, of all requests: {', '.join(said)}."


def breakdown_alt(found: pd.DataFrame, label: str) -> str:
    """Of error_rates_by: the highest and the lowest rate."""
    if found.empty:
        return f"No request has a known {label} in this time range."
    said = [
        f"{row.value} {row.percent:.3g} % of {row.requests:,} (between {row.low_percent:.3g} and {row.high_percent:.3g} %)"
        for row in found.iloc[[0, -1] if len(found) > 1 else [0]].itertuples()
    ]
    return f"Visible errors by {label}: {', down to '.join(said)}."


def shown_flow(links: pd.DataFrame) -> pd.DataFrame:
    """The flow as it is drawn: the last step asks the user to sign in, which mends nothing unseen."""
    is_login = links["label"] == "login"
    asked = links[is_login & (links["target"] == "Recovered")]
    asked = asked.assign(source="Signed out", target="Asked to sign in", label="")
    return pd.concat([links[~is_login], asked], ignore_index=True)


def flow_alt(links: pd.DataFrame) -> str:
    if links.empty:
        return "No token was refreshed and no session ended in this time range."
    sums = links.groupby("target", sort=False)["n"].sum()
    return (
        "What became of refreshes: " + ", ".join(f"{str(word).lower()} {count:,}" for word, count in sums.items()) + "."
    )


def kinds_table(kinds: pd.DataFrame) -> pd.DataFrame:
    """error_kinds in a reader's words; EXAMPLE is the id of a session to open."""
    seen = kinds["visible"].astype("bool") | (kinds["kind"] == "SessionEnded")
    return pd.DataFrame(
        {
            "Kind": [_KINDS[kind] for kind in kinds["kind"]],
            "What": [
                _what(kind, what)
                for kind, what in zip(kinds["kind"], kinds["what"].fillna("").astype("str"), strict=True)
            ],
            "Where": [str(where).replace("_", " ") for where in kinds["where"].fillna("")],
            "Seen by users": ["yes" if one else "no" for one in seen],
            "Times": kinds["times"],
            "Per 1,000 requests": kinds["per_1000_requests"].astype("float64").map(_rounded),
            "Users": kinds["users"],
            "Sessions": kinds["sessions"],
            FIRST: kinds["first_at"].dt.floor("s"),
            LAST: kinds["last_at"].dt.floor("s"),
            EXAMPLE: kinds["example_session"],
        }
    )


def kinds_alt(table: pd.DataFrame) -> str:
    if table.empty:
        return "Nothing failed in this time range."
    first = table.iloc[0]
    what = f"{first['Kind'].lower()} ({first['What']})"
    return f"{counted(len(table), 'kind', 'kinds')} of trouble; the most frequent is {what}, {first['Times']:,} times."


def values_table(values: pd.DataFrame) -> pd.DataFrame:
    """Percentiles to three digits, with their unit."""
    named = [_MEASURES[measure] for measure in values["measure"]]
    # Bins are a little wide; tries are whole.
    is_whole = values["measure"] == "attempts"
    shares = {
        name: values[name].mask(is_whole, values[name].round()).map(_rounded).astype("float64") for name in _PERCENTILES
    }
    return pd.DataFrame(
        {
            "Measure": [name for name, _ in named],
            "Unit": [unit for _, unit in named],
            "Counted": values["n"],
            **shares,
        }
    )


def values_alt(values: pd.DataFrame) -> str:
    if values.empty:
        return "Nothing was measured in this time range."
    columns = (values[name].tolist() for name in ("Measure", "Unit", "p50", "p95"))
    said = [f"{name.lower()} {p50:,.3g} {unit} (p95 {p95:,.3g})" for name, unit, p50, p95 in zip(*columns, strict=True)]
    return f"Medians: {', '.join(said)}."


def sign_outs_alt(reasons: pd.DataFrame) -> str:
    if reasons.empty:
        return "No session ended in this time range, nor in the one before."
    columns = (reasons[name].tolist() for name in ("reason", "value", "previous"))
    said = [
        f"{end_word(reason).lower()} {now:,} (before {before:,})" for reason, now, before in zip(*columns, strict=True)
    ]
    return f"Ends of sessions by reason: {', '.join(said)}."


def end_word(reason: str) -> str:
    return capitalised(str(reason).replace("_", " "))


def _compared(of: Measures) -> str:
    """Only what is more than noise: bounds that do not meet."""
    now, before = (
        wilson(min(int(of["visible_errors"][place]), int(of["requests"][place])), int(of["requests"][place]))
        for place in (0, 1)
    )
    if before.share is None or (now.low <= before.high and before.low <= now.high):
        return ""
    word = "up" if now.low > before.high else "down"
    return f" ({word} from {100 * before.share:.3g} %)"


def _where(routes: pd.DataFrame) -> str:
    if routes.empty or not routes["errors"].sum():
        return ""
    worst = routes.iloc[int(routes["errors"].to_numpy().argmax())]
    share = worst["errors"] / routes["errors"].sum()
    part = "all of them" if share == 1 else "half of them" if 0.45 <= share <= 0.55 else f"{100 * share:.2g} % of them"
    return f", {part} on {worst['value']}"


def _refreshes(flow: pd.DataFrame) -> str:
    failed = int(flow.loc[(flow["source"] == "Refresh") & (flow["target"] == "Failed"), "n"].sum())
    lost = int(flow.loc[(flow["target"] == "Signed out") & flow["label"].isin(_LOST), "n"].sum())
    tries = f"{counted(failed, 'try', 'tries')} to refresh failed"
    if lost:
        return f"{tries}, and {counted(lost, 'session', 'sessions')} ended because the token could not be renewed"
    return f"{tries}, and no session ended by it" if failed else tries


def _what(kind: str, what: str) -> str:
    return END_REASONS[EndReason(what)] if kind == "SessionEnded" else what.replace("_", " ")


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
