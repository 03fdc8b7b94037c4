"""All settings in one frozen value, from presets, a TOML file and the environment."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from session_core.bounds import require
from session_core.cache_rules import CachePolicy
from session_core.errors import ConfigError
from session_core.fallback_auth_manager import FallbackPolicy
from session_core.oauth import ClientRegistration
from session_core.refresh_plan import ProviderProfile
from session_core.retry_manager import DEFAULT_POLICIES, NO_RETRY, BreakerPolicy, BudgetPolicy, Call, RetryPolicy
from session_core.sealing import KEY_VARIABLE
from session_core.secrecy import Discreet
from session_core.session_limits import AAL1, SessionLimits
from session_core.tokens import RefreshPolicy
from session_core.vocabulary import FallbackStep

ENVIRONMENT_PREFIX = "SESSION_CORE_"


class RetryPolicies(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One strategy per kind of call. For `token`, attempts_max bounds what one waiting caller sits through."""

    token: RetryPolicy = DEFAULT_POLICIES[Call.TOKEN]
    api_read: RetryPolicy = DEFAULT_POLICIES[Call.API_READ]
    api_write: RetryPolicy = DEFAULT_POLICIES[Call.API_WRITE]

    def by_call(self) -> Mapping[Call, RetryPolicy]:
        return {Call.TOKEN: self.token, Call.API_READ: self.api_read, Call.API_WRITE: self.api_write}


class SessionPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sessions are kept alive. `background` off means no worker and no heartbeat."""

    name: str = "professional"
    background: bool = True
    heartbeat_s: float = 300.0
    refresh: RefreshPolicy = RefreshPolicy()
    retry: RetryPolicies = RetryPolicies()
    retry_budget: BudgetPolicy = BudgetPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    fallback: FallbackPolicy = FallbackPolicy()
    cache: CachePolicy = CachePolicy()
    limits: SessionLimits = AAL1

    def __post_init__(self) -> None:
        require("policy.heartbeat_s", self.heartbeat_s, 0.05, 86_400)


PROFESSIONAL = SessionPolicy()
# What most apps do today: one access token, and nothing when it runs out.
BASIC = SessionPolicy(
    name="basic",
    background=False,
    refresh=RefreshPolicy(proactive=False),
    retry=RetryPolicies(token=NO_RETRY, api_read=NO_RETRY, api_write=NO_RETRY),
    fallback=FallbackPolicy(steps=(FallbackStep.LOGIN,)),
    cache=CachePolicy(entries_max=0),
)
PRESETS: Mapping[str, SessionPolicy] = MappingProxyType({"professional": PROFESSIONAL, "basic": BASIC})


class SessionConfig(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose tokens, for which API, kept how. Tokens go to `api_url`'s origin and `api_origins`, and nowhere else."""

    issuer: str
    client_id: str
    client_secret: str | None = None
    auth_method: Literal["none", "client_secret_basic", "client_secret_post"] = "none"
    redirect_uri: str
    scope: str = "openid profile offline_access"
    prompt: Literal["login", "consent", "select_account"] | None = None
    api_url: str = ""
    api_origins: tuple[str, ...] = ()
    allow_insecure_http: bool = False
    dpop: Literal["off", "auto", "required"] = "off"
    sign_out_by: Literal["post", "get"] = "post"
    profile: ProviderProfile = ProviderProfile()
    policy: SessionPolicy = PROFESSIONAL
    tick_s_max: float = 15.0

    def __post_init__(self) -> None:
        require("tick_s_max", self.tick_s_max, 0.01, 15)
        for name, value in (
            ("issuer", self.issuer),
            ("api_url", self.api_url),
            *(("api_origins", o) for o in self.api_origins),
        ):
            if (value or name == "issuer") and urlsplit(value).scheme not in ("http", "https"):
                raise ConfigError(f"{name} is {value!r}; give an address that begins with https:// or http://.")
        self.registration()

    def shown(self) -> tuple[str, ...]:
        return ("issuer", "client_id", "api_url")

    def registration(self) -> ClientRegistration:
        return ClientRegistration(
            client_id=self.client_id,
            client_secret=self.client_secret,
            redirect_uri=self.redirect_uri,
            scope=self.scope,
            auth_method=self.auth_method,
        )


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str],
    defaults: Mapping[str, object] = MappingProxyType({}),
    leave_out: Collection[str] = (),
) -> SessionConfig:
    """Defaults, then the TOML `file`, then SESSION_CORE_… variables. Raises ConfigError, which names place and remedy.

    `policy` is a preset's name or a table of the settings that differ from `professional`. `leave_out` names tables of
    the file that somebody else reads.
    """
    said = _read_environment(environment)
    written = {} if file is None else {name: value for name, value in read_toml(file).items() if name not in leave_out}
    place = " or ".join([*([str(file)] if file else []), *(["the environment"] if said or not file else [])])
    return checked({**defaults, **written, **said}, place=place)


def checked(settings: Mapping[str, object], *, place: str) -> SessionConfig:
    """The settings that somebody wrote at `place`. Raises ConfigError, which names it and the remedy."""
    policy = settings.get("policy")
    if isinstance(policy, str):
        settings = {**settings, "policy": preset(policy)}
    try:
        return msgspec.convert(settings, SessionConfig, from_attributes=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"In {place}: {_explain(str(error))}") from None
    except ConfigError as error:
        raise ConfigError(f"In {place}: {error}") from None


def preset(name: str) -> SessionPolicy:
    """The policy of that name. Raises ConfigError, which suggests the nearest."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(f"There is no policy {name!r}; {_nearest(name, PRESETS)}") from None


def read_policy(name_or_file: str) -> SessionPolicy:
    """A preset by name, or the policy of a TOML file: its `policy` table if it has one, else the whole file.

    A file says what differs from `professional`; its policy is called like the file unless it says otherwise.
    Raises ConfigError, which suggests the nearest name.
    """
    if not name_or_file.endswith(".toml"):
        return preset(name_or_file)
    file = Path(name_or_file)
    table = read_toml(file)
    said = table.get("policy", table)
    if isinstance(said, str):
        return preset(said)
    prefix = "" if "policy" in table else "policy."
    named = {"name": file.stem, **said} if isinstance(said, dict) else said
    try:
        policy = msgspec.convert({"policy": named}, _PolicyFile).policy
    except msgspec.ValidationError as error:
        raise ConfigError(f"In {file}: {_explain(str(error)).removeprefix(prefix)}") from None
    except ConfigError as error:
        raise ConfigError(f"In {file}: {str(error).removeprefix(prefix)}") from None
    if policy != PRESETS.get(policy.name, policy):
        raise ConfigError(f"In {file}: the policy is called {policy.name!r} like a built-in one; give it another name.")
    return policy


class _PolicyFile(msgspec.Struct, frozen=True):
    policy: SessionPolicy


def read_toml(file: Path) -> dict[str, Any]:
    """Raises ConfigError, which names the file and what is wrong with it."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The settings file {file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {file} is not valid TOML: {error}.") from None


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """SESSION_CORE_ISSUER and the like: every top-level setting that is one word or yes/no. A key is no setting."""
    plain = [name for name in SessionConfig.__struct_fields__ if name not in ("profile", "api_origins", "tick_s_max")]
    found: dict[str, Any] = {}
    for variable, value in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable != KEY_VARIABLE:
            field = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if field not in plain:
                known = [ENVIRONMENT_PREFIX + name.upper() for name in plain]
                raise ConfigError(f"The environment variable {variable} is not known; {_nearest(variable, known)}")
            found[field] = _read_bool(variable, value) if field == "allow_insecure_http" else value
    return found


def _read_bool(variable: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ConfigError(f"{variable} is {value!r}; set it to true or false.")
    return value.lower() == "true"


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."


def _explain(problem: str) -> str:
    """The decoder's message in our words, with the names or words that are allowed there."""
    text, _, path = problem.partition(" - at `$")
    where = path.rstrip("`").strip(".")
    inside = f"{where}." if where else ""
    if "unknown field" in text:
        unknown = text.split("`")[1]
        return f"{inside}{unknown} is not a setting; {_nearest(unknown, _struct_in(_kind_at(where)).__struct_fields__)}"
    if "missing required field" in text:
        return f"{inside}{text.split('`')[1]} is missing; set it."
    if words := _words_in(_kind_at(where)):
        return f"{where}: {text}; choose one of {', '.join(words)}."
    return f"{where}: {text}."


def _kind_at(path: str) -> Any:
    """The type of the setting at a path such as `policy.cache.routes[1]`; of all settings where it is empty."""
    kind: Any = SessionConfig
    for name in filter(None, re.sub(r"\[[^\]]*\]", "", path).split(".")):
        kind = next(field.type for field in msgspec.structs.fields(_struct_in(kind)) if field.name == name)
    return kind


def _struct_in(kind: Any) -> type[msgspec.Struct]:
    return next(part for part in _parts(kind) if isinstance(part, type) and issubclass(part, msgspec.Struct))


def _words_in(kind: Any) -> list[str]:
    parts = list(_parts(kind))
    enums = [part for part in parts if isinstance(part, type) and issubclass(part, StrEnum)]
    return [part for part in parts if isinstance(part, str)] + [word for enum in enums for word in enum]


def _parts(kind: Any) -> Iterator[Any]:
    yield kind
    for part in get_args(kind):
        yield from _parts(part)
