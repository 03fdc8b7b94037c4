"""Every colour that means something can be told from both backgrounds."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from session_core.dashboard import theme
from session_core.vocabulary import Band, Outcome, State, StepOutcome

MEANINGS = {
    **theme.BAND_COLOURS,
    **theme.STATE_COLOURS,
    **theme.OUTCOME_COLOURS,
    **theme.STEP_COLOURS,
    "well": theme.WELL,
    "trouble": theme.TROUBLE,
    "failure": theme.FAILURE,
    "neutral": theme.NEUTRAL,
    "accent": theme.ACCENT,
}


@pytest.mark.parametrize("background", [theme.BACKGROUND_LIGHT, theme.BACKGROUND_DARK])
@pytest.mark.parametrize(("meaning", "colour"), MEANINGS.items())
def test_a_meaning_stands_out_from_the_background(meaning: str, colour: str, background: str) -> None:
    """WCAG 2.2, 1.4.11: graphical objects have a contrast of at least 3 to 1."""
    assert theme.contrast(colour, background) >= 3, meaning


def test_the_backgrounds_are_those_of_the_theme() -> None:
    """What the contrast is checked against is what is shown."""
    config = tomllib.loads(Path(".streamlit/config.toml").read_text(encoding="utf-8"))["theme"]
    assert config["light"]["backgroundColor"] == theme.BACKGROUND_LIGHT
    assert config["dark"]["backgroundColor"] == theme.BACKGROUND_DARK


def test_every_word_has_a_colour() -> None:
    """No band, state or outcome falls back to a default that would hide a typing error."""
    assert set(theme.BAND_COLOURS) == set(Band)
    assert set(theme.STATE_COLOURS) == set(State)
    assert set(theme.OUTCOME_COLOURS) == set(Outcome)
    assert set(theme.STEP_COLOURS) == set(StepOutcome)


def test_states_of_one_colour_differ_in_shape() -> None:
    """Where two states share a colour, a hatch tells them apart."""
    looks = [(colour, theme.STATE_HATCHES.get(state, "")) for state, colour in theme.STATE_COLOURS.items()]
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#777777", "#ffffff", 4.48),
        ("#ffffff", "#ffffff", 1.0),
        ("#0000ff", "#ffffff", 8.59),
    ],
)
def test_contrast_is_that_of_the_standard(one: str, other: str, ratio: float) -> None:
    """Known pairs, both ways round."""
    assert theme.contrast(one, other) == pytest.approx(ratio, abs=0.01)
    assert theme.contrast(one, other) == theme.contrast(other, one)
