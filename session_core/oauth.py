"""OAuth 2.0 and OpenID Connect without I/O: builds each request, and reads each answer into a value or a named error."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import parse_qsl, quote_plus, urlencode

from session_core.dpop import ProofKey
from session_core.errors import ConfigError, LoginRequest, ProviderError
from session_core.http_answers import estimate_skew_s, read_date, read_retry_after
from session_core.jwt_checks import Claims, KeySet, UnknownKeyError, read_keys, verify_access_token, verify_id_token
from session_core.provider_metadata import (
    TIMEOUT_S,
    ProviderMetadata,
    discovery_request,
    get_request,
    is_secure_url,
    read_discovery,
)
from session_core.secrecy import Discreet
from session_core.token_answers import (
    TokenGrant,
    TokenRefusal,
    known_error,
    read_revocation_answer,
    read_token_answer,
    refusal_error,
)
from session_core.wire import WireRequest

__all__ = [
    "Claims",
    "ClientRegistration",
    "EndSessionRequest",
    "KeySet",
    "ProviderMetadata",
    "TokenGrant",
    "TokenRefusal",
    "UnknownKeyError",
    "client_credentials_request",
    "code_request",
    "discovery_request",
    "end_session_request",
    "estimate_skew_s",
    "is_local_path",
    "is_secure_url",
    "keys_request",
    "make_login_request",
    "read_callback",
    "read_date",
    "read_discovery",
    "read_keys",
    "read_retry_after",
    "read_revocation_answer",
    "read_token_answer",
    "refresh_request",
    "refusal_error",
    "revocation_request",
    "verify_access_token",
    "verify_id_token",
]

ENTROPY_BYTES = 32
TEXT_CHARS_MAX = 2048
_UNRESERVED = re.compile("[A-Za-z0-9_.~-]*").fullmatch
PROMPTS = frozenset({"none", "login", "consent", "select_account", "login consent", "login select_account"})
OIDC_SCOPES = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})


class ClientRegistration(Discreet, frozen=True, kw_only=True):
    """What the provider knows this client as."""

    client_id: str
    client_secret: str | None = None
    redirect_uri: str = ""
    scope: str = "openid"
    auth_method: Literal["none", "client_secret_basic", "client_secret_post"] = "none"

    def __post_init__(self) -> None:
        if not self.client_id or len(self.client_id) > TEXT_CHARS_MAX:
            raise ConfigError(f"client_id must have 1 to {TEXT_CHARS_MAX} characters.")
        if self.auth_method not in {"none", "client_secret_basic", "client_secret_post"}:
            raise ConfigError("auth_method must be none, client_secret_basic or client_secret_post.")
        if bool(self.client_secret) != (self.auth_method != "none"):
            raise ConfigError("client_secret and auth_method disagree: a secret needs client_secret_basic or _post.")
        if self.redirect_uri and not is_secure_url(self.redirect_uri, allow_insecure_http=True):
            raise ConfigError("redirect_uri must be an absolute http or https address without a fragment.")
        if len(self.scope) > TEXT_CHARS_MAX:
            raise ConfigError(f"scope must have at most {TEXT_CHARS_MAX} characters.")

    def shown(self) -> tuple[str, ...]:
        return ("client_id", "auth_method")


def make_login_request(
    metadata: ProviderMetadata,
    registration: ClientRegistration,
    *,
    entropy: Callable[[int], bytes],
    return_to: str,
    prompt: str | None = None,
    dpop_key: ProofKey | None = None,
    proof_from: float | None = None,
) -> LoginRequest:
    """Authorization code with PKCE S256 (RFC 7636), a state and a nonce; `return_to` is a path of this app.

    With a key the code is of no use to whoever does not have it (RFC 9449 §10). `proof_from`: see `check_proof`.
    """
    if not registration.redirect_uri:
        raise ConfigError("redirect_uri must be set before a user can sign in.")
    if not is_local_path(return_to):
        raise ConfigError("The place to return to after sign-in must be a path of this app, such as /chat.")
    if prompt is not None and prompt not in PROMPTS:
        raise ConfigError(f"prompt must be one of {', '.join(sorted(PROMPTS))}.")
    state, nonce, code_verifier = (_base64url(entropy(ENTROPY_BYTES)) for _ in range(3))
    asked = {
        "response_type": "code",
        "client_id": registration.client_id,
        "redirect_uri": registration.redirect_uri,
        "scope": registration.scope,
        "state": state,
        "nonce": nonce,
        "code_challenge": _base64url(hashlib.sha256(code_verifier.encode()).digest()),
        "code_challenge_method": "S256",
        **({"prompt": prompt} if prompt else {}),
        **({"dpop_jkt": dpop_key.thumbprint} if dpop_key else {}),
        **({"max_age": "0"} if proof_from is not None else {}),
    }
    return LoginRequest(
        url=_with_query(metadata.authorization_endpoint, asked),
        state=state,
        nonce=nonce,
        code_verifier=code_verifier,
        return_to=return_to,
        dpop_key=dpop_key,
        proof_from=proof_from,
    )


def is_local_path(path: str) -> bool:
    """Whether it leads to a page of this app, whatever a browser makes of it."""
    # Browsers drop tabs and newlines and read a backslash as a slash, so //elsewhere hides in all of them.
    return (
        path.startswith("/")
        and not path.startswith("//")
        and len(path) <= TEXT_CHARS_MAX
        and path.isprintable()
        and not set(" \\") & set(path)
    )


def read_callback(
    answer: str | Mapping[str, str] | list[tuple[str, str]], login: LoginRequest, *, metadata: ProviderMetadata
) -> str:
    """The code of a call-back, given as its URL, query or parameters (a mapping cannot show a repeated one).

    RFC 9207 guards against the answer of another issuer.
    """
    said = _read_parameters(answer)
    if not hmac.compare_digest(said.get("state", "").encode(errors="replace"), login.state.encode()):
        raise ProviderError("The sign-in answer does not belong to the sign-in that was started here; sign in again.")
    issuer = said.get("iss")
    if issuer != metadata.issuer and (issuer is not None or metadata.authorization_response_iss_parameter_supported):
        raise ProviderError("The sign-in answer comes from another provider than the one asked; sign in again.")
    if "error" in said:
        raise ProviderError(
            f"The provider refused the sign-in ({known_error(said['error'])}); try again or ask its operator."
        )
    if not said.get("code"):
        raise ProviderError("The sign-in answer carries no code; sign in again.")
    return said["code"]


def _read_parameters(answer: str | Mapping[str, str] | list[tuple[str, str]]) -> dict[str, str]:
    if isinstance(answer, str):
        query = answer.partition("?")[2] if answer.startswith(("http", "/")) else answer
        pairs = parse_qsl(query.partition("#")[0], keep_blank_values=True)
    else:
        pairs = list(answer.items()) if isinstance(answer, Mapping) else answer
    said = dict(pairs)
    # RFC 6749 §3.1: a parameter must not be included more than once.
    if len(said) != len(pairs):
        raise ProviderError("The sign-in answer says something twice and cannot be trusted; sign in again.")
    return said


def code_request(
    metadata: ProviderMetadata,
    registration: ClientRegistration,
    *,
    code: str,
    code_verifier: str,
    timeout_s: float = TIMEOUT_S,
) -> WireRequest:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": registration.redirect_uri,
        "code_verifier": code_verifier,
    }
    return _post(metadata.token_endpoint, registration, form, timeout_s)


def refresh_request(
    metadata: ProviderMetadata, registration: ClientRegistration, refresh_token: str, *, timeout_s: float = TIMEOUT_S
) -> WireRequest:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return _post(metadata.token_endpoint, registration, form, timeout_s)


def client_credentials_request(
    metadata: ProviderMetadata, registration: ClientRegistration, *, timeout_s: float = TIMEOUT_S
) -> WireRequest:
    """A token for the client itself, so the scopes that speak of a user are left out."""
    if registration.auth_method == "none":
        raise ConfigError(
            "Client credentials need a client_secret; set it, or leave this step out of the fallback chain."
        )
    form = {"grant_type": "client_credentials"}
    if scope := " ".join(word for word in registration.scope.split() if word not in OIDC_SCOPES):
        form["scope"] = scope
    return _post(metadata.token_endpoint, registration, form, timeout_s)


def revocation_request(
    metadata: ProviderMetadata, registration: ClientRegistration, refresh_token: str, *, timeout_s: float = TIMEOUT_S
) -> WireRequest | None:
    """Gives a refresh token back (RFC 7009); None when the provider takes none back."""
    if metadata.revocation_endpoint is None:
        return None
    form = {"token": refresh_token, "token_type_hint": "refresh_token"}
    return _post(metadata.revocation_endpoint, registration, form, timeout_s)


def keys_request(metadata: ProviderMetadata, *, timeout_s: float = TIMEOUT_S) -> WireRequest:
    return get_request(metadata.jwks_uri, timeout_s=timeout_s)


class EndSessionRequest(Discreet, frozen=True, kw_only=True):
    """How a browser signs out of the provider itself: `form` is posted to `url`, which never holds the ID token."""

    url: str
    form: Mapping[str, str]


def end_session_request(
    metadata: ProviderMetadata,
    registration: ClientRegistration,
    *,
    post_logout_redirect_uri: str,
    state: str,
    id_token_hint: str | None,
    posted: bool = True,
) -> EndSessionRequest | None:
    """OpenID Connect RP-Initiated Logout §2; None when the provider has no such place.

    Where it cannot be posted it goes without the ID token, and the provider asks its user.
    """
    if metadata.end_session_endpoint is None:
        return None
    asked = {
        "client_id": registration.client_id,
        "post_logout_redirect_uri": post_logout_redirect_uri,
        "state": state,
    }
    if not posted:
        return EndSessionRequest(url=_with_query(metadata.end_session_endpoint, asked), form={})
    if id_token_hint:
        asked["id_token_hint"] = id_token_hint
    return EndSessionRequest(url=metadata.end_session_endpoint, form=asked)


def _post(url: str, registration: ClientRegistration, form: dict[str, str], timeout_s: float) -> WireRequest:
    headers = [("accept", "application/json"), ("content-type", "application/x-www-form-urlencoded")]
    secret = registration.client_secret or ""
    if registration.auth_method == "client_secret_basic":
        # RFC 6749 §2.3.1: both are form-encoded before they are joined.
        pair = f"{quote_plus(registration.client_id)}:{quote_plus(secret)}"
        headers.append(("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    else:
        form["client_id"] = registration.client_id
    if registration.auth_method == "client_secret_post":
        form["client_secret"] = secret
    body = "&".join([f"{name}={_form_encoded(value)}" for name, value in form.items()]).encode()
    return WireRequest(method="POST", url=url, headers=tuple(headers), body=body, timeout_s=timeout_s)


def _form_encoded(value: str) -> str:
    # Nearly every token and id stands for itself.
    return value if _UNRESERVED(value) else quote_plus(value)


def _with_query(url: str, asked: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
