"""The provider in a thread, over real HTTP."""

from __future__ import annotations

import httpx
import pytest

from session_core.errors import ConfigError
from session_core.provider import Fault, FaultKind, ProviderConfig
from session_core.provider.running import running_provider


def test_it_answers_at_its_issuer_and_stops_with_the_block() -> None:
    """Afterwards nobody listens there."""
    with running_provider(ProviderConfig(access_ttl_s=5.0)) as provider:
        issuer = provider.config.issuer
        found = httpx.get(f"{issuer}/.well-known/openid-configuration", trust_env=False).json()
        assert found["issuer"] == issuer
        assert provider.config.access_ttl_s == 5.0
    with pytest.raises(httpx.ConnectError):
        httpx.get(issuer, trust_env=False)


def test_faults_are_ordered_while_it_runs() -> None:
    """The thread sees what the block orders."""
    with running_provider() as provider:
        provider.faults.order(Fault(kind=FaultKind.STATUS, status=503, times=1), 0.0)
        answers = [httpx.get(provider.config.issuer, trust_env=False).status_code for _ in range(2)]
    assert answers == [503, 200]


def test_a_port_in_use_is_said_in_one_sentence() -> None:
    """Two providers cannot have one port."""
    with running_provider() as provider:
        port = int(provider.config.issuer.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"Port {port} on 127.0.0.1 cannot be used"), running_provider(port=port):
            raise AssertionError("never reached")
