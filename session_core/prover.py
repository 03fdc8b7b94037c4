"""A client's proofs of possession, made as each request leaves, with the nonce that its server gave last."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from session_core.dpop import TEXT_CHARS_MAX, Entropy, ProofKey, make_proof
from session_core.wire import WireRequest

ORIGINS_MAX = 64
# RFC 9449 §8.1.
_NONCE = re.compile(r"[!#-\[\]-~]+").fullmatch


class Prover:
    """Remembers a nonce for each origin, whoever's key is used. Any thread may ask.

    `server_now` is the server's clock in epoch seconds, as far as it is known: a proof tells the time.
    """

    def __init__(self, *, entropy: Entropy, server_now: Callable[[], float]) -> None:
        self._entropy = entropy
        self._server_now = server_now
        self._nonces: dict[str, str] = {}

    def proof(self, key: ProofKey, *, method: str, url: str, access_token: str | None = None) -> str:
        return make_proof(
            key,
            method=method,
            url=url,
            now=self._server_now(),
            entropy=self._entropy,
            access_token=access_token,
            nonce=self._nonces.get(_origin_of(url)),
        )

    def proven(self, request: WireRequest, key: ProofKey) -> WireRequest:
        """The request with a proof of its own."""
        proof = self.proof(key, method=request.method, url=request.url)
        return msgspec.structs.replace(request, headers=(*request.headers, ("dpop", proof)))

    def heed(self, url: str, headers: Mapping[str, str]) -> bool:
        """Remember the nonce that came with an answer; whether one did that can be used."""
        nonce = headers.get("dpop-nonce")
        if nonce is None or len(nonce) > TEXT_CHARS_MAX or not _NONCE(nonce):
            return False
        origin = _origin_of(url)
        if origin not in self._nonces and len(self._nonces) >= ORIGINS_MAX:
            self._nonces.clear()
        self._nonces[origin] = nonce
        return True


def _origin_of(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])
