"""The file that the app keeps its sessions in: found by the settings, and refused in one sentence where it is unsafe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from session_core.clock import Clock
from session_core.config import SessionConfig
from session_core.errors import ConfigError, SessionCoreError
from session_core.provider import EmbeddedProvider
from session_core.provider.asgi import ProviderFace
from session_core.provider.keeping import GrantKeeper
from session_core.sealing import keys_from
from session_core.session_limits import widest
from session_core.shelf import NoShelf, Shelf
from session_core.sqlite_session_store import SqliteSessionStore
from session_core.web.settings import MEMORY, PREFIX, LabSettings


@contextmanager
def stored_sessions(
    settings: LabSettings,
    environment: Mapping[str, str],
    config: SessionConfig,
    *,
    others: Iterable[SessionConfig] = (),
    clock: Clock | None = None,
) -> Iterator[SqliteSessionStore | None]:
    """The store that sessions outlive the app in, or None where they are to live in memory. Raises ConfigError.

    What is wrong with the file stops the app. Going on in memory would sign everybody out now and once more when the
    file is mended, and a sign-out meanwhile would not reach the tokens that are in it.
    """
    path, limits = settings.sessions_path, widest(each.policy.limits for each in (config, *others))
    if path is None:
        yield None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        store = SqliteSessionStore(path, keys=keys_from(environment), limits=limits, clock=clock)
    except OSError as error:
        raise _refused(f"The directory of {path} cannot be made ({error.strerror}); make it.") from error
    except SessionCoreError as error:
        raise _refused(str(error)) from error
    with store:
        yield store


def shelf_of(store: SqliteSessionStore | None, config: SessionConfig, kind: str) -> Shelf:
    """Beside the sessions, for this client at this provider: what another one left there is not found."""
    return NoShelf() if store is None else store.shelf(f"{kind} of {config.client_id} at {config.issuer}")


async def provider_face(
    provider: EmbeddedProvider, store: SqliteSessionStore | None, config: SessionConfig, *, clock: Clock
) -> ProviderFace:
    """The embedded provider lives in this process: what it granted must outlive it, or no stored session goes on."""
    if store is None:
        return ProviderFace(provider, clock=clock)
    keeper = GrantKeeper(provider.lasting(), shelf_of(store, config, "grants"), clock=clock)
    await keeper.restore()
    return ProviderFace(provider, clock=clock, keeper=keeper)


def _refused(why: str) -> ConfigError:
    remedy = f"set {PREFIX}SESSIONS to another file, or to {MEMORY}, which forgets every session when the app stops"
    return ConfigError(f"{why.rstrip('.')}; or {remedy}.")
