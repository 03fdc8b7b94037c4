"""Settings from presets, TOML and the environment: each mistake is one sentence that names the place and the remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from world import World, live

from session_core.config import (
    BASIC,
    ENVIRONMENT_PREFIX,
    PRESETS,
    PROFESSIONAL,
    SessionConfig,
    SessionPolicy,
    load,
    preset,
)
from session_core.errors import ConfigError, LoginRequiredError
from session_core.events import FallbackTried, GapObserved, HeartbeatBeat, RetryScheduled, SessionEnded, TokenRefreshed
from session_core.retry_manager import NO_RETRY, Call
from session_core.vocabulary import EndReason, FallbackStep, StepOutcome

MINIMAL = {"issuer": "https://idp.test", "client_id": "app", "redirect_uri": "https://app.test/callback"}


def loaded(**settings: Any) -> SessionConfig:
    return load(environment={}, defaults={**MINIMAL, **settings})


def refused(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(**settings)
    message = str(caught.value)
    assert message.endswith((".", "?"))
    assert "\n" not in message
    assert message.startswith("In the environment: ")
    assert caught.value.__cause__ is None
    return message


def at(path: str, value: object) -> dict[str, Any]:
    """The settings in which only the one at the dotted `path` is given."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def test_three_settings_are_enough() -> None:
    """Everything else has a default that is professional."""
    config = loaded()
    assert config.policy is PROFESSIONAL or config.policy == PROFESSIONAL
    assert config.registration().client_id == "app"
    assert config.policy.retry.by_call().keys() == set(Call)
    assert config.policy.refresh.margin_s_max == 300
    assert config.policy.heartbeat_s == 300


RANGES = [
    ("tick_s_max", 0.01, 15),
    ("profile.grace_s", 0, 86_400),
    ("policy.heartbeat_s", 0.05, 86_400),
    ("policy.refresh.margin_s_max", 0, 86_400),
    ("policy.refresh.margin_share", 0, 0.9),
    ("policy.refresh.jitter_share", 0, 1),
    ("policy.refresh.unmoved_pause_s", 0.1, 3_600),
    ("policy.refresh.overdue_spread_s_max", 0, 600),
    ("policy.refresh.request_timeout_s", 0.1, 120),
    ("policy.refresh.caller_wait_s_max", 0.05, 600),
    ("policy.retry.token.attempts_max", 1, 20),
    ("policy.retry.api_read.delay_s_max", 0.5, 3_600),
    ("policy.retry.api_read.delay_s_first", 0.001, 30),
    ("policy.retry.api_write.retry_after_s_max", 0, 3_600),
    ("policy.retry_budget.retries_max", 0, 10_000),
    ("policy.retry_budget.retries_per_minute", 0, 60_000),
    ("policy.breaker.failures_max", 1, 1_000),
    ("policy.breaker.cooldown_s", 0.05, 3_600),
    ("policy.breaker.cooldown_s_max", 60, 86_400),
    ("policy.cache.entries_max", 0, 100_000),
    ("policy.cache.bytes_max", 524_288, 1 << 30),
    ("policy.cache.revalidate_pause_s", 0, 3_600),
    ("policy.limits.idle_s", 61, 366 * 86_400),
    ("policy.limits.absolute_s", 61, 366 * 86_400),
]


@pytest.mark.parametrize(("path", "low", "high"), RANGES)
def test_a_setting_out_of_range_is_named_with_its_range(path: str, low: float, high: float) -> None:
    """Both ends of the range are good settings."""
    field = path.rpartition(".")[2]
    for value in (low, high):
        loaded(**at(path, value))
    for value in (-1, 2 * high + 100_000):
        message = refused(**at(path, value))
        assert field in message
        assert "set it between" in message


def structs(kind: type[msgspec.Struct] = SessionConfig, path: str = "") -> Iterator[tuple[str, str]]:
    """Every table of settings by its path, and one name in it."""
    fields = msgspec.structs.fields(kind)
    yield path, fields[0].name
    for field in fields:
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from structs(field.type, f"{path}{field.name}.")


@pytest.mark.parametrize(("path", "known"), list(structs()))
def test_an_unknown_setting_is_named_with_its_nearest(path: str, known: str) -> None:
    """In every table, however deep."""
    misspelt = known[:-1] + "_" + known[-1]
    message = refused(**at(path + misspelt, 1))
    assert f"{path}{misspelt} is not a setting; did you mean '{known}'?" in message
    assert "known are " in refused(**at(f"{path}zzzzzz", 1))


def test_every_table_of_settings_was_looked_at() -> None:
    """A new policy is found by the walk above."""
    assert {path for path, _ in structs()} >= {"", "profile.", "policy.", "policy.retry.token.", "policy.limits."}


def test_an_unknown_setting_inside_a_list_is_named_too() -> None:
    """Routes are a list of tables."""
    message = refused(policy={"cache": {"routes": [{"pattern": "/a", "ttl_s": 1}, {"patern": "/b", "ttl_s": 1}]}})
    assert "policy.cache.routes[1].patern is not a setting; did you mean 'pattern'?" in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"policy": {"fallback": {"steps": ["log_in", "login"]}}}, ["policy.fallback.steps[0]", "log_in", "login"]),
        ({"auth_method": "basic"}, ["auth_method", "basic", "client_secret_basic", "none"]),
        ({"policy": {"retry": {"token": {"classes": ["netwrk"]}}}}, ["policy.retry.token.classes", "network"]),
    ],
)
def test_a_word_that_is_none_of_ours_is_answered_with_ours(settings: dict[str, Any], words: list[str]) -> None:
    """The sentence lists what may stand there."""
    message = refused(**settings)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"policy": {"refresh": {"margin_s_max": "5 min"}}}, ["policy.refresh.margin_s_max", "float", "str"]),
        ({"client_id": 7}, ["client_id", "str", "int"]),
        ({"policy": 3}, ["policy", "int"]),
        ({"tick_s_max": float("nan")}, ["tick_s_max", "number"]),
        ({"policy": {"limits": {"absolute_s": float("inf")}}}, ["limits.absolute_s", "number"]),
        ({"client_id": ""}, ["client_id"]),
        ({"client_secret": "s3cret"}, ["client_secret", "auth_method"]),
        ({"issuer": "idp.test"}, ["issuer", "https://"]),
        ({"issuer": ""}, ["issuer", "https://"]),
        ({"api_url": "ftp://api.test"}, ["api_url", "https://"]),
        ({"api_origins": ["https://a.test", "b.test"]}, ["api_origins", "b.test"]),
        ({"policy": {"limits": {"idle_s": 100, "absolute_s": 90}}}, ["limits.idle_s", "limits.absolute_s"]),
        ({"policy": {"fallback": {"steps": []}}}, ["fallback.steps", "login"]),
        ({"policy": {"refresh": {"margin_share": 0.9, "jitter_share": 0.9}}}, ["refresh.jitter_share", "margin_share"]),
    ],
)
def test_other_mistakes_are_named_as_well(settings: dict[str, Any], words: list[str]) -> None:
    """Wrong types, contradictions and addresses that are none."""
    message = refused(**settings)
    assert [word for word in words if word not in message] == []
    assert "s3cret" not in message


@pytest.mark.parametrize("name", MINIMAL)
def test_a_setting_that_is_missing_is_named(name: str) -> None:
    """Nobody has to guess what is left to set."""
    with pytest.raises(ConfigError, match=rf"^In the environment: {name} is missing; set it\.$"):
        load(environment={}, defaults={key: value for key, value in MINIMAL.items() if key != name})


# Places


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    """One after the other, setting by setting."""
    file = tmp_path / "session.toml"
    file.write_text('client_id = "from-file"\nscope = "openid"\n[policy.refresh]\nmargin_s_max = 120\n')
    environment = {"SESSION_CORE_CLIENT_ID": "from-environment", "HOME": "/root"}
    config = load(file=file, environment=environment, defaults=MINIMAL)
    assert (config.client_id, config.scope, config.issuer) == ("from-environment", "openid", "https://idp.test")
    assert config.policy.refresh.margin_s_max == 120
    assert config.policy.refresh.margin_share == PROFESSIONAL.refresh.margin_share


@pytest.mark.parametrize("name", ["issuer", "client_id", "redirect_uri", "scope", "api_url", "policy"])
def test_the_plain_settings_can_come_from_the_environment(name: str) -> None:
    """Each under its own name in capitals."""
    value = "basic" if name == "policy" else "https://x.test/"
    config = load(environment={ENVIRONMENT_PREFIX + name.upper(): value}, defaults=MINIMAL)
    found = getattr(config, name)
    assert (found.name if isinstance(found, SessionPolicy) else found) == value


def test_a_secret_from_the_environment_shows_nowhere() -> None:
    """Neither in the settings' own repr nor in a rich traceback."""
    environment = {"SESSION_CORE_CLIENT_SECRET": "s3cret", "SESSION_CORE_AUTH_METHOD": "client_secret_post"}
    config = load(environment=environment, defaults=MINIMAL)
    assert config.client_secret == "s3cret"
    for text in (repr(config), str(list(config.__rich_repr__())), repr(config.registration())):
        assert "s3cret" not in text
        assert "app" in text


@pytest.mark.parametrize(("word", "value"), [("true", True), ("True", True), ("FALSE", False)])
def test_a_yes_or_no_of_the_environment_is_read(word: str, *, value: bool) -> None:
    """Written in any case."""
    environment = {"SESSION_CORE_ALLOW_INSECURE_HTTP": word}
    assert load(environment=environment, defaults=MINIMAL).allow_insecure_http is value


def test_a_yes_or_no_that_is_neither_is_refused() -> None:
    """With both words that would do."""
    with pytest.raises(ConfigError, match=r"SESSION_CORE_ALLOW_INSECURE_HTTP is 'yes'; set it to true or false\."):
        load(environment={"SESSION_CORE_ALLOW_INSECURE_HTTP": "yes"}, defaults=MINIMAL)


def test_the_key_of_the_session_store_is_no_setting() -> None:
    """It stands in the environment beside the settings and is not theirs to read."""
    config = load(environment={"SESSION_CORE_STORE_KEY": "k3y"}, defaults=MINIMAL)
    assert "k3y" not in str(msgspec.to_builtins(config))


@pytest.mark.parametrize("variable", ["SESSION_CORE_ISSUR", "SESSION_CORE_PROFILE", "SESSION_CORE_"])
def test_an_unknown_variable_is_named(variable: str) -> None:
    """A misspelt one does not pass in silence."""
    with pytest.raises(ConfigError, match=rf"The environment variable {variable} is not known; .+") as caught:
        load(environment={variable: "1"}, defaults=MINIMAL)
    assert ("did you mean 'SESSION_CORE_ISSUER'?" in str(caught.value)) is (variable == "SESSION_CORE_ISSUR")


def test_a_file_that_is_not_there_or_not_toml_is_one_sentence(tmp_path: Path) -> None:
    """With its path and what is wrong with it."""
    missing = tmp_path / "no.toml"
    with pytest.raises(ConfigError, match=r"no\.toml cannot be read: No such file or directory\."):
        load(file=missing, environment={})
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory\."):
        load(file=tmp_path, environment={})
    for content in (b"issuer = ", b"\xff\xfe"):
        broken = tmp_path / "broken.toml"
        broken.write_bytes(content)
        with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML: .+\."):
            load(file=broken, environment={})


def test_a_mistake_is_told_with_every_place_it_can_come_from(tmp_path: Path) -> None:
    """A value of the environment is not blamed on the file alone."""
    file = tmp_path / "session.toml"
    file.write_text("tick_s_max = 99\n")
    with pytest.raises(ConfigError, match=r"^In .+session\.toml: tick_s_max is 99; set it between 0\.01 and 15\.$"):
        load(file=file, environment={}, defaults=MINIMAL)
    file.write_text("tick_s_max = 1\n")
    with pytest.raises(ConfigError, match=r"^In .+session\.toml or the environment: auth_method"):
        load(file=file, environment={"SESSION_CORE_AUTH_METHOD": "basic"}, defaults=MINIMAL)


# Presets


@pytest.mark.parametrize("name", PRESETS)
def test_a_policy_can_be_named(name: str) -> None:
    """In the file as in the environment."""
    assert loaded(policy=name).policy is PRESETS[name]
    assert preset(name).name == name


def test_an_unknown_policy_is_answered_with_the_nearest() -> None:
    """Or with all of them."""
    with pytest.raises(ConfigError, match=r"There is no policy 'basik'; did you mean 'basic'\?"):
        preset("basik")
    with pytest.raises(ConfigError, match=r"There is no policy 'x'; known are professional, basic\."):
        loaded(policy="x")


def test_basic_is_nothing_but_a_token() -> None:
    """No background, no looking ahead, no retry, no chain, no cache."""
    assert not BASIC.background
    assert not BASIC.refresh.proactive
    assert set(BASIC.retry.by_call().values()) == {NO_RETRY}
    assert BASIC.fallback.steps == (FallbackStep.LOGIN,)
    assert BASIC.cache.entries_max == 0


@pytest.mark.parametrize("name", PRESETS)
def test_before_and_after_run_through_the_same_code(name: str) -> None:
    """Two hours of use: basic ends with a login at the expiry, professional is not felt."""
    seen: list[str] = []

    async def play(world: World) -> None:
        session = await world.session()
        for _ in range(120):
            try:
                seen.append(str((await session.client.get("echo")).status_code))
            except LoginRequiredError as error:
                seen.append(error.reason if error.login else "nowhere to sign in")
            await asyncio.sleep(60)

    world = live(play, policy=PRESETS[name])
    if name == "basic":
        assert seen == ["200"] * 60 + [EndReason.NO_REFRESH_TOKEN] * 60
        assert world.posts == 0
        assert world.facts(HeartbeatBeat) == []
        assert world.facts(GapObserved) == []
        assert world.facts(RetryScheduled) == []
        assert [fact.reason for fact in world.facts(SessionEnded)] == [EndReason.NO_REFRESH_TOKEN]
        assert [f.outcome for f in world.facts(FallbackTried)] == [StepOutcome.SKIPPED] * 3 + [StepOutcome.OK]
    else:
        assert seen == ["200"] * 120
        assert len(world.facts(TokenRefreshed)) == 2
        assert len(world.facts(HeartbeatBeat)) >= 23
        assert world.facts(SessionEnded) == []


def test_basic_does_nothing_while_nobody_asks() -> None:
    """A day without a call: no request, no event, no visit."""

    async def play(world: World) -> None:
        await world.session()
        told = len(world.events)
        await asyncio.sleep(86_400)
        assert len(world.events) == told
        assert world.service.statistics().worker.visits == 0
        assert not world.service.statistics().heartbeat.running

    assert live(play, policy=BASIC).posts == 0
