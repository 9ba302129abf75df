"""Prompts by choice: TRL's layout, what is observed, what survives a restart, and the probe."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.utils import RepeatSampler

from entrokit.engines.trl import EntropyGRPOTrainer, success_counts
from entrokit.engines.trl.prompts import SelectingSampler
from entrokit.rlvr.selection import FixedPrompts, RunningRarePair, rare_pair
from entrokit.runs import Run
from entrokit.training.session import train
from entrokit.training.settings import TrainSettings

from .conftest import length_reward


def right_or_wrong(completions, **kwargs):
    return [float(len(c) > 0 and ord(c[0]) % 2) for c in completions]


def test_the_layout_is_that_of_trl_s_own_sampler():
    ours = SelectingSampler(FixedPrompts((0, 1, 2)), batches=2, prompts=3, completions=2, repeats=4)
    theirs = RepeatSampler([0, 1, 2], mini_repeat_count=2, batch_size=3, repeat_count=4, shuffle=False)
    assert list(ours) == list(theirs) * 2
    assert len(ours) == 2 * len(theirs) == len(list(ours))


def trainer(checkpoint, config, task, prompts, reward=right_or_wrong, seen=None, **options):
    return EntropyGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(checkpoint),
        reward_funcs=reward,
        args=config(steps_per_generation=2, **options),
        train_dataset=task.train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        recipe="grpo+weighted-grpo(normalize='pair')",
        prompts=prompts,
        on_generation=None if seen is None else seen.append,
    )


def test_only_the_chosen_prompts_are_trained_on_and_their_outcomes_are_observed(checkpoint, config, task):
    seen, observed = [], []

    class Watched(FixedPrompts):
        def observe(self, prompts, correct):
            observed.append((list(prompts), list(correct)))

    trainer(checkpoint, config, task, Watched((5, 9)), seen=seen).train()
    wanted = [task.train[5]["prompt"]] * 4 + [task.train[9]["prompt"]] * 4
    assert all(batch.prompts == wanted * 2 for batch in seen)
    assert len(observed) == len(seen) == 2
    for batch, (prompts, correct) in zip(seen, observed, strict=True):
        assert prompts == ([5] * 4 + [9] * 4) * 2
        assert correct == [reward == 1.0 for reward in batch.rollouts.reward.tolist()]
    assert "entrokit_prompt" not in task.train.column_names


def test_a_selector_s_state_is_in_the_checkpoint(checkpoint, config, task, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2}
    loaded = []

    class Watched(RunningRarePair):
        def load_state_dict(self, state):
            super().load_state_dict(state)
            loaded.append(self.state_dict())

    first, again = (Watched([1, 3] + [0] * 62, 4, width=1) for _ in range(2))
    trainer(checkpoint, config, task, first, **options).train()
    assert first.recent
    t = trainer(checkpoint, config, task, again, max_steps=6, **options)
    t.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert loaded == [first.state_dict()]


def test_prompts_need_a_dataset_with_rows(checkpoint, config, task):
    stream = task.train.to_iterable_dataset()
    with pytest.raises(ValueError, match="choosing prompts needs a train_dataset with rows"):
        EntropyGRPOTrainer(
            checkpoint, reward_funcs=length_reward, args=config(), train_dataset=stream, prompts=FixedPrompts((0,))
        )


def test_the_probe_counts_what_the_reward_says(checkpoint, task):
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    calls = []

    def reward(prompts, completions, numbers, target, **kwargs):
        calls.append(len(prompts))
        return [1.0 if p.startswith("1") else None if p.startswith("2") else 0.5 for p in prompts]

    data = task.train.select(range(10))
    torch.manual_seed(0)
    counts = success_counts(model, tokenizer, data, reward, 3, max_completion_length=4, batch_size=4)
    assert counts == [3 if row["prompt"].startswith("1") else 0 for row in data]
    assert calls == [12, 12, 6]


def test_a_session_trains_on_one_pair(tmp_path, monkeypatch):
    from entrokit.training import arguments, models, pocket

    small = pocket.PocketConfig(width=32, layers=1, heads=2, steps=30, batch=16)
    monkeypatch.setenv("ENTROKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "pocket_config", lambda task: small)
    seen = []
    monkeypatch.setattr(arguments, "rare_pair", lambda counts, G: seen.append((len(counts), G)) or rare_pair([1, 3], 4))
    train(
        TrainSettings(
            "grpo", str(tmp_path / "run"), steps=2, updates=2, prompts=4, completions=4, select="rare-pair", pool=8
        )
    )
    assert seen == [(8, 4)]
    assert len({row["prompt"] for row in Run.load(tmp_path / "run").rollouts(0)}) == 2
    with pytest.raises(ValueError, match="select: must be one of"):
        TrainSettings("grpo", "x", select="some")
    with pytest.raises(ValueError, match="probes the pocket policy only"):
        arguments.selector(TrainSettings("grpo", "x", select="rare-pair"), None, "path", None)
