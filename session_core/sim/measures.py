"""What can be measured in a run. Each is a small function over the evidence that answers a number or words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from session_core import events as e
from session_core.sim.evidence import Evidence, Window
from session_core.vocabulary import DeviceChange, EndReason, Limit, Sight, State

Number = float | None
Words = Mapping[str, tuple[str, ...]]
"""Of each session, or, under an empty name, of all together."""


WELL = (State.ACTIVE, State.REFRESHING)


class Ask(NamedTuple):
    """What a check asks about: a stretch of the run, and where it matters `of` what and `per_s` how long."""

    window: Window = Window()
    of: str | None = None
    per_s: float = 1.0


EVERYTHING = Ask()


class Measure(NamedTuple):
    """`means` says in words what the number counts, for failures and for `scenarios`."""

    means: str
    number: Callable[[Evidence, Ask], Number] | None = None
    words: Callable[[Evidence, Ask], Words] | None = None


def request_times(evidence: Evidence, ask: Ask, endpoint: str) -> list[float]:
    return [at_s for at_s, fact in evidence.facts(e.ProviderSaw, ask.window) if fact.endpoint == endpoint]


def _requests(evidence: Evidence, ask: Ask) -> Number:
    return len(request_times(evidence, ask, ask.of or "token"))


def _outcomes_at(evidence: Evidence, ask: Ask) -> Words:
    """What the endpoint `of` answered, in order."""
    seen = (fact for _, fact in evidence.facts(e.ProviderSaw, ask.window) if fact.endpoint == (ask.of or "token"))
    return {"": tuple(fact.outcome for fact in seen)}


def _requests_peak(evidence: Evidence, ask: Ask) -> Number:
    return peak(request_times(evidence, ask, ask.of or "token"), ask.per_s)


def peak(times: list[float], per_s: float) -> int:
    """The most of `times` in any stretch of `per_s`."""
    most = first = 0
    for last, at_s in enumerate(times):
        while at_s - times[first] >= per_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def _requests_apart(evidence: Evidence, ask: Ask) -> Number:
    times = request_times(evidence, ask, ask.of or "token")
    return min((later - earlier for earlier, later in itertools.pairwise(times)), default=math.inf)


def _requests_decay(evidence: Evidence, ask: Ask) -> Number:
    times = request_times(evidence, ask, ask.of or "token")
    third_s = (ask.window.until_s - ask.window.from_s) / 3
    early = sum(at_s < ask.window.from_s + third_s for at_s in times)
    late = sum(at_s >= ask.window.until_s - third_s for at_s in times)
    return late / early if early else None


def _posts_per_life(evidence: Evidence, ask: Ask) -> Number:
    """The most POSTs that any one token life cost, per session where there are many."""
    attempts: dict[str, int] = {}
    most = 0
    tried = [*evidence.events(e.RefreshFailed, ask.window), *evidence.events(e.TokenRefreshed, ask.window)]
    for _, event in sorted(tried, key=lambda pair: (pair[0], pair[1].seq)):
        session = event.origin.session_id
        attempts[session] = attempts.get(session, 0) + 1
        most = max(most, attempts[session])
        if isinstance(event.fact, e.TokenRefreshed):
            attempts[session] = 0
    posts, tries = len(request_times(evidence, ask, "token")), len(tried)
    return max(most, posts / tries * most if tries else posts)


def _noted(what: str) -> Callable[[Evidence, Ask], Number]:
    def count(evidence: Evidence, ask: Ask) -> Number:
        return sum(fact.what == what for _, fact in evidence.facts(e.ProviderNoted, ask.window))

    return count


def _sights(*sights: Sight) -> Callable[[Evidence, Ask], Number]:
    def count(evidence: Evidence, ask: Ask) -> Number:
        return sum(fact.sight in sights for fact in _seen(evidence, ask))

    return count


def _seen(evidence: Evidence, ask: Ask) -> Iterable[e.UserSaw]:
    return (fact for _, fact in evidence.facts(e.UserSaw, ask.window) if ask.of in (None, fact.route))


def _facts(kind: type[e.Fact]) -> Callable[[Evidence, Ask], Number]:
    def count(evidence: Evidence, ask: Ask) -> Number:
        return sum(1 for _ in evidence.events(kind, ask.window))

    return count


def sign_out_reasons(evidence: Evidence, ask: Ask = EVERYTHING) -> list[str]:
    """Why users had to do something to continue: every end but their own wish, and every lock."""
    ends = [(at, f.reason) for at, f in evidence.facts(e.SessionEnded, ask.window) if f.reason != EndReason.SIGNED_OUT]
    locks = [
        (at, EndReason.IDLE_LIMIT)
        for at, fact in evidence.facts(e.StateChanged, ask.window)
        if fact.state_to is State.LOCKED
    ]
    return [str(reason) for _, reason in sorted([*ends, *locks], key=lambda pair: pair[0])]


def wake_to_success_ms(evidence: Evidence, ask: Ask = EVERYTHING) -> Number:
    """The longest wait for a first answer after a device woke; None where nobody asked."""
    waits = [
        evidence.success_after_s(at_s, device)
        for device, times in evidence.wakes_s(ask.window).items()
        for at_s in times
    ]
    return max((wait_s * 1000 for wait_s in waits if wait_s is not None), default=None)


def _recovered_ms(evidence: Evidence, ask: Ask) -> Number:
    """From the window's beginning to the user's first fresh answer; `of` session, until every session was active."""
    since_s = ask.window.from_s
    if ask.of == "session":
        return _all_active_after_s(evidence, ask) * 1000
    answers = (at_s for at_s, fact in evidence.facts(e.UserSaw, ask.window) if fact.sight is Sight.ANSWER)
    return (next(answers, evidence.duration_s) - since_s) * 1000


def _all_active_after_s(evidence: Evidence, ask: Ask) -> float:
    stands = {session: path[-1] for session, path in evidence.paths(Window(until_s=ask.window.from_s)).items()}
    troubled = {session for session, state in stands.items() if state not in WELL}
    for at_s, event in evidence.events(e.StateChanged, ask.window):
        fact: Any = event.fact
        if fact.state_to in WELL:
            troubled.discard(event.origin.session_id)
        if not troubled:
            return at_s - ask.window.from_s
    return evidence.duration_s - ask.window.from_s if troubled else 0.0


def _token_wait_p99(evidence: Evidence, ask: Ask) -> Number:
    return percentile(sorted(fact.waited_ms for _, fact in evidence.facts(e.RequestServed, ask.window)), 0.99)


def percentile(ranked: list[float], share: float) -> Number:
    """The value that `share` of them do not exceed."""
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else None


def _in_trouble(evidence: Evidence, ask: Ask) -> Number:
    """Sessions that are neither active nor refreshing as the window closes."""
    return sum(path[-1] not in WELL for path in evidence.paths(ask.window).values())


def _answer_ms(share: float) -> Callable[[Evidence, Ask], Number]:
    def waited(evidence: Evidence, ask: Ask) -> Number:
        return percentile(sorted(fact.waited_ms for fact in _seen(evidence, ask)), share)

    return waited


def _token_left_at_use(evidence: Evidence, ask: Ask) -> Number:
    used = (fact for fact in _seen(evidence, ask) if fact.sight is Sight.ANSWER)
    return min((fact.left_s for fact in used if fact.left_s is not None), default=None)


def _refresh_left(choose: Callable[..., float]) -> Callable[[Evidence, Ask], Number]:
    def left(evidence: Evidence, ask: Ask) -> Number:
        return choose((fact.left_s for _, fact in evidence.facts(e.TokenRefreshed, ask.window)), default=None)

    return left


def _refresh_waited(evidence: Evidence, ask: Ask) -> Number:
    return max((fact.waited_s for _, fact in evidence.facts(e.TokenRefreshed, ask.window)), default=None)


def _refresh_attempts(evidence: Evidence, ask: Ask) -> Number:
    return sum(sum(1 for _ in evidence.events(kind, ask.window)) for kind in (e.RefreshFailed, e.TokenRefreshed))


def _refreshed_after_end(evidence: Evidence, ask: Ask) -> Number:
    ended = {event.origin.session_id: at_s for at_s, event in evidence.events(e.SessionEnded)}
    refreshed = evidence.events(e.TokenRefreshed, ask.window)
    return sum(at_s >= ended.get(event.origin.session_id, math.inf) for at_s, event in refreshed)


def _reached(state: State, choose: Callable[..., float]) -> Callable[[Evidence, Ask], Number]:
    def at(evidence: Evidence, ask: Ask) -> Number:
        times = (at_s for at_s, fact in evidence.facts(e.StateChanged, ask.window) if fact.state_to is state)
        return choose(times, default=None)

    return at


def _warned_left(evidence: Evidence, ask: Ask) -> Number:
    wanted = Limit(ask.of or Limit.IDLE)
    left = (fact.left_s for _, fact in evidence.facts(e.LimitWarned, ask.window) if fact.limit is wanted)
    return min(left, default=None)


def _attempts_per_call(evidence: Evidence, ask: Ask) -> Number:
    return max((fact.attempts for _, fact in evidence.facts(e.RequestServed, ask.window)), default=None)


def _health_lowest(evidence: Evidence, ask: Ask) -> Number:
    return min((fact.health for _, fact in evidence.facts(e.HeartbeatBeat, ask.window)), default=None)


def stuck_ms(evidence: Evidence, _ask: Ask = EVERYTHING) -> float:
    return 1000 * max([0.0, *evidence.overstays_s()])


def _path(evidence: Evidence, ask: Ask) -> Words:
    return {session: tuple(path) for session, path in evidence.paths(ask.window).items()} or {"": ()}


def _gaps(evidence: Evidence, ask: Ask) -> Words:
    found: dict[str, tuple[str, ...]] = {}
    for _, event in evidence.events(e.GapObserved, ask.window):
        found[event.origin.device] = (*found.get(event.origin.device, ()), str(event.fact.gap))  # type: ignore[union-attr]
    return found or {"": ()}


def _refresh_outcomes(evidence: Evidence, ask: Ask) -> Words:
    return {"": tuple(str(fact.outcome) for _, fact in evidence.facts(e.RefreshFailed, ask.window))}


def _fallbacks(evidence: Evidence, ask: Ask) -> Words:
    return {"": tuple(f"{fact.step}:{fact.outcome}" for _, fact in evidence.facts(e.FallbackTried, ask.window))}


def _sign_outs(evidence: Evidence, ask: Ask) -> Number:
    return len(sign_out_reasons(evidence, ask))


def _restarts_resumed(evidence: Evidence, ask: Ask) -> Number:
    return sum(fact.resumed for _, fact in evidence.facts(e.SessionStarted, ask.window))


def _kills(evidence: Evidence, ask: Ask) -> Number:
    return sum(fact.change is DeviceChange.KILLED for _, fact in evidence.facts(e.DeviceChanged, ask.window))


def _returned(evidence: Evidence, ask: Ask) -> Words:
    """The places users came back to by signing in."""
    signed_in = (fact for fact in _seen(evidence, Ask(ask.window)) if fact.sight is Sight.SIGNED_IN)
    return {"": tuple(fact.detail for fact in signed_in)}


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "token_posts": Measure("requests that reached the token endpoint", number=_requests),
        "token_posts_peak": Measure("requests to the token endpoint within `per`", number=_requests_peak),
        "token_posts_apart_s": Measure("seconds between requests to the token endpoint", number=_requests_apart),
        "token_posts_per_life": Measure("requests to the token endpoint in one token's life", number=_posts_per_life),
        "token_posts_decay": Measure(
            "requests to the token endpoint in the last third for each in the first", number=_requests_decay
        ),
        "requests": Measure("requests that reached the endpoint `of`", number=_requests),
        "requests_peak": Measure("requests to the endpoint `of` within `per`", number=_requests_peak),
        "answers_of": Measure("what the endpoint `of` answered", words=_outcomes_at),
        "expired_tokens_sent": Measure(
            "requests with an access token that did not work",
            number=lambda evidence, ask: sum(
                fact.endpoint == "api" and fact.outcome == "invalid_token"
                for _, fact in evidence.facts(e.ProviderSaw, ask.window)
            ),
        ),
        "reuse_events": Measure("spent refresh tokens the provider saw again", number=_noted("reuse_detected")),
        "replays_answered": Measure("refreshes repeated inside the grace window", number=_noted("replay_answered")),
        "families_revoked": Measure("token families the provider revoked", number=_noted("family_revoked")),
        "families_standing": Measure(
            "token families that still work at the end", number=lambda evidence, _: evidence.ending.families_standing
        ),
        "records_stored": Measure(
            "sessions on disk at the end", number=lambda evidence, _: evidence.ending.records_stored
        ),
        "sessions_held": Measure(
            "sessions with tokens in memory at the end", number=lambda evidence, _: evidence.ending.sessions_held
        ),
        "processes_disagree": Measure(
            "sessions whose processes hold different refresh tokens at the end",
            number=lambda evidence, _: evidence.ending.processes_disagree,
        ),
        "sign_outs": Measure("users who had to do something to continue", number=_sign_outs),
        "sign_out_reasons": Measure("why", words=lambda evidence, ask: {"": tuple(sign_out_reasons(evidence, ask))}),
        "visible_errors": Measure("errors a user saw", number=_sights(Sight.ERROR)),
        "answers": Measure("answers users got", number=_sights(Sight.ANSWER, Sight.STALE_ANSWER)),
        "stale_answers": Measure("answers marked as not the latest", number=_sights(Sight.STALE_ANSWER)),
        "foreign_answers": Measure("answers that belong to somebody else", number=_sights(Sight.FOREIGN_ANSWER)),
        "returned_to": Measure("where users came back to by signing in", words=_returned),
        "login_requests": Measure("times a user was asked to sign in", number=_facts(e.LoginRequested)),
        "wake_to_success_ms": Measure("ms from waking to the first answer", number=wake_to_success_ms),
        "recovered_after_ms": Measure("ms until the user's next answer", number=_recovered_ms),
        "sign_ins": Measure("times a user signed in", number=_sights(Sight.SIGNED_IN)),
        "token_wait_ms_p99": Measure("ms that 99 of 100 calls waited for a token at most", number=_token_wait_p99),
        "answer_ms_max": Measure("ms a user waited at most", number=_answer_ms(1.0)),
        "answer_ms_p99": Measure("ms that 99 of 100 attempts stayed under", number=_answer_ms(0.99)),
        "token_left_at_use_s": Measure("seconds a token in use had left", number=_token_left_at_use),
        "refreshes": Measure("refreshes that worked", number=_facts(e.TokenRefreshed)),
        "refresh_attempts": Measure("tries to refresh", number=_refresh_attempts),
        "refresh_left_s_min": Measure("seconds before expiry of the latest refresh", number=_refresh_left(min)),
        "refresh_left_s_max": Measure("seconds before expiry of the earliest refresh", number=_refresh_left(max)),
        "refresh_waited_s": Measure("seconds from the first try to a refresh that worked", number=_refresh_waited),
        "refresh_outcomes": Measure("what became of refreshes that failed", words=_refresh_outcomes),
        "refreshed_after_end": Measure("refreshes told of after the session's end", number=_refreshed_after_end),
        "fallbacks": Measure("steps of the fallback chain", words=_fallbacks),
        "path": Measure("states in order", words=_path),
        "gaps": Measure("gaps in time the programs named", words=_gaps),
        "state_changes": Measure("changes of state", number=_facts(e.StateChanged)),
        "sessions_in_trouble": Measure("sessions that are not active as the time ends", number=_in_trouble),
        "stuck_ms": Measure("ms a state was held beyond its deadline", number=stuck_ms),
        "locked_first_s": Measure("seconds to the first lock", number=_reached(State.LOCKED, min)),
        "locked_last_s": Measure("seconds to the last lock", number=_reached(State.LOCKED, max)),
        "expired_first_s": Measure("seconds to the first end", number=_reached(State.EXPIRED, min)),
        "expired_last_s": Measure("seconds to the last end", number=_reached(State.EXPIRED, max)),
        "locks": Measure(
            "sessions locked",
            number=lambda evidence, ask: sum(
                fact.state_to is State.LOCKED for _, fact in evidence.facts(e.StateChanged, ask.window)
            ),
        ),
        "warned_left_s": Measure("seconds left at the warning of the limit `of`", number=_warned_left),
        "user_acts": Measure("times the user was counted as active", number=_facts(e.UserActed)),
        "heartbeats": Measure("heartbeats", number=_facts(e.HeartbeatBeat)),
        "health_lowest": Measure("lowest health", number=_health_lowest),
        "attempts_per_call": Measure("tries one call cost", number=_attempts_per_call),
        "key_fetches": Measure("fetches of the provider's keys", number=_facts(e.KeysFetched)),
        "alerts": Measure("alerts raised for people", number=_facts(e.AlertRaised)),
        "records_quarantined": Measure(
            "damaged records put aside", number=lambda evidence, _: evidence.ending.records_quarantined
        ),
        "persist_failures": Measure("writes to disk that failed", number=_facts(e.PersistFailed)),
        "sessions_resumed": Measure("sessions taken up again from disk", number=_restarts_resumed),
        "processes_killed": Measure("processes killed", number=_kills),
        "parts_crashed": Measure("parts of the program that crashed", number=_facts(e.PartCrashed)),
    }
)
