"""What others send becomes events of ours or is refused in words, whatever it is."""

from __future__ import annotations

import io
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_kit import NOW, said

from session_core.config import PRESETS
from session_core.errors import UnreadableEventsError
from session_core.events import AnyFact, Event, UserActed, encode
from session_core.incoming import FACTS, IncomingEvent, schema
from session_core.ingest import (
    AHEAD_S_MAX,
    EARLIEST_AT,
    LINE_BYTES_MAX,
    Refusal,
    check_columns,
    lines_of,
    sift,
)
from session_core.sim.run import run
from session_core.sim.scenario import read_catalogue
from session_core.vocabulary import Source

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
ORIGIN = said()["origin"]


def served(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "RequestServed",
        "method": "GET",
        "route": "/api/echo",
        "status": 200,
        "served": "network",
        "duration_ms": 20.5,
        "waited_ms": 0,
        "attempts": 1,
    } | changes


def read(event: Any, *, now: float = NOW) -> Event:
    told = sift([(1, event if isinstance(event, bytes) else msgspec.json.encode(event))], now=now)
    assert told.refused == []
    return told.events[0]


def why(event: Any, *, now: float = NOW) -> str:
    told = sift([(7, event if isinstance(event, bytes) else msgspec.json.encode(event))], now=now)
    assert told.events == []
    assert [refusal.line for refusal in told.refused] == [7]
    return told.refused[0].error


def why_not_row(**row: Any) -> str:
    told = sift([(1, row)], now=NOW)
    assert told.events == []
    return told.refused[0].error


def test_an_event_needs_little() -> None:
    """Who, when, what; the device's clocks default to wall time, and nobody is taken for one of our own devices."""
    event = read(said())
    assert (event.seq, event.happened_at, event.monotonic, event.boot) == (1, NOW - 60, NOW - 60, NOW - 60)
    assert event.fact == UserActed(action="opened")
    assert (event.origin.device, event.origin.policy, event.origin.app_version) == ("unknown", "unknown", "")


@pytest.mark.parametrize("source", ["live", "sim", "import", "whatever"])
def test_nobody_outside_is_believed_to_be_live(source: str) -> None:
    """What came from elsewhere says so, whatever it said."""
    assert read(said(origin=ORIGIN | {"source": source})).origin.source is Source.IMPORT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-09-01T12:00:00Z", 1_756_728_000.0),
        ("2025-09-01T14:00:00.25+02:00", 1_756_728_000.25),
        ("2025-09-01 12:00:00+00", 1_756_728_000.0),
    ],
)
def test_a_time_may_be_written_out(text: str, seconds: float) -> None:
    """RFC 3339, with its offset."""
    assert read(said(happened_at=text)).happened_at == seconds


@pytest.mark.parametrize("moment", [EARLIEST_AT, NOW, NOW + AHEAD_S_MAX])
def test_times_up_to_the_bounds_are_let_in(moment: float) -> None:
    """The bounds belong to what is allowed."""
    assert read(said(happened_at=moment)).happened_at == moment


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (EARLIEST_AT - 1, "between 2000-01-01T00:00:00Z and 5 minutes from now, not at 1999-12-31T23:59:59Z."),
        (NOW + AHEAD_S_MAX + 0.001, "5 minutes from now, not at 2025-10-09T08:58:20Z."),
        (0, "not at 1970-01-01T00:00:00Z."),
        (-1e300, "not at -1e+300 s."),
        ("1970-01-01T00:00:01Z", "not at 1970-01-01T00:00:01Z."),
        (NOW * 1000, "this looks like milliseconds, and seconds are wanted."),
        ("yesterday", "such as 2026-01-31T09:30:00Z."),
        ("2026-01-31T09:30:00", "a time with its offset"),
        ("2026-02-30T09:30:00Z", "such as 2026-01-31T09:30:00Z."),
        (None, "must be a number or text, not null."),
        (True, "must be a number or text, not true or false."),
    ],
)
def test_an_impossible_time_is_refused_with_the_bounds(moment: Any, reason: str) -> None:
    """In 1970, in the future, without an offset, in milliseconds: each is told what would do."""
    said_why = why(said(happened_at=moment))
    assert said_why.startswith("happened_at must ")
    assert said_why.endswith(reason) or reason in said_why


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (said(extra=1), "an event has no “extra”; known are boot, fact, happened_at, monotonic, origin, seq."),
        (said(happend_at=1), "an event has no “happend_at”; did you mean “happened_at”?"),
        (said(origin=ORIGIN | {"sessionId": "x"}), "origin has no “sessionId”; did you mean “session_id”?"),
        (said(fact={"kind": "UserActed", "actoin": "x"}), "UserActed has no “actoin”; did you mean “action”?"),
        (said(fact={"kind": "UserActs"}), "there is no kind “UserActs”; did you mean “UserActed”?"),
        (said(fact={"action": "x"}), "kind is missing."),
        (said(fact={"kind": "UserActed"}), "action is missing."),
        (said(fact={"kind": "UserActed", "action": 3}), "action must be text, not a whole number."),
        (said(fact=served(served="teleport")), "served must be one of network, cache, stale, stale_if_error, nothing."),
        (said(fact=served(error="bad")), "error must be one of auth, network, server, throttled, config."),
        (said(fact=served(status=1000)), "status must be a whole number <= 999."),
        (said(fact=served(duration_ms=-1)), "duration_ms must be a number >= 0.0."),
        (said(fact=served(duration_ms=True)), "duration_ms must be a number, not true or false."),
        (said(fact=served(route="/a" + "b" * 999)), "route must be text of length <= 1000."),
        (said(seq=-1), "seq must be a whole number >= 0."),
        (said(seq="1"), "seq must be a whole number, not text."),
        (said(seq=2**53), "seq must be a whole number <= 9007199254740991."),
        (said(origin={}), "stream_id is missing."),
        (said(origin=ORIGIN | {"session_id": ""}), "session_id must be text of length >= 1."),
        (said(origin=ORIGIN | {"user_id": "u" * 201}), "user_id must be text of length <= 200."),
        (said(origin=[]), "origin must be an object, not a list."),
        (b"[]", "an event must be an object, not a list."),
        (b"null", "an event must be an object, not null."),
    ],
)
def test_each_mistake_is_named(event: Any, reason: str) -> None:
    """The field, what is wrong with it and what would do."""
    assert why(event) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (msgspec.json.encode(said())[:-9], "the text ends in the middle of its JSON."),
        (b'{"seq": NaN}', "this is not JSON: invalid character (byte 8)."),
        (b'{"seq": 1e999}', "this is not JSON: Number out of range."),
        (msgspec.json.encode(said()) + b"}", "this is not JSON: trailing characters"),
        (b'{"seq": "\xff"}', "the text is not UTF-8."),
        (b"\x80\x81", "this is not JSON: invalid character (byte 0)."),
        (b'{"fact": ' + b"[" * 30_000, "it is nested too deeply."),
        (b'{"fact": {"kind": "UserActed", "x": ' + b"[" * 30_000, "it is nested too deeply."),
        (b'{"fact": "' + b"x" * LINE_BYTES_MAX, "the event is longer than 65536 bytes."),
    ],
)
def test_what_is_not_json_is_told_where(text: bytes, reason: str) -> None:
    """Half a line, not UTF-8, nested without end."""
    assert why(text).startswith(reason)


@pytest.mark.parametrize(
    "event",
    [
        said(fact={"kind": "UserActed", "action": f"clicked {JWT}"}),
        said(fact={"kind": "UserActed", "action": "Authorization: Bearer 8f3b2c9d7e6a"}),
        said(origin=ORIGIN | {"session_id": JWT}),
        said(origin=ORIGIN | {"app_version": JWT[:20]}),
        said(fact=served(route="/callback?code=4f8a")),
        said(fact=served(route="/callback#access_token=4f8a")),
    ],
)
def test_no_secret_gets_in_or_back(event: dict[str, Any]) -> None:
    """A token, part of one or a query is refused, and the reason does not repeat it."""
    reason = why(event)
    assert "secrets" in reason
    assert not {"eyJ", "8f3b", "4f8a"} & {reason[at : at + size] for at in range(len(reason)) for size in (3, 4)}


@pytest.mark.parametrize("name", [JWT, JWT[:20], "<script>", "x" * 41, "a b", "naïve", "", "x` - at `$.seq"])
def test_only_a_name_like_ours_is_repeated(name: str) -> None:
    """A field's or kind's name is the sender's own text; a token may be in it."""
    for event in (said(**{name: 1}), said(origin=ORIGIN | {name: 1}), said(fact={"kind": name})):
        reason = why(event)
        assert "no such" in reason
        assert not name or name not in reason


@pytest.mark.parametrize("char", ["\x00", "\n", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066"])
def test_text_that_cannot_be_shown_is_refused(char: str) -> None:
    """Control characters would break lines of logs, and turned text would hide what it says."""
    assert why(said(fact={"kind": "UserActed", "action": f"a{char}b"})) == "action has characters that cannot be shown."
    assert why(said(origin=ORIGIN | {"device": f"a{char}b"})) == "device has characters that cannot be shown."


def test_names_given_twice_are_answered_too() -> None:
    """Where a reader and its explanation could take different ones for true."""
    twice = b'{"seq":1,"happened_at":1,"origin":{},"fact":{"kind":"RequestServed","error":"x"},"fact":3}'
    kinds = b'{"seq":1,"happened_at":1,"origin":{},"fact":{"kind":"SessionEnded","reason":"x","kind":"AlertRaised"}}'
    reasons = b'{"seq":1,"fact":{"kind":"RequestServed","error":"x","kind":"RefreshFailed"}}'
    for text in (twice, kinds, reasons):
        assert why(text)


# As rows of a table.

ROW = {"stream_id": "s", "seq": 1, "happened_at": NOW, "session_id": "a", "user_id": "", "kind": "UserActed"}


def test_a_row_is_an_event() -> None:
    """The fact in columns of its own, or whole as JSON; all values may be text; columns that repeat the fact are not read."""
    [plain] = sift([(1, ROW | {"action": "x"})], now=NOW).events
    [text] = sift([(1, ROW | {"seq": "1", "happened_at": f"{NOW}", "action": "x"})], now=NOW).events
    [whole] = sift([(1, ROW | {"fact": '{"kind":"UserActed","action":"x"}', "state": "?"})], now=NOW).events
    [short] = sift([(1, ROW | {"fact": '{"action":"x"}', "run_id": None})], now=NOW).events
    assert plain == text == whole == short == read(plain_of(plain))


def plain_of(event: Event) -> bytes:
    return encode(event)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fact": "{"}, "fact must be a JSON object."),
        ({"fact": "[]"}, "fact must be a JSON object."),
        ({"fact": "[" * 99_999}, "fact must be a JSON object."),
        ({"fact": '{"kind":"SessionEnded","reason":"idle_limit"}'}, "another kind than the column kind says."),
        ({"action": "\udcff"}, "action has characters that cannot be shown."),
        ({"action": "x", "happened_at": "nan"}, "happened_at must lie between"),
        ({"action": "x", "happened_at": "inf"}, "happened_at must lie between"),
        ({"action": "x", "seq": "first"}, "seq must be a whole number, not text."),
        ({"action": "x", "seq": None}, "seq is missing."),
        ({"action": "x", "happened_at": None}, "happened_at is missing."),
    ],
)
def test_each_mistake_of_a_row_is_named(change: dict[str, Any], reason: str) -> None:
    """In the same words as those of a line."""
    assert reason in why_not_row(**(ROW | change))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ([*ROW, "actoin"], "A table of events has no “actoin”; did you mean “action”?"),
        ([*ROW, JWT], "A table of events has no such field; docs/ingest.md lists what there is."),
        ([*ROW, "seq"], "There are 2 columns “seq”; leave one."),
        ([*ROW, JWT, JWT], "There are 2 columns of one name; leave one."),
        (["seq", "kind"], "These columns are missing: stream_id, happened_at, session_id, user_id."),
        ([name for name in ROW if name != "kind"], "These columns are missing: kind."),
        ([], "These columns are missing: stream_id, seq, happened_at, session_id, user_id, kind."),
    ],
)
def test_wrong_columns_are_named_once(columns: list[str], reason: str) -> None:
    """Rather than in every row."""
    with pytest.raises(UnreadableEventsError) as caught:
        check_columns(columns)
    assert str(caught.value) == reason


# Lines.


def test_lines_keep_their_numbers() -> None:
    """Blank ones count and are passed over; a byte-order mark, Windows' line ends and a missing last one do not matter."""
    text = b"\xef\xbb\xbf{}\r\n\n  \n[]\n{"
    assert [(line, raw.strip()) for line, raw in lines_of(io.BytesIO(text))] == [(1, b"{}"), (4, b"[]"), (5, b"{")]


def test_a_line_without_an_end_takes_no_memory() -> None:
    """Of one that is too long only the beginning is kept, and the next one is read as if it had been short."""
    exact = b"x" * LINE_BYTES_MAX
    text = exact + b"\n" + exact * 5 + b"\n" + b"{}\n"
    found = list(lines_of(io.BytesIO(text)))
    assert [(line, len(raw)) for line, raw in found] == [(1, LINE_BYTES_MAX), (2, LINE_BYTES_MAX + 1), (3, 2)]
    assert sift(found[1:2], now=NOW).refused == [Refusal(2, "the event is longer than 65536 bytes.")]


# Whatever comes.


@pytest.mark.parametrize("policy", PRESETS)
def test_what_we_write_ourselves_is_let_in(policy: str) -> None:
    """Every event of every scenario, so that a store can be moved into another: nothing but the source is changed."""
    names = [name for name in read_catalogue() if name not in ("retry-storm", "fleet-wakes-at-nine")]
    events = [event for name in names for event in run(read_catalogue()[name], PRESETS[policy], 1).events]
    told = sift(enumerate(map(encode, events), 1), now=max(event.happened_at for event in events))
    assert told.refused == []
    imported = {event.origin: msgspec.structs.replace(event.origin, source=Source.IMPORT) for event in events}
    assert told.events == [msgspec.structs.replace(event, origin=imported[event.origin]) for event in events]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(sorted({name for fact in FACTS.values() for name in fact.__struct_fields__}))
STRANGE_FACT = st.fixed_dictionaries({"kind": st.sampled_from(sorted(FACTS))}).flatmap(
    lambda fact: st.dictionaries(FIELDS, JSON, max_size=9).map(lambda more: fact | more)
)


@given(event=JSON | st.fixed_dictionaries({"seq": JSON, "happened_at": JSON, "origin": JSON, "fact": STRANGE_FACT}))
def test_any_json_is_let_in_or_refused_in_a_sentence(event: Any) -> None:
    """Never an exception; and a reason holds no text of the sender's but the names it asks about."""
    told = sift([(1, msgspec.json.encode(event))], now=NOW)
    assert len(told.events) + len(told.refused) == 1
    assert all(refusal.error[-1] in ".?" and "`" not in refusal.error for refusal in told.refused)


@given(
    row=st.dictionaries(st.sampled_from([*ROW, "fact", "action", "reason", "status"]), JSON | st.floats(), max_size=9)
)
def test_any_row_is_let_in_or_refused_in_a_sentence(row: dict[str, Any]) -> None:
    """Columns hold what they like."""
    told = sift([(1, ROW | row)], now=NOW)
    assert len(told.events) + len(told.refused) == 1


@given(text=st.binary(max_size=200), cut=st.integers(0, 300))
def test_any_bytes_are_let_in_or_refused_in_a_sentence(text: bytes, cut: int) -> None:
    """Also in the middle of an event."""
    whole = msgspec.json.encode(said(fact=served()))
    told = sift([(1, text), (2, whole[:cut] + text + whole[cut:]), (3, whole[:cut])], now=NOW)
    assert len(told.events) + len(told.refused) == 3


# The schema says the same.


def test_the_schema_is_one() -> None:
    """By the rules of JSON Schema; every kind of event is in it."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert {fact.__name__ for fact in get_args(AnyFact)} < schema()["$defs"].keys()


@given(
    event=st.fixed_dictionaries(
        {"seq": JSON, "happened_at": st.just(NOW), "origin": st.just(ORIGIN), "fact": STRANGE_FACT}
    )
)
def test_the_schema_allows_what_is_let_in(event: dict[str, Any]) -> None:
    """A sender who checks by it is not surprised: both agree, but for texts and times that no schema can judge."""
    says = jsonschema.Draft202012Validator(schema()).is_valid(event)
    try:
        msgspec.json.decode(msgspec.json.encode(event), type=IncomingEvent)
    except msgspec.ValidationError:
        assert not says or has_whole_float(event)
    else:
        assert says


def has_whole_float(value: Any) -> bool:
    """JSON Schema takes 1.0 for a whole number; we do not."""
    if isinstance(value, dict):
        return any(map(has_whole_float, value.values()))
    return isinstance(value, float) and value.is_integer()
