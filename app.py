"""Session Lab: `streamlit run app.py`. Wiring only; what runs is in session_core.web, what is seen in pages/."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st

from session_core.errors import ConfigError
from session_core.web.auth_context import explain_error
from session_core.web.headers import forbidding
from session_core.web.routes import lab_routes
from session_core.web.running import run_lab
from session_core.web.providers import read_providers
from session_core.web.settings import alert_settings, read_settings
from session_core.web.stored_sessions import stored_sessions

try:
    settings = read_settings(os.environ)
    config = read_providers(settings, os.environ, port=st.get_option("server.port")).first
    alert_settings(settings)
    with stored_sessions(settings, os.environ, config):
        pass  # What is wrong with the file is said before anything else is started.
except ConfigError as error:
    raise SystemExit(f"Session Lab cannot start. {error}") from None


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[dict[str, Any]]:
    from session_core.dashboard import loaders  # noqa: PLC0415 - its cache needs Streamlit's runtime to be there

    port, address = st.get_option("server.port"), st.get_option("server.address")
    async with run_lab(settings, os.environ, port=port, address=address) as lab:
        loaders.attach(lab.store)
        try:
            yield {}
        finally:
            loaders.detach()


app = st.App(
    "pages/menu.py",
    lifespan=lifespan,
    routes=lab_routes(),
    middleware=forbidding(config.redirect_uri),
    on_script_error=explain_error,
)
