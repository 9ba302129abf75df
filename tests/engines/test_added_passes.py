"""Where a recipe costs a forward more than TRL makes (docs/scale.md)."""

import pytest
import torch

from .trainers import trainer

VLLM = {"use_vllm": True, "vllm_mode": "colocate"}


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ({}, 1),
        ({"steps_per_generation": 2}, 0),
        ({"num_iterations": 2}, 0),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 2}, 1),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 4}, 0),
        # TRL corrects by the trainer's own log-probabilities, whatever the steps are.
        (VLLM, 0),
        (VLLM | {"gradient_accumulation_steps": 2, "steps_per_generation": 2}, 0),
        (VLLM | {"vllm_importance_sampling_correction": False}, 1),
        (VLLM | {"vllm_importance_sampling_correction": False, "steps_per_generation": 2}, 0),
    ],
)
@pytest.mark.usefixtures("stand_in")
def test_one_forward_a_generation_batch_where_trl_makes_none(checkpoint, config, task, monkeypatch, options, added):
    t = trainer(checkpoint, config, task, "grpo+steer(min_weight=0.3)", options={"max_steps": 4} | options)
    asked, trls, batches = [], [], []
    stats, own = type(t._forward).stats, type(t)._get_per_token_logps_and_entropies
    generate = type(t)._generate_and_score_completions

    def counted_stats(self, *args, **kwargs):
        if not torch.is_grad_enabled():
            asked.append(1)
        return stats(self, *args, **kwargs)

    def counted_own(self, *args, **kwargs):
        trls.append(1)
        return own(self, *args, **kwargs)

    def counted_generate(self, inputs):
        batches.append(1)
        return generate(self, inputs)

    monkeypatch.setattr(type(t._forward), "stats", counted_stats)
    monkeypatch.setattr(type(t), "_get_per_token_logps_and_entropies", counted_own)
    monkeypatch.setattr(type(t), "_generate_and_score_completions", counted_generate)
    t.train()
    assert batches
    assert len(asked) - len(trls) == added * len(batches)
    assert len(trls) == (1 - added) * len(batches)


def test_prompts_log_probabilities_are_one_forward_more(checkpoint, config, task, monkeypatch):
    t = trainer(checkpoint, config, task, "grpo+arm(low_frac=0.4)", options={"max_steps": 2})
    asked, batches = [], []
    prompts, generate = type(t)._prompt_logp, type(t)._generate_and_score_completions
    monkeypatch.setattr(type(t), "_prompt_logp", lambda self, out: asked.append(1) or prompts(self, out))
    monkeypatch.setattr(
        type(t), "_generate_and_score_completions", lambda self, rows: batches.append(1) or generate(self, rows)
    )
    t.train()
    assert len(asked) == len(batches) == 2
