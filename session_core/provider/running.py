"""The provider in a thread of its own, for a test or an example that wants real HTTP and orders faults as it goes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from session_core.clock import SystemClock
from session_core.provider.asgi import provider_app
from session_core.provider.config import ProviderConfig
from session_core.provider.core import EmbeddedProvider
from session_core.provider.serve import HOST, listen


@contextmanager
def running_provider(config: ProviderConfig | None = None, *, port: int = 0) -> Iterator[EmbeddedProvider]:
    """A provider that answers at its `config.issuer` until the block ends; port 0 picks a free one."""
    listener = listen(port)
    issuer = f"http://{HOST}:{listener.getsockname()[1]}"
    provider = EmbeddedProvider((config or ProviderConfig()).at(issuer), entropy=secrets.token_bytes)
    server = uvicorn.Server(
        uvicorn.Config(
            provider_app(provider, clock=SystemClock()),
            log_level="error",
            access_log=False,
            date_header=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="provider", daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join()
