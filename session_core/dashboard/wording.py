"""The sentences of the pages: answers, alternative texts and calm errors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import httpx
import pandas as pd

from session_core.cache_manager import CacheStatistics
from session_core.dashboard.theme import BAND_COLOURS, STATE_COLOURS
from session_core.errors import (
    LoginRequiredError,
    SessionCoreError,
    SessionEndedError,
    SessionLockedError,
    TokenUnavailableError,
)
from session_core.service import ServiceStatistics
from session_core.session import SessionStatus
from session_core.session_health import HealthScore
from session_core.store.descriptions import END_REASONS, for_how_long
from session_core.token_refresher import RefreshResult
from session_core.vocabulary import EndReason, Outcome, State

Measures = Mapping[str, tuple[float, float]]

_PARTS: Mapping[str, str] = {
    "state": "State",
    "token_age": "Token age",
    "failures": "Failed refreshes",
    "breaker": "Circuit breaker",
    "limits": "Time to limits",
    "persistence": "Saved to store",
    "heartbeat": "Heartbeat",
    "clock_confidence": "Clock",
}


class Upkeep(Protocol):
    """What a page knows of a session at one moment."""

    @property
    def now(self) -> float: ...
    @property
    def status(self) -> SessionStatus: ...
    @property
    def cache(self) -> CacheStatistics: ...
    @property
    def service(self) -> ServiceStatistics: ...
    @property
    def heartbeat_s(self) -> float: ...


_STATES: Mapping[State, str] = {
    State.SIGNED_OUT: "Nobody is signed in.",
    State.AUTHENTICATING: "A sign-in is under way.",
    State.ACTIVE: "The session is alive and well.",
    State.REFRESHING: "A new token is being fetched; calls go on with the one there is.",
    State.DEGRADED: "Refreshing fails at the moment; the current token still serves, and the session keeps trying.",
    State.OFFLINE: "The network is away; the session goes on when it is back.",
    State.SUSPENDED: "The device sleeps.",
    State.RESUMING: "The device woke; the network is being probed before a refresh.",
    State.RECOVERING: "The refresh token did not help; a fallback is at work.",
    State.LOCKED: "The user was away longer than the idle limit; signing in again unlocks the session.",
    State.EXPIRED: "The session is over; signing in again starts a new one.",
}


def part_name(part: str) -> str:
    return _PARTS[part]


def state_sentence(state: State) -> str:
    return _STATES[state]


def end_sentence(reason: EndReason | None) -> str:
    return "" if reason is None else f" It ended because {END_REASONS[reason]}."


def health_sentence(score: HealthScore) -> str:
    """The answer of the page: how the session is, and what holds it down."""
    if score.score >= 100:
        return "Your session is in full health."
    return f"Health is {score.score:.0f} of 100, {score.band}; the lowest part is {part_name(score.lowest).lower()}."


def parts_alt(score: HealthScore) -> str:
    parts = ", ".join(f"{part_name(name)} {value:.0f}" for name, value in score.parts._asdict().items())
    return f"Parts of the health score of 100: {parts}."


def token_sentence(*, left_s: float | None, refresh_left_s: float | None) -> str:
    if left_s is None or refresh_left_s is None:
        return "There is no access token."
    if left_s <= 0:
        return "The access token has expired."
    refresh = f"its refresh is due in {clock_time(refresh_left_s)}" if refresh_left_s > 0 else "its refresh is due now"
    return f"The access token lasts {clock_time(left_s)}; {refresh}."


def clock_time(seconds: float) -> str:
    """A countdown that does not jump about: 59:07, or 1:02:03."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ago(then: float | None, now: float) -> str:
    return "not yet" if then is None else f"{for_how_long(max(0.0, now - then))} ago"


def measures(headline: pd.DataFrame) -> Measures:
    """Each measure with its value and that of the period before."""
    columns = headline["measure"], headline["value"], headline["previous"]
    return {str(measure): (float(value), float(previous)) for measure, value, previous in zip(*columns, strict=True)}


def states_alt(sessions: pd.DataFrame) -> str:
    if sessions.empty:
        return "No session in any state."
    last = sessions[sessions["bucket"] == sessions["bucket"].max()]
    listed = ", ".join(f"{row.sessions} {str(row.state).lower()}" for row in last.itertuples())
    return f"Sessions by state over time; at the end {listed}."


def bands_alt(sessions: pd.DataFrame) -> str:
    listed = ", ".join(f"{row.sessions} {row.band}" for row in sessions.itertuples())
    return f"Running sessions by health band: {listed}." if listed else "No running session has been checked yet."


def counts_alt(counts: pd.DataFrame, title: str, *, by: str, of: str) -> str:
    if counts.empty:
        words = title if title.isupper() or title[1].isupper() else title.lower()
        return f"No {words} in this time range."
    sums = counts.groupby(by)[of].sum()
    return f"{title} over time: " + ", ".join(f"{count} {word}" for word, count in sums.items()) + "."


def refresh_outcome(result: RefreshResult | None) -> str:
    if result is None:
        return "The refresh is under way; the log says what comes of it."
    if result.outcome is Outcome.OK:
        return "The token was refreshed."
    return f"The token was not refreshed ({result.outcome}); the session keeps trying by itself."


def call_outcome(response: httpx.Response | None) -> str:
    if response is None:
        return "The call is under way; the log says what comes of it."
    return f"The API answered with status {response.status_code}."


def underneath(picture: Upkeep) -> tuple[str, ...]:
    """What a session does while its user only chats."""
    status, cache = picture.status, picture.cache
    left_s = status.token_left_s
    age = (
        "no token"
        if left_s is None or status.token_life_s is None
        else f"token {clock_time(status.token_life_s - left_s)} old"
    )
    return (
        f":material/key: {age}",
        f":material/refresh: {_counted(status.tokens.refreshes, 'refresh', 'refreshes')}",
        f":material/cached: {cache.hits + cache.stale_served + cache.stale_if_error_served:,} from cache",
        f":material/ecg_heart: {_word(status.state)}",
    )


def calm(error: Exception) -> str:
    """What went wrong with a call, and what to do, in a sentence or two."""
    match error:
        case SessionLockedError():
            return "You were away longer than the idle limit, so the session is locked. Sign in again to go on."
        case LoginRequiredError() | SessionEndedError():
            return "Your session has ended. Sign in again; your message is kept below."
        case TokenUnavailableError():
            return f"{error} Your message is kept."
        case SessionCoreError():
            return str(error)
        case httpx.TimeoutException():
            return "The answer took too long. Your message is kept; send it again."
        case httpx.HTTPStatusError(response=response):
            return f"The API answered with status {response.status_code}. Your message is kept; send it again shortly."
        case _:
            return "The connection was lost. Your message is kept; send it again."


def score_html(score: HealthScore) -> str:
    """The figure and its band: a colour and a word."""
    figure = int(score.score)
    return (
        f'<div style="line-height:1.1;color:{BAND_COLOURS[score.band]};font-size:3.4rem;font-weight:700" '
        f'aria-label="Health {figure} of 100">{figure}'
        f'<span style="font-size:1.2rem;font-weight:600"> {score.band.capitalize()}</span></div>'
    )


def path_html(path: tuple[State, ...], state: State) -> str:
    """The way to the present state, which stands last, in its colour."""
    before = "".join(f'<span style="opacity:.65">{_word(one)} → </span>' for one in path[-4:-1])
    colour = STATE_COLOURS[state]
    return f'<div>{before}<strong style="color:{colour}">● {_word(state)}</strong></div>'


def upkeep(picture: Upkeep, who: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Worker, heartbeat, cache and user, each a few named figures."""
    worker, heartbeat, cache = picture.service.worker, picture.service.heartbeat, picture.cache
    tokens = picture.status.tokens
    return {
        "Signed in": dict(who),
        "Worker": {
            "Last run": ago(worker.last_run_at, picture.now),
            "Sessions": f"{worker.members:,}",
            "Visits": f"{worker.visits:,}",
            "Crashes": f"{worker.crashes:,}",
        },
        "Heartbeat and tokens": {
            "Last run": ago(heartbeat.last_run_at, picture.now),
            "Every": for_how_long(picture.heartbeat_s),
            "Refreshes": f"{tokens.refreshes:,}, {tokens.refresh_failures:,} failed",
            "Breaker": tokens.breaker.replace("_", " "),
        },
        "Cache": {
            "Hits": f"{cache.hits:,} of {cache.hits + cache.misses:,}",
            "Stale served": f"{cache.stale_served + cache.stale_if_error_served:,}",
            "Entries": f"{cache.entries:,}, {cache.bytes:,} bytes",
            "Oldest": "–" if cache.oldest_age_s is None else for_how_long(cache.oldest_age_s),
        },
    }


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _word(state: State) -> str:
    return state.replace("_", " ").lower()
