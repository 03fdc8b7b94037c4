"""Cache rules: what may be stored, for how long, and what it is good for afterwards."""

from __future__ import annotations

import math

import httpx
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from session_core.cache_rules import (
    DELTA_S_MAX,
    ENTRY_OVERHEAD_BYTES,
    PATHS_REMEMBERED_MAX,
    Admission,
    CacheEntry,
    CacheKey,
    CachePolicy,
    Freshness,
    RouteTtl,
    admit,
    cache_control,
    freshness,
    may_serve,
    outdates,
    vary_names,
)
from session_core.errors import ConfigError

ROUTE = RouteTtl(pattern="/api/*", ttl_s=60.0, stale_s=30.0, stale_if_error_s=300.0)
SECONDS = st.integers(0, 10**6).map(float)


def entry(*, ttl_s: float = 60.0, stale_s: float = 30.0, stale_if_error_s: float = 300.0) -> CacheEntry:
    return CacheEntry(
        status=200,
        headers=(("content-type", "text/plain"),),
        body=b"secret of ann",
        stored_at=1_000.0,
        ttl_s=ttl_s,
        stale_s=stale_s,
        stale_if_error_s=stale_if_error_s,
    )


def admitted(
    *,
    route: RouteTtl | None = None,
    method: str = "GET",
    status: int = 200,
    request: dict[str, str] | None = None,
    **answer: str,
) -> Admission | None:
    headers = {name.replace("_", "-"): value for name, value in answer.items()}
    return admit(route, method=method, request=request or {}, status=status, answer=headers)


def lives(admission: Admission | None) -> tuple[float, float, float] | None:
    return admission and (admission.ttl_s, admission.stale_s, admission.stale_if_error_s)


@pytest.mark.parametrize(
    ("age_s", "calm", "after_error"),
    [
        (0, Freshness.FRESH, Freshness.FRESH),
        (59, Freshness.FRESH, Freshness.FRESH),
        (60, Freshness.STALE, Freshness.STALE),
        (61, Freshness.STALE, Freshness.STALE),
        (89, Freshness.STALE, Freshness.STALE),
        (90, Freshness.MISS, Freshness.STALE_IF_ERROR),
        (91, Freshness.MISS, Freshness.STALE_IF_ERROR),
        (359, Freshness.MISS, Freshness.STALE_IF_ERROR),
        (360, Freshness.MISS, Freshness.MISS),
        (361, Freshness.MISS, Freshness.MISS),
    ],
)
def test_each_window_ends_at_its_second(age_s: float, calm: Freshness, after_error: Freshness) -> None:
    """Fresh below the ttl, stale from it, and a window is over at its end."""
    assert freshness(entry(), 1_000.0 + age_s, error=False) is calm
    assert freshness(entry(), 1_000.0 + age_s, error=True) is after_error


@given(ttl_s=SECONDS, stale_s=SECONDS, error_s=SECONDS, age_s=SECONDS, later_s=SECONDS)
def test_an_answer_only_gets_worse_with_age(
    ttl_s: float, stale_s: float, error_s: float, age_s: float, later_s: float
) -> None:
    """FRESH, STALE, STALE_IF_ERROR, MISS in that order; a failed network never makes it less useful."""
    order = list(Freshness)
    held = entry(ttl_s=ttl_s, stale_s=stale_s, stale_if_error_s=error_s)
    now = held.stored_at + age_s
    for error in (False, True):
        found = freshness(held, now, error=error)
        assert order.index(found) <= order.index(freshness(held, now + later_s, error=error))
        assert (found is Freshness.FRESH) == (age_s < ttl_s)
        assert error or found is not Freshness.STALE_IF_ERROR
    assert order.index(freshness(held, now, error=True)) <= order.index(freshness(held, now, error=False))
    assert (freshness(held, now, error=True) is Freshness.MISS) == (age_s >= ttl_s + max(stale_s, error_s))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", None),
        ("private", None),
        ("max-age=60", (60.0, 0.0, 0.0)),
        ("Private, Max-Age=60", (60.0, 0.0, 0.0)),
        ('max-age="60"', (60.0, 0.0, 0.0)),
        ("max-age=60, stale-while-revalidate=30, stale-if-error=300", (60.0, 30.0, 300.0)),
        ("max-age=60,stale-while-revalidate=30,must-revalidate", (60.0, 0.0, 0.0)),
        ("max-age=0, stale-while-revalidate=30", (0.0, 30.0, 0.0)),
        ("max-age=0", None),
        ("max-age=soon", None),
        ("max-age=-1", None),
        ("max-age", None),
        ("max-age=60, max-age=0", (60.0, 0.0, 0.0)),
        ("max-age=99999999999999999999999", (float(DELTA_S_MAX), 0.0, 0.0)),
        ("stale-while-revalidate=30", None),
        ("no-store, max-age=60", None),
        ("no-cache, max-age=60", None),
        ('no-cache="set-cookie", max-age=60', None),
        ('private="x, no-store", max-age=60', (60.0, 0.0, 0.0)),
    ],
)
def test_without_a_route_the_answer_decides(said: str, expected: tuple[float, float, float] | None) -> None:
    """Silence is not consent, and what cannot be read counts as stale."""
    assert lives(admitted(cache_control=said)) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", (60.0, 30.0, 300.0)),
        ("max-age=5", (60.0, 30.0, 300.0)),
        ("must-revalidate", (60.0, 0.0, 0.0)),
        ("no-store", None),
        ("no-cache", None),
    ],
)
def test_a_route_decides_unless_the_origin_forbids(said: str, expected: tuple[float, float, float] | None) -> None:
    """The application knows its routes better than a default header; a prohibition is still one."""
    assert lives(admitted(route=ROUTE, cache_control=said)) == expected


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_get_is_cached(method: str) -> None:
    """No other method's answer is stored or served."""
    assert admitted(route=ROUTE, method=method) is None
    assert not may_serve(method, ())
    assert may_serve("GET", ("accept", "user-agent"))


@pytest.mark.parametrize("status", [201, 203, 204, 206, 301, 304, 401, 404, 500, 503])
def test_only_200_is_stored(status: int) -> None:
    """No error, redirect or part of an answer is kept."""
    assert admitted(route=ROUTE, status=status) is None
    assert admitted(route=ROUTE) is not None


@pytest.mark.parametrize(
    ("header", "value", "storable"),
    [
        ("range", "bytes=0-9", False),
        ("authorization", "Bearer of-someone-else", False),
        ("cache-control", "no-store", False),
        ("cache-control", "no-cache", True),
        ("pragma", "no-cache", True),
        ("if-none-match", '"1"', True),
        ("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT", True),
    ],
)
def test_a_request_that_asks_for_itself_goes_to_the_origin(header: str, value: str, *, storable: bool) -> None:
    """A reload's answer may be stored; a range, a foreign token or no-store leaves nothing behind."""
    assert not may_serve("GET", {header: value})
    assert (admitted(route=ROUTE, request={header: value}) is not None) == storable


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("", ()),
        ("Accept", ("accept",)),
        ("Accept-Language, accept,ACCEPT", ("accept", "accept-language")),
        ("Authorization, Accept", ("accept",)),
        ("*", None),
        ("accept, *", None),
    ],
)
def test_vary_names_what_selects_an_answer(said: str, names: tuple[str, ...] | None) -> None:
    """Sorted, once each; `*` is never stored; the key's user stands for Authorization."""
    assert vary_names(said) == names
    admission = admitted(route=ROUTE, vary=said)
    assert (admission and admission.vary) == names


@pytest.mark.parametrize(("age", "age_s"), [("20", 20.0), ("soon", 0.0), ("-5", 0.0), ("359", 359.0)])
def test_the_age_on_arrival_counts(age: str, age_s: float) -> None:
    """What a cache on the way has held for 20 s is 20 s old; an Age that cannot be read is ignored."""
    admission = admitted(route=ROUTE, age=age)
    assert admission is not None
    assert admission.entry(b"", sent_at=1_000.0).stored_at == 1_000.0 - age_s


def test_an_answer_past_every_window_on_arrival_is_not_stored() -> None:
    """It could never be served."""
    assert admitted(route=ROUTE, age="360") is None


def test_a_stored_answer_leaves_out_what_belongs_to_its_connection() -> None:
    """Neither hop-by-hop headers nor an old Set-Cookie nor an old Age is served again."""
    answer = httpx.Headers({"Content-Type": "a", "Set-Cookie": "s=1", "Connection": "close", "Age": "1", "ETag": "e"})
    admission = admit(ROUTE, method="GET", request=httpx.Headers(), status=200, answer=answer)
    assert admission is not None
    stored = admission.entry(b"body", sent_at=5.0)
    assert stored.headers == (("content-type", "a"), ("etag", "e"))
    assert (stored.status, stored.body, stored.stored_at) == (200, b"body", 4.0)
    assert lives(admission) == (stored.ttl_s, stored.stale_s, stored.stale_if_error_s)


@given(status=st.integers(100, 599))
def test_only_an_opinion_of_the_origin_outdates_what_is_held(status: int) -> None:
    """Server errors, timeouts, throttling and Not Modified say nothing about the resource."""
    assert outdates(status) == (status < 500 and status not in {304, 408, 429})


@given(value=st.text())
@example('max-age="' + '\\"' * 50)
@example("max-age" + " " * 100)
def test_no_cache_control_breaks_the_parser(value: str) -> None:
    """Names come out lower-case and non-empty whatever the origin sends."""
    assert all(name and name == name.lower() for name in cache_control(value))
    lived = lives(admitted(cache_control=value))
    assert lived is None or all(0 <= part <= DELTA_S_MAX for part in lived)


@given(
    directives=st.dictionaries(
        st.sampled_from(["max-age", "private", "x-y", "no-store"]), st.text("abc019 ,=", max_size=8), max_size=4
    )
)
def test_directives_come_back_as_they_were_sent(directives: dict[str, str]) -> None:
    """Quoted values may hold commas and equals signs."""
    assert cache_control(", ".join(f'{name}="{value}"' for name, value in directives.items())) == directives


def test_the_first_route_that_fits_counts() -> None:
    """`*` crosses slashes, case matters, and no route means None."""
    special = RouteTtl(pattern="/api/chat*", ttl_s=0.0, stale_s=5.0)
    policy = CachePolicy(routes=(special, ROUTE))
    assert policy.route_for("/api/chat/1") is special
    assert policy.route_for("/api/a/b") is ROUTE
    assert policy.route_for("/API/a") is None
    assert CachePolicy().route_for("/api/a") is None


def test_remembered_paths_are_bounded() -> None:
    """A million different paths cost no more memory than a thousand, and are still told apart."""
    policy = CachePolicy(routes=(ROUTE,))
    for number in range(3 * PATHS_REMEMBERED_MAX):
        assert policy.route_for(f"/api/{number}") is ROUTE
        assert policy.route_for(f"/{number}") is None
        assert policy.route_for(f"/{number}") is None
        assert len(policy._routes_by_path) <= PATHS_REMEMBERED_MAX


def test_what_is_remembered_is_no_setting() -> None:
    """A policy read from a file equals one built by hand, and a remembered path changes nothing."""
    policy = CachePolicy(routes=(ROUTE,))
    policy.route_for("/api/a")
    assert policy == msgspec.convert(msgspec.to_builtins(policy), CachePolicy)
    with pytest.raises(msgspec.ValidationError, match="_routes_by_path"):
        msgspec.convert({"_routes_by_path": {}}, CachePolicy)


def test_size_charges_body_headers_and_keeping() -> None:
    """No answer is free."""
    assert entry().size == ENTRY_OVERHEAD_BYTES + len("content-typetext/plain") + len("secret of ann")


def test_neither_key_nor_entry_shows_what_it_holds() -> None:
    """A body, a header, a query and a user stay out of the repr."""
    key = CacheKey("ann", "https://api.test/a?token=hidden", (("cookie", "hidden"),))
    assert repr(key) == "CacheKey(https://api.test/a)"
    assert repr(entry()) == "CacheEntry(200, 13 bytes, ttl_s=60)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"entries_max": -1}, "cache.entries_max is -1; set it between 0 and"),
        ({"bytes_max": 1 << 31}, "cache.bytes_max is .*; set it between 0 and"),
        ({"entry_bytes_max": -1}, "cache.entry_bytes_max is -1; set it between 0 and"),
        ({"bytes_max": 10, "entry_bytes_max": 11}, "cache.entry_bytes_max is 11; .* 0 and cache.bytes_max, 10"),
        ({"revalidate_pause_s": math.nan}, "cache.revalidate_pause_s must be a number"),
    ],
)
def test_a_bound_out_of_range_is_refused_by_name(settings: dict[str, float], message: str) -> None:
    """The message names the field, its value and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        msgspec.structs.replace(CachePolicy(), **settings)


@pytest.mark.parametrize("field", ["ttl_s", "stale_s", "stale_if_error_s"])
def test_a_route_out_of_range_is_refused_by_name(field: str) -> None:
    """So is each time of a route."""
    with pytest.raises(ConfigError, match=rf"cache.routes\[/api/\*\].{field} is -1; set it between 0 and"):
        msgspec.structs.replace(ROUTE, **{field: -1.0})
