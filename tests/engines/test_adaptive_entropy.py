"""The adaptive entropy bonus is TRL's own, step by step."""

import pytest
import torch
from transformers import set_seed
from trl import GRPOTrainer

from entrokit.engines.trl import EntropyGRPOTrainer, trl_recipe

from .conftest import length_reward


def test_it_trains_as_trl_does(checkpoint, config, task):
    """`GRPOConfig(use_adaptive_entropy=True)`, a micro-batch a step: the weights and the controller, step by step."""
    shape = {"loss_type": "dapo", "gradient_accumulation_steps": 1, "steps_per_generation": 1, "max_steps": 6}
    knobs = {"entropy_coef": 0.02, "entropy_target": 2.9, "entropy_coef_delta": 0.05}
    common = {"reward_funcs": length_reward, "train_dataset": task.train}
    spec = f"{trl_recipe(config(**shape))}+adaptive-entropy(coef=0.02, target=2.9, coef_delta=0.05)"
    theirs = GRPOTrainer(checkpoint, args=config(**shape, use_adaptive_entropy=True, **knobs), **common)
    ours = EntropyGRPOTrainer(checkpoint, args=config(**shape), recipe=spec, **common)
    plain = EntropyGRPOTrainer(checkpoint, args=config(**shape), recipe=trl_recipe(config(**shape)), **common)
    for trainer in (theirs, ours, plain):
        set_seed(7)
        trainer.train()
    for (name, p), q in zip(theirs.model.named_parameters(), ours.model.parameters(), strict=True):
        torch.testing.assert_close(q, p, atol=2e-5, rtol=0, msg=name)
    apart = [(p - q).abs().max() for p, q in zip(ours.model.parameters(), plain.model.parameters(), strict=True)]
    assert max(apart) > 1e-4, "the bonus did act"
    bonus = ours.recipe.interventions[0]
    assert bonus.coefficient == pytest.approx(theirs.entropy_coef)
    assert bonus.seen == pytest.approx(theirs._last_world_entropy, abs=1e-5)
