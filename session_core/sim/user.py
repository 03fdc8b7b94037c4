"""The people: when they act, what they ask for, what they see of it, and what they do then."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from session_core.errors import (
    ConfigError,
    ProviderError,
    SessionEndedError,
    SessionLockedError,
    TokenUnavailableError,
)
from session_core.events import Record, UserSaw
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.service import SessionService
from session_core.session import Session
from session_core.sim.calls import Seen, ask_client, ask_over_wire, login_asked_for, token_left_s, token_of
from session_core.sim.device import Device
from session_core.sim.scenario import DATA, Acting, Calls, Users, nearest
from session_core.vocabulary import Served, Sight
from session_core.wire import Transport

PASSWORD = "demo"  # noqa: S105 - the embedded provider's demo password
BROWSER_S = 300.0
"""How long a browser waits for a page, which is longer than a program does."""
STALE = frozenset({Served.STALE, Served.STALE_IF_ERROR})
SHUT_OUT = frozenset({Sight.SIGN_IN, Sight.LOCKED})
ANSWERED = (Sight.ANSWER, "")


# When people act


class GapModel(msgspec.Struct, frozen=True):
    """Gaps between one user's actions: a mixture of lognormals, told on log2 of seconds."""

    mu: tuple[float, ...]
    sd: tuple[float, ...]
    w: tuple[float, ...]

    def gap_s(self, rng: random.Random, most_s: float) -> float:
        """One gap of at most `most_s`: drawn again while it is longer, for who stays at work."""
        while True:
            [part] = rng.choices(range(len(self.w)), self.w)
            # Rounded, because the last bits of a logarithm differ between machines.
            gap_s = round(2 ** rng.normalvariate(self.mu[part], self.sd[part]), 3)
            if 1.0 <= gap_s <= most_s:
                return gap_s


@cache
def gap_model(dataset: str) -> GapModel:
    """The three-part mixture of one of the data sets in data/idle_gap_params.json."""
    datasets = msgspec.json.decode((DATA / "idle_gap_params.json").read_bytes())["datasets"]
    if dataset not in datasets:
        raise ConfigError(f"users: dataset is {dataset!r}; {nearest(dataset, datasets)}")
    return msgspec.convert(datasets[dataset]["mixture3"], GapModel)


def action_times(users: Users, *, number: int, duration_s: float, rng: random.Random) -> Iterator[float]:
    """When user `number` acts, in seconds since the sign-in and in order."""
    until_s = min(duration_s, duration_s if users.until_s is None else users.until_s)
    for at_s in _times(users, number, rng):
        if at_s >= until_s:
            return
        if at_s >= users.from_s:
            yield at_s


def _times(users: Users, number: int, rng: random.Random) -> Iterable[float]:
    match users.act:
        case Acting.SCRIPT:
            return sorted(users.times_s)
        case Acting.STEADY:
            return _steady(users.from_s, users.every_s or 1.0)
        case Acting.IDLE_GAP:
            return _gaps(gap_model(users.dataset or ""), users, rng)
        case Acting.TRACE:
            people = list(read_trace(Path(users.file or "")).values())
            return people[number % len(people)]


def _steady(from_s: float, every_s: float) -> Iterator[float]:
    turn = 0
    while True:
        yield from_s + turn * every_s
        turn += 1


def _gaps(model: GapModel, users: Users, rng: random.Random) -> Iterator[float]:
    at_s = users.from_s
    while True:
        yield at_s
        at_s += model.gap_s(rng, users.gap_max_s)


@cache
def read_trace(path: Path) -> Mapping[str, tuple[float, ...]]:
    """Each user's actions in seconds since their own first, from a CSV file of `user_id, timestamp`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}.") from None
    if not rows or rows[0][:2] != ["user_id", "timestamp"]:
        raise ConfigError(f"{path}, line 1: a trace begins with the line user_id,timestamp.")
    times: dict[str, list[float]] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        at = _timestamp(row, f"{path}, line {line}")
        known = times.setdefault(row[0], [])
        if known and at < known[-1]:
            raise ConfigError(
                f"{path}, line {line}: this is earlier than the row of {row[0]} before it; sort the rows."
            )
        known.append(at)
    if not times:
        raise ConfigError(f"{path}: there are no users in this trace; give at least one row.")
    return {user: tuple(at - known[0] for at in known) for user, known in times.items()}


def _timestamp(row: list[str], where: str) -> float:
    if len(row) < 2 or not row[0]:
        raise ConfigError(f"{where}: a row is user_id,timestamp.")
    try:
        return float(row[1]) if row[1].replace(".", "", 1).isdigit() else _seconds_of(row[1])
    except ValueError:
        raise ConfigError(
            f"{where}: {row[1]!r} is not a time; write epoch seconds or ISO 8601 like 2026-01-31T09:00:00Z."
        ) from None


def _seconds_of(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# What they do and see


class User:
    """One person with one session. `service` is the program they look at now, if one runs; `record` logs what they see."""

    def __init__(
        self,
        name: str,
        *,
        acting: Users,
        calls: Calls,
        service: Callable[[], SessionService | None],
        transport: Transport,
        api_url: str,
        rng: random.Random,
        record: Record,
        now: Callable[[], float],
        keeps_browser: bool,
    ) -> None:
        self.name = name
        self.session_id: str | None = None
        self._service = service
        self._acting = acting
        self._over_wire = calls is Calls.WIRE
        self._transport = transport
        self._api_url = api_url
        self._agent = HeadlessUserAgent(transport, timeout_s=BROWSER_S)
        self._keeps_browser = keeps_browser
        self._mine = f'"subject":"{name}"'.encode()
        self._rng = rng
        self._record = record
        self._now = now
        self._signing_in = False

    @property
    def session(self) -> Session | None:
        service = self._service()
        return None if service is None or self.session_id is None else service.get(self.session_id)

    # Asking

    async def ask(self, route: str) -> None:
        """Want something of the API, and not give up at the first error if this user is of that kind."""
        acting = self._acting
        for _ in range(acting.tries_max):
            session, began_at = self.session, self._now()
            if session is None:
                sight, detail = Sight.SIGN_IN, "no session"
            else:
                try:
                    sight, detail = self._judge(await self._call(session, route))
                except (SessionLockedError, SessionEndedError, TokenUnavailableError) as error:
                    sight, detail = _refusal(error)
            self._see(sight, route, began_at, detail)
            if acting.tries_again_after_s is not None and sight is Sight.ERROR:
                await asyncio.sleep(self._rng.uniform(0.5, 1.5) * acting.tries_again_after_s)
            elif acting.signs_in_after_s is not None and sight in SHUT_OUT:
                await self._sign_in_again(acting.signs_in_after_s)
            else:
                return

    def _call(self, session: Session, route: str) -> Coroutine[Any, Any, Seen]:
        """Act, and call what one wants to see."""
        session.update_activity(route)
        session.return_to = f"/{route}"
        if self._over_wire:
            return ask_over_wire(session, self._transport, self._api_url + route)
        return ask_client(session, route)

    def _judge(self, seen: Seen) -> tuple[Sight, str]:
        if not 200 <= seen.status < 300:
            return Sight.ERROR, f"status {seen.status}" if seen.status else "no answer"
        if self._mine not in seen.body:
            return Sight.FOREIGN_ANSWER if b'"subject":' in seen.body else Sight.ERROR, "not the API's own answer"
        return (Sight.STALE_ANSWER, str(seen.served)) if seen.served in STALE else ANSWERED

    def _see(self, sight: Sight, route: str, began_at: float, detail: str = "") -> None:
        now = self._now()
        left_s = token_left_s(self.session, now)
        self._record(UserSaw(sight=sight, route=route, waited_ms=(now - began_at) * 1000, left_s=left_s, detail=detail))

    async def ask_for_token(self, route: str) -> None:
        """Only a token, as a part of the program does that calls something else with it."""
        session, began_at = self.session, self._now()
        if session is None:
            return
        try:
            await token_of(session)
        except (SessionEndedError, TokenUnavailableError) as error:
            self._see(Sight.ERROR, route, began_at, error.code)
        else:
            self._see(Sight.ANSWER, route, began_at)

    # Acting

    async def act(self) -> None:
        """Do something that needs no answer."""
        if (session := self.session) is not None:
            session.update_activity("act")

    async def force_refresh(self, session: Session) -> None:
        with contextlib.suppress(SessionEndedError, SessionLockedError):
            await session.force_refresh_session()

    async def sign_out(self) -> None:
        service = self._service()
        if service is not None and self.session_id is not None:
            await service.sign_out(self.session_id)

    async def sign_in(self) -> None:
        """Through the provider's page, as people do, and back to where they were."""
        service, before, began_at = self._service(), self.session, self._now()
        if service is None:
            return
        try:
            login = None if before is None else login_asked_for(before)
            login = login or await service.login(return_to="/" if before is None else before.return_to)
            callback = await self._agent.sign_in(login, self.name, PASSWORD)
            agent = self._agent if self._keeps_browser else None
            session = await service.finish_login(callback, login, user_agent=agent)
        except ProviderError as error:
            self._see(Sight.ERROR, "sign-in", began_at, error.code)
            return
        self.session_id = session.session_id
        self._see(Sight.SIGNED_IN, "sign-in", began_at, session.return_to)
        if before is not None:
            await service.sign_out(before.session_id)

    async def _sign_in_again(self, after_s: float) -> None:
        if self._signing_in:
            return
        self._signing_in = True
        try:
            await asyncio.sleep(after_s)
            await self.sign_in()
        finally:
            self._signing_in = False


def _refusal(error: SessionLockedError | SessionEndedError | TokenUnavailableError) -> tuple[Sight, str]:
    match error:
        case SessionLockedError():
            return Sight.LOCKED, ""
        case SessionEndedError(reason=reason):
            return Sight.SIGN_IN, str(reason)
        case TokenUnavailableError(code=code, outcome=outcome):
            return Sight.ERROR, f"{code}: {outcome}"


class Hand:
    """A user's hand at one program: a task that is kept, where most tasks of a long run would serve one act each."""

    def __init__(self, user: User, device: Device) -> None:
        self._user = user
        self._wanted: asyncio.Future[str] | None = None
        device.create_task(self._work())

    def act(self, route: str) -> bool:
        """Ask for `route` as the device's code; False where the hand is not free."""
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return False
        wanted.set_result(route)
        return True

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wanted = wanted = loop.create_future()
            await self._user.ask(await wanted)
