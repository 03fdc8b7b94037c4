"""Retries: what is tried again and when, how much of it a session may do, and when an endpoint is left alone."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from session_core.errors import ConfigError
from session_core.events import AnyFact, BreakerChanged, RetryScheduled
from session_core.retry_manager import (
    DEFAULT_POLICIES,
    IDEMPOTENT_METHODS,
    NO_RETRY,
    BreakerPolicy,
    BudgetPolicy,
    Call,
    CircuitBreaker,
    RetryBudget,
    RetryManager,
    RetryPolicy,
    call_kind,
    classify_status,
)
from session_core.vocabulary import BreakerState, ErrorClass, Outcome

SEEDS = st.integers(0, 2**32).map(random.Random)
FAILURES = [Outcome.TRANSIENT, Outcome.AMBIGUOUS, Outcome.CONFIG]


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    first_s = draw(st.floats(0.001, 60))
    return RetryPolicy(
        attempts_max=draw(st.integers(1, 20)),
        delay_s_first=first_s,
        delay_s_max=draw(st.floats(first_s, 3600)),
        retry_after_s_max=draw(st.floats(0, 3600)),
        classes=frozenset(draw(st.sets(st.sampled_from(ErrorClass)))),
    )


# What is tried again


@given(policy=policies(), attempt=st.integers(1, 1024), rng=SEEDS)
def test_backoff_grows_to_its_ceiling_and_never_overflows(
    policy: RetryPolicy, attempt: int, rng: random.Random
) -> None:
    """Full jitter: anything from 0 to the doubling ceiling, also after 1,024 failures."""
    assert 0 <= policy.backoff_s(attempt, rng) <= policy.delay_s_max
    if attempt <= 60:
        assert policy.backoff_s(attempt, rng) <= policy.delay_s_first * 2 ** (attempt - 1)


@given(
    policy=policies(),
    attempt=st.integers(1, 1024),
    error=st.sampled_from(ErrorClass),
    retry_after_s=st.none() | st.floats(0, 7200),
    rng=SEEDS,
)
def test_a_retry_needs_an_attempt_left_a_fitting_error_and_a_patient_server(
    policy: RetryPolicy, attempt: int, error: ErrorClass, retry_after_s: float | None, rng: random.Random
) -> None:
    """The server's Retry-After comes first, exactly as given; more than our patience means no."""
    delay_s = policy.delay_s(attempt, error, retry_after_s=retry_after_s, rng=rng)
    if attempt >= policy.attempts_max or error not in policy.classes:
        assert delay_s is None
    elif retry_after_s is None:
        assert delay_s is not None
        assert 0 <= delay_s <= policy.delay_s_max
    else:
        assert delay_s == (retry_after_s if retry_after_s <= policy.retry_after_s_max else None)


@pytest.mark.parametrize(("retry_after_s", "delay_s"), [(59.999, 59.999), (60, 60), (60.001, None)])
def test_retry_after_is_followed_up_to_its_cap(retry_after_s: float, delay_s: float | None) -> None:
    """Sixty seconds and no more, by default."""
    found = RetryPolicy().delay_s(1, ErrorClass.SERVER, retry_after_s=retry_after_s, rng=random.Random(1))
    assert found == delay_s


@pytest.mark.parametrize(("attempt", "again"), [(3, True), (4, False), (5, False)])
def test_the_first_try_counts_as_an_attempt(attempt: int, *, again: bool) -> None:
    """Four attempts are three retries."""
    policy = RetryPolicy(attempts_max=4)
    delay_s = policy.delay_s(attempt, ErrorClass.NETWORK, retry_after_s=None, rng=random.Random(1))
    assert (delay_s is not None) is again


def test_every_status_has_one_meaning() -> None:
    """Below 400 nothing is wrong; 401 is about the token, 429 about patience, 5xx and 408 about the server."""
    meanings = {401: ErrorClass.AUTH, 408: ErrorClass.SERVER, 429: ErrorClass.THROTTLED}
    for status in range(100, 600):
        assert classify_status(status) is meanings.get(status, ErrorClass.SERVER if status >= 500 else None)


@given(method=st.sampled_from(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "POST", "PATCH", "CONNECT"]))
def test_only_idempotent_methods_are_reads(method: str) -> None:
    """RFC 9110 §9.2.2."""
    assert (call_kind(method) is Call.API_READ) is (method in IDEMPOTENT_METHODS)


def test_a_write_is_repeated_only_when_the_server_says_it_was_not_acted_on() -> None:
    """A 429 was not acted on; a 503 or a broken connection may have been."""
    write = DEFAULT_POLICIES[Call.API_WRITE]
    for error in ErrorClass:
        delay_s = write.delay_s(1, error, retry_after_s=None, rng=random.Random(1))
        assert (delay_s is not None) is (error is ErrorClass.THROTTLED)


def test_no_retry_is_no_retry() -> None:
    """One attempt, whatever happens."""
    for error in ErrorClass:
        assert NO_RETRY.delay_s(1, error, retry_after_s=0.0, rng=random.Random(1)) is None


# The budget


@given(
    retries_max=st.integers(0, 30),
    per_minute=st.floats(0, 600),
    gaps=st.lists(st.floats(0, 120), max_size=120),
)
def test_the_budget_grants_no_more_than_its_allowance_in_any_span(
    retries_max: int, per_minute: float, gaps: list[float]
) -> None:
    """From any moment on: a full bucket and what has flowed in since."""
    budget = RetryBudget(BudgetPolicy(retries_max=retries_max, retries_per_minute=per_minute))
    now, granted = 0.0, list[float]()
    for gap_s in gaps:
        now += gap_s
        if budget.take(now):
            granted.append(now)
    for first, since in enumerate(granted):
        for upto in range(first, len(granted)):
            allowance = retries_max + (granted[upto] - since) * per_minute / 60
            assert upto - first + 1 <= allowance + 1e-6


def test_an_empty_budget_comes_back_at_its_rate() -> None:
    """Twenty at once, then one every three seconds."""
    budget = RetryBudget(BudgetPolicy())
    assert [budget.take(100.0) for _ in range(21)] == [True] * 20 + [False]
    assert not budget.take(102.999)
    assert budget.take(103.0)
    assert not budget.take(103.0)
    assert [budget.take(9999.0) for _ in range(21)] == [True] * 20 + [False]


# The breaker


def make_breaker(**policy: Any) -> tuple[CircuitBreaker, list[AnyFact]]:
    facts: list[AnyFact] = []
    return CircuitBreaker(BreakerPolicy(**policy), record=facts.append), facts


def test_five_failures_in_a_row_open_it() -> None:
    """Not four, and not five with an answer between."""
    breaker, facts = make_breaker()
    for outcome in [*FAILURES, Outcome.TRANSIENT, Outcome.OK, *FAILURES, Outcome.TRANSIENT]:
        breaker.observe(outcome, now=0, retry_after_s=None)
    assert (breaker.state, facts) == (BreakerState.CLOSED, [])
    breaker.observe(Outcome.TRANSIENT, now=0, retry_after_s=None)
    assert breaker.state is BreakerState.OPEN
    assert facts == [BreakerChanged(state_from=BreakerState.CLOSED, state_to=BreakerState.OPEN, cooldown_s=60)]


def test_any_throttling_opens_it_at_once() -> None:
    """A provider that says it is too much is believed the first time."""
    breaker, _ = make_breaker()
    breaker.observe(Outcome.THROTTLED, now=100, retry_after_s=None)
    assert [breaker.allows(now) for now in (100, 159.999, 160)] == [False, False, True]


@pytest.mark.parametrize(("told_s", "cooldown_s"), [(None, 60), (0, 1), (5, 5), (90, 90), (9999, 3600)])
def test_the_cooldown_is_the_servers_where_it_named_one(told_s: float | None, cooldown_s: float) -> None:
    """At least a second, at most an hour, a minute where it said nothing."""
    breaker, _ = make_breaker()
    breaker.observe(Outcome.THROTTLED, now=0, retry_after_s=told_s)
    assert breaker.retry_at == cooldown_s
    assert not breaker.allows(cooldown_s - 0.001)
    assert breaker.allows(cooldown_s)


def test_half_open_lets_exactly_one_probe_through() -> None:
    """Whoever asks second waits for what the first finds out."""
    breaker, _ = make_breaker()
    breaker.observe(Outcome.THROTTLED, now=0, retry_after_s=None)
    assert [breaker.allows(now) for now in (60, 60, 61, 119.999)] == [True, False, False, False]
    assert breaker.state is BreakerState.HALF_OPEN


def test_a_probe_that_never_reports_is_replaced_after_another_cooldown() -> None:
    """A probe that was given up must not keep the breaker half-open for ever."""
    breaker, _ = make_breaker()
    breaker.observe(Outcome.THROTTLED, now=0, retry_after_s=None)
    assert breaker.allows(60)
    assert [breaker.allows(now) for now in (119.999, 120, 120)] == [False, True, False]


def test_a_probe_that_fails_opens_it_again_and_one_that_is_answered_closes_it() -> None:
    """One failure is enough, although five were needed at first."""
    breaker, _ = make_breaker()
    breaker.observe(Outcome.THROTTLED, now=0, retry_after_s=None)
    assert breaker.allows(60)
    breaker.observe(Outcome.TRANSIENT, now=61, retry_after_s=None)
    assert breaker.state is BreakerState.OPEN
    assert [breaker.allows(now) for now in (72.999, 73)] == [False, True]
    breaker.observe(Outcome.OK, now=74, retry_after_s=None)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allows(74)
    assert breaker.allows(74)


@pytest.mark.parametrize(("outcome", "told_s"), [(Outcome.THROTTLED, None), (Outcome.TRANSIENT, 60)])
def test_a_probe_that_hears_a_wish_for_patience_costs_all_of_it(outcome: Outcome, told_s: float | None) -> None:
    """Whether or not somebody waits."""
    breaker, _ = make_breaker()
    breaker.observe(Outcome.THROTTLED, now=0, retry_after_s=None)
    assert breaker.allows(60)
    breaker.observe(outcome, now=61, retry_after_s=told_s)
    assert breaker.retry_at == breaker.unattended_at == 121


def test_what_opened_it_in_one_go_it_lets_through_in_one_cooldown() -> None:
    """Five failures cost a minute, a probe a fifth of it, for somebody who waits; nobody costs the provider a minute each."""
    breaker, _ = make_breaker()
    for _ in range(5):
        breaker.observe(Outcome.TRANSIENT, now=0, retry_after_s=None)
    sent_at = []
    for now in range(600):
        if breaker.allows(now):
            sent_at.append(now)
            breaker.observe(Outcome.TRANSIENT, now=now, retry_after_s=None)
            assert breaker.unattended_at == now + 60
    assert sent_at == list(range(60, 600, 12))


@pytest.mark.parametrize("answer", [Outcome.OK, Outcome.REJECTED])
def test_an_answer_closes_it(answer: Outcome) -> None:
    """A refusal of the refresh token is an answer: the endpoint works."""
    breaker, _ = make_breaker()
    breaker.observe(Outcome.THROTTLED, now=0, retry_after_s=None)
    breaker.observe(answer, now=1, retry_after_s=None)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allows(1)


def test_being_offline_is_not_the_endpoints_fault() -> None:
    """A hundred failures to reach anything leave it closed."""
    breaker, facts = make_breaker()
    for now in range(100):
        breaker.observe(Outcome.OFFLINE, now=now, retry_after_s=None)
    assert (breaker.state, facts) == (BreakerState.CLOSED, [])


def test_a_probe_that_finds_no_network_gives_its_turn_back() -> None:
    """It said nothing about the endpoint, so the next one need not wait a cool-down."""
    breaker, _ = make_breaker()
    breaker.observe(Outcome.THROTTLED, now=0, retry_after_s=None)
    assert breaker.allows(60)
    breaker.observe(Outcome.OFFLINE, now=61, retry_after_s=None)
    assert breaker.state is BreakerState.HALF_OPEN
    assert [breaker.allows(now) for now in (65, 65)] == [True, False]


def test_asking_whether_it_rests_takes_no_turn() -> None:
    """Only `allows` hands out the probe."""
    breaker, _ = make_breaker()
    assert not breaker.rests(0)
    breaker.observe(Outcome.THROTTLED, now=0, retry_after_s=None)
    assert [breaker.rests(now) for now in (0, 59.999, 60, 60)] == [True, True, False, False]
    assert breaker.allows(60)
    assert breaker.rests(60)


class BreakerMachine(RuleBasedStateMachine):
    """Any outcomes at any times."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.facts = make_breaker()
        self.now = 0.0
        self.allowed_at: list[float] = []
        self.streak = self.tries = 0
        self.open_until = 0.0

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        closed = self.breaker.state is BreakerState.CLOSED
        rests = self.breaker.rests(self.now)
        allowed = self.breaker.allows(self.now)
        assert allowed is not rests
        assert allowed or not closed
        if allowed:
            assert self.now >= self.open_until
            if not closed:
                assert self.breaker.rests(self.now)

    @rule(outcome=st.sampled_from(Outcome), retry_after_s=st.none() | st.floats(0, 5000))
    def observe(self, outcome: Outcome, retry_after_s: float | None) -> None:
        before = self.breaker.state
        self.breaker.observe(outcome, now=self.now, retry_after_s=retry_after_s)
        if outcome in (Outcome.OK, Outcome.REJECTED):
            self.streak, self.tries, self.open_until = 0, 0, self.now
            assert self.breaker.state is BreakerState.CLOSED
        elif outcome is Outcome.OFFLINE:
            assert self.breaker.state is before
        else:
            self.streak += 1
            self.tries += 1
            tripped = self.streak >= 5 or outcome is Outcome.THROTTLED or before is BreakerState.HALF_OPEN
            assert tripped or self.breaker.state is before
            if tripped:
                assert self.breaker.state is BreakerState.OPEN
                cooldown_s = BreakerPolicy().cooldown_after(retry_after_s)
                asked_for = outcome is Outcome.THROTTLED or retry_after_s is not None
                share = 1 if asked_for else min(1, self.tries / 5)
                self.tries, self.open_until = 0, self.now + share * cooldown_s

    @precondition(lambda self: self.facts)
    @invariant()
    def every_change_is_told_once(self) -> None:
        changes = [fact for fact in self.facts if isinstance(fact, BreakerChanged)]
        assert changes[-1].state_to is self.breaker.state
        for earlier, later in pairwise(changes):
            assert earlier.state_to is later.state_from
        assert all(change.state_from is not change.state_to for change in changes)


TestBreakerMachine = BreakerMachine.TestCase


# The manager


def make_manager(**budget: Any) -> tuple[RetryManager, list[AnyFact]]:
    facts: list[AnyFact] = []
    manager = RetryManager(
        policies=DEFAULT_POLICIES, budget=BudgetPolicy(**budget), rng=random.Random(1), record=facts.append
    )
    return manager, facts


def test_what_is_granted_is_logged_and_what_is_not_is_not() -> None:
    """One event for each retry that will be made."""
    manager, facts = make_manager()
    delay_s = manager.grant(Call.API_READ, 1, ErrorClass.SERVER, now=0.0)
    assert delay_s is not None
    assert manager.grant(Call.API_READ, 3, ErrorClass.SERVER, now=0.0) is None
    assert manager.grant(Call.API_READ, 1, ErrorClass.AUTH, now=0.0) is None
    assert manager.grant(Call.API_WRITE, 1, ErrorClass.THROTTLED, now=0.0, retry_after_s=7.0) == 7.0
    assert facts == [
        RetryScheduled(call="api_read", attempt=1, delay_s=delay_s, cause="server", told_by_server=False),
        RetryScheduled(call="api_write", attempt=1, delay_s=7.0, cause="throttled", told_by_server=True),
    ]


def test_an_empty_budget_ends_retries_of_every_kind() -> None:
    """The budget is the session's, not the call's; what is not wanted costs nothing."""
    manager, facts = make_manager(retries_max=2)
    assert manager.grant(Call.API_READ, 9, ErrorClass.SERVER, now=0.0) is None
    granted = [manager.grant(Call.API_READ, 1, ErrorClass.SERVER, now=0.0) for _ in range(2)]
    assert None not in granted
    assert manager.grant(Call.API_WRITE, 1, ErrorClass.THROTTLED, now=0.0) is None
    assert len(facts) == 2


def test_the_manager_hands_out_the_policy_of_a_kind_of_call() -> None:
    """For those who bound their own loop by it."""
    manager, _ = make_manager()
    assert manager.policy(Call.TOKEN) is DEFAULT_POLICIES[Call.TOKEN]


# Settings


@pytest.mark.parametrize(
    ("kind", "name", "low", "high"),
    [
        (RetryPolicy, "retry.attempts_max", 1, 20),
        (RetryPolicy, "retry.delay_s_max", 0.5, 3_600),
        (RetryPolicy, "retry.delay_s_first", 0.001, 30),
        (RetryPolicy, "retry.retry_after_s_max", 0, 3_600),
        (BudgetPolicy, "retry_budget.retries_max", 0, 10_000),
        (BudgetPolicy, "retry_budget.retries_per_minute", 0, 60_000),
        (BreakerPolicy, "breaker.failures_max", 1, 1_000),
        (BreakerPolicy, "breaker.cooldown_s", 0.05, 3_600),
        (BreakerPolicy, "breaker.cooldown_s_max", 60, 86_400),
    ],
)
def test_each_setting_names_itself_when_out_of_range(kind: Any, name: str, low: float, high: float) -> None:
    """The ends pass; beyond them one sentence names the setting."""
    field = name.partition(".")[2]
    for value in (low, high):
        kind(**{field: value})
    for value in (-1, high + 100_000):
        with pytest.raises(ConfigError, match=rf"{name} is .+; set it between .+ and .+\."):
            kind(**{field: value})


def test_settings_that_contradict_each_other_are_refused() -> None:
    """A first delay above the longest, or a cool-down above the longest."""
    with pytest.raises(ConfigError, match=r"retry\.delay_s_first is above retry\.delay_s_max"):
        RetryPolicy(delay_s_first=31, delay_s_max=30)
    with pytest.raises(ConfigError, match=r"breaker\.cooldown_s is above breaker\.cooldown_s_max"):
        BreakerPolicy(cooldown_s=61, cooldown_s_max=60)
