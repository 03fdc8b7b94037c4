"""Simulate and Compare: empty, one run, a sweep, and addresses that name nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_kit import ServedLab, served_lab
from streamlit.testing.v1 import AppTest
from test_pages import OneSeat

from session_core.config import PRESETS
from session_core.dashboard import lab_loaders, loaders
from session_core.errors import ConfigError
from session_core.lab import run_sweep
from session_core.lab_jobs import plan
from session_core.sim.run import run

SIMULATE, COMPARE = "experiment/simulate.py", "experiment/compare.py"
NIGHT = {"scenario": "wake-before-network", "policy": "professional", "seed": "3"}
SWEEP_S_MAX = 60


@pytest.fixture(scope="module", autouse=True)
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with served_lab(tmp_path_factory.mktemp("experiment") / "lab.duckdb") as lab:
        lab.lab.seats = OneSeat(None)
        yield lab


def opened(page: str, **address: str) -> AppTest:
    app = AppTest.from_file("../pages/menu.py", default_timeout=60).run()
    app.switch_page(page)
    for name, value in address.items():
        app.query_params[name] = value
    return app.run()


def texts(app: AppTest) -> str:
    shown = [*app.markdown, *app.caption, *app.info, *app.warning, *app.success, *app.subheader, *app.code]
    return "\n".join(str(element.value) for element in shown)


def pressed(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert lab_loaders.sweeps.wait(SWEEP_S_MAX)
    return app.run()


def test_before_anything_was_run_the_page_says_what_to_do() -> None:
    """Every family and scenario is there, the button says how long it will take, and nothing runs by itself."""
    app = opened(SIMULATE, seeds="7")
    assert not app.exception
    assert "Nothing has been run yet." in texts(app)
    assert "lives through hours in milliseconds" in texts(app)
    assert app.button(key="run").label.startswith("Run 560 simulations (about ")
    assert {"Sleep and wake", "Fleet", "Clocks"} <= {text.value.strip("*") for text in app.markdown}


def test_a_sweep_fills_the_matrix() -> None:
    """Two scenarios under both policies, three seeds each; the verdicts are marks with counts."""
    app = opened(SIMULATE, family="Sleep and wake")
    app.checkbox(key="pick_lid-close-overnight").check()
    app.checkbox(key="pick_wake-before-network").check().run()
    assert "2 ticked." in texts(app)
    assert app.button(key="run").label.startswith("Run 12 simulations (less than a second)")
    app = pressed(app, "run")
    assert "Under **professional** all 2 scenarios hold (6 runs)." in texts(app)
    shown = app.dataframe[0].value
    assert shown["professional"].tolist() == ["✓ 3/3", "✓ 3/3"]
    assert shown["basic"].tolist() == ["✕ 0/3", "✕ 0/3"]


def test_without_a_policy_there_is_nothing_to_run() -> None:
    """A sentence, no button."""
    app = opened(SIMULATE)
    app.pills(key="policies").set_value([]).run()
    assert "Choose at least one policy." in texts(app)
    assert not app.exception


def test_a_shared_address_shows_the_very_run() -> None:
    """Its verdict, story, picture and digest: the same that the engine gives for that name."""
    app = opened(SIMULATE, **NIGHT)
    expected = run(lab_loaders.catalogue().scenarios["wake-before-network"], PRESETS["professional"], 3)
    assert "✓ Professional kept the session; every check holds." in texts(app)
    assert "network back after 20 s, refreshed at the" in texts(app)
    assert expected.digest in texts(app)
    assert "python -m session_core replay --scenario wake-before-network --policy professional --seed 3" in texts(app)
    assert "scenario=wake-before-network&policy=professional&seed=3" in texts(app)
    assert "Simulated" in texts(app)


def test_a_failure_is_told_in_words() -> None:
    """Which check, what it found, what it should be; and what the user met."""
    app = opened(SIMULATE, **{**NIGHT, "policy": "basic"})
    assert "✕ Basic lost the session (no refresh token)" in texts(app)
    assert "sign_outs was 1" in texts(app)
    assert "the user met the sign-in page at once" in texts(app)


def test_a_replay_has_the_same_digest() -> None:
    """Said in a sentence."""
    app = opened(SIMULATE, **NIGHT)
    next(button for button in app.button if button.label == "Replay").click().run()
    assert "Played again: the same digest" in texts(app)


def test_policy_and_seed_can_be_changed_in_place() -> None:
    """The address follows, and the way back leads to all scenarios."""
    app = opened(SIMULATE, **NIGHT)
    app.selectbox(key="policy_of_professional").select("basic").run()
    assert "Basic lost the session" in texts(app)
    assert app.query_params["policy"] == "basic"
    app.number_input(key="seed_of_3").set_value(4).run()
    assert app.query_params["seed"] == "4"
    app.button(key="back").click().run()
    assert "scenario" not in app.query_params
    assert app.button(key="run")


def test_several_users_are_told_one_at_a_time() -> None:
    """The address may name one; a stranger is a sentence."""
    address = {"scenario": "signing-key-rotation", "policy": "professional", "seed": "1"}
    app = opened(SIMULATE, **address, user="u2")
    assert app.selectbox(key="user_of_u2").value == "u2"
    app.selectbox(key="user_of_u2").select("u1").run()
    assert app.query_params["user"] == "u1"
    assert "There is no user 'u99' in this run" in texts(opened(SIMULATE, **address, user="u99"))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ({"scenario": "lid-close-overnite"}, "did you mean 'lid-close-overnight'?"),
        ({"scenario": "workday", "policy": "professionel"}, "did you mean 'professional'?"),
        ({"scenario": "workday", "seed": "seven"}, "The seed is 'seven'; give a whole number"),
    ],
)
def test_an_address_that_names_nothing_is_a_calm_sentence(address: dict[str, str], sentence: str) -> None:
    """With the nearest name and a way on."""
    app = opened(SIMULATE, **address)
    assert not app.exception
    assert not app.error
    assert sentence in texts(app)
    assert app.button


def test_a_comparison_answers_first() -> None:
    """Differences by size, the control beside each side, both timelines, every run ranked, and a CSV."""
    app = opened(COMPARE, of="lid-close-overnight", before="basic", after="professional")
    assert "Not compared yet" in texts(app)
    app = pressed(app, "run")
    assert not app.exception
    assert "**professional** instead of **basic**: sessions kept up from 0 % to 100 % (better)" in texts(app)
    found, control, ranked = (frame.value for frame in app.dataframe)
    assert found["Verdict"].tolist()[0] == "▲ better"
    assert control["Runs"].tolist() == 2 * ["with the faults", "control, without"]
    assert len(ranked) == 20
    assert ranked[""].tolist()[0] == "▲ best"


def test_a_policy_compared_with_itself_differs_in_nothing() -> None:
    """One sentence, and each run once."""
    app = pressed(opened(COMPARE, of="workday", before="basic", after="basic"), "run")
    assert "so nothing differs" in texts(app)
    assert len(app.dataframe[2].value) == 10


def test_a_stranger_in_a_comparison_is_a_sentence() -> None:
    """And the rest of the page goes on."""
    app = opened(COMPARE, after="profesional")
    assert "There is no after 'profesional' here; did you mean 'professional'?" in texts(app)
    assert app.selectbox(key="after").value == "professional"


RECORDED = {"from": "Recorded runs"}


def test_without_two_sides_of_recorded_runs_the_page_says_how_to_get_them(
    served: ServedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under Simulate, or by the command, with this very store."""
    monkeypatch.setattr(loaders, "recorded_runs", tuple)
    app = opened(COMPARE, **RECORDED)
    assert not app.exception
    assert "Two sides are needed, and nothing was recorded yet." in texts(app)
    assert f"--db {served.lab.store.opened().path}`" in texts(app)


def test_recorded_runs_are_compared_side_by_side() -> None:
    """Differences first, then where they are, the pair that differs most as two timelines, and every run."""
    store, catalogue = loaders.open_store(), lab_loaders.catalogue().scenarios
    some = [catalogue[name] for name in ("lid-close-overnight", "wake-before-network")]
    run_sweep(plan(some, [PRESETS["basic"], PRESETS["professional"]], range(1, 6)), processes=1, store=store)
    app = opened(COMPARE, **RECORDED, recorded_before="basic · 0.1.0", recorded_after="professional · 0.1.0")
    assert not app.exception
    assert "**professional · 0.1.0** instead of **basic · 0.1.0**: " in texts(app)
    found, where, ranked = (frame.value for frame in app.dataframe)
    assert found["Verdict"].tolist()[0] == "▲ better"
    assert (where["Runs each"].tolist(), len(ranked)) == ([5, 5], 20)
    app.selectbox(key="recorded_of").select("wake-before-network").run()
    assert [len(frame.value) for frame in app.dataframe][1:] == [1, 10]


def test_a_broken_scenario_file_takes_nothing_else_away(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentence names the file and the line; the others can be run."""
    from pathlib import Path

    folder = Path(str(tmp_path))
    good = Path("data/scenarios/workday.toml").read_text(encoding="utf-8")
    (folder / "workday.toml").write_text(good, encoding="utf-8")
    (folder / "typo.toml").write_text(good.replace('family = "', 'famly = "'), encoding="utf-8")
    monkeypatch.setattr(lab_loaders, "CATALOGUE", folder)
    app = opened(SIMULATE)
    assert "typo.toml, line" in texts(app)
    assert app.checkbox(key="pick_workday")


def test_a_policy_of_ones_own_can_be_added() -> None:
    """It is called like its file, may be chosen at once, and a mistake in it is a sentence without a path."""
    assert lab_loaders.add_policy("patient.toml", b"heartbeat_s = 600\n") == "patient"
    assert lab_loaders.policies()["patient"].heartbeat_s == 600
    app = opened(SIMULATE, scenario="workday", policy="patient", seed="1")
    assert "Patient kept the session" in texts(app)
    assert "--policy patient.toml" in texts(app)
    with pytest.raises(ConfigError) as refused:
        lab_loaders.add_policy("patient.toml", b"hartbeat_s = 600\n")
    assert str(refused.value).startswith("In patient.toml: ")
