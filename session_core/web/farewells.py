"""Sign-outs under way: what a browser still has to bring to the provider, and how it is known when it comes back."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections import OrderedDict

from session_core.config import SessionConfig
from session_core.oauth import ClientRegistration, EndSessionRequest, end_session_request, is_local_path
from session_core.provider_metadata import ProviderMetadata
from session_core.secrecy import Discreet
from session_core.web.settings import signed_out_uri
from session_core.web.sign_in import Entropy, digest, new_cookie

FAREWELL_S_MAX = 60.0
FAREWELLS_MAX = 1_000


class Farewell(Discreet, frozen=True, kw_only=True):
    """The way to the provider's sign-out and back to `return_to`. It holds an ID token, so it is kept for a minute at most."""

    request: EndSessionRequest
    state: str
    return_to: str

    def shown(self) -> tuple[str, ...]:
        return ("return_to",)

    def cookie(self) -> str:
        """What the browser keeps until it is back: only who was sent away with this state is let in by it."""
        return f"{self.state}.{base64.urlsafe_b64encode(self.return_to.encode()).decode()}"


def make_farewell(
    metadata: ProviderMetadata,
    registration: ClientRegistration,
    config: SessionConfig,
    *,
    id_token: str | None,
    return_to: str,
    entropy: Entropy,
) -> Farewell | None:
    """None where the provider has nothing to be signed out of."""
    state = new_cookie(entropy)
    request = end_session_request(
        metadata,
        registration,
        post_logout_redirect_uri=signed_out_uri(config),
        state=state,
        id_token_hint=id_token,
        posted=config.sign_out_by == "post",
    )
    return None if request is None else Farewell(request=request, state=state, return_to=return_to)


def read_return(cookie: str | None, state: str) -> str | None:
    """The page to go back to, if this browser was sent away with `state`."""
    known, _, place = (cookie or "").partition(".")
    if not known or not hmac.compare_digest(known.encode(), state.encode(errors="surrogatepass")):
        return None
    try:
        return_to = base64.urlsafe_b64decode(place).decode()
    except (binascii.Error, ValueError):
        return "/"
    return return_to if is_local_path(return_to) else "/"


class Farewells:
    """Each belongs to the browser whose session ended, ends after a minute and is taken once."""

    def __init__(self, *, entries_max: int = FAREWELLS_MAX) -> None:
        self._entries_max = entries_max
        self._farewells: OrderedDict[str, tuple[float, Farewell]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._farewells)

    def keep(self, farewell: Farewell, *, cookie: str, now: float) -> None:
        self._expire(now)
        while len(self._farewells) >= self._entries_max:
            self._farewells.popitem(last=False)
        self._farewells[digest(cookie)] = (now + FAREWELL_S_MAX, farewell)

    def take(self, *, cookie: str | None, now: float) -> Farewell | None:
        self._expire(now)
        found = self._farewells.pop(digest(cookie or ""), None)
        return None if found is None else found[1]

    def _expire(self, now: float) -> None:
        while self._farewells and next(iter(self._farewells.values()))[0] <= now:
            self._farewells.popitem(last=False)
