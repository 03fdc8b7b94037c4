"""Reads a request strictly: each parameter once, bodies limited, one way of saying who calls."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import msgspec

from session_core.provider.answers import RefusedError
from session_core.wire import WireRequest

BODY_BYTES_MAX = 1 << 20
FORM_BYTES_MAX = 64 << 10
PARAMS_MAX = 64
FORM_TYPE = "application/x-www-form-urlencoded"


class Inbound(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request as the endpoints see it: `path` is below the issuer, header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    keeps_expiry: bool = False

    def __repr__(self) -> str:
        return f"Inbound({self.method} {self.path})"


def read(request: WireRequest, *, below: str) -> Inbound:
    """The request with its path below the issuer's; a path elsewhere becomes one that exists nowhere."""
    path, query = _target(request.url, below)
    return Inbound(
        method=request.method, path=path, query=query, headers=read_headers(request.headers), body=request.body
    )


@lru_cache(maxsize=64)
def _target(url: str, below: str) -> tuple[str, str]:
    target = urlsplit(url)
    path = target.path.removeprefix(below) if target.path.startswith(below) else "elsewhere"
    return path or "/", target.query


def read_headers(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """RFC 9110 §5.3: repeated headers are joined, so that two credentials are none."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def read_params(text: str) -> dict[str, str]:
    """RFC 6749 §3.1: a parameter without a value counts as omitted; none may come twice."""
    try:
        pairs = _pairs(text)
    except ValueError:
        raise _invalid(f"The parameters must be UTF-8 and at most {PARAMS_MAX}.") from None
    params = dict(pairs)
    if len(params) != len(pairs):
        raise _invalid("A parameter is given more than once.")
    return {name: value for name, value in params.items() if value}


def _pairs(text: str) -> list[tuple[str, str]]:
    if "%" in text or "+" in text or text.count("&") >= PARAMS_MAX:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMS_MAX, errors="strict")
    # Nothing in it is encoded, as in nearly every request for tokens.
    return [(name, value) for name, _, value in (part.partition("=") for part in text.split("&") if part)]


def read_form(inbound: Inbound) -> dict[str, str]:
    if inbound.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise _invalid(f"The body must be {FORM_TYPE}.")
    if len(inbound.body) > FORM_BYTES_MAX:
        raise RefusedError("invalid_request", f"The form is longer than {FORM_BYTES_MAX} bytes.", status=413)
    try:
        return read_params(inbound.body.decode())
    except UnicodeDecodeError:
        raise _invalid("The form is not UTF-8.") from None


def read_query_and_form(inbound: Inbound) -> dict[str, str]:
    """Query and form together; a parameter may be in one of them only."""
    query = read_params(inbound.query)
    form = read_form(inbound) if inbound.method == "POST" else {}
    if query.keys() & form.keys():
        raise _invalid("A parameter is given both in the query and in the body.")
    return {**query, **form}


def basic_credentials(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """RFC 6749 §2.3.1: both halves are form-encoded before they are joined."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _invalid("The Authorization header is not valid Basic authentication.") from None
    if not colon:
        raise _invalid("The Authorization header is not valid Basic authentication.")
    return unquote_plus(name), unquote_plus(secret)


def access_token(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """The access token with the scheme it came by, `bearer` or `dpop`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    scheme = scheme.lower()
    return (scheme, token.strip()) if scheme in {"bearer", "dpop"} else None


def cookie(headers: Mapping[str, str], name: str) -> str | None:
    for pair in headers.get("cookie", "").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return None


def _invalid(description: str) -> RefusedError:
    return RefusedError("invalid_request", description)
