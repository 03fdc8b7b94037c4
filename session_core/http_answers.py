"""What an HTTP answer says before anyone asks what it means: its time, its patience, and whether the provider spoke at all."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC
from functools import lru_cache
from typing import Any

import msgspec

from session_core.vocabulary import Outcome
from session_core.wire import FailureKind, WireAnswer, WireFailure

RETRY_AFTER_S_MAX = 3600.0
_MEMBERS_MAX = 1000
# RFC 9110 §5.6.7, IMF-fixdate. Its day is remembered, because nearly every answer brings today's.
_USUAL_DATE = re.compile(
    "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9] GMT"
).fullmatch


def trouble(answer: WireAnswer | WireFailure) -> tuple[Outcome, str] | None:
    """What kept the provider from speaking for itself, with our word for it; None when it did speak.

    | answer                                              | outcome   |
    |-----------------------------------------------------|-----------|
    | not sent                                            | OFFLINE   |
    | not sent, no connection was free                    | TRANSIENT |
    | maybe sent, no answer                               | AMBIGUOUS |
    | a redirect, 511, or a page where JSON was asked for | OFFLINE   |
    | 429                                                 | THROTTLED |
    | 504: a gateway gave up on a server that may act     | AMBIGUOUS |
    | 408, 425, any other 5xx                             | TRANSIENT |
    """
    if not isinstance(answer, WireAnswer):
        if answer.maybe_sent:
            return Outcome.AMBIGUOUS, answer.kind
        return (Outcome.TRANSIENT if answer.kind is FailureKind.BUSY else Outcome.OFFLINE), answer.kind
    if answer.status == 429:
        return Outcome.THROTTLED, "throttled"
    if answer.status == 504:
        return Outcome.AMBIGUOUS, "gateway_timeout"
    if is_portal(answer):
        return Outcome.OFFLINE, "portal"
    if answer.status in {408, 425} or answer.status >= 500:
        return Outcome.TRANSIENT, "server_error"
    return None


def reading_trouble(answer: WireAnswer | WireFailure) -> tuple[Outcome, str] | None:
    """The same for a request that changes nothing: whether it was acted on does not matter."""
    found = trouble(answer)
    return (Outcome.TRANSIENT, found[1]) if found and found[0] is Outcome.AMBIGUOUS else found


def is_portal(answer: WireAnswer) -> bool:
    """Whether something between us and the provider answered: a guest network's page or a redirect to it."""
    if 300 <= answer.status < 400 or answer.status == 511:
        return True
    return answer.status < 300 and not _claims_json(answer)


def _claims_json(answer: WireAnswer) -> bool:
    start = answer.body.lstrip()[:1]
    if start in {b"<", b"{"}:
        return start == b"{"
    content_type = answer.headers.get("content-type", "json").partition(";")[0]
    return "json" in content_type.lower()


def read_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in `body`, or None when it holds anything else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) and len(value) <= _MEMBERS_MAX else None


def read_retry_after(value: str | None, *, wall: float) -> float | None:
    """Seconds to wait, from either form of Retry-After (RFC 9110 §10.2.3); at most an hour. Garbage is None."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_S_MAX)
    until = _read_http_date(text)
    return None if until is None else min(max(until - wall, 0.0), RETRY_AFTER_S_MAX)


def read_date(headers: Mapping[str, str]) -> float | None:
    """The answerer's clock in wall seconds, to the whole second, from the Date header."""
    return _read_http_date(headers.get("date", ""))


def _read_http_date(text: str) -> float | None:
    if _USUAL_DATE(text) and (day := _read_any_date(text[:16] + " 00:00:00 GMT")) is not None:
        return day + 3600.0 * int(text[17:19]) + 60.0 * int(text[20:22]) + int(text[23:25])
    return _read_any_date(text)


@lru_cache(maxsize=64)
def _read_any_date(text: str) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
        # HTTP dates are in GMT, also in the old form that does not say so.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def estimate_skew_s(provider_now: float, wall_sent: float, wall_received: float) -> float:
    """Provider's clock minus ours, taken at the middle of the exchange. As exact as its Date header: a second."""
    return provider_now - (wall_sent + wall_received) / 2
