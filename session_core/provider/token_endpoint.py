"""The endpoints that programs talk to: token, revocation, introspection, userinfo, discovery and keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from session_core.dpop import ALGORITHM, BEARER, DPOP
from session_core.provider.answers import NO_STORE, ProviderAnswer, RefusedError, json_answer
from session_core.provider.authorize import SCOPES
from session_core.provider.config import Client
from session_core.provider.granted import Access, Grant, Issued, confirmation
from session_core.provider.inbound import Inbound, access_token, read_form
from session_core.provider.parts import Parts

BEARER_CHALLENGE = 'Bearer realm="session-lab"'
DPOP_CHALLENGE = f'DPoP realm="session-lab", algs="{ALGORITHM}"'
_CODE_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def token(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    params = read_form(inbound)
    client = parts.accounts.authenticate_client(inbound, params)
    grant_type = _needed(params, "grant_type")
    dpop_jkt = parts.proofs.key_of(inbound, now=now)
    match grant_type:
        case "authorization_code":
            issued = _exchange_code(parts, client, params, dpop_jkt, now)
        case "refresh_token":
            issued = parts.grants.refresh(
                _needed(params, "refresh_token"),
                client_id=client.client_id,
                scope=params.get("scope"),
                now=now,
                keeps_expiry=inbound.keeps_expiry,
                dpop_jkt=dpop_jkt,
            )
        case "client_credentials":
            issued = _act_for_itself(parts, client, params, dpop_jkt, now)
        case _:
            raise RefusedError("unsupported_grant_type", "Use authorization_code, refresh_token or client_credentials.")
    return json_answer(token_answer(issued, now=now))


def token_answer(issued: Issued, *, now: float) -> dict[str, Any]:
    """RFC 6749 §5.1. `expires_in` is what is left, so a replayed answer does not promise too much."""
    said = {
        "access_token": issued.access_token,
        "token_type": BEARER if issued.dpop_jkt is None else DPOP,
        # Epoch seconds hold about a microsecond; 3600 must not become 3599.
        "expires_in": max(0, math.floor(issued.expires_at - now + 1e-5)),
        "refresh_token": issued.refresh_token,
        "id_token": issued.id_token,
        "scope": issued.scope,
    }
    return {name: value for name, value in said.items() if value is not None}


def revoke(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    params = read_form(inbound)
    client = parts.accounts.authenticate_client(inbound, params)
    parts.grants.revoke_any(_needed(params, "token"), client_id=client.client_id, now=now)
    return ProviderAnswer(headers=NO_STORE)


def introspect(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    """RFC 7662: for confidential clients; whatever is not valid is only inactive."""
    params = read_form(inbound)
    client = parts.accounts.authenticate_client(inbound, params)
    if client.secret is None:
        raise RefusedError("unauthorized_client", "Introspection is for confidential clients.", status=403)
    value = _needed(params, "token")
    access = parts.grants.find_access(value, now=now)
    family = parts.grants.find_family(value, now=now)
    if access:
        grant, kind, said = access.family.grant, "access_token", _facts(access)
    elif family:
        grant, kind = family.grant, "refresh_token"
        said = {"scope": grant.scope, "exp": int(family.expires_at), **confirmation(grant.dpop_jkt)}
    else:
        return json_answer({"active": False})
    named = {"client_id": grant.client_id, "sub": grant.subject, "iss": parts.config.issuer}
    return json_answer({"active": True, "token_type": kind, **named, **said})


def userinfo(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    access = authorized(parts, inbound, now)
    username, scopes = access.family.grant.username, access.scope.split()
    if username is None or "openid" not in scopes:
        raise RefusedError(
            "insufficient_scope",
            "This needs the scope openid of a user.",
            status=403,
            headers={"www-authenticate": 'Bearer error="insufficient_scope", scope="openid"'},
        )
    user = parts.accounts.user(username)
    profile = {"name": user.name, "preferred_username": username} if "profile" in scopes else {}
    email = {"email": user.email} if "email" in scopes else {}
    return json_answer({"sub": username, **profile, **email})


def authorized(parts: Parts, inbound: Inbound, now: float) -> Access:
    """RFC 6750 §3.1: the challenge of a request without a token carries no error."""
    scheme, value = access_token(inbound.headers) or ("", "")
    access = parts.grants.find_access(value, now=now) if value else None
    if access is None:
        challenge = DPOP_CHALLENGE if scheme == "dpop" else BEARER_CHALLENGE
        said = "The access token is missing, unknown, expired or revoked."
        raise _unauthorized("invalid_token", said, challenge + (', error="invalid_token"' if scheme else ""))
    if scheme == "dpop" or access.dpop_jkt is not None:
        _require_holder(parts, inbound, scheme, value, access, now)
    return access


def _require_holder(parts: Parts, inbound: Inbound, scheme: str, value: str, access: Access, now: float) -> None:
    """RFC 9449 §7: a token that is bound to a key is of no use without a proof by it, and no other needs one."""
    try:
        dpop_jkt = parts.proofs.key_of(inbound, now=now, access_token=value) if scheme == "dpop" else None
    except RefusedError as error:
        raise _unauthorized(error.code, error.description, f'{DPOP_CHALLENGE}, error="{error.code}"') from None
    if dpop_jkt is None or dpop_jkt != access.dpop_jkt:
        said = "The access token is bound to another key, or to none, or came without a proof by its key."
        raise _unauthorized("invalid_token", said, f'{DPOP_CHALLENGE}, error="invalid_token"')


def _unauthorized(code: str, description: str, challenge: str) -> RefusedError:
    return RefusedError(code, description, status=401, headers={"www-authenticate": challenge})


def jwks(parts: Parts, _inbound: Inbound, _now: float) -> ProviderAnswer:
    return json_answer(parts.keys.jwks())


def discovery(parts: Parts, _inbound: Inbound, _now: float) -> ProviderAnswer:
    issuer = parts.config.issuer
    return json_answer(
        {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "jwks_uri": f"{issuer}/jwks",
            "revocation_endpoint": f"{issuer}/revoke",
            "introspection_endpoint": f"{issuer}/introspect",
            "end_session_endpoint": f"{issuer}/end-session",
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [parts.config.signing_alg],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "claims_supported": [
                "sub",
                "iss",
                "aud",
                "exp",
                "iat",
                "auth_time",
                "nonce",
                "sid",
                "name",
                "preferred_username",
                "email",
            ],
            "authorization_response_iss_parameter_supported": True,
            "dpop_signing_alg_values_supported": [ALGORITHM],
            "request_uri_parameter_supported": False,
        }
    )


def _exchange_code(parts: Parts, client: Client, params: Mapping[str, str], dpop_jkt: str | None, now: float) -> Issued:
    """RFC 9449 §5: a public client's refresh token is bound to its key; a confidential one proves itself anyway."""
    held = parts.grants.find_code(_needed(params, "code"), client_id=client.client_id, now=now)
    if params.get("redirect_uri") != held.redirect_uri:
        raise RefusedError("invalid_grant", "redirect_uri differs from the one the code was asked with.")
    if not _proves(params.get("code_verifier", ""), held.code_challenge):
        raise RefusedError("invalid_grant", "The code_verifier does not fit the code_challenge.")
    if held.grant.dpop_jkt not in {None, dpop_jkt}:
        raise RefusedError("invalid_grant", "The code is bound to a key (dpop_jkt), and no proof by it came along.")
    grant = msgspec.structs.replace(held.grant, dpop_jkt=dpop_jkt if client.secret is None else None)
    held.family = parts.grants.open_family(grant, now=now)
    return parts.grants.first_tokens(held.family, now=now, dpop_jkt=dpop_jkt)


def _act_for_itself(
    parts: Parts, client: Client, params: Mapping[str, str], dpop_jkt: str | None, now: float
) -> Issued:
    if client.secret is None:
        raise RefusedError("unauthorized_client", "Only a confidential client may use client_credentials.")
    scope = params.get("scope", "api")
    if not set(scope.split()) <= {"api"}:
        raise RefusedError("invalid_scope", "A client acting for itself may ask for: api.")
    grant = Grant(client_id=client.client_id, username=None, scope=scope, auth_time=now)
    return parts.grants.service_tokens(grant, now=now, dpop_jkt=dpop_jkt)


def _proves(code_verifier: str, code_challenge: str) -> bool:
    """RFC 7636 §4.6."""
    digest = hashlib.sha256(code_verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=")
    return bool(_CODE_VERIFIER.fullmatch(code_verifier)) and hmac.compare_digest(challenge, code_challenge.encode())


def _needed(params: Mapping[str, str], name: str) -> str:
    if name not in params:
        raise RefusedError("invalid_request", f"The parameter {name} is missing.")
    return params[name]


def _facts(access: Access) -> dict[str, Any]:
    times = {"scope": access.scope, "iat": int(access.issued_at), "exp": int(access.expires_at)}
    return {**times, **confirmation(access.dpop_jkt)}
