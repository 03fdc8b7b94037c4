"""A policy is data: a preset by name, or a file that says what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_core.config import PRESETS, PROFESSIONAL, read_policy
from session_core.errors import ConfigError


def written(folder: Path, text: str, name: str = "eager.toml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def refused(name_or_file: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_policy(name_or_file)
    return str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_go_by_their_names(name: str) -> None:
    """As everywhere."""
    assert read_policy(name) is PRESETS[name]


@pytest.mark.parametrize("header", ["", "[policy]\n"], ids=["whole file", "table of a settings file"])
def test_a_file_says_what_differs_and_names_the_policy(tmp_path: Path, header: str) -> None:
    """Everything else is as under professional."""
    policy = read_policy(written(tmp_path, f"{header}heartbeat_s = 60\n"))
    assert (policy.name, policy.heartbeat_s) == ("eager", 60.0)
    assert (policy.refresh, policy.retry, policy.limits) == (
        PROFESSIONAL.refresh,
        PROFESSIONAL.retry,
        PROFESSIONAL.limits,
    )


def test_a_settings_file_may_name_a_preset(tmp_path: Path) -> None:
    """Then that is meant."""
    assert read_policy(written(tmp_path, 'issuer = "https://id.example"\npolicy = "basic"\n')) is PRESETS["basic"]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """Never with a silent pass."""
    assert refused("profesional") == "There is no policy 'profesional'; did you mean 'professional'?"
    assert "known are professional, basic" in refused("xyz")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("heartbeet_s = 1", "heartbeet_s is not a setting; did you mean 'heartbeat_s'?"),
        ("heartbeat_s = -1", "heartbeat_s is -1"),
        ("[refresh]\nmargin_s_max = 'x'", "refresh.margin_s_max: Expected `float`, got `str`."),
        ("[policy.refresh]\nmarginal = 1", "policy.refresh.marginal is not a setting"),
        ("heartbeat_s = ", "is not valid TOML"),
        ("policy = 3", "policy: Expected `object`, got `int`."),
        ("policy = 'bassic'", "did you mean 'basic'?"),
        ("name = 'basic'", "the policy is called 'basic' like a built-in one; give it another name."),
    ],
)
def test_a_mistake_is_one_sentence_that_names_it(tmp_path: Path, text: str, says: str) -> None:
    """File, setting, and what is allowed."""
    said = refused(written(tmp_path, text))
    assert says in said
    assert "\n" not in said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the reason."""
    assert "cannot be read: No such file" in refused(str(tmp_path / "none.toml"))
