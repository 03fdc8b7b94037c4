"""Every fact that can happen, one frozen class each. A component states a `Fact`; its `Journal` makes it an `Event`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from session_core.clock import Clock
from session_core.vocabulary import (
    Band,
    BreakerState,
    DeviceChange,
    EndReason,
    ErrorClass,
    FallbackStep,
    GapKind,
    Limit,
    NetworkState,
    Outcome,
    RefreshReason,
    Served,
    Sight,
    Signal,
    Source,
    State,
    StepOutcome,
)


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="kind", gc=False):
    """What happened, in the past tense and without a secret. Times are milliseconds or seconds, as the name says."""


class SessionStarted(Fact, frozen=True):
    """`life_s` is the access token's whole life, `left_s` what of it was left when the session began."""

    resumed: bool
    life_s: float
    idle_limit_s: float | None
    absolute_limit_s: float | None
    left_s: float | None = None


class SessionEnded(Fact, frozen=True):
    reason: EndReason


class StateChanged(Fact, frozen=True):
    state_from: State
    state_to: State
    signal: Signal


class StuckFound(Fact, frozen=True):
    state: State
    stuck_s: float


class TokenRefreshed(Fact, frozen=True):
    """`left_s` is the old token's life at that moment (negative: it had expired); `waited_s` counts from the first try."""

    reason: RefreshReason
    attempt: int
    duration_ms: float
    waited_s: float
    left_s: float
    life_s: float
    rotated: bool
    moved: bool


class TokenFollowed(Fact, frozen=True):
    """Another process that keeps this session in the same store had refreshed; its tokens were taken over."""

    left_s: float


class RefreshFailed(Fact, frozen=True):
    """`error` is the OAuth error code or the kind of failure, never the provider's own text."""

    reason: RefreshReason
    attempt: int
    outcome: Outcome
    status: int | None
    error: str
    duration_ms: float
    left_s: float


class RefreshDiscarded(Fact, frozen=True):
    """An answer came after the session had ended or had moved on; its refresh token is revoked."""

    revoked: bool


class RetryScheduled(Fact, frozen=True):
    call: str
    attempt: int
    delay_s: float
    cause: str
    told_by_server: bool


class BreakerChanged(Fact, frozen=True):
    state_from: BreakerState
    state_to: BreakerState
    cooldown_s: float


class FallbackTried(Fact, frozen=True):
    step: FallbackStep
    outcome: StepOutcome
    detail: str
    duration_ms: float


class LoginRequested(Fact, frozen=True):
    reason: EndReason


class RequestServed(Fact, frozen=True):
    """One call of the user's. `waited_ms` is what session_core added; `status` 0 means no answer."""

    method: str
    route: str
    status: int
    served: Served
    duration_ms: float
    waited_ms: float
    attempts: int
    error: ErrorClass | None = None


class CacheServed(Fact, frozen=True):
    route: str
    served: Served
    age_s: float
    ttl_s: float


class CacheSwept(Fact, frozen=True):
    removed: int
    entries: int
    bytes: int


class HeartbeatBeat(Fact, frozen=True):
    """`lowest` names the part that decides the score."""

    state: State
    health: float
    band: Band
    lowest: str
    left_s: float


class GapObserved(Fact, frozen=True):
    gap: GapKind
    seconds: float


class UserActed(Fact, frozen=True):
    action: str


class LimitWarned(Fact, frozen=True):
    limit: Limit
    left_s: float


class ClockSkewEstimated(Fact, frozen=True):
    """Provider's clock minus the device's wall clock."""

    skew_s: float


class TokenRevoked(Fact, frozen=True):
    outcome: Outcome


class PersistFailed(Fact, frozen=True):
    error: str


class KeysFetched(Fact, frozen=True):
    outcome: Outcome
    keys: int


class FaultOrdered(Fact, frozen=True):
    """A tester asked the embedded provider to misbehave."""

    endpoint: str
    fault: str


class PartCrashed(Fact, frozen=True):
    """A background part raised; it is started again. `error` is the exception's type."""

    part: str
    error: str


class AlertRaised(Fact, frozen=True):
    """Something that no retry mends and a person must look at: `error` is the OAuth error code."""

    alert: str
    error: str


class FaultEnded(Fact, frozen=True):
    """What a tester ordered is over."""

    endpoint: str
    fault: str


class DeviceChanged(Fact, frozen=True):
    """What the simulated world did to a device. `seconds` is how long it is meant to last or how far a clock moved."""

    change: DeviceChange
    seconds: float = 0.0


class NetworkChanged(Fact, frozen=True):
    """What became of a simulated device's network; `seconds` as planned, 0 until further notice."""

    state: NetworkState
    seconds: float = 0.0


class ProviderSaw(Fact, frozen=True):
    """A request as the simulated provider met it: `outcome` is "ok", an OAuth error code, or the fault that hid it."""

    endpoint: str
    outcome: str


class ProviderNoted(Fact, frozen=True):
    """What the simulated provider did of its own accord, such as "reuse_detected" or "family_revoked"."""

    what: str


class UserSaw(Fact, frozen=True):
    """How one attempt of a simulated user ended. `left_s` is what the access token had left, None without one."""

    sight: Sight
    route: str
    waited_ms: float
    left_s: float | None = None
    detail: str = ""


AnyFact = (
    SessionStarted
    | SessionEnded
    | StateChanged
    | StuckFound
    | TokenRefreshed
    | TokenFollowed
    | RefreshFailed
    | RefreshDiscarded
    | RetryScheduled
    | BreakerChanged
    | FallbackTried
    | LoginRequested
    | RequestServed
    | CacheServed
    | CacheSwept
    | HeartbeatBeat
    | GapObserved
    | UserActed
    | LimitWarned
    | ClockSkewEstimated
    | TokenRevoked
    | PersistFailed
    | KeysFetched
    | FaultOrdered
    | PartCrashed
    | AlertRaised
    | FaultEnded
    | DeviceChanged
    | NetworkChanged
    | ProviderSaw
    | ProviderNoted
    | UserSaw
)


class Origin(msgspec.Struct, frozen=True, kw_only=True, gc=False, cache_hash=True):
    """What is the same for every event of one journal. `stream_id` with `seq` names an event for ever."""

    stream_id: str
    session_id: str
    user_id: str
    device: str = "server"
    source: Source = Source.LIVE
    policy: str = "professional"
    app_version: str = ""
    run_id: str | None = None
    scenario: str | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One fact with its place in time: `happened_at` is wall seconds since the epoch (UTC)."""

    seq: int
    happened_at: float
    monotonic: float
    boot: float
    origin: Origin
    fact: AnyFact

    @property
    def kind(self) -> str:
        return type(self.fact).__name__


Emit = Callable[[Event], None]
Record = Callable[[AnyFact], None]


class Journal:
    """Gives facts of one session their number and time, and hands them on. The numbers have no gap."""

    __slots__ = ("_clock", "_emit", "_moments", "_seq", "origin")

    def __init__(self, *, clock: Clock, emit: Emit, origin: Origin) -> None:
        self._clock = clock
        self._moments: Callable[[], tuple[float, float, float]] | None = getattr(clock, "moments", None)
        self._emit = emit
        self._seq = 0
        self.origin = origin

    def record(self, fact: AnyFact) -> None:
        self._seq = seq = self._seq + 1
        moments = self._moments
        if moments is None:
            clock = self._clock
            wall, monotonic, boot = clock.wall(), clock.monotonic(), clock.boot()
        else:
            wall, monotonic, boot = moments()
        self._emit(Event(seq, wall, monotonic, boot, self.origin, fact))


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """One JSON line, without its newline."""
    return _encoder.encode(event)


def decode(line: bytes) -> Event:
    """The event of one JSON line. Raises msgspec.ValidationError, which names the field."""
    return _decoder.decode(line)
