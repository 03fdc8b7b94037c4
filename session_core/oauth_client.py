"""Talks to one identity provider: what oauth decides, sent through a Transport. It neither retries nor throttles."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import msgspec

from session_core import oauth
from session_core.bounds import require
from session_core.clock import Clock
from session_core.dpop import ALGORITHM, Entropy, ProofKey, make_key
from session_core.errors import (
    ConfigError,
    DiscoveryError,
    LoginRequest,
    ProviderError,
    ProviderUnreachableError,
    TokenVerificationError,
)
from session_core.events import KeysFetched, Record
from session_core.http_answers import is_portal
from session_core.jwt_checks import check_id_claims, check_proof, read_unverified
from session_core.logout_token import LogoutClaims, verify_logout_token
from session_core.oauth import (
    Claims,
    ClientRegistration,
    KeySet,
    ProviderMetadata,
    TokenGrant,
    TokenRefusal,
    UnknownKeyError,
)
from session_core.token_endpoint import TokenEndpoint
from session_core.vocabulary import Outcome
from session_core.wire import Transport, WireFailure

KEYS_AGE_S_MAX = 86_400.0

T = TypeVar("T")


class _Shared(Generic[T]):
    """One call at a time: whoever asks meanwhile gets the same answer or the same error."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._call = call
        self._task: asyncio.Task[T] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def __call__(self) -> T:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._call())
            # Read once here, so that a failure nobody waits for any more is not reported as forgotten.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._task)


class OAuthClient:
    """One provider as one client sees it; share it between sessions, so that keys and metadata are fetched once."""

    def __init__(
        self,
        transport: Transport,
        *,
        issuer: str,
        registration: ClientRegistration,
        clock: Clock,
        record: Record,
        timeout_s: float = 10.0,
        allow_insecure_http: bool = False,
        keys_refetch_s_min: float = 60.0,
        dpop: Literal["off", "auto", "required"] = "off",
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        if not oauth.is_secure_url(issuer, allow_insecure_http=allow_insecure_http):
            raise ConfigError("issuer must be an https address; http is allowed only to this very machine.")
        require("timeout_s", timeout_s, 0.1, 300)
        require("keys_refetch_s_min", keys_refetch_s_min, 1, 86_400)
        self.issuer = issuer
        self.registration = registration
        self._transport = transport
        self._clock = clock
        self._record = record
        self._dpop = dpop
        self._entropy = entropy
        self._endpoint = TokenEndpoint(
            transport, clock=clock, record=record, entropy=entropy, only_bound=dpop == "required"
        )
        self._timeout_s = timeout_s
        self._allow_insecure_http = allow_insecure_http
        self._keys_refetch_s_min = keys_refetch_s_min
        self._metadata: ProviderMetadata | None = None
        self._keys: KeySet | None = None
        self._keys_fetched_at = float("-inf")
        self._keys_tried_at = float("-inf")
        self._discover_once = _Shared(self._discover)
        self._fetch_keys_once = _Shared(self._fetch_keys)

    @property
    def skew_s(self) -> float:
        """Provider's clock minus the device's wall clock, 0 until first estimated."""
        return self._endpoint.skew_s

    def provider_now(self) -> float:
        """The provider's epoch seconds, as far as they are known."""
        return self._endpoint.provider_now()

    async def metadata(self) -> ProviderMetadata:
        """Where the endpoints are. Found out once; a failure is not remembered."""
        return self._metadata or await self._discover_once()

    async def discover(self) -> TokenRefusal | None:
        """Find out where the endpoints are, ahead of a request that must not wait; why that failed, if it did."""
        try:
            await self.metadata()
        except ProviderError as error:
            return _undiscovered(error)
        return None

    async def _discover(self) -> ProviderMetadata:
        answer = await self._transport.send(oauth.discovery_request(self.issuer, timeout_s=self._timeout_s))
        self._metadata = oauth.read_discovery(answer, issuer=self.issuer, allow_insecure_http=self._allow_insecure_http)
        return self._metadata

    async def probe(self) -> bool:
        """Whether the provider can be reached at all; a provider in trouble can, a guest network's page is not it."""
        answer = await self._transport.send(oauth.discovery_request(self.issuer, timeout_s=self._timeout_s))
        return not isinstance(answer, WireFailure) and not is_portal(answer)

    async def login_request(
        self, entropy: Entropy, *, return_to: str, prompt: str | None = None, dpop_key: ProofKey | None = None
    ) -> LoginRequest:
        """Where to send a user. The tokens to come are bound to `dpop_key`, or to a new key where that is wanted."""
        metadata = await self.metadata()
        # Not every provider says when it asked; of one that does not, no more can be wanted.
        provable = "auth_time" in (metadata.claims_supported or ())
        return oauth.make_login_request(
            metadata,
            self.registration,
            entropy=entropy,
            return_to=return_to,
            prompt=prompt,
            dpop_key=dpop_key or self._new_key(metadata, entropy),
            proof_from=self.provider_now() if provable and "login" in (prompt or "").split() else None,
        )

    def _new_key(self, metadata: ProviderMetadata, entropy: Entropy) -> ProofKey | None:
        offered = ALGORITHM in (metadata.dpop_signing_alg_values_supported or ())
        if self._dpop == "required" and not offered:
            raise DiscoveryError(
                f"{self.issuer} does not bind tokens to a key (DPoP with {ALGORITHM}), and dpop is required;"
                " set dpop to auto to take bearer tokens from it."
            )
        return make_key(entropy) if offered and self._dpop != "off" else None

    async def exchange_callback(
        self, callback: str | Mapping[str, str] | list[tuple[str, str]], login: LoginRequest
    ) -> TokenGrant:
        """Finish a sign-in from the call-back's URL or parameters."""
        code = oauth.read_callback(callback, login, metadata=await self.metadata())
        return await self.exchange_code(code, login)

    async def exchange_code(self, code: str, login: LoginRequest) -> TokenGrant:
        """The tokens of a sign-in, its ID token verified where one was asked for."""
        metadata = await self.metadata()
        answer = await self._endpoint.ask(
            oauth.code_request(
                metadata, self.registration, code=code, code_verifier=login.code_verifier, timeout_s=self._timeout_s
            ),
            login.dpop_key,
        )
        if isinstance(answer, TokenRefusal):
            raise oauth.refusal_error(answer)
        if answer.id_token is not None:
            check_proof(await self.verify_id_token(answer.id_token, nonce=login.nonce), login.proof_from)
        elif "openid" in self.registration.scope.split():
            raise TokenVerificationError(
                "The provider gave no ID token although openid was asked for; check its setup."
            )
        return answer

    async def refresh(
        self,
        refresh_token: str,
        *,
        subject: str | None = None,
        dpop_key: ProofKey | None = None,
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> TokenGrant | TokenRefusal:
        """New tokens for a refresh token, with a proof by the key it is bound to, if it is bound to one.

        A refused proof spends nothing; the request goes once more, with the nonce that was told, if it `may_repeat` then.

        A new ID token must be of the same issuer, client and, where given, subject (OIDC Core §12.2); its signature
        is vouched for by TLS (§3.1.3.7, 6), so that no refresh hangs on the keys. If it is not, nothing of the answer
        is used: AMBIGUOUS, because the old refresh token may be spent.
        """
        try:
            metadata = await self.metadata()
        except ProviderError as error:
            return _undiscovered(error)
        request = oauth.refresh_request(metadata, self.registration, refresh_token, timeout_s=self._timeout_s)
        answer = await self._endpoint.ask(request, dpop_key, may_repeat=may_repeat)
        if isinstance(answer, TokenGrant) and not self._is_same_user(answer.id_token, subject):
            return TokenRefusal(outcome=Outcome.AMBIGUOUS, error="id_token_mismatch", status=200)
        return answer

    def _is_same_user(self, id_token: str | None, subject: str | None) -> bool:
        if id_token is None:
            return True
        try:
            claims = msgspec.convert(read_unverified(id_token), Claims)
            check_id_claims(claims, issuer=self.issuer, client_id=self.registration.client_id)
        except (msgspec.ValidationError, TokenVerificationError):
            return False
        return subject is None or claims.sub == subject

    async def client_credentials(self) -> TokenGrant | TokenRefusal:
        try:
            metadata = await self.metadata()
            dpop_key = self._new_key(metadata, self._entropy)
        except ProviderError as error:
            return _undiscovered(error)
        request = oauth.client_credentials_request(metadata, self.registration, timeout_s=self._timeout_s)
        return await self._endpoint.ask(request, dpop_key)

    async def revoke(self, refresh_token: str) -> Outcome:
        """Give a refresh token back. CONFIG when the provider takes none."""
        try:
            metadata = await self.metadata()
        except ProviderError as error:
            return _undiscovered(error).outcome
        request = oauth.revocation_request(metadata, self.registration, refresh_token, timeout_s=self._timeout_s)
        if request is None:
            return Outcome.CONFIG
        return oauth.read_revocation_answer(await self._transport.send(request))

    async def verify_id_token(self, token: str, *, nonce: str | None = None) -> Claims:
        """Its claims, if a key of the provider vouches for it. An unknown key is looked up afresh, once a minute."""
        return await self._vouched_for(partial(oauth.verify_id_token, token, nonce=nonce))

    async def verify_logout_token(self, token: str) -> LogoutClaims:
        """As `verify_id_token`, of a token with which the provider signs somebody out."""
        return await self._vouched_for(partial(verify_logout_token, token))

    async def _vouched_for(self, verify: Callable[..., T]) -> T:
        expected = {"issuer": self.issuer, "client_id": self.registration.client_id, "now_wall": self.provider_now()}
        keys = await self._current_keys()
        try:
            return verify(keys, **expected)
        except UnknownKeyError:
            if not self._may_refetch():
                raise
        return verify(await self._refetched_keys(keys), **expected)

    async def _current_keys(self) -> KeySet:
        if self._keys is None:
            return await self._fetch_keys_once()
        now = self._clock.boot()
        aged = now - self._keys_fetched_at >= KEYS_AGE_S_MAX
        return await self._refetched_keys(self._keys) if aged and self._may_refetch() else self._keys

    async def _refetched_keys(self, known: KeySet) -> KeySet:
        """Newer keys, or the known ones when newer cannot be had: good keys are never given up for a failure."""
        self._keys_tried_at = self._clock.boot()
        try:
            return await self._fetch_keys_once()
        except ProviderError:
            return known

    def _may_refetch(self) -> bool:
        rested = self._clock.boot() - self._keys_tried_at >= self._keys_refetch_s_min
        return rested or self._fetch_keys_once.running

    async def _fetch_keys(self) -> KeySet:
        metadata = await self.metadata()
        answer = await self._transport.send(oauth.keys_request(metadata, timeout_s=self._timeout_s))
        try:
            self._keys = oauth.read_keys(answer)
        except ProviderError as error:
            outcome = error.outcome if isinstance(error, ProviderUnreachableError) else Outcome.CONFIG
            self._record(KeysFetched(outcome=outcome, keys=0))
            raise
        self._keys_fetched_at = self._clock.boot()
        self._record(KeysFetched(outcome=Outcome.OK, keys=len(self._keys.keys)))
        return self._keys


def _undiscovered(error: ProviderError) -> TokenRefusal:
    """No request could be made because the endpoints are not known; no token has left."""
    outcome = error.outcome if isinstance(error, ProviderUnreachableError) else Outcome.CONFIG
    return TokenRefusal(outcome=outcome, error=error.code)
