"""Switches off one protection at a time, each at one named seam, and shows what notices: `python tests/mutations.py [NAME…]`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import pytest

from session_core.cache_manager import CacheManager
from session_core.config import PROFESSIONAL
from session_core.oauth_client import OAuthClient
from session_core.refresh_plan import ProviderProfile
from session_core.refresh_troubles import RefreshTroubles
from session_core.retry_manager import CircuitBreaker
from session_core.session import Session
from session_core.session_heartbeat import SessionHeartbeat
from session_core.session_keeper import Keeping, Kept, LeaseWatch, SessionKeeper, lease_holds
from session_core.sim.explore import draw
from session_core.sim.failures import LivelockError
from session_core.sim.run import play, run
from session_core.sim.scenario import CATALOGUE, read_catalogue
from session_core.token_holder import TokenHolder
from session_core.token_manager import TokenManager
from session_core.token_refresher import TokenRefresher
from session_core.tokens import RefreshPolicy, TokenSet
from session_core.vocabulary import EndReason, Outcome

SCHEDULES = 300
SESSIONS_MAX = 1_000
Patch = pytest.MonkeyPatch


class Mutation(NamedTuple):
    """`likely` names the scenarios that should notice, tried first."""

    off: Callable[[Patch], None]
    likely: tuple[str, ...] = ()


def single_flight(patch: Patch) -> None:
    """Every wish for a refresh starts one of its own."""

    def start(self: Any, reason: Any) -> Any:
        return asyncio.get_running_loop().create_task(self._refresher.run(reason))

    patch.setattr(TokenManager, "_task", property(lambda _self: None, lambda _self, _task: None))
    patch.setattr(TokenManager, "_start", start)


def grace_rule(patch: Patch) -> None:
    """A refresh token that may be spent is sent again at any time."""
    patch.setattr(ProviderProfile, "replay_until", lambda _self, _sent_at: float("inf"))


def grace_used(patch: Patch) -> None:
    """A refresh token that may be spent is never sent again, even where that is forgiven."""
    patch.setattr(ProviderProfile, "replay_until", lambda _self, _sent_at: float("-inf"))


def written_ahead(patch: Patch) -> None:
    """No mark is written before a refresh."""

    async def claim(_self: Any, _tokens: Any, _mark: float) -> Kept:
        return Kept(Keeping.DONE)

    patch.setattr(SessionKeeper, "claim", claim)


def commit(patch: Patch) -> None:
    """New tokens are kept in memory only."""

    async def write(_self: Any, _tokens: Any, _mark: Any) -> Kept:
        return Kept(Keeping.DONE)

    patch.setattr(SessionKeeper, "write", write)


def lease(patch: Patch) -> None:
    """Another process's lease counts for nothing."""
    patch.setattr(SessionKeeper, "_is_others", lambda _self, _record: False)
    patch.setattr("session_core.session_keeper.marked_before", lambda _record, _sent_at: False)


def lease_watch(patch: Patch) -> None:
    """A lease whose time is up is taken over at once, whatever slept meanwhile."""
    patch.setattr(LeaseWatch, "is_left", lambda _self, record, *, now: not lease_holds(record, now=now))


def look_elsewhere(patch: Patch) -> None:
    """Nobody looks what other processes have made of a session."""

    async def compare(_self: Any) -> Kept:
        return Kept(Keeping.DONE)

    patch.setattr(SessionKeeper, "_compare", compare)


def compare_and_swap(patch: Patch) -> None:
    """Writes go over whatever another process has written."""

    async def swap(self: Any, record: Any) -> Kept:
        held = await self._store.load(self._session_id)
        await self._store.save(msgspec.structs.replace(record, version=0 if held is None else held.version))
        return Kept(Keeping.DONE)

    patch.setattr(SessionKeeper, "_swap", swap)


def idle_clock(patch: Patch) -> None:
    """A heartbeat counts as the user's activity."""
    beat = SessionHeartbeat._beat

    def count(self: Any, session: Any, now: float) -> float:
        session._limits.acted(now)
        return beat(self, session, now)

    patch.setattr(SessionHeartbeat, "_beat", count)


def limits_gate(patch: Patch) -> None:
    """Calls pass whatever the limits say, until the worker comes by."""
    patch.setattr(Session, "_pass_gate", lambda _self: None)


def limits_at_wake(patch: Patch) -> None:
    """Waking refreshes first and looks at the limits later."""
    enforce, observe = Session._enforce, Session.observe_gap

    def late(self: Any, gap: Any) -> None:
        patch.setattr(Session, "_enforce", lambda _self, _verdict: None)
        observe(self, gap)
        patch.setattr(Session, "_enforce", enforce)

    patch.setattr(Session, "observe_gap", late)


def jitter(patch: Patch) -> None:
    """Everybody refreshes at the same point of a token's life."""
    patch.setattr(
        RefreshPolicy,
        "due_at",
        lambda self, *, expires_at, life_s, rng: expires_at - self.margin_s(life_s),
    )


def resume_spread(patch: Patch) -> None:
    """Whoever wakes with an overdue refresh asks at once."""
    patch.setattr(RefreshPolicy, "spread_s", lambda _self, _tokens, *, now, rng: 0.0)


def margin(patch: Patch) -> None:
    """Tokens are refreshed when they have expired."""
    patch.setattr(RefreshPolicy, "due_at", lambda _self, *, expires_at, life_s, rng: expires_at)


def expiry_edge(patch: Patch) -> None:
    """A token still counts at the very second of its expiry."""
    patch.setattr(TokenSet, "expired", lambda self, now: now > self.expires_at)


def once_for_a_401(patch: Patch) -> None:
    """Every 401 of the API leads to a refresh."""
    replace = TokenManager.replace

    async def again(self: Any, rejected: str) -> Any:
        self._unauthorized_until = 0.0
        return await replace(self, rejected)

    patch.setattr(TokenManager, "replace", again)


def retry_after(patch: Patch) -> None:
    """What the server asks for is not heard."""
    patch.setattr("session_core.token_answers.read_retry_after", lambda _value, *, wall: None)


def breaker(patch: Patch) -> None:
    """The circuit never opens."""
    patch.setattr(CircuitBreaker, "observe", lambda _self, _outcome, **_: None)


def backoff(patch: Patch) -> None:
    """A refresh that failed is tried again at once."""
    patch.setattr("session_core.refresh_troubles.pause_s", lambda *_, **__: 0.5)


def unmoved_guard(patch: Patch) -> None:
    """A refresh that bought no life is followed by the next."""
    patch.setattr("session_core.token_refresher.moved", lambda _old, _new: True)


def offline_probe(patch: Patch) -> None:
    """The refresh token is sent into a network that may not be there."""

    async def yes(_self: Any) -> bool:
        return True

    patch.setattr(OAuthClient, "probe", yes)


def sign_out_wins(patch: Patch) -> None:
    """A refresh under way brings an ended session back."""
    patch.setattr(TokenHolder, "generation", property(lambda _self: 0, lambda _self, _value: None))


def serves_to_its_end(patch: Patch) -> None:
    """A refusal ends the session while its access token still works."""

    async def at_once(self: Any, _tokens: Any, why: EndReason, _reason: Any) -> Any:
        return await self._recover(why)

    patch.setattr(TokenRefresher, "_give_up_refreshing", at_once)


def outage_is_no_refusal(patch: Patch) -> None:
    """Every answer but a good one counts as a refusal."""
    refused = TokenRefresher._refused

    async def harsh(self: Any, tokens: Any, refusal: Any, *rest: Any, **more: Any) -> Any:
        return await refused(self, tokens, msgspec.structs.replace(refusal, outcome=Outcome.REJECTED), *rest, **more)

    patch.setattr(TokenRefresher, "_refused", harsh)


def cache_by_user(patch: Patch) -> None:
    """One cache for everybody, and nobody's name in its keys."""
    shared: dict[str, Any] = {}
    key_for = CacheManager.key_for
    init = CacheManager.__init__

    def one(self: Any, *args: Any, **more: Any) -> None:
        init(self, *args, **more)
        self._entries = shared.setdefault(str(id(more["clock"])), self._entries)

    patch.setattr(CacheManager, "__init__", one)
    patch.setattr(CacheManager, "key_for", lambda self, _user, *rest, **more: key_for(self, "", *rest, **more))


def stuck_states(patch: Patch) -> None:
    """Nobody frees a state that stays past its deadline."""
    patch.setattr(Session, "_free_if_stuck", lambda _self, _now: None)


def failures_remembered(patch: Patch) -> None:
    """What failed is not tried again before the next expiry."""
    patch.setattr(RefreshTroubles, "pending", lambda _self: False)


def revoked_on_sign_out(patch: Patch) -> None:
    """Refresh tokens are not given back."""

    async def silent(_self: Any, _token: str) -> Outcome:
        return Outcome.OK

    patch.setattr(OAuthClient, "revoke", silent)


def retry_of_a_401(patch: Patch) -> None:
    """A call that was refused is not made again with a new token."""

    async def none(_self: Any, _rejected: str) -> None:
        return None

    patch.setattr(TokenManager, "replace", none)


MUTATIONS: Mapping[str, Mutation] = {
    "single_flight": Mutation(single_flight, ("stampede",)),
    "grace_rule": Mutation(grace_rule, ("lost-response-no-grace",)),
    "grace_used": Mutation(grace_used, ("lost-response-with-grace",)),
    "written_ahead": Mutation(written_ahead, ("crash-before-persist",)),
    "commit": Mutation(commit, ("two-processes",)),
    "lease": Mutation(lease, ("two-processes",)),
    "lease_watch": Mutation(lease_watch, ("asleep-beside-a-refresh",)),
    "look_elsewhere": Mutation(look_elsewhere, ("signed-out-beside",)),
    "compare_and_swap": Mutation(compare_and_swap, ("queue-at-a-slow-provider",)),
    "idle_clock": Mutation(idle_clock, ("idle-limit",)),
    "limits_gate": Mutation(limits_gate, ("lid-close-overnight",)),
    "limits_at_wake": Mutation(limits_at_wake, ("limit-reached-in-sleep",)),
    "jitter": Mutation(jitter, ("signed-in-together",)),
    "resume_spread": Mutation(resume_spread, ("fleet-wakes-at-nine",)),
    "margin": Mutation(margin, ("nap-inside-margin",)),
    "expiry_edge": Mutation(expiry_edge, ("stampede",)),
    "once_for_a_401": Mutation(once_for_a_401, ("access-token-revoked",)),
    "retry_of_a_401": Mutation(retry_of_a_401, ("access-token-revoked",)),
    "retry_after": Mutation(retry_after, ("throttled-for-longer-than-ours",)),
    "breaker": Mutation(breaker, ("throttled-bare-and-expired",)),
    "backoff": Mutation(backoff, ("client-misconfigured",)),
    "unmoved_guard": Mutation(unmoved_guard, ("unchanging-expiry",)),
    "offline_probe": Mutation(offline_probe, ("wake-before-network", "captive-portal")),
    "sign_out_wins": Mutation(sign_out_wins, ("sign-out-during-refresh",)),
    "serves_to_its_end": Mutation(serves_to_its_end, ("refresh-token-revoked",)),
    "outage_is_no_refusal": Mutation(outage_is_no_refusal, ("idp-503-inside-margin",)),
    "cache_by_user": Mutation(cache_by_user),
    "stuck_states": Mutation(stuck_states, ("hung-browser",)),
    "failures_remembered": Mutation(failures_remembered, ("crash-before-persist",)),
    "revoked_on_sign_out": Mutation(revoked_on_sign_out, ("sign-out-during-refresh",)),
}


@contextmanager
def switched_off(mutation: Mutation) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        mutation.off(patch)
        yield


def noticed_by(mutation: Mutation, *, schedules: int = SCHEDULES, everything: bool = True) -> str | None:
    """The first scenario, invariant or crash that tells the protection is gone; the likely ones first."""
    catalogue = {**read_catalogue(), **read_catalogue(CATALOGUE / "found")}
    small = [name for name, scenario in catalogue.items() if scenario.sessions < SESSIONS_MAX]
    with switched_off(mutation):
        for name in dict.fromkeys([*mutation.likely, *(small if everything else ())]):
            try:
                failures = run(catalogue[name], PROFESSIONAL, 1, keep_events=False).failures
            except (AssertionError, ExceptionGroup, LivelockError, RuntimeError) as crash:
                return f"{name}: {type(crash).__name__}"
            if failures:
                return f"{name}: {failures[0]}"
        for seed in range(schedules):
            broken = play(draw(seed), PROFESSIONAL, seed).broken
            if broken:
                return f"explored {seed}: {broken[0]}"
    return None


def main(names: list[str]) -> int:
    """0 when every protection is missed by something, else 1."""
    missed = 0
    for name in names or MUTATIONS:
        noticed = noticed_by(MUTATIONS[name])
        missed += noticed is None
        print(f"{name:22} {noticed or 'NOTHING NOTICED'}", flush=True)  # noqa: T201 - a command
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
