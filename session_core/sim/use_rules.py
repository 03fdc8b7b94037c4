"""Rules of using tokens: nothing expired, nothing after the end, each served to its own end, none lost on the way."""

from __future__ import annotations

import math

from session_core import events as e
from session_core.provider.faults import FaultKind
from session_core.session_keeper import WRITE_S_MAX
from session_core.sim.rules import EDGE_S, TRIES, Events, Finding, Found, Setting, asked_at, of_kind, sent_at
from session_core.sim.timelines import TELL_OF_LIVES, Devices, Lives
from session_core.vocabulary import (
    DeviceChange,
    EndReason,
    NetworkState,
    Outcome,
    RefreshReason,
    Served,
    Sight,
)

ATTEMPTS_PER_CALL_MAX = 6
_WORKS = (e.TokenRefreshed, e.TokenFollowed, e.RefreshFailed, e.CacheServed, e.HeartbeatBeat)


def attempts_bounded(events: Events, _setting: Setting) -> Finding:
    """A call of the user's costs a few requests at most, however it fails."""
    for event, fact in of_kind(events, e.RequestServed):
        if fact.attempts > ATTEMPTS_PER_CALL_MAX:
            yield Found(event, f"one call was tried {fact.attempts} times")


def no_expired_token(events: Events, _setting: Setting) -> Finding:
    """No request goes out with a token that is known to have expired: on its second is too late."""
    lives = Lives()
    for event, fact in of_kind(events, e.RequestServed, *TELL_OF_LIVES):
        lives.see(event)
        if isinstance(fact, e.RequestServed) and fact.served is Served.NETWORK and fact.attempts == 1:
            at = asked_at(event, fact)
            expires_at = lives.expires_at(event, at)
            # A call that was answered 401 asked before it waited, and once more with what it had waited for.
            waited_for = fact.waited_ms > 0 and lives.expires_at(event, event.boot) > expires_at
            if at >= expires_at - EDGE_S and not waited_for:
                yield Found(event, f"a request went out {at - expires_at:.1f} s after its token's expiry")


def refused_for_a_cause(events: Events, setting: Setting) -> Finding:
    """The API refuses no token that was not revoked, unless one expired on its way there, or the way was slow."""
    lives = Lives()
    excused = False
    for event, fact in of_kind(
        events, e.ProviderNoted, e.NetworkChanged, e.FaultOrdered, e.ProviderSaw, *TELL_OF_LIVES
    ):
        lives.see(event)
        match fact:
            case e.ProviderNoted(what=what):
                excused = excused or what in ("access_token_revoked", "family_revoked")
            case e.NetworkChanged(state=state):
                excused = excused or state is NetworkState.SLOW
            case e.FaultOrdered(fault=fault):
                excused = excused or fault == FaultKind.CLOCK_OFFSET
            case e.ProviderSaw(endpoint="api", outcome="invalid_token") if not excused:
                if not lives.one_expired(event.boot - setting.latency_s / 2 + EDGE_S, event.boot + EDGE_S):
                    yield Found(event, "the API was sent a token that did not work any more")


def nothing_after_the_end(events: Events, _setting: Setting) -> Finding:
    """Once a session has ended in a process, that process neither calls, refreshes, serves nor beats for it."""
    ended: dict[str, float] = {}
    for event, fact in of_kind(events, e.SessionEnded, e.SessionStarted, e.RequestServed, *_WORKS):
        if not ended and not isinstance(fact, e.SessionEnded):
            continue
        stream = event.origin.stream_id
        match fact:
            case e.SessionStarted():
                ended.pop(stream, None)
            case e.SessionEnded():
                ended[stream] = event.boot
            case e.RequestServed():
                once = fact.served is Served.NETWORK and fact.attempts == 1 and fact.status != 401
                if once and asked_at(event, fact) > ended.get(stream, math.inf) + EDGE_S:
                    yield Found(event, "a request went out after the session had ended")
            case _ if stream in ended:
                yield Found(event, f"{event.kind} came after the session had ended")


def refused_for_good(events: Events, _setting: Setting) -> Finding:
    """A process that was told that its refresh token is refused does not send it again."""
    rejected: set[str] = set()
    for event, fact in of_kind(events, e.SessionStarted, e.TokenFollowed, *TRIES):
        stream = event.origin.stream_id
        if not isinstance(fact, e.RefreshFailed):
            rejected.discard(stream)
            continue
        if stream in rejected:
            yield Found(event, "a refresh token that was refused for good was tried again")
        if fact.outcome is Outcome.REJECTED:
            rejected.add(stream)


def served_to_its_end(events: Events, _setting: Setting) -> Finding:
    """No trouble with refreshing ends a session, or refuses its user a token, while its access token still works.

    Where a session has ended in one process it ends in all of them, whatever token each holds.
    """
    lives = Lives()
    refused: set[str] = set()
    over: set[tuple[str, EndReason]] = set()
    for event, fact in of_kind(events, e.RefreshFailed, e.SessionEnded, e.UserSaw, *TELL_OF_LIVES):
        stream = event.origin.stream_id
        match fact:
            case e.RefreshFailed(reason=RefreshReason.UNAUTHORIZED, outcome=Outcome.REJECTED):
                refused.add(stream)
            case e.SessionEnded(reason=reason) if reason.startswith(("refresh_", "no_refresh")):
                left_s = lives.expires_at(event, event.boot) - event.boot
                followed = (event.origin.session_id, reason) in over
                over.add((event.origin.session_id, reason))
                if EDGE_S < left_s < math.inf and stream not in refused and not followed:
                    yield Found(event, f"it ended by {reason} with {left_s:.0f} s of the access token left")
            case e.UserSaw(sight=Sight.ERROR, left_s=left, detail=detail) if detail.startswith("token_unavailable"):
                if left is not None and left > EDGE_S:
                    yield Found(event, f"a user was refused a token that had {left:.0f} s left")
        lives.see(event)


def taken_up_as_left(events: Events, _setting: Setting) -> Finding:
    """A process takes a session up with the tokens that were got last.

    Unless a process was killed, or the other began, in the time that writing may take, or the store refused to write.
    """
    devices = Devices(events)
    got: dict[str, tuple[float, float]] = {}
    unsaved: set[str] = set()
    killed: dict[str, list[float]] = {}
    for event, fact in of_kind(events, e.TokenRefreshed, e.SessionStarted, e.PersistFailed, e.DeviceChanged):
        session, device = event.origin.session_id, event.origin.device
        match fact:
            case e.TokenRefreshed(life_s=life_s):
                got[session] = event.boot, sent_at(event, fact) + life_s
            case e.PersistFailed():
                unsaved.add(session)
            case e.DeviceChanged(change=DeviceChange.KILLED):
                killed.setdefault(device, []).append(event.boot)
            case e.SessionStarted(resumed=True, left_s=float(left_s)) if session in got and session not in unsaved:
                got_at, expires_at = got[session]
                broken_off = (*killed.get(device, ()), event.boot)
                whole = all(devices.awake_s(device, got_at, at) > WRITE_S_MAX for at in broken_off if at >= got_at)
                if whole and expires_at - event.boot - left_s > EDGE_S:
                    yield Found(event, f"it was taken up with a token {expires_at - event.boot - left_s:.0f} s older")


def cache_keeps_to_its_user(events: Events, _setting: Setting) -> Finding:
    """Nobody is ever served what belongs to somebody else."""
    for event, fact in of_kind(events, e.UserSaw):
        if fact.sight is Sight.FOREIGN_ANSWER:
            yield Found(event, "a user was served another user's answer")
