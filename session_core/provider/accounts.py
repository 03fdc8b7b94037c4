"""Who calls: clients that prove themselves, users that sign in, and the sessions they have at the provider."""

from __future__ import annotations

import base64
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping

import msgspec

from session_core.provider.answers import RefusedError
from session_core.provider.config import Client, ProviderConfig, User
from session_core.provider.inbound import Inbound, basic_credentials
from session_core.provider.ledger import Ledger

SESSIONS_MAX = 10_000


class ProviderSession(msgspec.Struct, frozen=True, kw_only=True):
    """A browser's standing at the provider, which `prompt=none` builds on. `session_id` is public, the cookie is not."""

    session_id: str
    username: str
    auth_time: float
    expires_at: float


class Accounts:
    def __init__(self, config: ProviderConfig, *, entropy: Callable[[int], bytes], ledger: Ledger) -> None:
        self._clients = {client.client_id: client for client in config.clients}
        self._users = {user.username: user for user in config.users}
        self._session_ttl_s = config.session_ttl_s
        self._entropy = entropy
        self._ledger = ledger
        self._sessions: OrderedDict[str, ProviderSession] = OrderedDict()
        self._changed: dict[str, ProviderSession | None] | None = None

    def client(self, client_id: str | None) -> Client | None:
        return self._clients.get(client_id or "")

    def user(self, username: str) -> User:
        return self._users[username]

    def knows(self, username: str) -> bool:
        return username in self._users

    def users(self) -> tuple[User, ...]:
        return tuple(self._users.values())

    def authenticate_client(self, inbound: Inbound, params: Mapping[str, str]) -> Client:
        """RFC 6749 §2.3: one way of proving it per request; a public client only says its name."""
        basic = basic_credentials(inbound.headers)
        if basic and "client_secret" in params:
            raise RefusedError("invalid_request", "The client proves itself in two ways at once; use one.")
        client_id, secret = basic or (params.get("client_id"), params.get("client_secret"))
        if params.get("client_id", client_id) != client_id:
            raise RefusedError("invalid_request", "client_id differs from the one in the Authorization header.")
        client = self.client(client_id)
        if client is None or not _same(client.secret, secret):
            raise RefusedError(
                "invalid_client",
                "The client is unknown or did not prove itself.",
                status=401,
                headers={"www-authenticate": 'Basic realm="session-lab"'},
            )
        return client

    def check_password(self, username: str, password: str) -> User | None:
        user = self._users.get(username)
        return user if user and _same(user.password, password) else None

    def start_session(self, user: User, *, now: float) -> tuple[str, ProviderSession]:
        """A new session with its cookie value; the oldest makes room when there are too many."""
        if len(self._sessions) >= SESSIONS_MAX:
            self._mark(self._sessions.popitem(last=False)[0], None)
        cookie = self._ledger.keep_secret(base64.urlsafe_b64encode(self._entropy(33)).decode())
        session = ProviderSession(
            session_id=self._entropy(12).hex(),
            username=user.username,
            auth_time=now,
            expires_at=now + self._session_ttl_s,
        )
        self._sessions[cookie] = session
        self._mark(cookie, session)
        self._ledger.note("signed_in", at=now, username=user.username)
        return cookie, session

    def remember_changes(self) -> None:
        """From now on `take_changed` says what to write; somebody has to ask it."""
        self._changed = {}

    def take_changed(self) -> tuple[tuple[str, ProviderSession | None], ...]:
        """The sessions that changed since this was asked last, by their cookies; None for those that are over."""
        changed, self._changed = self._changed or {}, {}
        return tuple(changed.items())

    def restore(self, cookie: str, session: ProviderSession) -> None:
        self._sessions[self._ledger.keep_secret(cookie)] = session

    def _mark(self, cookie: str, session: ProviderSession | None) -> None:
        if self._changed is not None:
            self._changed[cookie] = session

    def session(self, cookie: str | None, *, now: float) -> ProviderSession | None:
        session = self._sessions.get(cookie or "")
        return session if session and now < session.expires_at else None

    def signed_in(self, *, now: float) -> list[str]:
        """The users with a session."""
        return sorted({session.username for session in self._sessions.values() if now < session.expires_at})

    def end_session(self, cookie: str, *, now: float) -> None:
        session = self._sessions.pop(cookie)
        self._mark(cookie, None)
        self._ledger.note("signed_out", at=now, username=session.username)

    def end_sessions_of(self, username: str, *, now: float) -> None:
        for cookie in [cookie for cookie, session in self._sessions.items() if session.username == username]:
            self.end_session(cookie, now=now)


def _same(expected: str | None, given: str | None) -> bool:
    if expected is None or given is None:
        return expected is given
    return hmac.compare_digest(expected.encode(), given.encode())
