"""The list of threats is true: each line has its source and tests that exist. And the tests that had no other home."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from lab_kit import ServedLab, served_lab

ROOT = Path(__file__).parents[1]
SOURCE = re.compile(r"RFC 9700 §\d|RFC 8725 §\d|ASVS \d+\.\d")
LINES_MIN = 25


class Line(NamedTuple):
    threat: str
    source: str
    answer: str
    tests: tuple[str, ...]


def table() -> list[Line]:
    text = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in text.splitlines() if row.startswith("| ")]
    return [
        Line(threat, source, answer, tuple(re.findall(r"`(test_\w+)`", tests)))
        for threat, source, answer, tests in rows
        if threat not in {"Threat", "---"}
    ]


def every_test() -> set[str]:
    files = (ROOT / "tests").glob("test_*.py")
    return {
        name
        for file in files
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }


def test_there_are_enough_lines_from_every_source() -> None:
    """The best practices of OAuth and of JSON Web Tokens, and two chapters of OWASP's standard."""
    lines = table()
    assert len(lines) >= LINES_MIN
    for source in ("RFC 9700", "RFC 8725", "ASVS 7.", "ASVS 10."):
        assert sum(source in line.source for line in lines) >= 5, source


@pytest.mark.parametrize("line", table(), ids=lambda line: line.threat)
def test_every_threat_is_answered_and_the_answer_shown(line: Line) -> None:
    """A section to look up, what is done, and tests that are there."""
    assert SOURCE.search(line.source)
    assert line.answer
    assert line.tests
    assert set(line.tests) - every_test() == set()


def test_every_section_of_rfc_8725_is_there() -> None:
    """From 3.1 to 3.12."""
    said = " ".join(line.source for line in table() if "RFC 8725" in line.source)
    assert {f"§3.{number}" for number in range(1, 13)} <= set(re.findall(r"§3\.\d+", said))


def test_whoever_finds_a_weakness_is_told_where_to_go() -> None:
    """From the first page on, privately."""
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    said = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a vulnerability" in said
    assert "(docs/threats.md)" in said


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("lab") / "lab.duckdb") as lab:
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        yield client


def test_the_code_is_in_no_address_that_stays(served: ServedLab, browser: httpx.Client) -> None:
    """The browser passes the call-back on its way to the page, whose address knows nothing of it; and tells nobody."""
    last = served.sign_in(browser, "/chat")
    passed = next(answer for answer in last.history if answer.url.path == "/auth/callback")
    code = passed.url.params["code"]
    assert passed.is_redirect
    assert passed.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in passed.headers["cache-control"]
    assert code not in str(last.url)
    assert code not in str(passed.headers)


def test_a_posted_password_is_not_posted_on(browser: httpx.Client) -> None:
    """303: the browser fetches what comes next, whatever it had sent (RFC 9700 §4.12)."""
    page = browser.get("/auth/sign-in")
    form = {"username": "ada", "password": "demo"}
    assert browser.post(page.url, data=form, follow_redirects=False).status_code == 303


def test_no_password_buys_a_token(browser: httpx.Client) -> None:
    """The password grant must not be used (RFC 9700 §2.4): it is neither offered nor taken, nor asked for by our code."""
    form = {"grant_type": "password", "username": "ada", "password": "demo", "client_id": "session-lab"}
    refused = browser.post("/idp/token", data=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_grant_type")
    offered = browser.get("/idp/.well-known/openid-configuration").json()["grant_types_supported"]
    assert "password" not in offered
    asking = [
        file.name
        for file in (ROOT / "session_core").glob("*.py")
        if re.search(r"""grant_type["']?\s*[:=]\s*["']password""", file.read_text(encoding="utf-8"))
    ]
    assert asking == []
