"""One plain sentence per fact, for the log on a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import msgspec

from session_core import events as e
from session_core.vocabulary import (
    DeviceChange,
    EndReason,
    FallbackStep,
    GapKind,
    Limit,
    NetworkState,
    Served,
    Sight,
    StepOutcome,
)

END_REASONS: Mapping[EndReason, str] = {
    EndReason.SIGNED_OUT: "the user signed out",
    EndReason.SIGNED_OUT_ELSEWHERE: "the user signed out elsewhere",
    EndReason.SIGNED_OUT_AT_PROVIDER: "the user was signed out at the provider",
    EndReason.REFRESH_REJECTED: "the provider refused the refresh token",
    EndReason.REFRESH_TOKEN_EXPIRED: "the refresh token expired",
    EndReason.REFRESH_AMBIGUOUS: "a refresh got no answer and could not be repeated safely",
    EndReason.NO_REFRESH_TOKEN: "there was no refresh token",
    EndReason.IDLE_LIMIT: "the user was away longer than the idle limit",
    EndReason.ABSOLUTE_LIMIT: "the session reached its absolute limit",
    EndReason.STOPPED: "the server stopped",
}

_GAPS: Mapping[GapKind, str] = {
    GapKind.SUSPEND: "The device slept for {}.",
    GapKind.CLOCK_STEP: "The device's clock was moved by {}.",
    GapKind.STALL: "The program stood still for {}.",
    GapKind.THROTTLE: "Timers are being slowed down; this one came {} late.",
}

_STEPS: Mapping[FallbackStep, str] = {
    FallbackStep.REFRESH_TOKEN: "the refresh token",
    FallbackStep.STORED_CREDENTIAL: "the stored credential",
    FallbackStep.SILENT_REAUTHENTICATION: "silent re-authentication",
    FallbackStep.LOGIN: "sign-in by the user",
}

_TRIES: Mapping[StepOutcome, str] = {
    StepOutcome.OK: "worked",
    StepOutcome.FAILED: "failed",
    StepOutcome.SKIPPED: "was skipped by policy",
    StepOutcome.UNAVAILABLE: "is not available",
    StepOutcome.LATER: "will be tried again later",
}

_SOURCES: Mapping[Served, str] = {
    Served.NETWORK: "from the network",
    Served.CACHE: "from the cache",
    Served.STALE: "from the cache while it is renewed",
    Served.STALE_IF_ERROR: "from the cache because the network failed",
    Served.NOTHING: "with nothing",
}

_DEVICES: Mapping[DeviceChange, str] = {
    DeviceChange.SUSPENDED: "The device was suspended{}.",
    DeviceChange.RESUMED: "The device woke up.",
    DeviceChange.STALLED: "The program was stopped{}.",
    DeviceChange.THROTTLED: "The device began to slow its timers down{}.",
    DeviceChange.UNTHROTTLED: "The device let its timers run freely again.",
    DeviceChange.CLOCK_STEPPED: "Somebody set the device's clock.",
    DeviceChange.STARTED: "The program was started.",
    DeviceChange.KILLED: "The program was killed.",
    DeviceChange.STORE_FAILED: "The device's disk began to refuse writes{}.",
    DeviceChange.STORE_RECOVERED: "The device's disk works again.",
    DeviceChange.STORE_CORRUPTED: "The stored session was damaged on disk.",
}

_NETWORKS: Mapping[NetworkState, str] = {
    NetworkState.UP: "The network came up.",
    NetworkState.DOWN: "The network went down{}.",
    NetworkState.SLOW: "The network became slow{}.",
    NetworkState.LOSSY: "The network began to lose requests{}.",
    NetworkState.PORTAL: "A guest network's sign-in page stands before everything{}.",
    NetworkState.RESET: "Every open connection was reset.",
    NetworkState.ANSWER_LOST: "An answer was lost on its way back.",
}

_SIGHTS: Mapping[Sight, str] = {
    Sight.ANSWER: "The user got an answer{}.",
    Sight.STALE_ANSWER: "The user got an answer marked as not the latest{}.",
    Sight.FOREIGN_ANSWER: "The user got an answer that belongs to somebody else{}.",
    Sight.ERROR: "The user saw an error{}.",
    Sight.SIGN_IN: "The user was shown the sign-in page{}.",
    Sight.LOCKED: "The user found the session locked{}.",
    Sight.SIGNED_IN: "The user signed in{}.",
}

_Session = (
    e.SessionStarted | e.SessionEnded | e.StateChanged | e.StuckFound | e.LoginRequested | e.UserActed | e.LimitWarned
)
_Refresh = (
    e.TokenRefreshed
    | e.TokenFollowed
    | e.RefreshFailed
    | e.RefreshDiscarded
    | e.FallbackTried
    | e.TokenRevoked
    | e.KeysFetched
)
_Traffic = e.RequestServed | e.CacheServed | e.CacheSwept | e.RetryScheduled | e.BreakerChanged
_World = e.FaultEnded | e.DeviceChanged | e.NetworkChanged | e.ProviderSaw | e.ProviderNoted | e.UserSaw
_Upkeep = (
    e.HeartbeatBeat
    | e.GapObserved
    | e.ClockSkewEstimated
    | e.PersistFailed
    | e.FaultOrdered
    | e.PartCrashed
    | e.AlertRaised
)


def fact_of(stored: Mapping[str, object]) -> e.AnyFact:
    """The fact of a dict from the store. Raises msgspec.ValidationError, which names the field."""
    fact: e.AnyFact = msgspec.convert(stored, e.AnyFact)
    return fact


def describe(event: e.Event) -> str:
    """What happened, for a person."""
    return describe_fact(event.fact)


def describe_fact(fact: e.AnyFact) -> str:
    if isinstance(fact, _Session):
        return _of_session(fact)
    if isinstance(fact, _Refresh):
        return _of_refresh(fact)
    if isinstance(fact, _Traffic):
        return _of_traffic(fact)
    if isinstance(fact, _Upkeep):
        return _of_upkeep(fact)
    if isinstance(fact, _World):
        return _of_world(fact)
    assert_never(fact)


def for_how_long(seconds: float) -> str:
    """A length of time in the unit a person would choose."""
    length = abs(seconds)
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if length >= unit_s:
            return f"{length / unit_s:.1f} {unit}".replace(".0 ", " ")
    return f"{length:.0f} s" if length >= 1 or length == 0 else f"{length * 1_000:.0f} ms"


def _of_session(fact: _Session) -> str:
    match fact:
        case e.SessionStarted():
            how = "was taken up again" if fact.resumed else "started"
            return f"The session {how}; its access token lasts {for_how_long(fact.life_s)}."
        case e.SessionEnded(reason=EndReason.STOPPED):
            return "The server stopped; nobody looks after the session until it is taken up again."
        case e.SessionEnded():
            return f"The session ended: {END_REASONS[fact.reason]}."
        case e.StateChanged():
            return f"The session went from {fact.state_from} to {fact.state_to} ({fact.signal})."
        case e.StuckFound():
            return f"The session was stuck in {fact.state} for {for_how_long(fact.stuck_s)} too long and was moved on."
        case e.LoginRequested():
            return f"The user was asked to sign in: {END_REASONS[fact.reason]}."
        case e.UserActed():
            return f"The user was active ({fact.action})."
        case e.LimitWarned():
            limit = "idle limit" if fact.limit is Limit.IDLE else "absolute limit"
            return f"The {limit} will be reached in {for_how_long(fact.left_s)}."
        case _:
            assert_never(fact)


def _of_refresh(fact: _Refresh) -> str:
    match fact:
        case e.TokenRefreshed():
            when = (
                f"{for_how_long(fact.left_s)} before it expired"
                if fact.left_s > 0
                else f"{for_how_long(fact.left_s)} after it expired"
            )
            unmoved = "" if fact.moved else ", but the new one does not last longer"
            return f"The access token was refreshed {when} in {fact.duration_ms:.0f} ms (try {fact.attempt}){unmoved}."
        case e.TokenFollowed():
            return f"Another process had refreshed; its token lasts {for_how_long(fact.left_s)}."
        case e.RefreshFailed():
            status = "" if fact.status is None else f", status {fact.status}"
            left = f"{for_how_long(fact.left_s)} are left" if fact.left_s > 0 else "the token has expired"
            return f"Try {fact.attempt} to refresh failed ({fact.outcome}: {fact.error}{status}); {left}."
        case e.RefreshDiscarded():
            revoked = "its refresh token was revoked" if fact.revoked else "its refresh token could not be revoked"
            return f"A refresh was answered too late and not used; {revoked}."
        case e.FallbackTried():
            return f"Fallback to {_STEPS[fact.step]} {_TRIES[fact.outcome]}" + (
                f" ({fact.detail})." if fact.detail else "."
            )
        case e.TokenRevoked():
            return f"The refresh token was handed back to the provider ({fact.outcome})."
        case e.KeysFetched():
            return f"The provider's signing keys were fetched ({fact.outcome}, {fact.keys} known)."
        case _:
            assert_never(fact)


def _of_traffic(fact: _Traffic) -> str:
    match fact:
        case e.RequestServed():
            result = f"status {fact.status}" if fact.status else "no answer"
            trouble = "" if fact.error is None else f", {fact.error} error"
            source = _SOURCES[fact.served]
            return f"{fact.method} {fact.route} was served {source} in {fact.duration_ms:.0f} ms ({result}{trouble})."
        case e.CacheServed():
            age, ttl = for_how_long(fact.age_s), for_how_long(fact.ttl_s)
            return f"{fact.route} was answered {_SOURCES[fact.served]}, {age} old with {ttl} to live."
        case e.CacheSwept():
            return f"The cache let go of {fact.removed} answers and holds {fact.entries} ({fact.bytes} bytes)."
        case e.RetryScheduled():
            told = ", as the server asked" if fact.told_by_server else ""
            return f"The {fact.call} call will be tried again in {for_how_long(fact.delay_s)}{told} ({fact.cause})."
        case e.BreakerChanged():
            cooldown = f" for {for_how_long(fact.cooldown_s)}" if fact.cooldown_s else ""
            return f"The circuit breaker went from {fact.state_from} to {fact.state_to}{cooldown}."
        case _:
            assert_never(fact)


def _of_upkeep(fact: _Upkeep) -> str:
    match fact:
        case e.HeartbeatBeat():
            return f"Health is {fact.health:.0f} of 100 ({fact.band}) in {fact.state}; lowest is {fact.lowest}."
        case e.GapObserved():
            return _GAPS[fact.gap].format(for_how_long(fact.seconds))
        case e.ClockSkewEstimated():
            side = "ahead of" if fact.skew_s >= 0 else "behind"
            return f"The provider's clock is {for_how_long(fact.skew_s)} {side} this device's."
        case e.PersistFailed():
            return f"The session could not be saved ({fact.error}); it goes on in memory."
        case e.FaultOrdered():
            return f"A tester ordered the fault {fact.fault} at {fact.endpoint}."
        case e.PartCrashed():
            return f"The {fact.part} crashed ({fact.error}) and is started again."
        case e.AlertRaised():
            return f"Somebody must look at this: {fact.alert.replace('_', ' ')} ({fact.error})."
        case _:
            assert_never(fact)


def _of_world(fact: _World) -> str:
    match fact:
        case e.FaultEnded():
            return f"The fault {fact.fault} at {fact.endpoint} is over."
        case e.DeviceChanged():
            return _DEVICES[fact.change].format(_planned(fact.seconds))
        case e.NetworkChanged():
            return _NETWORKS[fact.state].format(_planned(fact.seconds))
        case e.ProviderSaw():
            return f"The provider's {fact.endpoint} endpoint met a request ({fact.outcome})."
        case e.ProviderNoted():
            return f"The provider noted: {fact.what}."
        case e.UserSaw():
            detail = f" ({fact.detail})" if fact.detail else ""
            return _SIGHTS[fact.sight].format(f" after {for_how_long(fact.waited_ms / 1000)}{detail}")
        case _:
            assert_never(fact)


def _planned(seconds: float) -> str:
    return f" for {for_how_long(seconds)}" if seconds else ""
