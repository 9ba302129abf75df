import numpy as np
import pytest

from entrokit.cli.beside import comparison_lines
from entrokit.diagnose import beside
from entrokit.runs import Series, TrainingLog

STEPS = np.arange(1.0, 101.0)


def log(folder, seed, name, shift, **config):
    rng = np.random.default_rng(seed)
    made = {f"reward.part/p{i}": rng.normal(size=100) + shift * (STEPS > 50) for i in range(14)}
    return TrainingLog(
        folder / name, "table", {k: Series.of(zip(STEPS, v, strict=True)) for k, v in made.items()}, config
    )


def test_the_lines_tell_what_went_apart_and_which_settings_differ(tmp_path):
    a = log(tmp_path, 1, "a", 0.0, **{f"k{i}": 0 for i in range(14)})
    b = log(tmp_path, 2, "b\x1b[31m", 9.0, **{f"k{i}": "\x1b" + "x" * 99 for i in range(14)})
    lines = [line.plain for line in comparison_lines(beside(a, b))]
    assert lines[0].startswith("apart: reward.part/p")
    assert "  a: insufficient-data, too little was written" in lines
    assert sum(line.startswith("  step ") for line in lines) == 12
    assert lines.count("  and 2 more") == 2
    assert f"  k0: 0 against ·{'x' * 59}…" in lines
    assert not any("\x1b" in line for line in lines)


def test_runs_that_are_not_apart_are_told_once(tmp_path):
    lines = [line.plain for line in comparison_lines(beside(log(tmp_path, 1, "a", 0.0), log(tmp_path, 2, "b", 0.0)))]
    assert lines[0].startswith("not-apart: 14 series of up to 100 common points differ by no more than their noise")


def test_entropy_and_reward_at_the_end_are_told_whether_apart_or_not(tmp_path):
    def run(name, entropy, reward):
        series = {"entropy": np.full(100, entropy), "reward": np.full(100, reward), "kl": np.zeros(100)}
        series["entropy"][:90] = 2.0
        return TrainingLog(
            tmp_path / name, "table", {k: Series.of(zip(STEPS, v, strict=True)) for k, v in series.items()}
        )

    compared = beside(run("a", 0.06, 0.4), run("b", 0.56, 0.98))
    assert compared.ends == {
        "entropy": (pytest.approx(0.06), pytest.approx(0.56)),
        "reward": (pytest.approx(0.4), pytest.approx(0.98)),
    }
    assert "  at the end: entropy 0.06 against 0.56; reward 0.4 against 0.98" in [
        line.plain for line in comparison_lines(compared)
    ]
    assert compared.to_dict()["ends"]["reward"] == pytest.approx([0.4, 0.98])
