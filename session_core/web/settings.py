"""The app's own settings, from SESSION_LAB_… variables; what concerns sessions is SESSION_CORE_… and a TOML file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from session_core.alert_rules import AlertSettings
from session_core.bounds import require
from session_core.config import SessionConfig, load, read_toml
from session_core.errors import ConfigError
from session_core.provider import ProviderConfig, demo_clients
from session_core.secrecy import Discreet
from session_core.store.rollups import Retention
from session_core.web.webhook import Webhook

T = TypeVar("T")

PREFIX = "SESSION_LAB_"
VARIABLES = (
    "DB",
    "SESSIONS",
    "ACCESS_TTL_S",
    "GRACE_S",
    "CONFIG",
    "INGEST_KEY",
    "INGEST_ORIGINS",
    "INGEST_POSTS_PER_MINUTE",
    "METRICS_KEY",
    "ALERT_WEBHOOK",
    "SIGN_INS_PER_MINUTE",
)
ALERTS, RETENTION, PROVIDERS = "alerts", "retention", "providers"
NOT_OF_SESSIONS = (ALERTS, RETENTION, PROVIDERS)
MEMORY = "memory"
CALLBACK_PATH = "/auth/callback"
SIGNED_OUT_PATH = "/auth/signed-out"
BACKCHANNEL_PATH = "/auth/backchannel-logout"
PROVIDER_PATH = "/idp"
SCOPE = "openid profile email offline_access api"
KEY_CHARS_MIN = 16
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")


class LabSettings(Discreet, frozen=True, kw_only=True):
    """Where events and sessions are kept, who may post events, who is told of alerts, how the embedded provider behaves."""

    db_path: Path = Path("data/session_lab.duckdb")
    sessions: str | None = None
    access_ttl_s: float = 3600.0
    grace_s: float = 30.0
    config_path: Path | None = None
    ingest_key: str | None = None
    ingest_origins: tuple[str, ...] = ()
    ingest_posts_per_minute: float = 600.0
    metrics_key: str | None = None
    alert_webhook: Webhook | None = None
    sign_ins_per_minute: float = 120.0

    def __post_init__(self) -> None:
        require("SESSION_LAB_ACCESS_TTL_S", self.access_ttl_s, 5, 30 * 86_400)
        require("SESSION_LAB_GRACE_S", self.grace_s, 0, 86_400)
        require("SESSION_LAB_INGEST_POSTS_PER_MINUTE", self.ingest_posts_per_minute, 1, 60_000)
        require("SESSION_LAB_SIGN_INS_PER_MINUTE", self.sign_ins_per_minute, 1, 60_000)

    def shown(self) -> tuple[str, ...]:
        return tuple(name for name in self.__struct_fields__ if not name.endswith("_key"))

    @property
    def sessions_path(self) -> Path | None:
        """Beside the events unless it is said; None where sessions are to live in memory only."""
        if self.sessions is None:
            return self.db_path.with_suffix(".sessions.db")
        return None if self.sessions == MEMORY else Path(self.sessions)


def read_settings(environment: Mapping[str, str]) -> LabSettings:
    """Raises ConfigError, which names the variable and what is allowed."""
    given = {name.removeprefix(PREFIX): text for name, text in environment.items() if name.startswith(PREFIX)}
    for name in sorted(given.keys() - set(VARIABLES)):
        raise ConfigError(f"The environment variable {PREFIX}{name} is not known; {_nearest(name)}")
    defaults = LabSettings()
    return LabSettings(
        db_path=_path(given, "DB") or defaults.db_path,
        sessions=None if _path(given, "SESSIONS") is None else given["SESSIONS"].strip(),
        access_ttl_s=_number(given, "ACCESS_TTL_S", defaults.access_ttl_s),
        grace_s=_number(given, "GRACE_S", defaults.grace_s),
        config_path=_path(given, "CONFIG"),
        ingest_key=_key(given, "INGEST_KEY"),
        ingest_origins=tuple(map(_origin, given.get("INGEST_ORIGINS", "").replace(",", " ").split())),
        ingest_posts_per_minute=_number(given, "INGEST_POSTS_PER_MINUTE", defaults.ingest_posts_per_minute),
        metrics_key=_key(given, "METRICS_KEY"),
        alert_webhook=_webhook(given, "ALERT_WEBHOOK"),
        sign_ins_per_minute=_number(given, "SIGN_INS_PER_MINUTE", defaults.sign_ins_per_minute),
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
        "dpop": "auto",
        "profile": {"rotates": True, "grace_s": settings.grace_s},
    }
    file, leave_out = settings.config_path, NOT_OF_SESSIONS
    config = load(file=file, environment=environment, defaults=embedded | defaults, leave_out=leave_out)
    if config.issuer == embedded["issuer"]:
        return config, True
    return load(file=file, environment=environment, defaults=defaults, leave_out=leave_out), False


def alert_settings(settings: LabSettings) -> AlertSettings:
    """What is watched: the table `alerts` of the TOML file, or what stands for itself. Raises ConfigError."""
    return _table(settings.config_path, ALERTS, AlertSettings)


def retention(settings: LabSettings) -> Retention:
    """For how long events are kept: the table `retention` of the TOML file. Raises ConfigError."""
    return _table(settings.config_path, RETENTION, Retention)


def _table(path: Path | None, name: str, kind: type[T]) -> T:
    if path is None:
        return kind()
    try:
        return msgspec.convert(read_toml(path).get(name, {}), kind)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        raise ConfigError(f"In {path}: {name}{place.rstrip('`')}: {text}.") from None
    except ConfigError as error:
        raise ConfigError(f"In {path}: {name}: {error}") from None


def signed_out_uri(config: SessionConfig) -> str:
    """Where the provider sends a browser back to that signed out there; the provider must know this address."""
    public = urlsplit(config.redirect_uri)
    return f"{public.scheme}://{public.netloc}{SIGNED_OUT_PATH}"


def provider_config(settings: LabSettings, config: SessionConfig, *, port: int) -> ProviderConfig:
    own = f"http://127.0.0.1:{port}"
    return ProviderConfig(
        issuer=own + PROVIDER_PATH,
        access_ttl_s=settings.access_ttl_s,
        grace_s=settings.grace_s,
        clients=demo_clients(
            redirect_uris=(config.redirect_uri,),
            post_logout_redirect_uris=(signed_out_uri(config),),
            backchannel_logout_uri=own + BACKCHANNEL_PATH,
        ),
    )


def _path(given: Mapping[str, str], name: str) -> Path | None:
    text = given.get(name)
    if text is None:
        return None
    if not text.strip():
        raise ConfigError(f"{PREFIX}{name} is empty; give the path of a file or leave it out.")
    return Path(text)


def _webhook(given: Mapping[str, str], name: str) -> Webhook | None:
    if name not in given:
        return None
    try:
        return Webhook(url=given[name])
    except ConfigError as error:
        raise ConfigError(f"{PREFIX}{name} cannot be used. {error}") from None


def _number(given: Mapping[str, str], name: str, default: float) -> float:
    if name not in given:
        return default
    try:
        return float(given[name])
    except ValueError:
        raise ConfigError(f"{PREFIX}{name} is {given[name]!r}; give a number, such as 60.") from None


def _key(given: Mapping[str, str], name: str) -> str | None:
    text = given.get(name)
    if text is None:
        return None
    if len(text) < KEY_CHARS_MIN or not all("!" <= char <= "~" for char in text):
        raise ConfigError(
            f"{PREFIX}{name} is too weak; give at least {KEY_CHARS_MIN} letters, digits or signs without a space, "
            "drawn by chance."
        )
    return text


def _origin(text: str) -> str:
    """As browsers say it: a scheme and a host, and a port if it is not the usual one."""
    if not _ORIGIN.fullmatch(text):
        raise ConfigError(f"{PREFIX}INGEST_ORIGINS has {text!r}; give origins such as https://app.example.com.")
    return text


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, VARIABLES, n=1)
    known = ", ".join(PREFIX + variable for variable in VARIABLES)
    return f"did you mean {PREFIX}{close[0]}?" if close else f"known are {known}."
