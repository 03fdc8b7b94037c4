"""Answers are made once for everybody, forgotten in turn, and never kept where making them failed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from session_core.dashboard.keeping import Answers
from session_core.errors import EventStoreError

WAIT_S = 10.0


def test_who_asks_at_the_same_time_waits_for_the_one_who_asked_first() -> None:
    """It is made once, and there is nothing to be had before it is."""
    answers, made, begun, go_on = Answers(8), [], threading.Event(), threading.Event()

    def make() -> str:
        begun.set()
        assert go_on.wait(WAIT_S)
        made.append("made")
        return "an answer"

    with ThreadPoolExecutor(4) as readers:
        first = readers.submit(answers.get, "key", make)
        assert begun.wait(WAIT_S)
        others = [readers.submit(answers.get, "key", make) for _ in range(3)]
        assert not answers.has("key")
        go_on.set()
        assert {asked.result(WAIT_S) for asked in (first, *others)} == {"an answer"}
    assert answers.has("key")
    assert made == ["made"]


def test_what_failed_is_asked_again() -> None:
    """A store that was away is not away for good."""
    answers = Answers(8)

    def fail() -> str:
        raise EventStoreError("It is away.")

    with pytest.raises(EventStoreError, match="It is away"):
        answers.get("key", fail)
    assert not answers.has("key")
    assert answers.get("key", lambda: "back") == "back"


def test_nothing_is_an_answer_too() -> None:
    """It is not asked for again."""
    answers = Answers(8)
    assert answers.get("key", lambda: None) is None
    assert answers.get("key", lambda: "something") is None


def test_the_answer_asked_for_longest_ago_is_forgotten_first() -> None:
    """As many are kept as was said."""
    answers = Answers(2)
    for key in ("old", "new", "old", "newest"):
        answers.get(key, lambda: "made")
    assert [answers.has(key) for key in ("old", "new", "newest")] == [True, False, True]
