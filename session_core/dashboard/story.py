"""What happened to one session, in words: each trouble and how it was come through, and in a word the rest. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from session_core import events as e
from session_core.dashboard.lanes import when
from session_core.dashboard.phrases import (
    CURES,
    NETWORKS,
    NOTES,
    TROUBLES,
    abridged,
    capitalised,
    counted,
    fault,
    length,
    ordinal,
    time_of_day,
    without_repeats,
)
from session_core.provider.faults import EFFECTS
from session_core.store.descriptions import END_REASONS
from session_core.vocabulary import DeviceChange, EndReason, GapKind, NetworkState, Outcome, Sight, Source, State

CALM_S = 600.0
CLAUSES_MAX = 12
SENTENCES_MAX = 12
DAY_S = 86_400.0


def tell(events: Iterable[e.Event], *, zone: str = "UTC") -> tuple[str, ...]:
    """The story, a sentence each. Times of day are in `zone`; those of a simulation begin at midnight."""
    ordered = sorted(events, key=when)
    if not ordered:
        return ("Nothing is known of this session.",)
    days = when(ordered[-1]) - when(ordered[0]) >= DAY_S
    teller = _Teller(ordered, lambda at_s: time_of_day(at_s, zone, days=days))
    for event in ordered:
        teller.hear(when(event), event.fact)
    return teller.told()


class _Turn(NamedTuple):
    """When something was all right again, and what."""

    at_s: float
    after: str


class _Teller:
    """Hears events in order; an episode begins with a trouble and ends with the first answer after it."""

    def __init__(self, events: Sequence[e.Event], clock: Callable[[float], str]) -> None:
        self._clock = clock
        self._sentences: list[str] = []
        self._clauses: list[str] = []
        self._last_s = 0.0
        self._since: dict[str, float] = {}
        self._turn: _Turn | None = None
        self._asleep = self._meanwhile = False
        self._errors = self._tries = 0
        self._failed_as = ""
        self._first_tries = self._refreshes = self._answers = self._all_errors = 0
        self._simulated = any(event.origin.source is Source.SIM for event in events)
        self._has_users = any(isinstance(event.fact, e.UserSaw) for event in events)

    def hear(self, at_s: float, fact: e.AnyFact) -> None:
        match fact:
            case e.SessionStarted():
                self._started(at_s, fact)
            case e.StateChanged():
                self._state(at_s, fact)
            case e.RefreshFailed():
                self._try(at_s, fact)
            case e.TokenRefreshed():
                self._refreshed(at_s, fact)
            case e.UserSaw():
                self._saw(at_s, fact)
            case e.RequestServed() if not self._has_users:
                self._served(at_s, fact)
            case e.SessionEnded():
                self._ended(at_s, fact)
            case _:
                self._befell(at_s, fact)

    def _befell(self, at_s: float, fact: e.AnyFact) -> None:
        match fact:
            case e.DeviceChanged():
                self._device(at_s, fact)
            case e.GapObserved() if not self._simulated:
                self._gap(at_s, fact)
            case e.NetworkChanged():
                self._network(at_s, fact.state)
            case e.FaultOrdered():
                lasts = self._simulated and fact.fault not in EFFECTS
                self._trouble(at_s, fault(fact), key=f"fault {fact.fault}" if lasts else None)
            case e.FaultEnded():
                self._over(at_s, f"fault {fact.fault}", "the fault over", "the fault")
            case e.ProviderNoted() if self._clauses and fact.what in NOTES and NOTES[fact.what] not in self._clauses:
                self._say(at_s, NOTES[fact.what])
            case _:
                pass

    def told(self) -> tuple[str, ...]:
        if self._asleep:
            self._say(self._last_s, f"suspended since {self._clock(self._since['sleep'])}")
        self._close()
        sentences = list(without_repeats(self._sentences))
        return (*abridged(sentences, SENTENCES_MAX, "And so on, {} sentences more."), self._in_all())

    # What begins and ends

    def _started(self, at_s: float, fact: e.SessionStarted) -> None:
        if fact.resumed:
            self._say(at_s, "taken up again from the store") if self._clauses else None
        else:
            self._close()
            again = " again" if self._sentences else ""
            self._sentences.append(f"Signed in{again} at {self._clock(at_s)}, with a token for {length(fact.life_s)}.")

    def _ended(self, at_s: float, fact: e.SessionEnded) -> None:
        self._open(at_s)
        self._failures(at_s)
        if fact.reason is EndReason.STOPPED:
            self._say(at_s, f"left alone at {self._clock(at_s)} when the server stopped")
            return
        self._say(at_s, f"the session ended at {self._clock(at_s)} because {END_REASONS[fact.reason]}")
        if fact.reason is EndReason.SIGNED_OUT:
            self._close()

    def _device(self, at_s: float, fact: e.DeviceChanged) -> None:
        match fact.change:
            case DeviceChange.SUSPENDED:
                self._open(at_s)
                self._asleep = True
                self._since["sleep"] = at_s
            case DeviceChange.RESUMED:
                self._woke(at_s, self._since.pop("sleep", at_s))
            case DeviceChange.STALLED:
                self._trouble(at_s, f"program stood still for {length(fact.seconds)}")
                self._turn = _Turn(at_s + fact.seconds, "standing still")
            case DeviceChange.CLOCK_STEPPED:
                side = "forward" if fact.seconds >= 0 else "back"
                self._trouble(at_s, f"clock set {side} by {length(abs(fact.seconds))}")
            case DeviceChange.UNTHROTTLED:
                self._say(at_s, "timers free again") if self._clauses else None
            case _ if fact.change in CURES:
                self._over(at_s, *CURES[fact.change])
            case _:
                clause, key = TROUBLES[fact.change]
                self._trouble(at_s, clause, key=key)

    def _gap(self, at_s: float, fact: e.GapObserved) -> None:
        if fact.gap is GapKind.SUSPEND:
            self._open(at_s)
            self._woke(at_s, at_s - abs(fact.seconds))
        elif fact.gap is GapKind.STALL:
            self._trouble(at_s, f"program stood still for {length(abs(fact.seconds))}")

    def _woke(self, at_s: float, since_s: float) -> None:
        self._asleep = False
        self._say(at_s, f"suspended {length(at_s - since_s)}", f"woke at {self._clock(at_s)}")
        self._turn = _Turn(at_s, "waking")
        if "network" in self._since:
            self._since["network"] = at_s

    def _network(self, at_s: float, state: NetworkState) -> None:
        if state is NetworkState.UP:
            self._over(at_s, "network", "network back", "the network")
        elif state in (NetworkState.RESET, NetworkState.ANSWER_LOST):
            self._trouble(at_s, NETWORKS[state])
        elif self._asleep:
            self._since["network"] = at_s
        else:
            self._trouble(at_s, NETWORKS[state], key="network")

    def _state(self, at_s: float, fact: e.StateChanged) -> None:
        if fact.state_to is State.LOCKED:
            self._open(at_s)
            self._say(at_s, f"locked at {self._clock(at_s)} after too long without the user")
        elif not self._simulated and fact.state_to is State.OFFLINE:
            self._trouble(at_s, "network away", key="network")
        elif not self._simulated and fact.state_from is State.OFFLINE:
            self._over(at_s, "network", "network back", "the network")

    # What the session and its user make of it

    def _try(self, at_s: float, fact: e.RefreshFailed) -> None:
        if not self._clauses:
            self._open(at_s)
            self._say(at_s, f"at {self._clock(at_s)} a refresh failed ({fact.error})")
        self._tries += 1
        self._failed_as = "offline" if fact.outcome is Outcome.OFFLINE else fact.error

    def _refreshed(self, at_s: float, fact: e.TokenRefreshed) -> None:
        self._refreshes += 1
        self._first_tries += fact.attempt == 1
        if self._clauses:
            self._say(at_s, f"refreshed at the {ordinal(fact.attempt)} try")
            self._tries = 0
            if self._turn is None and not self._since:
                self._turn = _Turn(at_s, "the refresh")

    def _saw(self, at_s: float, fact: e.UserSaw) -> None:
        match fact.sight:
            case Sight.ANSWER | Sight.STALE_ANSWER:
                self._answered(at_s, fact.waited_ms / 1_000, stale=fact.sight is Sight.STALE_ANSWER)
            case Sight.SIGN_IN | Sight.LOCKED:
                page = "sign-in page" if fact.sight is Sight.SIGN_IN else "locked session"
                if self._clauses:
                    moment = "at once" if at_s - self._last_s <= 1 else f"at {self._clock(at_s)}"
                    self._say(at_s, f"the user met the {page} {moment}")
                    self._close()
            case Sight.SIGNED_IN:
                pass
            case _:
                self._failed(at_s, fact.detail or fact.sight.replace("_", " "))

    def _served(self, at_s: float, fact: e.RequestServed) -> None:
        if fact.error is None:
            self._answered(at_s, fact.duration_ms / 1_000, stale=False)
        else:
            self._failed(at_s, f"status {fact.status}" if fact.status else "no answer")

    def _failed(self, at_s: float, why: str) -> None:
        self._all_errors += 1
        self._errors += 1
        self._meanwhile = False
        if not self._clauses:
            self._open(at_s)
            self._say(at_s, f"at {self._clock(at_s)} the user saw an error ({why})")

    def _answered(self, at_s: float, waited_s: float, *, stale: bool) -> None:
        self._answers += 1
        if not self._clauses or (self._since and stale):
            return
        self._failures(at_s)
        turn = self._turn
        what = "an answer from the cache" if stale else "first answer"
        if turn is None or at_s < turn.at_s:
            if self._since:
                self._meanwhile = self._meanwhile or not stale
                return
            self._say(at_s, f"answered again at {self._clock(at_s)}")
        elif self._meanwhile:
            self._say(at_s, "the user got answers all along")
        elif at_s - waited_s <= turn.at_s + 1:
            self._say(at_s, f"{what} {length(at_s - turn.at_s)} after {turn.after}")
        else:
            self._say(at_s, f"{what} at {self._clock(at_s)} in {length(waited_s)}")
        if not self._since:
            self._close()

    # Sentences

    def _trouble(self, at_s: float, clause: str, *, key: str | None = None) -> None:
        self._open(at_s)
        self._turn, self._meanwhile = None, False
        if key is not None:
            self._since[key] = at_s
        self._say(at_s, clause if self._clauses else f"{clause} at {self._clock(at_s)}")

    def _over(self, at_s: float, key: str, clause: str, after: str) -> None:
        since_s = self._since.pop(key, None)
        if since_s is not None and self._clauses:
            self._say(at_s, f"{clause} after {length(at_s - since_s)}")
            self._turn = _Turn(at_s, after)

    def _open(self, at_s: float) -> None:
        """A trouble long after the last one is a story of its own."""
        if self._clauses and not self._since and at_s - self._last_s > CALM_S:
            self._close()

    def _say(self, at_s: float, *clauses: str) -> None:
        self._clauses += [clause for clause in clauses if clause not in self._clauses[-1:]]
        self._last_s = at_s

    def _failures(self, at_s: float) -> None:
        """Tries and errors are counted, not listed."""
        if self._tries > 1 or (self._tries and len(self._clauses) > 1):
            self._say(at_s, f"{counted(self._tries, 'try', 'tries')} to refresh failed ({self._failed_as})")
        if self._errors > 1 or (self._errors and len(self._clauses) > 1):
            self._say(at_s, f"the user saw {counted(self._errors, 'error', 'errors')}")
        self._tries = self._errors = 0

    def _close(self) -> None:
        self._failures(self._last_s)
        if self._clauses:
            self._sentences.append(f"{capitalised(', '.join(abridged(self._clauses, CLAUSES_MAX, '{} turns more')))}.")
        self._clauses, self._turn, self._meanwhile = [], None, False

    def _in_all(self) -> str:
        first, refreshes = self._first_tries, counted(self._refreshes, "refresh", "refreshes")
        tries = "at the first try" if first == self._refreshes else f"{first or 'none'} of them at the first try"
        answers, errors = counted(self._answers, "answer", "answers"), counted(self._all_errors, "error", "errors")
        return f"In all {refreshes}{f', {tries}' if self._refreshes else ''}; the user got {answers} and saw {errors}."
