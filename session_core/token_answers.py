"""What the token endpoint said: tokens, or an outcome that tells what may be done next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

import msgspec

from session_core.dpop import BEARER, DPOP, ProofKey
from session_core.errors import ProviderError, ProviderUnreachableError, TokenAnswerError
from session_core.http_answers import read_date, read_object, read_retry_after, trouble
from session_core.jwt_checks import read_unverified
from session_core.secrecy import Discreet
from session_core.vocabulary import Outcome
from session_core.wire import WireAnswer, WireFailure

LIFE_S_DEFAULT = 300.0
LIFE_S_MAX = 400 * 86_400.0
TOKEN_CHARS_MAX = 1 << 16
_VISIBLE = re.compile("[!-~]+").fullmatch
_NUMBERS = (int, float)
SECONDS_MAX = 1e12
# RFC 9449 §5: tokens are bound to a key only where one was shown.
_TYPES = {"bearer": BEARER}
_PROVEN_TYPES = {**_TYPES, "dpop": DPOP}

# A provider's word outside this list is never repeated: it could carry anything.
_KNOWN_ERRORS = frozenset(
    [
        "access_denied",
        "account_selection_required",
        "authorization_pending",
        "consent_required",
        "expired_token",
        "insufficient_scope",
        "interaction_required",
        "invalid_client",
        "invalid_dpop_proof",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "invalid_token",
        "login_required",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_response_type",
        "unsupported_token_type",
        "use_dpop_nonce",
    ]
)
_REJECTED = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})
_PASSING = frozenset({"slow_down", "temporarily_unavailable", "server_error"})


class TokenGrant(Discreet, frozen=True, kw_only=True):
    """Tokens as the provider gave them. `scope` is empty when the provider granted what was asked for.

    `dpop_key` is the key whose proof was sent; the access token is bound to it where `token_type` is DPoP.
    """

    access_token: str
    refresh_token: str | None
    id_token: str | None
    token_type: str
    scope: str
    life_s: float
    refresh_life_s: float | None
    provider_now: float | None
    dpop_key: ProofKey | None = None

    def shown(self) -> tuple[str, ...]:
        return ("life_s",)


class TokenRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """No tokens. `error` is a registered OAuth code or a word of ours, never the provider's own text."""

    outcome: Outcome
    error: str
    status: int | None = None
    retry_after_s: float | None = None


def read_token_answer(
    answer: WireAnswer | WireFailure, *, wall_received: float, proven: bool = False
) -> TokenGrant | TokenRefusal:
    """What the token endpoint said to a request, `proven` by a key or not. Before this table comes that of `http_answers.trouble`.

    | answer                                                               | outcome    |
    |----------------------------------------------------------------------|------------|
    | 2xx with a usable grant                                              | TokenGrant |
    | 2xx with anything else in JSON: the server may have rotated          | AMBIGUOUS  |
    | 400 or 401 invalid_grant, login_, interaction_ or consent_required   | REJECTED   |
    | 4xx slow_down, temporarily_unavailable, server_error                 | TRANSIENT  |
    | 4xx with any other OAuth error                                       | CONFIG     |
    | 404, 405, 410 in any form: the endpoint is not there                 | CONFIG     |
    | other 4xx without an OAuth error: a proxy or firewall spoke          | TRANSIENT  |
    """
    if found := trouble(answer):
        outcome, error = found
    elif isinstance(answer, WireAnswer) and answer.status < 300:
        grant = _read_grant(answer, _PROVEN_TYPES if proven else _TYPES)
        if isinstance(grant, TokenGrant):
            return grant
        outcome, error = Outcome.AMBIGUOUS, grant
    else:
        assert isinstance(answer, WireAnswer)
        outcome, error = _read_error(answer)
    if isinstance(answer, WireFailure):
        return TokenRefusal(outcome=outcome, error=error)
    now = read_date(answer.headers) or wall_received
    retry_after_s = read_retry_after(answer.headers.get("retry-after"), wall=now)
    return TokenRefusal(outcome=outcome, error=error, status=answer.status, retry_after_s=retry_after_s)


def read_revocation_answer(answer: WireAnswer | WireFailure) -> Outcome:
    """What became of giving a token back; RFC 7009 answers 200 even for a token it does not know."""
    if isinstance(answer, WireAnswer) and answer.status < 300:
        # The body means nothing here, so only a page counts as someone else's answer.
        return Outcome.OFFLINE if answer.body.lstrip().startswith(b"<") else Outcome.OK
    if found := trouble(answer):
        return found[0]
    assert isinstance(answer, WireAnswer)
    return _read_error(answer)[0]


def _read_error(answer: WireAnswer) -> tuple[Outcome, str]:
    said = read_object(answer.body)
    if said is None or not isinstance(said.get("error"), str):
        gone = answer.status in {404, 405, 410}
        return (Outcome.CONFIG, "no_such_endpoint") if gone else (Outcome.TRANSIENT, "not_oauth")
    error = known_error(said["error"])
    if error in _REJECTED and answer.status in {400, 401}:
        return Outcome.REJECTED, error
    return (Outcome.TRANSIENT if error in _PASSING else Outcome.CONFIG), error


def _read_grant(answer: WireAnswer, types: Mapping[str, str]) -> TokenGrant | str:
    said = read_object(answer.body)
    if said is None:
        return "broken_json"
    access_token, token_type = said.get("access_token"), types.get(str(said.get("token_type")).lower())
    if not _is_token(access_token):
        return "no_access_token"
    if token_type is None:
        return "bad_token_type"
    claims = read_unverified(access_token) or {}
    provider_now = read_date(answer.headers) or _number(claims.get("iat"))
    life_s = _read_life(said.get("expires_in"), _number(claims.get("exp")), provider_now)
    if life_s is None or life_s <= 0:
        return "bad_expires_in"
    refresh_token, id_token, scope = said.get("refresh_token") or None, said.get("id_token") or None, said.get("scope")
    if not (refresh_token is None or _is_token(refresh_token)) or not (id_token is None or _is_token(id_token)):
        return "bad_token"
    return TokenGrant(
        access_token=access_token,
        refresh_token=refresh_token,
        id_token=id_token,
        token_type=token_type,
        scope=scope if isinstance(scope, str) else "",
        life_s=min(life_s, LIFE_S_MAX),
        refresh_life_s=_read_refresh_life(said),
        provider_now=provider_now,
    )


def _read_life(stated: object, exp: float | None, provider_now: float | None) -> float | None:
    """Seconds the access token lives; None when what is stated is not a number. Unstated, a JWT's own `exp` decides."""
    if stated is not None:
        return _number(stated)
    if exp is None or provider_now is None:
        return LIFE_S_DEFAULT
    return exp - provider_now


def _read_refresh_life(said: Mapping[str, Any]) -> float | None:
    """Not in the standard; Keycloak and Entra ID state it. Zero stands for no end."""
    life_s = _number(said.get("refresh_expires_in", said.get("refresh_token_expires_in")))
    return min(life_s, LIFE_S_MAX) if life_s is not None and life_s > 0 else None


def _number(value: object) -> float | None:
    """A number within reason, also one written as a text of digits, as older Entra ID answers do."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        return None
    return float(max(-SECONDS_MAX, min(value, SECONDS_MAX)))


def _is_token(value: object) -> TypeGuard[str]:
    # RFC 6749 appendix A.12: visible characters only, so that a token can never break out of its header.
    return isinstance(value, str) and len(value) <= TOKEN_CHARS_MAX and _VISIBLE(value) is not None


def known_error(said: str) -> str:
    return said if said in _KNOWN_ERRORS else "other"


_EXPLANATIONS = {
    "bad_expires_in": "says its token lives for no usable time; its expires_in must be a number above 0",
    "bad_token_type": "gives tokens of a type that was not asked for; only Bearer and, with dpop, DPoP are supported",
    "bad_token": "gives a refresh or ID token that is not plain text",
    "broken_json": "answered with broken JSON",
    "id_token_mismatch": "answered with tokens of another user or client, which are not accepted",
    "no_access_token": "answered without an access token",
    "no_such_endpoint": "has nothing at its token endpoint; check the issuer setting",
    "not_oauth": "was not reached: a proxy or firewall answered in its place",
    "portal": "was not reached: a web page or redirect answered; on a guest network, sign in to it first",
    "unbound_token": "gives tokens that anyone could use although dpop is required; bind them there, or set dpop to auto",
    "use_dpop_nonce": "wants a proof of possession; set dpop to auto or required, or try again if it is",
    "invalid_dpop_proof": "does not accept the proof of possession; check this device's clock",
    "invalid_client": "does not accept this client; check client_id, client_secret and auth_method",
    "invalid_grant": "does not accept this sign-in any more; sign in again",
    "invalid_scope": "does not grant this scope; check scope",
    "unauthorized_client": "does not allow this client to do this; check its registration there",
}


def refusal_error(refusal: TokenRefusal) -> ProviderError:
    """The refusal as an error with one sentence that says what to do."""
    why = _EXPLANATIONS.get(refusal.error, f"gave no tokens ({refusal.error})")
    message = f"The identity provider {why}."
    if refusal.outcome in {Outcome.REJECTED, Outcome.CONFIG}:
        return ProviderError(message)
    if refusal.outcome is Outcome.AMBIGUOUS and refusal.status is not None and refusal.status < 300:
        return TokenAnswerError(message)
    return ProviderUnreachableError(message, refusal.outcome)
