"""What one session holds at the moment: its tokens, or why there are none."""

from __future__ import annotations

from session_core.errors import LoginRequest, LoginRequiredError, SessionEndedError
from session_core.session_keeper import SessionKeeper
from session_core.tokens import TokenSet
from session_core.vocabulary import EndReason

FORGET_TRIES = 3


class TokenHolder:
    """`generation` moves on with every sign-in and end: what was asked for in an earlier one comes too late.

    `persisted` says whether the tokens are durable in the store.
    """

    __slots__ = ("_keeper", "ended", "generation", "login", "persisted", "tokens")

    def __init__(self, keeper: SessionKeeper) -> None:
        self._keeper = keeper
        self.tokens: TokenSet | None = None
        self.ended: EndReason | None = None
        self.login: LoginRequest | None = None
        self.persisted = True
        self.generation = 0

    def begin(self) -> None:
        """Make room for the tokens of a sign-in."""
        self.generation += 1
        self.ended = self.login = None

    def drop(self, reason: EndReason) -> TokenSet | None:
        """End at once; what was held is handed back to be revoked."""
        tokens, self.tokens = self.tokens, None
        self.generation += 1
        self.ended = reason
        return tokens

    def require(self) -> TokenSet:
        """The tokens. Raises LoginRequiredError or SessionEndedError when the session is over."""
        if self.tokens is not None:
            return self.tokens
        if self.login is not None and self.ended is not None:
            raise LoginRequiredError(self.ended, self.login)
        raise SessionEndedError(self.ended or EndReason.SIGNED_OUT)

    async def forget_stored(self) -> None:
        """What stays in the store would undo a sign-out at the next restart; a new sign-in replaces it."""
        for _ in range(FORGET_TRIES):
            if await self._keeper.forget(self.ended or EndReason.SIGNED_OUT) or self.tokens is not None:
                return
