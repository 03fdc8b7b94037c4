"""One session opened: how it stands, why it ended, its story, score and timeline; and the words of a table of many. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode, urljoin

import msgspec
import pandas as pd

from session_core import events as e
from session_core.dashboard import story, timeline
from session_core.dashboard.lanes import Timeline, when
from session_core.dashboard.phrases import counted, length
from session_core.dashboard.wording import Measures
from session_core.store.descriptions import END_REASONS, describe
from session_core.store.session_queries import EVENTS_MAX
from session_core.ux_score import UxScore, score_session
from session_core.vocabulary import Band, EndReason, Source, State

EXAMPLE = "Example session"
NAME_MAX = 60
SILENCE_S_MAX = 86_400.0
ONLY_DEFAULT = "all"
ONLY: Mapping[str, str] = {
    ONLY_DEFAULT: "All",
    "interrupted": "Interrupted",
    "errors": "With errors",
    "ended": "Ended",
}
_WANTED = frozenset(
    {
        EndReason.SIGNED_OUT,
        EndReason.SIGNED_OUT_ELSEWHERE,
        EndReason.SIGNED_OUT_AT_PROVIDER,
        EndReason.STOPPED,
    }
)
# Colours that a badge can have, nearest to those of the theme.
_STATES: Mapping[State, str] = {
    State.ACTIVE: "green",
    State.REFRESHING: "blue",
    State.RESUMING: "blue",
    State.AUTHENTICATING: "blue",
    State.DEGRADED: "orange",
    State.RECOVERING: "violet",
}
_BANDS: Mapping[Band, str] = {
    Band.EXCELLENT: "green",
    Band.GOOD: "blue",
    Band.FAIR: "yellow",
    Band.POOR: "orange",
    Band.CRITICAL: "red",
}


class Badge(NamedTuple):
    label: str
    icon: str
    colour: str
    help: str


class Opened(NamedTuple):
    """`events` are in order of time; where `shortened`, there may be earlier ones.

    `ended` is why the session is over, None while it is not.
    """

    events: tuple[e.Event, ...]
    told: tuple[str, ...]
    built: Timeline
    score: UxScore
    ended: EndReason | None
    state: State | None
    band: Band | None
    shortened: bool

    @property
    def name(self) -> str:
        return self.events[-1].origin.session_id

    @property
    def simulated(self) -> bool:
        return any(event.origin.source is Source.SIM for event in self.events)


def opened(events: Sequence[e.Event], *, zone: str, events_max: int = EVENTS_MAX) -> Opened:
    """All that is told of a session, from its events; of `events_max` they are perhaps not all."""
    built = timeline.build(events)
    ended, state, band = None, None, None
    for event in built.events:
        match event.fact:
            case e.SessionStarted():
                ended = None
            case e.SessionEnded():
                ended = event.fact.reason
            case e.StateChanged():
                state = event.fact.state_to
            case e.HeartbeatBeat():
                state, band = event.fact.state, event.fact.band
    told = story.tell(built.events, zone=zone)
    shortened = len(events) >= events_max
    return Opened(built.events, told, built, score_session(built.events), ended, state, band, shortened)


def sentence(of: Opened) -> str:
    """What happened to this one? Its length, its end and what its user noticed, in a sentence."""
    lasted = length(of.built.ended_s - of.built.began_s)
    errors = sum(isinstance(event.fact, e.RequestServed) and _seen(event.fact) for event in of.events)
    noticed = f"{counted(errors, 'request', 'requests')} failed visibly" if errors else "no request failed visibly"
    if of.ended is None:
        return f"Not ended after {lasted}; {noticed}."
    if of.ended is EndReason.STOPPED:
        return f"Left alone after {lasted} when the server stopped; {noticed}."
    return f"Ended after {lasted} because {END_REASONS[of.ended]}; {noticed}."


def badges(of: Opened, now_s: float) -> tuple[Badge, ...]:
    """Why it ended is one; its state, health and score are others."""
    state, band, score = of.state, of.band, of.score
    listed = [_end(of, now_s)]
    if state is not None and of.ended is None:
        word = state.replace("_", " ").capitalize()
        listed.append(Badge(word, ":material/lens:", _STATES.get(state, "gray"), "The state it was last in."))
    if band is not None:
        health = f"Health {band}"
        listed.append(Badge(health, ":material/ecg_heart:", _BANDS[band], "By its last health check."))
    capped = ", capped" if score.capped else ""
    listed.append(
        Badge(f"UX score {score.score:.0f} of 100{capped}", ":material/speed:", "gray", "Of this session alone.")
    )
    return tuple(listed)


def origin_words(of: Opened) -> str:
    """Whose it is, and where."""
    last = of.events[-1].origin
    version = f"version {last.app_version}" if last.app_version else ""
    scenario = f"scenario {last.scenario}" if last.scenario else ""
    listed = [last.user_id or "nobody", last.device, f"policy {last.policy}", version, scenario]
    return " · ".join(word for word in listed if word)


def unknown(session_id: str) -> str:
    """Where nothing is known by that name."""
    return (
        f"There is no session {_short(session_id)!r} in this store; its events may be older than the store keeps them."
    )


def only_trouble(word: str) -> str | None:
    """Of what the address asks to see only, if that is none of ONLY."""
    known = ", ".join(ONLY)
    return None if word in ONLY else f"There are no sessions {_short(word)!r}, so all are shown; known are {known}."


def list_sentence(of: Measures) -> str:
    """What happened to whom? The answer above the table."""
    sessions, used = int(of["sessions"][0]), int(of["used_sessions"][0])
    free = of["interruption_free_percent"][0]
    if not used:
        return f"{counted(sessions, 'session was', 'sessions were')} active; nobody used one.".capitalize()
    interrupted = round(used * (100 - free) / 100)
    errors = counted(int(of["visible_errors"][0]), "request", "requests")
    told = f"{counted(interrupted, 'session', 'sessions')} of {sessions:,} {'was' if interrupted < 2 else 'were'}"
    return f"{told} interrupted when it need not have been, and {errors} failed visibly.".replace(
        "no session", "No session"
    )


def list_table(found: pd.DataFrame) -> pd.DataFrame:
    """Sessions in a reader's words, in the order they come in."""
    ends = [None if pd.isna(reason) else str(reason).replace("_", " ") for reason in found["end_reason"]]
    states = [None if pd.isna(state) else str(state).replace("_", " ").lower() for state in found["state"]]
    return pd.DataFrame(
        {
            "User": found["user_id"],
            "Device": found["device"],
            "Last seen": found["last_at"].dt.floor("s"),
            "Lasted": [length(seconds) for seconds in (found["last_at"] - found["first_at"]).dt.total_seconds()],
            "Interruptions": found["interruptions"],
            "Visible errors": found["visible_errors"],
            "Requests": found["requests"],
            "Refreshes": found["refreshes_ok"],
            "Failed refreshes": found["refreshes_failed"],
            "State": pd.Series(states, dtype="object", index=found.index),
            "Ended by": pd.Series(ends, dtype="object", index=found.index),
            "Policy": found["policy"],
            "App version": found["app_version"],
            "Scenario": found["scenario"],
            "Session": found["session_id"],
        }
    )


def how_many(found: pd.DataFrame) -> str:
    """Such as: Showing 500 of 12,345 sessions, the worst first."""
    if found.empty:
        return "No session in this time range is like that; search for something else or show all."
    total = int(found["found"].iloc[0])
    if total > len(found):
        return f"Showing {len(found):,} of {total:,} sessions, the worst first; search or filter to see others."
    return f"Showing {'the only session' if total == 1 else f'all {total:,} sessions, the worst first'}."


def linked(table: pd.DataFrame, page_url: str, words: Mapping[str, str]) -> pd.DataFrame:
    """With the ids of examples turned into the addresses where they are opened; `words` go along."""
    if EXAMPLE not in table:
        return table
    links = [link(page_url, name, words) for name in table[EXAMPLE]]
    return table.assign(**{EXAMPLE: links})


def link(page_url: str, session_id: str, words: Mapping[str, str] = MappingProxyType({})) -> str:
    """The address under which anyone sees this very session."""
    return urljoin(page_url, f"sessions?{urlencode({**words, 'session': session_id})}")


def events_table(of: Opened) -> pd.DataFrame:
    """Every event with its time by the log, in UTC, and its whole fact as JSON: to take away."""
    moments = [datetime.fromtimestamp(event.happened_at, UTC) for event in of.events]
    return pd.DataFrame(
        {
            "happened_at": pd.Series(moments, dtype="datetime64[us, UTC]"),
            "stream_id": [event.origin.stream_id for event in of.events],
            "seq": [event.seq for event in of.events],
            "kind": [event.kind for event in of.events],
            "what_happened": [describe(event) for event in of.events],
            "fact": [msgspec.json.encode(event.fact).decode() for event in of.events],
        }
    )


def events_lines(of: Opened) -> bytes:
    """As JSON Lines, which `session_core ingest` reads."""
    return b"".join(e.encode(event) + b"\n" for event in of.events)


def export_words(of: Opened, zone: str) -> Mapping[str, str]:
    """What stands at the head of an export."""
    span = " – ".join(f"{datetime.fromtimestamp(when(of.events[at]), UTC):%Y-%m-%dT%H:%M:%SZ}" for at in (0, -1))
    part = {"Events": f"the latest {len(of.events):,}"} if of.shortened else {}
    return {"Session": of.name, "Whose": origin_words(of), "In UTC": span, "Seen in": zone, **part}


def _short(name: str) -> str:
    return name if len(name) <= NAME_MAX else f"{name[:NAME_MAX]}…"


def _seen(fact: e.RequestServed) -> bool:
    return fact.error is not None and fact.served in ("network", "nothing")


def _end(of: Opened, now_s: float) -> Badge:
    if of.ended is EndReason.STOPPED:
        return Badge(
            "Server stopped", ":material/power_off:", "gray", "Nobody looks after it until it is taken up again."
        )
    if of.ended is not None:
        colour = "gray" if of.ended in _WANTED else "red"
        word = of.ended.replace("_", " ")
        return Badge(f"Ended: {word}", ":material/logout:", colour, f"It ended because {END_REASONS[of.ended]}.")
    silent_s = now_s - of.built.ended_s
    if silent_s > SILENCE_S_MAX:
        return Badge(
            "Silent", ":material/hourglass_disabled:", "gray", f"Nothing was heard of it for {length(silent_s)}."
        )
    return Badge("Not ended", ":material/play_circle:", "green", "It goes on.")
