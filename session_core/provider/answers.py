"""What the provider answers: data only; waiting, streaming and dropping are done by the faces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

import msgspec

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_JSON = {"content-type": "application/json", **NO_STORE}
_encode = msgspec.json.Encoder().encode


class Fate(StrEnum):
    """What the client gets to see of the answer."""

    ANSWERED = "answered"
    REFUSED = "refused"
    DROPPED = "dropped"
    HUNG = "hung"


class ProviderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `chunks` follow the body, each after `chunk_delay_s`, and can be taken once."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    chunks: Iterable[bytes] = ()
    chunk_delay_s: float = 0.0
    delay_s: float = 0.0
    fate: Fate = Fate.ANSWERED

    def __repr__(self) -> str:
        return f"ProviderAnswer({self.status}, {self.fate}, {len(self.body)} bytes)"


class RefusedError(Exception):
    """The request is refused with an RFC 6749 error; never leaves the provider."""

    def __init__(
        self, code: str, description: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.status = status
        self.headers = headers or {}

    def answer(self) -> ProviderAnswer:
        said = {"error": self.code, "error_description": self.description}
        return json_answer(said, status=self.status, headers=self.headers)


class RefusedByRedirectError(RefusedError):
    """Refused at the client's own call-back (RFC 6749 §4.1.2.1)."""

    def __init__(self, code: str, description: str, *, callback: str, carried: Mapping[str, str]) -> None:
        super().__init__(code, description)
        self.callback = callback
        self.carried = carried

    def answer(self) -> ProviderAnswer:
        said = {"error": self.code, "error_description": self.description, **self.carried}
        return redirect(with_query(self.callback, said))


def json_answer(said: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> ProviderAnswer:
    return ProviderAnswer(status=status, headers={**_JSON, **headers} if headers else _JSON, body=_encode(said))


def redirect(location: str, *, cookie: str | None = None) -> ProviderAnswer:
    """RFC 9700 §4.12: 303, so that a posted password is never posted on."""
    headers = {"location": location, **NO_STORE}
    if cookie is not None:
        headers["set-cookie"] = cookie
    return ProviderAnswer(status=303, headers=headers)


def with_query(url: str, params: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(params)}"


def said_in(answer: ProviderAnswer) -> dict[str, Any] | None:
    """The JSON object of an answer, if it is one."""
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return None
    try:
        said = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        # Another fault has garbled it already.
        return None
    return said if isinstance(said, dict) else None
