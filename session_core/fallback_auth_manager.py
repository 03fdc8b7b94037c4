"""The chain when a refresh cannot help: refresh token → stored credential → silent re-authentication → login."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from session_core.clock import Clock
from session_core.dpop import ProofKey
from session_core.errors import ConfigError, LoginRequest, ProviderError, ProviderUnreachableError
from session_core.events import FallbackTried, LoginRequested, Record
from session_core.jwt_checks import subject_of
from session_core.oauth_client import OAuthClient
from session_core.token_answers import TokenGrant, TokenRefusal
from session_core.vocabulary import EndReason, FallbackStep, Outcome, StepOutcome

ALL_STEPS = tuple(FallbackStep)


class FallbackPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which steps may be tried; their order is fixed and login, the last, cannot be left out."""

    steps: tuple[FallbackStep, ...] = ALL_STEPS

    def __post_init__(self) -> None:
        if FallbackStep.LOGIN not in self.steps:
            raise ConfigError("fallback.steps must contain login: it is the only step that always works.")


class StoredCredential(Protocol):
    """A client credential or a device key that can fetch tokens by itself; never a user's password (RFC 9700 §2.4)."""

    async def grant(self) -> TokenGrant | TokenRefusal: ...


class UserAgent(Protocol):
    """Whatever holds the user's session at the provider, usually a browser's cookies."""

    async def visit(self, url: str) -> str | None:
        """Open `url` without showing anything; the call-back URL it ended at, or None if it could not be reached."""
        ...


class ClientCredential:
    """The stored credential of a confidential client: the client credentials grant (RFC 6749 §4.4)."""

    def __init__(self, oauth: OAuthClient) -> None:
        self._oauth = oauth

    async def grant(self) -> TokenGrant | TokenRefusal:
        return await self._oauth.client_credentials()


class Recovered(msgspec.Struct, frozen=True):
    """A step fetched tokens; `sent_at` is the boot second at which it asked for them."""

    grant: TokenGrant
    sent_at: float


class Postponed(msgspec.Struct, frozen=True):
    """A step could not be concluded now; nothing is lost and the chain is tried again later."""

    outcome: Outcome
    retry_after_s: float | None = None


class LoginNeeded(msgspec.Struct, frozen=True):
    """Every step has been tried. `login` is None where the provider or our settings cannot say how to sign in."""

    login: LoginRequest | None


class Stopped(msgspec.Struct, frozen=True):
    """The session ended while the chain ran: nobody wants what it would bring, and nothing more is asked for."""


Recovery = Recovered | Postponed | LoginNeeded | Stopped
Ask = Callable[[], Awaitable[TokenGrant | TokenRefusal]]
Wanted = Callable[[], bool]

# What says "no" for good; any other refusal says nothing about the user, so it must not end the session.
_FINAL = frozenset({Outcome.REJECTED, Outcome.CONFIG})


def judge(result: TokenGrant | TokenRefusal) -> StepOutcome:
    """What one step's answer means for the chain."""
    if isinstance(result, TokenGrant):
        return StepOutcome.OK
    return StepOutcome.FAILED if result.outcome in _FINAL else StepOutcome.LATER


class FallbackAuthManager:
    """Runs the chain for one session and logs every step. No step but login passes the idle or absolute limit."""

    __slots__ = (
        "_clock",
        "_credential",
        "_entropy",
        "_oauth",
        "_policy",
        "_record",
        "_subject",
        "_user_agent",
        "_within_limits",
    )

    def __init__(
        self,
        *,
        policy: FallbackPolicy,
        oauth: OAuthClient,
        clock: Clock,
        record: Record,
        entropy: Callable[[int], bytes],
        within_limits: Callable[[], bool],
        credential: StoredCredential | None = None,
        user_agent: UserAgent | None = None,
        subject: str | None = None,
    ) -> None:
        self._policy = policy
        self._oauth = oauth
        self._clock = clock
        self._record = record
        self._entropy = entropy
        self._within_limits = within_limits
        self._credential = credential
        self._user_agent = user_agent
        self._subject = subject

    def allows(self, step: FallbackStep) -> bool:
        return step in self._policy.steps

    async def recover(
        self,
        reason: EndReason,
        *,
        return_to: str,
        wanted: Wanted = lambda: True,
        dpop_key: ProofKey | None = None,
    ) -> Recovery:
        """Try what is left after the refresh token failed for `reason`, as long as the session is `wanted`.

        What brings the same session on keeps its key.
        """
        refresh_allowed = self.allows(FallbackStep.REFRESH_TOKEN)
        self._note(
            FallbackStep.REFRESH_TOKEN,
            StepOutcome.FAILED if refresh_allowed else StepOutcome.SKIPPED,
            reason if refresh_allowed else "policy",
        )
        credential, user_agent = self._credential, self._user_agent
        silent = None if user_agent is None else self._silent(user_agent, return_to, wanted, dpop_key)
        steps = (
            (FallbackStep.STORED_CREDENTIAL, None if credential is None else credential.grant),
            (FallbackStep.SILENT_REAUTHENTICATION, silent),
        )
        for step, ask in steps:
            recovery = await self._try(step, ask, wanted)
            if recovery is not None:
                return recovery
        return await self._login(reason, return_to, wanted)

    async def _try(self, step: FallbackStep, ask: Ask | None, wanted: Wanted) -> Recovered | Postponed | Stopped | None:
        if not wanted():
            return self._stop(step)
        if not self.allows(step):
            self._note(step, StepOutcome.SKIPPED, "policy")
            return None
        if ask is None:
            self._note(step, StepOutcome.UNAVAILABLE, "not configured")
            return None
        if not self._within_limits():
            self._note(step, StepOutcome.SKIPPED, "limit")
            return None
        sent_at = self._clock.boot()
        result = await ask()
        if not wanted() and not isinstance(result, TokenGrant):
            return self._stop(step)
        outcome = judge(result)
        detail = "" if isinstance(result, TokenGrant) else result.error
        self._note(step, outcome, detail, duration_s=self._clock.boot() - sent_at)
        if isinstance(result, TokenGrant):
            return Recovered(result, sent_at)
        return Postponed(result.outcome, result.retry_after_s) if outcome is StepOutcome.LATER else None

    def _stop(self, step: FallbackStep) -> Stopped:
        self._note(step, StepOutcome.SKIPPED, "ended")
        return Stopped()

    def _silent(self, user_agent: UserAgent, return_to: str, wanted: Wanted, dpop_key: ProofKey | None) -> Ask:
        async def ask() -> TokenGrant | TokenRefusal:
            try:
                login = await self._oauth.login_request(
                    self._entropy, return_to=return_to, prompt="none", dpop_key=dpop_key
                )
                callback = await user_agent.visit(login.url) if wanted() else None
                if callback is None or not wanted():
                    return TokenRefusal(outcome=Outcome.OFFLINE, error="unreachable")
                return self._of_same_user(await self._oauth.exchange_callback(callback, login))
            except ProviderUnreachableError as error:
                return TokenRefusal(outcome=error.outcome, error=error.code)
            except ConfigError as error:
                return TokenRefusal(outcome=Outcome.CONFIG, error=error.code)
            except ProviderError as error:
                return TokenRefusal(outcome=Outcome.REJECTED, error=error.code)

        return ask

    def _of_same_user(self, grant: TokenGrant) -> TokenGrant | TokenRefusal:
        """Whoever is signed in at the provider now need not be the user of this session."""
        found = None if grant.id_token is None else subject_of(grant.id_token)
        if self._subject is None or found == self._subject:
            return grant
        return TokenRefusal(outcome=Outcome.REJECTED, error="id_token_mismatch")

    async def _login(self, reason: EndReason, return_to: str, wanted: Wanted) -> LoginNeeded | Stopped:
        if not wanted():
            return self._stop(FallbackStep.LOGIN)
        try:
            login = await self._oauth.login_request(self._entropy, return_to=return_to)
        except ProviderError as error:
            self._note(FallbackStep.LOGIN, StepOutcome.LATER, error.code)
            return LoginNeeded(None)
        except ConfigError as error:
            # Nobody can sign in to this client, such as one that acts for itself and has no place to return to.
            self._note(FallbackStep.LOGIN, StepOutcome.UNAVAILABLE, error.code)
            return LoginNeeded(None)
        if not wanted():
            return self._stop(FallbackStep.LOGIN)
        self._note(FallbackStep.LOGIN, StepOutcome.OK, "")
        self._record(LoginRequested(reason=reason))
        return LoginNeeded(login)

    def _note(self, step: FallbackStep, outcome: StepOutcome, detail: str, *, duration_s: float = 0.0) -> None:
        self._record(FallbackTried(step=step, outcome=outcome, detail=detail, duration_ms=duration_s * 1000))
