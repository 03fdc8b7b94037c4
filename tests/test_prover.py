"""Each origin's latest nonce goes into the next proof for it, and nothing else does."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from session_core.dpop import check_proof, make_key
from session_core.prover import ORIGINS_MAX, Prover
from session_core.wire import WireRequest

NOW = 1_800_000_000.0
KEY = make_key(random.Random(1).randbytes)


@pytest.fixture
def prover() -> Prover:
    return Prover(entropy=random.Random(2).randbytes, server_now=lambda: NOW)


def nonce_in(prover: Prover, url: str) -> Any:
    proof = prover.proof(KEY, method="GET", url=url)
    return json.loads(base64.urlsafe_b64decode(proof.split(".")[1] + "==")).get("nonce")


def test_a_nonce_is_for_its_origin(prover: Prover) -> None:
    """Scheme, host and port; whatever the path."""
    assert nonce_in(prover, "https://a.example/x") is None
    assert prover.heed("https://a.example/token?q=1", {"dpop-nonce": "n-1"})
    assert nonce_in(prover, "https://a.example/other") == "n-1"
    for other in ("https://b.example/x", "http://a.example/x", "https://a.example:8443/x"):
        assert nonce_in(prover, other) is None


def test_the_latest_nonce_counts(prover: Prover) -> None:
    """An answer without one changes nothing."""
    for told in ({"dpop-nonce": "n-1"}, {"dpop-nonce": "n-2"}, {}):
        prover.heed("https://a.example/", told)
    assert nonce_in(prover, "https://a.example/") == "n-2"


@pytest.mark.parametrize("nonce", ["", " ", "a b", 'a"b', "a\\b", "a\r\nx: y", "é", "x" * 1025])
def test_what_is_no_nonce_is_not_remembered(prover: Prover, nonce: str) -> None:
    """RFC 9449 §8.1 says which characters it may have."""
    assert not prover.heed("https://a.example/", {"dpop-nonce": nonce})
    assert nonce_in(prover, "https://a.example/") is None


def test_not_more_than_so_many_origins_are_remembered(prover: Prover) -> None:
    """One that is known already makes nobody forget; one too many begins anew."""
    urls = [f"https://{number}.example/" for number in range(ORIGINS_MAX)]
    for url in (*urls, urls[0]):
        prover.heed(url, {"dpop-nonce": "n"})
    assert {nonce_in(prover, url) for url in urls} == {"n"}
    prover.heed("https://one.more.example/", {"dpop-nonce": "n"})
    assert nonce_in(prover, "https://one.more.example/") == "n"
    assert nonce_in(prover, urls[0]) is None


def test_a_request_gets_a_proof_and_stays_what_it_was(prover: Prover) -> None:
    """With its own headers, at the server's time; each proof is another."""
    request = WireRequest(method="POST", url="https://a.example/token?a=1", headers=(("accept", "x"),), body=b"b")
    proven = [prover.proven(request, KEY) for _ in range(2)]
    for each in proven:
        assert (each.method, each.url, each.body, each.headers[0]) == ("POST", request.url, b"b", ("accept", "x"))
        assert check_proof(dict(each.headers)["dpop"], method="POST", url=request.url, now=NOW).made_at == NOW
    assert proven[0].headers != proven[1].headers
