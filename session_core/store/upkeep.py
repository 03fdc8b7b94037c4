"""What a store does besides taking events: it counts what the score is made of, folds, merges and sorts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter

import duckdb
import pyarrow as pa

from session_core.events import Event
from session_core.store import rollups
from session_core.store.columns import micros
from session_core.store.database import Database, on_batch
from session_core.store.ux_ledger import Additions, UxLedger, by_session, go_on

FOLD_EVENTS = 100_000
FOLD_EVENTS_IDLE = 5_000
MERGE_FOLDS = 16
ANEW_SESSIONS_MAX = 500
SORT_EVENTS_MAX = 2_000_000
# As many are counted at a time, while more pour in and afterwards, and as many may wait for it in memory.
OWED_EVENTS = 50_000
OWED_EVENTS_IDLE = 100_000
OWED_EVENTS_MAX = 1_000_000
GIVE_WAY_S = 0.0001

_BEGINNING_US = -62_135_596_800_000_000

_APPEND = """
INSERT INTO events BY NAME SELECT *, CAST($flush AS BIGINT) AS flush, key_of(session_id) AS session_key FROM batch
"""
_ADD_USE = "INSERT INTO ux_fresh BY NAME FROM batch WHERE bucket >= make_timestamptz(CAST($horizon AS BIGINT))"
_ADD_USE_VALUES = """
INSERT INTO ux_values_fresh BY NAME FROM batch WHERE bucket >= make_timestamptz(CAST($horizon AS BIGINT))
"""
_STANDING = """
SELECT coalesce((SELECT max(flush) FROM events), 0), (SELECT count(*) FROM events WHERE flush > (SELECT unfolded())),
    (SELECT count(*) > 0 FROM ux_anew), (SELECT count(*) > 0 FROM owed)
"""
_COUNT_ANEW = "INSERT INTO ux_anew SELECT unnest($names)"
_TO_COUNT_ANEW = "SELECT DISTINCT session_id FROM ux_anew LIMIT $sessions_max"
_OWE = "INSERT INTO owed VALUES ($flush)"
_PAID = "DELETE FROM owed"
_COUNT_OWED_ANEW = (
    "INSERT INTO ux_anew SELECT DISTINCT session_id FROM events WHERE flush >= (SELECT min(flush) FROM owed)"
)


class Upkeep:
    """One transaction at a time adds events or changes what is there, and one at a time keeps up; the two may overlap.

    Whoever needs both to stand still waits for the upkeep first.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keeping = threading.Lock()
        self._writing = threading.Lock()
        self._altering = threading.Lock()
        self._counting = threading.Lock()
        self._nothing = threading.Event()
        self._ledger = UxLedger()
        self._owed: deque[Event] = deque()
        self._hurried: Sequence[Event] = ()
        self._paying = self._folds_next = False
        self._folds = 0
        self._may_sort = True
        self._oldest_us: int | None = None
        with database.cursor() as cursor:
            ((self._flush, self._unfolded, self._anew, self._in_doubt),) = cursor.execute(_STANDING).fetchall()
        self.appended = 0

    @contextmanager
    def changing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction. Where it fails nobody knows what the ledger may count, so it begins anew."""
        with self._writing:
            try:
                with self._database.transaction() as cursor:
                    yield cursor
            except BaseException:
                self._doubt()
                raise
            else:
                self._owed.extend(self._hurried)
            finally:
                self._hurried = ()

    @contextmanager
    def standing_still(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction that no other overlaps."""
        with self._keeping, self.changing() as cursor:
            yield cursor

    @contextmanager
    def _beside(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction that events need not wait for, and that does not concern the ledger."""
        with self._keeping, self._database.transaction() as cursor:
            yield cursor

    @contextmanager
    def altering(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction that may do more than add rows."""
        with self._altering, self.changing() as cursor:
            yield cursor

    @contextmanager
    def checkpointing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor while nobody does more than add rows: else a checkpoint is refused. Events go on being committed."""
        with self._keeping, self._altering, self._database.cursor() as cursor:
            yield cursor

    def forget_sessions(self, events: Sequence[Event]) -> None:
        """What these events say of their sessions takes the place of what was said before; within `standing_still`."""
        self._ledger.drop({event.origin.session_id for event in events})

    def insert(
        self, cursor: duckdb.DuckDBPyConnection, events: Sequence[Event], table: pa.Table, *, hurry: bool = False
    ) -> None:
        """The events and, unless there is a hurry, what they add to the score; within `changing`."""
        on_batch(cursor, _APPEND, table, {"flush": self._flush + 1})
        if hurry or self._owed or self._paying:
            if not self._owed:
                cursor.execute(_OWE, {"flush": self._flush + 1})
            self._hurried = events
        else:
            self._count(cursor, events)
        self._flush += 1
        self._unfolded += len(events)
        self.appended += len(events)
        if events:
            oldest_us = micros(min(map(attrgetter("happened_at"), events)))
            self._oldest_us = oldest_us if self._oldest_us is None else min(oldest_us, self._oldest_us)

    def maintain(self, *, idle: bool = True) -> bool:
        """Do some of what is due; whether there was anything."""
        owing = len(self._owed) >= (1 if idle else OWED_EVENTS)
        full = self._unfolded >= (FOLD_EVENTS_IDLE if idle else FOLD_EVENTS)
        if self._in_doubt or len(self._owed) > OWED_EVENTS_MAX:
            self._owe_no_more()
        elif owing or full:
            # By turns, however many events pour in, and one at a time, so that a checkpoint has not to wait for both.
            self._folds_next = owing and not (full and self._folds_next)
            if self._folds_next:
                self._pay(idle=idle)
            else:
                self._fold()
        elif self._owed:
            return False
        elif self._anew:
            self._count_anew()
        elif idle and self._folds >= MERGE_FOLDS:
            self._merge()
        else:
            return idle and self._may_sort and self._sort_a_day()
        return True

    def fold(self) -> None:
        """Do all of it now."""
        while self._in_doubt or self._owed or self._anew:
            self.maintain()
        self._fold()
        self._merge()
        while self._sort_a_day():
            pass

    def settle(self) -> None:
        """Count what was written in a hurry."""
        while self._owed and not self._in_doubt:
            self._pay()

    def _count(
        self, cursor: duckdb.DuckDBPyConnection, events: Sequence[Event], give_way: Callable[[], object] = go_on
    ) -> None:
        sessions = by_session(events)
        with self._counting:
            strangers = self._ledger.strangers(sessions)
            elsewhere = rollups.known_sessions(cursor, sorted(strangers)) if strangers else ()
            additions = self._ledger.take(sessions, elsewhere=elsewhere, give_way=give_way)
        self._add_use(cursor, additions)
        if additions.anew:
            cursor.execute(_COUNT_ANEW, {"names": additions.anew})
            self._anew = True

    def _pay(self, *, idle: bool = True) -> None:
        """Count some of the events that were written in a hurry, while others are written."""
        with self._keeping:
            self._paying = True
            events_max = OWED_EVENTS_IDLE if idle else OWED_EVENTS
            events = [self._owed.popleft() for _ in range(min(len(self._owed), events_max))]
            try:
                with self._database.transaction() as cursor:
                    self._count(cursor, events, go_on if idle else self._give_way)
            except BaseException:
                self._doubt()
                raise
            with self.changing() as cursor:
                if not self._owed and not self._in_doubt:
                    cursor.execute(_PAID)
                self._paying = bool(self._owed)

    def _give_way(self) -> None:
        """Let go of the interpreter for a moment, or else whoever writes waits until all is counted."""
        self._nothing.wait(GIVE_WAY_S)

    def _doubt(self) -> None:
        """Nobody knows what of the last transaction counts."""
        with self._counting:
            self._ledger.forget()
        self._in_doubt = True

    def _owe_no_more(self) -> None:
        """What may not have been counted, or is too much, is counted anew from the store."""
        with self.standing_still() as cursor:
            cursor.execute(_COUNT_OWED_ANEW)
            cursor.execute(_PAID)
            self._owed.clear()
            self._in_doubt, self._paying, self._anew = False, False, True

    def _add_use(
        self, cursor: duckdb.DuckDBPyConnection, additions: Additions, *, horizon_us: int = _BEGINNING_US
    ) -> None:
        for statement, table in ((_ADD_USE, additions.counts), (_ADD_USE_VALUES, additions.values)):
            if table.num_rows:
                on_batch(cursor, statement, table, {"horizon": horizon_us})

    def _count_anew(self) -> None:
        with self.standing_still() as cursor:
            found = cursor.execute(_TO_COUNT_ANEW, {"sessions_max": ANEW_SESSIONS_MAX}).fetchall()
            names = [name for (name,) in found]
            ((horizon_us,),) = cursor.execute(rollups.HORIZON).fetchall()
            for statement, given in rollups.forget_use(names, horizon_us):
                cursor.execute(statement, dict(given))
            counted = self._ledger.recount(rollups.felt_events(cursor, names))
            self._add_use(cursor, counted, horizon_us=horizon_us)
            self._anew = len(names) == ANEW_SESSIONS_MAX

    def _fold(self) -> None:
        """Only what has been committed by now; events may come meanwhile."""
        with self._keeping:
            with self._writing:
                upto, events = self._flush, self._unfolded
            with self._database.transaction() as cursor:
                for statement, given in rollups.fold(upto):
                    cursor.execute(statement, dict(given))
            with self._writing:
                self._unfolded -= events
            self._folds += 1
            self._may_sort = True

    def _merge(self) -> None:
        """One row for each key in what was folded into several times."""
        with self._writing:
            oldest_us, self._oldest_us = self._oldest_us, None
        if self._folds > 1 and oldest_us is not None:
            with self._beside() as cursor:
                for statement, given in rollups.merge_since(oldest_us):
                    cursor.execute(statement, dict(given))
        self._folds = 0

    def _sort_a_day(self) -> bool:
        """Lay the events of each session of a day side by side, so that one session is found at once."""
        with self._beside() as cursor:
            found = cursor.execute(rollups.UNSORTED_DAY, {"events_max": SORT_EVENTS_MAX}).fetchall()
            for (day_us,) in found:
                for statement, given in rollups.sort_day(day_us):
                    cursor.execute(statement, dict(given))
            self._may_sort = bool(found)
        return self._may_sort
