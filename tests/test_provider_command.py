"""`python -m session_core idp`: the provider on its own port."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from session_core.__main__ import main
from session_core.provider.serve import listen

ROOT = Path(__file__).parent.parent


class Visitor(io.StringIO):
    """Hears where the provider listens, visits it, and then presses Ctrl-C."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.answer: httpx.Response | None = None

    def write(self, text: str) -> int:
        found = re.search(r"http://127\.0\.0\.1:\d+", text)
        if found:
            threading.Thread(target=self.visit, args=(found.group(),)).start()
        return super().write(text)

    def visit(self, issuer: str) -> None:
        try:
            self.answer = httpx.get(issuer + self.path)
        finally:
            os.kill(os.getpid(), signal.SIGINT)


def run_idp(monkeypatch: pytest.MonkeyPatch, *args: str, path: str = "/jwks") -> tuple[int, str, httpx.Response]:
    monkeypatch.setattr(sys, "argv", ["session-core", "idp", *args])
    visitor = Visitor(path)
    with contextlib.redirect_stdout(visitor), pytest.raises(SystemExit) as stopped:
        main()
    assert visitor.answer is not None
    return int(stopped.value.code or 0), visitor.getvalue(), visitor.answer


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """What it says on standard error when it exits with 2."""
    monkeypatch.setattr(sys, "argv", ["session-core", "idp", *args])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_it_says_in_one_line_where_it_listens_and_stops_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line comes when connections are taken, and carries the port that was found free."""
    code, line, answer = run_idp(monkeypatch, "--port", "0", path="/.well-known/openid-configuration")
    issuer = answer.json()["issuer"]
    assert (code, line) == (0, f"The identity provider listens at {issuer}\n")
    assert len(answer.headers.get_list("date")) == 1


def test_as_json_the_line_is_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One object with the issuer."""
    _, line, _ = run_idp(monkeypatch, "--port", "0", "--json")
    assert json.loads(line)["issuer"].startswith("http://127.0.0.1:")


def test_faults_of_a_file_are_in_force_from_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first visitor meets them."""
    path = tmp_path / "faults.toml"
    path.write_text('[[fault]]\nkind = "status"\nstatus = 503\nretry_after_s = 9\n')
    _, _, answer = run_idp(monkeypatch, "--port", "0", "--fault", str(path))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "9")


def test_a_call_back_of_ones_own_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For an app on another port; the rest of the request is then what is missing."""
    mine = "http://127.0.0.1:9999/cb"
    path = f"/authorize?client_id=session-lab&redirect_uri={mine}"
    _, _, answer = run_idp(monkeypatch, "--port", "0", "--redirect-uri", mine, path=path)
    assert answer.headers["location"].startswith(f"{mine}?error=unsupported_response_type")


def test_a_port_in_use_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the port and the way out; no traceback."""
    with listen(0) as held:
        port = held.getsockname()[1]
        message = fails(monkeypatch, capsys, "--port", str(port))
    assert message == (
        f"Port {port} on 127.0.0.1 cannot be used (Address already in use); "
        "choose another with --port, or 0 for a free one.\n"
    )


def test_a_bad_fault_file_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It names the file, the place, the field and what is allowed."""
    path = tmp_path / "faults.toml"
    path.write_text('[[fault]]\nkind = "burn"\n')
    message = fails(monkeypatch, capsys, "--port", "0", "--fault", str(path))
    assert message.startswith(f"{path}, fault 1: kind is 'burn'; choose one of status, ")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--port", "0", "--access-ttl", "0"), "access_ttl_s is 0; set it between 1 and"),
        (("--port", "0", "--grace", "-1"), "grace_s is -1; set it between 0 and"),
        (("--port", "0", "--refresh-ttl", "nan"), "refresh_ttl_s must be a number"),
        (("--port", "0", "--redirect-uri", "nowhere"), "redirect_uris is 'nowhere'"),
        (("--port", "65536"), "65535"),
        ((), "Missing option '--port'"),
    ],
)
def test_a_bad_option_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
) -> None:
    """And says which, and what is allowed."""
    said = fails(monkeypatch, capsys, *args)
    assert message in said
    assert "Traceback" not in said


def test_as_a_process_it_ends_with_0_on_ctrl_c_even_while_a_client_hangs(tmp_path: Path) -> None:
    """The whole thing from outside, with nothing on standard error."""
    path = tmp_path / "faults.toml"
    path.write_text('[[fault]]\nkind = "hang"\nendpoint = "token"\n')
    command = [sys.executable, "-m", "session_core", "idp", "--port", "0", "--fault", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        issuer = process.stdout.readline().split()[-1]
        with httpx.Client() as client:
            assert client.get(f"{issuer}/jwks").status_code == 200
            with pytest.raises(httpx.ReadTimeout):
                client.post(f"{issuer}/token", timeout=0.1)
            with client.stream("GET", f"{issuer}/jwks") as answer:
                process.send_signal(signal.SIGINT)
                answer.read()
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("args", [["--help"], ["idp", "--help"]])
def test_every_command_has_help(args: list[str]) -> None:
    """It exits with 0."""
    command = [sys.executable, "-m", "session_core", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "idp" in done.stdout
    assert "identity provider" in " ".join(done.stdout.split())


def test_importing_the_provider_loads_no_server() -> None:
    """uvicorn, starlette and typer are for the faces that need them."""
    code = (
        "import sys, session_core.provider, session_core.provider.memory; "
        "print([name for name in ('uvicorn', 'starlette', 'typer', 'streamlit', 'duckdb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
