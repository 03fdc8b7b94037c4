"""The people of the lab: when they act, from which data, and what a bad trace is told."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import pytest

from session_core.errors import ConfigError
from session_core.sim.scenario import Acting, Users
from session_core.sim.user import action_times, gap_model, read_trace

DATASETS = ["wiki", "moodle", "yocto", "zig", "slack", "college"]


def times(users: Users, *, number: int = 0, duration_s: float = 100.0, seed: str = "seed") -> list[float]:
    return list(action_times(users, number=number, duration_s=duration_s, rng=random.Random(seed)))


@pytest.mark.parametrize("dataset", DATASETS)
def test_gaps_follow_the_mixture_they_are_drawn_from(dataset: str) -> None:
    """Mean and spread of 20,000 gaps, on log2 of seconds, are the model's own, whatever is shorter than a second."""
    model, rng = gap_model(dataset), random.Random(dataset)
    drawn = [math.log2(model.gap_s(rng, 1e12)) for _ in range(20_000)]
    check = random.Random("another")
    parts = check.choices(range(3), model.w, k=20_000)
    expected = [x for part in parts if (x := check.normalvariate(model.mu[part], model.sd[part])) >= 0]
    assert sum(drawn) / len(drawn) == pytest.approx(sum(expected) / len(expected), abs=0.15)


def test_who_stays_at_work_makes_no_gap_beyond_the_longest() -> None:
    """A gap that is longer is drawn again."""
    users = Users(act=Acting.IDLE_GAP, dataset="wiki", gap_max_s=600)
    found = times(users, duration_s=40_000)
    assert len(found) > 50
    assert all(1 <= later - earlier <= 600 for earlier, later in itertools.pairwise(found))


def test_the_same_seed_acts_at_the_same_times() -> None:
    """And another seed at others."""
    users = Users(act=Acting.IDLE_GAP, dataset="zig")
    day = [times(users, duration_s=86_400, seed=seed) for seed in ("a", "a", "b")]
    assert day[0] == day[1] != day[2]


def test_steady_and_scripted_users_act_when_told() -> None:
    """Within the scenario, and within their own hours."""
    assert times(Users(act=Acting.STEADY, every_s=30.0)) == [0, 30, 60, 90]
    assert times(Users(act=Acting.STEADY, every_s=30.0, from_s=20.0, until_s=60.0)) == [20, 50]
    assert times(Users(times_s=(50.0, 10.0, 200.0))) == [10, 50]


def test_an_unknown_data_set_is_named_with_those_there_are() -> None:
    """Never a silent fallback to another."""
    with pytest.raises(ConfigError, match="did you mean 'wiki'"):
        times(Users(act=Acting.IDLE_GAP, dataset="wikis"))


def test_a_trace_is_replayed_per_user(tmp_path: Path) -> None:
    """Each user's actions count from their own first; epoch seconds and ISO times both do."""
    path = tmp_path / "trace.csv"
    path.write_text(
        "user_id,timestamp\nann,2026-01-31T09:00:00Z\nbob,1000\nann,2026-01-31T09:00:30Z\nbob,1005.5\n\nann,2026-01-31T10:00:00+01:00\n".replace(
            "\nann,2026-01-31T10:00:00+01:00", "\nann,2026-01-31T10:01:00+01:00"
        )
    )
    assert dict(read_trace(path)) == {"ann": (0.0, 30.0, 60.0), "bob": (0.0, 5.5)}
    users = Users(act=Acting.TRACE, file=str(path))
    assert times(users, number=1) == [0.0, 5.5]
    assert times(users, number=2) == [0.0, 30.0, 60.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: a trace begins with"),
        ("who,when\na,1\n", "line 1: a trace begins with"),
        ("user_id,timestamp\n", "no users in this trace"),
        ("user_id,timestamp\na,soon\n", "line 2: 'soon' is not a time"),
        ("user_id,timestamp\na,1\nb,5\na,0.5\n", "line 4: this is earlier than the row of a before it"),
        ("user_id,timestamp\na\n", "line 2: a row is user_id,timestamp"),
        ("user_id,timestamp\n,3\n", "line 2: a row is user_id,timestamp"),
        ("user_id,timestamp\na,nan\n", "line 2: 'nan' is not a time"),
    ],
)
def test_a_bad_trace_is_told_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """With the line, where there is one."""
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_trace(path)


def test_a_trace_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """The path and the system's reason."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_trace(tmp_path / "none.csv")
