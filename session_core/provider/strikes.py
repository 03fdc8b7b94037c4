"""Turns the faults a request meets into what its client sees."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from session_core.provider.answers import Fate, ProviderAnswer, json_answer, said_in
from session_core.provider.faults import STOPPERS, Fault, FaultKind
from session_core.provider.keys import KeyRing, claims_unverified
from session_core.provider.ledger import Ledger

_CAPTIVE_PORTAL = (
    b"<!doctype html><html><head><title>Welcome</title></head><body><h1>Welcome to our guest Wi-Fi</h1>"
    b"<p>Accept the terms of use to go online.</p></body></html>"
)
_FATES = {
    FaultKind.HANG: Fate.HUNG,
    FaultKind.REFUSE: Fate.REFUSED,
    FaultKind.DROP_BEFORE: Fate.DROPPED,
    FaultKind.DROP_AFTER: Fate.DROPPED,
}
_BAD_GATEWAY = (
    b"<html><head><title>Bad gateway</title></head><body><h1>The upstream server did not answer</h1></body></html>"
)


def instead(fault: Fault, *, now: float) -> ProviderAnswer:
    """What a fault that hides the provider's answer puts in its place."""
    assert fault.kind in STOPPERS
    if fault.kind == FaultKind.STATUS:
        return _status(fault, now)
    if fault.kind == FaultKind.HTML:
        status = fault.status or 200
        page = _CAPTIVE_PORTAL if status < 400 else _BAD_GATEWAY
        return ProviderAnswer(status=status, headers={"content-type": "text/html"}, body=page)
    return ProviderAnswer(fate=_FATES[fault.kind])


def acts_first(fault: Fault) -> bool:
    return fault.acts or fault.kind == FaultKind.DROP_AFTER


def spoiled(answer: ProviderAnswer, fault: Fault, *, keys: KeyRing, ledger: Ledger) -> ProviderAnswer:
    """The provider's own answer, changed by a fault; one that is no JSON object stays as it is."""
    said = said_in(answer)
    if said is None:
        return answer
    match fault.kind:
        case FaultKind.GARBLED_JSON:
            return _with_body(answer, answer.body[: len(answer.body) // 2] + b"\x00}")
        case FaultKind.OMIT_FIELD:
            said.pop(str(fault.field), None)
        case FaultKind.SET_FIELD:
            said[str(fault.field)] = fault.value
        case FaultKind.UNSIGNED_ID_TOKEN:
            _resign(said, keys.leave_unsigned, ledger)
        case FaultKind.FOREIGN_ID_TOKEN:
            _resign(said, keys.sign_with_foreign_key, ledger)
        case _:
            return answer
    return json_answer(said, status=answer.status, headers=answer.headers)


def _status(fault: Fault, now: float) -> ProviderAnswer:
    assert fault.status is not None
    headers = {}
    if fault.retry_after_s is not None:
        date = formatdate(now + fault.retry_after_s, usegmt=True)
        headers["retry-after"] = date if fault.retry_after_is_date else f"{fault.retry_after_s:.0f}"
    code = fault.error or ("temporarily_unavailable" if fault.status in {429, 503} else "server_error")
    return json_answer({"error": code}, status=fault.status, headers=headers)


def _resign(said: dict[str, Any], sign: Callable[[dict[str, Any]], str], ledger: Ledger) -> None:
    if "id_token" in said:
        said["id_token"] = ledger.keep_secret(sign(claims_unverified(said["id_token"])))


def _with_body(answer: ProviderAnswer, body: bytes) -> ProviderAnswer:
    return ProviderAnswer(status=answer.status, headers=answer.headers, body=body)
