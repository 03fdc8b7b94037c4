"""Keeps people signed in across hours of idle."""

from session_core.api_client import ApiClient, SessionAuth
from session_core.clock import Clock, SystemClock
from session_core.config import SessionConfig, SessionPolicy
from session_core.errors import (
    ConfigError,
    LoginRequest,
    LoginRequiredError,
    ProviderError,
    SessionCoreError,
    SessionEndedError,
    SessionLockedError,
    TokenUnavailableError,
)
from session_core.events import Event
from session_core.service import SessionService
from session_core.session import Session
from session_core.session_health import HealthScore
from session_core.session_limits import SessionLimits
from session_core.vocabulary import State

__all__ = [
    "ApiClient",
    "Clock",
    "ConfigError",
    "Event",
    "HealthScore",
    "LoginRequest",
    "LoginRequiredError",
    "ProviderError",
    "Session",
    "SessionAuth",
    "SessionConfig",
    "SessionCoreError",
    "SessionEndedError",
    "SessionLimits",
    "SessionLockedError",
    "SessionPolicy",
    "SessionService",
    "State",
    "SystemClock",
    "TokenUnavailableError",
]
