"""The one owner of all alerts: it looks, keeps what changed, and takes what people decide."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec
import pandas as pd

from session_core.alert_rules import OUT_OF_REACH, AlertRule, AlertSettings, Verdict, judge
from session_core.alert_states import Alert, Change, Stepped, acknowledge, end_silence, silence, step, withdraw
from session_core.clock import Clock
from session_core.errors import ConfigError, EventStoreError
from session_core.store import alert_words, alerts
from session_core.store.alert_measures import Budget, budget_of, measure
from session_core.store.alerts import Delivery, KeptChange
from session_core.store.event_store import EventStore
from session_core.store.late_store import LateStore

NO_VERDICT = Verdict(exceeded=None)


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about alerts at one moment. `looked_at` is when they were judged last (wall seconds), None if never.

    `trouble` is what keeps them from being judged or kept, in a sentence. `verdicts` lack what was not judged yet;
    `told_to` is the webhook's host, empty without one.
    """

    settings: AlertSettings
    configured: AlertSettings
    told_to: str = ""
    alerts: Mapping[str, Alert] = MappingProxyType({})
    verdicts: Mapping[str, Verdict] = MappingProxyType({})
    budget: Budget | None = None
    looked_at: float | None = None
    trouble: str | None = None

    def rows(self) -> Iterator[tuple[AlertRule, Alert, Verdict]]:
        """Every rule that is watched, with its alert and what it came to."""
        for rule in self.settings.enabled:
            alert = self.alerts.get(rule.name, Alert(rule=rule.name))
            yield rule, alert, self.verdicts.get(rule.name, NO_VERDICT)


class AlertDesk:
    """Any thread may call at any time. What cannot be kept does not count: the board then shows every alert frozen.

    `on_pending` is called, from any thread, when there is something new for the webhook.
    """

    def __init__(
        self,
        store: LateStore,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        configured: AlertSettings | None = None,
        told_to: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._delivery = Delivery.PENDING if told_to else Delivery.UNTOLD
        self._lock = threading.Lock()
        self._loaded = False
        settings = configured or AlertSettings()
        self._board = Board(settings=settings, configured=settings, told_to=told_to)
        self.on_pending: Callable[[], object] = lambda: None

    def board(self) -> Board:
        """As it was found last; nobody waits for it."""
        return self._board

    def now(self) -> float:
        return self._clock.wall()

    def evaluate(self) -> None:
        """Look at everything and keep what changed. Where the store cannot be used the board says so."""
        with self._lock:
            try:
                self._evaluate(self._opened())
            except EventStoreError as error:
                self._lose_sight(str(error))

    def lose_sight(self, why: str) -> None:
        """Nothing can be measured, for a reason that the desk does not know of itself."""
        with self._lock:
            self._lose_sight(why)

    def acknowledge(self, rule: str) -> None:
        """Somebody is at it. Raises EventStoreError when that cannot be kept."""
        self._act(rule, lambda alert, now: acknowledge(alert, now=now))

    def silence(self, rule: str, for_s: float) -> None:
        self._act(rule, lambda alert, now: silence(alert, until=now + for_s, now=now))

    def end_silence(self, rule: str) -> None:
        self._act(rule, lambda alert, now: end_silence(alert, now=now))

    def save(self, settings: AlertSettings | None) -> None:
        """Watch by these from now on, or by the configured ones; an alert whose rule is gone is withdrawn."""
        with self._lock:
            store = self._opened()
            alerts.save_settings(store, settings)
            self._show(settings=settings or self._board.configured, verdicts=MappingProxyType({}), trouble=None)
            self._evaluate(store)

    def history(self, *, rows_max: int = 200) -> pd.DataFrame:
        return alerts.history(self._store.opened(), rows_max=rows_max)

    def next_pending(self) -> KeptChange | None:
        with self._lock:
            return alerts.next_pending(self._store.opened())

    def note_delivery(self, change: KeptChange, delivery: Delivery, *, trouble: str = "") -> None:
        with self._lock:
            alerts.note_delivery(
                self._store.opened(), change.change_id, delivery, tries=change.tries + 1, trouble=trouble
            )

    def settle(self) -> None:
        """Wait until nobody is at work in the store."""
        with self._lock:
            pass

    def _opened(self) -> EventStore:
        """The store, with what it keeps of alerts taken over the first time and after any trouble."""
        store = self._store.opened()
        if not self._loaded:
            settings, trouble = self._board.configured, None
            try:
                settings = alerts.saved_settings(store) or settings
            except ConfigError as error:
                trouble = str(error)
            if self._delivery is Delivery.UNTOLD and alerts.next_pending(store) is not None:
                alerts.give_up_pending(store, "There is no webhook any more.")
            self._show(settings=settings, alerts=alerts.load_alerts(store), trouble=trouble)
            self._loaded = True
        return store

    def _evaluate(self, store: EventStore) -> None:
        now, settings = self._clock.wall(), self._board.settings
        seen = measure(store, settings, now=now)
        verdicts = {rule.name: judge(rule, settings, seen, now=now) for rule in settings.enabled}
        known = self._board.alerts
        stepped = {
            name: step(known.get(name, Alert(rule=name, since=now)), verdict, now=now)
            for name, verdict in verdicts.items()
        }
        gone = {name: withdraw(alert, now=now) for name, alert in known.items() if name not in verdicts}
        self._keep(store, stepped, verdicts, gone=gone)
        self._show(verdicts=verdicts, budget=budget_of(settings, seen), looked_at=now)

    def _act(self, rule: str, decide: Callable[[Alert, float], Stepped]) -> None:
        with self._lock:
            store, now = self._opened(), self._clock.wall()
            alert = self._board.alerts.get(rule)
            if alert is not None:
                self._keep(store, {rule: decide(alert, now)}, self._board.verdicts)

    def _keep(
        self,
        store: EventStore,
        stepped: Mapping[str, Stepped],
        verdicts: Mapping[str, Verdict],
        *,
        gone: Mapping[str, Stepped] = MappingProxyType({}),
    ) -> None:
        """Commit what is new, then show it."""
        known = self._board.alerts
        after = {name: alert for name, (alert, _) in stepped.items()}
        moved = [alert for name, alert in after.items() if alert != known.get(name)]
        added = [
            self._kept(change, alert, verdicts.get(name, NO_VERDICT))
            for name, (alert, changes) in (*stepped.items(), *gone.items())
            for change in changes
        ]
        if moved or gone or added:
            self._commit(store, moved, gone, added)
        self._show(alerts={name: alert for name, alert in {**known, **after}.items() if name not in gone})
        if any(change.delivery is Delivery.PENDING for change in added):
            self.on_pending()

    def _commit(
        self, store: EventStore, moved: Iterable[Alert], gone: Iterable[str], added: Iterable[KeptChange]
    ) -> None:
        try:
            alerts.keep(store, alerts=moved, dropped=gone, changes=added)
        except EventStoreError:
            # Whether it was kept is not known; the store says so when it can be used again.
            self._loaded = False
            raise

    def _kept(self, change: Change, alert: Alert, verdict: Verdict) -> KeptChange:
        settings, change_id = self._board.settings, self._new_id()
        text = alert_words.tell(change, alert, settings, verdict)
        message = alert_words.message(change, alert, change_id=change_id, settings=settings, verdict=verdict, text=text)
        return KeptChange(
            change_id=change_id,
            rule=alert.rule,
            kind=change.kind,
            state=change.state,
            changed_at=change.at,
            sentence=text,
            message=msgspec.json.encode(message).decode(),
            delivery=self._delivery if change.told else Delivery.UNTOLD,
        )

    def _lose_sight(self, why: str) -> None:
        """Shown and not kept, for there is nowhere to keep it; what was open stays so."""
        now, known = self._clock.wall(), self._board.alerts
        names = [rule.name for rule in self._board.settings.enabled]
        frozen = {name: step(known.get(name, Alert(rule=name)), OUT_OF_REACH, now=now)[0] for name in names}
        self._loaded = False
        self._show(alerts={**known, **frozen}, verdicts=dict.fromkeys(names, OUT_OF_REACH), trouble=why)

    def _show(self, **changed: object) -> None:
        self._board = msgspec.structs.replace(self._board, **changed)
