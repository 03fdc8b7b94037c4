"""The synchronous face of a session, from a thread that is not the service's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from lab_kit import ServedLab, served_lab
from streamlit.testing.v1 import AppTest

from session_core.errors import ForeignOriginError, SessionCoreError, SessionEndedError
from session_core.vocabulary import Band, Outcome
from session_core.web import running
from session_core.web.auth_context import AuthContext
from session_core.web.faults import OFFERS
from session_core.web.running import current


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


@pytest.fixture
def auth(served: ServedLab) -> AuthContext:
    lab = served.lab
    with served.browser() as browser:
        served.sign_in(browser)
        seat = lab.seats.find(browser.cookies.get(lab.cookies.session))
    assert seat is not None
    return AuthContext(lab, lab.service.get(seat.session_id), seat.user)


def test_the_six_calls_work_from_a_page(auth: AuthContext) -> None:
    """Each is synchronous, and each reaches the session."""
    auth.stop_session_management()
    assert not auth.picture().status.managed
    auth.start_session_management()
    assert auth.picture().status.managed
    assert auth.get_session_health().band is Band.EXCELLENT
    assert auth.force_refresh_session().outcome is Outcome.OK
    assert auth.get_cache_manager().statistics().entries == 0
    auth.update_activity("test")


def test_the_client_stays_authorised(auth: AuthContext) -> None:
    """An ordinary httpx.Client, one for a session, with relative addresses under the API's."""
    assert auth.client is auth.client
    assert auth.client.get("echo").json()["subject"] == "ada"


def test_many_threads_share_one_refresh(auth: AuthContext) -> None:
    """Every access token is revoked; 20 threads call at once, all succeed, by one refresh."""
    refreshes = auth.picture().status.tokens.refreshes
    auth.order_fault(OFFERS["revoke_access"], provoke=False)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: auth.client.get("echo").status_code, range(20)))
    assert answers == [200] * 20
    assert auth.picture().status.tokens.refreshes == refreshes + 1


def test_no_token_leaves_for_a_stranger(auth: AuthContext) -> None:
    """An address outside the API gets an error instead of a token."""
    with pytest.raises(ForeignOriginError):
        auth.client.get("http://127.0.0.1:9/steal")


def test_an_answer_streams_in_pieces(auth: AuthContext) -> None:
    """Several pieces, in order, that make the whole."""
    pieces = list(auth.stream_text("POST", "chat", json={"message": "Hi"}))
    assert len(pieces) > 3
    assert "Hi" in "".join(pieces)


def test_a_refused_stream_raises_what_it_met(auth: AuthContext) -> None:
    """The page decides what to say; nothing hangs."""
    with pytest.raises(httpx.HTTPStatusError):
        list(auth.stream_text("POST", "nowhere", json={}))


def test_a_stream_left_early_is_let_go(auth: AuthContext) -> None:
    """A reader who navigates away does not keep the call alive."""
    pieces = auth.stream_text("POST", "chat", json={"message": "Hi"})
    next(pieces)
    pieces.close()
    assert auth.call_api() is not None


def test_after_signing_out_nothing_is_left(auth: AuthContext, served: ServedLab) -> None:
    """The client is closed and the session is over."""
    client = auth.client
    auth.sign_out()
    assert client.is_closed
    assert served.lab.service.get(auth.session_id) is None
    with pytest.raises(SessionEndedError):
        auth.force_refresh_session()


def test_nobody_has_no_session(served: ServedLab) -> None:
    """Asking for it says so in a sentence."""
    nobody = AuthContext(served.lab, None, None)
    assert not nobody.signed_in
    with pytest.raises(SessionEndedError, match="Nobody is signed in"):
        nobody.update_activity()


def test_an_error_on_a_page_is_one_sentence() -> None:
    """Ours is shown as it is; anybody else's stays on the console."""

    def script() -> None:
        from session_core.errors import TokenUnavailableError
        from session_core.vocabulary import Outcome
        from session_core.web.auth_context import explain_error

        assert explain_error(TokenUnavailableError(Outcome.OFFLINE, 2))
        assert explain_error(ValueError("a secret detail"))

    app = AppTest.from_function(script).run()
    assert not app.exception
    assert [error.value[:20] for error in app.error] == ["No valid access toke", "This page ran into a"]
    assert "secret" not in str(app.error)


def test_a_page_started_by_itself_says_how_to_start_the_app() -> None:
    """No service is running: one sentence with the command."""
    lab, running._lab = running._lab, None
    try:
        with pytest.raises(SessionCoreError, match=r"streamlit run app\.py"):
            current()
    finally:
        running._lab = lab
