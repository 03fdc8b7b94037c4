"""What the application and the provider of a scenario are set to."""

from __future__ import annotations

import msgspec

from session_core.config import SessionConfig, SessionPolicy
from session_core.provider.config import AccessTokenFormat, ProviderConfig, SigningAlg, demo_clients
from session_core.provider.config import User as Account
from session_core.refresh_plan import ProviderProfile
from session_core.session_limits import SessionLimits
from session_core.sim.scenario import Scenario

ISSUER = "http://127.0.0.1:9400/idp"
REDIRECT_URI = "http://127.0.0.1:9400/auth/callback"


def app_settings(scenario: Scenario, policy: SessionPolicy) -> SessionConfig:
    """The application's own rules, its limits and cached routes, are the same under every policy."""
    limits = policy.limits
    if scenario.idle_limit_s is not None or scenario.absolute_limit_s is not None:
        limits = SessionLimits(idle_s=scenario.idle_limit_s, absolute_s=scenario.absolute_limit_s)
    cache = msgspec.structs.replace(policy.cache, routes=scenario.cached)
    return SessionConfig(
        issuer=ISSUER,
        client_id="session-lab",
        redirect_uri=REDIRECT_URI,
        scope="openid api",
        api_url=f"{ISSUER}/api/",
        profile=ProviderProfile(rotates=scenario.rotates, grace_s=scenario.grace_s),
        policy=msgspec.structs.replace(policy, limits=limits, cache=cache),
    )


def provider_settings(scenario: Scenario) -> ProviderConfig:
    accounts = (f"u{number}" for number in range(scenario.sessions))
    return ProviderConfig(
        issuer=ISSUER,
        access_ttl_s=scenario.access_ttl_s,
        refresh_ttl_s=scenario.refresh_ttl_s,
        grace_s=scenario.grace_s,
        rotates=scenario.rotates,
        session_ttl_s=30 * 86_400.0,
        clients=demo_clients(redirect_uris=(REDIRECT_URI,)),
        users=tuple(Account(username=name, name=name, email=f"{name}@example.org") for name in accounts),
        access_token_format=AccessTokenFormat.OPAQUE,
        signing_alg=SigningAlg.ES256,
        id_token_on_refresh=False,
    )
