"""Who may sign people in: the first provider, as the settings say it, and further ones in tables `providers.NAME`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from session_core.config import ENVIRONMENT_PREFIX, SessionConfig, checked, read_toml
from session_core.errors import ConfigError
from session_core.sealing import KEY_VARIABLE
from session_core.service import FIRST
from session_core.web.settings import PROVIDERS, LabSettings, session_config

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
EMBEDDED_LABEL = "the embedded test provider"
# What stands for the first provider in an address.
MAIN = "main"
# With these, SESSION_CORE_NAME_… could mean two things.
_TAKEN = (*SessionConfig.__struct_fields__, KEY_VARIABLE.removeprefix(ENVIRONMENT_PREFIX).lower())


class Providers(msgspec.Struct, frozen=True, kw_only=True):
    """`embedded` says that the first one is the app's own."""

    first: SessionConfig
    embedded: bool
    others: Mapping[str, SessionConfig]

    def configs(self) -> Mapping[str, SessionConfig]:
        return {FIRST: self.first, **self.others}

    def labels(self) -> Mapping[str, str]:
        """What people choose by."""
        host = urlsplit(self.first.issuer).netloc
        return {FIRST: EMBEDDED_LABEL if self.embedded else host, **{name: name for name in self.others}}


def read_providers(settings: LabSettings, environment: Mapping[str, str], *, port: int) -> Providers:
    """Raises ConfigError. What SESSION_CORE_NAME_… says is for the provider of that name only."""
    tables = _tables(settings)
    theirs = {name: _environment_of(name, environment) for name in tables}
    taken = {variable for said in theirs.values() for variable in said}
    first, embedded = session_config(
        settings, {variable: text for variable, text in environment.items() if variable not in taken}, port=port
    )
    others = {name: _other(settings, first, name, table, theirs[name]) for name, table in tables.items()}
    _require_apart({FIRST: first, **others})
    return Providers(first=first, embedded=embedded, others=others)


def _tables(settings: LabSettings) -> dict[str, dict[str, Any]]:
    if settings.config_path is None:
        return {}
    tables = read_toml(settings.config_path).get(PROVIDERS, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError(
            f"In {settings.config_path}: write each further provider as a table, such as [providers.work]."
        )
    for name in tables:
        if not NAME.fullmatch(name) or name == MAIN or any(field.startswith(f"{name}_") for field in _TAKEN):
            raise ConfigError(
                f"In {settings.config_path}: no provider can be called {name!r};"
                " take another name of small letters, digits and _, a letter first."
            )
    return tables


def _environment_of(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    prefix = f"{ENVIRONMENT_PREFIX}{name.upper()}_"
    return {variable: text for variable, text in environment.items() if variable.startswith(prefix)}


def _other(
    settings: LabSettings, first: SessionConfig, name: str, table: Mapping[str, Any], said: Mapping[str, str]
) -> SessionConfig:
    """As its table says. The policy is the first one's unless it has its own; so is where people come back to."""
    known = SessionConfig.__struct_fields__
    spoken = {variable.removeprefix(f"{ENVIRONMENT_PREFIX}{name.upper()}_").lower(): variable for variable in said}
    for field, variable in spoken.items():
        if field not in known:
            raise ConfigError(f"The environment variable {variable} is not known; {name} has no setting {field}.")
    defaults = {"redirect_uri": f"{first.redirect_uri}/{name}", "policy": first.policy, "tick_s_max": first.tick_s_max}
    values = {field: said[variable] for field, variable in spoken.items()}
    return checked({**defaults, **table, **values}, place=f"{settings.config_path}, table {PROVIDERS}.{name}")


def _require_apart(configs: Mapping[str, SessionConfig]) -> None:
    """Answers are told apart by issuer and by the address they come to (RFC 9700 §4.4), cookies by origin."""
    for what, values in (
        ("issuer", [config.issuer for config in configs.values()]),
        ("redirect_uri", [config.redirect_uri for config in configs.values()]),
    ):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ConfigError(f"Two providers have the {what} {twice!r}; give each its own.")
    origins = {urlsplit(config.redirect_uri)[:2] for config in configs.values()}
    if len(origins) > 1:
        raise ConfigError(
            "The redirect_uri of every provider must have the same scheme, host and port: those of this app."
        )
