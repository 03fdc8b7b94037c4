"""What the embedded provider is: its address, lives, clients and demo users."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urljoin, urlsplit

import msgspec

from session_core.bounds import require
from session_core.errors import ConfigError

DAY_S = 86_400.0
DEMO_REDIRECT_URIS = (
    "http://127.0.0.1:8501/auth/callback",
    "http://localhost:8501/auth/callback",
)
DEMO_POST_LOGOUT_REDIRECT_URIS = ("http://127.0.0.1:8501/", "http://localhost:8501/")
DEMO_SERVICE_SECRET = "session-lab-service-demo-secret"  # noqa: S105 - printed in the documentation, guards nothing


class AccessTokenFormat(StrEnum):
    """A signed JWT (RFC 9068), or an opaque string, which costs nothing to make."""

    JWT = "jwt"
    OPAQUE = "opaque"


class SigningAlg(StrEnum):
    """RS256 is what most providers use; ES256 signs six times faster."""

    RS256 = "RS256"
    ES256 = "ES256"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A registered client: public without a secret, confidential with one. Only a confidential one acts for itself."""

    client_id: str
    secret: str | None = None
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None

    def __post_init__(self) -> None:
        if not self.client_id:
            raise ConfigError("client_id is empty; give every client a name.")
        if self.secret == "":
            raise ConfigError(f"secret of client {self.client_id!r} is empty; leave it out for a public client.")
        for uri in (*self.redirect_uris, *self.post_logout_redirect_uris):
            _require_url("redirect_uris", uri)
        if self.backchannel_logout_uri is not None:
            _require_url("backchannel_logout_uri", self.backchannel_logout_uri)

    def __repr__(self) -> str:
        return f"Client({self.client_id!r}, {'public' if self.secret is None else 'confidential'})"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A demo user. Everyone may know the password: the sign-in page shows it."""

    username: str
    name: str
    email: str
    password: str = "demo"  # noqa: S105 - the demo password

    def __repr__(self) -> str:
        return f"User({self.username!r})"


def demo_clients(
    *,
    redirect_uris: tuple[str, ...] = DEMO_REDIRECT_URIS,
    post_logout_redirect_uris: tuple[str, ...] = DEMO_POST_LOGOUT_REDIRECT_URIS,
    backchannel_logout_uri: str | None = None,
    service_secret: str = DEMO_SERVICE_SECRET,
) -> tuple[Client, ...]:
    """The public client of the lab, and a confidential one for programs."""
    return (
        Client(
            client_id="session-lab",
            redirect_uris=redirect_uris,
            post_logout_redirect_uris=post_logout_redirect_uris,
            backchannel_logout_uri=backchannel_logout_uri,
        ),
        Client(
            client_id="session-lab-service",
            secret=service_secret,
            redirect_uris=redirect_uris,
            post_logout_redirect_uris=post_logout_redirect_uris,
        ),
    )


def lab_clients(redirect_uris: tuple[str, ...] = DEMO_REDIRECT_URIS) -> tuple[Client, ...]:
    """The same for a lab that is called back at these addresses: it comes back from a sign-out, and is told of one."""
    return demo_clients(
        redirect_uris=redirect_uris,
        post_logout_redirect_uris=tuple(urljoin(uri, "/auth/signed-out") for uri in redirect_uris),
        backchannel_logout_uri=urljoin(redirect_uris[0], "/auth/backchannel-logout"),
    )


DEMO_USERS = (
    User(username="ada", name="Ada Lovelace", email="ada@example.org"),
    User(username="grace", name="Grace Hopper", email="grace@example.org"),
    User(username="alan", name="Alan Turing", email="alan@example.org"),
)


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How long things live and how strict rotation is.

    `grace_s` is how long a just-spent refresh token is answered with its successor again; after that, using it
    revokes the whole family. A refresh token lives `refresh_ttl_s` from its issue, and rotation issues a new one.
    `dpop_nonce_s` is how often the nonce changes that a proof of possession must carry; without it none must.
    """

    issuer: str = "http://127.0.0.1:8700"
    access_ttl_s: float = 3600.0
    refresh_ttl_s: float = 30 * DAY_S
    grace_s: float = 0.0
    rotates: bool = True
    code_ttl_s: float = 60.0
    session_ttl_s: float = DAY_S / 3
    clients: tuple[Client, ...] = msgspec.field(default_factory=demo_clients)
    users: tuple[User, ...] = DEMO_USERS
    access_token_format: AccessTokenFormat = AccessTokenFormat.JWT
    signing_alg: SigningAlg = SigningAlg.RS256
    id_token_on_refresh: bool = True
    dpop_nonce_s: float | None = None

    def __post_init__(self) -> None:
        _require_url("issuer", self.issuer)
        if self.issuer.endswith("/") or "?" in self.issuer:
            raise ConfigError(f"issuer is {self.issuer!r}; write it without a query and without a slash at its end.")
        require("access_ttl_s", self.access_ttl_s, 1, 400 * DAY_S)
        require("refresh_ttl_s", self.refresh_ttl_s, 1, 3650 * DAY_S)
        require("grace_s", self.grace_s, 0, DAY_S)
        require("code_ttl_s", self.code_ttl_s, 1, 600)
        require("session_ttl_s", self.session_ttl_s, 1, 365 * DAY_S)
        require("dpop_nonce_s", self.dpop_nonce_s, 1, DAY_S)
        _require_word("access_token_format", self.access_token_format, AccessTokenFormat)
        _require_word("signing_alg", self.signing_alg, SigningAlg)
        _require_unique("clients", [client.client_id for client in self.clients])
        _require_unique("users", [user.username for user in self.users])

    def at(self, issuer: str) -> ProviderConfig:
        """The same at another address: a port is often known only after listening."""
        return msgspec.structs.replace(self, issuer=issuer)


def _require_url(field: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and "#" not in value and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f"{field} is {value!r}; give an http or https URL with a host and no fragment.")


def _require_word(field: str, value: str, words: type[StrEnum]) -> None:
    if value not in list(words):
        raise ConfigError(f"{field} is {value!r}; choose one of {', '.join(words)}.")


def _require_unique(field: str, names: list[str]) -> None:
    if not names or len(names) != len(set(names)):
        raise ConfigError(f"{field} holds {', '.join(names) or 'nothing'}; give at least one and each name once.")
