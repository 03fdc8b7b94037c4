"""The provider's token endpoint as a client meets it: one request, one answer, and what the answer tells besides."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from session_core.clock import Clock
from session_core.dpop import DPOP, INVALID_PROOF, USE_NONCE, Entropy, ProofKey
from session_core.events import ClockSkewEstimated, Record
from session_core.http_answers import estimate_skew_s, read_date
from session_core.prover import Prover
from session_core.token_answers import TokenGrant, TokenRefusal, read_token_answer
from session_core.vocabulary import Outcome
from session_core.wire import Transport, WireFailure, WireRequest

SKEW_MOVED_S_MIN = 1.0
SKEW_ROUND_TRIP_S_MAX = 5.0


class TokenEndpoint:
    """Sends no request twice but one whose proof of possession was refused, which spends nothing (RFC 9449 §8).

    `skew_s` is the provider's clock minus the device's wall clock, 0 until first estimated. With `only_bound`, an answer
    to a request with a proof is taken only if its tokens are bound to the proof's key.
    """

    def __init__(
        self, transport: Transport, *, clock: Clock, record: Record, entropy: Entropy, only_bound: bool = False
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._record = record
        self._only_bound = only_bound
        self._prover = Prover(entropy=entropy, server_now=self.provider_now)
        self.skew_s = 0.0

    def provider_now(self) -> float:
        """The provider's epoch seconds, as far as they are known."""
        return self._clock.wall() + self.skew_s

    async def ask(
        self, request: WireRequest, key: ProofKey | None = None, *, may_repeat: Callable[[], bool] = lambda: True
    ) -> TokenGrant | TokenRefusal:
        """With a `key` a proof goes along, and once more if it was refused for its nonce or time and it `may_repeat`."""
        if key is None:
            return (await self._send(request, proven=False))[0]
        answer, mended = await self._send(self._prover.proven(request, key), proven=True)
        if mended and may_repeat():
            answer, _ = await self._send(self._prover.proven(request, key), proven=True)
        if isinstance(answer, TokenRefusal):
            # The nonce is known now, so the next try will do.
            return msgspec.structs.replace(answer, outcome=Outcome.TRANSIENT) if answer.error == USE_NONCE else answer
        if self._only_bound and answer.token_type != DPOP:
            return TokenRefusal(outcome=Outcome.AMBIGUOUS, error="unbound_token", status=200)
        return msgspec.structs.replace(answer, dpop_key=key)

    async def _send(self, request: WireRequest, *, proven: bool) -> tuple[TokenGrant | TokenRefusal, bool]:
        """The answer, and whether it refused the proof and told what is needed for one that will do."""
        wall_sent = self._clock.wall()
        sent = await self._transport.send(request)
        wall_received = self._clock.wall()
        answer = read_token_answer(sent, wall_received=wall_received, proven=proven)
        told = proven and not isinstance(sent, WireFailure) and self._prover.heed(request.url, sent.headers)
        if isinstance(answer, TokenGrant):
            if answer.provider_now is not None:
                self._note_skew(answer.provider_now, wall_sent, wall_received)
            return answer, False
        if proven and answer.error == INVALID_PROOF and not isinstance(sent, WireFailure):
            # A proof tells the time, so a clock that is wrong may be all that is wrong with it.
            provider_now = read_date(sent.headers)
            return answer, provider_now is not None and self._note_skew(provider_now, wall_sent, wall_received)
        return answer, told and answer.error == USE_NONCE

    def _note_skew(self, provider_now: float, wall_sent: float, wall_received: float) -> bool:
        """Keep the estimate, unless the exchange took so long, or the clock stepped in it, that it means nothing.

        Whether it is another than before.
        """
        if not 0 <= wall_received - wall_sent <= SKEW_ROUND_TRIP_S_MAX:
            return False
        skew_s = estimate_skew_s(provider_now, wall_sent, wall_received)
        moved = abs(skew_s - self.skew_s) > SKEW_MOVED_S_MIN
        if moved:
            self.skew_s = skew_s
            self._record(ClockSkewEstimated(skew_s=skew_s))
        return moved
