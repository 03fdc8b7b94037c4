"""Sessions for a Streamlit app of one's own: `app = st.App("page.py", **with_sessions())`, and `use_auth()` in its pages."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

import streamlit as st

from session_core.errors import ConfigError
from session_core.web.auth_context import explain_error
from session_core.web.headers import forbidding
from session_core.web.providers import read_providers
from session_core.web.routes import lab_routes
from session_core.web.running import Lab, run_lab
from session_core.web.sending import send_at_once
from session_core.web.settings import alert_settings, read_settings
from session_core.web.stored_sessions import stored_sessions


def with_sessions(
    *,
    called: str = "This app",
    environment: Mapping[str, str] | None = None,
    beside: Callable[[Lab], AbstractContextManager[object]] = nullcontext,
    allowing: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What `st.App` takes so that its users sign in and stay signed in; `beside` is held while it runs.

    `allowing` says what pages load from elsewhere, by the names of a content security policy: a map needs
    {"connect-src": "https://basemaps.cartocdn.com"}, a component in a frame {"frame-src": "'self'", "frame-ancestors": "'self'"}.
    It is configured by the variables of docs/configuration.md. Raises SystemExit with a sentence that says what is wrong.
    """
    told = os.environ if environment is None else environment
    port, address = st.get_option("server.port"), st.get_option("server.address")
    try:
        settings = read_settings(told)
        config = read_providers(settings, told, port=port).first
        alert_settings(settings)
        with stored_sessions(settings, told, config):
            pass  # What is wrong with the file is said before anything else is started.
        middleware = forbidding(config.redirect_uri, address=address, allowing=allowing)
    except ConfigError as error:
        raise SystemExit(f"{called} cannot start. {error}") from None

    @asynccontextmanager
    async def lifespan(_app: st.App) -> AsyncIterator[dict[str, Any]]:
        send_at_once()
        async with run_lab(settings, told, port=port, address=address) as lab:
            with beside(lab):
                yield {}

    return {
        "lifespan": lifespan,
        "routes": lab_routes(),
        "middleware": middleware,
        "on_script_error": explain_error,
    }
