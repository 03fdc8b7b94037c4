"""The app's own sessions are bound to a key, because its provider and its API take bound tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec
from lab_kit import ServedLab, served_lab

from session_core.dpop import make_key
from session_core.errors import LoginRequest
from session_core.session import Session
from session_core.web.settings import read_settings, session_config

MEMORY = {"SESSION_LAB_SESSIONS": "memory"}


def on_loop(served: ServedLab, work: Any) -> Any:
    return served.lab.service.call(work)


def only_session(served: ServedLab) -> Session:
    (session,) = served.lab.service.sessions()
    return session


def test_a_sign_in_through_the_app_is_bound_and_its_token_is_of_no_use_to_others(tmp_path: Path) -> None:
    """From the browser's redirect to calls and refreshes; what a thief sends with the bare token is refused."""
    with served_lab(tmp_path / "lab.duckdb", MEMORY) as served, served.browser() as browser:
        page = browser.get("/auth/sign-in")
        assert "dpop_jkt=" in str(page.url)
        browser.post(page.url, data={"username": "ada", "password": "demo"})
        session = only_session(served)
        tokens = session._tokens.tokens
        assert tokens is not None
        assert tokens.proof_key is not None
        on_loop(served, session.force_refresh_session())
        assert on_loop(served, session.client.get("echo")).status_code == 200
        refreshed = session._tokens.tokens
        assert refreshed is not None
        assert refreshed.access_token != tokens.access_token
        assert refreshed.proof_key == tokens.proof_key
        for scheme in ("Bearer", "DPoP"):
            stolen = {"authorization": f"{scheme} {refreshed.access_token}"}
            assert httpx.get(f"{served.url}/idp/api/echo", headers=stolen).status_code == 401


def test_another_provider_s_tokens_are_bound_only_if_that_is_asked_for(tmp_path: Path) -> None:
    """Its API may know nothing of proofs."""
    settings = read_settings({"SESSION_LAB_DB": str(tmp_path / "lab.duckdb")})
    assert session_config(settings, {}, port=8501)[0].dpop == "auto"
    other = {"SESSION_CORE_ISSUER": "https://id.example.com", "SESSION_CORE_CLIENT_ID": "app"}
    assert session_config(settings, other, port=8501)[0].dpop == "off"
    asked = {**other, "SESSION_CORE_DPOP": "required"}
    assert session_config(settings, asked, port=8501)[0].dpop == "required"


def test_a_sign_in_under_way_keeps_its_key_on_the_shelf() -> None:
    """A restart between the provider's page and the call-back must not lose it."""
    login = LoginRequest(
        url="u", state="s", nonce="n", code_verifier="v", return_to="/", dpop_key=make_key(lambda count: b"k" * count)
    )
    assert msgspec.json.decode(msgspec.json.encode(login), type=LoginRequest) == login
