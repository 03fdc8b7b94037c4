"""Whether and when to try again: error classes, policies per kind of call, a budget and a circuit breaker."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from session_core.bounds import require
from session_core.errors import ConfigError
from session_core.events import BreakerChanged, Record, RetryScheduled
from session_core.vocabulary import BreakerState, ErrorClass, Outcome

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_EXPONENT_MAX = 60


class Call(StrEnum):
    """The kinds of call, each with a policy of its own."""

    TOKEN = "token"  # noqa: S105
    API_READ = "api_read"
    API_WRITE = "api_write"


def call_kind(method: str) -> Call:
    return Call.API_READ if method in IDEMPOTENT_METHODS else Call.API_WRITE


def classify_status(status: int) -> ErrorClass | None:
    """The class of an API answer's status; None where it is no trouble of the session's."""
    if status < 400:
        return None
    if status == 401:
        return ErrorClass.AUTH
    if status == 429:
        return ErrorClass.THROTTLED
    if status >= 500 or status == 408:
        return ErrorClass.SERVER
    return None


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exponential backoff with full jitter. `attempts_max` counts the first try; 1 means no retry."""

    attempts_max: int = 4
    delay_s_first: float = 0.5
    delay_s_max: float = 30.0
    retry_after_s_max: float = 60.0
    classes: frozenset[ErrorClass] = frozenset({ErrorClass.NETWORK, ErrorClass.SERVER, ErrorClass.THROTTLED})

    def __post_init__(self) -> None:
        require("retry.attempts_max", self.attempts_max, 1, 20)
        require("retry.delay_s_first", self.delay_s_first, 0.001, 60)
        require("retry.delay_s_max", self.delay_s_max, 0.001, 3_600)
        require("retry.retry_after_s_max", self.retry_after_s_max, 0, 3_600)
        if self.delay_s_first > self.delay_s_max:
            raise ConfigError("retry.delay_s_first is above retry.delay_s_max; lower the first or raise the second.")

    def backoff_s(self, attempt: int, rng: random.Random) -> float:
        """Full-jitter wait after failed `attempt` (1-based), at most `delay_s_max`."""
        ceiling_s = self.delay_s_first * 2 ** min(attempt - 1, _EXPONENT_MAX)
        return rng.uniform(0, min(self.delay_s_max, ceiling_s))

    def delay_s(
        self, attempt: int, error: ErrorClass, *, retry_after_s: float | None, rng: random.Random
    ) -> float | None:
        """How long to wait before the next try, or None to stop. A server's Retry-After comes first.

        A server that asks for more patience than `retry_after_s_max` is not asked again by this call.
        """
        if attempt >= self.attempts_max or error not in self.classes:
            return None
        if retry_after_s is None:
            return self.backoff_s(attempt, rng)
        return retry_after_s if retry_after_s <= self.retry_after_s_max else None


NO_RETRY = RetryPolicy(attempts_max=1)
# A write may have been acted on: it is tried again only where the server says that it was not.
DEFAULT_POLICIES: Mapping[Call, RetryPolicy] = MappingProxyType(
    {
        Call.TOKEN: RetryPolicy(attempts_max=20, delay_s_first=1.0, delay_s_max=30.0, retry_after_s_max=3_600.0),
        Call.API_READ: RetryPolicy(attempts_max=3),
        Call.API_WRITE: RetryPolicy(attempts_max=2, classes=frozenset({ErrorClass.THROTTLED})),
    }
)


class BudgetPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many retries a session may make at once, and how fast the allowance comes back."""

    retries_max: int = 20
    retries_per_minute: float = 20.0

    def __post_init__(self) -> None:
        require("retry_budget.retries_max", self.retries_max, 0, 10_000)
        require("retry_budget.retries_per_minute", self.retries_per_minute, 0, 60_000)


class RetryBudget:
    """A token bucket: retries that find it empty are not made, so a storm cannot feed itself."""

    __slots__ = ("_left", "_policy", "_refilled_at")

    def __init__(self, policy: BudgetPolicy) -> None:
        self._policy = policy
        self._left = float(policy.retries_max)
        self._refilled_at: float | None = None

    def take(self, now: float) -> bool:
        if self._refilled_at is not None:
            gained = (now - self._refilled_at) * self._policy.retries_per_minute / 60
            self._left = min(self._policy.retries_max, self._left + gained)
        self._refilled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open after `failures_max` failures in a row or any 429; half-open lets one probe through."""

    failures_max: int = 5
    cooldown_s: float = 60.0
    cooldown_s_max: float = 3_600.0

    def __post_init__(self) -> None:
        require("breaker.failures_max", self.failures_max, 1, 1_000)
        require("breaker.cooldown_s", self.cooldown_s, 0.05, 3_600)
        require("breaker.cooldown_s_max", self.cooldown_s_max, 0.05, 86_400)
        if self.cooldown_s > self.cooldown_s_max:
            raise ConfigError(
                "breaker.cooldown_s is above breaker.cooldown_s_max; lower the first or raise the second."
            )

    def cooldown_after(self, retry_after_s: float | None) -> float:
        """The server's Retry-After where it gave one (at least a second), else our own."""
        if retry_after_s is None:
            return self.cooldown_s
        return min(max(retry_after_s, 1.0), self.cooldown_s_max)

    def share(self, tries: int) -> float:
        """How much of the cool-down `tries` failures cost somebody who waits.

        `failures_max` of them cost all of it, a probe its part: never more tries in a cool-down than opened the breaker.
        """
        return min(1.0, tries / self.failures_max)


class CircuitBreaker:
    """Stands between one session and its token endpoint. REJECTED is an answer, not a failure; OFFLINE is not its fault.

    `openings` counts how often in a row it opened without an answer in between. Before `retry_at` nothing is sent, and
    before `unattended_at` nothing that nobody waits for.
    """

    __slots__ = ("_failures", "_policy", "_record", "_tries", "openings", "retry_at", "state", "unattended_at")

    def __init__(self, policy: BreakerPolicy, *, record: Record) -> None:
        self._policy = policy
        self._record = record
        self._failures = 0
        self._tries = 0
        self.openings = 0
        self.state = BreakerState.CLOSED
        self.retry_at = self.unattended_at = 0.0

    def rests(self, now: float) -> bool:
        """Whether no request may go out now. Asking takes no turn."""
        return self.state is not BreakerState.CLOSED and now < self.retry_at

    def allows(self, now: float) -> bool:
        """Take the turn to send a request, if there is one: after a cool-down one probe, until it is observed.

        A probe that is given up is never observed; another cool-down later the next one goes out.
        """
        if self.rests(now):
            return False
        if self.state is not BreakerState.CLOSED:
            self.retry_at = now + self._policy.cooldown_s
            self._move(BreakerState.HALF_OPEN, 0.0)
        return True

    def observe(self, outcome: Outcome, *, now: float, retry_after_s: float | None, whole: bool = False) -> None:
        """Take in what became of a try; a `whole` one asked for so much that it costs the whole cool-down."""
        if outcome in (Outcome.OK, Outcome.REJECTED):
            self._failures = self._tries = self.openings = 0
            self._move(BreakerState.CLOSED, 0.0)
        elif outcome is Outcome.OFFLINE:
            if self.state is BreakerState.HALF_OPEN:
                # The probe never got there, so its turn is free again.
                self.retry_at = now
        else:
            self._failures += 1
            self._tries += 1
            tripped = self._failures >= self._policy.failures_max or outcome is Outcome.THROTTLED
            if tripped or self.state is BreakerState.HALF_OPEN:
                cooldown_s = self._policy.cooldown_after(retry_after_s)
                whole = whole or outcome is Outcome.THROTTLED or retry_after_s is not None
                self._open(now, cooldown_s, 1.0 if whole else self._policy.share(self._tries))

    def _open(self, now: float, cooldown_s: float, share: float) -> None:
        self._tries = 0
        self.openings += 1
        self.unattended_at = now + cooldown_s
        self.retry_at = now + share * cooldown_s
        self._move(BreakerState.OPEN, share * cooldown_s)

    def _move(self, state: BreakerState, cooldown_s: float) -> None:
        if state is not self.state:
            self._record(BreakerChanged(state_from=self.state, state_to=state, cooldown_s=cooldown_s))
            self.state = state


class RetryManager:
    """One session's retries: asks the policy of the kind of call, then the budget, and logs what it granted."""

    __slots__ = ("_budget", "_policies", "_record", "_rng")

    def __init__(
        self, *, policies: Mapping[Call, RetryPolicy], budget: BudgetPolicy, rng: random.Random, record: Record
    ) -> None:
        self._policies = policies
        self._budget = RetryBudget(budget)
        self._rng = rng
        self._record = record

    def policy(self, call: Call) -> RetryPolicy:
        return self._policies[call]

    def grant(
        self, call: Call, attempt: int, error: ErrorClass, *, now: float, retry_after_s: float | None = None
    ) -> float | None:
        """Seconds to wait before the next try, or None: the call ends with what it has."""
        delay_s = self._policies[call].delay_s(attempt, error, retry_after_s=retry_after_s, rng=self._rng)
        if delay_s is None or not self._budget.take(now):
            return None
        self.note(call, attempt, error, delay_s, told_by_server=retry_after_s is not None)
        return delay_s

    def note(self, call: str, attempt: int, cause: str, delay_s: float, *, told_by_server: bool = False) -> None:
        self._record(
            RetryScheduled(call=call, attempt=attempt, delay_s=delay_s, cause=cause, told_by_server=told_by_server)
        )
