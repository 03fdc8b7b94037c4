"""Every error session_core raises; each has a stable `code`.

SessionCoreError
├── ConfigError                   config                 a setting is missing, unknown or out of range
├── SessionEndedError             session_ended          the session is over; `reason` says why
│   └── LoginRequiredError        login_required         the user must sign in; `login` says where
├── SessionLockedError            session_locked         the idle limit is reached; the user must come back
├── TokenUnavailableError         token_unavailable      no usable token now; trying again later can work
├── ForeignOriginError            foreign_origin         a token was about to leave for an origin not allowed
├── ProviderError                 provider               the provider said something that cannot be accepted
│   ├── ProviderUnreachableError  provider_unreachable   the provider did not answer
│   ├── DiscoveryError            discovery              the discovery document is wrong or lies
│   ├── TokenAnswerError          token_answer           the token endpoint's answer breaks the standard
│   └── TokenVerificationError    token_verification     a JWT is not what it claims to be
├── EventStoreError               store                  the event store cannot be used
│   ├── StoreHeldError            store_held             another process holds the file
│   ├── StoreCorruptError         store_corrupt          the file is damaged or of another kind
│   └── StoreFullError            store_full             the disk is full
├── UnreadableEventsError         unreadable_events      what was sent, or a file, cannot be read as events at all
├── WorkerLostError               worker_lost            a process that played scenarios died; what was done is kept
└── IllegalTransitionError        illegal_transition     our own mistake: a signal no state expects
"""

from __future__ import annotations

from typing import ClassVar

from session_core.dpop import ProofKey
from session_core.secrecy import Discreet
from session_core.vocabulary import EndReason, Outcome, Signal, State


class LoginRequest(Discreet, frozen=True, kw_only=True):
    """Where to send the user to sign in, and what the call-back needs afterwards. Only `return_to` is fit to be shown.

    `dpop_key` is the key the session's tokens will be bound to, if they are to be bound. `provider` is who was asked,
    where there are several: nobody else's answer is taken. `proof_from` is the second of the provider's clock since which
    the user must have proved who they are, if they must.
    """

    url: str
    state: str
    nonce: str
    code_verifier: str
    return_to: str
    dpop_key: ProofKey | None = None
    provider: str = ""
    proof_from: float | None = None

    def shown(self) -> tuple[str, ...]:
        return ("return_to",)


class SessionCoreError(Exception):
    """The root. The message is one sentence for a person; `code` is stable for programs."""

    code: ClassVar[str] = "session_core"


class ConfigError(SessionCoreError):
    code = "config"


class SessionEndedError(SessionCoreError):
    code = "session_ended"

    def __init__(self, reason: EndReason, message: str | None = None) -> None:
        super().__init__(message or f"This session has ended ({reason}); sign in again.")
        self.reason = reason


class LoginRequiredError(SessionEndedError):
    """`login` is the request that brings the user back to where they were; its URL is kept out of the message."""

    code = "login_required"

    def __init__(self, reason: EndReason, login: LoginRequest | None) -> None:
        super().__init__(reason, f"The session cannot go on by itself ({reason}); the user must sign in.")
        self.login = login


class SessionLockedError(SessionCoreError):
    code = "session_locked"

    def __init__(self) -> None:
        super().__init__("The session is locked because its user was away too long; sign in again to continue.")


class TokenUnavailableError(SessionCoreError):
    code = "token_unavailable"

    def __init__(self, outcome: Outcome, retry_after_s: float | None) -> None:
        wait = f"try again in {retry_after_s:.0f} s" if retry_after_s else "try again shortly"
        super().__init__(f"No valid access token can be had at the moment ({outcome}); {wait}.")
        self.outcome = outcome
        self.retry_after_s = retry_after_s


class ForeignOriginError(SessionCoreError):
    code = "foreign_origin"

    def __init__(self, origin: str) -> None:
        super().__init__(f"No token is sent to {origin}: add it to api_origins if it should be.")
        self.origin = origin


class ProviderError(SessionCoreError):
    code = "provider"


class ProviderUnreachableError(ProviderError):
    """`outcome` says why no answer came, so that a caller knows whether to wait for the network or for the provider."""

    code = "provider_unreachable"

    def __init__(self, message: str, outcome: Outcome = Outcome.OFFLINE) -> None:
        super().__init__(message)
        self.outcome = outcome


class DiscoveryError(ProviderError):
    code = "discovery"


class TokenAnswerError(ProviderError):
    code = "token_answer"


class TokenVerificationError(ProviderError):
    code = "token_verification"


class EventStoreError(SessionCoreError):
    code = "store"


class StoreHeldError(EventStoreError):
    code = "store_held"


class StoreCorruptError(EventStoreError):
    code = "store_corrupt"


class StoreFullError(EventStoreError):
    code = "store_full"


class UnreadableEventsError(SessionCoreError):
    code = "unreadable_events"


class WorkerLostError(SessionCoreError):
    code = "worker_lost"


class IllegalTransitionError(SessionCoreError):
    code = "illegal_transition"

    def __init__(self, state: State, signal: Signal) -> None:
        super().__init__(f"The signal {signal} is not expected in the state {state}.")
        self.state = state
        self.signal = signal
