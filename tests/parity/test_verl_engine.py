"""Recipes under verl: its own plug-in loading, config, actor worker, engine and loss, on a CPU.

Everything is held to the recipe applied by hand to the same completions with plain PyTorch.
"""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl needs its own environment: make test-parity")

from entrokit.distributions import token_statistics
from entrokit.engines.verl import LOSS_MODES, recipe_advantages
from entrokit.rlvr import BASES, INTERVENTIONS, Context, PolicyStats, Rollouts, Totals, recipe
from entrokit.rlvr.bases import Base
from entrokit.rlvr.surrogates import PPOClip

from . import verl_actor as v

LOSS = "actor_rollout_ref.actor.policy_loss"
MINI, LEARNING_RATE = 6, 0.02
# Every intervention that verl can carry, at knobs at which it acts on twelve short completions.
SPECS = {
    **{base: base for base in BASES},
    "clip-cov": "dapo+clip-cov(ratio=0.3, low=0.0, high=9.0)",
    "kl-cov": "dapo+kl-cov(ratio=0.2)",
    "steer": "grpo+steer(min_weight=0.3)",
    "forking-tokens": "dapo+forking-tokens(rho=0.4)",
    "clip-b": "grpo+clip-b(mu=0.2, side='both')",
    "adaptive-clip": "grpo+adaptive-clip(pivot=0.5)",
    "redistribute-advantage": "dapo+redistribute-advantage(pivot=0.5)",
    "token-group-average": "grpo+token-group-average",
    "canon": "dr_grpo+canon(mu=0.7)",
    "arm": "grpo+arm(low_frac=0.4)",
    "perplexity-shaping": "grpo+perplexity-shaping(alpha=0.3)",
    "position-shaping": "dapo+position-shaping",
    "weighted-grpo": "grpo+weighted-grpo(lambda_neg=2.0)",
    "pear": "grpo+pear(alpha=0.5, end_of_thinking='h')",
    "tea": "grpo+tea(cap=2.0)",
    "reference-kl": "dr_grpo+reference-kl(beta=0.1)",
    "entropy-bonus": "grpo+entropy-bonus(coef=0.1)",
    "step scope": "dapo+steer(min_weight=0.3, scope='step')+forking-tokens(rho=0.5, scope='step')",
    "three at once": "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.4)+clip-b(mu=0.2)",
}
REFUSED = {"clip-v": "clip-b", "siren": "siren under TRL", "adaptive-temperature": "vLLM"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def model(folder):
    return v.tiny_model(folder)


def statistics(model, columns, need):
    logits = model(
        input_ids=columns["input_ids"],
        attention_mask=columns["attention_mask"],
        position_ids=columns["position_ids"],
    ).logits
    return PolicyStats.of(token_statistics(logits[:, v.PROMPT - 1 : -1], columns["responses"], need=need))


def rollouts_by_hand(model, columns, chosen, old, reference):
    mask = columns["response_mask"].bool()
    with torch.no_grad():
        behaviour = replace(statistics(model, columns, chosen.needs | {"entropy"}).masked(mask), logp=old)
        whole = model(
            input_ids=columns["input_ids"],
            attention_mask=columns["attention_mask"],
            position_ids=columns["position_ids"],
        ).logits.log_softmax(-1)
    logp = whole[:, : v.PROMPT - 1].gather(-1, columns["prompts"][:, 1:, None])[..., 0]
    real = columns["attention_mask"][:, : v.PROMPT].bool()
    predicted = real[:, 1:] & real[:, :-1]
    reward = columns["token_level_scores"].sum(1)
    last = columns["responses"].gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]
    return Rollouts(
        tokens=columns["responses"],
        attention=mask,
        train=mask,
        group=torch.arange(v.ROWS) // v.GROUP,
        reward=reward,
        behaviour=behaviour,
        correct=reward > 0.5,
        truncated=last != v.EOS,
        reference_logp=reference,
        prompt_logp=torch.where(predicted, logp, 0.0),
        prompt_mask=predicted,
    )


def rows_of(columns, rows):
    return {n: x[rows] if torch.is_tensor(x) and x.dim() else x for n, x in columns.items()}


def trained_by_hand(model, columns, chosen, old, epochs, reference=None, given=None):
    """Plain PyTorch: statistics of all rows, a recipe, one SGD step for each mini-batch."""
    import copy

    model = copy.deepcopy(model)
    rollouts = rollouts_by_hand(model, columns, chosen, old, reference)
    generator = torch.Generator().manual_seed(42 * 1_000_003)
    context = Context(generator=generator)
    advantages = chosen.advantages(rollouts, context) if given is None else given
    prepared = chosen.prepare(rollouts, advantages, context)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(epochs):
        for start in range(0, v.ROWS, MINI):
            rows = slice(start, start + MINI)
            part = Rollouts.from_columns(rows_of(rollouts.columns(), rows))
            own = chosen.prepare_step(part, advantages[rows], rows_of(prepared, rows), Context())
            current = statistics(model, rows_of(columns, rows), chosen.needs | {"entropy"})
            totals = Totals(tokens=part.train.sum(), rows=MINI, length=v.LENGTH)
            loss = chosen.loss(current, part, advantages[rows], own, totals).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, dict(model.named_parameters())


def old_log_probs(model, columns, noise=0.05):
    """Of a policy a little away: where log π is log π_old, rounding would decide the sign of KL-Cov's |log π/π_old|."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        own = statistics(model, columns, frozenset({"logp"})).logp
    return (own + noise * torch.randn(own.shape, generator=g)) * columns["response_mask"]


def actor(folder, *overrides):
    return v.actor(
        folder,
        "actor_rollout_ref.actor.ppo_mini_batch_size=2",
        f"actor_rollout_ref.actor.optim.lr={LEARNING_RATE}",
        *overrides,
    )


def of_recipe(spec):
    aggregation = recipe(spec).base.aggregation
    return [
        f"{LOSS}._target_=entrokit.engines.verl.RecipePolicyLossConfig",
        f"{LOSS}.loss_mode=entrokit",
        f'+{LOSS}.recipe="{spec}"',
        f"actor_rollout_ref.actor.loss_agg_mode={aggregation}",
        f"actor_rollout_ref.actor.loss_scale_factor={v.LENGTH}",
    ]


def deviation(spec, folder, model, layout, epochs=2):
    """Largest differences of losses and weights from the recipe by hand, and how far the weights moved at all."""
    columns, chosen = v.completions(), recipe(spec)
    old = old_log_probs(model, columns)
    extra, overrides = {}, of_recipe(spec)
    if "reference-kl" in spec:
        extra = {"ref_log_prob": old_log_probs(model, columns, noise=0.3)}
        overrides += ["actor_rollout_ref.actor.use_kl_loss=True", "actor_rollout_ref.actor.kl_loss_coef=0.0"]
    worker = actor(folder, *overrides)
    chosen.bind(lambda text: worker.actor.model_config.tokenizer.encode(text, add_special_tokens=False))
    before = v.parameters(worker)
    data = v.update_batch(
        columns,
        torch.full((v.ROWS, v.LENGTH), 7.0),  # the recipe's own advantages count
        old,
        mini_batch=MINI,
        epochs=epochs,
        **extra,
    )
    output = worker.update_actor(v.as_new_trainer(data) if layout == "new" else data)
    losses, weights = trained_by_hand(model, columns, chosen, old, epochs, extra.get("ref_log_prob"))
    after = v.parameters(worker)
    return (
        max(abs(a - b) for a, b in zip(output["metrics"]["loss"], losses, strict=True)),
        max(float((after[n] - w).abs().max()) for n, w in weights.items()),
        max(float((after[n] - before[n]).abs().max()) for n in after),
    )


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_an_update_of_verls_actor_is_the_recipes_by_hand(spec, layout, folder, model):
    loss, weight, moved = deviation(spec, folder, model, layout)
    assert loss < 2e-5
    assert weight < 2e-5
    assert moved > 1e-3


def test_every_intervention_is_carried_or_refused():
    used = {part.name for spec in SPECS.values() for part in recipe(spec).interventions}
    assert used | set(REFUSED) == set(INTERVENTIONS)
