"""The door for other services' events: what it takes, what it turns away, and what it says."""

from __future__ import annotations

import asyncio
import gzip
import io
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_kit import ARROW, LINES, NOW, Clock, Desk, Failing, Kept, lines, rows, said
from lab_kit import served_lab
from tries import tries

from session_core.errors import EventStoreError, StoreCorruptError, StoreFullError, StoreHeldError
from session_core.store import EventStore
from session_core.store.late_store import LateStore
from session_core.web import ingest
from session_core.web.ingest import BODY_BYTES_MAX, BURST, EVENTS_MAX, POSTS_AT_ONCE_MAX
from session_core.web.origin import own_origins

ROOT = Path(__file__).parents[1]
KEY = "correct-horse-battery"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
WHOLE = lines(*(said(seq) for seq in range(1, 4)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "events.duckdb")
    yield store
    store.close()


@pytest.fixture
def desk(kept: Kept) -> Desk:
    return Desk(kept)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def table(**columns: list[Any]) -> pa.Table:
    return pa.table(
        {
            "stream_id": ["page-1"] * 3,
            "seq": [1, 2, 3],
            "happened_at": pa.array([int(NOW - 60) * 1000] * 3, pa.timestamp("ms", "Europe/Berlin")),
            "session_id": ["session-1"] * 3,
            "user_id": ["user-1"] * 3,
            "kind": ["UserActed"] * 3,
            "action": ["opened"] * 3,
        }
        | columns
    )


def stream(rows: pa.Table, **options: Any) -> bytes:
    body = io.BytesIO()
    with pa.ipc.new_stream(body, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(rows)
    return body.getvalue()


# What is taken.


def test_what_is_accepted_is_stored(store: EventStore) -> None:
    """Before the answer comes; and it comes from outside, whatever it says."""
    desk = Desk(store)
    answer = desk.post(WHOLE)
    assert answer.status_code == 200
    assert answer.json() == {"accepted": 3, "duplicates": 0, "refused_count": 0, "refused": []}
    assert [(row["seq"], row["source"], row["kind"]) for row in rows(store)] == [
        (seq, "import", "UserActed") for seq in (1, 2, 3)
    ]


def test_what_was_acknowledged_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    """Another connection reads it from the file alone: the log is on the disk, nothing waits in memory."""
    store = EventStore(tmp_path / "events.duckdb")
    Desk(store).post(WHOLE)
    for name in ("events.duckdb", "events.duckdb.wal"):
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
    copy = EventStore(tmp_path / "copy" / "events.duckdb")
    assert len(rows(copy)) == 3
    copy.close()
    store.close()


def test_the_same_post_twice_counts_once(store: EventStore) -> None:
    """Whoever did not hear the answer sends again; also within one post, and at the same time."""
    desk = Desk(store)
    assert desk.post(WHOLE + b"\n" + WHOLE).json()["duplicates"] == 3
    assert desk.post(WHOLE).json() == {"accepted": 0, "duplicates": 3, "refused_count": 0, "refused": []}
    assert len(rows(store)) == 3


def test_the_same_post_from_many_at_once_counts_once(store: EventStore) -> None:
    """Two of them must not both find it missing."""
    desk = Desk(store)
    with ThreadPoolExecutor(POSTS_AT_ONCE_MAX) as pool:
        answers = list(pool.map(desk.post, [WHOLE] * POSTS_AT_ONCE_MAX))
    assert [answer.status_code for answer in answers] == [200] * POSTS_AT_ONCE_MAX
    assert sum(answer.json()["accepted"] for answer in answers) == 3
    assert len(rows(store)) == 3


def test_the_refused_are_named_and_the_others_stored(store: EventStore) -> None:
    """A wrong line does not keep a right one out: half a line, a field too many, bytes that are no text."""
    desk = Desk(store)
    body = b"\n".join([lines(said(1)), lines(said(2))[:-9], b"", lines(said(3, extra=1)), b"\xff", lines(said(4))])
    answer = desk.post(body)
    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": 2,
        "duplicates": 0,
        "refused_count": 3,
        "refused": [
            {"line": 2, "error": "the text ends in the middle of its JSON."},
            {"line": 4, "error": "an event has no “extra”; known are boot, fact, happened_at, monotonic, origin, seq."},
            {"line": 5, "error": "this is not JSON: invalid character (byte 0)."},
        ],
    }
    assert [row["seq"] for row in rows(store)] == [1, 4]


def test_a_post_of_which_nothing_can_be_used_says_so(desk: Desk) -> None:
    """422, and the first hundred reasons."""
    answer = desk.post(b"\n".join([b"{}"] * 150))
    assert answer.status_code == 422
    assert (answer.json()["accepted"], answer.json()["refused_count"]) == (0, 150)
    assert [refusal["line"] for refusal in answer.json()["refused"]] == list(range(1, 101))


def test_one_event_may_come_as_plain_json(store: EventStore) -> None:
    """Over several lines if the sender likes."""
    desk = Desk(store)
    body = msgspec.json.format(lines(said()), indent=2)
    assert desk.post(body, "application/json; charset=utf-8").json()["accepted"] == 1
    assert len(rows(store)) == 1


def test_arrow_columns_are_events(store: EventStore) -> None:
    """The same event, however it was sent: times in any unit and zone, the fact in columns or as JSON."""
    desk = Desk(store)
    assert desk.post(WHOLE).json()["accepted"] == 3
    assert desk.post(stream(table()), ARROW).json()["duplicates"] == 3
    whole = table(fact=['{"kind":"UserActed","action":"opened"}'] * 3, seq=[4, 5, 6])
    assert desk.post(stream(whole), ARROW).json()["accepted"] == 3
    kept = [{name: row[name] for name in row if name != "seq"} for row in rows(store)]
    assert kept == [kept[0]] * 6


def test_wrong_rows_are_named_by_their_number(desk: Desk) -> None:
    """Counted from 1."""
    answer = desk.post(stream(table(seq=[1, -2, 3])), ARROW)
    assert answer.json()["refused"] == [{"line": 2, "error": "seq must be a whole number >= 0."}]


# What is turned away.


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "There is no event in it."),
        (b"\n \r\n", "There is no event in it."),
    ],
)
def test_an_empty_post_is_told(desk: Desk, body: bytes, reason: str) -> None:
    """Rather than thanked for."""
    answer = desk.post(body)
    assert (answer.status_code, answer.json()) == (400, {"error": reason})


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "not a whole Arrow IPC stream"),
        (b"\xff" * 1000, 400, "not a whole Arrow IPC stream"),
        (stream(table())[:-200], 400, "not a whole Arrow IPC stream"),
        (stream(table(), compression="zstd"), 400, "compressed; write it without compression"),
        (stream(table(), compression="lz4"), 400, "compressed; write it without compression"),
        (stream(table(extra=[1, 2, 3])), 400, "A table of events has no “extra”"),
        (stream(table().drop(["seq"])), 400, "These columns are missing: seq."),
        (stream(table(fact=[[1]] * 3)), 400, "is of the type list<"),
        (stream(table(kind=pa.array(["UserActed"] * 3).dictionary_encode())), 400, "is of the type dictionary<"),
        (stream(table(happened_at=pa.array([0] * 3, pa.timestamp("us")))), 400, "have no time zone"),
        (stream(table(run_id=pa.nulls(3)).slice(0, 0)), 400, "There is no event in it."),
    ],
)
def test_columns_that_cannot_be_read_safely_are_refused(desk: Desk, body: bytes, status: int, reason: str) -> None:
    """Half a stream, and what takes more room when it is unpacked than when it is sent."""
    answer = desk.post(body, ARROW)
    assert answer.status_code == status
    assert reason in answer.json()["error"]


def test_too_many_events_are_refused_before_they_are_read(desk: Desk, kept: Kept) -> None:
    """A little is sent that would be a lot: columns of nothing, and lines of nothing."""
    short = b"\n".join([b"1"] * (EVENTS_MAX + 1))
    nothing = pa.table({name: pa.nulls(EVENTS_MAX + 1) for name in table().column_names})
    for answer, status in ((desk.post(short), 413), (desk.post(stream(nothing), ARROW), 400)):
        assert answer.status_code == status
        assert f"more than {EVENTS_MAX} events; send them in several posts." in answer.json()["error"]
    assert desk.post(b"\n".join([b"1"] * EVENTS_MAX)).json()["refused_count"] == EVENTS_MAX
    assert kept.events == {}


def test_a_long_post_is_turned_away_before_it_is_read(desk: Desk) -> None:
    """By what it says of its length, or else as soon as it is too long: no more than that is ever held."""
    assert desk.post(b" ", content_length=str(BODY_BYTES_MAX + 1)).status_code == 413
    assert desk.post(b" ", content_length="all").status_code == 413
    asked = []

    async def without_end() -> AsyncIterator[bytes]:
        while True:
            asked.append(len(asked))
            yield b"x" * 1_000_000

    assert desk.post(without_end()).status_code == 413
    assert len(asked) <= BODY_BYTES_MAX / 1_000_000 + 1


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("text/plain", {}),
        ("application/x-www-form-urlencoded", {}),
        ("multipart/form-data", {}),
        ("", {}),
        (LINES, {"content_encoding": "gzip"}),
    ],
)
def test_other_kinds_of_posts_are_turned_away(desk: Desk, kept: Kept, kind: str, headers: dict[str, str]) -> None:
    """Those that a page of any site may send unasked are among them, and what would have to be unpacked."""
    answer = desk.post(gzip.compress(WHOLE) if headers else WHOLE, kind, **headers)
    assert answer.status_code == 415
    assert kept.events == {}


def test_too_many_posts_are_told_when_to_come_again(kept: Kept) -> None:
    """By address and on the clock that was handed in."""
    desk = Desk(kept, ingest_posts_per_minute=30)
    assert {desk.post(b"").status_code for _ in range(BURST)} == {400}
    answer = desk.post(WHOLE)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert desk.post(WHOLE, sender="127.0.0.2").status_code == 200
    desk.clock.now += 2
    assert desk.post(WHOLE).status_code == 200
    assert desk.post(WHOLE).status_code == 429


def test_only_so_many_are_under_way_at_once(desk: Desk) -> None:
    """So that slow senders cannot fill the memory; a place that was left is free again."""

    async def crowd() -> tuple[int, str, int]:
        begun, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            begun.release()
            await go_on.wait()
            yield WHOLE

        async with desk.client() as client:
            told = {"content-type": LINES}
            waiting = [
                asyncio.create_task(client.post(ingest.EVENTS_PATH, content=slowly(), headers=told))
                for _ in range(POSTS_AT_ONCE_MAX)
            ]
            for _ in waiting:
                await begun.acquire()
            one_more = await client.post(ingest.EVENTS_PATH, content=WHOLE, headers=told)
            go_on.set()
            assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
            last = await client.post(ingest.EVENTS_PATH, content=WHOLE, headers=told)
            return one_more.status_code, one_more.headers["retry-after"], last.status_code

    assert asyncio.run(crowd()) == (503, "1", 200)


def test_a_post_that_does_not_come_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that stops in the middle holds no place for ever."""
    monkeypatch.setattr(ingest, "BODY_S_MAX", 0.01)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    assert desk.post(stuck()).status_code == 408


@pytest.mark.parametrize(
    ("error", "said_of_it"),
    [
        (StoreHeldError("/secret/place is held"), "in use by another process"),
        (StoreFullError("/secret/place is full"), "disk of the event store is full"),
        (StoreCorruptError("/secret/place is damaged"), "cannot be used now"),
        (EventStoreError("/secret/place"), "cannot be used now"),
    ],
)
def test_a_store_that_cannot_take_it_is_said_and_asked_for_again(error: Exception, said_of_it: str) -> None:
    """503 with the time to wait; where the store is is nobody's business."""
    answer = Desk(Failing(error)).post(WHOLE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert said_of_it in answer.json()["error"]
    assert "send this again" in answer.json()["error"]
    assert "secret" not in answer.text


def test_a_store_that_another_process_holds_is_filled_when_it_is_free(tmp_path: Path) -> None:
    """What was answered with 503 is not lost by being sent again, and what was answered with 200 is there."""
    path, clock = tmp_path / "lab.duckdb", Clock()
    path.write_bytes(b"somebody else's" * 5000)
    late = LateStore(path, clock=clock)
    desk = Desk(late)
    assert desk.post(WHOLE).status_code == 503
    path.unlink()
    clock.now += 5
    assert desk.post(WHOLE).status_code == 200
    assert len(rows(late.opened())) == 3
    late.close()


SERVE = """
import socket, sys
sys.path.insert(0, "tests")
import uvicorn
from ingest_kit import Desk
from session_core.clock import SystemClock
from session_core.store import EventStore
listener = socket.create_server(("127.0.0.1", 0))
desk = Desk(EventStore(sys.argv[1]), clock=SystemClock(), ingest_posts_per_minute=60_000)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(desk.app, log_level="error", ws="none")).run(sockets=[listener])
"""


@contextmanager
def serving(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The door in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", SERVE, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def test_what_was_acknowledged_survives_the_death_of_the_process(tmp_path: Path) -> None:
    """`kill -9` while posts come in from all sides: each event that was answered for is there, and each once."""
    path, acknowledged = tmp_path / "events.duckdb", []
    told = {"content-type": LINES}
    with serving(path) as (process, url):

        def post_on(stream: int) -> None:
            for batch in count():
                numbers = range(batch * 50, batch * 50 + 75)
                origin = said()["origin"] | {"stream_id": f"stream-{stream}"}
                body = lines(*(said(seq, origin=origin) for seq in numbers))
                try:
                    answer = httpx.post(
                        url + ingest.EVENTS_PATH, content=body, headers=told, trust_env=False, timeout=20
                    )
                except httpx.TransportError:
                    return
                assert answer.status_code == 200
                acknowledged.extend((f"stream-{stream}", seq) for seq in numbers)
                if len(acknowledged) > 3_000:
                    process.kill()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(post_on, range(4)))
    store = EventStore(path)
    kept = [(row["stream_id"], row["seq"]) for row in rows(store)]
    store.close()
    assert len(acknowledged) > 3_000
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))


# Who may post.


@pytest.mark.parametrize(
    "told", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Bearer {JWT}"]
)
def test_a_wrong_key_is_refused(kept: Kept, told: str) -> None:
    """Without a hint at the right one, and before the body is read."""
    desk = Desk(kept, ingest_key=KEY)
    answer = desk.post(WHOLE, authorization=told)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert KEY not in answer.text
    assert "eyJ" not in answer.text
    assert kept.events == {}


def test_the_right_key_opens(kept: Kept) -> None:
    """From any address; and the key is in no repr."""
    desk = Desk(kept, ingest_key=KEY, address=None)
    assert desk.post(WHOLE, sender="203.0.113.9", authorization=f"Bearer {KEY}").status_code == 200
    assert KEY not in repr(vars(desk.intake))


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("localhost", {}, 200),
        (None, {}, 403),
        ("0.0.0.0", {}, 403),
        ("192.168.1.4", {}, 403),
        ("127.0.0.1", {"x_forwarded_for": "203.0.113.9"}, 403),
        ("127.0.0.1", {"forwarded": "for=203.0.113.9"}, 403),
        ("127.0.0.1", {"via": "1.1 proxy"}, 403),
        ("127.0.0.1", {"host": "evil.example:8501"}, 403),
        ("127.0.0.1", {"host": "127.0.0.1.evil.example"}, 403),
        ("127.0.0.1", {"host": "localhost:9"}, 200),
        ("127.0.0.1", {"host": "[::1]:8501"}, 200),
    ],
)
def test_without_a_key_only_this_machine_may_post(
    kept: Kept, address: str | None, headers: dict[str, str], status: int
) -> None:
    """An app that others can reach, by its address, through a proxy or by a name made up for it, takes nothing without a key."""
    answer = Desk(kept, address=address).post(WHOLE, **headers)
    assert answer.status_code == status
    assert status == 200 or "SESSION_LAB_INGEST_KEY" in answer.json()["error"]


@pytest.mark.parametrize(
    "home", ["http://127.0.0.1:8501/auth/callback", "http://localhost:8501/x", "http://[::1]:8501/"]
)
def test_this_machine_has_three_names(home: str) -> None:
    """A page of ours may be open under any of them."""
    assert own_origins(home) == {"http://127.0.0.1:8501", "http://localhost:8501", "http://[::1]:8501"}
    assert own_origins("https://lab.example.com/auth/callback") == {"https://lab.example.com"}


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:8502", "https://127.0.0.1:8501", "http://evil.example:8501", ""],
)
def test_pages_of_other_sites_may_not_post(desk: Desk, kept: Kept, origin: str) -> None:
    """A page that somebody happens to have open cannot write into their store, not under a name made up for this machine."""
    answer = desk.post(WHOLE, origin=origin, host=origin.removeprefix("http://"))
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert desk.ask("OPTIONS", headers={"origin": origin}).status_code == 403
    assert kept.events == {}


def test_pages_that_were_named_may_post(kept: Kept) -> None:
    """Their browser asks first and is told; it may read the answer, also that to a bad post."""
    shop = "https://shop.example"
    desk = Desk(kept, ingest_origins=(shop,), ingest_key=KEY)
    asked = {"origin": shop, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    first = desk.ask("OPTIONS", headers=asked)
    assert first.status_code == 204
    assert first.headers["access-control-allow-methods"] == "POST"
    assert first.headers["access-control-allow-headers"] == "authorization, content-type"
    for answer in (first, desk.post(WHOLE, origin=shop, authorization=f"Bearer {KEY}"), desk.post(WHOLE, origin=shop)):
        assert answer.headers["access-control-allow-origin"] == shop
        assert answer.headers["vary"] == "origin"
        assert "access-control-allow-credentials" not in answer.headers
    assert len(kept.events) == 3


def test_our_own_pages_may_post(desk: Desk) -> None:
    """Under every name of this machine."""
    for origin in ("http://127.0.0.1:8501", "http://localhost:8501"):
        assert desk.post(WHOLE, origin=origin).status_code == 200


def test_the_app_has_the_door_its_settings_say(tmp_path: Path) -> None:
    """Reachable from elsewhere it is shut, and with a key it opens: through the app's own routes, on a real port."""
    key = {"SESSION_LAB_INGEST_KEY": KEY}
    for number, (environment, status) in enumerate(((None, 403), (key, 200))):
        with served_lab(tmp_path / f"{number}.duckdb", environment, address=None) as served, served.browser() as sender:
            told = {"content-type": LINES, "authorization": f"Bearer {KEY}"}
            assert sender.post(ingest.EVENTS_PATH, content=WHOLE, headers=told).status_code == status
            assert sender.get(f"{ingest.EVENTS_PATH}/schema").status_code == 200


def test_two_hundred_megabytes_get_their_answer(tmp_path: Path) -> None:
    """Said or not said beforehand how many; the sender hears why, and the next post goes through."""

    def pieces() -> Iterator[bytes]:
        yield from (b"x" * 1_000_000 for _ in range(200))

    with served_lab(tmp_path / "lab.duckdb") as served, served.browser() as sender:
        for body in (b"x" * 200_000_000, pieces()):
            answer = sender.post(ingest.EVENTS_PATH, content=body, headers={"content-type": LINES})
            assert answer.status_code == 413
            assert answer.json() == {"error": "The post is longer than 10000000 bytes; send it in pieces."}
        answer = sender.post(ingest.EVENTS_PATH, content=WHOLE, headers={"content-type": LINES})
        assert answer.json()["accepted"] == 3


# What is said.


def test_the_schema_is_served(desk: Desk) -> None:
    """For whoever wants to check before sending."""
    answer = desk.ask("GET", f"{ingest.EVENTS_PATH}/schema")
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json()["$ref"] == "#/$defs/IncomingEvent"


def test_the_door_is_for_posting(desk: Desk) -> None:
    """Events are read in the app."""
    assert desk.ask("GET").status_code == 405
    assert desk.ask("DELETE").status_code == 405


def test_answers_are_kept_by_nobody_and_guessed_by_none(desk: Desk) -> None:
    """JSON that is not taken for a page."""
    for answer in (desk.post(WHOLE), desk.post(b"<script>"), desk.ask("GET", f"{ingest.EVENTS_PATH}/schema")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "json" in answer.headers["content-type"]


MARK = "Zq7"
PART = st.sampled_from(
    [WHOLE, stream(table()), b"\n", b"{", b'{"fact":', b"[", b'"', b"\xff", b"\x00", MARK.encode() * 3]
)
KIND = st.sampled_from([LINES, ARROW, "application/json", "text/plain", MARK, "", "application/json;"])
HEADERS = st.dictionaries(
    st.sampled_from(["origin", "authorization", "content-encoding", "content-length", "host", "via", "accept"]),
    st.sampled_from([MARK, "", "null", "http://127.0.0.1:8501", f"Bearer {MARK}", "identity", "-1", "3", "9" * 30]),
    max_size=3,
)


@settings(max_examples=tries(150, in_ci=60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PART | st.binary(max_size=40), max_size=5), kind=KIND, headers=HEADERS)
def test_whatever_is_posted_gets_an_answer_in_words(
    store: EventStore, parts: list[bytes], kind: str, headers: dict[str, str]
) -> None:
    """Never a 500 nor a traceback, and nothing of what was sent comes back."""
    answer = Desk(store).ask("POST", content=b"".join(parts), headers={"content-type": kind} | headers)
    assert answer.status_code in (200, 400, 403, 413, 415, 422)
    assert MARK not in answer.text
    receipt = answer.json()
    sentences = [refusal["error"] for refusal in receipt.get("refused", [])] + [receipt.get("error", "It is.")]
    assert all(sentence[-1] in ".?" for sentence in sentences)


@settings(max_examples=tries(300, in_ci=80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=5),
    cut=st.none() | st.integers(0, 5000),
)
def test_damaged_columns_get_an_answer_in_words(store: EventStore, at: list[tuple[int, int]], cut: int | None) -> None:
    """Bytes turned over anywhere in an Arrow stream: let in if it is still one, refused if not."""
    body = bytearray(stream(table()))
    for place, value in at:
        body[place % len(body)] = value
    answer = Desk(store).post(bytes(body[:cut]), ARROW)
    assert answer.status_code in (200, 400, 413, 422)
