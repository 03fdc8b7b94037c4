"""Faults are data: which endpoint misbehaves, when, how often and how."""

from __future__ import annotations

import math
import random
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from session_core.bounds import require
from session_core.errors import ConfigError

YEAR_S = 365 * 86_400.0


class Endpoint(StrEnum):
    """Where a fault strikes. ANY covers every request, also for pages that have no name here."""

    DISCOVERY = "discovery"
    JWKS = "jwks"
    AUTHORIZE = "authorize"
    TOKEN = "token"  # noqa: S105
    USERINFO = "userinfo"
    REVOCATION = "revocation"
    INTROSPECTION = "introspection"
    END_SESSION = "end_session"
    API = "api"
    ANY = "any"


class FaultKind(StrEnum):
    """How the provider misbehaves."""

    STATUS = "status"
    DELAY = "delay"
    HANG = "hang"
    REFUSE = "refuse"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    GARBLED_JSON = "garbled_json"
    HTML = "html"
    CLOCK_OFFSET = "clock_offset"
    ROTATE_KEYS = "rotate_keys"
    REVOKE_REFRESH_TOKENS = "revoke_refresh_tokens"
    REVOKE_ACCESS_TOKENS = "revoke_access_tokens"
    END_SESSIONS = "end_sessions"
    UNCHANGED_EXPIRY = "unchanged_expiry"
    OMIT_FIELD = "omit_field"
    SET_FIELD = "set_field"
    UNSIGNED_ID_TOKEN = "unsigned_id_token"  # noqa: S105
    FOREIGN_ID_TOKEN = "foreign_id_token"  # noqa: S105


EFFECTS = frozenset(
    {
        FaultKind.ROTATE_KEYS,
        FaultKind.REVOKE_REFRESH_TOKENS,
        FaultKind.REVOKE_ACCESS_TOKENS,
        FaultKind.END_SESSIONS,
    }
)
TOKEN_ONLY = frozenset({FaultKind.UNCHANGED_EXPIRY, FaultKind.UNSIGNED_ID_TOKEN, FaultKind.FOREIGN_ID_TOKEN})
STOPPERS = frozenset(
    {FaultKind.STATUS, FaultKind.HTML, FaultKind.HANG, FaultKind.REFUSE, FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER}
)

# What each kind must be told, and what it may be told besides.
_NEEDED: Mapping[FaultKind, tuple[str, ...]] = {
    FaultKind.STATUS: ("status",),
    FaultKind.DELAY: ("delay_s",),
    FaultKind.CLOCK_OFFSET: ("offset_s",),
    FaultKind.OMIT_FIELD: ("field",),
    FaultKind.SET_FIELD: ("field", "value"),
}
_OPTIONAL: Mapping[FaultKind, tuple[str, ...]] = {
    FaultKind.STATUS: ("error", "retry_after_s", "retry_after_is_date", "acts"),
    FaultKind.HTML: ("status", "acts"),
    FaultKind.HANG: ("acts",),
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One order to misbehave.

    It is in force from `from_s` until just before `until_s`, counted from being ordered, or epoch seconds where
    `absolute`; for at most `times` requests; for each of them with the probability `share`. `acts` says that the
    provider does what was asked before the fault hides it. Rotating keys and revoking tokens happens once.
    """

    kind: FaultKind
    endpoint: Endpoint = Endpoint.ANY
    from_s: float = 0.0
    until_s: float | None = None
    absolute: bool = False
    times: int | None = None
    share: float = 1.0
    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None
    retry_after_is_date: bool = False
    delay_s: float | None = None
    offset_s: float | None = None
    field: str | None = None
    value: str | int | float | bool | list[Any] | dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    acts: bool = False

    def __post_init__(self) -> None:
        self._require_what_the_kind_needs()
        self._require_a_fitting_endpoint()
        require("from_s", self.from_s, 0, math.inf if self.absolute else YEAR_S)
        require("until_s", self.until_s, self.from_s, math.inf)
        require("times", self.times, 1, 1_000_000_000)
        require("share", self.share, 0, 1)
        require("status", self.status, 200 if self.kind == FaultKind.HTML else 400, 599)
        require("retry_after_s", self.retry_after_s, 0, YEAR_S)
        require("delay_s", self.delay_s, 0, 86_400)
        require("offset_s", self.offset_s, -10 * YEAR_S, 10 * YEAR_S)

    def _require_what_the_kind_needs(self) -> None:
        needed = _NEEDED.get(self.kind, ())
        optional = (*needed, *_OPTIONAL.get(self.kind, ()))
        for name, absent in _ABSENT.items():
            given = getattr(self, name) is not absent
            if given and name not in optional:
                raise ConfigError(f"{name} means nothing for a fault of kind {self.kind}; leave it out.")
            if not given and name in needed:
                raise ConfigError(f"{name} is missing; a fault of kind {self.kind} needs {' and '.join(needed)}.")
        if self.retry_after_is_date and self.retry_after_s is None:
            raise ConfigError("retry_after_s is missing; retry_after_is_date only says how it is written.")

    def _require_a_fitting_endpoint(self) -> None:
        if self.kind in TOKEN_ONLY and self.endpoint not in {Endpoint.ANY, Endpoint.TOKEN}:
            raise ConfigError(f"endpoint is {self.endpoint}; a fault of kind {self.kind} is only for: token.")
        if self.kind in EFFECTS | {FaultKind.CLOCK_OFFSET} and self.endpoint != Endpoint.ANY:
            raise ConfigError(f"endpoint is {self.endpoint}; a fault of kind {self.kind} is only for: any.")
        if self.field is not None and self.endpoint == Endpoint.ANY:
            raise ConfigError(f"endpoint is any; a fault of kind {self.kind} needs one endpoint, such as token.")

    def strikes(self, endpoint: Endpoint) -> bool:
        wanted = Endpoint.TOKEN if self.kind in TOKEN_ONLY else self.endpoint
        return wanted in {Endpoint.ANY, endpoint}


_ABSENT: Mapping[str, object] = {
    "status": None,
    "error": None,
    "retry_after_s": None,
    "retry_after_is_date": False,
    "delay_s": None,
    "offset_s": None,
    "field": None,
    "value": msgspec.UNSET,
    "acts": False,
}


class _Order:
    """A fault with the window it is in force, and how often it struck."""

    __slots__ = ("fault", "from_s", "struck", "until_s")

    def __init__(self, fault: Fault, now: float) -> None:
        base_s = 0.0 if fault.absolute else now
        self.fault = fault
        self.from_s = base_s + fault.from_s
        self.until_s = math.inf if fault.until_s is None else base_s + fault.until_s
        self.struck = 0

    def is_over(self, now: float) -> bool:
        times = 1 if self.fault.kind in EFFECTS else self.fault.times
        return now >= self.until_s or (times is not None and self.struck >= times)

    def in_force(self, now: float) -> bool:
        return self.from_s <= now and not self.is_over(now)


class FaultPlan:
    """The faults that were ordered. `now` is the provider's true epoch seconds, before any clock offset."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._orders: list[_Order] = []

    def order(self, fault: Fault, now: float) -> None:
        self._orders.append(_Order(fault, now))

    def clear(self) -> None:
        self._orders.clear()

    def active(self, now: float) -> tuple[Fault, ...]:
        """The faults in force at this moment."""
        return tuple(order.fault for order in self._orders if order.in_force(now))

    def strike(self, endpoint: Endpoint, now: float) -> tuple[Fault, ...]:
        """The faults that this request meets, effects included; of those that hide the answer only the first."""
        if not self._orders:
            return ()
        self._orders = [order for order in self._orders if not order.is_over(now)]
        met: list[Fault] = []
        stopped = False
        for order in self._orders:
            fault = order.fault
            if not (order.in_force(now) and fault.strikes(endpoint)) or (stopped and fault.kind in STOPPERS):
                continue
            if fault.share >= 1.0 or self._rng.random() < fault.share:
                order.struck += 1
                stopped = stopped or fault.kind in STOPPERS
                met.append(fault)
        return tuple(met)


def load_faults(path: Path) -> tuple[Fault, ...]:
    """The faults of a TOML file, each a [[fault]] table."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The fault file {path} cannot be read: {getattr(error, 'strerror', 'not UTF-8')}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The fault file {path} is not valid TOML: {error}.") from error
    listed = tables.get("fault")
    if tables.keys() != {"fault"} or not isinstance(listed, list):
        raise ConfigError(f"The fault file {path} must hold [[fault]] tables and nothing else.")
    return tuple(read_fault(table, where=f"{path}, fault {place}") for place, table in enumerate(listed, start=1))


def read_fault(table: object, *, where: str = "fault") -> Fault:
    """A fault from decoded JSON or TOML. Raises ConfigError, which names the field and what is allowed."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: give a table with kind and, where needed, more.")
    _require_words(table, "kind", FaultKind, where)
    _require_words(table, "endpoint", Endpoint, where)
    if unknown := sorted(table.keys() - set(Fault.__struct_fields__)):
        raise ConfigError(f"{where}: {unknown[0]} is unknown; choose from {', '.join(Fault.__struct_fields__)}.")
    try:
        return msgspec.convert(table, Fault)
    except (ConfigError, msgspec.ValidationError) as error:
        raise ConfigError(f"{where}: {str(error).rstrip('.')}.") from error


def _require_words(table: dict[str, Any], name: str, words: type[StrEnum], where: str) -> None:
    if name in table and table[name] not in list(words):
        raise ConfigError(f"{where}: {name} is {table[name]!r}; choose one of {', '.join(words)}.")
