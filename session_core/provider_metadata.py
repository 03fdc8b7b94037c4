"""What a provider publishes about itself, believed only as far as it can be checked."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from session_core.errors import DiscoveryError, ProviderUnreachableError
from session_core.http_answers import read_object, reading_trouble
from session_core.wire import WireAnswer, WireFailure, WireRequest

TIMEOUT_S = 10.0


class ProviderMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider's endpoints are."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    authorization_response_iss_parameter_supported: bool = False
    dpop_signing_alg_values_supported: tuple[str, ...] | None = None
    claims_supported: tuple[str, ...] | None = None


def is_secure_url(url: str, *, allow_insecure_http: bool = False) -> bool:
    """An absolute address fit to carry secrets: https, or http to this very machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment or any(ord(char) <= 0x20 for char in url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and (allow_insecure_http or is_loopback(host)))


def is_loopback(host: str) -> bool:
    """Whether this host is the very machine that asks."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def discovery_request(issuer: str, *, timeout_s: float = TIMEOUT_S) -> WireRequest:
    return get_request(f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout_s=timeout_s)


def read_discovery(
    answer: WireAnswer | WireFailure, *, issuer: str, allow_insecure_http: bool = False
) -> ProviderMetadata:
    """The provider's own description, believed only if it names the very issuer that was asked (OIDC Discovery §4.3).

    A web page or a redirect counts as unreachable: a guest network answers so, and the provider may be fine.
    """
    if found := reading_trouble(answer):
        outcome, word = found
        raise ProviderUnreachableError(_unreachable(issuer, word), outcome)
    assert isinstance(answer, WireAnswer)
    if answer.status != 200:
        raise DiscoveryError(f"{issuer} has no discovery document (status {answer.status}); check the issuer setting.")
    document = read_object(answer.body)
    if document is None:
        raise DiscoveryError(f"The discovery document of {issuer} is not a JSON object; check the issuer setting.")
    claimed = document.get("issuer")
    if claimed != issuer:
        raise DiscoveryError(
            f"The discovery document of {issuer} says it belongs to {str(claimed)[:200]!r};"
            " set the issuer to exactly what the provider calls itself, or do not trust it."
        )
    return _read_metadata(document, issuer, allow_insecure_http=allow_insecure_http)


def _read_metadata(document: Mapping[str, Any], issuer: str, *, allow_insecure_http: bool) -> ProviderMetadata:
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not document.get(name):
            raise DiscoveryError(f"The discovery document of {issuer} lacks {name}; the provider must publish it.")
    try:
        metadata = msgspec.convert(document, ProviderMetadata)
    except msgspec.ValidationError:
        raise DiscoveryError(
            f"The discovery document of {issuer} has an endpoint that is not text or a list that is none."
        ) from None
    for name in ProviderMetadata.__struct_fields__[1:8]:
        url = getattr(metadata, name)
        if url is not None and not is_secure_url(url, allow_insecure_http=allow_insecure_http):
            raise DiscoveryError(
                f"The {name} of {issuer} is not an https address, so no secret is sent there;"
                " fix the provider, or set allow_insecure_http for a test."
            )
    return metadata


def _unreachable(issuer: str, word: str) -> str:
    if word == "portal":
        return (
            f"{issuer} answered with a web page or a redirect instead of its discovery document;"
            " check the issuer setting, and on a guest network sign in to it first."
        )
    return f"The identity provider {issuer} cannot be reached ({word}); check that it runs and that the network is up."


def get_request(url: str, *, timeout_s: float = TIMEOUT_S) -> WireRequest:
    return WireRequest(method="GET", url=url, headers=(("accept", "application/json"),), timeout_s=timeout_s)
