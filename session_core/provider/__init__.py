"""The embedded identity provider: one pure core, three faces (`asgi`, `memory`, `serve`). A test double."""

from session_core.provider.answers import Fate, ProviderAnswer
from session_core.provider.config import (
    AccessTokenFormat,
    Client,
    ProviderConfig,
    SigningAlg,
    User,
    demo_clients,
    lab_clients,
)
from session_core.provider.core import EmbeddedProvider
from session_core.provider.faults import Endpoint, Fault, FaultKind, FaultPlan, load_faults, read_fault
from session_core.provider.ledger import AuditFact, ProviderStatistics

__all__ = [
    "AccessTokenFormat",
    "AuditFact",
    "Client",
    "EmbeddedProvider",
    "Endpoint",
    "Fate",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "ProviderAnswer",
    "ProviderConfig",
    "ProviderStatistics",
    "SigningAlg",
    "User",
    "demo_clients",
    "lab_clients",
    "load_faults",
    "read_fault",
]
