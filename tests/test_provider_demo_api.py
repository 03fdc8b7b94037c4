"""The demo API: who may call it, and what it says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_kit import START_S, Driver, bearer, error_of, said

from session_core.provider.demo_api import SLOW_CHUNK_BYTES, reply


def chat(driver: Driver, body: object) -> str:
    token = driver.tokens()["access_token"]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = driver.send("POST", "/api/chat", body=raw, headers=bearer(token))
    assert answer.status == 200, answer.body
    return b"".join(answer.chunks).decode()


def test_without_a_token_the_challenge_names_no_error() -> None:
    """RFC 6750 §3.1."""
    answer = Driver().get("/api/echo")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="session-lab"')


@pytest.mark.parametrize("token", ["", "guess", "at_"])
def test_a_bad_token_is_told_as_invalid(token: str) -> None:
    """The client can tell it from a missing one."""
    answer = Driver().get("/api/echo", token=token)
    assert error_of(answer) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_echo_answers_every_method(method: str) -> None:
    """And says who asked, when, and how many asked before."""
    driver = Driver()
    token = driver.tokens()["access_token"]
    driver.get("/api/echo", token="guess")
    driver.get("/api/echo", token=token)
    assert said(driver.send(method, "/api/echo", headers=bearer(token))) == {
        "method": method,
        "path": "/idp/api/echo",
        "subject": "ada",
        "client_id": "session-lab",
        "server_time": START_S,
        "request_count": 2,
    }


def test_chat_streams_word_by_word_and_mentions_what_was_said() -> None:
    """The delay is data; the faces wait."""
    driver = Driver()
    token = driver.tokens()["access_token"]
    body = json.dumps({"message": "Hello {there}"}).encode()
    answer = driver.send("POST", "/api/chat", body=body, headers=bearer(token))
    chunks = tuple(answer.chunks)
    assert len(chunks) > 5
    assert answer.chunk_delay_s > 0
    assert "“Hello {there}”" in b"".join(chunks).decode()


def test_a_long_message_is_quoted_short() -> None:
    """ATOM does not parrot a page."""
    assert len(chat(Driver(), {"message": "x" * 4000})) < 300


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"\xff", [], {}, {"message": ""}, {"message": "  "}, {"message": 1}, {"message": "x" * 4001}],
)
def test_chat_refuses_what_is_no_message(body: object) -> None:
    """400 and what to send instead."""
    driver = Driver()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = driver.send("POST", "/api/chat", body=raw, headers=bearer(driver.tokens()["access_token"]))
    assert error_of(answer) == (400, "invalid_request")


def test_chat_needs_a_token() -> None:
    """Before it looks at the message."""
    assert Driver().send("POST", "/api/chat", body=b'{"message": "x"}').status == 401


@given(st.text(min_size=1))
def test_the_reply_depends_on_the_words_alone(words: str) -> None:
    """The same in any process, and never empty."""
    assert reply(words, name="Ada") == reply(words, name="Ada")
    assert words[:20] in reply(words, name="Ada")


@pytest.mark.parametrize("size", [0, 1, SLOW_CHUNK_BYTES, SLOW_CHUNK_BYTES + 1, 1_000_000])
def test_slow_sends_exactly_as_much_as_asked(size: int) -> None:
    """In pieces, each after the delay."""
    driver = Driver()
    answer = driver.get("/api/slow", token=driver.tokens()["access_token"], bytes=str(size), delay_ms="20")
    chunks = list(answer.chunks)
    assert sum(map(len, chunks)) == size == int(answer.headers["content-length"])
    assert answer.chunk_delay_s == 0.02
    assert all(len(chunk) <= SLOW_CHUNK_BYTES for chunk in chunks)


@pytest.mark.parametrize("params", [{"bytes": "-1"}, {"bytes": "many"}, {"bytes": "9" * 12}, {"delay_ms": "1001"}])
def test_slow_refuses_what_it_cannot_send(params: dict[str, str]) -> None:
    """It names the parameter and the range."""
    driver = Driver()
    answer = driver.get("/api/slow", token=driver.tokens()["access_token"], **params)
    assert error_of(answer) == (400, "invalid_request")
    assert next(iter(params)) in said(answer)["error_description"]
