"""Several providers at once: how they are configured, chosen and kept apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from lab_kit import ServedLab, served_lab

from session_core.errors import ConfigError
from session_core.provider import EmbeddedProvider, ProviderConfig
from session_core.provider.config import lab_clients
from session_core.provider.running import running_provider
from session_core.session import Session
from session_core.session_limits import AAL3, SessionLimits, widest
from session_core.sqlite_session_store import SqliteSessionStore
from session_core.vocabulary import EndReason
from session_core.web.providers import EMBEDDED_LABEL, read_providers
from session_core.web.settings import LabSettings

WORK = """
[providers.work]
issuer = "https://work.example"
client_id = "lab"
"""


def written(folder: Path, text: str) -> LabSettings:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return LabSettings(config_path=path)


def test_the_single_form_goes_on_as_it_was() -> None:
    """Nothing is said of others, and the embedded provider signs people in."""
    found = read_providers(LabSettings(), {}, port=8765)
    assert found.embedded
    assert found.others == {}
    assert found.labels() == {"": EMBEDDED_LABEL}


def test_a_further_provider_has_a_table_of_its_own(tmp_path: Path) -> None:
    """Its own issuer, client and call-back; the policy is the first one's unless it says otherwise."""
    text = 'policy = "basic"\n' + WORK + '[providers.bank]\nissuer = "https://bank.example"\nclient_id = "b"\n'
    text += "[providers.bank.policy]\nlimits = { idle_s = 900, absolute_s = 43200 }\n"
    found = read_providers(written(tmp_path, text), {}, port=8765)
    work, bank = found.others["work"], found.others["bank"]
    assert list(found.labels()) == ["", "work", "bank"]
    assert (work.issuer, work.client_id, work.policy.name) == ("https://work.example", "lab", "basic")
    assert work.redirect_uri == "http://127.0.0.1:8765/auth/callback/work"
    assert bank.policy.limits.idle_s == 900
    assert work.api_url == ""


def test_a_secret_from_the_environment_goes_to_the_provider_it_names(tmp_path: Path) -> None:
    """One provider's secret must not be sent to another."""
    environment = {"SESSION_CORE_WORK_CLIENT_SECRET": "s3cret", "SESSION_CORE_WORK_AUTH_METHOD": "client_secret_basic"}
    found = read_providers(written(tmp_path, WORK), environment, port=8765)
    assert found.others["work"].client_secret == "s3cret"
    assert found.first.client_secret is None
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("text", "environment", "why"),
    [
        ("providers = 7", {}, "as a table"),
        ("[providers]\nwork = 7", {}, "as a table"),
        ("[providers.Work]", {}, "another name"),
        ("[providers.main]", {}, "another name"),
        ("[providers.client]", {}, "another name"),
        ("[providers.store]", {}, "another name"),
        ("[providers.work]\nclient_id = 'x'", {}, "issuer is missing"),
        ("[providers.work]\nissuer = 'https://w.example'\nclient_id = 'x'\nshape = 1", {}, "shape is not a setting"),
        (WORK, {"SESSION_CORE_WORK_SHAPE": "1"}, "SESSION_CORE_WORK_SHAPE is not known"),
        (WORK + WORK.replace("work]", "again]"), {}, "issuer 'https://work.example'"),
        (WORK + "redirect_uri = 'https://elsewhere.example/auth/callback/work'", {}, "same scheme, host and port"),
        (WORK + "redirect_uri = 'http://127.0.0.1:8765/auth/callback'", {}, "redirect_uri 'http"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, environment: dict[str, str], why: str) -> None:
    """One sentence, before anything is started."""
    with pytest.raises(ConfigError, match=re.escape(why)):
        read_providers(written(tmp_path, text), environment, port=8765)


def test_what_is_swept_is_over_by_every_provider_s_limits() -> None:
    """A file that holds sessions of several policies waits for the longest."""
    found = widest([AAL3, SessionLimits(idle_s=7200.0, absolute_s=8000.0)])
    assert (found.idle_s, found.absolute_s) == (7200.0, AAL3.absolute_s)
    assert widest([AAL3, SessionLimits()]) == SessionLimits(warn_s=0.0)


# The rest over real HTTP: the embedded provider, and another one on a port of its own.


@pytest.fixture(scope="module")
def work() -> Iterator[EmbeddedProvider]:
    with running_provider(ProviderConfig(clients=lab_clients(("http://127.0.0.1:1/auth/callback/work",)))) as provider:
        yield provider


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, work: EmbeddedProvider) -> Iterator[ServedLab]:
    """Its port is known only now, so the other provider's client is registered after the fact."""
    folder = tmp_path_factory.mktemp("lab")
    settings = folder / "settings.toml"
    settings.write_text(
        f'[providers.work]\nissuer = "{work.config.issuer}"\nclient_id = "session-lab"\nallow_insecure_http = true\n'
        f'scope = "openid profile email offline_access api"\napi_url = "{work.config.issuer}/api/"\n'
        "[providers.work.policy]\nname = 'strict'\nlimits = { idle_s = 900, absolute_s = 43200 }\n",
        encoding="utf-8",
    )
    with served_lab(folder / "lab.duckdb", {"SESSION_LAB_CONFIG": str(settings)}) as lab:
        callback = lab.lab.providers.others["work"].redirect_uri
        clients = {client.client_id: client for client in lab_clients((callback,))}
        work._parts.accounts._clients.update(clients)
        yield lab


@pytest.fixture
def browser(served: ServedLab) -> Iterator[httpx.Client]:
    with served.browser() as client:
        yield client


def sign_in(browser: httpx.Client, provider: str, username: str = "ada") -> httpx.Response:
    page = browser.get("/auth/sign-in", params={"provider": provider, "return_to": "/chat"})
    return browser.post(page.url, data={"username": username, "password": "demo"})


def session_of(served: ServedLab, browser: httpx.Client) -> Session:
    seat = served.lab.seats.find(browser.cookies.get(served.lab.cookies.session))
    assert seat is not None
    session = served.lab.service.get(seat.session_id)
    assert session is not None
    return session


def started(browser: httpx.Client, provider: str) -> httpx.URL:
    """Where a browser that has begun to sign in is sent."""
    answer = browser.get("/auth/sign-in", params={"provider": provider}, follow_redirects=False)
    return httpx.URL(answer.headers["location"])


def test_people_choose_who_signs_them_in(served: ServedLab, browser: httpx.Client) -> None:
    """Each link leads to its provider and keeps the place to return to."""
    page = browser.get("/auth/sign-in", params={"return_to": "/chat?a=1&b=2"})
    links = [unescape(link) for link in re.findall(r'href="(/auth/sign-in[^"]*)"', page.text)]
    assert page.status_code == 200
    assert EMBEDDED_LABEL in page.text
    issuers = [str(browser.get(link).url).partition("/authorize")[0] for link in links]
    assert issuers == [config.issuer for config in served.lab.providers.configs().values()]
    assert all("return_to=%2Fchat%3Fa%3D1%26b%3D2" in link for link in links)


def test_the_same_name_at_two_providers_is_two_people(served: ServedLab, browser: httpx.Client) -> None:
    """Neither sees the other's sessions, nor what was cached for them; each is kept by its own policy."""
    assert sign_in(browser, "work").url.path == "/chat"
    mine = session_of(served, browser)
    with served.browser() as other:
        sign_in(other, "main")
        theirs = session_of(served, other)
    assert (mine.user_id, theirs.user_id) == ("work·ada", "ada")
    assert (mine.config.policy.name, theirs.config.policy.name) == ("strict", "professional")
    service = served.lab.service
    assert [record.session_id for record in service.call(service.sessions_of("work·ada"))] == [mine.session_id]
    assert service.call(mine.client.get("echo")).json()["subject"] == "ada"
    assert browser.get("/auth/activity").json()["left_s"] < 901


def test_a_call_back_is_taken_only_where_its_provider_sends_people(served: ServedLab, browser: httpx.Client) -> None:
    """RFC 9700 §4.4: a code that one provider gave is not handed in as another's, nor at another's address."""
    asked = started(browser, "work")
    said = {"state": asked.params["state"], "code": "of-somebody", "iss": served.lab.providers.others["work"].issuer}
    answer = browser.get("/auth/callback", params=said)
    assert answer.status_code == 400
    assert "not started in this browser" in answer.text
    asked = started(browser, "main")
    answer = browser.get("/auth/callback/work", params={**said, "state": asked.params["state"]})
    assert answer.status_code == 400


def test_an_answer_that_names_another_issuer_is_refused(served: ServedLab, browser: httpx.Client) -> None:
    """RFC 9207, at the right address as well; the provider that was asked is never sent the code."""
    asked, issuer = started(browser, "work"), served.lab.providers.first.issuer
    posts = dict(served.lab.provider.statistics().requests.get("token", {}))
    answer = browser.get("/auth/callback/work", params={"state": asked.params["state"], "code": "c", "iss": issuer})
    assert answer.status_code == 400
    assert "another provider" in answer.text
    assert served.lab.provider.statistics().requests.get("token", {}) == posts


@pytest.mark.parametrize("provider", ["nobody", "Work", "work/", "<script>", "\udce4"])
def test_a_provider_nobody_configured_is_not_offered(browser: httpx.Client, provider: str) -> None:
    """One sentence, and nothing of the request in it."""
    query = provider.encode("utf-8", "surrogatepass")
    answer = browser.get("/auth/sign-in?provider=" + "".join(f"%{byte:02x}" for byte in query), follow_redirects=False)
    assert answer.status_code == 400
    assert "<script>" not in answer.text


def test_each_provider_signs_out_its_own(served: ServedLab, browser: httpx.Client, work: EmbeddedProvider) -> None:
    """A logout token of one ends no session of the other, though the names are the same."""
    sign_in(browser, "work", "grace")
    mine = session_of(served, browser)
    with served.browser() as other:
        sign_in(other, "main", "grace")
        theirs = session_of(served, other)
    assert mine.user_id != theirs.user_id
    keys, now = work._parts.keys, int(served.lab.clock.wall())
    claims = {
        "iss": work.config.issuer,
        "aud": "session-lab",
        "iat": now,
        "exp": now + 60,
        "jti": "once",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        "sub": "grace",
    }
    forged = keys.sign({**claims, "iss": served.lab.providers.first.issuer}, typ="logout+jwt")
    assert browser.post("/auth/backchannel-logout", data={"logout_token": forged}).status_code == 400
    of_theirs = {**claims, "jti": "other", "sid": theirs.claims()["sid"]}
    del of_theirs["sub"]
    for said in (of_theirs, claims):
        token = keys.sign(said, typ="logout+jwt")
        assert browser.post("/auth/backchannel-logout", data={"logout_token": token}).status_code == 200
    assert mine.ended is EndReason.SIGNED_OUT_AT_PROVIDER
    assert theirs.ended is None


def test_a_sign_out_goes_to_the_provider_that_signed_in(served: ServedLab, browser: httpx.Client) -> None:
    """With its own client and its own end-session address."""
    sign_in(browser, "work")
    lab, cookie = served.lab, browser.cookies[served.lab.cookies.session]
    session = session_of(served, browser)
    assert lab.service.call(lab.sign_out(session.session_id, cookie=cookie, return_to="/"))
    issuer = lab.providers.others["work"].issuer
    assert f'action="{issuer}/end-session"' in browser.get("/auth/logout").text


def test_a_stored_session_goes_on_with_its_own_provider_or_not_at_all(served: ServedLab, browser: httpx.Client) -> None:
    """Its tokens are sent to nobody else, even when a provider is gone from the settings."""
    sign_in(browser, "work")
    lab, session = served.lab, session_of(served, browser)
    service = lab.service
    assert isinstance(service.around.store, SqliteSessionStore)
    service.call(service.let_go(session.session_id))
    again = service.call(service.resume(session.session_id))
    assert again is not None
    assert (again.user_id, again.oauth.issuer) == ("work·ada", session.oauth.issuer)
    service.call(service.let_go(session.session_id))
    config = service._configs.pop("work")
    try:
        assert service.call(service.resume(session.session_id)) is None
    finally:
        service._configs["work"] = config
