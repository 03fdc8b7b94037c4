"""Proofs of possession as the provider takes them (RFC 9449): each once, in time, and with its own nonce if it gives any."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from math import floor

import msgspec

from session_core.dpop import AGE_S_MAX, Proof, ProofRefusedError, check_proof
from session_core.provider.answers import ProviderAnswer, RefusedError
from session_core.provider.config import ProviderConfig
from session_core.provider.inbound import Inbound

# Anyone may send proofs of their own; more than this in two minutes is no use but abuse.
SEEN_MAX = 100_000


class Proofs:
    """Which proofs were seen lately, and the nonce of the hour, which is made of the time and so needs no memory."""

    def __init__(self, config: ProviderConfig, *, entropy: Callable[[int], bytes]) -> None:
        self._issuer = config.issuer
        self._nonce_s = config.dpop_nonce_s
        self._nonce_key = b"" if config.dpop_nonce_s is None else entropy(32)
        # As long as a proof could be taken: its time may be ahead of ours, a nonce outlives its successor's arrival.
        self._remembered_s = 2 * (config.dpop_nonce_s or AGE_S_MAX)
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def key_of(self, inbound: Inbound, *, now: float, access_token: str | None = None) -> str | None:
        """The thumbprint of the key that made this request's proof; None where it has none.

        Raises RefusedError for a wrong proof, and for a right one that was seen before.
        """
        value = inbound.headers.get("dpop")
        if value is None:
            return None
        try:
            proof = check_proof(
                value,
                method=inbound.method,
                url=self._issuer + inbound.path,
                now=now,
                access_token=access_token,
                nonces=self._nonces(now) if self._nonce_key else None,
            )
            self._use(proof, now)
        except ProofRefusedError as error:
            raise RefusedError(error.code, str(error)) from None
        return proof.thumbprint

    def with_nonce(self, answer: ProviderAnswer, *, now: float) -> ProviderAnswer:
        """RFC 9449 §8.2: every answer brings the nonce to use from now on, so that few are refused for an old one."""
        if not self._nonce_key:
            return answer
        return msgspec.structs.replace(answer, headers={**answer.headers, "dpop-nonce": self._nonces(now)[0]})

    def _nonces(self, now: float) -> tuple[str, str]:
        """The nonce to use, and the one before it, which is still good."""
        turn = floor(now / (self._nonce_s or 1.0))
        return self._nonce(turn), self._nonce(turn - 1)

    def _nonce(self, turn: int) -> str:
        return hashlib.blake2s(str(turn).encode(), key=self._nonce_key, digest_size=16).hexdigest()

    def _use(self, proof: Proof, now: float) -> None:
        while self._seen and next(iter(self._seen.values())) < now:
            self._seen.popitem(last=False)
        name = hashlib.sha256(f"{proof.thumbprint} {proof.jti}".encode(errors="surrogatepass")).digest()
        if name in self._seen:
            raise ProofRefusedError("The proof was used before; make one for each request.")
        if len(self._seen) >= SEEN_MAX:
            self._seen.popitem(last=False)
        self._seen[name] = now + self._remembered_s
