"""Each rule on the plainest run that should set it off, and on its neighbours that should not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.diagnose import VERDICTS, Thresholds, diagnose
from entrokit.runs import RunWriter
from tests.runs.cases import columns

from .cases import CASES, STEPS, line, table


@pytest.mark.parametrize("name", CASES)
def test_the_plainest_run_of_each_kind(name, tmp_path):
    noise = 0.0 if name == "no-signal" else 0.005
    d = diagnose(table(tmp_path, noise, **CASES[name]))
    verdict = next(v for v in VERDICTS if name.startswith(v))
    assert d.verdict == verdict, d.findings
    assert d.findings[0].evidence
    if verdict not in ("healthy", "insufficient-data"):
        assert 1 <= len(d.findings[0].remedies) <= 3
    data = json.loads(d.to_json())
    assert data["verdict"] == verdict
    assert set(data) >= {"cause", "evidence", "remedies", "law", "missing", "thresholds"}


def test_a_length_limit_that_entropy_ran_into_is_no_cause(tmp_path):
    late = np.where(STEPS < 60, 0.0, 0.6)
    d = diagnose(table(tmp_path, entropy=line(0.4, 3.0), reward=line(0.4, 0.0), truncated=late))
    assert d.verdict == "explosion"


def test_a_family_that_falls_with_all_others_is_not_local(tmp_path):
    d = diagnose(
        table(
            tmp_path,
            entropy=line(0.6, 0.5),
            reward=line(0.5, 0.02),
            **{"reward/a": line(0.5, 0.02), "reward/b": line(0.5, 0.02)},
        )
    )
    assert d.verdict == "collapse"


def test_rollouts_alone_are_judged_by_their_rewards(tmp_path):
    """verl's dumps hold neither entropy nor log-probabilities."""
    for step in range(1, 25):
        family = lambda i: "code" if i % 2 else "maths"  # noqa: E731
        right = lambda i, step=step: float(i % 4 == 0 or (i % 4 == 1 and step < 10))  # noqa: E731
        rows = [
            {"input": f"{step} {i // 4}", "output": "x", "score": right(i), "step": step, "data_source": family(i)}
            for i in range(64)
        ]
        (tmp_path / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    d = diagnose(tmp_path)
    assert [f.verdict for f in d.findings] == ["local-failure", "insufficient-data"]
    assert d.findings[0].cause == "'code' went wrong alone"


def test_groups_of_equal_rewards_show_in_rollouts_alone(tmp_path):
    for step in range(1, 15):
        rows = [
            {"input": f"{step} {i // 4}", "output": "x", "score": float(i // 4 % 2), "step": step} for i in range(64)
        ]
        (tmp_path / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    d = diagnose(tmp_path)
    assert d.findings[0].cause == "all completions of a prompt get the same reward"
    assert "224 of 224 groups of completions have equal rewards" in d.findings[0].evidence


def test_thresholds_are_the_users(tmp_path):
    file = table(tmp_path, **CASES["collapse"])
    settings = tmp_path / "t.yaml"
    settings.write_text("collapse_ratio: 0.01\nplateau_entropy: 0.01\nplateau_still: 0\n")
    assert diagnose(file, Thresholds.load(settings)).verdict == "healthy"
    for text, message in (
        ("colapse_ratio: 1\n", "no threshold is called 'colapse_ratio'; there are min_points, collapse_ratio"),
        ("[1]\n", "expected a mapping"),
        ("solved: high\n", "Thresholds.solved: must be a number of at least 0, got 'high'"),
    ):
        settings.write_text(text)
        with pytest.raises(ValueError, match=message):
            Thresholds.load(settings)


def test_prompts_learned_by_heart_and_what_the_completions_tell(tmp_path):
    w = RunWriter(tmp_path / "run", {"recipe": "dapo(clip_high=0.3)+steer", "learning_rate": 1e-4})
    for i in range(30):
        w.metrics(i, {"entropy": 0.6 - 0.01 * i, "reward": 0.2 + 0.02 * i})
        w.rollouts(
            i,
            columns(8)
            | {
                "prompt": ["p", "q"] * 4,
                "entropy": [[0.1, 0.25, 0.25]] * 8,
                "reward": [float(j % 3 == 0) for j in range(8)],
            },
        )
    d = diagnose(tmp_path / "run")
    assert d.verdict == "premature-convergence"
    assert d.findings[0].cause == "the same prompts again and again"
    assert "2 distinct prompts in 240 completions" in d.findings[0].evidence
    assert any(d.facts.digest.free.values())


def test_recipes_that_change_the_sampling_are_no_mismatch(tmp_path):
    for recipe_string, verdict in (("grpo", "mismatch"), ("grpo+adaptive-temperature", "healthy")):
        w = RunWriter(tmp_path / verdict, {"recipe": recipe_string})
        for i in range(40):
            w.metrics(
                i,
                {
                    "entropy": 0.6 + i % 3 / 999,
                    "reward": 0.01 * i,
                    "sampled/surprise": 0.4,
                    "sampled/entropy": 0.6 + i % 2 / 99,
                },
            )
        assert diagnose(tmp_path / verdict).verdict == verdict


finite = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(st.floats(0, 10), finite, st.floats(0, 1)), min_size=0, max_size=60), st.floats(0, 3))
def test_any_table_gets_one_of_the_verdicts_and_valid_json(tmp_path_factory, rows, scale):
    file = tmp_path_factory.mktemp("any") / "t.csv"
    body = "".join(f"{i},{h},{r * scale},{t}\n" for i, (h, r, t) in enumerate(rows))
    file.write_text("step,entropy,reward,truncated\n0,0.5,0.1,0.0\n" + body)
    d = diagnose(file)
    assert d.verdict in VERDICTS
    json.loads(d.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@given(st.floats(0.01, 100))
def test_the_unit_of_reward_does_not_matter(tmp_path_factory, unit):
    """Where rewards are no shares of 1, only their course counts."""
    file = table(tmp_path_factory.mktemp("unit"), 0.0, entropy=line(0.4, 3.0), reward=unit * line(0.4, 0.1))
    assert diagnose(file).verdict == "explosion"
