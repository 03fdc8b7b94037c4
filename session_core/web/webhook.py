"""Where alerts are told: one address of the operator's, which may hold a secret and is shown to nobody."""

from __future__ import annotations

from ipaddress import ip_address

import httpx

from session_core.errors import ConfigError
from session_core.http_answers import read_retry_after
from session_core.retry_manager import classify_status
from session_core.secrecy import Discreet
from session_core.vocabulary import ErrorClass
from session_core.wire import Transport, WireAnswer, WireFailure, WireRequest

TIMEOUT_S = 10.0


class Webhook(Discreet, frozen=True, kw_only=True):
    """`url` is https, or http on this machine. Raises ConfigError, which does not repeat the address."""

    url: str

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            url = httpx.URL()
        if not url.host or (url.scheme != "https" and not (url.scheme == "http" and _loops(url.host))):
            raise ConfigError("The webhook's address must begin with https://, or with http:// and name this machine.")

    @property
    def host(self) -> str:
        """Fit to be shown."""
        return httpx.URL(self.url).host


class Undelivered(Discreet, frozen=True, kw_only=True):
    """Why a message did not arrive: its class decides whether it is sent again, `sentence` says it to a person."""

    error: ErrorClass
    sentence: str
    retry_after_s: float | None = None

    def shown(self) -> tuple[str, ...]:
        return ("error", "sentence", "retry_after_s")


async def post(
    transport: Transport, webhook: Webhook, message: str, *, message_id: str, wall: float
) -> Undelivered | None:
    """Send one message; None when it was taken. It may have been even if not: the id tells the receiver."""
    request = WireRequest(
        method="POST",
        url=webhook.url,
        headers=(("content-type", "application/json"), ("idempotency-key", message_id)),
        body=message.encode(),
        timeout_s=TIMEOUT_S,
    )
    return read_answer(await transport.send(request), wall=wall)


def read_answer(answer: WireAnswer | WireFailure, *, wall: float) -> Undelivered | None:
    """Any 2xx is a yes. What no later try can mend, such as a 404, is a matter of configuration."""
    if isinstance(answer, WireFailure):
        return Undelivered(error=ErrorClass.NETWORK, sentence=f"The webhook did not answer ({answer.kind}).")
    if 200 <= answer.status < 300:
        return None
    return Undelivered(
        error=classify_status(answer.status) or ErrorClass.CONFIG,
        sentence=f"The webhook answered with status {answer.status}.",
        retry_after_s=read_retry_after(answer.headers.get("retry-after"), wall=wall),
    )


def _loops(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
