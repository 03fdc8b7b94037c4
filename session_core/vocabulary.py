"""The words of the product: the same in code, events, queries, charts and page titles."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a session stands."""

    SIGNED_OUT = "SIGNED_OUT"
    AUTHENTICATING = "AUTHENTICATING"
    ACTIVE = "ACTIVE"
    REFRESHING = "REFRESHING"
    DEGRADED = "DEGRADED"
    OFFLINE = "OFFLINE"
    SUSPENDED = "SUSPENDED"
    RESUMING = "RESUMING"
    RECOVERING = "RECOVERING"
    LOCKED = "LOCKED"
    EXPIRED = "EXPIRED"


class Signal(StrEnum):
    """What can move a session from one state to another."""

    SIGN_IN_STARTED = "sign_in_started"
    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    REFRESH_STARTED = "refresh_started"
    REFRESH_SUCCEEDED = "refresh_succeeded"
    REFRESH_FAILED = "refresh_failed"
    NETWORK_LOST = "network_lost"
    NETWORK_BACK = "network_back"
    SUSPENDED = "suspended"
    WOKE = "woke"
    RESUMED = "resumed"
    FALLBACK_STARTED = "fallback_started"
    FALLBACK_SUCCEEDED = "fallback_succeeded"
    FALLBACK_EXHAUSTED = "fallback_exhausted"
    IDLE_LIMIT_REACHED = "idle_limit_reached"
    ABSOLUTE_LIMIT_REACHED = "absolute_limit_reached"
    PERSIST_FAILED = "persist_failed"
    PERSIST_RECOVERED = "persist_recovered"
    STUCK = "stuck"
    SIGNED_OUT = "signed_out"


class EndReason(StrEnum):
    """Why a session ended: every end has exactly one."""

    SIGNED_OUT = "signed_out"
    SIGNED_OUT_ELSEWHERE = "signed_out_elsewhere"
    SIGNED_OUT_AT_PROVIDER = "signed_out_at_provider"
    REFRESH_REJECTED = "refresh_rejected"
    REFRESH_TOKEN_EXPIRED = "refresh_token_expired"  # noqa: S105
    REFRESH_AMBIGUOUS = "refresh_ambiguous"
    NO_REFRESH_TOKEN = "no_refresh_token"  # noqa: S105
    IDLE_LIMIT = "idle_limit"
    ABSOLUTE_LIMIT = "absolute_limit"
    STOPPED = "stopped"


class Outcome(StrEnum):
    """What became of one request to the provider. Only REJECTED may end a session."""

    OK = "ok"
    TRANSIENT = "transient"
    THROTTLED = "throttled"
    AMBIGUOUS = "ambiguous"
    OFFLINE = "offline"
    CONFIG = "config"
    REJECTED = "rejected"


class ErrorClass(StrEnum):
    """What kind of trouble an API call met."""

    AUTH = "auth"
    NETWORK = "network"
    SERVER = "server"
    THROTTLED = "throttled"
    CONFIG = "config"


class GapKind(StrEnum):
    """Why a tick came late."""

    SUSPEND = "suspend"
    CLOCK_STEP = "clock_step"
    STALL = "stall"
    THROTTLE = "throttle"


class RefreshReason(StrEnum):
    """Who asked for a refresh."""

    DUE = "due"
    EXPIRED = "expired"
    UNAUTHORIZED = "unauthorized"
    RESUME = "resume"
    RETRY = "retry"
    FORCED = "forced"
    RECOVERY = "recovery"


class FallbackStep(StrEnum):
    """The chain, in order."""

    REFRESH_TOKEN = "refresh_token"  # noqa: S105
    STORED_CREDENTIAL = "stored_credential"
    SILENT_REAUTHENTICATION = "silent_reauthentication"
    LOGIN = "login"


class StepOutcome(StrEnum):
    """What became of one step of the chain."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNAVAILABLE = "unavailable"
    LATER = "later"


class Served(StrEnum):
    """Where the answer to an API call came from."""

    NETWORK = "network"
    CACHE = "cache"
    STALE = "stale"
    STALE_IF_ERROR = "stale_if_error"
    NOTHING = "nothing"


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Band(StrEnum):
    """Health bands: 80–100, 60–79, 40–59, 20–39, 0–19."""

    EXCELLENT = "excellent"
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    CRITICAL = "critical"


class Limit(StrEnum):
    IDLE = "idle"
    ABSOLUTE = "absolute"


class DeviceChange(StrEnum):
    """What the world did to a device or to a process on it."""

    SUSPENDED = "suspended"
    RESUMED = "resumed"
    STALLED = "stalled"
    THROTTLED = "throttled"
    UNTHROTTLED = "unthrottled"
    CLOCK_STEPPED = "clock_stepped"
    STARTED = "started"
    KILLED = "killed"
    STORE_FAILED = "store_failed"
    STORE_RECOVERED = "store_recovered"
    STORE_CORRUPTED = "store_corrupted"


class NetworkState(StrEnum):
    """What a device's way to the provider is like."""

    UP = "up"
    DOWN = "down"
    SLOW = "slow"
    LOSSY = "lossy"
    PORTAL = "portal"
    RESET = "reset"
    ANSWER_LOST = "answer_lost"


class Sight(StrEnum):
    """What a user got to see of one attempt."""

    ANSWER = "answer"
    STALE_ANSWER = "stale_answer"
    FOREIGN_ANSWER = "foreign_answer"
    ERROR = "error"
    SIGN_IN = "sign_in"
    LOCKED = "locked"
    SIGNED_IN = "signed_in"


class Source(StrEnum):
    """Where events come from."""

    LIVE = "live"
    SIM = "sim"
    IMPORT = "import"
