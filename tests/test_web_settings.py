"""Settings are read once, and a wrong one is named with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_core.alert_rules import AlertRule, AlertSettings, Measure, Objective
from session_core.errors import ConfigError
from session_core.vocabulary import Source
from session_core.web.settings import LabSettings, alert_settings, provider_config, read_settings, session_config
from session_core.web.webhook import Webhook


def test_defaults_need_no_environment() -> None:
    """What is not ours in the environment does not matter."""
    assert read_settings({"PATH": "/bin", "SESSION_CORE_POLICY": "basic"}) == LabSettings()


def test_what_is_given_is_used() -> None:
    """Each variable sets its field."""
    given = {"SESSION_LAB_DB": "/x/y.duckdb", "SESSION_LAB_ACCESS_TTL_S": "60", "SESSION_LAB_GRACE_S": "0"}
    assert read_settings(given) == LabSettings(db_path=Path("/x/y.duckdb"), access_ttl_s=60, grace_s=0)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, Path("data/session_lab.sessions.db")),
        ({"SESSION_LAB_DB": "/x/y.duckdb"}, Path("/x/y.sessions.db")),
        ({"SESSION_LAB_DB": "/x/y.duckdb", "SESSION_LAB_SESSIONS": "/z/s.db"}, Path("/z/s.db")),
        ({"SESSION_LAB_SESSIONS": "memory"}, None),
    ],
)
def test_sessions_are_kept_beside_the_events_unless_told(given: dict[str, str], path: Path | None) -> None:
    """In a file of their own, in another one, or nowhere."""
    assert read_settings(given).sessions_path == path


def test_who_may_post_is_a_setting_and_the_key_a_secret() -> None:
    """Origins with a space or a comma between them; the key shows nowhere."""
    given = {
        "SESSION_LAB_INGEST_KEY": "correct-horse-battery",
        "SESSION_LAB_INGEST_ORIGINS": "https://shop.example.com, http://localhost:3000 http://[::1]:80",
        "SESSION_LAB_INGEST_POSTS_PER_MINUTE": "60",
    }
    settings = read_settings(given)
    assert settings.ingest_key == "correct-horse-battery"
    assert settings.ingest_origins == ("https://shop.example.com", "http://localhost:3000", "http://[::1]:80")
    assert settings.ingest_posts_per_minute == 60
    assert "horse" not in f"{settings!r}{settings}{settings.__rich_repr__()}"
    assert "db_path" in repr(settings)


@pytest.mark.parametrize(
    "key", ["", "short-horse", "a key with a space in it", "schlüssel-schlüssel", "x" * 15, "x\n" * 9]
)
def test_a_weak_key_is_refused_and_not_repeated(key: str) -> None:
    """It would be guessed, or could not be sent in a header."""
    with pytest.raises(ConfigError, match="SESSION_LAB_INGEST_KEY is too weak") as caught:
        read_settings({"SESSION_LAB_INGEST_KEY": key})
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "shop.example.com",
        "https://",
        "https://shop.example/",
        "https://Shop.example",
        "ftp://a.b",
        "http://u:p@a",
    ],
)
def test_what_is_no_origin_is_named(origin: str) -> None:
    """As no browser would say it, it would silently let nobody in."""
    with pytest.raises(ConfigError, match="give origins such as https://app"):
        read_settings({"SESSION_LAB_INGEST_ORIGINS": f"https://good.example {origin}"})


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SESSION_LAB_DBB", "x", "did you mean SESSION_LAB_DB"),
        ("SESSION_LAB_QQQQQ", "x", "known are"),
        ("SESSION_LAB_DB", " ", "give the path"),
        ("SESSION_LAB_ACCESS_TTL_S", "soon", "give a number"),
        ("SESSION_LAB_ACCESS_TTL_S", "4", "between 5 and"),
        ("SESSION_LAB_ACCESS_TTL_S", "nan", "finite|number"),
        ("SESSION_LAB_GRACE_S", "-1", "between 0 and"),
        ("SESSION_LAB_INGEST_POSTS_PER_MINUTE", "0", "between 1 and"),
        ("SESSION_LAB_SIGN_INS_PER_MINUTE", "0", "between 1 and"),
    ],
)
def test_a_wrong_variable_is_named_with_its_remedy(variable: str, value: str, said: str) -> None:
    """One sentence: which variable, and what is allowed."""
    with pytest.raises(ConfigError, match=said) as caught:
        read_settings({variable: value})
    assert variable in str(caught.value)


def test_without_an_issuer_the_embedded_provider_signs_in() -> None:
    """Its address is the app's own, so that nothing has to be installed."""
    config, embedded = session_config(LabSettings(grace_s=7), {}, port=8765)
    provider = provider_config(LabSettings(grace_s=7, access_ttl_s=60), config, port=8765)
    assert embedded
    assert config.issuer == provider.issuer == "http://127.0.0.1:8765/idp"
    assert config.profile.grace_s == provider.grace_s == 7
    assert provider.access_ttl_s == 60


def test_another_issuer_turns_the_embedded_provider_off() -> None:
    """Nothing of the embedded one, such as leave for plain HTTP, is carried over."""
    external = {"SESSION_CORE_ISSUER": "https://idp.example", "SESSION_CORE_CLIENT_ID": "lab"}
    config, embedded = session_config(LabSettings(), external, port=8501)
    assert not embedded
    assert config.redirect_uri == "http://127.0.0.1:8501/auth/callback"
    assert not config.allow_insecure_http
    assert not config.api_url


def test_another_issuer_needs_a_client_of_its_own() -> None:
    """The demo client is unknown there."""
    with pytest.raises(ConfigError, match="client_id"):
        session_config(LabSettings(), {"SESSION_CORE_ISSUER": "https://idp.example"}, port=8501)


def test_a_webhook_is_read_and_not_shown() -> None:
    """Its address may be a secret."""
    settings = read_settings({"SESSION_LAB_ALERT_WEBHOOK": "https://hooks.example/T1?key=hush"})
    assert settings.alert_webhook == Webhook(url="https://hooks.example/T1?key=hush")
    assert "hush" not in repr(settings)
    with pytest.raises(ConfigError, match="SESSION_LAB_ALERT_WEBHOOK cannot be used") as caught:
        read_settings({"SESSION_LAB_ALERT_WEBHOOK": "http://hooks.example/hush"})
    assert "hush" not in str(caught.value)


def test_alerts_have_a_table_of_their_own(tmp_path: Path) -> None:
    """In the same file as the sessions' settings, which do not mind it; without one the defaults hold."""
    file = tmp_path / "lab.toml"
    file.write_text(
        'policy = "basic"\n[alerts]\nsource = "import"\n[alerts.objective]\ntarget = 0.99\n'
        '[[alerts.rules]]\nname = "Stuck"\nmeasure = "stuck"\nthreshold = 3\n',
        encoding="utf-8",
    )
    settings = LabSettings(config_path=file)
    assert session_config(settings, {}, port=8501)[0].policy.name == "basic"
    assert alert_settings(settings) == AlertSettings(
        objective=Objective(target=0.99),
        source=Source.IMPORT,
        rules=(AlertRule(name="Stuck", measure=Measure.STUCK, threshold=3),),
    )
    file.write_text('policy = "basic"\n', encoding="utf-8")
    assert alert_settings(settings) == alert_settings(LabSettings()) == AlertSettings()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("sauce = 'live'", "alerts: Object contains unknown field `sauce`."),
        ("rules = [{name = 'A', measure = 'speed', threshold = 1}]", r"alerts.rules\[0\].measure: Invalid enum"),
        ("rules = [{name = 'A', measure = 'stuck', threshold = 0}]", "alerts: A: threshold is 0; set it between 1"),
    ],
)
def test_a_wrong_table_of_alerts_is_named(tmp_path: Path, table: str, said: str) -> None:
    """With the file and the place in it."""
    file = tmp_path / "lab.toml"
    file.write_text(f"[alerts]\n{table}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        alert_settings(LabSettings(config_path=file))
    assert str(file) in str(caught.value)
