"""A small API that needs the provider's access tokens: something to call, to chat with and to stream from."""

from __future__ import annotations

import zlib
from itertools import chain, repeat

import msgspec

from session_core.provider.answers import NO_STORE, ProviderAnswer, RefusedError, json_answer
from session_core.provider.inbound import Inbound, read_params
from session_core.provider.parts import Parts
from session_core.provider.token_endpoint import authorized

CHAT_CHUNK_DELAY_S = 0.04
CHAT_MESSAGE_CHARS_MAX = 4_000
CHAT_QUOTE_CHARS_MAX = 80
SLOW_BYTES_MAX = 256 << 20
SLOW_CHUNK_BYTES = 64 << 10
SLOW_DELAY_MS_MAX = 1_000

_BLOCK = bytes(range(32, 96)) * (SLOW_CHUNK_BYTES // 64)
_REPLIES = (
    "You said “{said}”. I have turned it over carefully, which takes an ATOM no time at all, and I agree with most of it.",
    "“{said}” is what I would have said too, if anyone had asked me first. Tell me more; your session can take it.",
    "Noted: “{said}”. I am only a demo, but I am a demo that remembers who you are, {name}, even after lunch.",
    "On “{said}”, {name}: small things hold everything together. I may be biased.",
    "I hear “{said}”. My tokens were renewed while you typed that, and neither of us noticed.",
    "“{said}”, you say. Go away for an hour, {name}, come back, and I will still be right here.",
)


class ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    message: str


class Echo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    method: str
    path: str
    subject: str
    client_id: str
    server_time: float
    request_count: int


def echo(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    grant = authorized(parts, inbound, now).family.grant
    return json_answer(
        Echo(
            method=inbound.method,
            path=parts.path + inbound.path,
            subject=grant.subject,
            client_id=grant.client_id,
            server_time=now,
            request_count=parts.ledger.times_counted("api", "ok") + 1,
        )
    )


def profile(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    """Who one is: an answer that may be kept, by its user's own cache alone."""
    grant = authorized(parts, inbound, now).family.grant
    said = msgspec.json.encode({"subject": grant.subject, "client_id": grant.client_id, "server_time": now})
    return ProviderAnswer(headers={"content-type": "application/json", "cache-control": "private"}, body=said)


def chat(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    access = authorized(parts, inbound, now)
    said = _read_message(inbound.body)
    return ProviderAnswer(
        headers={"content-type": "text/plain; charset=utf-8", **NO_STORE},
        chunks=tuple(word.encode() for word in _words(reply(said, name=access.family.grant.subject.capitalize()))),
        chunk_delay_s=CHAT_CHUNK_DELAY_S,
    )


def reply(said: str, *, name: str) -> str:
    """What ATOM answers: the same to the same words, in any process."""
    quote = said if len(said) <= CHAT_QUOTE_CHARS_MAX else f"{said[: CHAT_QUOTE_CHARS_MAX - 1]}…"
    return _REPLIES[zlib.crc32(said.encode()) % len(_REPLIES)].format(said=quote, name=name)


def slow(parts: Parts, inbound: Inbound, now: float) -> ProviderAnswer:
    """`bytes` of body in pieces of 64 KiB, each after `delay_ms`."""
    authorized(parts, inbound, now)
    params = read_params(inbound.query)
    size = _bounded(params.get("bytes", "1000000"), "bytes", SLOW_BYTES_MAX)
    delay_ms = _bounded(params.get("delay_ms", "0"), "delay_ms", SLOW_DELAY_MS_MAX)
    whole, rest = divmod(size, SLOW_CHUNK_BYTES)
    return ProviderAnswer(
        headers={"content-type": "application/octet-stream", "content-length": str(size), **NO_STORE},
        chunks=chain(repeat(_BLOCK, whole), (_BLOCK[:rest],) if rest else ()),
        chunk_delay_s=delay_ms / 1000,
    )


def _read_message(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=ChatMessage).message.strip()
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RefusedError("invalid_request", 'Send a JSON object like {"message": "Hello"}.') from None
    if not 0 < len(said) <= CHAT_MESSAGE_CHARS_MAX:
        raise RefusedError("invalid_request", f"message must have 1 to {CHAT_MESSAGE_CHARS_MAX} characters.")
    return said


def _words(text: str) -> list[str]:
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


def _bounded(text: str, name: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) <= most):
        raise RefusedError("invalid_request", f"{name} must be a whole number from 0 to {most}.")
    return int(text)
