"""Secrets are compared in constant time, or by the hash under which they are kept."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = sorted((ROOT / "session_core").rglob("*.py"))
SECRETS = {
    *("access_token", "refresh_token", "id_token", "token", "code", "code_verifier", "verifier"),
    *("client_secret", "secret", "password", "cookie", "nonce", "api_key", "ingest_key", "metrics_key", "mac"),
}
# Here both sides are tokens that we hold ourselves: which of our own is the newer one?
OURS = {"session_core/session_keeper.py", "session_core/token_manager.py", "session_core/token_refresher.py"}


def secret_comparisons(source: str) -> Iterator[tuple[int, str]]:
    """Where `==` or `!=` stands between two values of which one is named like a secret."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            continue
        names = {side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "") for side in sides}
        if names & SECRETS:
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("given.password == user.password", True),
        ("client_secret != self.client_secret", True),
        ("login.nonce == claims.nonce", True),
        ("secret == ''", False),
        ("hmac.compare_digest(secret, given)", False),
        ("owner == digest(cookie)", False),
        ("state == State.ACTIVE", False),
    ],
)
def test_a_plain_comparison_of_a_secret_is_noticed(line: str, *, found: bool) -> None:
    """What the next test looks for is what it finds."""
    assert bool(list(secret_comparisons(line))) is found


def test_no_secret_is_compared_plainly() -> None:
    """A plain comparison ends at the first letter that differs, and the time it takes says which that is."""
    found = {
        f"{name}:{line}: {code}"
        for path in SOURCE
        if (name := path.relative_to(ROOT).as_posix()) not in OURS
        for line, code in secret_comparisons(path.read_text(encoding="utf-8"))
    }
    assert found == set()
