"""Events over HTTP: other services and browser apps post theirs to `/api/v1/events`."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import islice

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from session_core.clock import Clock
from session_core.errors import EventStoreError, StoreFullError, StoreHeldError, UnreadableEventsError
from session_core.incoming import schema
from session_core.ingest import Refusal, Sent, lines_of
from session_core.store.arrow_rows import rows_of_stream
from session_core.store.exchange import Append, take_in
from session_core.web.door import Door, TurnedAwayError
from session_core.web.origin import own_origins
from session_core.web.settings import LabSettings
from session_core.web.turnstile import Turnstile, sender_of

EVENTS_PATH = "/api/v1/events"
BODY_BYTES_MAX = 10_000_000
BODY_S_MAX = 30.0
EVENTS_MAX = 20_000
REFUSED_SHOWN_MAX = 100
BURST = 60
POSTS_AT_ONCE_MAX = 8
STORE_RETRY_S = 5
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_STORE_TROUBLE: Mapping[type[EventStoreError], str] = {
    StoreHeldError: "The event store is in use by another process; send this again.",
    StoreFullError: "The disk of the event store is full; free some space and send this again.",
}

_READERS: Mapping[str, Callable[[bytes], Sent]] = {
    "application/x-ndjson": lambda body: lines_of(io.BytesIO(body)),
    "application/json": lambda body: enumerate([body], 1),
    "application/vnd.apache.arrow.stream": partial(rows_of_stream, rows_max=EVENTS_MAX),
}


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a post. What is accepted is stored; of the refused the first hundred are named."""

    accepted: int
    duplicates: int
    refused_count: int
    refused: list[Refusal]


class Intake:
    """Who may post, how often and how much at once; and what becomes of it."""

    def __init__(self, append: Append, *, clock: Clock, settings: LabSettings, home: str, address: str | None) -> None:
        """`home` is an address of the app's own pages, `address` the one it listens at, None for all."""
        self._append = append
        self._clock = clock
        self._door = Door(settings.ingest_key, address=address, mends="set SESSION_LAB_INGEST_KEY to post to it")
        self._origins = own_origins(home) | set(settings.ingest_origins)
        self._turnstile = Turnstile(per_minute=settings.ingest_posts_per_minute, burst=BURST)
        self._under_way = 0

    def allows(self, origin: str | None) -> bool:
        """Whether pages from there may post; what is no browser says no origin."""
        return origin is None or origin in self._origins

    async def take(self, request: Request) -> Receipt:
        """Raises TurnedAwayError."""
        if not self.allows(request.headers.get("origin")):
            raise TurnedAwayError(403, "Pages of this origin may not post here; name it in SESSION_LAB_INGEST_ORIGINS.")
        self._require_patience(request)
        self._door.pass_through(request)
        read = _reader_for(request)
        if self._under_way >= POSTS_AT_ONCE_MAX:
            raise TurnedAwayError(503, "Too many posts are under way; send this again.", retry_after="1")
        self._under_way += 1
        try:
            return await asyncio.to_thread(self._store, read, await _body_of(request))
        except UnreadableEventsError as error:
            raise TurnedAwayError(400, str(error)) from error
        except EventStoreError as error:
            sentence = _STORE_TROUBLE.get(type(error), "The event store cannot be used now; send this again.")
            raise TurnedAwayError(503, sentence, retry_after=str(STORE_RETRY_S)) from error
        finally:
            self._under_way -= 1

    def _require_patience(self, request: Request) -> None:
        sender = sender_of(request.client.host) if request.client else ""
        wait_s = self._turnstile.wait_s(sender, self._clock.boot())
        if wait_s:
            raise TurnedAwayError(
                429, "These are too many posts; put more events into each.", retry_after=str(math.ceil(wait_s))
            )

    def _store(self, read: Callable[[bytes], Sent], body: bytes) -> Receipt:
        """Runs in a thread: reading takes as long as the body is large, and the store may have to wait for the disk."""
        sent = list(islice(read(body), EVENTS_MAX + 1))
        if not sent:
            raise TurnedAwayError(400, "There is no event in it.")
        if len(sent) > EVENTS_MAX:
            raise TurnedAwayError(413, f"There are more than {EVENTS_MAX} events; send them in several posts.")
        refused: list[Refusal] = []
        taken = take_in(self._append, iter(sent), now=self._clock.wall(), on_refused=refused.append)
        return Receipt(
            accepted=taken.accepted,
            duplicates=taken.duplicates,
            refused_count=taken.refused,
            refused=refused[:REFUSED_SHOWN_MAX],
        )


async def post_events(request: Request, intake: Intake) -> Response:
    try:
        receipt = await intake.take(request)
    except TurnedAwayError as away:
        return _answer(request, intake, away.status, {"error": str(away)}, away.headers)
    is_useless = receipt.refused_count > 0 and receipt.accepted + receipt.duplicates == 0
    return _answer(request, intake, 422 if is_useless else 200, receipt, {})


def allow_events(request: Request, intake: Intake) -> Response:
    """The answer to a browser that asks before it lets a page of another origin post."""
    if not intake.allows(request.headers.get("origin")):
        return _answer(request, intake, 403, {"error": "Pages of this origin may not post here."}, {})
    allowed = {
        "allow": "POST, OPTIONS",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "600",
    }
    return _answer(request, intake, 204, None, allowed)


def events_schema(_request: Request) -> Response:
    return Response(_schema(), media_type="application/schema+json", headers=_HEADERS)


def _reader_for(request: Request) -> Callable[[bytes], Sent]:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise TurnedAwayError(
            415, "Send the events uncompressed, without Content-Encoding.", accept_encoding="identity"
        )
    read = _READERS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
    if read is None:
        raise TurnedAwayError(
            415, f"The Content-Type must be one of {', '.join(_READERS)}.", accept=", ".join(_READERS)
        )
    return read


async def _body_of(request: Request) -> bytes:
    too_long = TurnedAwayError(413, f"The post is longer than {BODY_BYTES_MAX} bytes; send it in pieces.")
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > BODY_BYTES_MAX:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S_MAX):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise too_long
    except TimeoutError:
        raise TurnedAwayError(408, f"The post did not come within {BODY_S_MAX:g} s; send it again.") from None
    except ClientDisconnect:
        raise TurnedAwayError(400, "The sender left before the post was whole.") from None
    return bytes(body)


def _answer(
    request: Request, intake: Intake, status: int, said: Receipt | dict[str, str] | None, more: Mapping[str, str]
) -> Response:
    origin = request.headers.get("origin")
    shared = {"vary": "origin"}
    if origin is not None and intake.allows(origin):
        shared |= {"access-control-allow-origin": origin, "access-control-expose-headers": "retry-after"}
    body = b"" if said is None else msgspec.json.encode(said)
    return Response(body, status, {**_HEADERS, **shared, **more}, media_type="application/json")


@cache
def _schema() -> bytes:
    return msgspec.json.encode(schema())
