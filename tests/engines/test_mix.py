"""A replay mix: shares, sources, and rewards that apply to one source alone, through a real run of RECAP."""

import pytest
from datasets import Dataset

from entrokit.engines.trl import only_for, replay_mix

from .trainers import trainer


def data(name, rows, **extra):
    return Dataset.from_list([{"prompt": f"{name}{i}:"} | extra for i in range(rows)])


def test_every_row_of_the_target_appears_and_shares_hold():
    mixed = replay_mix(data("1", 200), {"a": data("2", 7), "b": data("3", 30)}, 0.4, seed=1)
    counts = {s: mixed["source"].count(s) for s in ("target", "a", "b")}
    assert set(mixed.filter(lambda r: r["source"] == "target")["prompt"]) == {f"1{i}:" for i in range(200)}
    assert (counts["a"] + counts["b"]) / len(mixed) == pytest.approx(0.4, abs=0.07)
    assert counts["a"] == pytest.approx(counts["b"], abs=0.3 * counts["a"])
    again = replay_mix(data("1", 200), {"a": data("2", 7), "b": data("3", 30)}, 0.4, seed=1)
    assert again["prompt"] == mixed["prompt"]


def test_a_reward_for_one_source_sees_only_its_completions():
    def length(prompts, completions, target, **columns):
        assert len(prompts) == len(completions) == len(target)
        return [float(len(c) == t) for c, t in zip(completions, target, strict=True)]

    own = only_for("a", length)
    arguments = {"prompts": ["x", "y", "z"], "completions": ["1", "22", "333"], "target": [1, 2, 3]}
    assert own(**arguments, source=["a", "b", "a"], trainer_state=None) == [1.0, None, 1.0]
    assert own(**arguments, source=["b", "b", "b"]) == [None] * 3
    assert own.__name__ == "length_a"


@pytest.mark.parametrize(
    ("general", "share", "message"),
    [
        ({}, 0.5, "needs a share"),
        ({"a": data("2", 2)}, 1.0, "needs a share"),
        ({"target": data("2", 2)}, 0.5, "is that of a general source"),
        ({"a": data("2", 2, source="x")}, 0.5, "rename it"),
        ({"a": data("2", 2).select([])}, 0.5, "is empty"),
    ],
)
def test_what_is_refused(general, share, message):
    with pytest.raises(ValueError, match=message):
        replay_mix(data("1", 3), general, share)


def test_recap_weighs_rewards_of_different_sources(checkpoint, config, task):
    mixed = replay_mix(task.train.select_columns(["prompt"]), {"general": data("9", 5)}, 0.5)

    def short(completions, **columns):
        return [float(len(c) < 5) for c in completions]

    def odd(completions, **columns):
        return [float(len(c) % 2) for c in completions]

    class Mixed:
        train = mixed

    rewards = [only_for("target", short), only_for("general", odd)]
    t = trainer(checkpoint, config, Mixed, "grpo+recap(temperature=0.1)", reward=rewards, options={"max_steps": 6})
    t.train()
    seen = t.recipe.interventions[0].state_dict()
    assert seen
    logged = {k: v for row in t.state.log_history for k, v in row.items()}
    assert {"rewards/short_target/mean", "rewards/odd_general/mean"} <= set(logged)
