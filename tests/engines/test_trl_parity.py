"""`grpo`, `dr_grpo`, `dapo` and `cispo` equal TRL's own trainer under the mapping of `trl_recipe`."""

import copy
import dataclasses

import pytest
import torch
from transformers import set_seed
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import split_tensor_dict

from entrokit.engines.trl import EntropyGRPOTrainer, trl_recipe

from .conftest import length_reward

BASES = {
    "grpo": {"loss_type": "grpo"},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.3},
}
SHAPES = [
    {"gradient_accumulation_steps": 1, "steps_per_generation": 1},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "num_iterations": 2, "beta": 0.05},
]


def pair(checkpoint, config, task, options):
    """TRL's trainer and ours on the same weights."""
    args = config(**options)
    common = {"reward_funcs": length_reward, "train_dataset": task.train}
    theirs = GRPOTrainer(checkpoint, args=copy.copy(args), **common)
    ours = EntropyGRPOTrainer(checkpoint, args=copy.copy(args), recipe=trl_recipe(args), **common)
    return theirs, ours


def scored(trainer, task):
    """One generation batch, the same completions for every trainer."""
    torch.manual_seed(11)
    trainer.model.train()
    rows = trainer.args.per_device_train_batch_size * trainer.args.steps_per_generation
    prompts = [task.train[i // 4] for i in range(rows)]
    return trainer._generate_and_score_completions(prompts)


def perturb(*models):
    """The same small change of weights to each."""
    for model in models:
        torch.manual_seed(5)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.05 * torch.randn_like(p))


def step(trainer, inputs, parts, row):
    """Loss and gradients of one micro-batch, after the same perturbation of the weights: ratios differ from 1."""
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    loss = trainer._compute_loss(trainer.model, split_tensor_dict(inputs, parts)[row])
    trainer.model.zero_grad()
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in trainer.model.named_parameters()}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("shape", SHAPES, ids=["1", "2", "2x4x2+kl"])
def test_loss_and_gradient_on_the_same_batch(checkpoint, config, task, base, shape):
    theirs, ours = pair(checkpoint, config, task, BASES[base] | shape)
    their_inputs, our_inputs = scored(theirs, task), scored(ours, task)
    assert torch.equal(their_inputs["completion_ids"], our_inputs["completion_ids"])
    mask = our_inputs["completion_mask"].bool()
    expected = (their_inputs["advantages"][:, None] * mask).float()
    torch.testing.assert_close(our_inputs["advantages"], expected, atol=1e-6, rtol=1e-5)
    assert expected.abs().max() > 0.1
    their_inputs.setdefault("old_per_token_logps", our_inputs["entrokit_rollouts/behaviour_logp"])
    perturb(theirs.model, ours.model)
    parts = ours.args.steps_per_generation
    for row in range(parts):
        their_loss, their_gradients = step(theirs, their_inputs, parts, row)
        our_loss, our_gradients = step(ours, our_inputs, parts, row)
        torch.testing.assert_close(our_loss, their_loss, atol=1e-6, rtol=1e-6)
        for name, gradient in their_gradients.items():
            torch.testing.assert_close(our_gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)
        seen = ours._take("train")
        assert seen["clip_ratio/region_mean"] > 0 or base == "cispo"
        assert seen["entropy"] == pytest.approx(theirs._metrics["train"]["entropy"][-1], abs=1e-5)
        if "beta" in shape:
            weighed = theirs._metrics["train"]["kl"][-1]  # by the ratio, as use_bias_correction_kl says
            assert seen["reference-kl/penalty"] == pytest.approx(shape["beta"] * weighed, rel=1e-4)
            assert seen["kl"] > 1e-4


@pytest.mark.parametrize("base", BASES)
def test_whole_runs_end_at_the_same_weights(checkpoint, config, task, base):
    options = BASES[base] | SHAPES[2] | {"max_steps": 6}
    theirs, ours = pair(checkpoint, config, task, options)
    start = {n: p.detach().clone() for n, p in theirs.model.named_parameters()}
    for trainer in (theirs, ours):
        set_seed(7)
        trainer.train()
    moved = 0.0
    for (name, p), q in zip(theirs.model.named_parameters(), ours.model.parameters(), strict=True):
        torch.testing.assert_close(q, p, atol=2e-5, rtol=0, msg=name)
        moved = max(moved, (p.detach() - start[name]).abs().max().item())
    assert moved > 1e-3


def test_forking_tokens_equal_top_entropy_quantile(checkpoint, config, task):
    options = BASES["dapo"] | {"top_entropy_quantile": 0.3}
    args = config(**options)
    assert str(trl_recipe(args)).endswith("+forking-tokens(rho=0.3, normalize='all', scope='micro')")
    theirs, ours = pair(checkpoint, config, task, options)
    their_inputs, our_inputs = scored(theirs, task), scored(ours, task)
    their_loss, their_gradients = step(theirs, their_inputs, 1, 0)
    our_loss, our_gradients = step(ours, our_inputs, 1, 0)
    torch.testing.assert_close(our_loss, their_loss, atol=1e-6, rtol=1e-6)
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_gspo_equals_importance_sampling_of_the_sequence(checkpoint, config, task):
    options = {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.02, "epsilon_high": 0.03}
    theirs, ours = pair(checkpoint, config, task, options)
    their_inputs, our_inputs = scored(theirs, task), scored(ours, task)
    their_inputs.setdefault("old_per_token_logps", our_inputs["entrokit_rollouts/behaviour_logp"])
    perturb(theirs.model, ours.model)
    their_loss, their_gradients = step(theirs, their_inputs, 1, 0)
    our_loss, our_gradients = step(ours, our_inputs, 1, 0)
    assert 0 < ours._take("train")["clip_ratio/region_mean"] < 1
    torch.testing.assert_close(our_loss, their_loss, atol=1e-6, rtol=1e-6)
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_the_correction_for_another_sampler_multiplies_the_loss_as_in_trl(checkpoint, config, task):
    theirs, ours = pair(checkpoint, config, task, BASES["dapo"])
    their_inputs, our_inputs = scored(theirs, task), scored(ours, task)
    weight = torch.rand(our_inputs["completion_ids"].shape)
    their_inputs["importance_sampling_ratio"] = our_inputs["entrokit_rollouts/sampler_weight"] = weight
    theirs.use_vllm = True
    torch.testing.assert_close(
        step(ours, our_inputs, 1, 0)[0], step(theirs, their_inputs, 1, 0)[0], atol=1e-6, rtol=1e-6
    )


def rloo_pair(checkpoint, config, task, **options):
    """TRL's `RLOOTrainer`, and ours with the recipe that equals its config."""
    known = {f.name for f in dataclasses.fields(RLOOConfig)}
    common = {k: v for k, v in config(**options).to_dict().items() if k in known and v is not None}
    shared = {
        n: common[n]
        for n in (
            *("output_dir", "per_device_train_batch_size", "num_generations", "max_completion_length", "learning_rate"),
            *("max_steps", "logging_steps", "use_cpu", "bf16", "gradient_checkpointing", "disable_tqdm", "seed"),
            *("report_to", "gradient_accumulation_steps", "steps_per_generation", "num_iterations", "optim"),
        )
        if n in common
    }
    shared |= {"save_strategy": "no", "lr_scheduler_type": "constant"}
    shared |= {n: options[n] for n in ("beta", "epsilon") if n in options}
    theirs_args = RLOOConfig(**shared)
    data = {"reward_funcs": length_reward, "train_dataset": task.train}
    ours_args = GRPOConfig(**{k: v for k, v in shared.items() if k not in ("beta", "epsilon")})
    return (
        RLOOTrainer(checkpoint, args=theirs_args, **data),
        EntropyGRPOTrainer(checkpoint, args=ours_args, recipe=trl_recipe(theirs_args), **data),
    )


@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_rloo_trainer_on_the_same_batch(checkpoint, config, task, beta):
    theirs, ours = rloo_pair(checkpoint, config, task, beta=beta, epsilon=0.3)
    assert str(ours.recipe).startswith("rloo_sequence")
    if beta:
        perturb(theirs.ref_model, ours.ref_model)
    their_inputs, our_inputs = scored(theirs, task), scored(ours, task)
    assert torch.equal(their_inputs["completion_ids"], our_inputs["completion_ids"])
    mask = our_inputs["completion_mask"].bool()
    expected = (their_inputs["advantages"][:, None] * mask).float()
    torch.testing.assert_close(our_inputs["advantages"], expected, atol=2e-6, rtol=1e-4)
    perturb(theirs.model, ours.model)
    their_loss, their_gradients = step(theirs, their_inputs, 1, 0)
    our_loss, our_gradients = step(ours, our_inputs, 1, 0)
    torch.testing.assert_close(our_loss, their_loss, atol=2e-6, rtol=1e-5)
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, atol=2e-6, rtol=1e-4, msg=name)
    assert 0 < ours._take("train")["clip_ratio/region_mean"] < 1


def test_whole_runs_of_rloo_end_at_the_same_weights(checkpoint, config, task):
    options = {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "num_iterations": 2, "beta": 0.05}
    theirs, ours = rloo_pair(checkpoint, config, task, **options, max_steps=6, optim="sgd", learning_rate=0.1)
    start = {n: p.detach().clone() for n, p in theirs.model.named_parameters()}
    for trainer in (theirs, ours):
        set_seed(7)
        trainer.train()
    for (name, p), q in zip(theirs.model.named_parameters(), ours.model.parameters(), strict=True):
        torch.testing.assert_close(q, p, atol=2e-5, rtol=0, msg=name)
    assert max((p.detach() - start[n]).abs().max().item() for n, p in theirs.model.named_parameters()) > 1e-3


@pytest.mark.parametrize("option", [{"normalize_advantages": True}, {"reward_clip_range": (-1.0, 1.0)}])
def test_options_of_rloo_without_a_recipe_are_refused(tmp_path, option):
    args = RLOOConfig(str(tmp_path), use_cpu=True, bf16=False, **option)
    with pytest.raises(ValueError, match=f"{next(iter(option))}=.*has no recipe"):
        trl_recipe(args)
