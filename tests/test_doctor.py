"""`python -m session_core doctor`: each trouble is found, said in a sentence, and comes with its remedy."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from session_core.__main__ import main
from session_core.clock import SystemClock
from session_core.doctor import (
    EXTRAS,
    Finding,
    Resident,
    Setup,
    Verdict,
    app_port,
    check_boot_clock,
    check_data_directory,
    check_disk,
    check_event_store,
    check_port,
    check_python,
    check_sessions,
    check_skew,
    examine,
    find_resident,
    is_well,
    report,
)
from session_core.errors import ConfigError
from session_core.events import Event, Origin, UserActed
from session_core.provider import Fault, FaultKind
from session_core.provider.running import running_provider
from session_core.store.event_store import EventStore
from session_core.web.notice import notice
from session_core.web.routes import UNKNOWN_SIGN_IN

ROOT = Path(__file__).parents[1]
NOW = 1_800_000_000.0
SECRET = "hush-hush-4711"


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def setup(tmp_path: Path, free_port: int) -> Setup:
    """A machine on which nothing is wrong and nothing runs."""
    environment = {"SESSION_LAB_DB": str(tmp_path / "data" / "lab.duckdb")}
    return Setup(environment=environment, port=free_port, clock=SystemClock(), timeout_s=2.0)


def with_settings(setup: Setup, **environment: str) -> Setup:
    return msgspec.structs.replace(setup, environment={**setup.environment, **environment})


def elsewhere(setup: Setup, issuer: str, **environment: str) -> Setup:
    """Sessions of a provider that is not the embedded one."""
    given = {"SESSION_CORE_ISSUER": issuer, "SESSION_CORE_CLIENT_ID": "lab", **environment}
    return with_settings(setup, **given)


def found(setup: Setup) -> Mapping[str, Finding]:
    return {finding.name: finding for finding in examine(setup)}


def store_with_events(path: Path, *times: float) -> None:
    origin = Origin(stream_id="a", session_id="s1", user_id="u1")
    store = EventStore(path)
    store.append([Event(n, at, at, at, origin, UserActed(action="click")) for n, at in enumerate(times, 1)])
    store.close()


@contextmanager
def answering(page: bytes | None, *, status: int = 400) -> Iterator[int]:
    """Somebody at a port who answers every GET with `page`, or with None never answers."""
    gone = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if page is None:
                gone.wait(30)
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        gone.set()
        server.shutdown()
        thread.join()
        server.server_close()


def traces(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


# The whole.


def test_on_a_machine_in_order_nothing_fails(setup: Setup) -> None:
    """Before the first start: every finding is ok, and the store and the provider are still to come."""
    findings = examine(setup)
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert is_well(findings)
    assert [finding.name for finding in findings] == [
        "python",
        *(f"extra_{extra}" for extra in EXTRAS),
        "boot_clock",
        "port",
        "settings",
        "provider",
        "sessions",
        "data_directory",
        "disk",
        "event_store",
    ]


def test_looking_creates_and_changes_nothing(setup: Setup, tmp_path: Path) -> None:
    """Not the data directory, not the store, not its log; twice is like once."""
    examine(setup)
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "lab.duckdb"
    writer = EventStore(tmp_path / "first.duckdb")
    origin = Origin(stream_id="a", session_id="s1", user_id="u1")
    writer.append([Event(1, NOW, 0.0, 0.0, origin, UserActed(action="click"))])
    for suffix in ("", ".wal"):
        shutil.copy(tmp_path / f"first.duckdb{suffix}", tmp_path / f"lab.duckdb{suffix}")
    writer.close()
    before = traces(tmp_path)
    for _ in range(2):
        assert "holds 1 event," in found(with_settings(setup, SESSION_LAB_DB=str(path)))["event_store"].sentence
    assert traces(tmp_path) == before


def test_people_get_a_line_each_and_then_the_remedies() -> None:
    """A mark and a word, so that colour is not needed."""
    findings = (
        Finding(name="a", verdict=Verdict.OK, sentence="A is there."),
        Finding(name="b", verdict=Verdict.WARN, sentence="B is old.", remedy="Renew B."),
        Finding(name="c", verdict=Verdict.FAIL, sentence="C is gone.", remedy="Get C."),
    )
    assert report(findings).splitlines() == [
        "✓ ok    A is there.",
        "! warn  B is old.",
        "✗ fail  C is gone.",
        "",
        "What to do:",
        "  ! b: Renew B.",
        "  ✗ c: Get C.",
        "",
        "1 of 3 checks failed.",
    ]
    assert report(findings[:1]) == "✓ ok    A is there.\n\nNothing fails."


# The machine.


@pytest.mark.parametrize(
    ("version", "verdict"), [((3, 10, 14), Verdict.FAIL), ((3, 11, 0), Verdict.OK), ((4, 0, 0), Verdict.OK)]
)
def test_python_is_3_11_or_newer(version: tuple[int, int, int], verdict: Verdict) -> None:
    """The version is named."""
    finding = check_python(version)
    assert finding.verdict is verdict
    assert ".".join(map(str, version)) in finding.sentence


def test_a_missing_extra_comes_with_the_command_that_adds_it(setup: Setup) -> None:
    """It is a warning, since the library works without; without DuckDB its file is not looked at."""
    findings = found(msgspec.structs.replace(setup, has_module=lambda name: name not in ("duckdb", "plotly")))
    assert findings["extra_store"].verdict is Verdict.WARN
    assert findings["extra_store"].remedy == "If you need it: pip install 'session-core[store]'"
    assert "plotly" in findings["extra_dashboard"].sentence
    assert "event_store" not in findings
    assert is_well(findings.values())


def test_extras_are_those_of_the_package() -> None:
    """Each exists in pyproject.toml and asks for the modules looked for."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra, modules in EXTRAS.items():
        [line] = [line for line in text.splitlines() if line.startswith(f"{extra} = [")]
        assert all(f'"{module.replace("_", "-")}>=' in line for module in modules)


def test_a_boot_clock_that_stands_still_is_said() -> None:
    """Not a failure: expiry is judged on it all the same."""

    class Sleepy(SystemClock):
        counts_suspend = False

    assert check_boot_clock(Sleepy()).verdict is Verdict.WARN


# The port.


def test_a_free_port_is_free(free_port: int) -> None:
    """Nobody is there, and looking left nobody there."""
    assert find_resident(free_port, timeout_s=1.0) is Resident.NOBODY
    assert find_resident(free_port, timeout_s=1.0) is Resident.NOBODY


def test_session_lab_is_known_by_its_own_page() -> None:
    """The one that the call-back shows to whoever was not signing in."""
    with answering(notice(UNKNOWN_SIGN_IN).body) as port:
        assert find_resident(port, timeout_s=5.0) is Resident.SESSION_LAB


@pytest.mark.parametrize(("page", "status"), [(b"hello", 200), (b"no", 400), (None, 200)])
def test_somebody_else_at_the_port_is_a_stranger(page: bytes | None, status: int) -> None:
    """Also one who takes the connection and never answers."""
    with answering(page, status=status) as port:
        assert find_resident(port, timeout_s=0.3) is Resident.STRANGER


def test_a_port_that_this_user_may_not_take_is_barred(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    """As those below 1024 often are; nobody is asked who is there."""

    def refuse(_socket: socket.socket, _address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert find_resident(free_port, timeout_s=1.0) is Resident.BARRED


def test_while_session_lab_runs_its_own_provider_is_asked(setup: Setup) -> None:
    """The embedded one answers under the app's port, so here, where nobody plays it, it fails."""
    with answering(notice(UNKNOWN_SIGN_IN).body) as port:
        findings = found(msgspec.structs.replace(setup, port=port))
    assert findings["port"].sentence == f"Session Lab answers at http://127.0.0.1:{port}."
    assert findings["provider"].verdict is Verdict.FAIL
    assert f"http://127.0.0.1:{port}/idp" in findings["provider"].sentence


@pytest.mark.parametrize("resident", [Resident.STRANGER, Resident.BARRED])
def test_a_port_that_cannot_be_had_comes_with_another(resident: Resident) -> None:
    """A command to be pasted."""
    finding = check_port(8501, resident)
    assert finding.verdict is Verdict.FAIL
    assert finding.remedy.endswith("./run --server.port 8502")
    assert check_port(65_535, resident).remedy.endswith("8501")


def test_the_port_is_the_one_streamlit_takes(tmp_path: Path) -> None:
    """The environment before the folder's file before 8501."""
    assert app_port({}, folder=tmp_path) == 8501
    (tmp_path / ".streamlit").mkdir()
    file = tmp_path / ".streamlit" / "config.toml"
    file.write_text("[theme]\n")
    assert app_port({}, folder=tmp_path) == 8501
    file.write_text("[server]\nport = 8600\n")
    assert app_port({}, folder=tmp_path) == 8600
    assert app_port({"STREAMLIT_SERVER_PORT": "8700"}, folder=tmp_path) == 8700


@pytest.mark.parametrize("text", ["server = 1\nport", "[server]\nport = 0\n", '[server]\nport = "x"\n', "\xff"])
def test_a_port_that_makes_no_sense_is_a_sentence(tmp_path: Path, text: str) -> None:
    """A broken file, a number out of range, a word."""
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        app_port({}, folder=tmp_path)


# Settings and secrets.


@pytest.mark.parametrize(
    ("variable", "value", "sentence", "remedy"),
    [
        ("SESSION_LAB_GRACES", "x", "SESSION_LAB_GRACES is not known", "Did you mean SESSION_LAB_GRACE_S?"),
        ("SESSION_LAB_GRACE_S", "-1", "SESSION_LAB_GRACE_S is -1", "Set it between 0 and 86400."),
        ("SESSION_CORE_POLICY", "basik", "There is no policy 'basik'", "Did you mean 'basic'?"),
        ("SESSION_CORE_TYPO", SECRET, "SESSION_CORE_TYPO is not known", ""),
        ("SESSION_LAB_CONFIG", "/nowhere.toml", "/nowhere.toml cannot be read", "Correct it"),
    ],
)
def test_a_wrong_setting_fails_with_what_is_allowed(
    setup: Setup, variable: str, value: str, sentence: str, remedy: str
) -> None:
    """One finding names it; a value is not repeated where it may be secret."""
    finding = found(with_settings(setup, **{variable: value}))["settings"]
    assert finding.verdict is Verdict.FAIL
    assert sentence in finding.sentence
    assert finding.remedy.startswith(remedy)
    assert SECRET not in str(finding)


def test_what_settings_do_not_touch_is_still_examined(setup: Setup) -> None:
    """A policy that does not exist keeps nobody from looking at the store."""
    findings = found(with_settings(setup, SESSION_CORE_POLICY="basik"))
    assert "event_store" in findings
    assert "provider" not in findings


@pytest.mark.parametrize(("mode", "verdict"), [(0o600, Verdict.OK), (0o640, Verdict.WARN), (0o604, Verdict.WARN)])
def test_a_secret_in_a_file_is_for_its_owner_only(setup: Setup, tmp_path: Path, mode: int, verdict: Verdict) -> None:
    """The file is named and the secret is not."""
    file = tmp_path / "lab.toml"
    file.write_text(f'client_secret = "{SECRET}"\nauth_method = "client_secret_basic"\n')
    file.chmod(mode)
    findings = examine(with_settings(setup, SESSION_LAB_CONFIG=str(file)))
    assert [finding.verdict for finding in findings if finding.name == "secrets"] == [verdict]
    assert SECRET not in report(findings) + msgspec.json.encode(findings).decode()


@pytest.mark.parametrize("text", ['issuer = "https://a.example"\n', "=\n"])
def test_a_file_without_a_secret_may_be_read_by_all(setup: Setup, tmp_path: Path, text: str) -> None:
    """Also one that cannot be read as TOML, which the settings say."""
    file = tmp_path / "lab.toml"
    file.write_text(text)
    assert "secrets" not in found(with_settings(setup, SESSION_LAB_CONFIG=str(file)))


# The store.


def test_a_store_tells_its_newest_event(tmp_path: Path) -> None:
    """How many there are, and how old the newest is."""
    path = tmp_path / "lab.duckdb"
    store_with_events(path, NOW - 7_000, NOW - 90)
    finding = check_event_store(path, Resident.NOBODY, now_wall=NOW)
    assert finding.sentence == f"The event store {path} holds 2 events, the newest 90 s old."


@pytest.mark.parametrize(
    ("age_s", "shown"), [(0.0, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7_200.0, "2 h"), (172_800.0, "2 days")]
)
def test_ages_are_for_people(tmp_path: Path, age_s: float, shown: str) -> None:
    """In the largest unit of which there are two."""
    path = tmp_path / "lab.duckdb"
    store_with_events(path, NOW - age_s)
    assert f"newest {shown} old" in check_event_store(path, Resident.NOBODY, now_wall=NOW).sentence


def test_an_event_from_the_future_is_a_warning(tmp_path: Path) -> None:
    """A clock is wrong, this machine's or another's."""
    path = tmp_path / "lab.duckdb"
    store_with_events(path, NOW + 7_200)
    finding = check_event_store(path, Resident.NOBODY, now_wall=NOW)
    assert (finding.verdict, finding.sentence[-30:]) == (Verdict.WARN, " the newest 2 h in the future.")


def test_an_empty_store_is_well(tmp_path: Path) -> None:
    """Ours without events, and one that was made and never written to."""
    store_with_events(tmp_path / "ours.duckdb")
    duckdb.connect(tmp_path / "new.duckdb").close()
    for name in ("ours", "new"):
        finding = check_event_store(tmp_path / f"{name}.duckdb", Resident.NOBODY, now_wall=NOW)
        assert (finding.verdict, finding.sentence[-15:]) == (Verdict.OK, "holds 0 events.")


def test_a_store_of_something_else_fails(tmp_path: Path) -> None:
    """Damaged, or another program's: left untouched, with the way out."""
    (tmp_path / "text.duckdb").write_text("not a database" * 1_000)
    with duckdb.connect(tmp_path / "other.duckdb") as other:
        other.execute("CREATE TABLE theirs (x INT)")
    for name in ("text", "other"):
        finding = check_event_store(tmp_path / f"{name}.duckdb", Resident.NOBODY, now_wall=NOW)
        assert finding.verdict is Verdict.FAIL
        assert "Move it away to begin a new one" in finding.remedy


def test_a_store_held_by_another_process_names_it(tmp_path: Path) -> None:
    """A failure, unless Session Lab runs: then that is who holds it."""
    path = tmp_path / "lab.duckdb"
    script = (
        "import sys; from session_core.store import EventStore; "
        "store = EventStore(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        alone = check_event_store(path, Resident.NOBODY, now_wall=NOW)
        running = check_event_store(path, Resident.SESSION_LAB, now_wall=NOW)
        holder.communicate("")
    assert (alone.verdict, running.verdict) == (Verdict.FAIL, Verdict.OK)
    assert all(f"(PID {holder.pid})" in finding.sentence for finding in (alone, running))
    assert alone.remedy == "Stop that process or choose another file."


def test_a_data_directory_that_is_a_file_fails(tmp_path: Path) -> None:
    """It says what is in the way."""
    (tmp_path / "data").write_text("")
    finding = check_data_directory(tmp_path / "data" / "lab.duckdb")
    assert finding.verdict is Verdict.FAIL
    assert f"{tmp_path / 'data'} is not a directory" in finding.sentence


@pytest.mark.parametrize("barred", ["data", "data/lab.duckdb"])
def test_what_cannot_be_written_to_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, barred: str) -> None:
    """The directory or the file itself; found without trying to write."""
    store_with_events(_made(tmp_path / "data") / "lab.duckdb")
    monkeypatch.setattr(os, "access", lambda place, _mode: place != tmp_path / barred)
    finding = check_data_directory(tmp_path / "data" / "lab.duckdb")
    assert finding.verdict is Verdict.FAIL
    assert f"{tmp_path / barred} may not be written to" in finding.sentence


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("free_bytes", "verdict"),
    [
        ((1 << 30), Verdict.OK),
        ((1 << 30) - 1, Verdict.WARN),
        ((64 << 20), Verdict.WARN),
        ((64 << 20) - 1, Verdict.FAIL),
    ],
)
def test_little_space_is_a_warning_and_almost_none_a_failure(free_bytes: int, verdict: Verdict) -> None:
    """1 GB and 64 MB are the edges."""
    assert check_disk(free_bytes).verdict is verdict


# The provider.


def test_a_provider_in_order_answers_has_keys_and_agrees_about_the_time(setup: Setup) -> None:
    """Over real HTTP."""
    with running_provider() as provider:
        findings = found(elsewhere(setup, provider.config.issuer))
    assert [findings[name].verdict for name in ("provider", "provider_keys", "provider_clock")] == [Verdict.OK] * 3
    assert findings["provider_keys"].sentence == "The provider publishes 1 usable signing key."


def test_a_provider_that_is_down_fails_and_nothing_more_is_asked(setup: Setup, free_port: int) -> None:
    """One sentence with its address."""
    findings = found(elsewhere(setup, f"http://127.0.0.1:{free_port}"))
    assert findings["provider"].verdict is Verdict.FAIL
    assert f"http://127.0.0.1:{free_port} cannot be reached (unreachable)" in findings["provider"].sentence
    assert findings["provider"].remedy == "Check that it runs and that the network is up."
    assert "provider_keys" not in findings


def test_a_provider_that_hangs_is_given_up(setup: Setup) -> None:
    """After the time-out, not after minutes."""
    with answering(None) as port:
        impatient = msgspec.structs.replace(elsewhere(setup, f"http://127.0.0.1:{port}"), timeout_s=0.2)
        finding = found(impatient)["provider"]
    assert "cannot be reached (timeout)" in finding.sentence


def test_a_name_server_that_hangs_is_given_up(setup: Setup) -> None:
    """A look-up cannot be cancelled, so it is left behind."""
    over = threading.Event()
    asked = elsewhere(setup, "https://id.example.com")
    waiting = msgspec.structs.replace(asked, resolve=lambda host, port: over.wait(30), timeout_s=0.05)
    try:
        finding = found(waiting)["provider"]
    finally:
        over.set()
    assert finding.sentence == "The provider's host id.example.com could not be looked up within 0.05 s."


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_a_host_that_is_not_known_is_said(setup: Setup, error: Exception) -> None:
    """The name is there to be compared with the one meant."""

    def resolve(host: str, port: int) -> object:
        assert (host, port) == ("id.example.com", 443)
        raise error

    unknown = msgspec.structs.replace(elsewhere(setup, "https://id.example.com"), resolve=resolve)
    assert found(unknown)["provider"].sentence == "The provider's host id.example.com is not known."


def test_a_provider_that_claims_another_issuer_fails(setup: Setup) -> None:
    """The document is not believed (OIDC Discovery §4.3)."""
    with running_provider() as provider:
        finding = found(elsewhere(setup, provider.config.issuer + "/"))["provider"]
    assert finding.verdict is Verdict.FAIL
    assert "says it belongs to" in finding.sentence


def test_an_issuer_without_tls_fails_before_anything_is_sent(setup: Setup) -> None:
    """Neither is the address repeated, in which somebody may have put a password."""
    finding = found(elsewhere(setup, f"http://u:{SECRET}@id.example.com"))["provider"]
    assert (finding.verdict, finding.sentence) == (Verdict.FAIL, "The issuer is not an https address.")
    assert SECRET not in str(finding)


def test_a_provider_without_keys_fails(setup: Setup) -> None:
    """It can be reached, and no ID token of it can be verified."""
    with running_provider() as provider:
        provider.faults.order(Fault(kind=FaultKind.STATUS, endpoint="jwks", status=503), 0.0)
        findings = found(elsewhere(setup, provider.config.issuer))
    assert (findings["provider"].verdict, findings["provider_keys"].verdict) == (Verdict.OK, Verdict.FAIL)


@pytest.mark.parametrize(
    ("skew_s", "verdict", "words"),
    [
        (30.0, Verdict.OK, "agrees"),
        (-30.0, Verdict.OK, "agrees"),
        (31.0, Verdict.WARN, "31 s behind the provider's"),
        (-7_200.0, Verdict.WARN, "2 h ahead of the provider's"),
    ],
)
def test_a_clock_half_a_minute_off_is_a_warning(skew_s: float, verdict: Verdict, words: str) -> None:
    """Which way, and by how much."""
    finding = check_skew(NOW + skew_s, NOW - 0.5, NOW + 0.5)
    assert finding.verdict is verdict
    assert words in finding.sentence


def test_a_provider_that_does_not_tell_the_time_is_no_trouble() -> None:
    """Its tokens will."""
    assert check_skew(None, NOW, NOW).verdict is Verdict.OK


# The command.


def run_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["session-core", "doctor", *args])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, said.err


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests."""
    for variable in os.environ:
        if variable.startswith(("SESSION_", "STREAMLIT_")):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("clean")
def test_the_command_exits_with_0_when_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free_port: int
) -> None:
    """With a line for each finding."""
    code, out, err = run_doctor(monkeypatch, capsys, "--port", str(free_port))
    assert (code, err) == (0, "")
    assert out.startswith("✓ ok    Python ")
    assert out.endswith("Nothing fails.\n")


@pytest.mark.usefixtures("clean")
def test_the_command_exits_with_1_when_something_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free_port: int
) -> None:
    """As JSON the same findings, for programs."""
    monkeypatch.setenv("SESSION_LAB_GRACE_S", "long")
    code, out, err = run_doctor(monkeypatch, capsys, "--port", str(free_port), "--json")
    said = json.loads(out)
    assert (code, err, said["ok"]) == (1, "", False)
    [failed] = [finding for finding in said["findings"] if finding["verdict"] == "fail"]
    assert failed == {
        "name": "settings",
        "verdict": "fail",
        "sentence": "SESSION_LAB_GRACE_S is 'long'.",
        "remedy": "Give a number, such as 60.",
    }


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("args", [("--port", "0"), ("--port", "x"), ("--fast",)])
def test_bad_usage_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: tuple[str, ...]
) -> None:
    """And says which."""
    code, out, err = run_doctor(monkeypatch, capsys, *args)
    assert (code, out) == (2, "")
    assert args[0] in err


@pytest.mark.usefixtures("clean")
def test_a_port_setting_that_makes_no_sense_is_bad_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, no traceback."""
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "99999")
    assert run_doctor(monkeypatch, capsys) == (2, "", "server.port is 99999; set it between 1 and 65535.\n")


def test_the_key_of_the_sessions_is_looked_for(tmp_path: Path) -> None:
    """One that others may read, one that is gone and none at all are told; nothing is made or opened."""
    path = tmp_path / "lab.sessions.db"
    key = tmp_path / "lab.sessions.db.key"
    assert check_sessions(None, {}).verdict is Verdict.WARN
    assert check_sessions(path, {}).verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []
    path.touch()
    assert check_sessions(path, {}).verdict is Verdict.FAIL
    assert check_sessions(path, {"SESSION_CORE_STORE_KEY": "a" * 43}).verdict is Verdict.OK
    assert check_sessions(path, {"SESSION_CORE_STORE_KEY": "short"}).verdict is Verdict.FAIL
    key.write_text("a" * 43, encoding="utf-8")
    key.chmod(0o600)
    assert check_sessions(path, {}).verdict is Verdict.OK
    key.chmod(0o644)
    told = check_sessions(path, {})
    assert (told.verdict, "may be read by others" in told.sentence) == (Verdict.FAIL, True)
