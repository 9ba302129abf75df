"""`trl_recipe` says all of a config, or refuses what it cannot say by its name."""

import pytest
import torch
from transformers import set_seed
from trl import GRPOConfig, GRPOTrainer

from entrokit.engines.trl import EntropyGRPOTrainer, trl_recipe

from .conftest import length_reward

ONE_MICRO_BATCH = {"loss_type": "dapo", "gradient_accumulation_steps": 1}


def said(tmp_path, **options):
    return str(trl_recipe(GRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[], **options)))


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        ({"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4}, "gspo(clip_low=0.0003"),
        ({"top_entropy_quantile": 0.3}, "forking-tokens(rho=0.3"),
        (ONE_MICRO_BATCH | {"entropy_coef": 0.01}, "entropy-bonus(coef=0.01)"),
        (ONE_MICRO_BATCH | {"use_adaptive_entropy": True, "entropy_target": 0.4}, "adaptive-entropy(target=0.4"),
        ({"loss_type": "dr_grpo", "scale_rewards": "none"}, "dr_grpo("),
        ({"loss_type": "cispo", "epsilon_high": 5.0}, "cispo(clip_high=4.0"),
        ({"beta": 0.07}, "reference-kl(beta=0.07"),
    ],
)
def test_what_has_a_counterpart_is_in_the_recipe(tmp_path, options, recipe):
    assert recipe in said(tmp_path, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scale_rewards", {"loss_type": "dr_grpo"}),
        ("scale_rewards", {"scale_rewards": "batch"}),
        ("scale_rewards", {"scale_rewards": "none"}),
        ("entropy_coef", {"loss_type": "grpo", "entropy_coef": 0.01}),
        ("entropy_coef", {"loss_type": "dapo", "gradient_accumulation_steps": 2, "entropy_coef": 0.01}),
        ("delta", {"delta": 1.5}),
        ("off_policy_mask_threshold", {"off_policy_mask_threshold": 0.5}),
        ("multi_objective_aggregation", {"multi_objective_aggregation": "normalize_then_sum"}),
        ("epsilon_high", {"loss_type": "cispo"}),
        ("importance_sampling_level", {"loss_type": "dapo", "importance_sampling_level": "sequence"}),
    ],
)
def test_what_has_none_is_refused_by_name(tmp_path, name, options):
    with pytest.raises(ValueError, match=rf"GRPOConfig\(.*{name}=.* has no recipe"):
        said(tmp_path, **options)


def test_a_config_and_its_recipe_go_together(checkpoint, config, task):
    """The bonus is the recipe's: the trainer does not add TRL's to it, and the weights are TRL's."""
    args = config(**ONE_MICRO_BATCH, steps_per_generation=1, max_steps=3, entropy_coef=0.05)
    common = {"reward_funcs": length_reward, "train_dataset": task.train}
    theirs = GRPOTrainer(checkpoint, args=args, **common)
    ours = EntropyGRPOTrainer(checkpoint, args=args, recipe=trl_recipe(args), **common)
    for trainer in (theirs, ours):
        set_seed(7)
        trainer.train()
    for (name, p), q in zip(theirs.model.named_parameters(), ours.model.parameters(), strict=True):
        torch.testing.assert_close(q, p, atol=2e-5, rtol=0, msg=name)
