"""What is configured, what runs, what does not and how to fix it. Looking changes nothing and shows no secret."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import shutil
import socket
import sys
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from session_core.bounds import require
from session_core.clock import Clock
from session_core.config import SessionConfig
from session_core.errors import ConfigError, EventStoreError, ProviderError, StoreHeldError
from session_core.http_answers import estimate_skew_s, read_date
from session_core.oauth import discovery_request, is_secure_url, keys_request, read_discovery, read_keys
from session_core.provider_metadata import get_request
from session_core.sealing import KEY_VARIABLE, keys_from, read_key_file
from session_core.web.providers import read_providers
from session_core.web.settings import CALLBACK_PATH, PROVIDERS, alert_settings, read_settings
from session_core.wire import HttpxTransport, WireAnswer, WireFailure, WireRequest

HOST = "127.0.0.1"
PORT = 8501
PYTHON_MIN = (3, 11)
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "provider": ("starlette", "uvicorn"),
    "store": ("duckdb", "pandas", "pyarrow"),
    "dashboard": ("streamlit", "plotly", "prometheus_client"),
}
SKEW_S_MAX = 30.0
DISK_BYTES_MIN = 64 << 20
DISK_BYTES_ENOUGH = 1 << 30
# Only our own pages offer this; it is on the one that CALLBACK_PATH shows to whoever comes without a sign-in.
_OURS = b'href="/auth/sign-in"'
_UNITS = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


MARKS: Mapping[Verdict, str] = {Verdict.OK: "✓", Verdict.WARN: "!", Verdict.FAIL: "✗"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`sentence` says how it is, `remedy` what to do; it is empty where nothing needs to be done."""

    name: str
    verdict: Verdict
    sentence: str
    remedy: str = ""


def _ok(name: str, sentence: str) -> Finding:
    return Finding(name=name, verdict=Verdict.OK, sentence=sentence)


def _warn(name: str, sentence: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.WARN, sentence=sentence, remedy=remedy)


def _fail(name: str, sentence: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.FAIL, sentence=sentence, remedy=remedy)


def _failed(name: str, error: Exception) -> Finding:
    sentence, remedy = _parts(error)
    return _fail(name, f"{sentence}.", remedy if remedy.endswith("?") else f"{remedy}.")


def _parts(error: Exception) -> tuple[str, str]:
    """Our messages say what is, then after a semicolon what to do."""
    sentence, _, remedy = str(error).rstrip(".").rpartition("; ")
    if not sentence:
        return remedy, "Correct it; docs/configuration.md lists what is allowed"
    return sentence, remedy[:1].upper() + remedy[1:]


class Resident(StrEnum):
    """Who is at the app's port. BARRED: nobody, and the app may not go there either."""

    NOBODY = "nobody"
    SESSION_LAB = "session_lab"
    STRANGER = "stranger"
    BARRED = "barred"


def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is examined, and the world it is in."""

    environment: Mapping[str, str]
    port: int
    clock: Clock
    python: tuple[int, int, int] = sys.version_info[:3]
    has_module: Callable[[str], bool] = has_module
    resolve: Callable[[str, int], object] = socket.getaddrinfo
    timeout_s: float = 3.0


def examine(setup: Setup) -> tuple[Finding, ...]:
    """Every finding, in the order in which one depends on another."""
    resident = find_resident(setup.port, timeout_s=setup.timeout_s)
    return (
        check_python(setup.python),
        *check_extras(setup.has_module),
        check_boot_clock(setup.clock),
        check_port(setup.port, resident),
        *_check_configured(setup, resident),
    )


def report(findings: Iterable[Finding]) -> str:
    """For people: a line for each finding, then what to do."""
    found = tuple(findings)
    lines = [f"{MARKS[f.verdict]} {f.verdict:<4}  {f.sentence}" for f in found]
    remedies = [f"  {MARKS[f.verdict]} {f.name}: {f.remedy}" for f in found if f.remedy]
    if remedies:
        lines += ["", "What to do:", *remedies]
    failed = sum(f.verdict is Verdict.FAIL for f in found)
    lines += ["", f"{failed} of {len(found)} checks failed." if failed else "Nothing fails."]
    return "\n".join(lines)


def is_well(findings: Iterable[Finding]) -> bool:
    return all(finding.verdict is not Verdict.FAIL for finding in findings)


def app_port(environment: Mapping[str, str], *, folder: Path) -> int:
    """The port that Streamlit would take here: STREAMLIT_SERVER_PORT, .streamlit/config.toml, 8501."""
    port: object = environment.get("STREAMLIT_SERVER_PORT") or _port_of(folder / ".streamlit" / "config.toml")
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    require("server.port", port, 1, 65_535)
    return int(str(port))


def _port_of(file: Path) -> object:
    try:
        server = tomllib.loads(file.read_text(encoding="utf-8")).get("server", {})
    except FileNotFoundError:
        return PORT
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read ({error}); correct it, or say which port with --port.") from None
    return server.get("port", PORT) if isinstance(server, dict) else PORT


# What does not depend on settings.


def check_python(version: tuple[int, int, int]) -> Finding:
    shown = ".".join(map(str, version))
    if version[:2] >= PYTHON_MIN:
        return _ok("python", f"Python {shown} is new enough.")
    remedy = "Install Python 3.11 or newer and make the virtual environment with it."
    return _fail("python", f"Python {shown} is too old.", remedy)


def check_extras(has_module: Callable[[str], bool]) -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = ", ".join(module for module in modules if not has_module(module))
        if missing:
            sentence = f"The extra {extra} is not complete: {missing} cannot be imported."
            yield _warn(f"extra_{extra}", sentence, f"If you need it: pip install 'session-core[{extra}]'")
        else:
            yield _ok(f"extra_{extra}", f"The extra {extra} is installed.")


def check_boot_clock(clock: Clock) -> Finding:
    if getattr(clock, "counts_suspend", True):
        return _ok("boot_clock", "The boot clock counts suspended time.")
    return _warn(
        "boot_clock",
        "This system has no clock that counts suspended time, so a sleep shows as a clock step.",
        "A server does not sleep; where it must be told apart, run the app on Linux.",
    )


def find_resident(port: int, *, timeout_s: float) -> Resident:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Resident.BARRED
        else:
            return Resident.NOBODY
    answer = _fetch(get_request(f"http://{HOST}:{port}{CALLBACK_PATH}", timeout_s=timeout_s))
    ours = isinstance(answer, WireAnswer) and answer.status == 400 and _OURS in answer.body
    return Resident.SESSION_LAB if ours else Resident.STRANGER


def check_port(port: int, resident: Resident) -> Finding:
    elsewhere = f"start the app at another port, such as: ./run --server.port {port + 1 if port < 65_535 else PORT}"
    match resident:
        case Resident.NOBODY:
            return _ok("port", f"Port {port} is free for the app.")
        case Resident.SESSION_LAB:
            return _ok("port", f"Session Lab answers at http://{HOST}:{port}.")
        case Resident.STRANGER:
            return _fail("port", f"Port {port} is taken by another program.", f"Stop that program, or {elsewhere}")
        case Resident.BARRED:
            return _fail("port", f"Port {port} may not be used by this user.", f"S{elsewhere[1:]}")


# What is configured, and what hangs on it.


def _check_configured(setup: Setup, resident: Resident) -> Iterator[Finding]:
    try:
        settings = read_settings(setup.environment)
    except ConfigError as error:
        yield _failed("settings", error)
        return
    try:
        providers = read_providers(settings, setup.environment, port=setup.port)
        alert_settings(settings)
    except ConfigError as error:
        yield _failed("settings", error)
    else:
        who = "the embedded provider" if providers.embedded else "another provider"
        more = f" and at {', '.join(providers.others)}" if providers.others else ""
        yield _ok("settings", f"The settings are valid: policy {providers.first.policy.name}, sign-in at {who}{more}.")
        if providers.embedded and resident is not Resident.SESSION_LAB:
            yield _ok("provider", "The embedded provider starts together with the app.")
        else:
            yield from check_provider(providers.first, setup)
        for config in providers.others.values():
            yield from check_provider(config, setup)
    yield from check_secrets(settings.config_path)
    yield check_sessions(settings.sessions_path, setup.environment)
    yield check_data_directory(settings.db_path)
    yield check_disk(shutil.disk_usage(_nearest_existing(settings.db_path.parent)).free)
    if setup.has_module("duckdb"):
        yield check_event_store(settings.db_path, resident, now_wall=setup.clock.wall())


def check_secrets(file: Path | None) -> Iterator[Finding]:
    """A settings file with a secret in it is nobody else's to read."""
    if file is None or os.name != "posix" or not _holds_secret(file):
        return
    if file.stat().st_mode & 0o077:
        remedy = f"chmod 600 {file}, or give the secret as SESSION_CORE_CLIENT_SECRET instead."
        yield _warn("secrets", f"{file} holds the client secret, and other users have access to it.", remedy)
    else:
        yield _ok("secrets", f"Only its owner can read the client secret in {file}.")


def _holds_secret(file: Path) -> bool:
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
        further = written.get(PROVIDERS, {})
        return any("client_secret" in table for table in (written, *further.values()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        # What is wrong with it was found with the settings.
        return False


def check_sessions(path: Path | None, environment: Mapping[str, str]) -> Finding:
    """The file is left alone: whether its key is there, and safe, is what can be wrong with it by mistake."""
    if path is None:
        return _warn(
            "sessions", "Sessions are kept in memory: a restart signs everybody out.", "Unset SESSION_LAB_SESSIONS."
        )
    try:
        keys = keys_from(environment) or read_key_file(path.with_name(f"{path.name}.key"))
    except ConfigError as error:
        return _failed("sessions", error)
    if not path.exists():
        return _ok("sessions", f"There is no file of sessions at {path} yet; the app makes one.")
    if keys is None:
        remedy = f"Set {KEY_VARIABLE}, bring back {path.name}.key, or move {path.name} away to begin anew."
        return _fail("sessions", f"The sessions in {path} cannot be read without their key.", remedy)
    return _ok("sessions", f"The sessions in {path} have a key.")


def check_data_directory(db_path: Path) -> Finding:
    place = _nearest_existing(db_path.parent)
    barred = [p for p in (place, db_path) if p.exists() and not os.access(p, os.W_OK)]
    if not place.is_dir() or barred:
        what = f"{barred[0]} may not be written to" if barred else f"{place} is not a directory"
        remedy = "Let the user who runs the app write there, or choose another file with SESSION_LAB_DB."
        return _fail("data_directory", f"Events cannot be stored: {what}.", remedy)
    ready = "can be written to" if place == db_path.parent else "is made when the app starts"
    return _ok("data_directory", f"The data directory {db_path.parent} {ready}.")


def _nearest_existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def check_disk(free_bytes: int) -> Finding:
    free = f"{free_bytes / (1 << 30):,.1f} GB free for the event store."
    if free_bytes >= DISK_BYTES_ENOUGH:
        return _ok("disk", f"There are {free}")
    flag = _warn if free_bytes >= DISK_BYTES_MIN else _fail
    return flag(
        "disk", f"There are only {free}", "Free some space, or choose a file on another disk with SESSION_LAB_DB."
    )


def check_event_store(path: Path, resident: Resident, *, now_wall: float) -> Finding:
    from session_core.store.inspection import look_into  # noqa: PLC0415 - needs the extra store

    if not path.exists():
        return _ok("event_store", f"There is no event store at {path} yet; the app makes one.")
    try:
        contents = look_into(path)
    except EventStoreError as error:
        if isinstance(error, StoreHeldError) and resident is Resident.SESSION_LAB:
            return _ok("event_store", f"{_parts(error)[0]}, as it should be while Session Lab runs.")
        return _failed("event_store", error)
    holds = f"The event store {path} holds {contents.events:,} event{'' if contents.events == 1 else 's'}"
    if contents.newest_at is None:
        return _ok("event_store", f"{holds}.")
    age_s = now_wall - contents.newest_at
    if age_s < -SKEW_S_MAX:
        return _warn("event_store", f"{holds}, the newest {_age(-age_s)} in the future.", "Check this machine's clock.")
    return _ok("event_store", f"{holds}, the newest {_age(max(0.0, age_s))} old.")


def check_provider(config: SessionConfig, setup: Setup) -> Iterator[Finding]:
    """Whether it can be reached, is who it says, has keys to verify with, and agrees about the time."""
    issuer, insecure = config.issuer, config.allow_insecure_http
    if not is_secure_url(issuer, allow_insecure_http=insecure):
        remedy = "Set the issuer to its https address; http is for this very machine, or with allow_insecure_http."
        yield _fail("provider", "The issuer is not an https address.", remedy)
        return
    unresolved = _look_up(issuer, setup)
    if unresolved is not None:
        yield _fail("provider", unresolved, "Check the issuer setting, the network and its name server.")
        return
    sent_at = setup.clock.wall()
    answer = _fetch(discovery_request(issuer, timeout_s=setup.timeout_s))
    received_at = setup.clock.wall()
    try:
        metadata = read_discovery(answer, issuer=issuer, allow_insecure_http=insecure)
    except ProviderError as error:
        yield _failed("provider", error)
        return
    yield _ok("provider", f"{issuer} answers and is who it says it is.")
    yield _check_keys(_fetch(keys_request(metadata, timeout_s=setup.timeout_s)))
    assert isinstance(answer, WireAnswer), "a failure has no metadata"
    yield check_skew(read_date(answer.headers), sent_at, received_at)


def _look_up(issuer: str, setup: Setup) -> str | None:
    """What keeps the host's address from us. A look-up cannot be cancelled, so its thread is left behind if need be."""
    parts = urlsplit(issuer)
    host = parts.hostname or ""
    found: list[bool] = []

    def look_up() -> None:
        try:
            setup.resolve(host, parts.port or 443)
        except (OSError, UnicodeError):
            found.append(False)
        else:
            found.append(True)

    thread = threading.Thread(target=look_up, name="name look-up", daemon=True)
    thread.start()
    thread.join(setup.timeout_s)
    if not found:
        return f"The provider's host {host} could not be looked up within {setup.timeout_s:g} s."
    return None if found[0] else f"The provider's host {host} is not known."


def _check_keys(answer: WireAnswer | WireFailure) -> Finding:
    try:
        count = len(read_keys(answer).keys)
    except ProviderError as error:
        return _failed("provider_keys", error)
    return _ok("provider_keys", f"The provider publishes {count} usable signing key{'' if count == 1 else 's'}.")


def check_skew(provider_now: float | None, sent_at: float, received_at: float) -> Finding:
    if provider_now is None:
        return _ok("provider_clock", "The provider's answers do not tell the time.")
    skew_s = estimate_skew_s(provider_now, sent_at, received_at)
    if abs(skew_s) <= SKEW_S_MAX:
        return _ok("provider_clock", "This machine's clock agrees with the provider's.")
    sentence = f"This machine's clock is {_age(abs(skew_s))} {'behind' if skew_s > 0 else 'ahead of'} the provider's."
    return _warn("provider_clock", sentence, "Set the clock by NTP; a sign-in allows for 30 s.")


def _fetch(request: WireRequest) -> WireAnswer | WireFailure:
    async def send() -> WireAnswer | WireFailure:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await HttpxTransport(client).send(request)

    return asyncio.run(send())


def _age(seconds: float) -> str:
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= 2 * size), _UNITS[-1])
    return f"{seconds / size:.0f} {unit}"
