"""The provider's parts, handed to each endpoint together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from session_core.provider.accounts import Accounts
from session_core.provider.config import ProviderConfig
from session_core.provider.grants import Grants
from session_core.provider.keys import KeyRing
from session_core.provider.ledger import Ledger, ProviderListener
from session_core.provider.proofs import Proofs
from session_core.secrecy import Discreet

NOTICES_MAX = 1_000


class LogoutNotice(Discreet, frozen=True, kw_only=True):
    """A logout token that waits to be brought to a client."""

    uri: str
    client_id: str
    token: str

    def shown(self) -> tuple[str, ...]:
        return ("uri", "client_id")


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    config: ProviderConfig
    path: str
    accounts: Accounts
    grants: Grants
    keys: KeyRing
    ledger: Ledger
    proofs: Proofs
    entropy: Callable[[int], bytes]
    notices: deque[LogoutNotice]


def make_parts(
    config: ProviderConfig,
    *,
    entropy: Callable[[int], bytes],
    secrets_max: int,
    listener: ProviderListener | None = None,
) -> Parts:
    ledger = Ledger(secrets_max=secrets_max, listener=listener)
    for client in config.clients:
        if client.secret is not None:
            ledger.keep_secret(client.secret)
    keys = KeyRing(config.signing_alg, entropy)
    return Parts(
        config=config,
        path=urlsplit(config.issuer).path,
        accounts=Accounts(config, entropy=entropy, ledger=ledger),
        grants=Grants(config, entropy=entropy, keys=keys, ledger=ledger),
        keys=keys,
        ledger=ledger,
        proofs=Proofs(config, entropy=entropy),
        entropy=entropy,
        notices=deque(maxlen=NOTICES_MAX),
    )
