"""The app's own settings, from SESSION_LAB_… variables; what concerns sessions is SESSION_CORE_… and a TOML file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from session_core.bounds import require
from session_core.config import SessionConfig, load
from session_core.errors import ConfigError
from session_core.provider import ProviderConfig, demo_clients

PREFIX = "SESSION_LAB_"
VARIABLES = ("DB", "ACCESS_TTL_S", "GRACE_S", "CONFIG")
CALLBACK_PATH = "/auth/callback"
PROVIDER_PATH = "/idp"
SCOPE = "openid profile email offline_access api"


class LabSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where events are kept, and how the embedded provider behaves while no other issuer is configured."""

    db_path: Path = Path("data/session_lab.duckdb")
    access_ttl_s: float = 3600.0
    grace_s: float = 30.0
    config_path: Path | None = None

    def __post_init__(self) -> None:
        require("SESSION_LAB_ACCESS_TTL_S", self.access_ttl_s, 5, 30 * 86_400)
        require("SESSION_LAB_GRACE_S", self.grace_s, 0, 86_400)


def read_settings(environment: Mapping[str, str]) -> LabSettings:
    """Raises ConfigError, which names the variable and what is allowed."""
    given = {name.removeprefix(PREFIX): text for name, text in environment.items() if name.startswith(PREFIX)}
    for name in sorted(given.keys() - set(VARIABLES)):
        raise ConfigError(f"The environment variable {PREFIX}{name} is not known; {_nearest(name)}")
    defaults = LabSettings()
    return LabSettings(
        db_path=_path(given, "DB") or defaults.db_path,
        access_ttl_s=_number(given, "ACCESS_TTL_S", defaults.access_ttl_s),
        grace_s=_number(given, "GRACE_S", defaults.grace_s),
        config_path=_path(given, "CONFIG"),
    )


def session_config(settings: LabSettings, environment: Mapping[str, str], *, port: int) -> tuple[SessionConfig, bool]:
    """How sessions are kept, and whether the embedded provider is who signs people in. Raises ConfigError."""
    own = f"http://127.0.0.1:{port}"
    defaults: dict[str, object] = {"redirect_uri": own + CALLBACK_PATH}
    embedded = {
        "issuer": own + PROVIDER_PATH,
        "client_id": "session-lab",
        "scope": SCOPE,
        "api_url": f"{own}{PROVIDER_PATH}/api/",
        "allow_insecure_http": True,
        "profile": {"rotates": True, "grace_s": settings.grace_s},
    }
    config = load(file=settings.config_path, environment=environment, defaults=embedded | defaults)
    if config.issuer == embedded["issuer"]:
        return config, True
    return load(file=settings.config_path, environment=environment, defaults=defaults), False


def provider_config(settings: LabSettings, config: SessionConfig, *, port: int) -> ProviderConfig:
    own = f"http://127.0.0.1:{port}"
    return ProviderConfig(
        issuer=own + PROVIDER_PATH,
        access_ttl_s=settings.access_ttl_s,
        grace_s=settings.grace_s,
        clients=demo_clients(redirect_uris=(config.redirect_uri,), post_logout_redirect_uris=(f"{own}/",)),
    )


def _path(given: Mapping[str, str], name: str) -> Path | None:
    text = given.get(name)
    if text is None:
        return None
    if not text.strip():
        raise ConfigError(f"{PREFIX}{name} is empty; give the path of a file or leave it out.")
    return Path(text)


def _number(given: Mapping[str, str], name: str, default: float) -> float:
    if name not in given:
        return default
    try:
        return float(given[name])
    except ValueError:
        raise ConfigError(f"{PREFIX}{name} is {given[name]!r}; give a number of seconds, such as 60.") from None


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, VARIABLES, n=1)
    known = ", ".join(PREFIX + variable for variable in VARIABLES)
    return f"did you mean {PREFIX}{close[0]}?" if close else f"known are {known}."
