"""The cache: bounded, single flight, never across users, and empty after sign-out."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from session_core.cache_manager import INVALIDATIONS_MAX, REVALIDATIONS_MAX, CacheManager, Hit
from session_core.cache_rules import ENTRY_OVERHEAD_BYTES, CacheEntry, CacheKey, CachePolicy, Freshness
from session_core.events import AnyFact, CacheServed, CacheSwept
from session_core.vocabulary import Served

URL = "https://api.test/a"
KEY = CacheKey("ann", URL)


class HandClock:
    """Boot seconds moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def wall(self) -> float:
        return self.now

    monotonic = boot = wall


class Bench:
    """A cache with its clock and what it recorded."""

    def __init__(self, policy: CachePolicy | None = None) -> None:
        self.clock = HandClock()
        self.facts: list[AnyFact] = []
        self.cache = CacheManager(policy or CachePolicy(), clock=self.clock, record=self.facts.append)

    def answer(
        self, body: bytes = b"", *, ttl_s: float = 60.0, stale_s: float = 30.0, error_s: float = 300.0
    ) -> CacheEntry:
        return CacheEntry(
            status=200,
            headers=(),
            body=body,
            stored_at=self.clock.now,
            ttl_s=ttl_s,
            stale_s=stale_s,
            stale_if_error_s=error_s,
        )

    def keep(self, key: CacheKey = KEY, body: bytes = b"", **times: float) -> bool:
        return self.cache.store(key, self.answer(body, **times), generation=self.cache.generation)

    def found(self, key: CacheKey = KEY, *, error: bool = False) -> Freshness | None:
        hit = self.cache.lookup(key, route="/a", error=error)
        return hit and hit.freshness


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def settle() -> None:
    """Let every ready task and callback run."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_an_answer_goes_through_all_its_ages() -> None:
    """Fresh, stale, stale on error, gone; each serve recorded with its age and ttl, each counted once."""
    bench = Bench()
    assert bench.found() is None
    bench.keep(body=b"x")
    assert bench.found() is Freshness.FRESH
    bench.clock.now += 60
    assert bench.found() is Freshness.STALE
    bench.clock.now += 30
    assert bench.found() is None
    assert bench.found(error=True) is Freshness.STALE_IF_ERROR
    bench.clock.now += 270
    assert bench.found(error=True) is None
    served = [(Served.CACHE, 0.0), (Served.STALE, 60.0), (Served.STALE_IF_ERROR, 90.0)]
    assert bench.facts == [CacheServed(route="/a", served=how, age_s=age_s, ttl_s=60.0) for how, age_s in served]
    statistics = bench.cache.statistics()
    assert (statistics.hits, statistics.stale_served, statistics.stale_if_error_served, statistics.misses) == (
        1,
        1,
        1,
        2,
    )
    assert statistics.oldest_age_s == 360.0


def test_a_failed_request_is_not_missed_twice() -> None:
    """The second look, after an error, belongs to the same request."""
    bench = Bench()
    bench.found()
    bench.found(error=True)
    assert bench.cache.statistics().misses == 1


def test_a_hit_carries_the_stored_answer_and_its_age() -> None:
    """What was stored is what is served."""
    bench = Bench()
    stored = bench.answer(b"x")
    bench.cache.store(KEY, stored, generation=0)
    bench.clock.now += 7
    assert bench.cache.lookup(KEY, route="/a") == Hit(stored, Freshness.FRESH, 7.0)


def test_one_users_answer_never_reaches_another() -> None:
    """The same URL of another user is a miss."""
    bench = Bench()
    bench.keep(KEY, b"of ann")
    assert bench.found(CacheKey("bob", URL)) is None
    assert bench.found(KEY) is Freshness.FRESH


def test_a_fragment_is_no_other_page() -> None:
    """It never leaves the client, so it selects nothing."""
    bench = Bench()
    bench.keep(bench.cache.key_for("ann", URL + "#top", {}))
    assert bench.found(bench.cache.key_for("ann", URL + "#end", {})) is Freshness.FRESH
    bench.cache.invalidate("ann", URL + "#middle")
    assert bench.found() is None


def test_vary_keeps_answers_apart() -> None:
    """A request is matched by the headers its URL's last answer named; a header not sent differs from an empty one."""
    bench = Bench()
    cache = bench.cache
    for accept in ("json", "html"):
        bench.keep(cache.key_for("ann", URL, {"accept": accept}, vary=("accept",)), accept.encode())
    hits = [cache.lookup(cache.key_for("ann", URL, {"accept": a}), route="/a") for a in ("json", "html", "")]
    assert [hit and hit.entry.body for hit in hits] == [b"json", b"html", None]
    assert cache.key_for("ann", URL, {}).vary == (("accept", None),)
    assert cache.key_for("bob", URL, {"accept": "json"}).vary == ()


def test_a_url_answers_by_its_latest_vary() -> None:
    """Answers chosen by other headers than the latest one's are dropped, in both directions."""
    bench = Bench()
    cache = bench.cache
    bench.keep(KEY)
    for names in (("accept",), ("accept-language",), ()):
        key = cache.key_for("ann", URL, {}, vary=names)
        bench.keep(key)
        assert list(cache._entries) == [key]
    assert cache.key_for("ann", URL, {}) == KEY


def test_an_unsafe_method_forgets_every_variant_of_its_url_only() -> None:
    """RFC 9111 §4.4: the next GET sees what the write did; other users and URLs keep theirs."""
    bench = Bench()
    others = [CacheKey("bob", URL), CacheKey("ann", URL + "/1")]
    for key in [*others, CacheKey("ann", URL, (("accept", "json"),)), CacheKey("ann", URL, (("accept", "html"),))]:
        bench.keep(key)
    bench.cache.invalidate("ann", URL)
    assert list(bench.cache._entries) == others
    bench.cache.invalidate("ann", "https://api.test/never-seen")


def test_an_answer_asked_for_before_a_write_is_not_stored_after_it() -> None:
    """It may show the state before the write; answers of other URLs are not concerned."""
    bench = Bench()
    asked = bench.cache.generation
    bench.cache.invalidate("ann", URL)
    assert not bench.cache.store(KEY, bench.answer(), generation=asked)
    assert bench.cache.store(CacheKey("ann", URL + "/1"), bench.answer(), generation=asked)
    assert bench.keep(KEY)


def test_many_writes_are_remembered_in_bounded_space() -> None:
    """Past the bound, answers asked for before are refused whatever their URL: safe, and rare."""
    bench = Bench()
    asked = bench.cache.generation
    for number in range(5 * INVALIDATIONS_MAX):
        bench.cache.invalidate("ann", f"{URL}/{number}")
        assert len(bench.cache._invalidated) <= INVALIDATIONS_MAX
    assert not bench.cache.store(CacheKey("ann", f"{URL}/0"), bench.answer(), generation=asked)
    assert not bench.cache.store(CacheKey("ann", f"{URL}/other"), bench.answer(), generation=asked)
    assert bench.keep(CacheKey("ann", f"{URL}/0"))


def test_an_older_answer_never_replaces_a_newer_one() -> None:
    """A slow request's answer comes last and is refused; one of the same second is taken."""
    bench = Bench()
    slow = bench.answer(b"old")
    bench.clock.now += 1
    bench.keep(body=b"new")
    assert not bench.cache.store(KEY, slow, generation=0)
    assert bench.keep(body=b"newer")


def test_an_answer_too_big_still_outdates_the_one_held() -> None:
    """The edge fits, one byte more does not, and neither leaves the older answer behind."""
    room = 100
    bench = Bench(CachePolicy(entry_bytes_max=ENTRY_OVERHEAD_BYTES + room))
    assert bench.keep(body=b"x" * room)
    assert not bench.keep(body=b"x" * (room + 1))
    assert len(bench.cache) == 0
    assert bench.cache.statistics().bytes == 0


def test_a_cache_of_no_entries_stores_nothing() -> None:
    """`entries_max` 0 is off."""
    bench = Bench(CachePolicy(entries_max=0))
    assert not bench.keep()
    assert bench.found() is None


def test_the_least_recently_used_goes_first() -> None:
    """Being served counts as use."""
    bench = Bench(CachePolicy(entries_max=2))
    a, b, c = (CacheKey("ann", f"{URL}/{name}") for name in "abc")
    bench.keep(a)
    bench.keep(b)
    bench.found(a)
    bench.keep(c)
    assert list(bench.cache._entries) == [a, c]
    assert bench.cache.statistics().evictions == 1


def test_bytes_are_bounded_as_well() -> None:
    """As many go as must, so that the newest fits."""
    size = ENTRY_OVERHEAD_BYTES + 100
    bench = Bench(CachePolicy(bytes_max=3 * size, entry_bytes_max=3 * size))
    keys = [CacheKey("ann", f"{URL}/{name}") for name in "abcd"]
    for key in keys[:3]:
        bench.keep(key, b"x" * 100)
    assert len(bench.cache) == 3
    bench.keep(keys[3], b"x" * 101)
    assert list(bench.cache._entries) == [keys[2], keys[3]]
    assert bench.cache.statistics().bytes == 2 * size + 1


def test_a_sweep_removes_what_nothing_can_serve_and_says_so_once() -> None:
    """The last second of the longest window is kept, its end is not; an idle sweep is silent."""
    bench = Bench()
    bench.keep(KEY)
    bench.clock.now += 1
    bench.keep(CacheKey("ann", URL + "/1"))
    assert bench.cache.sweep(1_359.0) == 0
    assert bench.cache.sweep(1_360.0) == 1
    assert bench.cache.sweep(1_360.5) == 0
    assert bench.facts == [CacheSwept(removed=1, entries=1, bytes=ENTRY_OVERHEAD_BYTES)]


def test_sign_out_empties_and_refuses_what_was_asked_for_before() -> None:
    """An answer on its way while the user signs out leaves nothing behind."""
    bench = Bench()
    bench.keep()
    asked = bench.cache.generation
    bench.cache.clear()
    assert not bench.cache.store(KEY, bench.answer(), generation=asked)
    assert len(bench.cache) == bench.cache.statistics().bytes == 0
    assert bench.cache.statistics().oldest_age_s is None
    assert bench.keep()


def test_fifty_stale_answers_start_one_revalidation() -> None:
    """Single flight for each key; the next is possible when the first has landed."""

    async def main() -> None:
        bench = Bench()
        bench.keep(stale_s=100.0)
        bench.clock.now += 60
        gate = asyncio.Event()

        async def fetch() -> None:
            asked = bench.cache.generation
            await gate.wait()
            bench.cache.store(KEY, bench.answer(b"new"), generation=asked)

        started = []
        for _ in range(50):
            assert bench.found() is Freshness.STALE
            started.append(bench.cache.revalidate(KEY, fetch))
        await settle()
        assert started == [True] + [False] * 49
        gate.set()
        await settle()
        assert bench.found() is Freshness.FRESH
        assert bench.cache.revalidate(KEY, fetch)
        await settle()
        assert bench.cache.statistics().revalidations == 2

    run(main())


def test_a_failed_revalidation_keeps_the_good_answer_and_waits() -> None:
    """It is counted, nothing is lost, and no other try is made within the pause, to the second."""

    async def main() -> None:
        bench = Bench(CachePolicy(revalidate_pause_s=5.0))
        bench.keep(stale_s=1_000.0)
        bench.clock.now += 60

        async def fetch() -> None:
            raise ConnectionError

        assert bench.cache.revalidate(KEY, fetch)
        await settle()
        assert bench.found() is Freshness.STALE
        bench.clock.now += 4
        assert not bench.cache.revalidate(KEY, fetch)
        bench.clock.now += 1
        assert bench.cache.revalidate(KEY, fetch)
        await settle()
        assert bench.cache.statistics().revalidation_failures == 2
        bench.keep()
        assert bench.cache.revalidate(KEY, fetch), "a new answer ends the pause"
        await settle()

    run(main())


def test_a_failure_leaves_no_trace_of_a_key_that_is_gone() -> None:
    """Pauses are as bounded as the entries."""

    async def main() -> None:
        bench = Bench()
        bench.keep()

        async def fetch() -> None:
            bench.cache.invalidate("ann", URL)
            raise ConnectionError

        bench.cache.revalidate(KEY, fetch)
        await settle()
        assert bench.cache._paused == {}
        assert bench.cache.statistics().revalidation_failures == 1

    run(main())


def test_revalidations_are_bounded() -> None:
    """After a long sleep everything is stale at once; the API is not stormed."""

    async def main() -> None:
        bench = Bench()
        gate = asyncio.Event()

        async def fetch() -> None:
            await gate.wait()

        keys = [CacheKey("ann", f"{URL}/{number}") for number in range(REVALIDATIONS_MAX + 1)]
        started = [bench.cache.revalidate(key, fetch) for key in keys]
        assert started == [True] * REVALIDATIONS_MAX + [False]
        gate.set()
        await settle()
        assert bench.cache.revalidate(keys[-1], fetch)
        await settle()

    run(main())


def test_sign_out_stops_revalidations() -> None:
    """A cancelled one stores nothing and is not a failure."""

    async def main() -> None:
        bench = Bench()
        bench.keep()
        stopped = []
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))

        async def fetch() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(bench.cache.store(KEY, bench.answer(), generation=0))

        bench.cache.revalidate(KEY, fetch)
        await settle()
        bench.cache.clear()
        await settle()
        assert stopped == [False]
        assert complaints == []
        assert bench.cache.statistics().revalidation_failures == 0
        assert bench.cache._flights == {}

    run(main())


def test_a_revalidation_may_itself_sign_out() -> None:
    """Its refresh was rejected, so it ends the session: neither clearing nor closing cuts it off or waits for itself."""

    async def main() -> None:
        bench = Bench()
        done = []

        async def fetch() -> None:
            bench.cache.clear()
            await bench.cache.aclose()
            await asyncio.sleep(0)
            done.append(True)

        bench.cache.revalidate(KEY, fetch)
        await settle()
        assert done == [True]

    run(main())


def test_a_closed_cache_leaves_no_task_and_takes_nothing() -> None:
    """Closing waits for the last cancelled task, however long it tidies up."""

    async def main() -> None:
        bench = Bench()
        tidied = []

        async def fetch() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                tidied.append(True)

        bench.cache.revalidate(KEY, fetch)
        await settle()
        await bench.cache.aclose()
        assert tidied == [True]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not bench.keep()
        assert not bench.cache.revalidate(KEY, fetch)
        await bench.cache.aclose()

    run(main())


def test_an_unused_cache_is_small() -> None:
    """Ten thousand sessions have one each: under 1 KB."""
    cache = Bench().cache
    parts = [getattr(cache, name) for name in cache.__slots__ if name not in ("policy", "_clock", "_record")]
    assert sys.getsizeof(cache) + sum(map(sys.getsizeof, parts)) < 1_024


SIZES = st.integers(0, 1_200)
WINDOWS = st.integers(0, 40).map(float)
USERS = st.sampled_from(["ann", "bob"])
URLS = st.sampled_from([f"{URL}/{name}" for name in "abc"])
ACCEPTS = st.sampled_from([None, "json", "html"])
POLICY = CachePolicy(entries_max=4, bytes_max=4_000, entry_bytes_max=1_500, revalidate_pause_s=5.0)


class Ticket:
    """A request on its way in the model: what it asks for, when it left, and whether its answer may still be kept."""

    def __init__(self, key: CacheKey, sent_at: float, generation: int) -> None:
        self.key = key
        self.sent_at = sent_at
        self.generation = generation
        self.welcome = True


class CacheMachine(RuleBasedStateMachine):
    """The cache against an ordered dict on a clock moved by hand."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(POLICY)
        self.cache = self.bench.cache
        self.loop = asyncio.new_event_loop()
        self.model: OrderedDict[CacheKey, CacheEntry] = OrderedDict()
        self.open: list[Ticket] = []
        self.flights: dict[CacheKey, asyncio.Future[None]] = {}
        self.paused: dict[CacheKey, float] = {}
        self.serial = 0
        self.failures = 0

    def teardown(self) -> None:
        self.loop.run_until_complete(self.cache.aclose())
        assert not asyncio.all_tasks(self.loop)
        assert not self.bench.keep()
        self.loop.close()

    def key_of(self, user: str, url: str, accept: str | None) -> CacheKey:
        request = {} if accept is None else {"accept": accept}
        key = self.cache.key_for(user, url, request)
        varied = any(held.vary for held in self.model if held[:2] == (user, url))
        assert key == CacheKey(user, url, (("accept", accept),) if varied else ())
        return key

    @rule(ticket=consumes(tickets), size=SIZES, ttl_s=WINDOWS, stale_s=WINDOWS, error_s=WINDOWS)
    def answer(self, ticket: Ticket, size: int, ttl_s: float, stale_s: float, error_s: float) -> None:
        self.open.remove(ticket)
        self.serial += 1
        body = f"{ticket.key.user_id} {ticket.key.url} {self.serial} ".encode().ljust(size, b".")
        stored = CacheEntry(
            status=200,
            headers=(),
            body=body,
            stored_at=ticket.sent_at,
            ttl_s=ttl_s,
            stale_s=stale_s,
            stale_if_error_s=error_s,
        )
        kept = self.cache.store(ticket.key, stored, generation=ticket.generation)
        held = self.model.get(ticket.key)
        if not ticket.welcome or (held and held.stored_at > stored.stored_at):
            assert not kept
            return
        for other in list(self.model):
            if other == ticket.key or (other[:2] == ticket.key[:2] and bool(other.vary) != bool(ticket.key.vary)):
                self.forget(other)
        assert kept == (stored.size <= POLICY.entry_bytes_max)
        if kept:
            self.model[ticket.key] = stored
            while len(self.model) > POLICY.entries_max or self.bytes() > POLICY.bytes_max:
                self.forget(next(iter(self.model)))

    def forget(self, key: CacheKey) -> None:
        del self.model[key]
        self.paused.pop(key, None)

    def bytes(self) -> int:
        return sum(stored.size for stored in self.model.values())

    @rule(seconds=st.integers(0, 30))
    def time_passes(self, seconds: int) -> None:
        self.bench.clock.now += seconds

    @rule(target=tickets, user=USERS, url=URLS, accept=ACCEPTS, varies=st.booleans())
    def ask(self, user: str, url: str, accept: str | None, *, varies: bool) -> Ticket:
        vary = (("accept", accept),) if varies else ()
        ticket = Ticket(CacheKey(user, url, vary), self.bench.clock.now, self.cache.generation)
        self.open.append(ticket)
        return ticket

    @rule(user=USERS, url=URLS, accept=ACCEPTS, error=st.booleans())
    def look(self, user: str, url: str, accept: str | None, *, error: bool) -> None:
        key = self.key_of(user, url, accept)
        hit = self.cache.lookup(key, route="/r", error=error)
        held = self.model.get(key)
        age_s = self.bench.clock.now - held.stored_at if held else 0.0
        windows = [held.stale_s, held.stale_if_error_s * error] if held else []
        if held is None or age_s >= held.ttl_s + max(windows) * (age_s >= held.ttl_s):
            assert hit is None
            return
        assert hit is not None
        assert hit.entry is held
        assert hit.age_s == age_s
        assert hit.entry.body.startswith(f"{user} {url} ".encode())
        assert (hit.freshness is Freshness.FRESH) == (age_s < held.ttl_s)
        assert (hit.freshness is Freshness.STALE_IF_ERROR) == (age_s >= held.ttl_s + held.stale_s)
        self.model.move_to_end(key)

    @rule(user=USERS, url=URLS)
    def write(self, user: str, url: str) -> None:
        self.cache.invalidate(user, url)
        for key in [key for key in self.model if key[:2] == (user, url)]:
            self.forget(key)
        for ticket in self.open:
            ticket.welcome &= ticket.key[:2] != (user, url)

    @rule()
    def sweep(self) -> None:
        now = self.bench.clock.now
        lives = {key: e.stored_at + e.ttl_s + max(e.stale_s, e.stale_if_error_s) for key, e in self.model.items()}
        dead = [key for key, until in lives.items() if now >= until]
        swept = len([fact for fact in self.bench.facts if isinstance(fact, CacheSwept)])
        assert self.cache.sweep(now) == len(dead)
        for key in dead:
            self.forget(key)
        news = [fact for fact in self.bench.facts if isinstance(fact, CacheSwept)][swept:]
        assert news == [CacheSwept(removed=len(dead), entries=len(self.model), bytes=self.bytes())] * bool(dead)

    @rule()
    def sign_out(self) -> None:
        async def clear() -> None:
            self.cache.clear()
            await settle()

        self.loop.run_until_complete(clear())
        self.model.clear()
        self.paused.clear()
        self.flights.clear()
        for ticket in self.open:
            ticket.welcome = False

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def revalidate(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.model)))

        async def start() -> None:
            gate = asyncio.get_running_loop().create_future()

            async def fetch() -> None:
                await gate

            started = self.cache.revalidate(key, fetch)
            paused = self.bench.clock.now < self.paused.get(key, 0.0)
            assert started == (key not in self.flights and not paused)
            if started:
                self.flights[key] = gate
            await settle()

        self.loop.run_until_complete(start())

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), fails=st.booleans())
    def land(self, data: st.DataObject, *, fails: bool) -> None:
        key = data.draw(st.sampled_from(list(self.flights)))
        gate = self.flights.pop(key)
        if fails:
            gate.set_exception(ConnectionError())
            self.failures += 1
            if key in self.model:
                self.paused[key] = self.bench.clock.now + POLICY.revalidate_pause_s
        else:
            gate.set_result(None)
        self.loop.run_until_complete(settle())

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert list(self.cache._entries.items()) == list(self.model.items())
        assert {key for keys in self.cache._selected.values() for key in keys} == {
            key for key in self.model if key.vary
        }
        assert all(self.cache._selected.values())
        assert self.cache._paused.keys() <= self.model.keys()
        assert self.cache._flights.keys() == self.flights.keys()

    @invariant()
    def keeps_its_bounds(self) -> None:
        statistics = self.cache.statistics()
        assert statistics.entries == len(self.cache) == len(self.model) <= POLICY.entries_max
        assert statistics.bytes == self.bytes() <= POLICY.bytes_max
        assert statistics.revalidation_failures == self.failures

    @invariant()
    def never_mixes_users(self) -> None:
        for key, held in self.cache._entries.items():
            assert held.body.startswith(f"{key.user_id} {key.url} ".encode())


TestCacheMachine = CacheMachine.TestCase


@pytest.mark.parametrize("part", ["hits", "entries"])
def test_statistics_cannot_be_changed(part: str) -> None:
    """They are a value, not a window into the cache."""
    with pytest.raises(AttributeError):
        setattr(Bench().cache.statistics(), part, 7)
