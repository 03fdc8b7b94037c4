"""The faults that a tester can order from the embedded provider with one click."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from session_core.provider import Endpoint, Fault, FaultKind


class Provocation(StrEnum):
    """What makes a session meet the fault at once."""

    REFRESH = "refresh"
    CALL = "call"


class FaultOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A fault as it is offered: what the button says, and what to expect of the session."""

    label: str
    expect: str
    fault: Fault
    provoke: Provocation = Provocation.REFRESH


OFFERS: Mapping[str, FaultOffer] = {
    "unavailable": FaultOffer(
        label="503 for 20 s",
        expect="No token can be had. Calls go on with the one there is, and the session tries again until it works.",
        fault=Fault(kind=FaultKind.STATUS, endpoint=Endpoint.TOKEN, status=503, until_s=20.0),
    ),
    "throttled": FaultOffer(
        label="429, come back in 10 s",
        expect="The session waits as long as it was told to, and asks once.",
        fault=Fault(kind=FaultKind.STATUS, endpoint=Endpoint.TOKEN, status=429, retry_after_s=10.0, times=1),
    ),
    "lost_answer": FaultOffer(
        label="Lose the next answer",
        expect="The provider acts but its answer is lost. The session repeats the refresh only inside the grace window.",
        fault=Fault(kind=FaultKind.DROP_AFTER, endpoint=Endpoint.TOKEN, times=1),
    ),
    "hang_up": FaultOffer(
        label="Hang up for 15 s",
        expect="Connections end before the provider acts. The session keeps trying.",
        fault=Fault(kind=FaultKind.DROP_BEFORE, endpoint=Endpoint.TOKEN, until_s=15.0),
    ),
    "slow": FaultOffer(
        label="Slow by 5 s",
        expect="Every answer comes 5 s late for 30 s. Nobody waits for a refresh while the token is good.",
        fault=Fault(kind=FaultKind.DELAY, delay_s=5.0, until_s=30.0),
    ),
    "api_down": FaultOffer(
        label="API down for 20 s",
        expect="Calls fail after their retries, and that is all: the session and its token are not touched.",
        fault=Fault(kind=FaultKind.STATUS, endpoint=Endpoint.API, status=503, until_s=20.0),
        provoke=Provocation.CALL,
    ),
    "rotate_keys": FaultOffer(
        label="Rotate signing keys",
        expect="The next ID token is signed by a key the session does not know yet; it fetches the keys once.",
        fault=Fault(kind=FaultKind.ROTATE_KEYS),
    ),
    "revoke_access": FaultOffer(
        label="Revoke access tokens",
        expect="The next call is refused with 401; one refresh, one retry, and the call succeeds.",
        fault=Fault(kind=FaultKind.REVOKE_ACCESS_TOKENS),
        provoke=Provocation.CALL,
    ),
    "revoke_refresh": FaultOffer(
        label="Revoke refresh tokens",
        expect="The refresh is refused for good. The session serves its token to the end, then asks for a sign-in.",
        fault=Fault(kind=FaultKind.REVOKE_REFRESH_TOKENS),
    ),
    "end_sessions": FaultOffer(
        label="Sign everybody out there",
        expect="The provider tells the app that its users are signed out. The session ends at once and says why.",
        fault=Fault(kind=FaultKind.END_SESSIONS),
    ),
}
