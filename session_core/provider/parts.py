"""The provider's parts, handed to each endpoint together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from session_core.provider.accounts import Accounts
from session_core.provider.config import ProviderConfig
from session_core.provider.grants import Grants
from session_core.provider.keys import KeyRing
from session_core.provider.ledger import Ledger, ProviderListener
from session_core.provider.proofs import Proofs


class Parts(NamedTuple):
    config: ProviderConfig
    path: str
    accounts: Accounts
    grants: Grants
    keys: KeyRing
    ledger: Ledger
    proofs: Proofs


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
    )
