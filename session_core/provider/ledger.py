"""The provider's memory of what it did: counts, recent facts without secrets, and, for leak tests, the secrets."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Protocol

import msgspec

from session_core.errors import ConfigError

AUDIT_FACTS_MAX = 500
SECRETS_MAX = 20_000


class AuditFact(msgspec.Struct, frozen=True, kw_only=True):
    """Something the provider did; `at` is its own epoch seconds. Never a secret."""

    at: float
    what: str
    client_id: str | None = None
    username: str | None = None


class ProviderStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Requests by endpoint and outcome, and how often what was done."""

    requests: Mapping[str, Mapping[str, int]]
    facts: Mapping[str, int]
    reuse_events: int
    families_revoked: int
    replays_answered: int
    families_held: int
    access_tokens_held: int


class ProviderListener(Protocol):
    """Told of what the provider meets and does, as it happens."""

    def saw(self, endpoint: str, outcome: str) -> None: ...

    def noted(self, what: str) -> None: ...


class Ledger:
    def __init__(self, *, secrets_max: int = SECRETS_MAX, listener: ProviderListener | None = None) -> None:
        self._listener = listener
        self._requests: dict[tuple[str, str], int] = {}
        self._facts: Counter[str] = Counter()
        self._audit: deque[AuditFact] = deque(maxlen=AUDIT_FACTS_MAX)
        self._secrets: deque[str] = deque(maxlen=secrets_max)
        self._secrets_issued = 0

    def count_request(self, endpoint: str, outcome: str) -> None:
        kind = endpoint, outcome
        self._requests[kind] = self._requests.get(kind, 0) + 1
        if self._listener is not None:
            self._listener.saw(endpoint, outcome)

    def note(
        self, what: str, *, at: float, client_id: str | None = None, username: str | None = None, times: int = 1
    ) -> None:
        self._facts[what] += times
        self._audit.append(AuditFact(at=at, what=what, client_id=client_id, username=username))
        if self._listener is not None:
            self._listener.noted(what)

    def times_counted(self, endpoint: str, outcome: str) -> int:
        return self._requests.get((endpoint, outcome), 0)

    def keep_secret(self, secret: str) -> str:
        self._secrets_issued += 1
        self._secrets.append(secret)
        return secret

    def audit(self) -> tuple[AuditFact, ...]:
        return tuple(self._audit)

    def issued_secrets(self) -> tuple[str, ...]:
        """For leak tests only. Refuses rather than give an incomplete list, with which a leak test would lie."""
        if self._secrets_issued > len(self._secrets):
            raise ConfigError(
                f"secrets_max is {self._secrets.maxlen}; {self._secrets_issued} were issued, so set it at least so high."
            )
        return tuple(self._secrets)

    def statistics(self, *, families_held: int, access_tokens_held: int) -> ProviderStatistics:
        requests: dict[str, dict[str, int]] = {}
        for (endpoint, outcome), times in self._requests.items():
            requests.setdefault(endpoint, {})[outcome] = times
        return ProviderStatistics(
            requests=requests,
            facts=dict(self._facts),
            reuse_events=self._facts["reuse_detected"],
            families_revoked=self._facts["family_revoked"],
            replays_answered=self._facts["replay_answered"],
            families_held=families_held,
            access_tokens_held=access_tokens_held,
        )
